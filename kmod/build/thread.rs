// SPDX-License-Identifier: GPL-2.0-only
//! Build threads: fresh kernel threads on which the engine builds instances, and runs tests of itself.
//!
//! A fresh thread has an empty stack, so what the engine may use does not depend on the caller's system
//! call. And a fresh thread can be ended: where an allocation that cannot report failure fails, or the
//! engine panics, the thread exits, and the waiter frees its region. No frame is unwound.
//!
//! A job is found through its thread alone. So any number of jobs run at a time, and nothing that
//! interrupts a thread, such as a packet, is taken for part of its job.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;
use core::slice;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::task::Task;

use crate::abi::guest::Context;
use crate::boundary::{self, BuildRequest, CallOutcome, GuestTestRequest};
use crate::build::region::Region;
use crate::build::requester::Requester;
use crate::kernel_ext::kthread::{self, Killable, NewThread, ThreadEnd, ThreadMain};
use crate::kernel_ext::owner::{OomOrigin, Owner, ThreadCredentials};

/// The most bytes of stack that a load has used, for `NF_WASM_INFO`.
pub(crate) static STACK_PEAK: Atomic<u32> = Atomic::new(0);

/// A guest that is to run once, not on a packet's path.
pub(crate) struct CallRequest {
    /// See [`boundary::nf_wasm_engine_call`].
    pub(crate) engine: *mut c_void,
    pub(crate) host: *mut c_void,
    pub(crate) context: *mut Context,
    pub(crate) fuel: u64,
    /// Out: what became of it.
    pub(crate) outcome: MaybeUninit<CallOutcome>,
}

/// What a thread is for.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// An instance is built.
    Build(*mut BuildRequest),
    /// A guest runs.
    Call(*mut CallRequest),
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
///
/// # Invariants
///
/// From when the thread is started until it completes `done`, the job is the thread's alone, and
/// whoever ordered it waits. All pointers are valid for that long.
struct Job {
    done: ThreadEnd,
    work: Work,
    /// Where allocations of the thread's are served from.
    region: *mut Region,
    owner: *const Owner,
    by_command: bool,
    /// Who waits.
    caller: *const Task,
    /// The thread's own credentials, while it acts with its owner's.
    own_credentials: Option<ThreadCredentials>,
    outcome: Outcome,
}

/// [`main`]'s one address, by which a thread is known to have a job.
static MAIN: ThreadMain = main;

/// The job of the thread that this is called on, or null: what interrupts a thread is not part of its
/// job. By the invariants it is the caller's alone until it returns to [`main`].
fn current_job() -> *mut Job {
    kthread::data_of(MAIN).cast()
}

/// The region that serves this thread's allocations, or null if it has no job. It is the caller's
/// alone until it returns to the engine.
pub(crate) fn current_region() -> *mut Region {
    let job = current_job();
    if job.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: By the invariants of `Job` the job is valid, and nobody writes to it but this thread; the
    // caller is a task that waits, and so does not end.
    unsafe {
        if (*(*job).caller).is_killed() {
            (*(*job).region).give_up();
        }
        (*job).region
    }
}

/// Whether whoever waits for the job of this thread still wants it. The caller waits on, killed or not,
/// until the thread has completed the job: nothing that the thread works on is freed before.
pub(crate) fn is_wanted() -> bool {
    let job = current_job();
    // SAFETY: By the invariants of `Job` the job is valid, and nobody writes to it but this thread; the
    // caller is a task that waits, and so does not end.
    job.is_null() || !unsafe { (*(*job).caller).is_killed() }
}

