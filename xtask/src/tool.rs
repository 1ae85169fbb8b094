// SPDX-License-Identifier: GPL-2.0-only
//! Runs programs, logs their output, and counts their processor time.

use crate::error::{Context, Error, Result};
use crate::progress;
use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The last word before the command itself in [`crate::root::Root::command`]. `env` takes it for an
/// assignment.
pub const COMMAND_FOLLOWS: &str = "IN_BUILD_ROOT=1";

/// The number of a log's lines that a failure shows.
const TAIL_LINES: usize = 40;

thread_local! {
    /// Processor time of the programs that this thread has waited for.
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Processor time of the programs that this thread has waited for, with all their children. Unlike
/// the duration, it does not depend on other load.
pub fn processor_time() -> Duration {
    SPENT.with(Cell::get)
}

/// Adds the processor time that another thread spent for this one.
pub fn add_processor_time(time: Duration) {
    SPENT.with(|spent| spent.set(spent.get() + time));
}

/// struct timeval and struct rusage, as on 64-bit Linux.
#[repr(C)]
#[derive(Default)]
struct Usage {
    user: [i64; 2],
    system: [i64; 2],
    rest: [i64; 14],
}

extern "C" {
    fn wait4(pid: i32, status: *mut i32, options: i32, usage: *mut Usage) -> i32;
}
const WNOHANG: i32 = 1;

/// Waits for a program, or checks whether it has ended, and counts its processor time. Afterwards,
/// `child` must not be waited for again.
fn wait(child: &Child, options: i32) -> io::Result<Option<ExitStatus>> {
    let (mut status, mut usage) = (0, Usage::default());
    loop {
        // SAFETY: Both pointers are to local variables of the types that wait4() writes.
        let pid = unsafe { wait4(child.id() as i32, &mut status, options, &mut usage) };
        match pid {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => break,
        }
    }
    for [seconds, micros] in [usage.user, usage.system] {
        add_processor_time(Duration::from_micros((seconds * 1_000_000 + micros) as u64));
    }
    Ok(Some(ExitStatus::from_raw(status)))
}

/// Whether a program has ended. If it has, it must not be waited for again.
pub fn has_ended(child: &Child) -> io::Result<bool> {
    Ok(wait(child, WNOHANG)?.is_some())
}

fn status(command: &mut Command) -> Result<ExitStatus> {
    let child = command.spawn().context(name(command))?;
    let status = wait(&child, 0).context(name(command))?;
    status.context(name(command))
}

/// Creates an empty log for a step that writes to it with [`run`].
pub fn new_log(log: &Path) -> Result<()> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).context(dir.display())?;
    }
    File::create(log).map(drop).context(log.display())
}

/// Runs a command to its end. Appends its output to `log`.
pub fn run(command: &mut Command, log: &Path) -> Result<()> {
    let file = append(log)?;
    let errors = file.try_clone().context(log.display())?;
    let status = status(command.stdin(Stdio::null()).stdout(file).stderr(errors))?;
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

/// Runs a command and returns its standard output. Appends its standard error to `log`.
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

/// Runs a command that prints its output itself. Returns whether it succeeded.
pub fn show(command: &mut Command) -> Result<bool> {
    Ok(status(command.stdin(Stdio::null()))?.success())
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .context(log.display())
}

/// The command's words without those that enter the build root.
fn name(command: &Command) -> String {
    let mut words: Vec<_> = Some(command.get_program())
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    if let Some(at) = words.iter().position(|word| word == COMMAND_FOLLOWS) {
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
