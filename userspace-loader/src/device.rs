// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/nf_wasm`: every system call that is made without std, and all `unsafe`, is in this file.
//!
//! Verbs talk to the [`Device`] trait in slices and numbers; [`KernelDevice`] turns these into the
//! ABI's structs. Tests have a device of their own that answers from memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nf_wasm_shared::abi::ioctl::{
    self, Attach, AttachmentEntry, Detach, FilterEntry, Hook, Info, List, Load, Log, Replace, Run,
    Select,
};
use nf_wasm_shared::abi::request;
use nix::errno::Errno;
use nix::libc;

use crate::error::{Error, Refusal};
use crate::module::Module;
use crate::name::{Name, Selector};

/// Where the device is.
pub const PATH: &str = "/dev/nf_wasm";

/// Bytes of the module's longest explanation that are read, and of what a filter may log in a run.
const TEXT_BYTES: usize = 16 << 10;

/// What the module answers.
pub type Answer<T = ()> = Result<T, Refusal>;

/// What a filter is given beside its program. `None`: what it has, or the module's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Set of granted capabilities.
    pub capabilities: Option<u64>,
    /// Fuel for one packet.
    pub fuel: Option<u64>,
    /// Bytes of the window.
    pub snaplen: Option<u32>,
    /// One of the ABI's `TRAP_*`.
    pub trap_policy: Option<u32>,
    /// Consecutive traps until quarantine.
    pub quarantine: Option<u32>,
    /// One of the ABI's `TIER_*`.
    pub tier: Option<u32>,
}

/// What a packet is run through.
#[derive(Clone, Copy, Debug)]
pub enum Runnable<'a> {
    /// A loaded filter's program.
    Filter(&'a Selector),
    /// This module.
    Module(&'a Module, &'a Settings),
}

/// A packet that came by no hook.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// From its network header on.
    pub bytes: &'a [u8],
    /// The family that the filter is told.
    pub family: u32,
    /// The hook that the filter is told.
    pub hook: u32,
    /// Its mark.
    pub mark: u32,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the filter returned, unless it trapped.
    pub verdict: i32,
    /// Number of a trap, or the ABI's `NO_TRAP`.
    pub trap: u32,
    /// The mark that the filter left.
    pub mark: u32,
    /// Fuel used.
    pub fuel_used: u64,
    /// What the filter logged, one line each.
    pub output: String,
    /// One of the ABI's `TIER_*`: how it ran.
    pub tier: u32,
}

/// The commands of the module, each as its ABI describes it.
pub trait Device {
    /// Describes the module.
    fn info(&self) -> Answer<Info>;
    /// Loads a filter and attaches it to `hooks`, or does neither. Gives its id.
    fn load(
        &self,
        name: &Name,
        module: &Module,
        settings: &Settings,
        hooks: &[Hook],
    ) -> Answer<u32>;
    /// Swaps a filter's program.
    fn replace(&self, filter: &Selector, module: &Module, settings: &Settings) -> Answer;
    /// Detaches and frees a filter.
    fn unload(&self, filter: &Selector) -> Answer;
    /// Lets a quarantined filter run again.
    fn release(&self, filter: &Selector) -> Answer;
    /// Attaches a filter to a hook. Gives the attachment's id.
    fn attach(&self, filter: &Selector, hook: &Hook) -> Answer<u32>;
    /// Undoes one attachment.
    fn detach(&self, attachment: u32) -> Answer;
    /// The namespace's filters.
    fn filters(&self) -> Answer<Vec<FilterEntry>>;
    /// The namespace's attachments.
    fn attachments(&self) -> Answer<Vec<AttachmentEntry>>;
    /// Runs one packet.
    fn run(&self, program: Runnable<'_>, packet: Packet<'_>) -> Answer<Outcome>;
}

/// The kernel's device.
pub struct KernelDevice {
    file: File,
}

impl KernelDevice {
    /// Opens the device, and makes sure that both sides speak the same interface.
    pub fn open() -> Result<Box<dyn Device>, Error> {
        Self::open_at(Path::new(PATH))
    }

