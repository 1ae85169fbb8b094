// SPDX-License-Identifier: GPL-2.0-only
//! Judges a machine's run by its exit status, taint and console log.

use crate::error::{Error, Result};
use std::fs;
use std::path::Path;

/// Messages of the kernel that show a problem.
const COMPLAINTS: [&str; 16] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "Call Trace:",
    "KASAN:",
    "UBSAN:",
    "Kernel panic",
    "general protection fault",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "rcu_preempt detected",
    "soft lockup",
    "blocked for more than",
    "unreferenced object",
];

/// The title of a report of KCSAN, and the rule that ends it.
const DATA_RACE: &str = "BUG: KCSAN:";
const REPORT_END: &str = "==========";
/// A line before each backtrace of a report.
const ACCESS: &str = " bytes by ";
/// A function of nf_wasm in a backtrace.
const OUR_FRAME: &str = "[nf_wasm]";
/// How many frames of a backtrace belong to the access and its wrappers. Further frames only show
/// that nf_wasm called a kernel function that races with itself, such as the creation of a thread.
const NEAR_FRAMES: usize = 4;

/// The bits of /proc/sys/kernel/tainted that are expected and harmless: an out-of-tree module (12),
/// an unsigned module (13), and a test that sets bit 18.
const HARMLESS_TAINT: u64 = (1 << 12) | (1 << 13) | (1 << 18);

/// The maximum number of lines of the console that are shown for a problem.
const CONSOLE_LINES: usize = 60;

/// The guest's report at the end of its command.
pub struct Report {
    /// The command's exit status.
    pub status: i32,
    /// /proc/sys/kernel/tainted.
    taint: u64,
}

impl Report {
    /// Reads the report from the folder of a run. `None` if the machine stopped before.
    pub fn read(run: &Path) -> Option<Self> {
        let text = fs::read_to_string(run.join("status")).ok()?;
        let (status, taint) = text.trim().split_once(' ')?;
        Some(Self {
            status: status.parse().ok()?,
            taint: taint.parse().ok()?,
        })
    }
}

/// Returns the command's exit status. Fails if the kernel reported a problem or the machine died.
pub fn judge(run: &Path) -> Result<i32> {
    let said = said(run);
    if let Some(complaint) = first_complaint(&said) {
        return Err(Error::new(format!(
            "the kernel reported a problem:\n{}",
            complaint.join("\n")
        )));
    }
    match Report::read(run) {
        None => Err(trouble(
            run,
            "the machine stopped before the command had ended",
        )),
        Some(report) if report.taint & !HARMLESS_TAINT != 0 => Err(trouble(
            run,
            &format!("the kernel is tainted: {:#x}", report.taint),
        )),
        Some(report) => Ok(report.status),
    }
}

/// Whether the kernel died at boot, before it ran `init` and so without nf_wasm, of a breakpoint with
/// which it patched its own code. QEMU's emulation rarely shows one CPU an old breakpoint of another.
pub fn lost_a_breakpoint(run: &Path) -> bool {
    let said = said(run);
    said.contains("Oops: int3") && !said.contains("Run /init")
}

/// An error with the last lines of the console.
pub fn trouble(run: &Path, what: &str) -> Error {
    let said = said(run);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n");
    let qemu = fs::read_to_string(run.join("qemu")).unwrap_or_default();
    Error::new(format!("{what}\n{qemu}{last}"))
}

fn said(run: &Path) -> String {
    String::from_utf8_lossy(&fs::read(run.join("console")).unwrap_or_default()).into_owned()
}

/// The lines from the first problem on.
fn first_complaint(said: &str) -> Option<Vec<&str>> {
    let lines: Vec<&str> = said.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].contains(DATA_RACE) {
            let rest = &lines[at..];
            let end = rest.iter().position(|line| line.contains(REPORT_END));
            let report = &rest[..end.unwrap_or(rest.len())];
            // The kernel's own data races are known and ignored.
            if !is_ours(report) {
                at += report.len();
                continue;
            }
        }
        if is_complaint(lines[at]) {
            return Some(lines[at..].iter().copied().take(CONSOLE_LINES).collect());
        }
        at += 1;
    }
    None
}

/// Whether nf_wasm makes one of the accesses of a data race.
fn is_ours(report: &[&str]) -> bool {
    report.iter().enumerate().any(|(at, line)| {
        let mut frames = report[at + 1..].iter().take(NEAR_FRAMES);
        line.contains(ACCESS) && frames.any(|frame| frame.contains(OUR_FRAME))
    })
}

fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|known| line.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_chatter() {
        assert!(is_complaint(
            "[    1.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1 f+0x1/0x2"
        ));
        assert!(is_complaint(
            "[    1.0] BUG: KFENCE: out-of-bounds read in f+0x1/0x2"
        ));
        assert!(!is_complaint(
            "[    1.0] kfence: initialized - using 2097152 bytes for 255 objects"
        ));
    }

    #[test]
    fn only_races_of_ours_are_complaints() {
        let report = |frames: &str| {
            format!(
                "[ 1.0] ==========\n[ 1.0] BUG: KCSAN: data-race in f / g\n\
                 [ 1.0] write to 0x1 of 8 bytes by task 1 on cpu 0:\n{frames}\n\
                 [ 1.0]  read_word+0x1/0x2\n[ 1.0] ==========\n"
            )
        };
        let below = "[ 1.0]  kthread+0x1/0x2\n".repeat(NEAR_FRAMES);
        let theirs = report(&(below + "[ 1.0] f+0x1/0x2 [nf_wasm]"));
        let ours = report("[ 1.0] list_add+0x1/0x2\n[ 1.0] f+0x1/0x2 [nf_wasm]");
        assert_eq!(first_complaint(&theirs), None);
        assert!(first_complaint(&(theirs.clone() + &ours)).is_some());
        assert!(first_complaint(&(theirs + "[ 2.0] BUG: KASAN: use-after-free")).is_some());
    }
}
