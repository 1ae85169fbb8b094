// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads Wasm modules from files, binary or in the text format, and their signatures.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// Maximum size of a file in bytes. It is above the limit of modules, and ends reads of /dev/zero.
const MAX_FILE: u64 = 64 << 20;

/// A Wasm module as the kernel loads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// The Wasm binary.
    pub wasm: Vec<u8>,
    /// The detached PKCS#7 signature; empty if there is none.
    pub signature: Vec<u8>,
    /// The settings in its manifest.
    pub manifest: Manifest,
}

impl Module {
    /// Reads a module and its signature. The signature is in the file `signature`, or by default in
    /// the file with the module's name plus `.p7s`, if that exists.
    ///
    /// A module in the text format has no default signature file, because the kernel gets the
    /// translated binary and not the file.
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

/// Reads the manifest of `wasm`. `path` is only for the error.
pub fn manifest(path: &Path, wasm: &[u8]) -> Result<Manifest> {
    Manifest::of(wasm).map_err(|why| {
        let what = format!("{} has an invalid manifest", path.display());
        Error::failure(what, why).help("docs/guest-interface.md describes manifests")
    })
}

/// The default path of a module's signature.
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

/// Reads a file, and translates the text format to a Wasm binary.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = bytes_of(path).map_err(|error| cannot_read(path, error))?;
    if !is_text(path) {
        // The kernel reports faults of binaries.
        return Ok(bytes);
    }
    wat::parse_bytes(&bytes)
        .map(Cow::into_owned)
        .map_err(|mut error| {
            error.set_path(path);
            // The error's first line names the fault, the other lines show the place.
            Error::failure("cannot translate the text format", error)
        })
}

/// Whether an argument is a file rather than a filter's name: it has a slash, or ends in .wasm or
/// .wat. The contents of the current directory do not matter.
pub fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".wasm") || argument.ends_with(".wat")
}
