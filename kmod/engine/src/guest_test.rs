// SPDX-License-Identifier: GPL-2.0-only
//! Tests of the engine: the engine's side of the boundary for [`nf_wasm_engine::guest_test`].

use alloc::boxed::Box;
use core::{ptr, slice, str};

use nf_wasm_engine::guest_test::{Called, Session};
use nf_wasm_engine::{NativeCode, Refusal, RefusalKind};
use nf_wasm_jit::{Code, Machine};

use crate::abi::ioctl::{
    GUEST_TEST_GET, GUEST_TEST_INSTANTIATE, GUEST_TEST_INVOKE, GUEST_TEST_READ,
    GUEST_TEST_REGISTER, GUEST_TEST_SET, NO_TRAP, TIER_INTERP, TIER_JIT,
};
use crate::boundary::{nf_wasm_host_jit_free, GuestTestRequest};
use crate::{native, report, Native};

/// See [`crate::boundary::nf_wasm_engine_guest_test`].
///
/// # Safety
///
/// As declared there.
#[no_mangle]
pub(crate) unsafe extern "C" fn nf_wasm_engine_guest_test(request: *mut GuestTestRequest) -> i32 {
    // SAFETY: by the declaration's contract it is valid, and ours until we return.
    let request = unsafe { &mut *request };
    if request.session.is_null() {
        // Never dropped: it lives in the region, which is freed as a whole.
        request.session = Box::into_raw(Box::new(Session::new())).cast();
    }
    // SAFETY: this call or an earlier one made it, and no other code uses it now.
    let session = unsafe { &mut *request.session.cast::<Session>() };
    request.trap = NO_TRAP;
    match carry_out(session, request) {
        Ok(()) => 0,
        Err(refusal) => {
            // SAFETY: by the declaration's contract `text` is valid for `text_len` bytes.
            request.text_used = unsafe { report(&refusal, request.text, request.text_len) };
            -refusal.kind.errno()
        }
    }
}

fn carry_out(session: &mut Session, request: &mut GuestTestRequest) -> Result<(), Refusal> {
    // SAFETY: by the contract of `nf_wasm_engine_guest_test` both are valid for their lengths, and
    // no other code uses the values until we return.
    let (name, values) = unsafe {
        (
            slice::from_raw_parts(request.name, request.name_len),
            slice::from_raw_parts_mut(request.values, request.values_len),
        )
    };
    let name = str::from_utf8(name).map_err(|_| refusal("the name is not UTF-8"))?;
    let instance = request.instance;
    match request.operation {
        GUEST_TEST_INSTANTIATE => {
            // SAFETY: by the contract of `nf_wasm_engine_guest_test` it is valid for its length.
            let wasm = unsafe { slice::from_raw_parts(request.wasm, request.wasm_len) };
            let called = session.instantiate(wasm, request.fuel)?;
            request.instance = take(request, called);
        }
        GUEST_TEST_REGISTER => session.register(instance, name)?,
        GUEST_TEST_INVOKE => {
            let arguments = request.value_count as usize;
            let fuel = request.fuel;
            let natively = match request.tier {
                TIER_JIT => {
                    session.invoke_natively(instance, name, values, arguments, fuel, assemble)?
                }
                _ => None,
            };
            let called = match natively {
                Some(called) => called,
                None => {
                    request.tier = TIER_INTERP;
                    session.invoke(instance, name, values, arguments, fuel)?
                }
            };
            request.value_count = take(request, called);
        }
        GUEST_TEST_GET => {
            values[0] = session.get(instance, name)?;
            request.value_count = 1;
        }
        GUEST_TEST_SET => session.set(instance, name, values[0])?,
        GUEST_TEST_READ => {
            // SAFETY: by the contract of `nf_wasm_engine_guest_test` it is valid for its length,
            // and no other code uses it until we return.
            let to = unsafe { slice::from_raw_parts_mut(request.data, request.data_len) };
            session.read(instance, name, request.offset, to)?;
        }
        _ => return Err(refusal("unknown operation")),
    }
    Ok(())
}

/// A `bpf_prog`, freed on drop.
struct Program(Native);

impl NativeCode for Program {
    unsafe fn run(&self, machine: *mut Machine) -> u32 {
        // SAFETY: by the contract the code was made for this machine. It is not freed before `self`
        // is dropped.
        unsafe { (self.0.run)(machine.cast(), ptr::null()) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it came from `nf_wasm_host_jit`, and we own it. Dropping it requires ownership,
        // so no call is running it.
        unsafe { nf_wasm_host_jit_free(self.0.program) };
    }
}

fn assemble(code: &Code) -> Option<Box<dyn NativeCode>> {
    Some(Box::new(Program(native(code).ok()?)))
}

/// Fills in the fields that all calls set. Returns the call's result, or 0 if it trapped.
fn take(request: &mut GuestTestRequest, called: Called<u32>) -> u32 {
    request.fuel_used = called.fuel_used;
    match called.result {
        Ok(result) => result,
        Err(trap) => {
            request.trap = trap as u32;
            0
        }
    }
}

fn refusal(message: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::Interface,
        message: message.into(),
    }
}
