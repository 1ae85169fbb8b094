// SPDX-License-Identifier: GPL-2.0-only
//! Runs the command `nfwasm`.

use std::process::{Command, Output};

use serde_json::Value;

use crate::net::Namespace;

/// The result of `nfwasm`.
#[derive(Debug)]
pub struct Answer {
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// The text on standard error.
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Namespace {
    /// Runs `nfwasm WORDS…` in the namespace.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[track_caller]
    pub fn nfwasm(&self, words: &[&str]) -> Answer {
        self.enter(|| {
            let output = Command::new("nfwasm").args(words).output();
            output.expect("nfwasm").into()
        })
    }

    /// Runs `nfwasm --json WORDS…` in the namespace. Returns the parsed output.
    ///
    /// # Panics
    ///
    /// If it failed, or printed no JSON.
    #[track_caller]
    pub fn nfwasm_json(&self, words: &[&str]) -> Value {
        let answer = self.nfwasm(&[&["--json"], words].concat());
        assert_eq!(answer.status, 0, "nfwasm {words:?}: {answer:?}");
        match serde_json::from_str(&answer.stdout) {
            Ok(value) => value,
            Err(error) => panic!("nfwasm {words:?} printed no JSON: {error}: {answer:?}"),
        }
    }
}
