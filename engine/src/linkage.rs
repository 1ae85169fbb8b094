// SPDX-License-Identifier: GPL-2.0-only
//! The functions that compiled code calls: helpers and host functions.

use core::ffi::c_void;
use core::{ptr, slice};

use nf_wasm_jit::machine::HostState;
use nf_wasm_jit::{computing_helpers, Helper, Machine};
use wasmi::TrapCode;

use crate::capability;
use crate::guest::{charge, NativeGuest};
use crate::host::Host;
use crate::state::{bytes, fuel_to_move};
use crate::trap::trap_number;

/// Number of functions that compiled code may call.
pub const HELPERS: usize = Helper::COUNT + capability::COUNT;

/// The addresses of all functions that compiled code may call, by the numbers in its calls. Host
/// functions expect that the machine's `host` is a [`HostState<H>`].
pub fn helper_addresses<H: Host>() -> [*const c_void; HELPERS] {
    let mut addresses = [ptr::null(); HELPERS];
    let (helpers, functions) = addresses.split_at_mut(Helper::COUNT);
    helpers.copy_from_slice(&Helper::ALL.map(helper_address));
    functions.copy_from_slice(&capability::addresses::<H>());
    addresses
}

#[allow(non_snake_case, reason = "the functions are named after the helpers")]
fn helper_address(helper: Helper) -> *const c_void {
    macro_rules! address {
        ($($(#[$doc:meta])* $name:ident($a:ident, $b:ident) = $value:expr;)*) => {
            match helper {
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

/// Runs a host function for compiled code.
///
/// # Safety
///
/// `machine` is that of the code that calls. Its `host` is a [`HostState<H>`], which only this call
/// uses.
pub(crate) unsafe fn serve<H: Host>(
    machine: *mut Machine,
    f: impl FnOnce(&mut NativeGuest<'_, H>) -> Result<u64, TrapCode>,
) -> u64 {
    // SAFETY: By the contract. The code does not access the machine before this returns, and its
    // caller accesses neither of them. They are separate objects, so the references do not alias.
    let (machine, state) = unsafe {
        let state = (*machine).host.cast::<HostState<H>>();
        (&mut *machine, &mut *state)
    };
    carry_out(machine, |fuel, memory| {
        f(&mut NativeGuest {
            fuel,
            memory,
            state,
        })
    })
}
