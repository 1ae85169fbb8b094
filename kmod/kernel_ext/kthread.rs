// SPDX-License-Identifier: GPL-2.0-only
//! Kernel threads that do one job for a task that waits, and what a thread may ask about itself.
//!
//! C headers: `include/linux/kthread.h`, `include/linux/completion.h`

use core::ffi::c_void;
use core::ptr::NonNull;

use kernel::bindings as kernel_bindings;
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::task::Task;
use kernel::types::Opaque;

use crate::kernel_ext::bindings;

/// What a thread runs, with the pointer that it was created with.
pub(crate) type ThreadMain = unsafe extern "C" fn(*mut c_void) -> i32;

/// A thread that was created and not started. One that is dropped never runs, and stays.
#[must_use]
pub(crate) struct NewThread(NonNull<kernel_bindings::task_struct>);

impl NewThread {
    /// Creates a thread that runs `main` with `data`, its stack on `node`.
    ///
    /// # Safety
    ///
    /// `main` may be called with `data` once [`Self::start`] is.
    pub(crate) unsafe fn create(
        main: ThreadMain,
        data: *mut c_void,
        node: i32,
        name: &'static CStr,
    ) -> Result<Self> {
        // SAFETY: The name has nothing in it that is a format; for the rest see the contract.
        let thread = from_err_ptr(unsafe {
            kernel_bindings::kthread_create_on_node(Some(main), data, node, name.as_char_ptr())
        })?;
        NonNull::new(thread).map(NewThread).ok_or(ENOMEM)
    }

    /// Starts it.
    pub(crate) fn start(self) {
        // SAFETY: The thread was not started, and so has not ended.
        unsafe { kernel_bindings::wake_up_process(self.0.as_ptr()) };
    }
}

/// Says that a thread has ended. The kernel crate's `Completion` cannot be completed by
/// `kthread_complete_and_exit()`, after which the thread runs no code of this module.
pub(crate) struct ThreadEnd(Opaque<kernel_bindings::completion>);

impl ThreadEnd {
    /// One that [`Self::init`] has to be called on.
    pub(crate) const fn uninit() -> Self {
        ThreadEnd(Opaque::uninit())
    }

    /// # Safety
    ///
    /// It stays where it is from now on, and nobody else knows it yet.
    pub(crate) unsafe fn init(&self) {
        // SAFETY: It is memory for a completion, which by the contract stays and is ours.
        unsafe { bindings::nf_wasm_init_completion(self.0.get()) };
    }

    /// Waits until the thread has ended, killed or not.
    ///
    /// # Safety
    ///
    /// [`Self::init`] was called.
    pub(crate) unsafe fn wait(&self) {
        // SAFETY: By the contract it is initialised.
        unsafe { kernel_bindings::wait_for_completion(self.0.get()) };
    }

    /// Ends this thread. Whoever waits goes on, and may free `end`.
    ///
    /// # Safety
    ///
    /// This is a kernel thread, of whose frames nobody needs anything any more. `end` is valid, and
    /// [`Self::init`] was called on it.
    pub(crate) unsafe fn complete_and_exit(end: *const Self) -> ! {
        // SAFETY: By the contract.
        unsafe { kernel_bindings::kthread_complete_and_exit((*end).0.get(), 0) }
    }
}

/// What this thread was created with, if it is a kernel thread that runs `main`. Null otherwise, and in
/// what interrupts it. Any context.
pub(crate) fn data_of(main: ThreadMain) -> *mut c_void {
    // SAFETY: Callable in any context.
    unsafe { bindings::nf_wasm_thread_data(Some(main)) }
}

/// Moves this kernel thread to all cgroups of `task`.
///
/// # Safety
///
/// `task` does not end meanwhile. Nobody holds a lock that whoever locks CPU hotplug or cgroups waits for.
pub(crate) unsafe fn join_cgroups(task: &Task) -> Result {
    // SAFETY: By the contract.
    kernel::error::to_result(unsafe { bindings::nf_wasm_join_cgroups(task.as_ptr()) })
}

/// What the kernel crate's `Task` lacks.
pub(crate) trait Killable {
    /// Whether the task is about to die of a signal.
    fn is_killed(&self) -> bool;
}

impl Killable for Task {
    fn is_killed(&self) -> bool {
        // SAFETY: By the type the task is valid.
        unsafe { bindings::nf_wasm_task_killed(self.as_ptr()) }
    }
}

/// Has others run, if they want to.
///
/// # Safety
///
/// The caller may sleep.
pub(crate) unsafe fn cond_resched() {
    // SAFETY: By the contract.
    unsafe { bindings::nf_wasm_cond_resched() };
}

/// Fills the unused part of this thread's stack with a pattern.
///
/// # Safety
///
/// This is a kernel thread, and the caller may be interrupted.
pub(crate) unsafe fn paint_stack() {
    // SAFETY: By the contract. Only memory that no frame has is written to.
    unsafe { bindings::nf_wasm_stack_paint() };
}

/// The most bytes of its stack that this thread has used since [`paint_stack`].
pub(crate) fn stack_used() -> u32 {
    // SAFETY: Reads the thread's own stack.
    unsafe { bindings::nf_wasm_stack_used() }
}

/// Bytes of a thread's stack.
pub(crate) fn stack_size() -> u32 {
    // SAFETY: A constant of the C half.
    unsafe { bindings::nf_wasm_stack_size }
}

/// Warns, once and with a stack trace, that the engine panicked.
pub(crate) fn warn_engine_panic() {
    // SAFETY: Callable in any context.
    unsafe { bindings::nf_wasm_warn_engine() };
}
