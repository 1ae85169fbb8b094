// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a Wasm module's manifest: a custom section with the settings that the filter wants, in
//! JSON.
//!
//! The kernel ignores the manifest. The operator's options override it.

use nf_wasm_shared::abi::limits::MAX_SNAPLEN;
use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

/// The section's name.
pub const SECTION: &str = "nfw.manifest";

/// Settings that a filter wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Bytes of a packet that the filter reads, starting at the network header.
    #[serde(default)]
    pub snaplen: Option<u32>,
}

impl Manifest {
    /// Reads the manifest of a module. Without one, returns an empty manifest. Other faults of the
    /// module are left for the kernel to report.
    ///
    /// # Errors
    ///
    /// A description of the fault in the manifest.
    pub fn of(wasm: &[u8]) -> Result<Self, String> {
        let mut found: Option<Self> = None;
        for payload in Parser::new(0).parse_all(wasm) {
            let section = match payload {
                Ok(Payload::CustomSection(section)) if section.name() == SECTION => section,
                Ok(_) => continue,
                Err(_) => break,
            };
            if found.is_some() {
                return Err(format!("there are two sections {SECTION}"));
            }
            let at = section.data_offset();
            let manifest: Self = serde_json::from_slice(section.data())
                .map_err(|error| format!("the section {SECTION} at offset {at:#x}: {error}"))?;
            if let Some(snaplen) = manifest.snaplen {
                if snaplen == 0 || snaplen > MAX_SNAPLEN {
                    return Err(format!(
                        "the section {SECTION} at offset {at:#x}: snaplen is {snaplen}, which is \
                         not in 1..={MAX_SNAPLEN}"
                    ));
                }
            }
            found = Some(manifest);
        }
        Ok(found.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sections: &[&str]) -> Result<Manifest, String> {
        let sections = sections.iter().fold(String::new(), |all, text| {
            all + &format!("(@custom {SECTION:?} {text:?})")
        });
        Manifest::of(&wat::parse_str(format!("(module {sections})")).expect("a module"))
    }

    #[test]
    fn manifests_are_read() {
        let manifest = |snaplen| Ok(Manifest { snaplen });
        assert_eq!(of(&[]), manifest(None));
        assert_eq!(of(&["{}"]), manifest(None));
        assert_eq!(of(&[r#"{"snaplen": 40}"#]), manifest(Some(40)));
        assert_eq!(of(&[r#"{"snaplen": 65535}"#]), manifest(Some(65_535)));
        assert_eq!(Manifest::of(b"no module"), manifest(None));
    }

    #[test]
    fn faults_are_described() {
        for (sections, part) in [
            (&["{}", "{}"][..], "two sections nfw.manifest"),
            (&["{"], "EOF while parsing"),
            (&[r#"{"snaplan": 40}"#], "unknown field `snaplan`"),
            (
                &[r#"{"snaplen": 0}"#],
                "snaplen is 0, which is not in 1..=65535",
            ),
            (&[r#"{"snaplen": 65536}"#], "not in 1..=65535"),
            (&[r#"{"snaplen": -1}"#], "expected u32"),
        ] {
            let error = of(sections).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
