// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors: the failed action, the reason, and a remedy.

use std::fmt::Display;
use std::io::{self, Write};

use nix::errno::Errno;
use serde::Serialize;

use crate::name;

/// The result of a verb.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// The kinds of errors. Each has its own exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A failure outside the kernel, such as an unreadable file.
    Failure,
    /// The command line is wrong.
    Usage,
    /// The kernel module is not inserted, or has another version.
    Mismatch,
    /// The kernel refused the command.
    Refused,
}

/// The error of a verb that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    kind: Kind,
    what: String,
    why: String,
    errno: Option<Errno>,
    help: Option<String>,
}

impl Error {
    fn new(kind: Kind, what: impl Display, why: impl Display) -> Self {
        Self {
            kind,
            what: what.to_string(),
            why: why.to_string(),
            errno: None,
            help: None,
        }
    }

    /// An error of kind [`Kind::Failure`].
    pub fn failure(what: impl Display, why: impl Display) -> Self {
        Self::new(Kind::Failure, what, why)
    }

    /// An error of kind [`Kind::Usage`].
    pub fn usage(what: impl Display, why: impl Display) -> Self {
        Self::new(Kind::Usage, what, why)
    }

    /// An error of kind [`Kind::Mismatch`].
    pub fn mismatch(what: impl Display, why: impl Display) -> Self {
        Self::new(Kind::Mismatch, what, why)
    }

    /// The kernel module is not inserted, so there is no device.
    pub fn no_device(what: impl Display) -> Self {
        Self {
            errno: Some(Errno::ENODEV),
            ..Self::mismatch(what, "the kernel module nf_wasm is not loaded")
        }
        .help("`modprobe nf_wasm`, or `insmod` its file; `nfwasm doctor` says what is missing")
    }

    /// An object is missing in the kernel's listing. The error is the same as if the kernel had
    /// refused the command with `ENOENT`.
    pub fn no_such(what: impl Display, why: impl Display) -> Self {
        Self {
            errno: Some(Errno::ENOENT),
            ..Self::new(Kind::Refused, what, why)
        }
    }

    /// The kernel's listing has no filter `which`, a name or an id.
    pub fn no_filter(what: impl Display, which: impl Display) -> Self {
        let why = format!("this network namespace has no filter {which}");
        Self::no_such(what, why).help("`nfwasm list` shows the loaded filters")
    }

    /// Adds a remedy to the error.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failure => 1,
            Kind::Usage => 2,
            Kind::Mismatch => 3,
            Kind::Refused => 4,
        }
    }

    /// The remedy.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Whether the kernel module is not inserted.
    pub fn is_no_device(&self) -> bool {
        self.kind == Kind::Mismatch && self.errno == Some(Errno::ENODEV)
    }

    /// Whether the reader of the output closed the pipe.
    pub fn is_broken_pipe(&self) -> bool {
        self.kind == Kind::Failure && self.errno == Some(Errno::EPIPE)
    }

    /// Writes the error as text.
    pub fn write(&self, err: &mut dyn Write) -> io::Result<()> {
        write!(err, "nfwasm: {}: {}", self.what, self.why.trim_end())?;
        if let Some(errno) = self.errno {
            write!(err, " [{errno:?}]")?;
        }
        writeln!(err)?;
        match &self.help {
            Some(help) => writeln!(err, "help: {help}"),
            None => Ok(()),
        }
    }

    /// The error for JSON.
    pub fn view(&self) -> ErrorView<'_> {
        ErrorView {
            error: ErrorBody {
                kind: self.kind,
                exit_code: self.exit_code(),
                what: &self.what,
                why: self.why.trim_end(),
                errno: self.errno.map(|errno| format!("{errno:?}")),
                help: self.help.as_deref(),
            },
        }
    }
}

/// The JSON of an error.
#[derive(Serialize)]
pub struct ErrorView<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    kind: Kind,
    exit_code: u8,
    what: &'a str,
    why: &'a str,
    errno: Option<String>,
    help: Option<&'a str>,
}

impl From<io::Error> for Error {
    /// Converts a failed write to the output. Other I/O errors are converted where they occur, with
    /// a description of the action.
    fn from(error: io::Error) -> Self {
        let mut failure = Self::failure("cannot write the output", &error);
        failure.errno = error.raw_os_error().map(Errno::from_raw);
        failure
    }
}

/// The kernel's refusal of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The errno.
    pub errno: Errno,
    /// The kernel's explanation; may be empty.
    pub text: String,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            text: String::new(),
        }
    }
}

impl Refusal {
    /// Makes an error of the refusal. `what` describes the failed action. `remedy` returns a remedy
    /// for an errno of this command. If there is none and the kernel gave no explanation, the error
    /// has a general remedy.
    pub fn while_trying(
        self,
        what: impl Display,
        remedy: impl Fn(Errno) -> Option<String>,
    ) -> Error {
        let kind = match self.errno {
            Errno::ENOTTY | Errno::E2BIG => Kind::Mismatch,
            _ => Kind::Refused,
        };
        let help = remedy(self.errno);
        let (why, help) = if self.text.is_empty() {
            let help = help.or_else(|| general_remedy(self.errno));
            (self.errno.desc().to_owned(), help)
        } else {
            // The text may quote the Wasm module: escape control characters.
            (name::shown_text(&self.text), help)
        };
        Error {
            errno: Some(self.errno),
            help,
            ..Error::new(kind, what, why)
        }
    }
}

/// Remedies that fit every command.
fn general_remedy(errno: Errno) -> Option<String> {
    let help = match errno {
        Errno::EPERM => {
            "CAP_NET_ADMIN is needed, in the initial user namespace: run it as root (sudo)"
        }
        Errno::ENOENT => "`nfwasm list` shows the loaded filters",
        Errno::ENOTTY => {
            "the loaded kernel module is older than this nfwasm: load the one of the same release"
        }
        Errno::E2BIG => {
            "the loaded kernel module is older than this nfwasm and lacks a requested setting"
        }
        Errno::ENOMEM => "nothing was changed; free memory, or load a smaller filter",
        Errno::EFBIG => "`nfwasm info` shows the limits",
        Errno::ENODEV => "`ip link` shows this network namespace's devices",
        Errno::ENOSPC => "`nfwasm info` shows the limits, `nfwasm list` the loaded filters",
        _ => return None,
    };
    Some(help.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(error: &Error) -> String {
        let mut bytes = Vec::new();
        error.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_refusal_shows_the_kernels_text_and_a_remedy() {
        let refusal = Refusal {
            errno: Errno::EEXIST,
            text: "taken \x1b[2J\n".to_owned(),
        };
        let error = refusal.while_trying("cannot load `x`", |_| Some("another name".to_owned()));
        assert_eq!(error.exit_code(), 4);
        assert_eq!(
            written(&error),
            "nfwasm: cannot load `x`: taken \\u{1b}[2J [EEXIST]\nhelp: another name\n"
        );
    }

    #[test]
    fn a_refusal_without_text_has_a_general_remedy() {
        let error = Refusal::from(Errno::EPERM).while_trying("cannot list", |_| None);
        assert_eq!(
            written(&error),
            "nfwasm: cannot list: Operation not permitted [EPERM]\n\
             help: CAP_NET_ADMIN is needed, in the initial user namespace: run it as root (sudo)\n"
        );
    }

    #[test]
    fn an_unknown_command_is_a_mismatch() {
        let error = Refusal::from(Errno::ENOTTY).while_trying("cannot run", |_| None);
        assert_eq!(error.exit_code(), 3);
    }
}
