// SPDX-License-Identifier: GPL-2.0-only
//! Links native code with its instance: calls the code on the instance's machine, and implements
//! the helpers that the code calls.

use core::ffi::c_void;
use core::ptr;
use core::slice;

use nf_wasm_jit::machine::{Run, LEN_SLOT, TRAPPED};
use nf_wasm_jit::{computing_helpers, Helper, Machine, Reads};
use nf_wasm_shared::abi::trap::Trap;
use wasmi::TrapCode;

use crate::guest::{charge, NativeGuest};
use crate::host::Host;
use crate::instance::Instance;
use crate::state::{bytes, fuel_to_move};
use crate::trap::trap_number;

/// Where a caller of native code writes for each packet, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Entry<H> {
    /// The argument of the code. The caller sets its fuel.
    pub machine: *mut Machine,
    /// Maximum bytes of the window.
    pub snaplen: u32,
    /// Destination of the context, followed by the window. The window's length goes elsewhere, to
    /// the slot [`nf_wasm_jit::machine::LEN_SLOT`]. Null if the filter reads none of these three.
    pub context: *mut u8,
    /// Bytes of the window that the filter can read.
    pub window: u32,
    /// The reads of the code for packets in place.
    pub in_place: Reads,
    /// The host; null if the filter does not call it.
    pub host: *mut H,
    /// Destination of the packet's length for the host; null if the filter does not call the host.
    pub packet_len: *mut u32,
}

impl<H: Host> Instance<H> {
    /// Switches the filter to native code. [`Self::call`] then calls `run`. A caller can also call
    /// it directly, through the returned [`Entry`].
    ///
    /// # Safety
    ///
    /// `this` is valid, and no longer moves. `run` is the native code of what [`Self::compile`]
    /// returned, and lives as long as the instance. Uses of the returned [`Entry`] and of `this`
    /// exclude each other.
    pub unsafe fn link(this: *mut Self, run: Run) -> Option<Entry<H>> {
        // SAFETY: By the contract `this` is valid, and nobody else uses it now.
        let instance = unsafe { &mut *this };
        let native = instance.native.as_mut()?;
        native.run = Some(run);
        let machine = native.machine.as_mut_ptr().cast::<Machine>();
        // SAFETY: The machine is a box that `native` owns, which is borrowed.
        unsafe { (*machine).owner = this.cast() };
        let (context, snaplen) = match instance.buffer {
            Some((memory, buffer)) => {
                let start = memory.data_mut(&mut instance.store).as_mut_ptr();
                let at = buffer.context_address() as usize;
                (start.wrapping_add(at), buffer.snaplen())
            }
            None => (ptr::null_mut(), 0),
        };
        let (shown, in_place) = (native.shown, native.in_place);
        let state = instance.store.data_mut();
        let (host, packet_len) = if native.imports.is_empty() {
            (ptr::null_mut(), ptr::null_mut())
        } else {
            (&raw mut state.host, &raw mut state.packet_len)
        };
        Some(Entry {
            machine,
            snaplen,
            context: if shown.anything {
                context
            } else {
                ptr::null_mut()
            },
            window: shown.window,
            in_place,
            host,
            packet_len,
        })
    }

    /// Calls the filter. Returns its verdict or a trap, and the fuel that is left.
    pub(crate) fn call_native(&mut self, len: u32, fuel: u64) -> (Result<i32, Trap>, u64) {
        let this: *mut Self = self;
        let Some((machine, run)) = self.native.as_mut().and_then(|native| {
            let machine = native.machine.as_mut_ptr().cast::<Machine>();
            Some((machine, native.run?))
        }) else {
            return (Err(Trap::Internal), fuel);
        };
        // SAFETY: By the contract of `link` the code was compiled for this machine, and still
        // lives. It accesses the machine, the linear memory and the globals, and `this` through
        // helpers. No reference to any of them is in use meanwhile: `self` is not used until the
        // code returns.
        let (code, left) = unsafe {
            (*machine).owner = this.cast();
            (*machine).fuel = fuel as i64;
            Machine::slot(machine, LEN_SLOT).write(len.into());
            (run(machine.cast(), ptr::null()), (*machine).fuel)
        };
        let result = match code.checked_sub(TRAPPED) {
            None => Ok(code as i32),
            Some(trap) => Err(Trap::from_number(trap).unwrap_or(Trap::Internal)),
        };
        // The fuel is negative if it did not suffice for a block.
        (result, left.max(0) as u64)
    }
}

