// SPDX-License-Identifier: MIT OR Apache-2.0
//! `check` gives the same refusals as a load. These tests compare it with the expected refusals of
//! the hostile modules; the test `hostile` in the virtual machine compares the kernel with them.

mod fake;

use std::fs;

use fake::Fake;
use nf_wasm_hostile::{declared, packets, setup, Case, Expected};
use nix::errno::Errno;
use serde_json::Value;

/// Runs `check` on a module. Returns errno and text of a refusal.
fn checked(wasm: &[u8]) -> Result<(), (String, String)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("case.wasm");
    fs::write(&path, wasm).unwrap();
    let (code, stdout, stderr) =
        Fake::default().try_do(&format!("check --json {}", path.display()));
    let report: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
    assert_eq!(report["loadable"], code == 0, "{stdout}{stderr}");
    if code == 0 {
        assert_eq!(report["refusal"], Value::Null);
        return Ok(());
    }
    let word = |name: &str| report["refusal"][name].as_str().unwrap().to_owned();
    Err((word("errno"), word("text")))
}

#[test]
fn hostile_modules_are_refused_as_a_load_refuses_them() {
    let cases = [declared::CASES, setup::CASES, packets::CASES];
    // Modules that use up their fuel take long, and run the same code as other traps.
    let uses_up_fuel = |expected| match expected {
        Expected::Refused(_, words) => words.iter().any(|word| word.contains("out-of-fuel")),
        Expected::Loaded(_) => false,
    };
    let quick = |case: &&Case| !uses_up_fuel(case.expected);
    for case in cases.into_iter().flatten().filter(quick) {
        let said = checked(&(case.module)());
        match (case.expected, said) {
            (Expected::Loaded(_), said) => assert_eq!(said, Ok(()), "{}", case.name),
            (Expected::Refused(..), Ok(())) => panic!("{}: not refused", case.name),
            (Expected::Refused(expected, words), Err((errno, text))) => {
                let expected = format!("{:?}", Errno::from_raw(expected));
                assert_eq!(errno, expected, "{}: {text}", case.name);
                for word in words {
                    assert!(text.contains(word), "{}: {word:?} in {text}", case.name);
                }
            }
        }
    }
}

/// The kernel refuses these by their length alone.
#[test]
fn empty_and_oversized_modules_are_refused_as_the_kernel_refuses_them() {
    for (len, errno, word) in [
        (0, "ENOEXEC", "the module is empty"),
        (
            1_048_577,
            "EFBIG",
            "the module has 1048577 bytes, and at most 1048576",
        ),
    ] {
        let (said, text) = checked(&vec![0; len]).unwrap_err();
        assert_eq!(said, errno, "{text}");
        assert!(text.contains(word), "{text}");
    }
}
