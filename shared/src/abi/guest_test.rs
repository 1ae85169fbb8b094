// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`super::ioctl::NF_WASM_GUEST_TEST`]: runs the engine's tests in the kernel. Loaders do not need
//! it.

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
/// Maximum number of arguments, and of results, of an invoked function.
pub const GUEST_TEST_VALUES: usize = 32;
/// Maximum length of a name, in bytes.
pub const GUEST_TEST_NAME_LEN: usize = 256;
/// Maximum number of bytes of memory per read.
pub const GUEST_TEST_READ_BYTES: u32 = 65_536;

/// Tests the engine with Wasm modules that are not filters, outside of any network namespace.
///
/// Each open file of the device has one session of instances, and closing the file frees it. The
/// dialect and the limits of filters apply to modules, but not the guest interface: they may have
/// start functions and several tables, and may import anything from each other. Needs
/// `CAP_NET_ADMIN` in the initial user namespace, even with `user_namespaces=1`.
///
/// Errors: those of [`super::ioctl::Load`] for a module; `EINVAL` also no such instance or export,
/// or values that do not match its type; `EFBIG` also too much fuel or too many bytes. After
/// `ENOMEM` or `EIO` the session's instances may be gone; operations on them are then refused with
/// `EINVAL`.
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
    /// In: fuel for a function, or for the start function; 0 for the maximum, which is that of
    /// `nfw_init`.
    pub fuel: u64,
    /// Out: fuel used.
    pub fuel_used: u64,
    /// In: arguments, or the global's new value. Out: results, or the global's value. A number is
    /// in the low bits. A null reference is 0. Any other `externref` is the number that the caller
    /// passed. Any other `funcref` is 1, and cannot be passed.
    pub values: [u64; GUEST_TEST_VALUES],
    /// In: number of arguments. Out: number of results.
    pub value_count: u32,
    /// Out: number of a [`super::trap::Trap`], or [`super::ioctl::NO_TRAP`].
    pub trap: u32,
    /// In: offset in the memory to read from.
    pub offset: u64,
    /// In: address of a buffer for the bytes that are read.
    pub data: u64,
    /// In: bytes to read.
    pub data_len: u32,
    /// In, of [`GUEST_TEST_INVOKE`]: [`super::ioctl::TIER_JIT`] compiles the function if possible.
    /// Otherwise it is interpreted. Out: the tier that it ran in.
    pub tier: u32,
    /// Text of a refusal.
    pub log: Log,
}
