// SPDX-License-Identifier: GPL-2.0-only
//! The buffer in a guest's linear memory: the context struct, then the window.

use nf_wasm_shared::abi::guest::{Context, VERSION};

/// Bytes of the context struct as the guest sees it.
pub(crate) const CONTEXT_BYTES: u32 = size_of::<Context>() as u32;

/// Where the buffer is. Linear memory never shrinks, so a buffer in bounds stays in bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    address: u32,
    snaplen: u32,
}

impl Buffer {
    /// Size of a buffer for windows of `snaplen` bytes.
    pub(crate) const fn bytes(snaplen: u32) -> u32 {
        CONTEXT_BYTES + snaplen
    }

    /// A buffer at `address`, if it is aligned and lies within `memory_bytes`.
    pub(crate) fn at(address: u32, snaplen: u32, memory_bytes: usize) -> Option<Self> {
        let end = address.checked_add(Self::bytes(snaplen))? as usize;
        (address % 8 == 0 && end <= memory_bytes).then_some(Self { address, snaplen })
    }

    #[inline]
    pub(crate) fn context_address(self) -> u32 {
        self.address
    }

    #[inline]
    pub(crate) fn window_address(self) -> u32 {
        self.address + CONTEXT_BYTES
    }

    /// Maximum bytes of the window.
    pub(crate) fn snaplen(self) -> u32 {
        self.snaplen
    }

    /// Bytes of the window for a packet of `packet_len` bytes.
    #[inline]
    pub(crate) fn window_len(self, packet_len: u32) -> u32 {
        packet_len.min(self.snaplen)
    }

    /// Clears the window, and writes the constant fields of the context.
    pub(crate) fn clear(self, memory: &mut [u8]) {
        if let Some((context, window)) = self.split(memory, self.snaplen) {
            let constant = Context {
                version: VERSION,
                size: CONTEXT_BYTES,
                ..Context::default()
            };
            constant.write_to(context);
            window.fill(0);
        }
    }

    /// The context's and the window's bytes in `memory`.
    #[inline]
    pub(crate) fn split(
        self,
        memory: &mut [u8],
        window_len: u32,
    ) -> Option<(&mut [u8; CONTEXT_BYTES as usize], &mut [u8])> {
        memory
            .get_mut(self.address as usize..)?
            .split_first_chunk_mut()
            .and_then(|(context, rest)| Some((context, rest.get_mut(..window_len as usize)?)))
    }
}
