// SPDX-License-Identifier: GPL-2.0-only
//! Host functions: what the engine calls for a filter that loads from a packet, logs, or asks for the time.

use core::ffi::c_void;
use core::fmt::Write;
use core::mem::MaybeUninit;
use core::ptr;
use core::slice;

use kernel::bindings as kernel_bindings;
use kernel::fmt;
use kernel::prelude::*;

use crate::abi::guest::Context;
use crate::abi::limits::LOG_LINE_BYTES;
use crate::control::refusal::Text;
use crate::kernel_ext::bindings;
use crate::packet::logger::Logger;

/// A packet at a hook.
pub(crate) struct Packet {
    pub(crate) skb: *mut kernel_bindings::sk_buff,
    pub(crate) state: *const bindings::nf_hook_state,
    /// Its bytes, from the network header on.
    pub(crate) len: u32,
}

/// What the callbacks of one call work on. The engine carries its address as *host*.
pub(crate) struct Host<'a> {
    /// The packet, or null in `nfw_init`.
    skb: *mut kernel_bindings::sk_buff,
    logger: &'a Logger,
    /// Where log lines go too.
    capture: Option<&'a mut Text>,
}

impl<'a> Host<'a> {
    /// For a packet's verdict.
    ///
    /// # Safety
    ///
    /// `skb` is a packet that the caller owns for the life of the host, with its network header
    /// set.
    pub(crate) unsafe fn packet(skb: *mut kernel_bindings::sk_buff, logger: &'a Logger) -> Self {
        Host {
            skb,
            logger,
            capture: None,
        }
    }

    /// For `nfw_init`, where there is no packet.
    pub(crate) fn init(logger: &'a Logger) -> Self {
        Host {
            skb: ptr::null_mut(),
            logger,
            capture: None,
        }
    }

    /// Has log lines written to `text`, in place of the kernel's log.
    pub(crate) fn capture(mut self, text: &'a mut Text) -> Self {
        self.capture = Some(text);
        self
    }

    /// The address that the engine carries.
    pub(crate) fn as_raw(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    /// # Safety
    ///
    /// `host` came from [`Self::as_raw`], the call that it was made for is under way, and lasts for
    /// `'b`. There is no other such reference meanwhile.
    unsafe fn from_raw<'b>(host: *mut c_void) -> &'b mut Self {
        // SAFETY: The pointer is to a host that is borrowed mutably for as long as the call, by who
        // made it, and that nobody reaches but by a reference from here, of which this is the one.
        unsafe { &mut *host.cast() }
    }
}

/// Describes a packet. The engine fills in version, size and window_len.
///
/// # Safety
///
/// `skb` is a packet that the caller owns, with its network header set; `state` is valid.
pub(crate) unsafe fn describe(
    skb: *const kernel_bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> Context {
    let mut context = MaybeUninit::<Context>::uninit();
    // SAFETY: The caller says that the packet is its own, with its network header set, and `state`
    // valid. `Context` has the layout of `struct nf_wasm_context`, so there is room for it.
    unsafe { bindings::nf_wasm_context_fill(context.as_mut_ptr().cast(), skb, state) };
    // SAFETY: All of its fields were just written, and it is nothing but fields.
    unsafe { context.assume_init() }
}

/// A guest's line, safe to print.
struct Line<'a>(&'a [u8]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.chunk_by(|a, b| printable(*a) == printable(*b)) {
            match core::str::from_utf8(chunk) {
                Ok(text) if printable(chunk[0]) => f.write_str(text)?,
                _ => chunk.iter().try_for_each(|_| f.write_str("?"))?,
            }
        }
        Ok(())
    }
}

fn printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current call's; `to` is valid for writes of `len` bytes.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_load(
    host: *mut c_void,
    offset: u32,
    to: *mut u8,
    len: u32,
) -> i32 {
    // SAFETY: The engine hands back the host of the call that it is in, and the reference is gone
    // when this returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    if host.skb.is_null() {
        return EFAULT.to_errno();
    }
    // SAFETY: The packet is the host's for as long as there is a host; the caller says that `to` is
    // valid for `len` bytes, and they are in linear memory, not in the packet.
    unsafe { bindings::nf_wasm_skb_load(host.skb, offset, to.cast(), len) }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current call's; `text` is valid for `len` bytes.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_log(host: *mut c_void, text: *const u8, len: usize) {
    // SAFETY: The engine hands back the host of the call that it is in, and the reference is gone
    // when this returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    // SAFETY: The caller says that `text` is valid for `len` bytes, of which these are a part. They
    // are in linear memory, which does not change before this returns.
    let line = unsafe { slice::from_raw_parts(text, len.min(LOG_LINE_BYTES as usize)) };
    match &mut host.capture {
        Some(capture) => {
            // Infallible: what does not fit is cut off.
            let _ = capture.write_fmt(fmt!("{}\n", Line(line)));
        }
        None if host.logger.may_log() => {
            pr_info!("{}: {}\n", host.logger.name(), Line(line));
        }
        None => {}
    }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// None; the clocks are readable in any context.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_now(_host: *mut c_void, clock: u32) -> u64 {
    // SAFETY: Both read their clock without a lock, in any context.
    unsafe {
        match clock {
            0 => kernel_bindings::ktime_get_mono_fast_ns(),
            _ => kernel_bindings::ktime_get_real_fast_ns(),
        }
    }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current call's.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_mark(host: *mut c_void) -> u32 {
    // SAFETY: The engine hands back the host of the call that it is in, and the reference is gone
    // when this returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    if host.skb.is_null() {
        return 0;
    }
    // SAFETY: The packet is the host's for as long as there is a host.
    unsafe { bindings::nf_wasm_skb_mark(host.skb) }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current call's.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_set_mark(host: *mut c_void, mark: u32) {
    // SAFETY: The engine hands back the host of the call that it is in, and the reference is gone
    // when this returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    if !host.skb.is_null() {
        // SAFETY: The packet is the host's for as long as there is a host, to be read and written.
        unsafe { bindings::nf_wasm_skb_set_mark(host.skb, mark) };
    }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current build's.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_enter(host: *mut c_void, stage: u32) {
    // SAFETY: The engine hands back the host of the call that it is in, and the reference is gone
    // when this returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    let name = host.logger.name().as_c_str().as_char_ptr();
    // SAFETY: The name ends with NUL, and is the logger's, which the host has borrowed.
    unsafe { bindings::nf_wasm_trace_build(name, stage) };
}
