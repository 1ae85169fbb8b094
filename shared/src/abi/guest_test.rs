// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`super::ioctl::NF_WASM_GUEST_TEST`]: the engine's tests, in the kernel. No loader needs it.

use super::ioctl::Log;

/// [`GuestTest::operation`]: make an instance of `module`, and run its start function.
pub const GUEST_TEST_INSTANTIATE: u32 = 0;
/// [`GuestTest::operation`]: let later instances import from `instance` under the module name
/// `name`.
pub const GUEST_TEST_REGISTER: u32 = 1;
/// [`GuestTest::operation`]: call the function that `instance` exports as `name`.
pub const GUEST_TEST_INVOKE: u32 = 2;
/// [`GuestTest::operation`]: read the global that `instance` exports as `name`.
pub const GUEST_TEST_GET: u32 = 3;
/// [`GuestTest::operation`]: write the global that `instance` exports as `name`.
pub const GUEST_TEST_SET: u32 = 4;
/// [`GuestTest::operation`]: copy bytes of the memory that `instance` exports as `name`.
pub const GUEST_TEST_READ: u32 = 5;
/// Most arguments or results of a function that is invoked.
pub const GUEST_TEST_VALUES: usize = 32;
/// Bytes of the longest name.
pub const GUEST_TEST_NAME_LEN: usize = 256;
/// Most bytes of memory that are read at once.
pub const GUEST_TEST_READ_BYTES: u32 = 65_536;

/// Tests the engine with modules that are no filters, in no network namespace.
///
/// An open file of the device has one session of instances, which goes with it. Modules are held
/// to the dialect and the limits of filters, but not to their interface: they may have start
/// functions and several tables, and import from each other what they like. Needs `CAP_NET_ADMIN`
/// in the initial user namespace, whatever `user_namespaces` says.
///
/// Errors: those of [`super::ioctl::Load`] for a module; `EINVAL` also no such instance or export, or values that
/// do not fit its type; `EFBIG` also too much fuel or too many bytes. After `ENOMEM` or `EIO` the
/// session's instances may be gone; operations on them are then refused with `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GuestTest {
    /// In: bytes of this struct.
    pub size: u32,
    /// In: one of the `GUEST_TEST_*` operations.
    pub operation: u32,
    /// In: number of an instance. Out, of [`GUEST_TEST_INSTANTIATE`]: the new one's.
    pub instance: u32,
    /// In: bytes of `name`.
    pub name_len: u32,
    /// In: a name, any UTF-8.
    pub name: [u8; GUEST_TEST_NAME_LEN],
    /// In: address of a Wasm binary.
    pub module: u64,
    /// In: bytes of the Wasm binary.
    pub module_len: u32,
    /// In: must be 0.
    pub flags: u32,
    /// In: fuel for a function, or for the start function; 0 for as much as `nfw_init` has, which
    /// is the most.
    pub fuel: u64,
    /// Out: fuel used.
    pub fuel_used: u64,
    /// In: arguments, or the global's new value. Out: results, or the global's value. The low bits
    /// of each are the value's; of a reference, 0 is null, any other `externref` is as it was
    /// given, and any other `funcref` is 1 and cannot be given.
    pub values: [u64; GUEST_TEST_VALUES],
    /// In: number of arguments. Out: number of results.
    pub value_count: u32,
    /// Out: number of a [`super::trap::Trap`], or [`super::ioctl::NO_TRAP`].
    pub trap: u32,
    /// In: where in the memory to read.
    pub offset: u64,
    /// In: address of a buffer for what is read.
    pub data: u64,
    /// In: bytes to read.
    pub data_len: u32,
    /// In, of [`GUEST_TEST_INVOKE`]: [`super::ioctl::TIER_JIT`] to have the function compiled if it can
    /// be, otherwise it is interpreted. Out: how it ran.
    pub tier: u32,
    /// Text of a refusal.
    pub log: Log,
}
