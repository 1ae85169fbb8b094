// SPDX-License-Identifier: GPL-2.0-only
//! Native code of a filter, its snapshot, and the instances that are copies of it.

use core::ffi::c_void;
use core::ptr;
use core::slice;

use kernel::page::PAGE_SIZE;
use kernel::prelude::*;

use crate::boundary::{self, NativeFilter};
use crate::kernel_ext::memory::{Block, Place, BLOCK_ALIGN};
use crate::kernel_ext::packet_call;
use crate::machine::{global_offset, Machine};

/// A filter's native code, and the snapshot that its instances begin as.
///
/// # Invariants
///
/// `filter` came from a build, and `programs` has its code. `snapshot` has the layout that `layout`
/// describes.
pub(crate) struct NativeCode {
    filter: NativeFilter,
    programs: Programs,
    layout: Layout,
    snapshot: Block,
}

// SAFETY: Nothing in it is tied to a thread. Native code may run anywhere.
unsafe impl Send for NativeCode {}
// SAFETY: It is constant.
unsafe impl Sync for NativeCode {}

/// The parts of an instance's block: globals, the first one last; machine; slots of frames; linear
/// memory; the guard, whose bytes stay zero. Their offsets are in bytes.
#[derive(Clone, Copy)]
struct Layout {
    machine: usize,
    memory: usize,
    bytes: usize,
}

impl Layout {
    fn of(filter: &NativeFilter) -> Self {
        let word = size_of::<u64>();
        // Machine and memory begin on cache lines. At most 1,024 globals, and some megabytes of
        // slots and memory.
        let machine = (filter.globals_len as usize * word).next_multiple_of(BLOCK_ALIGN);
        let slots = size_of::<Machine>() + filter.slots as usize * word;
        let memory = (machine + slots).next_multiple_of(BLOCK_ALIGN);
        Layout {
            machine,
            memory,
            bytes: (memory + filter.memory_bytes + filter.guard_bytes)
                .next_multiple_of(BLOCK_ALIGN),
        }
    }
}

impl NativeCode {
    /// Takes over the `bpf_prog`s of `filter`, and copies what its instances begin as.
    ///
    /// # Safety
    ///
    /// `filter` came from a build, whose region still lives, and is used only here.
    pub(crate) unsafe fn new(filter: NativeFilter, place: Place) -> Result<Self> {
        // INVARIANT: By the contract.
        let programs = Programs([filter.program, filter.in_place.program]);
        let layout = Layout::of(&filter);
        let snapshot = Block::zeroed(layout.bytes, place)?;
        // SAFETY: By the contract globals and memory are valid for their lengths. The snapshot is new,
        // and has room for all of its parts.
        unsafe {
            let machine = snapshot.start().add(layout.machine);
            for global in 0..filter.globals_len {
                let to = machine.offset(global_offset(global) as isize).cast::<u64>();
                to.write(*filter.globals.add(global as usize));
            }
            let memory = snapshot.start().add(layout.memory);
            ptr::copy_nonoverlapping(filter.memory, memory, filter.memory_bytes);
        }
        // The region is freed.
        let filter = NativeFilter {
            globals: ptr::null(),
            memory: ptr::null(),
            ..filter
        };
        // INVARIANT: By the contract, and the snapshot was just written.
        Ok(NativeCode {
            filter,
            programs,
            layout,
            snapshot,
        })
    }

    /// A new instance, which begins as the snapshot.
    pub(crate) fn instance(&self, place: Place) -> Result<NativeInstance> {
        let block = self.snapshot.copy(place)?;
        // SAFETY: The new block is ours, and has the snapshot's layout. A machine is plain data.
        let machine = unsafe {
            let machine = block.start().add(self.layout.machine).cast::<Machine>();
            let memory = block.start().add(self.layout.memory);
            machine.write(Machine::new(memory, self.filter.memory_bytes));
            machine
        };
        // INVARIANT: The machine was just written.
        Ok(NativeInstance { machine, block })
    }

    /// Restores an instance: its globals and linear memory. Copies only pages that differ.
    ///
    /// # Safety
    ///
    /// `instance` came from [`Self::instance`] of this, and no other code uses it.
    pub(crate) unsafe fn restore(&self, instance: &NativeInstance) {
        let machine = self.layout.machine;
        let parts = [0..machine, self.layout.memory..self.layout.bytes];
        for part in parts {
            // SAFETY: Both blocks have this layout. By the contract the instance's is ours, and the
            // snapshot does not change.
            let (to, from) = unsafe {
                let to = instance.block.start().add(part.start);
                let from = self.snapshot.start().add(part.start);
                (
                    slice::from_raw_parts_mut(to, part.len()),
                    slice::from_raw_parts(from, part.len()),
                )
            };
            for (to, from) in to.chunks_mut(PAGE_SIZE).zip(from.chunks(PAGE_SIZE)) {
                if to != from {
                    to.copy_from_slice(from);
                }
            }
        }
        // SAFETY: By the contract. The memory shows no window now.
        unsafe { (*instance.machine).shown = 0 };
    }

    /// How the code is called.
    pub(crate) fn filter(&self) -> &NativeFilter {
        &self.filter
    }

    /// Whether the code calls host functions.
    pub(crate) fn calls_host(&self) -> bool {
        self.filter.calls_host
    }

    /// Bytes of kernel memory for all instances together.
    pub(crate) fn bytes(&self) -> usize {
        let code = |program: *mut c_void| {
            // SAFETY: By the invariants of `programs`, which are freed with `self`.
            unsafe { packet_call::program_bytes(program) }
        };
        self.snapshot.bytes() + self.programs.iter().map(code).sum::<usize>()
    }
}

/// The kernel's `bpf_prog`s of a filter. A null pointer stands for none.
///
/// # Invariants
///
/// They came from `nf_wasm_host_jit`, and are ours.
struct Programs([*mut c_void; 2]);

impl Programs {
    fn iter(&self) -> impl Iterator<Item = *mut c_void> + '_ {
        self.0.iter().copied().filter(|program| !program.is_null())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for program in self.iter() {
            // SAFETY: By the invariants. It is not running: the code that drops this has exclusive
            // access to the filter's code.
            unsafe { boundary::nf_wasm_host_jit_free(program) };
        }
    }
}

/// One CPU's instance of native code.
///
/// # Invariants
///
/// `machine` is in `block`, between its globals and slots, and its memory is in `block`, too.
pub(crate) struct NativeInstance {
    machine: *mut Machine,
    block: Block,
}

// SAFETY: It owns its memory, and is not tied to a thread.
unsafe impl Send for NativeInstance {}

impl NativeInstance {
    pub(crate) fn machine(&self) -> *mut Machine {
        self.machine
    }

    /// The address of a byte of the linear memory. `offset` is within it.
    pub(crate) fn memory(&self, offset: usize) -> *mut u8 {
        // SAFETY: By the invariants the machine is valid, and the code runs on another CPU or not
        // at all. The code never writes this field.
        unsafe { (*self.machine).memory }.wrapping_add(offset)
    }

    /// Bytes of its block.
    pub(crate) fn bytes(&self) -> usize {
        self.block.bytes()
    }
}
