// SPDX-License-Identifier: GPL-2.0-only
//! Callbacks of host functions: the engine calls them for a filter that loads from a packet, logs,
//! reads a clock, or uses the mark.

use core::ffi::c_void;
use core::fmt::Write;
use core::ptr;
use core::slice;

use kernel::fmt;
use kernel::prelude::*;

use crate::abi::limits::LOG_LINE_BYTES;
use crate::control::refusal::Text;
use crate::kernel_ext::skb::{HookState, SkBuff};
use crate::kernel_ext::{clock, trace};
use crate::packet::logger::Logger;

/// A packet at a hook.
#[derive(Clone, Copy)]
pub(crate) struct Packet<'a> {
    pub(crate) skb: &'a SkBuff,
    pub(crate) state: &'a HookState,
    /// Bytes of the packet, from the network header on.
    pub(crate) len: u32,
}

/// What the callbacks need during one call of the guest. The engine passes its address to them as
/// `host`.
pub(crate) struct Host<'a> {
    /// The packet; `None` in `nfw_init`.
    skb: Option<&'a SkBuff>,
    /// `None` if the guest does not log.
    log: Option<Log<'a>>,
}

/// Where log lines go.
struct Log<'a> {
    logger: &'a Logger,
    /// If set, lines are written here instead of to the kernel's log.
    capture: Option<&'a mut Text>,
}

impl<'a> Log<'a> {
    fn new(logger: &'a Logger) -> Option<Self> {
        Some(Log {
            logger,
            capture: None,
        })
    }
}

impl<'a> Host<'a> {
    /// For a call that decides a packet.
    pub(crate) fn packet(skb: &'a SkBuff, logger: &'a Logger) -> Self {
        Host {
            skb: Some(skb),
            log: Log::new(logger),
        }
    }

    /// For a call that decides a packet and does not log.
    #[inline(always)]
    pub(crate) fn quiet(skb: &'a SkBuff) -> Self {
        Host {
            skb: Some(skb),
            log: None,
        }
    }

    /// For `nfw_init`, which has no packet.
    pub(crate) fn init(logger: &'a Logger) -> Self {
        Host {
            skb: None,
            log: Log::new(logger),
        }
    }

    /// Redirects log lines from the kernel's log to `text`.
    pub(crate) fn capture(mut self, text: &'a mut Text) -> Self {
        if let Some(log) = &mut self.log {
            log.capture = Some(text);
        }
        self
    }

    /// The address that the engine carries.
    pub(crate) fn as_raw(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    /// # Safety
    ///
    /// `host` came from [`Self::as_raw`]. The call that it was made for is in progress, and lasts
    /// for `'b`. There is no other such reference during `'b`. The caller lets nothing that the host
    /// borrows (`'a`) outlive `'b`.
    unsafe fn from_raw<'b>(host: *mut c_void) -> &'b mut Self {
        // SAFETY: The pointer is to a host that the caller of the engine borrows mutably for as
        // long as the call. Only references from here reach it, and by the contract this is the
        // only one.
        unsafe { &mut *host.cast() }
    }
}

/// A guest's log line, with unprintable bytes replaced by `?`.
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
    // SAFETY: The engine passes the host of the call in progress, and the reference ends when this
    // returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    match host.skb {
        // SAFETY: By the contract `to` is valid for `len` bytes. They are in linear memory, not in
        // the packet.
        Some(skb) => unsafe { skb.load(offset, to, len) },
        None => EFAULT.to_errno(),
    }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current call's; `text` is valid for `len` bytes.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_log(host: *mut c_void, text: *const u8, len: usize) {
    // SAFETY: The engine passes the host of the call in progress, and the reference ends when this
    // returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    // SAFETY: By the contract `text` is valid for `len` bytes, and these are a part of them. They
    // are in linear memory, which does not change before this returns.
    let line = unsafe { slice::from_raw_parts(text, len.min(LOG_LINE_BYTES as usize)) };
    let Some(log) = &mut host.log else {
        return;
    };
    match &mut log.capture {
        Some(capture) => {
            // Infallible: text that does not fit is cut off.
            let _ = capture.write_fmt(fmt!("{}\n", Line(line)));
        }
        None if log.logger.may_log() => {
            pr_info!("{}: {}\n", log.logger.name(), Line(line));
        }
        None => {}
    }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// None; the clocks may be read in any context.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_now(_host: *mut c_void, clock: u32) -> u64 {
    match clock {
        0 => clock::monotonic_ns(),
        _ => clock::realtime_ns(),
    }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current call's.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_mark(host: *mut c_void) -> u32 {
    // SAFETY: The engine passes the host of the call in progress, and the reference ends when this
    // returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    host.skb.map_or(0, SkBuff::mark)
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current call's.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_set_mark(host: *mut c_void, mark: u32) {
    // SAFETY: The engine passes the host of the call in progress, and the reference ends when this
    // returns. Callbacks of one call do not nest.
    let host = unsafe { Host::from_raw(host) };
    if let Some(skb) = host.skb {
        skb.set_mark(mark);
    }
}

/// See `boundary.rs`.
///
/// # Safety
///
/// `host` is the current build's.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_enter(host: *mut c_void, stage: u32) {
    // SAFETY: The engine passes the host of the build in progress, and the reference ends when this
    // returns. Callbacks of one build do not nest.
    let host = unsafe { Host::from_raw(host) };
    if let Some(log) = &host.log {
        trace::build(log.logger.name().as_c_str(), stage);
    }
}
