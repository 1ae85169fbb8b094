// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nfwasm`: a command-line tool that loads WebAssembly packet filters into the kernel.
//!
//! [`cli`] defines the command line. Each file under [`verbs`] implements one or more verbs.
//! [`device`] makes the ioctls on `/dev/nf_wasm`, behind a trait that tests replace.
//!
//! The kernel validates everything itself. This tool checks some arguments first, only to give
//! better error messages.
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

/// Runs the command `cli` on the kernel's device, and writes to standard output and error.
pub fn main(cli: Cli) -> ExitCode {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = Output::new(stdout.lock(), cli.json, terminal);
    let result = execute(&cli, &|| KernelDevice::open(), &mut out);
    ExitCode::from(report(result, &mut out, &mut io::stderr().lock()))
}

/// Runs the command `cli`. Verbs that need the device call `open`.
pub fn execute(cli: &Cli, open: Open<'_>, out: &mut Output<'_>) -> Result<Status> {
    verbs::dispatch(&cli.verb, open, out)
}

/// Opens the device.
pub type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Device>>;

/// Writes the error, if any, and returns the exit code.
pub fn report(result: Result<Status>, out: &mut Output<'_>, err: &mut dyn Write) -> u8 {
    let error = match result {
        Ok(Status::Well) => return 0,
        Ok(Status::Problem) => return 1,
        Err(error) => error,
    };
    if error.is_broken_pipe() {
        // The reader closed the pipe, as `head` does; that is not a failure.
        return 0;
    }
    // If these writes fail, there is no place left to report it.
    let _ = error.write(err);
    if out.is_json() {
        let _ = out.json(&error.view());
    }
    error.exit_code()
}
