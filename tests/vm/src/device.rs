// SPDX-License-Identifier: GPL-2.0-only
//! Makes ioctls on `/dev/nf_wasm` directly, to test the kernel module without the loader.
//!
//! Commands act on the namespace of the calling thread: see [`crate::net::Namespace::enter`].

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;

use nf_wasm_shared::abi::ioctl::{
    self, Attach, AttachmentEntry, Detach, FilterEntry, Hook, Info, List, Load, Log, Replace, Run,
    Select, NAME_LEN,
};
use nix::errno::Errno;

use crate::sys;

/// The kernel module's refusal of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The errno.
    pub errno: Errno,
    /// The kernel module's text.
    pub text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.errno, self.text)
    }
}

/// A filter to load, and its settings.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The filter's name.
    pub name: String,
    /// The Wasm binary.
    pub wasm: Vec<u8>,
    /// Granted capabilities.
    pub capabilities: u64,
    /// Fuel per packet, or 0 for the default.
    pub fuel: u64,
    /// The snaplen in bytes, or 0 for the default.
    pub snaplen: u32,
    /// `TRAP_ACCEPT` or `TRAP_DROP`, with or without `TRAP_RELOAD`.
    pub trap_policy: u32,
    /// Packets after which an instance is restored, or 0.
    pub recycle: u32,
    /// Consecutive traps until quarantine, or 0 for the default.
    pub quarantine: u32,
    /// One of the ABI's `TIER_*`.
    pub tier: u32,
    /// The hooks to attach to.
    pub hooks: Vec<Hook>,
    /// A signature of the binary, or empty.
    pub signature: Vec<u8>,
}

impl Spec {
    /// A filter with the default settings, no capabilities and no attachments.
    pub fn new(name: &str, wasm: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            wasm,
            capabilities: 0,
            fuel: 0,
            snaplen: 0,
            trap_policy: ioctl::TRAP_ACCEPT,
            recycle: 0,
            quarantine: 0,
            tier: default_tier(),
            hooks: Vec::new(),
            signature: Vec::new(),
        }
    }

    /// Adds a signature.
    #[must_use]
    pub fn signed(mut self, signature: &[u8]) -> Self {
        self.signature = signature.to_vec();
        self
    }

    /// Adds an attachment.
    #[must_use]
    pub fn at(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Grants capabilities.
    #[must_use]
    pub fn allow(mut self, capabilities: u64) -> Self {
        self.capabilities |= capabilities;
        self
    }

    /// Sets the snaplen in bytes.
    #[must_use]
    pub fn snaplen(mut self, bytes: u32) -> Self {
        self.snaplen = bytes;
        self
    }

    /// Sets the fuel per packet.
    #[must_use]
    pub fn fuel(mut self, fuel: u64) -> Self {
        self.fuel = fuel;
        self
    }

    /// Sets the trap policy.
    #[must_use]
    pub fn on_trap(mut self, policy: u32) -> Self {
        self.trap_policy = policy;
        self
    }

    /// Sets the number of packets after which an instance is restored.
    #[must_use]
    pub fn recycle(mut self, packets: u32) -> Self {
        self.recycle = packets;
        self
    }

    /// Sets the tier.
    #[must_use]
    pub fn tier(mut self, tier: u32) -> Self {
        self.tier = tier;
        self
    }

    /// Sets the number of consecutive traps until quarantine.
    #[must_use]
    pub fn quarantine(mut self, traps: u32) -> Self {
        self.quarantine = traps;
        self
    }
}

/// The environment variable that [`default_tier`] reads.
pub const TIER: &str = "NF_WASM_TIER";

/// The tier that `NF_WASM_TIER` names, for tests that do not choose one.
pub fn default_tier() -> u32 {
    match std::env::var(TIER).as_deref() {
        Err(_) | Ok("auto") => ioctl::TIER_AUTO,
        Ok("interp") => ioctl::TIER_INTERP,
        Ok("jit") => ioctl::TIER_JIT,
        Ok(other) => panic!("NF_WASM_TIER={other}: no such tier"),
    }
}

