// SPDX-License-Identifier: GPL-2.0-only
//! The threads on which the engine builds instances, and tests of it run.
//!
//! Each work of the engine outside of packet paths runs on a fresh kernel thread, for two reasons. Its stack is
//! empty, so what the engine may use of it does not depend on the system call that asked. And it
//! can be given up: where the engine cannot go on, because an allocation that has no way to fail
//! did, the thread ends there and then, and its region is freed by whoever waits for it. No frame
//! is unwound and none is jumped over.

use core::ffi::c_void;
use core::ptr;
use core::slice;

use kernel::bindings as kernel_bindings;
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Mutex;
use kernel::types::Opaque;

use crate::bindings;
use crate::boundary::{self, BuildRequest, GuestTestRequest};
use crate::killable::LockKillable;
use crate::region::{self, Region};

/// Held during a build: there is one at a time. Under it no other lock of ours is taken.
fn loads() -> &'static Mutex<()> {
    // SAFETY: The C half's mutex is initialised where it is defined, and is never moved.
    unsafe { Mutex::from_raw(ptr::addr_of_mut!(bindings::nf_wasm_loads)) }
}

/// The most bytes of stack that a load has used, for `NF_WASM_INFO`.
pub(crate) static STACK_PEAK: Atomic<u32> = Atomic::new(0);

/// What a thread is for.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// An instance is built.
    Build(*mut BuildRequest),
    /// An operation of a test.
    GuestTest(*mut GuestTestRequest),
}

/// How a thread ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// The engine returned 0 or a negative errno.
    Returned(i32),
    /// The engine could not go on: what it was about is half done.
    GivenUp(Error),
}

/// One work, shared between the thread and whoever waits for it.
struct Job {
    done: Opaque<kernel_bindings::completion>,
    work: Work,
    outcome: Outcome,
}

/// The job under way, for [`nf_wasm_host_panic`]. Written under [`loads`].
static JOB: Atomic<*mut Job> = Atomic::new(ptr::null_mut());

/// Has the engine carry out `work` with the memory of `region`. Fails if there is no
/// thread, and with `EINTR` if the caller is killed while others build.
///
/// # Safety
///
/// The request of `work` and the pointers in it are valid for what they say, and what the engine
/// has kept from an earlier work lives in `region`.
pub(crate) unsafe fn run(work: Work, region: &mut Region) -> Result<Outcome> {
    let _guard = loads().lock_killable()?;
    let mut job = Job {
        done: Opaque::uninit(),
        work,
        outcome: Outcome::Returned(0),
    };
    // The thread writes to the job: from here on, it is only reached by its address.
    let job = ptr::from_mut(&mut job);
    // SAFETY: The memory is ours; it stays where it is until the thread has completed it.
    let done = unsafe { (*job).done.get() };
    // SAFETY: As above.
    unsafe { bindings::nf_wasm_init_completion(done) };

    // SAFETY: We hold the lock, and take the region out again below.
    unsafe { region::set_loading(region) };
    JOB.store(job, Relaxed);

    // SAFETY: `main` takes what it is given, which outlives it: we wait for it.
    let thread = from_err_ptr(unsafe {
        kernel_bindings::kthread_create_on_node(
            Some(main),
            job.cast(),
            kernel_bindings::NUMA_NO_NODE,
            c"nf_wasm_load".as_char_ptr(),
        )
    });
    if let Ok(thread) = thread {
        // SAFETY: The thread was created and not started; it completes `done` before it ends.
        unsafe {
            kernel_bindings::wake_up_process(thread);
            kernel_bindings::wait_for_completion(done);
        }
    }

    JOB.store(ptr::null_mut(), Relaxed);
    // SAFETY: We hold the lock.
    unsafe { region::set_loading(ptr::null_mut()) };
    // SAFETY: The thread, if there was one, has completed the job and does not touch it again.
    thread.map(|_| unsafe { (*job).outcome })
}

/// Ends the thread with `outcome`.
///
/// # Safety
///
/// Called on the job's thread, which is not to return.
unsafe fn finish(job: *mut Job, outcome: Outcome) -> ! {
    // SAFETY: Callable from any thread.
    let used = unsafe { bindings::nf_wasm_stack_used() };
    if used > STACK_PEAK.load(Relaxed) {
        STACK_PEAK.store(used, Relaxed);
    }
    // SAFETY: The waiter keeps the job until it is completed, and reads the outcome after that.
    unsafe {
        (*job).outcome = outcome;
        kernel_bindings::kthread_complete_and_exit((*job).done.get(), 0)
    }
}

/// The thread.
///
/// # Safety
///
/// `job` is a [`Job`] whose owner waits for it.
unsafe extern "C" fn main(job: *mut c_void) -> i32 {
    let job = job.cast::<Job>();
    // SAFETY: Callable from any thread.
    unsafe { bindings::nf_wasm_stack_paint() };
    // SAFETY: This is a thread of its own, with a region of its own, and the request is valid by
    // the contract of `run`.
    let outcome = unsafe {
        match (*job).work {
            Work::Build(request) => boundary::nf_wasm_engine_build(request),
            Work::GuestTest(request) => boundary::nf_wasm_engine_guest_test(request),
        }
    };
    // SAFETY: This is the job's thread.
    unsafe { finish(job, Outcome::Returned(outcome)) }
}

/// The engine cannot go on; see `boundary.rs`.
///
/// # Safety
///
/// `text` is valid for `len` bytes.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_panic(text: *const u8, len: usize) -> ! {
    // SAFETY: By the contract.
    let text = unsafe { slice::from_raw_parts(text, len) };
    let text = core::str::from_utf8(text).unwrap_or("(no text)");
    // SAFETY: Callable from any context.
    let on_packet_path = !unsafe { bindings::nf_wasm_packet_region() }.is_null();
    let job = JOB.load(Relaxed);
    if on_packet_path || job.is_null() {
        // There is nothing to return to: an interrupt's frames cannot be given up.
        panic!("the engine panicked on a packet's path: {text}");
    }
    // SAFETY: The engine runs on a packet's path or, as here, on the thread of the job under way.
    unsafe {
        if region::loading_refused() {
            finish(job, Outcome::GivenUp(ENOMEM));
        }
        pr_err!("the engine panicked: {}\n", text);
        bindings::nf_wasm_warn_engine();
        finish(job, Outcome::GivenUp(EIO));
    }
}
