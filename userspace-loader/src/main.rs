// SPDX-License-Identifier: MIT OR Apache-2.0
//! The binary `nfwasm`; the library crate implements it.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    nfwasm::main(nfwasm::Cli::parse())
}
