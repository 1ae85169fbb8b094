// SPDX-License-Identifier: MIT OR Apache-2.0
//! `completions` and `man`: generate shell completions and manual pages from the definitions in
//! `cli`.

use std::fs;

use clap::CommandFactory;

use crate::cli::{Cli, Completions, Man};
use crate::error::{Error, Result};
use crate::output::Output;

/// Writes a shell's completions.
pub fn completions(ask: &Completions, out: &mut Output<'_>) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(ask.shell, &mut Cli::command(), "nfwasm", &mut script);
    out.raw(&script)
}

/// Writes manual pages.
pub fn man(ask: &Man, out: &mut Output<'_>) -> Result {
    let mut command = Cli::command();
    // Adds the global options to the verbs, and sets the names that the pages show.
    command.build();
    if let Some(directory) = &ask.directory {
        return fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory))
            .map_err(|error| {
                Error::failure(
                    format_args!("cannot write the pages to {}", directory.display()),
                    error,
                )
            });
    }
    let page = match &ask.verb {
        None => &command,
        Some(verb) => command.find_subcommand(verb).ok_or_else(|| {
            Error::usage(
                format_args!("there is no page for `{verb}`"),
                "unknown verb",
            )
            .help("`nfwasm --help` lists the verbs")
        })?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut text)?;
    out.raw(&text)
}
