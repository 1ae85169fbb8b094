// SPDX-License-Identifier: GPL-2.0-only
//! The errors in requests, with an errno and a text for each.

use core::fmt;

use super::abi::capability;
use super::abi::ioctl::{
    Hook, GUEST_TEST_NAME_LEN, GUEST_TEST_READ_BYTES, GUEST_TEST_VALUES, NAME_LEN,
};
use super::abi::limits;

const E2BIG: i32 = 7;
const ENOEXEC: i32 = 8;
const EFAULT: i32 = 14;
const EINVAL: i32 = 22;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
const EMSGSIZE: i32 = 90;
const EOPNOTSUPP: i32 = 95;

/// An error in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A pointer is invalid.
    Fault,
    /// The struct is shorter than its first version.
    Size(usize),
    /// The unknown part of a struct is not zero, or the struct is longer than a page.
    UnknownPart,
    /// Unknown flags.
    Flags(u32),
    /// A reserved field is set.
    Reserved,
    /// A name has no NUL.
    NameTooLong,
    /// A name's field has bytes after the NUL.
    NameRest,
    /// A name is empty.
    NameEmpty,
    /// A name begins with neither a letter nor a digit.
    NameStart,
    /// A name has this byte at this offset.
    NameByte(u8, usize),
    /// A name could be an id.
    NameDigits,
    /// Unknown capabilities.
    Capabilities(u64),
    /// An unknown trap policy.
    TrapPolicy(u32),
    /// An unknown tier.
    Tier(u32),
    /// Too much fuel.
    Fuel(u64),
    /// Too large a window.
    Snaplen(u32),
    /// Unknown bits of `set`.
    Set(u32),
    /// No module.
    ModuleEmpty,
    /// A module that is too long: its bytes.
    ModuleTooLong(u32),
    /// A signature that is too long: its bytes.
    SignatureTooLong(u32),
    /// Too many hooks: their number.
    HookCount(u32),
    /// The wrong size of a hook: its bytes.
    HookSize(u32),
    /// An unknown family of a hook.
    HookFamily(u32),
    /// A hook that the family does not have: hook, family, and the family's last hook.
    HookNumber(u32, u32, u32),
    /// A hook's reserved field is set.
    HookReserved,
    /// A device's name has no NUL.
    DeviceTooLong,
    /// A device's field has bytes after the NUL.
    DeviceRest,
    /// Family netdev without a device.
    DeviceMissing,
    /// Another family with a device.
    DeviceUnwanted,
    /// The wrong size of an entry: the caller's bytes and the kernel module's.
    EntrySize(u32, usize),
    /// An unknown family of a packet.
    PacketFamily(u32),
    /// An unknown hook of a packet.
    PacketHook(u32),
    /// A packet that is empty or too long: its bytes.
    PacketLen(u32),
    /// Both a filter and a module are given to run.
    FilterAndModule,
    /// An unknown operation of a test.
    Operation(u32),
    /// A test's name that is too long: its bytes.
    TestNameLen(u32),
    /// Too many arguments in a test: their number.
    ValueCount(u32),
    /// Too many bytes to read in a test: their number.
    DataLen(u32),
    /// Too much fuel for a test.
    TestFuel(u64),
}

