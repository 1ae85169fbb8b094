// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of filters: validates them, derives them from files, and prints them safely.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use nf_wasm_shared::abi::ioctl::NAME_LEN;
use serde::{Serialize, Serializer};

/// Maximum length of a name in bytes.
const MAX: usize = NAME_LEN - 1;

/// A filter's name: 1 to 63 letters, digits, `.`, `_` or `-`. It begins with a letter or digit. It
/// is not all digits, so that it cannot be taken for an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a name cannot be empty".to_owned());
        }
        if text.len() > MAX {
            return Err(format!(
                "a name has at most {MAX} bytes, this one {}",
                text.len()
            ));
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii() || !allowed(*c as u8)) {
            return Err(format!(
                "a name has only letters, digits, `.`, `_` and `-`, this one has {odd:?}"
            ));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err("a name begins with a letter or a digit".to_owned());
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("a name of digits alone would be taken for an id".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Name {
    /// The default name of a filter that is loaded from `path`: the file name without extension,
    /// with `-` in place of characters that names cannot have.
    pub fn for_file(path: &Path) -> Result<Self, String> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut name: String = stem
            .chars()
            .map(|c| match u8::try_from(c) {
                Ok(byte) if allowed(byte) => c,
                _ => '-',
            })
            .skip_while(|c| !c.is_ascii_alphanumeric())
            .take(MAX)
            .collect();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            name.insert_str(0, "filter-");
            name.truncate(MAX);
        }
        name.parse()
    }

    /// The name as a field of an ioctl's struct.
    pub fn field(&self) -> [u8; NAME_LEN] {
        let mut field = [0; NAME_LEN];
        field[..self.0.len()].copy_from_slice(self.0.as_bytes());
        field
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Selects a filter, by name or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By id, which is not 0.
    Id(u32),
    /// By name.
    Name(Name),
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Name);
        }
        match text.parse() {
            Ok(id) if id != 0 => Ok(Self::Id(id)),
            _ => Err(format!("an id is a number from 1 to {}", u32::MAX)),
        }
    }
}

impl Selector {
    /// Whether this selects the filter with this id and this `name` field.
    pub fn selects(&self, id: u32, name: &[u8]) -> bool {
        match self {
            Self::Id(wanted) => *wanted == id,
            Self::Name(wanted) => wanted.0.as_bytes() == until_nul(name),
        }
    }

    /// The selector as `id` and `name` fields of an ioctl's struct.
    pub fn fields(&self) -> (u32, [u8; NAME_LEN]) {
        match self {
            Self::Id(id) => (*id, [0; NAME_LEN]),
            Self::Name(name) => (0, name.field()),
        }
    }
}

impl Serialize for Selector {
    /// Writes an id as a number, and a name as a string.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Id(id) => serializer.serialize_u32(*id),
            Self::Name(name) => serializer.serialize_str(&name.0),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "with id {id}"),
            Self::Name(name) => write!(f, "`{name}`"),
        }
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Makes a zero-terminated text field from the kernel safe to write to a terminal.
pub fn shown(field: &[u8]) -> String {
    shown_text(&String::from_utf8_lossy(until_nul(field)))
}

/// Makes text from the kernel or a guest safe to write to a terminal. Line ends stay; other control
/// characters are escaped.
pub fn shown_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Unicode's format characters can reverse the direction of text, or hide it.
        let odd = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if odd && c != '\n' {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_validated() {
        for good in ["a", "0x", "block-telnet", "a.b_c-9", &"x".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "7",
            "-a",
            ".a",
            "a b",
            "a/b",
            "é",
            "a\n",
            &"x".repeat(64),
        ] {
            bad.parse::<Name>().unwrap_err();
        }
    }

    #[test]
    fn names_are_derived_from_files() {
        for (file, name) in [
            ("block-telnet.wasm", "block-telnet"),
            ("/a/b/My Filter (1).wat", "My-Filter--1-"),
            ("_x.wasm", "x"),
            ("007.wasm", "filter-007"),
            ("é1.wasm", "filter-1"),
            ("v1.2.wasm", "v1.2"),
        ] {
            assert_eq!(Name::for_file(Path::new(file)).unwrap().to_string(), name);
        }
        let long = Name::for_file(Path::new(&"9".repeat(80))).unwrap();
        assert_eq!(long.to_string().len(), MAX);
        Name::for_file(Path::new("---.wasm")).unwrap_err();
    }

    #[test]
    fn selectors_are_names_or_ids() {
        assert_eq!("7".parse(), Ok(Selector::Id(7)));
        "0".parse::<Selector>().unwrap_err();
        "4294967296".parse::<Selector>().unwrap_err();
        let name: Selector = "7a".parse().unwrap();
        assert!(name.selects(1, b"7a\0\0"));
        assert!(!name.selects(1, b"7ab\0"));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(shown(b"a\x1b[31m\0rest"), "a\\u{1b}[31m");
        assert_eq!(shown("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert_eq!(shown(b"\xff\0"), "\u{fffd}");
    }
}
