// SPDX-License-Identifier: GPL-2.0-only
//! Shows running steps and their durations: a status line on a terminal, plain lines elsewhere.

use crate::error::Result;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The steps of `cargo xtask build` for one kernel, in order. The number of a step is its index
/// here.
pub const STEPS: [&str; 10] = [
    "Base system",
    "Packages",
    "Kernel packages",
    "Kernel source",
    "Kernel tree",
    "Engine object",
    "Kernel module",
    "Loader and tests",
    "Filters",
    "Guest image",
];

/// A shorter step had nothing to do and is not shown.
const NOTHING_TO_DO: Duration = Duration::from_millis(700);
/// The interval of messages about a running step without a terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// Shows running steps and collects the durations of finished ones.
pub struct Progress {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    terminal: bool,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Vec<Running>,
    finished: Vec<(String, Duration)>,
}

struct Running {
    label: String,
    log: PathBuf,
    since: Instant,
    mentioned: Option<Instant>,
}

impl Progress {
    /// Starts showing steps on standard error.
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            terminal: is_terminal(2),
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let ticking = Arc::clone(&shared);
        let ticker = thread::spawn(move || {
            while !ticking.stop.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(500));
                ticking.tick();
            }
        });
        Self {
            shared,
            ticker: Some(ticker),
        }
    }

    /// Runs one of [`STEPS`]. `log` is the file that its tools write to.
    pub fn step<T>(
        &self,
        name: &'static str,
        detail: &str,
        log: &Path,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let number = STEPS
            .iter()
            .position(|step| *step == name)
            .map_or(0, |at| at + 1);
        let label = format!("[{number}/{}] {name}: {detail}", STEPS.len());
        self.timed(&label, log, work)
    }

    /// Runs work that is not a numbered step.
    pub fn timed<T>(&self, label: &str, log: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let since = Instant::now();
        self.shared.state().running.push(Running {
            label: label.to_owned(),
            log: log.to_path_buf(),
            since,
            mentioned: None,
        });
        let result = work();
        let took = since.elapsed();
        let mut state = self.shared.state();
        state.running.retain(|running| running.label != label);
        self.shared.clear();
        match &result {
            Ok(_) if took < NOTHING_TO_DO => {}
            Ok(_) => eprintln!("{label}: {}", seconds(took)),
            Err(_) => eprintln!("{label}: failed after {}", seconds(took)),
        }
        state.finished.push((label.to_owned(), took));
        result
    }

    /// Prints one line among the steps.
    pub fn say(&self, line: &str) {
        let _state = self.shared.state();
        self.shared.clear();
        eprintln!("{line}");
    }

    /// Stops showing steps. Returns the steps and their durations.
    pub fn finish(mut self) -> Vec<(String, Duration)> {
        self.stop();
        std::mem::take(&mut self.shared.state().finished)
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(ticker) = self.ticker.take() {
            ticker.thread().unpark();
            let _ = ticker.join();
        }
        self.shared.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    fn tick(&self) {
        let mut state = self.state();
        if self.terminal {
            let parts: Vec<_> = state
                .running
                .iter()
                .filter(|running| running.since.elapsed() > NOTHING_TO_DO)
                .map(Running::status)
                .collect();
            if !parts.is_empty() {
                eprint!("\r\x1b[K{}", clip(&parts.join(" | "), columns()));
                let _ = io::stderr().flush();
            }
            return;
        }
        for running in &mut state.running {
            let due = match running.mentioned {
                None => running.since.elapsed() > NOTHING_TO_DO,
                Some(last) => last.elapsed() > PLAIN_INTERVAL,
            };
            if due {
                match running.mentioned {
                    None => eprintln!("{} …", running.label),
                    Some(_) => eprintln!("{}", running.status()),
                }
                running.mentioned = Some(Instant::now());
            }
        }
    }
}

impl Running {
    /// The status line: the step, its duration, and the last line of its log.
    fn status(&self) -> String {
        let last = last_lines(&self.log, 1);
        format!(
            "{} … {} {}",
            self.label,
            seconds(self.since.elapsed()),
            clip(last.trim(), 60)
        )
    }
}

/// The last `count` lines of a log.
pub fn last_lines(log: &Path, count: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let tail = &bytes[bytes.len().saturating_sub(count * 400)..];
    let text = String::from_utf8_lossy(tail);
    // A progress meter overwrites its line: the last text counts.
    let lines: Vec<&str> = text
        .lines()
        .map(|line| {
            line.rsplit('\r')
                .find(|part| !part.is_empty())
                .unwrap_or("")
        })
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Formats a duration.
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..=9 => format!("{:.1} s", time.as_secs_f32()),
        10..=119 => format!("{} s", time.as_secs()),
        all => format!("{} min {} s", all / 60, all % 60),
    }
}

fn clip(text: &str, width: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(width)
        .collect()
}

fn columns() -> usize {
    std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100)
        - 1
}

/// Whether a descriptor of this process is a terminal.
pub fn is_terminal(fd: i32) -> bool {
    extern "C" {
        fn isatty(fd: i32) -> i32;
    }
    // SAFETY: isatty() accepts any number, and accesses no memory of this process.
    unsafe { isatty(fd) == 1 }
}
