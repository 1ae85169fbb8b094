// SPDX-License-Identifier: GPL-2.0-only
//! The machine: the struct that compiled code runs on. The kernel half includes this file, too.

use core::ffi::c_void;
use core::ptr;

/// The struct that compiled code runs on. Its address is the code's only argument. The slots of the
/// code's frames follow it, beginning with those of the first function. The instance's globals
/// precede it, the first one last: see [`global_offset`].
#[repr(C)]
#[derive(Debug)]
pub struct Machine {
    /// Out: the fuel that is left. In, too, for code that has no constant fuel. A host function that
    /// traps leaves the bitwise complement of the fuel, which is negative. Negative if the fuel did
    /// not suffice for a block.
    pub fuel: i64,
    /// First byte of the linear memory.
    pub memory: *mut u8,
    /// Bytes of the linear memory.
    pub memory_bytes: usize,
    /// Out: number of a host function's trap.
    pub trap: u64,
    /// What host functions work on: a [`HostState`]. The code ignores it.
    pub host: *mut c_void,
    /// In place only: address of the packet's first byte.
    pub window: *const u8,
    /// In place only: negated address of the end of the linear bytes.
    pub minus_end: i64,
    /// The hook state of the packet in place, kept for the copy if the code bails out. The code
    /// ignores it.
    pub state: *const c_void,
    /// Bytes of the window that the last copy wrote. The next copy clears those that it does not
    /// overwrite. The code ignores it.
    pub shown: u64,
}

/// An instruction. Compiled code is passed the address of one, and ignores it.
#[repr(C)]
#[derive(Debug)]
#[allow(
    non_camel_case_types,
    reason = "kCFI's hash includes the name: see `Run`"
)]
pub struct bpf_insn {
    _opaque: [u8; 0],
}

/// Native code from the kernel's eBPF compiler: C's `bpf_func_t`. With kCFI a hash of that type
/// precedes the code, and a call through another type traps. The first argument is a [`Machine`],
/// the second is ignored. The result is a verdict or 0, or [`TRAPPED`] plus a trap's number.
pub type Run = unsafe extern "C" fn(machine: *const c_void, unused: *const bpf_insn) -> u32;

/// Added to a trap's number in the result of [`Run`].
pub const TRAPPED: u32 = 0x100;

/// The slot of the first function's first parameter, and after the return of its first result.
pub const FIRST_SLOT: u32 = 2;

/// The slot of a filter's third parameter, the window's length. The other parameters are constants.
pub const LEN_SLOT: u32 = FIRST_SLOT + 2;

/// Bytes from the machine's address to the value of a global, which has 8 bytes.
pub const fn global_offset(global: u32) -> i32 {
    // At most 1,024 globals.
    -8 * (global as i32 + 1)
}

/// What host functions of a native instance work on.
#[repr(C)]
#[derive(Debug)]
pub struct HostState<H> {
    /// The host.
    pub host: H,
    /// Bytes of the current packet.
    pub packet_len: u32,
}

impl Machine {
    /// A machine for `bytes` bytes of linear memory at `memory`, before the first call.
    pub const fn new(memory: *mut u8, bytes: usize) -> Self {
        Self {
            fuel: 0,
            memory,
            memory_bytes: bytes,
            trap: 0,
            host: ptr::null_mut(),
            window: ptr::null(),
            minus_end: 0,
            state: ptr::null(),
            shown: 0,
        }
    }

    /// A slot's address.
    ///
    /// # Safety
    ///
    /// `machine` is followed by slots, of which this is one.
    #[inline(always)]
    pub unsafe fn slot(machine: *mut Self, slot: u32) -> *mut u64 {
        // SAFETY: By the contract, slots follow the machine and `slot` is one of them, so both
        // additions stay in one allocation. `Machine` is a whole number of words, so the slots are
        // aligned.
        unsafe { machine.add(1).cast::<u64>().add(slot as usize) }
    }
}
