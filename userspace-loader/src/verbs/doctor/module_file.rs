// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks the kernel module's file: whether it exists, and whether it fits the running kernel.

use std::fs;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use super::Check;

/// `sign-file` appends this to a signed module.
const SIGNED: &[u8] = b"~Module signature appended~\n";

/// The module's file.
pub(super) enum ModuleFile {
    /// No file is installed for the running kernel.
    Missing,
    /// The file that modprobe would load, or the reason why it cannot be read.
    Installed {
        path: PathBuf,
        contents: Result<Contents, String>,
    },
    /// The file of `--module`, or the reason why it cannot be read.
    Given {
        path: PathBuf,
        contents: Result<Contents, String>,
    },
}

/// Properties of a kernel module's file.
pub(super) struct Contents {
    vermagic: String,
    signed: bool,
}

impl ModuleFile {
    /// Finds the file in the same way as modprobe, unless one is `given`.
    pub(super) fn find(root: &Path, release: Option<&str>, given: Option<&Path>) -> Self {
        if let Some(path) = given {
            return Self::Given {
                path: path.to_owned(),
                contents: read(path),
            };
        }
        let Some(release) = release else {
            return Self::Missing;
        };
        let directory = Path::new("lib/modules").join(release);
        let index = fs::read_to_string(root.join(&directory).join("modules.dep"));
        let path = index.ok().and_then(|index| {
            let mut files = index.lines().filter_map(|line| line.split(':').next());
            let ours = files.find(|file| {
                let name = file.rsplit('/').next().unwrap_or_default();
                name.starts_with("nf_wasm.ko")
            });
            ours.map(|file| directory.join(file))
        });
        match path {
            None => Self::Missing,
            Some(path) => Self::Installed {
                contents: read(&root.join(&path)),
                path: Path::new("/").join(path),
            },
        }
    }

    /// Whether the file is signed, if it could be read.
    pub(super) fn is_signed(&self) -> Option<bool> {
        match self {
            Self::Missing => None,
            Self::Installed { contents, .. } | Self::Given { contents, .. } => {
                contents.as_ref().ok().map(|contents| contents.signed)
            }
        }
    }
}

fn read(path: &Path) -> Result<Contents, String> {
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let compressed = path
        .extension()
        .is_some_and(|extension| extension != "ko" && bytes.get(..4) != Some(b"\x7fELF"));
    if compressed {
        return Err(format!(
            "is compressed: compare `modinfo -F vermagic {}` with `uname -r`",
            path.display()
        ));
    }
    let elf =
        object::File::parse(&*bytes).map_err(|error| format!("is not an ELF file: {error}"))?;
    let modinfo = elf
        .section_by_name(".modinfo")
        .and_then(|section| section.data().ok())
        .ok_or("is not a kernel module: it has no .modinfo")?;
    let vermagic = modinfo
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"vermagic="))
        .ok_or("is not a kernel module: it has no vermagic")?;
    Ok(Contents {
        vermagic: String::from_utf8_lossy(vermagic).into_owned(),
        signed: bytes.ends_with(SIGNED),
    })
}

/// Checks that the running kernel can load the file.
pub(super) fn check(file: &ModuleFile, release: Option<&str>, loaded: bool) -> Check {
    const NAME: &str = "module file";
    let build = match release {
        Some(release) => format!(
            "build nf_wasm.ko for {release} (`cargo xtask build`) and install it under \
             /lib/modules/{release}/updates, then run `depmod`"
        ),
        None => "build nf_wasm.ko for the running kernel".to_owned(),
    };
    let (path, contents) = match file {
        ModuleFile::Missing if loaded => {
            return Check::ok(NAME, "not installed, but the module is loaded")
        }
        ModuleFile::Missing => return Check::problem(NAME, "not installed", build),
        ModuleFile::Installed { path, contents } | ModuleFile::Given { path, contents } => {
            (path.display(), contents)
        }
    };
    let contents = match contents {
        Ok(contents) => contents,
        Err(why) if why.starts_with("is compressed") => {
            return Check::unknown(NAME, format!("{path} {why}"), None)
        }
        Err(why) => return Check::problem(NAME, format!("{path} {why}"), build),
    };
    let built_for = contents.vermagic.split(' ').next().unwrap_or_default();
    match release {
        Some(release) if release == built_for => Check::ok(NAME, format!("{path}, for {release}")),
        Some(_) => Check::problem(NAME, format!("{path} is for {built_for}"), build),
        None => Check::unknown(NAME, format!("{path} is for {built_for}"), None),
    }
}
