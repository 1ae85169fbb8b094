// SPDX-License-Identifier: GPL-2.0-only
//! Changes a sysctl until dropped.

use std::fs;

/// A changed setting. Restored when it is dropped.
#[derive(Debug)]
pub struct Setting {
    file: &'static str,
    before: String,
}

impl Setting {
    /// Writes a value to the setting in `file`.
    ///
    /// # Panics
    ///
    /// If there is no such setting, or the kernel refuses the value.
    #[track_caller]
    pub fn set(file: &'static str, value: &str) -> Self {
        let before = fs::read_to_string(file).expect(file);
        fs::write(file, value).expect(file);
        Self { file, before }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        fs::write(self.file, &self.before).expect(self.file);
    }
}
