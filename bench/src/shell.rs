// SPDX-License-Identifier: GPL-2.0-only
//! Runs the commands that set contenders up.

use anyhow::{bail, Context, Result};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a command. Shows its output only if it fails.
pub fn run(words: &[&str]) -> Result<()> {
    run_with_input(words, "")
}

/// Runs a command with `input` on its standard input.
pub fn run_with_input(words: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| words[0].to_owned())?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {text}", words.join(" "));
    }
    Ok(())
}

/// A command that is run when this is dropped.
pub struct Undo(pub &'static [&'static str]);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Err(error) = run(self.0) {
            eprintln!("{error}");
        }
    }
}
