// SPDX-License-Identifier: GPL-2.0-only
//! Build threads: new kernel threads on which the engine builds and copies snapshots, runs a guest
//! once, and is tested.
//!
//! A new thread has an empty stack, so the stack that the engine may use does not depend on the
//! caller's system call. And a new thread can be ended: if the engine panics, or an allocation that
//! cannot report failure fails, the thread exits, and the waiting caller frees its region. The
//! stack is not unwound.
//!
//! The allocator and the panic handler find a job only through the current thread. So any number of
//! jobs run at the same time, and code that interrupts a build thread, such as a packet path, does
//! not find that thread's job.

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

/// The most bytes of stack that a build thread has used, for `NF_WASM_INFO`.
pub(crate) static STACK_PEAK: Atomic<u32> = Atomic::new(0);

/// Arguments of a guest's single run, outside of packet paths.
pub(crate) struct CallRequest {
    /// See [`boundary::nf_wasm_engine_call`].
    pub(crate) engine: *mut c_void,
    pub(crate) host: *mut c_void,
    pub(crate) context: *mut Context,
    pub(crate) fuel: u64,
    /// Out: the outcome.
    pub(crate) outcome: MaybeUninit<CallOutcome>,
}

/// Arguments and result of a copy.
pub(crate) struct CopyRequest {
    /// See [`boundary::nf_wasm_engine_copy`].
    pub(crate) snapshot: *const c_void,
    pub(crate) host: *mut c_void,
    /// Out: the instance, or null.
    pub(crate) instance: *mut c_void,
}

/// The work of a thread.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Builds a snapshot.
    Build(*mut BuildRequest),
    /// Copies a snapshot for an interpreted instance.
    Copy(*mut CopyRequest),
    /// Runs a guest once.
    Call(*mut CallRequest),
    /// Carries out one operation of a test.
    GuestTest(*mut GuestTestRequest),
}

/// How a thread ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// The engine returned 0 or a negative errno.
    Returned(i32),
    /// The engine was ended: its work is incomplete.
    Aborted(Error),
}

/// A work item, shared between the thread and the caller that waits for it.
///
/// # Invariants
///
/// From the start of the thread until it completes `done`, only the thread uses the job, and the
/// caller waits. All pointers are valid for that long.
struct Job {
    done: ThreadEnd,
    work: Work,
    /// The region that serves the thread's allocations.
    region: *mut Region,
    /// Null if the thread acts for nobody.
    owner: *const Owner,
    by_command: bool,
    /// The task that waits.
    caller: *const Task,
    /// The thread's own credentials, while it has its owner's.
    own_credentials: Option<ThreadCredentials>,
    outcome: Outcome,
}

/// The address of [`main`], by which a thread with a job is recognised. In a static, because a
/// function may have several addresses.
static MAIN: ThreadMain = main;

/// The job of this thread, or null. Null also for code that interrupts the thread, which is not
/// part of its job. By the invariants only the caller uses the job until it returns to [`main`].
fn current_job() -> *mut Job {
    kthread::data_of(MAIN).cast()
}

/// The region that serves this thread's allocations, or null if it has no job. Only the caller uses
/// the region until it returns to the engine.
pub(crate) fn current_region() -> *mut Region {
    let job = current_job();
    if job.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: By the invariants of `Job` the job is valid, and only this thread writes to it. The
    // caller is a task that waits, and so does not end.
    unsafe {
        if (*(*job).caller).is_killed() {
            (*(*job).region).abort();
        }
        (*job).region
    }
}

/// Whether the caller still wants this thread's job: false once it is killed. Even then the caller
/// waits until the thread has completed the job, so nothing is freed that the thread works on.
pub(crate) fn is_wanted() -> bool {
    let job = current_job();
    // SAFETY: By the invariants of `Job` the job is valid, and only this thread writes to it. The
    // caller is a task that waits, and so does not end.
    job.is_null() || !unsafe { (*(*job).caller).is_killed() }
}

