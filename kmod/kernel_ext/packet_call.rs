// SPDX-License-Identifier: GPL-2.0-only
//! Native code that decides packets, as `packet/context.c` calls it.
//!
//! C header: `include/linux/filter.h`

use core::ffi::c_void;
use core::mem::{offset_of, transmute, MaybeUninit};

use kernel::bindings as kernel_bindings;

use crate::abi::guest::Context;
use crate::abi::trap::Trap;
use crate::kernel_ext::bindings;
use crate::kernel_ext::skb::{HookState, SkBuff};
use crate::machine::{Machine, Run, LEN_SLOT, TRAPPED};

/// A filter's native code, with what it needs to decide packets; `helpers.h` describes each field.
pub(crate) use bindings::nf_wasm_call as PacketCall;

/// Which fields of the context the code reads. `FIELDS_ALL`: any. `FIELDS_COMMON`: at most the
/// packet's length, and the transport header's offset and protocol. `FIELDS_NONE`: none. Version
/// and size are constant, and do not count.
pub(crate) use bindings::{
    NF_WASM_FIELDS_ALL as FIELDS_ALL, NF_WASM_FIELDS_COMMON as FIELDS_COMMON,
    NF_WASM_FIELDS_NONE as FIELDS_NONE,
};

/// Return values of [`run_in_place`] for packets that must be decided on a copy.
pub(crate) use bindings::{NF_WASM_BAILED_OUT as BAILED_OUT, NF_WASM_NOT_IN_PLACE as NOT_IN_PLACE};

// Rust and C must agree on layout and numbers.
const _: () = {
    use bindings::nf_wasm_machine as InC;
    assert!(offset_of!(Machine, fuel) == offset_of!(InC, fuel));
    assert!(offset_of!(Machine, window) == offset_of!(InC, window));
    assert!(offset_of!(Machine, minus_end) == offset_of!(InC, minus_end));
    assert!(offset_of!(Machine, state) == offset_of!(InC, state));
    assert!(offset_of!(Machine, shown) == offset_of!(InC, shown));
    assert!(size_of::<Machine>() == offset_of!(InC, slots));
    assert!(LEN_SLOT == bindings::NF_WASM_LEN_SLOT);
    assert!(bindings::NF_WASM_NO_PACKET == TRAPPED | Trap::Packet as u32);
    assert!(BAILED_OUT == TRAPPED | Trap::MemoryOutOfBounds as u32);
    assert!(size_of::<Context>() == size_of::<bindings::nf_wasm_context>());
};

/// The type of native code, as C declares it: a `bpf_func_t`.
pub(crate) type BpfFunc =
    unsafe extern "C" fn(*const c_void, *const kernel_bindings::bpf_insn) -> u32;

/// Converts the engine's type of native code to C's.
pub(crate) fn bpf_func(run: Run) -> BpfFunc {
    // SAFETY: Both are pointers to functions with the same calling convention. Their types differ
    // only in the declaration of a pointer's target, which is not accessed. For kCFI both are
    // `bpf_func_t`, because both targets are named `bpf_insn`.
    unsafe { transmute::<Run, BpfFunc>(run) }
}

/// Runs `call.run_in_place` on a packet of `len` bytes. Returns the code's return value, or
/// [`NOT_IN_PLACE`] or [`BAILED_OUT`].
///
/// # Safety
///
/// Only the caller uses the machine and the context of `call`, which are valid, and the code was
/// compiled for them. `context` is not null, and `run_in_place` is set.
#[inline(always)]
pub(crate) unsafe fn run_in_place(
    call: &PacketCall,
    skb: &SkBuff,
    state: &HookState,
    len: u32,
) -> u32 {
    // SAFETY: Packet and state are valid by their types; for the rest see the contract.
    unsafe { bindings::nf_wasm_run_in_place(call, skb.as_raw(), state.as_raw(), len) }
}

/// Runs `call.run` on a copy of a packet of `len` bytes. Returns the code's return value, or
/// [`TRAPPED`] plus [`Trap::Packet`] if the packet could not be read.
///
/// # Safety
///
/// Only the caller uses the machine and the context of `call`, which are valid, and the code was
/// compiled for them. `context` is not null.
#[inline(always)]
pub(crate) unsafe fn run_on_copy(
    call: &PacketCall,
    skb: &SkBuff,
    state: &HookState,
    len: u32,
) -> u32 {
    // SAFETY: Packet and state are valid by their types; for the rest see the contract.
    unsafe { bindings::nf_wasm_run_on_copy(call, skb.as_raw(), state.as_raw(), len) }
}

/// The context of a packet. The engine fills in version, size and window_len.
pub(crate) fn context(skb: &SkBuff, state: &HookState) -> Context {
    let mut context = MaybeUninit::<Context>::uninit();
    // SAFETY: Packet and state are valid by their types. `Context` has the layout of `struct
    // nf_wasm_context`, so it has room for that, and all of its fields are written.
    unsafe {
        bindings::nf_wasm_context_fill(context.as_mut_ptr().cast(), skb.as_raw(), state.as_raw());
        context.assume_init()
    }
}

/// Bytes of kernel memory of a `bpf_prog`.
///
/// # Safety
///
/// `program` came from `nf_wasm_host_jit`, and has not been freed.
pub(crate) unsafe fn program_bytes(program: *const c_void) -> usize {
    // SAFETY: By the contract.
    unsafe { bindings::nf_wasm_jit_bytes(program) }
}
