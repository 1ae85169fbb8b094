// SPDX-License-Identifier: GPL-2.0-only
//! Running other programs: their output goes to a log, whose end is shown when they fail.

use crate::error::{Context, Error, Result};
use crate::progress;
use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// How much of a log a failure shows.
const TAIL_LINES: usize = 40;

/// Opens a log, emptied, for a step that writes to it with [`run`].
pub fn new_log(log: &Path) -> Result<()> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).context(dir.display())?;
    }
    File::create(log).map(drop).context(log.display())
}

/// Runs a command to its end, with its output appended to `log`.
pub fn run(command: &mut Command, log: &Path) -> Result<()> {
    let file = append(log)?;
    let errors = file.try_clone().context(log.display())?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .context(name(command))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} {}\n{}\nThe whole log: {}",
        name(command),
        how(status),
        progress::last_lines(log, TAIL_LINES),
        log.display()
    )))
}

/// Runs a command and returns what it printed; what it complains about goes to `log`.
pub fn capture(command: &mut Command, log: &Path) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(append(log)?)
        .output()
        .context(name(command))?;
    if !output.status.success() {
        return Err(Error::new(format!(
            "{} {}\n{}",
            name(command),
            how(output.status),
            progress::last_lines(log, TAIL_LINES)
        )));
    }
    String::from_utf8(output.stdout).map_err(|_| Error::new("output that is not UTF-8"))
}

/// Runs a command that shows its output itself; returns whether it succeeded.
pub fn show(command: &mut Command) -> Result<bool> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .context(name(command))?;
    Ok(status.success())
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .context(log.display())
}

/// The command as a person would say it: without what gets it into the build root.
fn name(command: &Command) -> String {
    let mut words: Vec<_> = Some(command.get_program())
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    if let Some(at) = words
        .iter()
        .position(|word| word == crate::root::COMMAND_FOLLOWS)
    {
        words.drain(..=at);
    }
    let mut text = words.join(" ");
    if text.len() > 160 {
        text = text.chars().take(160).collect::<String>() + "…";
    }
    format!("`{text}`")
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("failed with status {code}:"),
        None => format!("was ended: {status}"),
    }
}
