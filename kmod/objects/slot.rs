// SPDX-License-Identifier: GPL-2.0-only
//! Slots: each CPU's instance of a program, and how it decides packets.

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use crate::kernel_ext::racy::{Racy, Word};
use crate::machine::HostState;
use crate::objects::instance::Instance;
use crate::objects::reload::Reload;
use crate::packet::host_functions::Host;
use crate::packet::native::Call;

/// How an instance decides its next packet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Path {
    /// Native code alone. It neither reads the packet nor calls host functions.
    Bare,
    /// Native code alone. It reads the packet in place.
    InPlace,
    /// Native code, which calls host functions, and does not log.
    Host,
    /// Native code alone. It reads a copy of the packet.
    Copy,
    /// The program's slow path, for interpreted instances and native code that logs.
    Any,
    /// The slow path, after a look at quarantine, traps and reloads.
    Checked,
}

// SAFETY: It has the size of an integer of one byte, and every value that is written is one of its
// own.
unsafe impl Word for Path {}

/// One CPU's instance of a `P`, and its state.
#[repr(C, align(128))]
pub(crate) struct Slot<P> {
    /// Initialised if the instance has native code. The first field, so that its address is the
    /// slot's.
    call: UnsafeCell<MaybeUninit<Call<P>>>,
    pub(super) instance: UnsafeCell<Option<Instance>>,
    /// Whether the instance is deciding a packet. Detects recursion.
    busy: Cell<bool>,
    /// Written by other CPUs too, when they quarantine the program.
    path: Racy<Path>,
    /// The path of the instance unless it has just trapped, or the program is quarantined. Always
    /// [`Path::Checked`] if it is recycled.
    pub(super) best_path: Cell<Path>,
    pub(super) consecutive_traps: Cell<u32>,
    pub(super) reload: Reload,
    /// The value of the program's count of releases when this last looked.
    pub(super) releases: Cell<u32>,
    /// What host functions of native code work on.
    host_state: UnsafeCell<HostState<*mut c_void>>,
}

/// The instance is deciding a packet, until this is dropped.
pub(crate) struct Busy<'a>(&'a Cell<bool>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<P> Slot<P> {
    pub(super) fn empty() -> Self {
        Slot {
            call: UnsafeCell::new(MaybeUninit::uninit()),
            instance: UnsafeCell::new(None),
            busy: Cell::new(false),
            path: Racy::new(Path::Checked),
            best_path: Cell::new(Path::Checked),
            consecutive_traps: Cell::new(0),
            reload: Reload::new(),
            releases: Cell::new(0),
            host_state: UnsafeCell::new(HostState {
                host: ptr::null_mut(),
                packet_len: 0,
            }),
        }
    }

    /// Sets the native code of the instance.
    ///
    /// # Safety
    ///
    /// No packet reaches the slot, and no other code uses it. The slot does not move after this.
    pub(super) unsafe fn set_call(&self, call: Call<P>) {
        // SAFETY: By the contract. Only the code's host functions and the code's caller on this CPU
        // use the state.
        unsafe {
            call.set_host(self.host_state.get());
            (*self.call.get()).write(call);
        }
    }

    /// Whether the instance decides the next packet on `path`.
    #[inline(always)]
    pub(crate) fn takes(&self, path: Path) -> bool {
        self.path.get() == path
    }

    pub(super) fn set_path(&self, path: Path) {
        self.path.set(path);
    }

    /// The native code.
    ///
    /// # Safety
    ///
    /// [`Self::set_call`] was called, and is not called again while the reference is used.
    #[inline(always)]
    pub(crate) unsafe fn call(&self) -> &Call<P> {
        // SAFETY: By the contract it is initialised, and nobody writes it.
        unsafe { (*self.call.get()).assume_init_ref() }
    }

    /// Marks the instance as deciding a packet. `None` if it is marked already: this packet was sent
    /// while it decides another one.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<Busy<'_>> {
        match self.busy.replace(true) {
            true => None,
            false => Some(Busy(&self.busy)),
        }
    }

    /// Sets what host functions work on: `host`, and a packet of `len` bytes.
    ///
    /// # Safety
    ///
    /// The caller owns the CPU's packet path, and the instance's code does not run.
    #[inline(always)]
    pub(crate) unsafe fn set_host(&self, host: &mut Host<'_>, len: u32) {
        // SAFETY: By the contract nobody else uses the state.
        unsafe {
            *self.host_state.get() = HostState {
                host: host.as_raw(),
                packet_len: len,
            };
        }
    }
}
