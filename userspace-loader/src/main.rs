// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nfwasm`: see the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    nfwasm::main(nfwasm::Cli::parse())
}