/// Runs the engine on `work`, with the memory of `region`. Fails if no thread can be created.
///
/// # Safety
///
/// The request in `work` and its pointers are valid as their documentation says. Anything that the
/// engine has kept from earlier work lives in `region`, or in a snapshot that outlives `region` and
/// is only read.
pub(crate) unsafe fn run(
    work: Work,
    region: &mut Region,
    requester: &Requester<'_>,
) -> Result<Outcome> {
    let before = region.allocations();
    let caller: &Task = current!();
    let mut job = Job {
        done: ThreadEnd::uninit(),
        work,
        region: ptr::from_mut(region),
        owner: requester.owner.map_or(ptr::null(), ptr::from_ref),
        by_command: requester.by_command,
        caller: ptr::from_ref::<Task>(caller),
        own_credentials: None,
        outcome: Outcome::Returned(0),
    };
    // The thread writes to the job, so use it only through its address from here on.
    let job = ptr::from_mut(&mut job);
    // SAFETY: The memory is ours, stays in place until the thread has completed it, and no other
    // code knows it yet.
    unsafe { (*job).done.init() };

    // SAFETY: `main` takes a job. This job outlives the thread's use of it, because we wait below.
    let thread = unsafe { NewThread::create(MAIN, job.cast(), requester.node(), c"nf_wasm_load")? };
    // We cannot choose the flags with which the kernel's eBPF compiler allocates.
    let origin = requester.by_command.then(OomOrigin::mark);
    // INVARIANT: The region, the owner and the work are borrowed until we return, and we wait.
    thread.start();
    // SAFETY: It is initialised, and the thread completes it when it ends.
    unsafe { (*job).done.wait() };
    drop(origin);
    requester.count(region.allocations() - before);
    // SAFETY: The thread has completed the job, and does not use it again.
    Ok(unsafe { (*job).outcome })
}

/// Ends the thread with `outcome`.
///
/// # Safety
///
/// `job` is that of this thread, which has its owner's credentials. Nothing on the thread's stack
/// is needed any more.
unsafe fn finish(job: *mut Job, outcome: Outcome) -> ! {
    note_stack(kthread::stack_used());
    // SAFETY: The credentials are those that `main` replaced on this thread. By the invariants of
    // `Job` the job is ours until we complete it, which is our last use of it. The caller reads the
    // outcome after that.
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

/// The main function of a build thread.
///
/// # Safety
///
/// `job` is a [`Job`], and its caller waits for it.
unsafe extern "C" fn main(job: *mut c_void) -> i32 {
    let job = job.cast::<Job>();
    // SAFETY: By the contract and the invariants the job is valid, and only this thread uses it.
    // The caller waits, and so does not end. Neither this thread nor, if a command requested the
    // build, the caller holds a lock that a task may wait for while it has CPU hotplug or cgroups
    // locked.
    unsafe {
        // If this fails because memory ran out, the build's CPU time is accounted to the root
        // cgroup.
        // A copy is too short for its CPU time to matter, and the move takes a grace period.
        if (*job).by_command && !matches!((*job).work, Work::Copy(_)) {
            let _ = kthread::join_cgroups(&*(*job).caller);
        }
        (*job).own_credentials = (*job).owner.as_ref().map(|owner| owner.assume());
        kthread::paint_stack();
    }
    // SAFETY: This is a separate thread, with a region of its own. By the contract of `run`, whose
    // caller waits, the requests are valid as their documentation says.
    let outcome = unsafe {
        match (*job).work {
            Work::Build(request) => boundary::nf_wasm_engine_build(request),
            Work::Copy(request) => {
                let CopyRequest { snapshot, host, .. } = *request;
                (*request).instance = boundary::nf_wasm_engine_copy(snapshot, host);
                0
            }
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
    // SAFETY: This is the job's thread, which has its owner's credentials and has finished its
    // work.
    unsafe { finish(job, Outcome::Returned(outcome)) }
}

/// Ends the engine after a panic; see `boundary.rs`.
///
/// # Safety
///
/// `text` is valid for `len` bytes.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_panic(text: *const u8, len: usize) -> ! {
    // SAFETY: By the contract the bytes are valid. Only this function, which does not return, uses
    // them.
    let text = unsafe { slice::from_raw_parts(text, len) };
    let text = core::str::from_utf8(text).unwrap_or("(no text)");
    let job = current_job();
    if job.is_null() {
        // The thread cannot be ended here: the frames below the packet path, an interrupt's for
        // example, must not be abandoned.
        panic!("the engine panicked on a packet's path: {text}");
    }
    // SAFETY: The job is this thread's, which has its owner's credentials while the engine runs on
    // it. The engine does not continue, and everything that its frames own is in the region.
    unsafe {
        if (*(*job).region).has_refused() {
            finish(job, Outcome::Aborted(ENOMEM));
        }
        pr_err!("the engine panicked: {}\n", text);
        kthread::warn_engine_panic();
        finish(job, Outcome::Aborted(EIO));
    }
}