    fn open_at(path: &Path) -> Result<Box<dyn Device>, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| cannot_open(path, &error))?;
        let device = Self { file };
        let info = device.info().map_err(|refusal| {
            refusal.while_trying("cannot ask the module for its version", |_| None)
        })?;
        check_version(&info)?;
        Ok(Box::new(device))
    }

    /// Makes one ioctl.
    ///
    /// # Safety
    ///
    /// `request` is the struct that the ABI gives for `command`, with its `size` filled in, and
    /// each pointer in it is 0 or valid for what the ABI says the kernel reads or writes there.
    #[allow(unsafe_code)]
    unsafe fn call<T>(&self, command: u32, request: &mut T) -> Result<(), Errno> {
        // SAFETY: The file is open, and the contract covers what the kernel does with `request`.
        let result = unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::Ioctl::from(command),
                std::ptr::from_mut(request),
            )
        };
        Errno::result(result).map(drop)
    }

    /// Makes one ioctl of a struct that ends with a log, and reads the log if it is refused.
    ///
    /// # Safety
    ///
    /// As for [`Self::call`].
    #[allow(unsafe_code)]
    unsafe fn call_logged<T>(
        &self,
        command: u32,
        request: &mut T,
        log: fn(&mut T) -> &mut Log,
    ) -> Answer {
        let mut text = Text::new();
        *log(request) = text.log();
        // SAFETY: The contract, and `text` outlives the call.
        let result = unsafe { self.call(command, request) };
        result.map_err(|errno| Refusal {
            errno,
            text: text.read(log(request)),
        })
    }

    #[allow(unsafe_code)]
    fn select(&self, command: u32, filter: &Selector) -> Answer {
        let (id, name) = filter.fields();
        let mut select = Select {
            id,
            name,
            ..Select::new()
        };
        // SAFETY: `Select` is the struct of UNLOAD and RELEASE, the only callers' commands.
        unsafe { self.call_logged(command, &mut select, |select| &mut select.log) }
    }

    /// Asks for a table until it fits.
    #[allow(unsafe_code)]
    fn list<Entry: Clone>(&self, command: u32, blank: &Entry) -> Answer<Vec<Entry>> {
        let mut entries = vec![blank.clone(); 16];
        loop {
            let mut list = List {
                entries: address_mut(&mut entries),
                capacity: length(&entries),
                ..List::new::<Entry>()
            };
            // SAFETY: `List` is the struct of both LIST commands. `entries` has room for
            // `capacity` entries of `entry_size`, and every bit pattern is a valid entry.
            unsafe { self.call(command, &mut list) }?;
            let count = list.count as usize;
            if count <= entries.len() {
                entries.truncate(count);
                return Ok(entries);
            }
            entries.resize(count, blank.clone());
        }
    }
}

impl Device for KernelDevice {
    #[allow(unsafe_code)]
    fn info(&self) -> Answer<Info> {
        let mut info = Info::new();
        // SAFETY: `Info` is the struct of INFO and has no pointers.
        unsafe { self.call(ioctl::NF_WASM_INFO, &mut info) }?;
        Ok(info)
    }

    #[allow(unsafe_code)]
    fn load(
        &self,
        name: &Name,
        module: &Module,
        settings: &Settings,
        hooks: &[Hook],
    ) -> Answer<u32> {
        let mut load = load_request(name, module, settings, hooks);
        // SAFETY: `Load` is the struct of LOAD; its pointers are into `module` and `hooks`, which
        // the kernel only reads.
        unsafe { self.call_logged(ioctl::NF_WASM_LOAD, &mut load, |load| &mut load.log) }?;
        Ok(load.id)
    }

    #[allow(unsafe_code)]
    fn replace(&self, filter: &Selector, module: &Module, settings: &Settings) -> Answer {
        let mut replace = replace_request(filter, module, settings);
        // SAFETY: `Replace` is the struct of REPLACE; its pointers are into `module`, which the
        // kernel only reads.
        unsafe {
            self.call_logged(ioctl::NF_WASM_REPLACE, &mut replace, |replace| {
                &mut replace.log
            })
        }
    }

    fn unload(&self, filter: &Selector) -> Answer {
        self.select(ioctl::NF_WASM_UNLOAD, filter)
    }

    fn release(&self, filter: &Selector) -> Answer {
        self.select(ioctl::NF_WASM_RELEASE, filter)
    }