impl Wrong {
    /// The errno, as a positive number; see `RefusalKind::errno` of the engine for `EOPNOTSUPP`.
    pub const fn errno(self) -> i32 {
        match self {
            Wrong::Fault => EFAULT,
            Wrong::UnknownPart => E2BIG,
            Wrong::Flags(_)
            | Wrong::Capabilities(_)
            | Wrong::TrapPolicy(_)
            | Wrong::Tier(_)
            | Wrong::Set(_)
            | Wrong::HookFamily(_)
            | Wrong::HookNumber(..)
            | Wrong::PacketFamily(_)
            | Wrong::PacketHook(_)
            | Wrong::Operation(_) => EOPNOTSUPP,
            Wrong::Fuel(_)
            | Wrong::Snaplen(_)
            | Wrong::ModuleTooLong(_)
            | Wrong::SignatureTooLong(_)
            | Wrong::DataLen(_)
            | Wrong::TestFuel(_) => EFBIG,
            Wrong::ModuleEmpty => ENOEXEC,
            Wrong::HookCount(_) => ENOSPC,
            Wrong::PacketLen(_) => EMSGSIZE,
            Wrong::Size(_)
            | Wrong::Reserved
            | Wrong::NameTooLong
            | Wrong::NameRest
            | Wrong::NameEmpty
            | Wrong::NameStart
            | Wrong::NameByte(..)
            | Wrong::NameDigits
            | Wrong::HookSize(_)
            | Wrong::HookReserved
            | Wrong::DeviceTooLong
            | Wrong::DeviceRest
            | Wrong::DeviceMissing
            | Wrong::DeviceUnwanted
            | Wrong::EntrySize(..)
            | Wrong::FilterAndModule
            | Wrong::TestNameLen(_)
            | Wrong::ValueCount(_) => EINVAL,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Wrong::Fault => f.write_str("an address is invalid"),
            Wrong::Size(size) => write!(f, "size {size}: less than the struct's first version"),
            Wrong::UnknownPart => {
                f.write_str("bytes after the part of a struct that is known are not zero")
            }
            Wrong::Flags(flags) => write!(f, "flags {flags:#x}: unknown to this kernel module"),
            Wrong::Reserved => f.write_str("a reserved field is not zero"),
            Wrong::NameTooLong => write!(
                f,
                "name: longer than {} bytes, or without a NUL at its end",
                NAME_LEN - 1
            ),
            Wrong::NameRest => f.write_str("name: bytes after the NUL are not zero"),
            Wrong::NameEmpty => f.write_str("name: empty"),
            Wrong::NameStart => f.write_str("name: must begin with a letter or a digit"),
            Wrong::NameByte(byte, offset) => write!(
                f,
                "name: byte {byte:#04x} at offset {offset}; only letters, digits, '.', '_' and \
                 '-' are allowed"
            ),
            Wrong::NameDigits => {
                f.write_str("name: digits alone would be taken for an id; add a letter")
            }
            Wrong::Capabilities(unknown) => write!(
                f,
                "capabilities {unknown:#x}: unknown to this kernel module, which has {:#x}",
                capability::ALL_BITS
            ),
            Wrong::TrapPolicy(policy) => {
                write!(
                    f,
                    "trap policy {policy}: must be accept (0) or drop (1), plus 256 to reload"
                )
            }
            Wrong::Tier(tier) => {
                write!(f, "tier {tier}: must be auto (0), interp (1) or jit (2)")
            }
            Wrong::Fuel(fuel) => {
                write!(
                    f,
                    "fuel {fuel}: at most {} for one packet",
                    limits::MAX_FUEL
                )
            }
            Wrong::Snaplen(bytes) => {
                write!(f, "snaplen {bytes}: at most {} bytes", limits::MAX_SNAPLEN)
            }
            Wrong::Set(unknown) => write!(f, "set {unknown:#x}: unknown to this kernel module"),
            Wrong::ModuleEmpty => f.write_str("the module is empty"),
            Wrong::ModuleTooLong(len) => write!(
                f,
                "the module has {len} bytes, and at most {} are allowed; strip names and debug \
                 information, or optimise for size",
                limits::MODULE_BYTES
            ),
            Wrong::SignatureTooLong(len) => write!(
                f,
                "the signature has {len} bytes, and at most {} are allowed; make it without the \
                 certificates (openssl cms -nocerts)",
                limits::SIGNATURE_BYTES
            ),
            Wrong::HookCount(count) => write!(
                f,
                "{count} hooks: at most {} attachments are allowed",
                limits::ATTACHMENTS
            ),
            Wrong::HookSize(size) => {
                write!(
                    f,
                    "hook_size {size}: a hook has {} bytes",
                    size_of::<Hook>()
                )
            }
            Wrong::HookFamily(family) => write!(
                f,
                "family {family}: not supported; inet (1), ipv4 (2), netdev (5) and ipv6 (10) are"
            ),
            Wrong::HookNumber(hook, family, last) => {
                write!(f, "hook {hook}: family {family} has hooks 0 to {last}")
            }
            Wrong::HookReserved => f.write_str("hook: reserved field is not zero"),
            Wrong::DeviceTooLong => f.write_str("hook: device name has no NUL at its end"),
            Wrong::DeviceRest => f.write_str("hook: bytes after the device name are not zero"),
            Wrong::DeviceMissing => {
                f.write_str("hook: family netdev needs a device, as in netdev:ingress@eth0")
            }
            Wrong::DeviceUnwanted => f.write_str(
                "hook: only family netdev takes a device; filters see the interface in their \
                 context",
            ),
            Wrong::EntrySize(size, ours) => {
                write!(
                    f,
                    "entry_size {size}: this kernel module's entries have {ours} bytes"
                )
            }
            Wrong::PacketFamily(family) => write!(
                f,
                "family {family}: a packet is of family ipv4 (2), netdev (5) or ipv6 (10)"
            ),
            Wrong::PacketHook(hook) => write!(f, "hook {hook}: unknown"),
            Wrong::PacketLen(len) => write!(
                f,
                "the packet has {len} bytes; 1 to {} are allowed",
                limits::RUN_PACKET_BYTES
            ),
            Wrong::FilterAndModule => f.write_str("either a filter or a module is run, not both"),
            Wrong::Operation(operation) => {
                write!(f, "operation {operation}: unknown to this kernel module")
            }
            Wrong::TestNameLen(len) => {
                write!(f, "name_len {len}: at most {GUEST_TEST_NAME_LEN}")
            }
            Wrong::ValueCount(count) => {
                write!(f, "value_count {count}: at most {GUEST_TEST_VALUES}")
            }
            Wrong::DataLen(len) => write!(
                f,
                "data_len {len}: at most {GUEST_TEST_READ_BYTES} bytes are read at once"
            ),
            Wrong::TestFuel(fuel) => {
                write!(f, "fuel {fuel}: at most {} for a test", limits::INIT_FUEL)
            }
        }
    }
}
