// SPDX-License-Identifier: GPL-2.0-only
//! `NF_WASM_GUEST_TEST`: runs Wasm modules that are not filters, to test the engine.
//!
//! The tests run on build threads, with one region for each open file. As in a load, if memory runs
//! out or the engine panics, only the thread ends.

use core::ffi::c_void;
use core::ptr;

use kernel::prelude::*;
use kernel::sync::Mutex;

use crate::abi::ioctl::{GuestTest, GUEST_TEST_INSTANTIATE, GUEST_TEST_READ, NO_TRAP};
use crate::boundary::GuestTestRequest;
use crate::build::region::Region;
use crate::build::requester::Requester;
use crate::build::thread::{self, Outcome, Work};
use crate::control::admission;
use crate::control::command::read_module;
use crate::control::refusal::{refuse, Answer, Refusal, Text};
use crate::control::request::Caller;
use crate::decode::check;
use crate::decode::exchange::Memory;
use crate::kernel_ext::owner::Owner;
use crate::module_parameters;

/// Maximum number of bytes that all instances of one open file may allocate together.
const BUDGET: usize = 64 << 20;

/// The instances of one open file.
///
/// # Invariants
///
/// `engine` is null, or came from `nf_wasm_engine_guest_test` and lives in `region`.
pub(crate) struct Session {
    engine: *mut c_void,
    region: KBox<Region>,
}

// SAFETY: The engine's session is memory of the region. Like the region, it is not tied to the
// thread that made it.
unsafe impl Send for Session {}

/// Whether the ioctl is available. It runs Wasm modules without admission.
pub(crate) fn is_available() -> bool {
    module_parameters::guest_test.value()
        && admission::tests_allowed()
        && admission::enforced() == 0
}

/// Carries out `request` in the session in `slot`. Begins a session if `slot` is empty.
pub(crate) fn carry_out(slot: &Mutex<Option<Session>>, request: &mut GuestTest) -> Answer {
    request.fuel = check::guest_test(request)?;
    let wasm = match request.operation {
        GUEST_TEST_INSTANTIATE => read_module(request.module, request.module_len)?,
        _ => KVVec::new(),
    };
    let mut data = KVVec::new();
    if request.operation == GUEST_TEST_READ {
        data.resize(request.data_len as usize, 0, GFP_KERNEL)?;
    }
    request.fuel_used = 0;
    request.trap = NO_TRAP;
    on_thread(slot, request, &wasm, &mut data)?;
    if request.operation == GUEST_TEST_READ {
        Caller.write(request.data, &data)?;
    }
    Ok(())
}

fn on_thread(
    slot: &Mutex<Option<Session>>,
    request: &mut GuestTest,
    wasm: &[u8],
    data: &mut [u8],
) -> Answer {
    let mut text = Text::new()?;
    let owner = Owner::current();
    let requester = &Requester::of_test(&owner);
    let mut slot = slot.lock();
    let session = match &mut *slot {
        Some(session) => session,
        // INVARIANT: Null.
        empty => empty.insert(Session {
            engine: ptr::null_mut(),
            region: Region::new(BUDGET, requester)?,
        }),
    };
    let (bytes, used) = text.as_parts();
    let mut call = GuestTestRequest {
        session: session.engine,
        operation: request.operation,
        instance: request.instance,
        name: request.name.as_ptr(),
        name_len: request.name_len as usize,
        wasm: wasm.as_ptr(),
        wasm_len: wasm.len(),
        fuel: request.fuel,
        fuel_used: 0,
        values: request.values.as_mut_ptr(),
        values_len: request.values.len(),
        value_count: request.value_count,
        trap: NO_TRAP,
        tier: request.tier,
        offset: request.offset,
        data: data.as_mut_ptr(),
        data_len: data.len(),
        text: bytes.as_mut_ptr(),
        text_len: bytes.len(),
        text_used: 0,
    };
    // SAFETY: All pointers are to data that this function borrows or owns until the thread is done.
    // By the invariants the engine's session lives in the region.
    let outcome =
        unsafe { thread::run(Work::GuestTest(&mut call), &mut session.region, requester)? };
    *used = call.text_used.min(bytes.len());
    match outcome {
        Outcome::Returned(0) => {}
        Outcome::Returned(errno) => {
            // INVARIANT: The engine returned, so its session lives in the region.
            session.engine = call.session;
            return Err(Refusal {
                error: Error::from_errno(errno),
                text: Some(text),
            });
        }
        Outcome::Aborted(error) => {
            // The session may be inconsistent.
            *slot = None;
            refuse!(
                error,
                "memory ran out, or the engine panicked; the session's instances are gone"
            );
        }
    }
    // INVARIANT: The engine returned, so its session lives in the region.
    session.engine = call.session;
    request.instance = call.instance;
    request.fuel_used = call.fuel_used;
    request.value_count = call.value_count;
    request.trap = call.trap;
    request.tier = call.tier;
    Ok(())
}
