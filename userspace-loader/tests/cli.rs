// SPDX-License-Identifier: MIT OR Apache-2.0
//! What needs no device, as transcripts: `tests/cmd/*.trycmd`. `TRYCMD=overwrite` refreshes them.

#[test]
fn transcripts() {
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .case("tests/cmd/*.trycmd");
}
