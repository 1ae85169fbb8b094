// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capability `nfw.log`.

use core::fmt;

use nf_wasm_shared::abi::limits::LOG_LINE_BYTES;

use crate::import::log;

/// Writes one line to the kernel log. The host limits the rate.
#[inline]
pub fn write(text: &str) {
    // SAFETY: `text` is valid for reads of its length.
    unsafe { log::write(text.as_ptr(), text.len() as u32) };
}

/// A buffer for a line. Text that does not fit is cut off.
///
/// `write!` works too, but `core::fmt` is larger than most filters.
pub struct Line {
    text: [u8; LOG_LINE_BYTES as usize],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            text: [0; LOG_LINE_BYTES as usize],
            len: 0,
        }
    }
}

impl Line {
    /// Appends text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for &byte in text.as_bytes() {
            self.push(byte);
        }
        self
    }

    /// Appends a decimal number.
    pub fn number(&mut self, number: u32) -> &mut Self {
        let mut divisor = 1_000_000_000;
        while divisor > 1 && number < divisor {
            divisor /= 10;
        }
        while divisor > 0 {
            // `% 10` keeps it one digit.
            self.push(b'0' + (number / divisor % 10) as u8);
            divisor /= 10;
        }
        self
    }

    /// The text so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }

    /// Writes the line.
    pub fn write(&self) {
        // SAFETY: The line's text is valid for reads of its length.
        unsafe { log::write(self.text.as_ptr(), self.len as u32) };
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn numbers_are_decimal() {
        let mut line = Line::default();
        for number in [0, 7, 10, 4_294_967_295] {
            line.text(" ").number(number);
        }
        assert_eq!(line.as_bytes(), b" 0 7 10 4294967295");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_off() {
        let mut line = Line::default();
        for _ in 0..1000 {
            line.text("x");
        }
        assert_eq!(line.as_bytes(), [b'x'; 256]);
    }
}
