// SPDX-License-Identifier: GPL-2.0-only
//! Stateless validation of ioctl arguments.

use super::abi::capability;
use super::abi::ioctl::{
    Attach, Detach, Family, GuestTest, Hook, List, Load, Replace, Run, Select, FAMILY_IPV4,
    FAMILY_IPV6, FAMILY_NETDEV, GUEST_TEST_NAME_LEN, GUEST_TEST_READ, GUEST_TEST_READ_BYTES,
    GUEST_TEST_VALUES, NAME_LEN, REPLACE_CAPABILITIES, REPLACE_FUEL, REPLACE_QUARANTINE,
    REPLACE_SNAPLEN, REPLACE_TIER, REPLACE_TRAP_POLICY, TIER_AUTO, TIER_INTERP, TIER_JIT,
    TRAP_ACCEPT, TRAP_DROP,
};
use super::abi::limits;
use super::name::Name;
use super::wrong::Wrong;

/// Most bytes of an array's element that a caller may know.
const MAX_ELEMENT_BYTES: usize = 4096;

/// What an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Set of granted capabilities.
    pub capabilities: u64,
    /// Fuel for one packet.
    pub fuel: u64,
    /// Bytes of the window.
    pub snaplen: u32,
    /// `TRAP_ACCEPT` or `TRAP_DROP`.
    pub trap_policy: u32,
    /// Consecutive traps until quarantine.
    pub quarantine: u32,
    /// One of the `TIER_*`.
    pub tier: u32,
}

impl Settings {
    /// Checks them, and puts defaults in the place of zeros.
    ///
    /// # Errors
    ///
    /// What is not known or over a limit.
    pub fn check(mut self) -> Result<Self, Wrong> {
        let unknown = self.capabilities & !capability::ALL_BITS;
        if unknown != 0 {
            return Err(Wrong::Capabilities(unknown));
        }
        if self.trap_policy != TRAP_ACCEPT && self.trap_policy != TRAP_DROP {
            return Err(Wrong::TrapPolicy(self.trap_policy));
        }
        if !matches!(self.tier, TIER_AUTO | TIER_INTERP | TIER_JIT) {
            return Err(Wrong::Tier(self.tier));
        }
        if self.fuel > limits::MAX_FUEL {
            return Err(Wrong::Fuel(self.fuel));
        }
        if self.snaplen > limits::MAX_SNAPLEN {
            return Err(Wrong::Snaplen(self.snaplen));
        }
        if self.fuel == 0 {
            self.fuel = limits::DEFAULT_FUEL;
        }
        if self.snaplen == 0 {
            self.snaplen = limits::DEFAULT_SNAPLEN;
        }
        if self.quarantine == 0 {
            self.quarantine = limits::DEFAULT_QUARANTINE;
        }
        Ok(self)
    }

    /// As a replacement wants them.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn replaced(mut self, request: &Replace) -> Result<Self, Wrong> {
        if request.set & REPLACE_CAPABILITIES != 0 {
            self.capabilities = request.capabilities;
        }
        if request.set & REPLACE_FUEL != 0 {
            self.fuel = request.fuel;
        }
        if request.set & REPLACE_SNAPLEN != 0 {
            self.snaplen = request.snaplen;
        }
        if request.set & REPLACE_TRAP_POLICY != 0 {
            self.trap_policy = request.trap_policy;
        }
        if request.set & REPLACE_QUARANTINE != 0 {
            self.quarantine = request.quarantine;
        }
        if request.set & REPLACE_TIER != 0 {
            self.tier = request.tier;
        }
        self.check()
    }
}

/// Names a filter in a request: by id, or, if that is 0, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By id.
    Id(u32),
    /// By name.
    Name(Name),
}

/// What [`Run`] is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A filter.
    Filter(Selector),
    /// The module in the request.
    Module(Settings),
}

/// Refuses flags and reserved fields that are not zero.
fn unused(flags: u32, reserved: u32) -> Result<(), Wrong> {
    if flags != 0 {
        return Err(Wrong::Flags(flags));
    }
    if reserved != 0 {
        return Err(Wrong::Reserved);
    }
    Ok(())
}

fn selector(id: u32, name: &[u8; NAME_LEN]) -> Result<Selector, Wrong> {
    if id != 0 {
        return Ok(Selector::Id(id));
    }
    Ok(Selector::Name(Name::parse(name)?))
}

/// Checks a load, but for its hooks and its module.
///
/// # Errors
///
/// What is wrong with it.
pub fn load(request: &Load) -> Result<(Name, Settings), Wrong> {
    unused(request.flags, request.reserved)?;
    let name = Name::parse(&request.name)?;
    let settings = Settings {
        capabilities: request.capabilities,
        fuel: request.fuel,
        snaplen: request.snaplen,
        trap_policy: request.trap_policy,
        quarantine: request.quarantine,
        tier: request.tier,
    };
    Ok((name, settings.check()?))
}

/// Checks a replacement, but for its module and settings: see [`Settings::replaced`].
///
/// # Errors
///
/// What is wrong with it.
pub fn replace(request: &Replace) -> Result<Selector, Wrong> {
    const KNOWN: u32 = REPLACE_CAPABILITIES
        | REPLACE_FUEL
        | REPLACE_SNAPLEN
        | REPLACE_TRAP_POLICY
        | REPLACE_QUARANTINE
        | REPLACE_TIER;
    unused(request.flags, 0)?;
    if request.set & !KNOWN != 0 {
        return Err(Wrong::Set(request.set & !KNOWN));
    }
    selector(request.id, &request.name)
}

/// Checks what names a filter.
///
/// # Errors
///
/// What is wrong with it.
pub fn select(request: &Select) -> Result<Selector, Wrong> {
    unused(request.flags, request.reserved)?;
    selector(request.id, &request.name)
}