/// A helper's address, for instances with the host type `H`.
#[allow(non_snake_case, reason = "the functions are named after the helpers")]
pub fn helper_address<H: Host>(helper: Helper) -> *const c_void {
    macro_rules! address {
        ($($(#[$doc:meta])* $name:ident($a:ident, $b:ident) = $value:expr;)*) => {
            match helper {
                Helper::Import => import::<H> as *const c_void,
                Helper::MemoryCopy => memory_copy as *const c_void,
                Helper::MemoryFill => memory_fill as *const c_void,
                $(Helper::$name => {
                    extern "C" fn $name($a: u64, $b: u64) -> u64 {
                        $value
                    }
                    $name as *const c_void
                })*
            }
        };
    }
    computing_helpers!(address)
}

/// Runs a helper that has a machine, with the machine's fuel and linear memory. On a trap, stores
/// the trap's number and the complement of the fuel.
fn carry_out(
    machine: &mut Machine,
    f: impl FnOnce(&mut i64, &mut [u8]) -> Result<u64, TrapCode>,
) -> u64 {
    let memory = match machine.memory.is_null() {
        true => &mut [][..],
        // SAFETY: Address and length are those of the linear memory, which does not grow once there
        // is code. Only this guest has it, and neither the code nor the engine accesses it until
        // the helper returns.
        false => unsafe { slice::from_raw_parts_mut(machine.memory, machine.memory_bytes) },
    };
    match f(&mut machine.fuel, memory) {
        Ok(result) => result,
        Err(trap) => {
            machine.trap = (trap_number(trap) as u32).into();
            machine.fuel = !machine.fuel;
            0
        }
    }
}

unsafe extern "C" fn memory_copy(
    machine: *mut Machine,
    to: u64,
    from: u64,
    len: u64,
    _: u64,
) -> u64 {
    // SAFETY: Compiled code passes its machine. Neither the code nor its caller accesses the
    // machine before this returns.
    carry_out(unsafe { &mut *machine }, |fuel, memory| {
        let (to, from, len) = (to as u32, from as u32, len as u32);
        bytes(memory, from, len)?;
        bytes(memory, to, len)?;
        charge(fuel, fuel_to_move(len))?;
        let from = from as usize;
        memory.copy_within(from..from + len as usize, to as usize);
        Ok(0)
    })
}

unsafe extern "C" fn memory_fill(
    machine: *mut Machine,
    to: u64,
    byte: u64,
    len: u64,
    _: u64,
) -> u64 {
    // SAFETY: Compiled code passes its machine. Neither the code nor its caller accesses the
    // machine before this returns.
    carry_out(unsafe { &mut *machine }, |fuel, memory| {
        let (to, len) = (to as u32, len as u32);
        bytes(memory, to, len)?;
        charge(fuel, fuel_to_move(len))?;
        bytes(memory, to, len)?.fill(byte as u8);
        Ok(0)
    })
}

unsafe extern "C" fn import<H: Host>(
    machine: *mut Machine,
    a: u64,
    b: u64,
    c: u64,
    index: u64,
) -> u64 {
    // SAFETY: Compiled code passes its machine. `link` or `call_native` set the machine's owner to
    // the `Instance<H>` that it belongs to. The code does not access the machine before this
    // returns, and nobody else uses the instance meanwhile: the caller of the code only has its
    // address. The machine is a separate box, so the two references do not alias.
    let (machine, instance) = unsafe {
        let instance = (*machine).owner.cast::<Instance<H>>();
        (&mut *machine, &mut *instance)
    };
    let native = instance.native.as_ref();
    let import = native.and_then(|native| native.imports.get(index as usize).copied());
    carry_out(machine, |fuel, memory| {
        let import = import.ok_or(TrapCode::UnreachableCodeReached)?;
        let state = instance.store.data_mut();
        import(
            &mut NativeGuest {
                fuel,
                memory,
                state,
            },
            [a, b, c],
        )
    })
}
