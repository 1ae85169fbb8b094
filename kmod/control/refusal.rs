// SPDX-License-Identifier: GPL-2.0-only
//! Refusals: an errno, and a text that tells the caller why a command was refused.

use core::fmt::{self, Write};

use kernel::prelude::*;

/// The maximum number of bytes of a text.
const TEXT_BYTES: usize = 1024;

/// A text of bounded length. Longer text is cut off.
pub(crate) struct Text {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl Text {
    /// An empty text.
    pub(crate) fn new() -> Result<KBox<Self>> {
        Ok(KBox::new(
            Text {
                bytes: [0; TEXT_BYTES],
                len: 0,
            },
            GFP_KERNEL,
        )?)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The memory and the length in it, for code that writes both.
    pub(crate) fn as_parts(&mut self) -> (&mut [u8], &mut usize) {
        (&mut self.bytes, &mut self.len)
    }

    /// Appends as many of `bytes` as fit.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(TEXT_BYTES - self.len);
        self.bytes[self.len..][..count].copy_from_slice(&bytes[..count]);
        self.len += count;
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// A refused command.
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) text: Option<KBox<Text>>,
}

impl Refusal {
    /// A refusal with a text. The text names the problem and, if possible, a remedy. If there is no
    /// memory for it, the refusal has the errno only.
    pub(crate) fn new(error: Error, arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Text::new().ok();
        if let Some(text) = &mut text {
            // Infallible: text that does not fit is cut off.
            let _ = text.write_fmt(arguments);
        }
        Refusal { error, text }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { error, text: None }
    }
}

impl From<kernel::alloc::AllocError> for Refusal {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Error::from(error).into()
    }
}

/// The result of a command.
pub(crate) type Answer<T = ()> = core::result::Result<T, Refusal>;

/// `refuse!(ERRNO, "format", …)`: returns a refusal from the function.
macro_rules! refuse {
    ($error:expr, $($format:tt)+) => {
        return Err($crate::control::refusal::Refusal::new($error, kernel::prelude::fmt!($($format)+)))
    };
}
pub(crate) use refuse;
