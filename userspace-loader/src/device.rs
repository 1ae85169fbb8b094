// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the ioctls on `/dev/nf_wasm`. All `unsafe` code of this crate is in this file.
//!
//! Verbs use the trait [`Device`], whose arguments are slices and numbers. [`KernelDevice`]
//! converts these to the ABI's structs. Tests implement the trait in memory.

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

/// Path of the device.
pub const PATH: &str = "/dev/nf_wasm";

/// Size in bytes of the buffers for the kernel's explanation, and for log lines of `run`.
const TEXT_BYTES: usize = 16 << 10;

/// The kernel module's answer to a command.
pub type Answer<T = ()> = Result<T, Refusal>;

/// A filter's settings. `None` keeps the current setting, or selects the default in a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Set of granted capabilities.
    pub capabilities: Option<u64>,
    /// Fuel for one packet.
    pub fuel: Option<u64>,
    /// Maximum size of the window in bytes.
    pub snaplen: Option<u32>,
    /// One of the ABI's `TRAP_*`, with or without `TRAP_RELOAD`.
    pub trap_policy: Option<u32>,
    /// Consecutive traps until quarantine.
    pub quarantine: Option<u32>,
    /// One of the ABI's `TIER_*`.
    pub tier: Option<u32>,
    /// Packets after which an instance is restored, or 0.
    pub recycle: Option<u32>,
}

/// The code that `run` executes.
#[derive(Clone, Copy, Debug)]
pub enum Runnable<'a> {
    /// A loaded filter's program.
    Filter(&'a Selector),
    /// A module that is not loaded.
    Module(&'a Module, &'a Settings),
}

/// A packet for `run`.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The bytes, starting at the network header.
    pub bytes: &'a [u8],
    /// The family in the packet's context.
    pub family: u32,
    /// The hook in the packet's context.
    pub hook: u32,
    /// The mark.
    pub mark: u32,
}

/// The result of `run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The filter's return value, unless it trapped.
    pub verdict: i32,
    /// The trap's number, or the ABI's `NO_TRAP`.
    pub trap: u32,
    /// The packet's mark after the run.
    pub mark: u32,
    /// Fuel that the filter used.
    pub fuel_used: u64,
    /// The filter's log lines.
    pub output: String,
    /// The tier, one of the ABI's `TIER_*`.
    pub tier: u32,
}

/// The kernel module's commands. The ABI describes each of them.
pub trait Device {
    /// Reads the kernel module's version, limits and capabilities.
    fn info(&self) -> Answer<Info>;
    /// Loads a filter and attaches it to all `hooks`, or changes nothing. Returns the filter's id.
    fn load(
        &self,
        name: &Name,
        module: &Module,
        settings: &Settings,
        hooks: &[Hook],
    ) -> Answer<u32>;
    /// Replaces a filter's program.
    fn replace(&self, filter: &Selector, module: &Module, settings: &Settings) -> Answer;
    /// Detaches and frees a filter.
    fn unload(&self, filter: &Selector) -> Answer;
    /// Lets a quarantined filter run again.
    fn release(&self, filter: &Selector) -> Answer;
    /// Attaches a filter to a hook. Returns the attachment's id.
    fn attach(&self, filter: &Selector, hook: &Hook) -> Answer<u32>;
    /// Removes one attachment.
    fn detach(&self, attachment: u32) -> Answer;
    /// Lists the namespace's filters.
    fn filters(&self) -> Answer<Vec<FilterEntry>>;
    /// Lists the namespace's attachments.
    fn attachments(&self) -> Answer<Vec<AttachmentEntry>>;
    /// Runs a filter on one packet.
    fn run(&self, program: Runnable<'_>, packet: Packet<'_>) -> Answer<Outcome>;
}

/// The real device, `/dev/nf_wasm`.
pub struct KernelDevice {
    file: File,
}

impl KernelDevice {
    /// Opens the device, and checks that the kernel module has the same interface version.
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
            refusal.while_trying("cannot query the kernel module's version", |_| None)
        })?;
        check_version(&info)?;
        Ok(Box::new(device))
    }

    /// Makes one ioctl.
    ///
    /// # Safety
    ///
    /// `request` must be the ABI's struct for `command`, with its `size` set. Each pointer in it
    /// must be 0, or valid for the reads and writes that the ABI describes.
    #[allow(unsafe_code)]
    unsafe fn call<T>(&self, command: u32, request: &mut T) -> Result<(), Errno> {
        // SAFETY: The file is open. By the contract, all reads and writes of the kernel through
        // `request` are valid.
        let result = unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::Ioctl::from(command),
                std::ptr::from_mut(request),
            )
        };
        Errno::result(result).map(drop)
    }

    /// Makes one ioctl whose struct ends with a log. If it is refused, reads the log.
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
        // SAFETY: The caller keeps the contract. The log's buffer `text` outlives the call.
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

    /// Reads a listing, with a larger buffer each time, until it fits.
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

/// A buffer for text from the kernel.
struct Text(Vec<u8>);

impl Text {
    fn new() -> Self {
        Self(vec![0; TEXT_BYTES])
    }

    /// The ABI's struct for the buffer. Valid until the buffer is resized or dropped.
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

/// The address of a Wasm module's signature, or 0 without one: kernel modules that predate
/// signatures accept only zeros in unknown fields.
fn signature_address(module: &Module) -> u64 {
    if module.signature.is_empty() {
        return 0;
    }
    address(&module.signature)
}

fn address_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr().expose_provenance() as u64
}

/// A slice's length as the ABI's 32-bit number. A longer slice becomes a length that is over every
/// limit, so the kernel module refuses it.
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
        recycle: settings.recycle.unwrap_or(0),
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
            | given(settings.tier.is_some(), ioctl::REPLACE_TIER)
            | given(settings.recycle.is_some(), ioctl::REPLACE_RECYCLE),
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
        recycle: settings.recycle.unwrap_or(0),
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
                Some("only root may open the device: run nfwasm as root (sudo)".to_owned())
            }),
        _ => Error::failure(what, error),
    }
}

/// Checks that the kernel module and this tool have the same interface version.
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
        "cannot use the kernel module",
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
    fn a_replace_sets_only_given_settings() {
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
    fn a_load_drops_on_traps_by_default() {
        let (name, module) = ("x".parse().unwrap(), Module::default());
        let load = load_request(&name, &module, &Settings::default(), &[]);
        assert_eq!(load.trap_policy, ioctl::TRAP_DROP);
        assert_eq!((load.capabilities, load.hook_count), (0, 0));
        // A kernel module that predates signatures accepts such a struct.
        assert_eq!((load.signature, load.signature_len), (0, 0));
        assert_eq!(load.size, 168);
    }

    #[test]
    fn no_device_is_a_mismatch() {
        let error = KernelDevice::open_at(Path::new("/nonexistent/nf_wasm"))
            .err()
            .unwrap();
        assert_eq!(error.exit_code(), 3);
        // Another device answers ENOTTY.
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
