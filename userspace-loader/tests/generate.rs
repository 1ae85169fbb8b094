// SPDX-License-Identifier: MIT OR Apache-2.0
//! Completions and manual pages contain every verb.

use std::fs;
use std::process::Command;

use clap::CommandFactory;
use nfwasm::Cli;

fn verbs() -> Vec<String> {
    let command = Cli::command();
    let verbs = command.get_subcommands();
    verbs.map(|verb| verb.get_name().to_owned()).collect()
}

fn nfwasm(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nfwasm"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn completions_have_every_verb() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = nfwasm(&["completions", shell]);
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell} lacks {verb}");
        }
    }
}

#[test]
fn every_verb_has_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("man1");
    nfwasm(&["man", "--directory", path.to_str().unwrap()]);
    for verb in verbs() {
        let page = fs::read_to_string(path.join(format!("nfwasm-{verb}.1"))).unwrap();
        assert!(page.contains(&format!("nfwasm\\-{verb} \\- ")), "{page}");
        assert!(nfwasm(&["man", &verb]).contains(".SH DESCRIPTION"));
    }
    let page = fs::read_to_string(path.join("nfwasm.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
}