/// A hook of `inet`, `ipv4` or `ipv6`.
pub const fn hook(family: u32, hook: u32, priority: i32) -> Hook {
    Hook {
        family,
        hook,
        priority,
        reserved: 0,
        device: [0; ioctl::DEVICE_LEN],
    }
}

/// A hook of `netdev`.
pub fn netdev(hook_number: u32, device: &str) -> Hook {
    let mut hook = hook(ioctl::FAMILY_NETDEV, hook_number, 0);
    hook.device[..device.len()].copy_from_slice(device.as_bytes());
    hook
}

/// A name as a field of the ABI, cut off if it is too long.
pub fn name_field(name: &[u8]) -> [u8; NAME_LEN] {
    let mut field = [0; NAME_LEN];
    let len = name.len().min(NAME_LEN);
    field[..len].copy_from_slice(&name[..len]);
    field
}

/// The text in a field, up to its NUL.
pub fn text(field: &[u8]) -> String {
    let len = field.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&field[..len.unwrap_or(field.len())]).into_owned()
}

pub(crate) fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().addr() as u64
}

/// The open device.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Opens the device.
    ///
    /// # Panics
    ///
    /// If that fails, because the kernel module is not inserted.
    #[track_caller]
    pub fn open() -> Self {
        match File::options().read(true).write(true).open("/dev/nf_wasm") {
            Ok(file) => Self(file),
            Err(error) => panic!("/dev/nf_wasm: {error}"),
        }
    }

    /// The device's file, for tests that make malformed requests.
    pub fn file(&self) -> &File {
        &self.0
    }

    fn plain<T>(&self, command: u32, request: &mut T) -> Result<(), Errno> {
        sys::ioctl(self.0.as_fd(), command, request)
    }

    /// Makes a command whose refusal has a text. `log` returns the request's field for the text.
    pub(crate) fn explained<T>(
        &self,
        command: u32,
        request: &mut T,
        log: impl Fn(&mut T) -> &mut Log,
    ) -> Result<(), Refused> {
        let mut text = vec![0_u8; 2048];
        *log(request) = Log {
            buf: text.as_mut_ptr().expose_provenance() as u64,
            len: text.len() as u32,
            used: 0,
        };
        self.plain(command, request).map_err(|errno| {
            text.truncate(log(request).used as usize);
            Refused {
                errno,
                text: String::from_utf8_lossy(&text).into_owned(),
            }
        })
    }

    /// Reads the kernel module's version and limits.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn info(&self) -> Result<Info, Errno> {
        let mut info = Info::new();
        self.plain(ioctl::NF_WASM_INFO, &mut info)?;
        Ok(info)
    }

    /// Loads a filter. Returns its id.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn load(&self, spec: &Spec) -> Result<u32, Refused> {
        let mut request = Load {
            name: name_field(spec.name.as_bytes()),
            module: address(&spec.wasm),
            module_len: spec.wasm.len() as u32,
            trap_policy: spec.trap_policy,
            recycle: spec.recycle,
            capabilities: spec.capabilities,
            fuel: spec.fuel,
            snaplen: spec.snaplen,
            quarantine: spec.quarantine,
            tier: spec.tier,
            hooks: address(&spec.hooks),
            hook_count: spec.hooks.len() as u32,
            signature: address(&spec.signature),
            signature_len: spec.signature.len() as u32,
            ..Load::new()
        };
        self.explained(ioctl::NF_WASM_LOAD, &mut request, |it| &mut it.log)?;
        Ok(request.id)
    }

    /// Replaces the program of filter `id`.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn replace(&self, id: u32, wasm: &[u8]) -> Result<(), Refused> {
        self.replace_signed(id, wasm, &[])
    }

    /// Replaces the program of filter `id` by one with a signature.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn replace_signed(&self, id: u32, wasm: &[u8], signature: &[u8]) -> Result<(), Refused> {
        let mut request = Replace {
            id,
            module: address(wasm),
            module_len: wasm.len() as u32,
            signature: address(signature),
            signature_len: signature.len() as u32,
            ..Replace::new()
        };
        self.explained(ioctl::NF_WASM_REPLACE, &mut request, |it| &mut it.log)
    }

    /// Replaces the program of filter `id`, and sets its fuel.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn replace_with_fuel(&self, id: u32, wasm: &[u8], fuel: u64) -> Result<(), Refused> {
        let mut request = Replace {
            id,
            module: address(wasm),
            module_len: wasm.len() as u32,
            set: ioctl::REPLACE_FUEL,
            fuel,
            ..Replace::new()
        };
        self.explained(ioctl::NF_WASM_REPLACE, &mut request, |it| &mut it.log)
    }

    /// Replaces the program of filter `id`, and sets its tier.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn replace_in_tier(&self, id: u32, wasm: &[u8], tier: u32) -> Result<(), Refused> {
        let mut request = Replace {
            id,
            module: address(wasm),
            module_len: wasm.len() as u32,
            set: ioctl::REPLACE_TIER,
            tier,
            ..Replace::new()
        };
        self.explained(ioctl::NF_WASM_REPLACE, &mut request, |it| &mut it.log)
    }

    /// Unloads or releases filter `id`.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn select(&self, command: u32, id: u32) -> Result<(), Refused> {
        let mut request = Select {
            id,
            ..Select::new()
        };
        self.explained(command, &mut request, |it| &mut it.log)
    }

    /// Attaches filter `id`. Returns the attachment's id.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn attach(&self, id: u32, hook: Hook) -> Result<u32, Refused> {
        let mut request = Attach {
            id,
            hook,
            ..Attach::new()
        };
        self.explained(ioctl::NF_WASM_ATTACH, &mut request, |it| &mut it.log)?;
        Ok(request.attachment)
    }

    /// Removes an attachment.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn detach(&self, attachment: u32) -> Result<(), Refused> {
        let mut request = Detach {
            attachment,
            ..Detach::new()
        };
        self.explained(ioctl::NF_WASM_DETACH, &mut request, |it| &mut it.log)
    }

    /// The namespace's filters.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn filters(&self) -> Result<Vec<FilterEntry>, Errno> {
        self.table(ioctl::NF_WASM_LIST_FILTERS, FilterEntry::new())
    }

    /// The namespace's attachments.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn attachments(&self) -> Result<Vec<AttachmentEntry>, Errno> {
        self.table(ioctl::NF_WASM_LIST_ATTACHMENTS, AttachmentEntry::new())
    }

    fn table<T: Clone>(&self, command: u32, empty: T) -> Result<Vec<T>, Errno> {
        let mut entries = vec![empty; 600];
        let mut request = List {
            entries: entries.as_mut_ptr().expose_provenance() as u64,
            capacity: entries.len() as u32,
            ..List::new::<T>()
        };
        self.plain(command, &mut request)?;
        assert!(request.count as usize <= entries.len());
        entries.truncate(request.count as usize);
        Ok(entries)
    }

    /// Runs a signed Wasm module.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn run_signed(
        &self,
        mut request: Run,
        wasm: &[u8],
        signature: &[u8],
        packet: &[u8],
    ) -> Result<Run, Refused> {
        request.signature = address(signature);
        request.signature_len = signature.len() as u32;
        Ok(self.run(request, wasm, packet)?.0)
    }

    /// Runs a Wasm module, or the filter that `request` names, on `packet`. Returns the request as
    /// the kernel filled it in, and the filter's log lines.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn run(
        &self,
        mut request: Run,
        wasm: &[u8],
        packet: &[u8],
    ) -> Result<(Run, String), Refused> {
        let mut output = vec![0_u8; 4096];
        if !wasm.is_empty() {
            request.module = address(wasm);
            request.module_len = wasm.len() as u32;
        }
        request.packet = address(packet);
        request.packet_len = packet.len() as u32;
        request.output = Log {
            buf: output.as_mut_ptr().expose_provenance() as u64,
            len: output.len() as u32,
            used: 0,
        };
        self.explained(ioctl::NF_WASM_RUN, &mut request, |it| &mut it.log)?;
        output.truncate(request.output.used as usize);
        Ok((request, String::from_utf8_lossy(&output).into_owned()))
    }
}
