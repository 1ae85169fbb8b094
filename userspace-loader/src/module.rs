// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wasm modules in files: binary, or the text format.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that are read of a file at most: more than any module's limit, and not all of /dev/zero.
const MAX_FILE: u64 = 64 << 20;

/// Reads a file and gives the Wasm binary.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let what = format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::failure(&what, error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::failure(what, format_args!("over {MAX_FILE} bytes")));
    }
    if path.extension().is_none_or(|extension| extension != "wat") {
        // What is wrong with a binary, the kernel says.
        return Ok(bytes);
    }
    wat::parse_bytes(&bytes)
        .map(Cow::into_owned)
        .map_err(|mut error| {
            error.set_path(path);
            // Its first line says what is wrong, the others show where.
            Error::failure("cannot translate the text format", error)
        })
}

/// Whether an argument that may be a file or a filter's name is a file: it has a slash, or ends
/// as files do. What lies in the current directory does not matter.
pub fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".wasm") || argument.ends_with(".wat")
}