/// Has the engine carry out `work` with the memory of `region`. Fails if there is no thread.
///
/// # Safety
///
/// The request of `work` and the pointers in it are valid for what they say, and what the engine
/// has kept from an earlier work lives in `region`.
pub(crate) unsafe fn run(
    work: Work,
    region: &mut Region,
    requester: &Requester<'_>,
) -> Result<Outcome> {
    let caller: &Task = current!();
    let mut job = Job {
        done: ThreadEnd::uninit(),
        work,
        region,
        owner: requester.owner,
        by_command: requester.by_command,
        caller: ptr::from_ref::<Task>(caller),
        own_credentials: None,
        outcome: Outcome::Returned(0),
    };
    // The thread writes to the job: from here on, it is only reached by its address.
    let job = ptr::from_mut(&mut job);
    // SAFETY: The memory is ours, stays where it is until the thread has completed it, and is known to
    // nobody else yet.
    unsafe { (*job).done.init() };

    // SAFETY: `main` takes a job. This one outlives the thread's use of it: we wait below.
    let thread =
        unsafe { NewThread::create(MAIN, job.cast(), requester.node, c"nf_wasm_load")? };
    // The kernel's compiler asks for memory in ways that we have no say in.
    let origin = requester.by_command.then(OomOrigin::mark);
    // INVARIANT: The region, the owner and the work are borrowed until we return, and we wait.
    thread.start();
    // SAFETY: It is initialised, and the thread completes it when it ends.
    unsafe { (*job).done.wait() };
    drop(origin);
    // SAFETY: The thread has completed the job and does not touch it again.
    Ok(unsafe { (*job).outcome })
}

/// Ends the thread with `outcome`.
///
/// # Safety
///
/// `job` is that of the thread that this is called on, which acts for its owner, and of whose frames
/// nobody needs anything any more.
unsafe fn finish(job: *mut Job, outcome: Outcome) -> ! {
    note_stack(kthread::stack_used());
    // SAFETY: The credentials are those that `main` took off this thread. By the invariants of `Job` it
    // is ours up to its completion, which is the last that is done with it; the waiter reads the outcome
    // after that.
    unsafe {
        if let Some(own) = (*job).own_credentials.take() {
            own.restore();
        }
        (*job).outcome = outcome;
        ThreadEnd::complete_and_exit(&raw const (*job).done)
    }
}

fn note_stack(used: u32) {
    let mut peak = STACK_PEAK.load(Relaxed);
    while used > peak {
        match STACK_PEAK.cmpxchg(peak, used, Relaxed) {
            Ok(_) => return,
            Err(now) => peak = now,
        }
    }
}

/// The thread.
///
/// # Safety
///
/// `job` is a [`Job`] whose owner waits for it.
unsafe extern "C" fn main(job: *mut c_void) -> i32 {
    let job = job.cast::<Job>();
    // SAFETY: By the contract and the invariants the job is valid, and this thread's; the caller waits,
    // and so does not end. No lock is held, neither here nor, where a command asked, by the caller, that
    // whoever locks CPU hotplug or cgroups waits for.
    unsafe {
        // If that fails, for want of memory, the build's time is the kernel's.
        if (*job).by_command {
            let _ = kthread::join_cgroups(&*(*job).caller);
        }
        (*job).own_credentials = Some((*(*job).owner).assume());
        kthread::paint_stack();
    }
    // SAFETY: This is a thread of its own, with a region of its own. The requests are valid for what they
    // say by the contract of `run`, whose caller waits.
    let outcome = unsafe {
        match (*job).work {
            Work::Build(request) => boundary::nf_wasm_engine_build(request),
            Work::GuestTest(request) => boundary::nf_wasm_engine_guest_test(request),
            Work::Call(request) => {
                let CallRequest {
                    engine,
                    host,
                    context,
                    fuel,
                    ..
                } = *request;
                let outcome = boundary::nf_wasm_engine_call(engine, host, context, fuel);
                (*request).outcome.write(outcome);
                0
            }
        }
    };
    // SAFETY: This is the job's thread, which has assumed its owner, and has nothing left to do.
    unsafe { finish(job, Outcome::Returned(outcome)) }
}

/// The engine cannot go on; see `boundary.rs`.
///
/// # Safety
///
/// `text` is valid for `len` bytes.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_panic(text: *const u8, len: usize) -> ! {
    // SAFETY: By the contract they are there, and this, which does not return, is all that uses them.
    let text = unsafe { slice::from_raw_parts(text, len) };
    let text = core::str::from_utf8(text).unwrap_or("(no text)");
    let job = current_job();
    if job.is_null() {
        // There is nothing to return to: an interrupt's frames cannot be given up.
        panic!("the engine panicked on a packet's path: {text}");
    }
    // SAFETY: The job is this thread's, which acts for its owner as long as the engine runs on it. The
    // engine does not go on, and what its frames own is in the region.
    unsafe {
        if (*(*job).region).has_refused() {
            finish(job, Outcome::GivenUp(ENOMEM));
        }
        pr_err!("the engine panicked: {}\n", text);
        kthread::warn_engine_panic();
        finish(job, Outcome::GivenUp(EIO));
    }
}
