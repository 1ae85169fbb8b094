// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the transcripts `tests/cmd/*.trycmd` of commands that need no device. `TRYCMD=overwrite`
//! updates them.

#[test]
fn transcripts() {
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .case("tests/cmd/*.trycmd");
}
