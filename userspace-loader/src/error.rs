// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong: what was tried, why it failed, and what would help.

use std::fmt::Display;
use std::io::{self, Write};

use nix::errno::Errno;
use serde::Serialize;

use crate::name;

/// What a verb gives.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Whose fault it was; each has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something outside the kernel failed.
    Failure,
    /// The command line asks for something that cannot be.
    Usage,
    /// The kernel has no nf_wasm, or one that this tool does not know.
    Mismatch,
    /// The kernel said no.
    Refused,
}

/// A verb that did not do what it was asked.
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

    /// Something outside the kernel failed.
    pub fn failure(what: impl Display, why: impl Display) -> Self {
        Self::new(Kind::Failure, what, why)
    }

    /// The command line asks for something that cannot be.
    pub fn usage(what: impl Display, why: impl Display) -> Self {
        Self::new(Kind::Usage, what, why)
    }

    /// The kernel and this tool do not fit together.
    pub fn mismatch(what: impl Display, why: impl Display) -> Self {
        Self::new(Kind::Mismatch, what, why)
    }

    /// There is no module to talk to.
    pub fn no_device(what: impl Display) -> Self {
        Self {
            errno: Some(Errno::ENODEV),
            ..Self::mismatch(what, "the nf_wasm module is not loaded")
        }
        .help("`modprobe nf_wasm`, or `insmod` its file; `nfwasm doctor` says what is missing")
    }

    /// The kernel's listing does not have it. Commands that name a filter to the module get the
    /// same answer from there, so it is the same error.
    pub fn no_such(what: impl Display, why: impl Display) -> Self {
        Self {
            errno: Some(Errno::ENOENT),
            ..Self::new(Kind::Refused, what, why)
        }
    }

    /// The kernel's listing has no filter that is called `which`.
    pub fn no_filter(what: impl Display, which: impl Display) -> Self {
        let why = format!("this network namespace has no filter {which}");
        Self::no_such(what, why).help("`nfwasm list` shows the filters there are")
    }

    /// The same error with a remedy.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The code that the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failure => 1,
            Kind::Usage => 2,
            Kind::Mismatch => 3,
            Kind::Refused => 4,
        }
    }

    /// What would help.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// There is no module to talk to.
    pub fn is_no_device(&self) -> bool {
        self.kind == Kind::Mismatch && self.errno == Some(Errno::ENODEV)
    }

    /// The output's reader went away.
    pub fn is_broken_pipe(&self) -> bool {
        self.kind == Kind::Failure && self.errno == Some(Errno::EPIPE)
    }

    /// Tells a person.
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

    /// Tells a program.
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
    /// Only output is written without saying what was tried.
    fn from(error: io::Error) -> Self {
        let mut failure = Self::failure("cannot write the output", &error);
        failure.errno = error.raw_os_error().map(Errno::from_raw);
        failure
    }
}

/// The kernel said no to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its errno.
    pub errno: Errno,
    /// Its explanation, or nothing.
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
    /// Says what the command was to do. `remedy` knows what helps against an errno there. Where it
    /// does not, and the module left it at the errno, what helps everywhere is said.
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
            // It may quote what the Wasm module says.
            (name::shown_text(&self.text), help)
        };
        Error {
            errno: Some(self.errno),
            help,
            ..Error::new(kind, what, why)
        }
    }
}

/// What helps wherever the module gives `errno`.
fn general_remedy(errno: Errno) -> Option<String> {
    let help = match errno {
        Errno::EPERM => {
            "CAP_NET_ADMIN is needed, in the initial user namespace: run it as root (sudo)"
        }
        Errno::ENOENT => "`nfwasm list` shows the filters there are",
        Errno::ENOTTY => {
            "the loaded module is older than this nfwasm: load the module that came with it"
        }
        Errno::E2BIG => {
            "the loaded module is older than this nfwasm and lacks a setting that was asked for"
        }
        Errno::ENOMEM => "nothing was changed; free memory, or load a smaller filter",
        Errno::EFBIG => "`nfwasm info` shows the limits",
        Errno::ENODEV => "`ip link` shows this network namespace's devices",
        Errno::ENOSPC => "`nfwasm info` shows the limits, `nfwasm list` what is loaded",
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
    fn a_refusal_says_the_kernels_words_and_a_remedy() {
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
    fn an_errno_alone_has_a_remedy_too() {
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
