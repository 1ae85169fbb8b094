// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads WebAssembly packet filters into the kernel.
//!
//! `nfwasm` is a command-line tool over `/dev/nf_wasm`. [`cli`] says what can be asked, one file
//! under [`verbs`] does each thing, [`device`] is the only file that makes system calls of its
//! own, behind a trait that tests replace.
//!
//! The kernel validates everything itself. What this tool checks before it asks, it checks so
//! that the message is better.
#![deny(unsafe_code)]

pub mod capabilities;
pub mod cli;
pub mod device;
pub mod error;
pub mod hook;
pub mod manifest;
pub mod module;
pub mod name;
pub mod output;
pub mod packet;
pub mod rehearsal;
pub mod verbs;
pub mod view;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

pub use cli::Cli;
pub use device::Device;
pub use error::{Error, Result};
pub use verbs::Status;

use device::KernelDevice;
use output::Output;

/// Does what `cli` says, with the kernel's device, on the process's own output.
pub fn main(cli: Cli) -> ExitCode {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = Output::new(stdout.lock(), cli.json, terminal);
    let result = execute(&cli, &|| KernelDevice::open(), &mut out);
    ExitCode::from(report(result, &mut out, &mut io::stderr().lock()))
}

/// Does what `cli` says. `open` is called by the verbs that need the device.
pub fn execute(cli: &Cli, open: Open<'_>, out: &mut Output<'_>) -> Result<Status> {
    verbs::dispatch(&cli.verb, open, out)
}

/// How a verb comes by the device.
pub type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Device>>;

/// Says what went wrong, if anything did, and gives the exit code.
pub fn report(result: Result<Status>, out: &mut Output<'_>, err: &mut dyn Write) -> u8 {
    let error = match result {
        Ok(Status::Well) => return 0,
        Ok(Status::Problem) => return 1,
        Err(error) => error,
    };
    if error.is_broken_pipe() {
        // Whoever read the output has seen enough.
        return 0;
    }
    // Nothing is left to tell if these fail.
    let _ = error.write(err);
    if out.is_json() {
        let _ = out.json(&error.view());
    }
    error.exit_code()
}
