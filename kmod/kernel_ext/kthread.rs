// SPDX-License-Identifier: GPL-2.0-only
//! Kernel threads that do one job for a task that waits, and the state of the current thread.
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

/// The main function of a thread. Called with the pointer that the thread was created with.
pub(crate) type ThreadMain = unsafe extern "C" fn(*mut c_void) -> i32;

/// A thread that was created and not started. If it is dropped, it never runs, and is leaked.
#[must_use]
pub(crate) struct NewThread(NonNull<kernel_bindings::task_struct>);

impl NewThread {
    /// Creates a thread that runs `main` with `data`. Its stack is on NUMA node `node`.
    ///
    /// # Safety
    ///
    /// Once [`Self::start`] is called, `main` may be called with `data`.
    pub(crate) unsafe fn create(
        main: ThreadMain,
        data: *mut c_void,
        node: i32,
        name: &'static CStr,
    ) -> Result<Self> {
        // SAFETY: The format takes one string; for the rest see the contract.
        let thread = from_err_ptr(unsafe {
            kernel_bindings::kthread_create_on_node(
                Some(main),
                data,
                node,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        NonNull::new(thread).map(NewThread).ok_or(ENOMEM)
    }

    /// Starts it.
    pub(crate) fn start(self) {
        // SAFETY: The thread was not started, and so has not ended.
        unsafe { kernel_bindings::wake_up_process(self.0.as_ptr()) };
    }
}

/// A completion that a thread completes when it ends. The kernel crate's `Completion` cannot be
/// completed by `kthread_complete_and_exit()`, after which the thread runs no code of this kernel
/// module.
pub(crate) struct ThreadEnd(Opaque<kernel_bindings::completion>);

impl ThreadEnd {
    /// Uninitialised: [`Self::init`] must be called on it.
    pub(crate) const fn uninit() -> Self {
        ThreadEnd(Opaque::uninit())
    }

    /// # Safety
    ///
    /// It does not move from now on, and no other code knows it yet.
    pub(crate) unsafe fn init(&self) {
        // SAFETY: It is memory for a completion, which by the contract is ours and does not move.
        unsafe { bindings::nf_wasm_init_completion(self.0.get()) };
    }

    /// Waits until the thread has ended, even if the caller is killed.
    ///
    /// # Safety
    ///
    /// [`Self::init`] was called.
    pub(crate) unsafe fn wait(&self) {
        // SAFETY: By the contract it is initialised.
        unsafe { kernel_bindings::wait_for_completion(self.0.get()) };
    }

    /// Ends this thread. The waiting task continues, and may free `end`.
    ///
    /// # Safety
    ///
    /// This is a kernel thread, and nothing on its stack is needed any more. `end` is valid, and
    /// [`Self::init`] was called on it.
    pub(crate) unsafe fn complete_and_exit(end: *const Self) -> ! {
        // SAFETY: By the contract.
        unsafe { kernel_bindings::kthread_complete_and_exit((*end).0.get(), 0) }
    }
}

/// The pointer that this thread was created with, if it is a kernel thread that runs `main`.
/// Otherwise null, and also null in code that interrupts such a thread. Any context.
pub(crate) fn data_of(main: ThreadMain) -> *mut c_void {
    // SAFETY: Callable in any context.
    unsafe { bindings::nf_wasm_thread_data(Some(main)) }
}

/// Moves this kernel thread to all cgroups of `task`.
///
/// # Safety
///
/// `task` does not end during the call. Neither the caller nor a task that waits for it holds a
/// lock that a task may wait for while it has CPU hotplug or cgroups locked.
pub(crate) unsafe fn join_cgroups(task: &Task) -> Result {
    // SAFETY: By the contract.
    kernel::error::to_result(unsafe { bindings::nf_wasm_join_cgroups(task.as_ptr()) })
}

/// Adds `fatal_signal_pending()` to the kernel crate's `Task`.
pub(crate) trait Killable {
    /// Whether a fatal signal is pending for the task.
    fn is_killed(&self) -> bool;
}

impl Killable for Task {
    fn is_killed(&self) -> bool {
        // SAFETY: By the type the task is valid.
        unsafe { bindings::nf_wasm_task_killed(self.as_ptr()) }
    }
}

/// Yields the CPU if another task needs it.
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
    // SAFETY: By the contract. Only memory below the current frame is written.
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
