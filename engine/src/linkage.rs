// SPDX-License-Identifier: GPL-2.0-only
//! Ties native code to its instance: enters the code with the instance's machine, and serves the helpers
//! that the code calls.

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

/// What it takes to call native code: the address of everything that a packet changes.
#[derive(Clone, Copy, Debug)]
pub struct Entry<H> {
    /// What the code is given. Its fuel is to be set.
    pub machine: *mut Machine,
    /// Bytes of the window at most.
    pub snaplen: u32,
    /// Where the context goes, and the window behind it; null if the filter looks at neither, nor at
    /// the window's length, which goes to the machine's slot [`nf_wasm_jit::machine::LEN_SLOT`].
    pub context: *mut u8,
    /// Bytes of the window that the filter may look at.
    pub window: u32,
    /// What the code for packets in place reads.
    pub in_place: Reads,
    /// The host; null if the filter does not call it.
    pub host: *mut H,
    /// Where it finds the packet's length; null if the filter does not call it.
    pub packet_len: *mut u32,
}

impl<H: Host> Instance<H> {
    /// From here on the filter runs as native code, which is called as [`Self::call`] does it or by
    /// what is returned.
    ///
    /// # Safety
    ///
    /// `this` is valid, and does not move any more. `run` is what [`Self::compile`] gave, made native,
    /// and stays as long as the instance. What is returned is used as `this` is: by one at a time.
    pub unsafe fn link(this: *mut Self, run: Run) -> Option<Entry<H>> {
        // SAFETY: By the contract it is valid, and used by one at a time: by us, now.
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
        // SAFETY: By the contract of `link` the code was compiled for this machine, and is still there. It
        // touches what the machine says, the linear memory and globals, and by helpers `this`, of which
        // nothing else is in use meanwhile: `self` is not used between here and its return.
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
        // Less than nothing is left where it did not suffice for a block.
        (result, left.max(0) as u64)
    }
}

/// A helper's address, for instances with this host.
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

/// Does what a helper does that knows a machine, with fuel and linear memory; a trap leaves its number,
/// and the complement of the fuel.
fn carry_out(
    machine: &mut Machine,
    f: impl FnOnce(&mut i64, &mut [u8]) -> Result<u64, TrapCode>,
) -> u64 {
    let memory = match machine.memory.is_null() {
        true => &mut [][..],
        // SAFETY: Address and length are those of the linear memory, which does not grow once there is code.
        // It is the guest's alone, and neither the code nor the engine touches it until the helper is done.
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
    // SAFETY: Compiled code calls it with its machine, and does not touch that before this returns; nor does
    // who called the code.
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
    // SAFETY: Compiled code calls it with its machine, and does not touch that before this returns; nor does
    // who called the code.
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
    // SAFETY: Compiled code calls it, with its machine, whose owner `link` or `call_native` set to the
    // `Instance<H>` that it is part of. The code does not touch the machine before this returns, and the
    // instance is used by nobody else meanwhile: who called the code has only its address. The machine
    // is a box of its own, apart from the instance.
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
