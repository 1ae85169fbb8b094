// SPDX-License-Identifier: GPL-2.0-only
//! Stateless validation of ioctl arguments.

use super::abi::capability;
use super::abi::ioctl::{
    Attach, Detach, Family, GuestTest, Hook, List, Load, Replace, Run, Select, FAMILY_IPV4,
    FAMILY_IPV6, FAMILY_NETDEV, GUEST_TEST_NAME_LEN, GUEST_TEST_READ, GUEST_TEST_READ_BYTES,
    GUEST_TEST_VALUES, NAME_LEN, REPLACE_CAPABILITIES, REPLACE_FUEL, REPLACE_QUARANTINE,
    REPLACE_RECYCLE, REPLACE_SNAPLEN, REPLACE_TIER, REPLACE_TRAP_POLICY, TIER_AUTO, TIER_INTERP,
    TIER_JIT, TRAP_ACCEPT, TRAP_DROP, TRAP_RELOAD,
};
use super::abi::limits;
use super::name::Name;
use super::wrong::Wrong;

/// Maximum size of an array element, in bytes.
const MAX_ELEMENT_BYTES: usize = 4096;

/// The operator's settings for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Set of granted capabilities.
    pub capabilities: u64,
    /// Fuel for one packet.
    pub fuel: u64,
    /// Bytes of the window.
    pub snaplen: u32,
    /// `TRAP_ACCEPT` or `TRAP_DROP`, with or without `TRAP_RELOAD`.
    pub trap_policy: u32,
    /// Consecutive traps until quarantine.
    pub quarantine: u32,
    /// One of the `TIER_*`.
    pub tier: u32,
    /// Packets after which an instance is restored from the snapshot, or 0.
    pub recycle: u32,
}

impl Settings {
    /// Whether a packet on which the filter traps is accepted.
    pub fn accepts_trapped(&self) -> bool {
        self.trap_policy & !TRAP_RELOAD == TRAP_ACCEPT
    }

    /// Whether an instance that trapped is restored from the snapshot.
    pub fn reloads_trapped(&self) -> bool {
        self.trap_policy & TRAP_RELOAD != 0
    }

    /// Checks the settings, and replaces zeros by defaults.
    ///
    /// # Errors
    ///
    /// A setting is unknown or over a limit.
    pub fn check(mut self) -> Result<Self, Wrong> {
        let unknown = self.capabilities & !capability::ALL_BITS;
        if unknown != 0 {
            return Err(Wrong::Capabilities(unknown));
        }
        if !matches!(self.trap_policy & !TRAP_RELOAD, TRAP_ACCEPT | TRAP_DROP) {
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

    /// Applies the settings of a replacement, and checks the result.
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
        if request.set & REPLACE_RECYCLE != 0 {
            self.recycle = request.recycle;
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

/// The object that [`Run`] runs.
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

/// Checks a load, without its hooks and its module.
///
/// # Errors
///
/// The first invalid field.
pub fn load(request: &Load) -> Result<(Name, Settings), Wrong> {
    unused(request.flags, 0)?;
    let name = Name::parse(&request.name)?;
    let settings = Settings {
        capabilities: request.capabilities,
        fuel: request.fuel,
        snaplen: request.snaplen,
        trap_policy: request.trap_policy,
        quarantine: request.quarantine,
        tier: request.tier,
        recycle: request.recycle,
    };
    Ok((name, settings.check()?))
}

/// Checks a replacement, without its module and settings: see [`Settings::replaced`].
///
/// # Errors
///
/// The first invalid field.
pub fn replace(request: &Replace) -> Result<Selector, Wrong> {
    const KNOWN: u32 = REPLACE_CAPABILITIES
        | REPLACE_FUEL
        | REPLACE_SNAPLEN
        | REPLACE_TRAP_POLICY
        | REPLACE_QUARANTINE
        | REPLACE_TIER
        | REPLACE_RECYCLE;
    unused(request.flags, request.reserved)?;
    if request.set & !KNOWN != 0 {
        return Err(Wrong::Set(request.set & !KNOWN));
    }
    selector(request.id, &request.name)
}

/// Checks a request that only selects a filter.
///
/// # Errors
///
/// The first invalid field.
pub fn select(request: &Select) -> Result<Selector, Wrong> {
    unused(request.flags, request.reserved)?;
    selector(request.id, &request.name)
}

/// Checks an attachment, without its hook.
///
/// # Errors
///
/// The first invalid field.
pub fn attach(request: &Attach) -> Result<Selector, Wrong> {
    unused(request.flags, 0)?;
    selector(request.id, &request.name)
}

/// Checks a detachment.
///
/// # Errors
///
/// The first invalid field.
pub fn detach(request: &Detach) -> Result<(), Wrong> {
    unused(request.flags, request.reserved)
}

/// Checks a request for a table whose entries have `ours` bytes here. Returns the size of the
/// caller's entries.
///
/// # Errors
///
/// The first invalid field.
pub fn list(request: &List, ours: usize) -> Result<usize, Wrong> {
    unused(request.flags, request.reserved)?;
    let size = request.entry_size as usize;
    if size == 0 || size > MAX_ELEMENT_BYTES {
        return Err(Wrong::EntrySize(request.entry_size, ours));
    }
    Ok(size)
}

/// Checks a run, without its module and packet.
///
/// # Errors
///
/// The first invalid field.
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
        recycle: 0,
    };
    Ok(Subject::Module(settings.check()?))
}

/// Checks a test of the engine, without its module. Returns the fuel for it.
///
/// # Errors
///
/// The first invalid field.
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

/// Checks the length of a module.
///
/// # Errors
///
/// It is empty or too long.
pub fn module_len(len: u32) -> Result<(), Wrong> {
    if len == 0 {
        return Err(Wrong::ModuleEmpty);
    }
    if len > limits::MODULE_BYTES {
        return Err(Wrong::ModuleTooLong(len));
    }
    Ok(())
}

/// Checks the length of a module's signature. 0 means that there is none.
///
/// # Errors
///
/// It is too long.
pub fn signature_len(len: u32) -> Result<(), Wrong> {
    if len > limits::SIGNATURE_BYTES {
        return Err(Wrong::SignatureTooLong(len));
    }
    Ok(())
}

/// Checks the number and the size of a load's hooks. Returns the size.
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

/// Checks a hook before anything is allocated for it. If it is valid, `device` ends with NUL.
///
/// # Errors
///
/// The first invalid field.
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