/// Checks an attachment, but for its hook.
///
/// # Errors
///
/// What is wrong with it.
pub fn attach(request: &Attach) -> Result<Selector, Wrong> {
    unused(request.flags, 0)?;
    selector(request.id, &request.name)
}

/// Checks a detachment.
///
/// # Errors
///
/// What is wrong with it.
pub fn detach(request: &Detach) -> Result<(), Wrong> {
    unused(request.flags, request.reserved)
}

/// Checks what asks for a table whose entries have `ours` bytes here; returns how many they have
/// for the caller.
///
/// # Errors
///
/// What is wrong with it.
pub fn list(request: &List, ours: usize) -> Result<usize, Wrong> {
    unused(request.flags, request.reserved)?;
    let size = request.entry_size as usize;
    if size == 0 || size > MAX_ELEMENT_BYTES {
        return Err(Wrong::EntrySize(request.entry_size, ours));
    }
    Ok(size)
}

/// Checks a run, but for its module and packet.
///
/// # Errors
///
/// What is wrong with it.
pub fn run(request: &Run) -> Result<Subject, Wrong> {
    unused(request.flags, request.reserved)?;
    if !matches!(request.family, FAMILY_IPV4 | FAMILY_IPV6 | FAMILY_NETDEV) {
        return Err(Wrong::PacketFamily(request.family));
    }
    if request.hook > u32::from(u8::MAX) {
        return Err(Wrong::PacketHook(request.hook));
    }
    if request.packet_len == 0 || request.packet_len > limits::RUN_PACKET_BYTES {
        return Err(Wrong::PacketLen(request.packet_len));
    }
    if request.id != 0 || request.name != [0; NAME_LEN] {
        if request.module != 0 || request.signature_len != 0 {
            return Err(Wrong::FilterAndModule);
        }
        return Ok(Subject::Filter(selector(request.id, &request.name)?));
    }
    let settings = Settings {
        capabilities: request.capabilities,
        fuel: request.fuel,
        snaplen: request.snaplen,
        trap_policy: TRAP_DROP,
        quarantine: 0,
        tier: request.tier,
    };
    Ok(Subject::Module(settings.check()?))
}

/// Checks a test of the engine, but for its module; returns the fuel that it has.
///
/// # Errors
///
/// What is wrong with it.
pub fn guest_test(request: &GuestTest) -> Result<u64, Wrong> {
    unused(request.flags, 0)?;
    if !matches!(request.tier, TIER_AUTO | TIER_INTERP | TIER_JIT) {
        return Err(Wrong::Tier(request.tier));
    }
    if request.operation > GUEST_TEST_READ {
        return Err(Wrong::Operation(request.operation));
    }
    if request.name_len as usize > GUEST_TEST_NAME_LEN {
        return Err(Wrong::TestNameLen(request.name_len));
    }
    if request.value_count as usize > GUEST_TEST_VALUES {
        return Err(Wrong::ValueCount(request.value_count));
    }
    if request.data_len > GUEST_TEST_READ_BYTES {
        return Err(Wrong::DataLen(request.data_len));
    }
    match request.fuel {
        0 => Ok(limits::INIT_FUEL),
        1..=limits::INIT_FUEL => Ok(request.fuel),
        _ => Err(Wrong::TestFuel(request.fuel)),
    }
}

/// Checks how many bytes a module has.
///
/// # Errors
///
/// There are none, or too many.
pub fn module_len(len: u32) -> Result<(), Wrong> {
    if len == 0 {
        return Err(Wrong::ModuleEmpty);
    }
    if len > limits::MODULE_BYTES {
        return Err(Wrong::ModuleTooLong(len));
    }
    Ok(())
}

/// Checks how many bytes a module's signature has; 0 is none.
///
/// # Errors
///
/// Too many.
pub fn signature_len(len: u32) -> Result<(), Wrong> {
    if len > limits::SIGNATURE_BYTES {
        return Err(Wrong::SignatureTooLong(len));
    }
    Ok(())
}

/// Checks how many hooks a load has, and returns the bytes of each.
///
/// # Errors
///
/// There are too many, or they are too small or too large.
pub(super) fn hook_array(request: &Load) -> Result<usize, Wrong> {
    if request.hook_count == 0 {
        return Ok(0);
    }
    if request.hook_count > limits::ATTACHMENTS {
        return Err(Wrong::HookCount(request.hook_count));
    }
    let size = request.hook_size as usize;
    if size < size_of::<Hook>() || size > MAX_ELEMENT_BYTES {
        return Err(Wrong::HookSize(request.hook_size));
    }
    Ok(size)
}

/// Checks that there is such a hook, before anything is made for it. Afterwards `device` is known
/// to end with NUL.
///
/// # Errors
///
/// What is wrong with it.
pub fn hook(hook: &Hook) -> Result<(), Wrong> {
    let Some(family) = Family::by_number(hook.family) else {
        return Err(Wrong::HookFamily(hook.family));
    };
    if family.hook(hook.hook).is_none() {
        let last = family.hooks.len() as u32 - 1;
        return Err(Wrong::HookNumber(hook.hook, hook.family, last));
    }
    if hook.reserved != 0 {
        return Err(Wrong::HookReserved);
    }
    let Some(len) = hook.device.iter().position(|&byte| byte == 0) else {
        return Err(Wrong::DeviceTooLong);
    };
    if hook.device[len..].iter().any(|&byte| byte != 0) {
        return Err(Wrong::DeviceRest);
    }
    match (family.has_device, len) {
        (true, 0) => Err(Wrong::DeviceMissing),
        (false, 1..) => Err(Wrong::DeviceUnwanted),
        _ => Ok(()),
    }
}