    #[allow(unsafe_code)]
    fn attach(&self, filter: &Selector, hook: &Hook) -> Answer<u32> {
        let (id, name) = filter.fields();
        let mut attach = Attach {
            id,
            name,
            hook: *hook,
            ..Attach::new()
        };
        // SAFETY: `Attach` is the struct of ATTACH and has no pointers but its log's.
        unsafe { self.call_logged(ioctl::NF_WASM_ATTACH, &mut attach, |attach| &mut attach.log) }?;
        Ok(attach.attachment)
    }

    #[allow(unsafe_code)]
    fn detach(&self, attachment: u32) -> Answer {
        let mut detach = Detach {
            attachment,
            ..Detach::new()
        };
        // SAFETY: `Detach` is the struct of DETACH and has no pointers but its log's.
        unsafe { self.call_logged(ioctl::NF_WASM_DETACH, &mut detach, |detach| &mut detach.log) }
    }

    fn filters(&self) -> Answer<Vec<FilterEntry>> {
        self.list(ioctl::NF_WASM_LIST_FILTERS, &FilterEntry::new())
    }

    fn attachments(&self) -> Answer<Vec<AttachmentEntry>> {
        self.list(ioctl::NF_WASM_LIST_ATTACHMENTS, &AttachmentEntry::new())
    }

    #[allow(unsafe_code)]
    fn run(&self, program: Runnable<'_>, packet: Packet<'_>) -> Answer<Outcome> {
        let mut output = Text::new();
        let mut run = Run {
            output: output.log(),
            ..run_request(program, packet)
        };
        // SAFETY: `Run` is the struct of RUN; its pointers are into the module and the packet,
        // which the kernel only reads, and to `output`, which has room for `output.len` bytes.
        unsafe { self.call_logged(ioctl::NF_WASM_RUN, &mut run, |run| &mut run.log) }?;
        Ok(Outcome {
            verdict: run.verdict,
            trap: run.trap,
            mark: run.mark,
            fuel_used: run.fuel_used,
            output: output.read(&run.output),
            tier: run.tier,
        })
    }
}

/// Room for text of the kernel's.
struct Text(Vec<u8>);

impl Text {
    fn new() -> Self {
        Self(vec![0; TEXT_BYTES])
    }

    /// What the kernel is told of it. Valid until it is moved from or dropped.
    fn log(&mut self) -> Log {
        Log {
            len: length(&self.0),
            buf: address_mut(&mut self.0),
            used: 0,
        }
    }

    fn read(&self, log: &Log) -> String {
        let used = self.0.len().min(log.used as usize);
        String::from_utf8_lossy(&self.0[..used]).into_owned()
    }
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().expose_provenance() as u64
}

/// Where a module's signature is, or 0 if there is none: modules that do not know of signatures
/// want zeros.
fn signature_address(module: &Module) -> u64 {
    if module.signature.is_empty() {
        return 0;
    }
    address(&module.signature)
}

fn address_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr().expose_provenance() as u64
}

/// A slice's length, as the ABI has it. What is longer than any limit of the module's is a length
/// that the module refuses.
fn length<T>(slice: &[T]) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

fn load_request(name: &Name, module: &Module, settings: &Settings, hooks: &[Hook]) -> Load {
    Load {
        name: name.field(),
        module: address(&module.wasm),
        module_len: length(&module.wasm),
        signature: signature_address(module),
        signature_len: length(&module.signature),
        trap_policy: settings.trap_policy.unwrap_or(ioctl::TRAP_DROP),
        capabilities: settings.capabilities.unwrap_or(0),
        fuel: settings.fuel.unwrap_or(0),
        snaplen: settings.snaplen.unwrap_or(0),
        quarantine: settings.quarantine.unwrap_or(0),
        tier: settings.tier.unwrap_or(ioctl::TIER_AUTO),
        hooks: address(hooks),
        hook_count: length(hooks),
        hook_size: request::size::<Hook>(),
        ..Load::new()
    }
}

