// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wasm modules in files, binary or in the text format, and their signatures.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// Bytes that are read of a file at most: more than any module's limit, and not all of /dev/zero.
const MAX_FILE: u64 = 64 << 20;

/// A module as the kernel takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// The Wasm binary.
    pub wasm: Vec<u8>,
    /// Its detached PKCS#7 signature; empty if there is none.
    pub signature: Vec<u8>,
    /// The settings that it wants.
    pub manifest: Manifest,
}

impl Module {
    /// Reads a module, and its signature: from `signature`, or where that is not given from the
    /// file that is called as the module with `.p7s` behind it, if there is one.
    ///
    /// What the kernel sees of a module in the text format is not its file, so for such a one no
    /// signature is looked for.
    pub fn read(path: &Path, signature: Option<&Path>) -> Result<Self> {
        let wasm = read(path)?;
        let manifest = manifest(path, &wasm)?;
        let signature = match signature {
            Some(signature) => {
                bytes_of(signature).map_err(|error| cannot_read(signature, error))?
            }
            None if is_text(path) => Vec::new(),
            None => {
                let beside = beside(path);
                match bytes_of(&beside) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    read => read.map_err(|error| cannot_read(&beside, error))?,
                }
            }
        };
        Ok(Self {
            wasm,
            signature,
            manifest,
        })
    }
}

/// The manifest of the module in the file `path`.
pub fn manifest(path: &Path, wasm: &[u8]) -> Result<Manifest> {
    Manifest::of(wasm).map_err(|why| {
        let what = format!("{} has a manifest that makes no sense", path.display());
        Error::failure(what, why).help("docs/guest-interface.md says what may be in it")
    })
}

/// Where a module's signature is if nobody says otherwise.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".p7s");
    name.into()
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wat")
}

fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("over {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

fn cannot_read(path: &Path, error: io::Error) -> Error {
    Error::failure(format_args!("cannot read {}", path.display()), error)
}

/// Reads a file and gives the Wasm binary.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = bytes_of(path).map_err(|error| cannot_read(path, error))?;
    if !is_text(path) {
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
