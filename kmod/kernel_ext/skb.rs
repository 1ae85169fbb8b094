// SPDX-License-Identifier: GPL-2.0-only
//! Packets that a hook function borrows, and the state of the hook.
//!
//! C headers: `include/linux/skbuff.h`, `include/linux/netfilter.h`

use core::ffi::c_uint;
use core::ops::Deref;
use core::ptr::NonNull;

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

use crate::abi::guest::{ACCEPT, DROP};
use crate::kernel_ext::bindings;

/// The return value of a hook function for an accepted packet.
pub(crate) const NF_ACCEPT: c_uint = kernel_bindings::NF_ACCEPT;
/// A guest's verdicts have netfilter's numbers.
const _: () = assert!(
    DROP as c_uint == kernel_bindings::NF_DROP && ACCEPT as c_uint == kernel_bindings::NF_ACCEPT
);

/// A packet: `struct sk_buff`.
///
/// # Invariants
///
/// A reference is to a packet that only its holder uses. The packet is not freed while the reference
/// exists, or until [`Self::drop_for`] is called: after that nobody uses the reference.
#[repr(transparent)]
pub(crate) struct SkBuff(Opaque<kernel_bindings::sk_buff>);

impl SkBuff {
    #[inline(always)]
    pub(super) fn as_raw(&self) -> *mut kernel_bindings::sk_buff {
        self.0.get()
    }

    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: By the invariant the packet is valid, and no other code writes to it.
        unsafe { bindings::nf_wasm_skb_mark(self.as_raw()) }
    }

    pub(crate) fn set_mark(&self, mark: u32) {
        // SAFETY: By the invariant the packet is valid, and no other code uses it.
        unsafe { bindings::nf_wasm_skb_set_mark(self.as_raw(), mark) }
    }

    /// Copies `len` bytes from `offset`, which counts from the network header. Returns the number
    /// of memory pieces that were visited beyond the first, or `-EFAULT` if the packet is too
    /// short.
    ///
    /// # Safety
    ///
    /// `to` is valid for writes of `len` bytes, and not in the packet.
    pub(crate) unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> i32 {
        // SAFETY: By the invariant the packet is valid; for `to` see the contract.
        unsafe { bindings::nf_wasm_skb_load(self.as_raw(), offset, to.cast(), len) }
    }

    /// Drops the packet. Returns the return value for the hook function. Drop monitors show a
    /// different function for each cause.
    ///
    /// # Safety
    ///
    /// The caller owns the packet, and no code uses it after this.
    #[inline(always)]
    pub(crate) unsafe fn drop_for(&self, cause: DropCause) -> c_uint {
        let skb = self.as_raw();
        // SAFETY: By the invariant the packet is valid, and by the contract it may be freed.
        unsafe {
            match cause {
                DropCause::Verdict => bindings::nf_wasm_drop_verdict(skb),
                DropCause::Trap => bindings::nf_wasm_drop_trap(skb),
                DropCause::OutOfFuel => bindings::nf_wasm_drop_fuel(skb),
                DropCause::Quarantine => bindings::nf_wasm_drop_quarantine(skb),
            }
        }
    }
}

/// Why a packet is dropped.
#[derive(Clone, Copy)]
pub(crate) enum DropCause {
    /// The filter's verdict.
    Verdict,
    /// The filter trapped, and its trap policy is to drop.
    Trap,
    /// The filter ran out of fuel, and its trap policy is to drop.
    OutOfFuel,
    /// The filter is quarantined, and its trap policy is to drop.
    Quarantine,
}

/// A packet that nf_wasm made.
///
/// # Invariants
///
/// The pointer is to a packet that no other code has. Its network header is set.
pub(crate) struct OwnedSkBuff(NonNull<SkBuff>);

impl OwnedSkBuff {
    /// A packet of the given bytes, which begin at the network header. Sleeps.
    pub(crate) fn new(bytes: &[u8], family: u32, mark: u32) -> Result<Self> {
        let len = u32::try_from(bytes.len()).map_err(|_| EINVAL)?;
        // SAFETY: The bytes are valid for their length.
        let skb = unsafe { bindings::nf_wasm_skb_new(bytes.as_ptr().cast(), len, family, mark) };
        // INVARIANT: It was just made.
        Ok(OwnedSkBuff(NonNull::new(skb.cast()).ok_or(ENOMEM)?))
    }
}

impl Deref for OwnedSkBuff {
    type Target = SkBuff;

    fn deref(&self) -> &SkBuff {
        // SAFETY: By the invariant the packet is valid, and it is freed with `self`.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for OwnedSkBuff {
    fn drop(&mut self) {
        // SAFETY: By the invariant no other code has it, and this is its last use.
        unsafe { bindings::nf_wasm_skb_free(self.as_raw()) };
    }
}

/// The state of a hook for a packet: `struct nf_hook_state`.
///
/// # Invariants
///
/// A reference is to a state that is valid, with the devices that it names, while the reference
/// exists.
#[repr(transparent)]
pub(crate) struct HookState(Opaque<bindings::nf_hook_state>);

impl HookState {
    /// Borrows a hook's state.
    ///
    /// # Safety
    ///
    /// The invariants hold for `state` during `'a`.
    #[inline(always)]
    pub(crate) unsafe fn from_raw<'a>(state: *const bindings::nf_hook_state) -> &'a Self {
        // INVARIANT: By the contract.
        // SAFETY: The layout is that of `struct nf_hook_state`, and by the contract the pointer is
        // valid for `'a`.
        unsafe { &*state.cast() }
    }

    /// A state without devices, for a packet that is at no hook.
    pub(crate) fn without_devices(family: u8, hook: u8) -> Self {
        // SAFETY: All fields are numbers or pointers, which may be zero.
        let mut state: bindings::nf_hook_state = unsafe { core::mem::zeroed() };
        state.hook = hook;
        state.pf = family;
        // INVARIANT: It names no device.
        HookState(Opaque::new(state))
    }

    #[inline(always)]
    pub(super) fn as_raw(&self) -> *const bindings::nf_hook_state {
        self.0.get()
    }
}