fn replace_request(filter: &Selector, module: &Module, settings: &Settings) -> Replace {
    let (id, name) = filter.fields();
    let given = |is: bool, bit: u32| if is { bit } else { 0 };
    Replace {
        id,
        name,
        set: given(settings.capabilities.is_some(), ioctl::REPLACE_CAPABILITIES)
            | given(settings.fuel.is_some(), ioctl::REPLACE_FUEL)
            | given(settings.snaplen.is_some(), ioctl::REPLACE_SNAPLEN)
            | given(settings.trap_policy.is_some(), ioctl::REPLACE_TRAP_POLICY)
            | given(settings.quarantine.is_some(), ioctl::REPLACE_QUARANTINE)
            | given(settings.tier.is_some(), ioctl::REPLACE_TIER),
        module: address(&module.wasm),
        module_len: length(&module.wasm),
        signature: signature_address(module),
        signature_len: length(&module.signature),
        trap_policy: settings.trap_policy.unwrap_or(0),
        capabilities: settings.capabilities.unwrap_or(0),
        fuel: settings.fuel.unwrap_or(0),
        snaplen: settings.snaplen.unwrap_or(0),
        quarantine: settings.quarantine.unwrap_or(0),
        tier: settings.tier.unwrap_or(ioctl::TIER_AUTO),
        ..Replace::new()
    }
}

fn run_request(program: Runnable<'_>, packet: Packet<'_>) -> Run {
    let run = Run {
        packet: address(packet.bytes),
        packet_len: length(packet.bytes),
        family: packet.family,
        hook: packet.hook,
        mark: packet.mark,
        ..Run::new()
    };
    match program {
        Runnable::Filter(filter) => {
            let (id, name) = filter.fields();
            Run { id, name, ..run }
        }
        Runnable::Module(module, settings) => Run {
            module: address(&module.wasm),
            module_len: length(&module.wasm),
            signature: signature_address(module),
            signature_len: length(&module.signature),
            snaplen: settings.snaplen.unwrap_or(0),
            capabilities: settings.capabilities.unwrap_or(0),
            fuel: settings.fuel.unwrap_or(0),
            tier: settings.tier.unwrap_or(ioctl::TIER_AUTO),
            ..run
        },
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> Error {
    let what = format!("cannot open {}", path.display());
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => Error::no_device(what),
        Some(errno @ (Errno::EACCES | Errno::EPERM)) => Refusal::from(errno)
            .while_trying(what, |_| {
                Some("the device is for root: run it as root (sudo)".to_owned())
            }),
        _ => Error::failure(what, error),
    }
}

/// Both sides must mean the same by the same bytes.
pub fn check_version(info: &Info) -> Result<(), Error> {
    if info.abi_version == ioctl::ABI_VERSION {
        return Ok(());
    }
    let older = if info.abi_version < ioctl::ABI_VERSION {
        "module"
    } else {
        "nfwasm"
    };
    Err(Error::mismatch(
        "cannot talk to the module",
        format_args!(
            "it has version {} of the ioctl interface, this nfwasm has {}",
            info.abi_version,
            ioctl::ABI_VERSION
        ),
    )
    .help(format!(
        "install the {older} of the same release as the other"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_settings_of_a_replace_stay_unset() {
        let filter = "x".parse().unwrap();
        let settings = Settings {
            fuel: Some(7),
            quarantine: Some(ioctl::QUARANTINE_NEVER),
            ..Settings::default()
        };
        let module = Module {
            wasm: b"wasm".to_vec(),
            ..Module::default()
        };
        let replace = replace_request(&filter, &module, &settings);
        assert_eq!(replace.set, ioctl::REPLACE_FUEL | ioctl::REPLACE_QUARANTINE);
        assert_eq!((replace.id, replace.name[0]), (0, b'x'));
        assert_eq!((replace.fuel, replace.module_len), (7, 4));
    }

    #[test]
    fn a_load_fails_closed() {
        let (name, module) = ("x".parse().unwrap(), Module::default());
        let load = load_request(&name, &module, &Settings::default(), &[]);
        assert_eq!(load.trap_policy, ioctl::TRAP_DROP);
        assert_eq!((load.capabilities, load.hook_count), (0, 0));
        // A module that knows no signatures takes such a request.
        assert_eq!((load.signature, load.signature_len), (0, 0));
        assert_eq!(load.size, 168);
    }

    #[test]
    fn no_device_is_a_mismatch() {
        let error = KernelDevice::open_at(Path::new("/nonexistent/nf_wasm"))
            .err()
            .unwrap();
        assert_eq!(error.exit_code(), 3);
        // Something that is no nf_wasm: ENOTTY.
        let error = KernelDevice::open_at(Path::new("/dev/null")).err().unwrap();
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn another_interface_is_a_mismatch() {
        let mut info = Info::new();
        info.abi_version = ioctl::ABI_VERSION + 1;
        assert_eq!(check_version(&info).unwrap_err().exit_code(), 3);
    }
}
