// SPDX-License-Identifier: GPL-2.0-only
//! A caller's memory: regions with holes between them, some of them read-only. Another thread may
//! write to it while the kernel reads.

use std::cell::RefCell;

use nf_wasm_shared::decode::exchange::Memory;
use nf_wasm_shared::decode::wrong::Wrong;

/// A region of a caller's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Address of the first byte.
    pub address: u64,
    pub bytes: Vec<u8>,
    /// Writes to the region fault.
    pub read_only: bool,
}

/// A caller's memory.
pub struct Caller {
    /// The regions. They do not overlap.
    pub regions: RefCell<Vec<Region>>,
    /// The other thread: before the read with this number, it writes a byte at this offset of the
    /// first region.
    pub race: Option<(u32, usize, u8)>,
    reads: RefCell<u32>,
}

impl Caller {
    pub fn new(regions: Vec<Region>, race: Option<(u32, usize, u8)>) -> Self {
        Self {
            regions: RefCell::new(regions),
            race,
            reads: RefCell::new(0),
        }
    }

    /// Calls `f` with each byte of the range, and with whether its region is read-only. Stops and
    /// returns false at the first address in no region, or when `f` returns false.
    fn each(
        &self,
        address: u64,
        len: usize,
        mut f: impl FnMut(usize, &mut u8, bool) -> bool,
    ) -> bool {
        let mut regions = self.regions.borrow_mut();
        (0..len).all(|at| {
            let Some(address) = address.checked_add(at as u64) else {
                return false;
            };
            let found = regions.iter_mut().find_map(|region| {
                let offset = usize::try_from(address.checked_sub(region.address)?).ok()?;
                let read_only = region.read_only;
                Some((region.bytes.get_mut(offset)?, read_only))
            });
            found.is_some_and(|(byte, read_only)| f(at, byte, read_only))
        })
    }

    /// Whether the whole range can be read.
    pub fn is_there(&self, address: u64, len: usize) -> bool {
        self.each(address, len, |_, _, _| true)
    }
}

impl Memory for Caller {
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Wrong> {
        let mut reads = self.reads.borrow_mut();
        *reads += 1;
        if let Some((read, at, byte)) = self.race {
            if read == *reads {
                if let Some(to) = self.regions.borrow_mut()[0].bytes.get_mut(at) {
                    *to = byte;
                }
            }
        }
        let read = self.each(address, to.len(), |at, byte, _| {
            to[at] = *byte;
            true
        });
        read.then_some(()).ok_or(Wrong::Fault)
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Wrong> {
        let written = self.each(address, from.len(), |at, byte, read_only| {
            if !read_only {
                *byte = from[at];
            }
            !read_only
        });
        written.then_some(()).ok_or(Wrong::Fault)
    }
}
