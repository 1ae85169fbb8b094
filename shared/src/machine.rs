// SPDX-License-Identifier: GPL-2.0-only
//! The struct that compiled code runs on, shared with its callers. The kernel half includes this file, too.

use core::ffi::c_void;

/// What compiled code runs on. Its address is the code's only argument, and the slots of the code's
/// frames follow it: those of the first function first.
#[repr(C)]
#[derive(Debug)]
pub struct Machine {
    /// In and out: fuel. A host function leaves its complement to trap; and what a block did not
    /// suffice for may leave less than nothing.
    pub fuel: i64,
    /// The linear memory's first byte.
    pub memory: *mut u8,
    /// Its bytes.
    pub memory_bytes: usize,
    /// The first global's value; the others follow at the distance that the environment says.
    pub globals: *mut u8,
    /// Number of the trap that a host function leaves.
    pub trap: u64,
    /// Whose machine it is.
    pub owner: *mut c_void,
    /// Of code that reads packets in place: the packet's first byte.
    pub window: *const u8,
    /// And minus the address behind the bytes of the window that are there.
    pub minus_end: i64,
    /// How its packet came, for whoever has to decide that in another way. The code does not know of it.
    pub state: *const c_void,
    /// Bytes of the window that were last written to linear memory, and are to be zero where the next
    /// packet is shorter. Nor of this.
    pub shown: u64,
}

/// An instruction, of which compiled code is handed an address and does not look at it.
#[repr(C)]
#[derive(Debug)]
#[allow(
    non_camel_case_types,
    reason = "its name is part of what is hashed: see `Run`"
)]
pub struct bpf_insn {
    _opaque: [u8; 0],
}

/// Compiled code, as the kernel's compiler leaves it: C's `bpf_func_t`. On a kernel with control-flow
/// integrity the code begins with a hash of that type, and who calls it through another dies. The first
/// argument is a [`Machine`], the second is not looked at. A value below [`TRAPPED`] is what it returns,
/// the verdict of a filter or 0; another is `TRAPPED` and a trap's number.
pub type Run = unsafe extern "C" fn(machine: *const c_void, unused: *const bpf_insn) -> u32;

/// See [`Run`].
pub const TRAPPED: u32 = 0x100;

/// The slot of the first function's first parameter, and after it returned of its first result.
pub const FIRST_SLOT: u32 = 2;

/// The slot of a filter's third parameter, the window's length: the others are constants.
pub const LEN_SLOT: u32 = FIRST_SLOT + 2;

impl Machine {
    /// A slot's address.
    ///
    /// # Safety
    ///
    /// `machine` is followed by slots, of which this is one.
    #[inline(always)]
    pub unsafe fn slot(machine: *mut Self, slot: u32) -> *mut u64 {
        // SAFETY: The caller vouches that slots follow the machine and that `slot` is one of them, so both
        // additions stay in one allocation. `Machine` is a whole number of words: the slots are aligned.
        unsafe { machine.add(1).cast::<u64>().add(slot as usize) }
    }
}
