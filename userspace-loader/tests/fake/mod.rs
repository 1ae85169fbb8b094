// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fake device: imitates the kernel module in memory, and runs command lines on it.
#![allow(dead_code, reason = "no test uses all of it")]

use std::cell::RefCell;
use std::rc::Rc;

use clap::Parser;
use nf_wasm_shared::abi::capability;
use nf_wasm_shared::abi::guest;
use nf_wasm_shared::abi::ioctl::{
    self, AttachmentEntry, Counters, FilterEntry, Hook, Info, DIGEST_LEN, NO_TRAP,
    ORIGIN_SIGNATURE, ORIGIN_UNCHECKED, STATE_QUARANTINED,
};
use nf_wasm_shared::abi::limits;
use nf_wasm_shared::abi::trap::Trap;
use nfwasm::device::{Answer, Device, Outcome, Packet, Runnable, Settings};
use nfwasm::error::Refusal;
use nfwasm::module::Module;
use nfwasm::name::{Name, Selector};
use nfwasm::output::Output;
use nfwasm::Cli;
use nix::errno::Errno;

/// A filter that accepts every packet.
pub const ACCEPT: &str = "tests/data/accept.wat";

/// The state of the imitated kernel.
#[derive(Default)]
pub struct Kernel {
    pub filters: Vec<FilterEntry>,
    pub attachments: Vec<AttachmentEntry>,
    pub unprivileged: bool,
    pub outcome: Option<Outcome>,
    last_filter: u32,
    last_attachment: u32,
}

/// The device. Clones share one state.
#[derive(Clone, Default)]
pub struct Fake(pub Rc<RefCell<Kernel>>);

fn refuse<T>(errno: Errno, text: impl Into<String>) -> Answer<T> {
    Err(Refusal {
        errno,
        text: text.into(),
    })
}

impl Kernel {
    fn may(&self) -> Answer {
        if self.unprivileged {
            return Err(Errno::EPERM.into());
        }
        Ok(())
    }

    fn find(&mut self, filter: &Selector) -> Answer<&mut FilterEntry> {
        self.may()?;
        let found = self
            .filters
            .iter_mut()
            .find(|entry| filter.selects(entry.id, &entry.name));
        found.ok_or(Refusal {
            errno: Errno::ENOENT,
            text: format!("no filter {filter}"),
        })
    }

    fn attach(&mut self, filter: u32, hook: &Hook) -> Answer<u32> {
        if hook.device.starts_with(b"nodev") {
            return refuse(Errno::ENODEV, "hook: no device `nodev0`");
        }
        let taken = |entry: &AttachmentEntry| entry.filter == filter && entry.hook == *hook;
        if self.attachments.iter().any(taken) {
            return refuse(Errno::EEXIST, "hook: attached there with this priority");
        }
        self.last_attachment += 1;
        self.attachments.push(AttachmentEntry {
            id: self.last_attachment,
            filter,
            hook: *hook,
            ifindex: if hook.device[0] == 0 { 0 } else { 2 },
            ..AttachmentEntry::new()
        });
        Ok(self.last_attachment)
    }
}

/// Validates `wasm`. Returns the capabilities that it uses.
fn validate(wasm: &[u8], granted: u64) -> Answer<u64> {
    let inspection = nf_wasm_engine::inspect(wasm).map_err(|refusal| Refusal {
        errno: Errno::from_raw(refusal.kind.errno()),
        text: refusal.message,
    })?;
    if inspection.capabilities & !granted != 0 {
        return refuse(Errno::EACCES, "an import needs a capability");
    }
    Ok(inspection.capabilities)
}

fn apply(entry: &mut FilterEntry, module: &Module, settings: &Settings) -> Answer {
    let wasm = &module.wasm;
    let capabilities = settings.capabilities.unwrap_or(entry.capabilities);
    entry.origin = match module.signature.as_slice() {
        [] => ORIGIN_UNCHECKED,
        b"good" => ORIGIN_SIGNATURE,
        _ => return refuse(Errno::EBADMSG, "the signature is malformed"),
    };
    entry.digest = [0xab; DIGEST_LEN];
    entry.capabilities_used = validate(wasm, capabilities)?;
    entry.capabilities = capabilities;
    entry.module_bytes = wasm.len() as u32;
    entry.fuel = settings.fuel.unwrap_or(entry.fuel);
    entry.snaplen = settings.snaplen.unwrap_or(entry.snaplen);
    entry.trap_policy = settings.trap_policy.unwrap_or(entry.trap_policy);
    entry.quarantine = settings.quarantine.unwrap_or(entry.quarantine);
    entry.recycle = settings.recycle.unwrap_or(entry.recycle);
    entry.tier = settings.tier.unwrap_or(entry.tier);
    entry.compiled = if entry.tier == ioctl::TIER_INTERP {
        0
    } else {
        2
    };
    entry.state = ioctl::STATE_ACTIVE;
    Ok(())
}

impl Device for Fake {
    fn info(&self) -> Answer<Info> {
        let mut info = Info {
            abi_version: ioctl::ABI_VERSION,
            guest_version: 1,
            cpus: 2,
            capabilities: capability::ALL_BITS | (1 << 40),
            max_module_bytes: limits::MODULE_BYTES,
            max_functions: limits::FUNCTIONS,
            max_imports: limits::IMPORTS,
            max_exports: limits::EXPORTS,
            max_data_segments: limits::DATA_SEGMENTS,
            max_table_elements: limits::TABLE_ELEMENTS,
            max_memory_pages: limits::MEMORY_PAGES,
            max_nesting: limits::NESTING,
            max_name_bytes: limits::NAME_BYTES,
            max_filters: limits::FILTERS,
            max_attachments: limits::ATTACHMENTS,
            max_snaplen: limits::MAX_SNAPLEN,
            default_snaplen: limits::DEFAULT_SNAPLEN,
            default_quarantine: limits::DEFAULT_QUARANTINE,
            default_fuel: limits::DEFAULT_FUEL,
            max_fuel: limits::MAX_FUEL,
            load_stack_peak: 9_000,
            load_stack_size: 16_384,
            max_signature_bytes: limits::SIGNATURE_BYTES,
            max_hook_fuel: limits::HOOK_FUEL,
            ..Info::new()
        };
        info.version[..5].copy_from_slice(b"0.1.0");
        info.built_for[..18].copy_from_slice(b"7.3.4+deb13-amd64\0");
        Ok(info)
    }

    fn load(
        &self,
        name: &Name,
        module: &Module,
        settings: &Settings,
        hooks: &[Hook],
    ) -> Answer<u32> {
        let mut kernel = self.0.borrow_mut();
        kernel.may()?;
        if kernel
            .filters
            .iter()
            .any(|entry| entry.name == name.field())
        {
            return refuse(Errno::EEXIST, format!("name: `{name}` is taken"));
        }
        let mut entry = FilterEntry {
            id: kernel.last_filter + 1,
            name: name.field(),
            fuel: limits::DEFAULT_FUEL,
            snaplen: limits::DEFAULT_SNAPLEN,
            quarantine: limits::DEFAULT_QUARANTINE,
            memory_per_cpu: 100_000,
            memory_shared: 20_000,
            instances: 2,
            ..FilterEntry::new()
        };
        apply(&mut entry, module, settings)?;
        let before = kernel.attachments.len();
        for hook in hooks {
            if let Err(refusal) = kernel.attach(entry.id, hook) {
                kernel.attachments.truncate(before);
                return Err(refusal);
            }
        }
        entry.attachments = hooks.len() as u32;
        kernel.last_filter = entry.id;
        kernel.filters.push(entry);
        Ok(entry.id)
    }

    fn replace(&self, filter: &Selector, module: &Module, settings: &Settings) -> Answer {
        let mut kernel = self.0.borrow_mut();
        let entry = kernel.find(filter)?;
        apply(entry, module, settings)?;
        entry.replaced += 1;
        Ok(())
    }

    fn unload(&self, filter: &Selector) -> Answer {
        let mut kernel = self.0.borrow_mut();
        let id = kernel.find(filter)?.id;
        kernel.filters.retain(|entry| entry.id != id);
        kernel.attachments.retain(|entry| entry.filter != id);
        Ok(())
    }

    fn release(&self, filter: &Selector) -> Answer {
        self.0.borrow_mut().find(filter)?.state = ioctl::STATE_ACTIVE;
        Ok(())
    }

    fn attach(&self, filter: &Selector, hook: &Hook) -> Answer<u32> {
        let mut kernel = self.0.borrow_mut();
        let id = kernel.find(filter)?.id;
        kernel.attach(id, hook)
    }

    fn detach(&self, attachment: u32) -> Answer {
        let mut kernel = self.0.borrow_mut();
        let before = kernel.attachments.len();
        kernel.attachments.retain(|entry| entry.id != attachment);
        if kernel.attachments.len() == before {
            return refuse(Errno::ENOENT, format!("no attachment {attachment}"));
        }
        Ok(())
    }

    fn filters(&self) -> Answer<Vec<FilterEntry>> {
        let kernel = self.0.borrow();
        kernel.may()?;
        Ok(kernel.filters.clone())
    }

    fn attachments(&self) -> Answer<Vec<AttachmentEntry>> {
        let kernel = self.0.borrow();
        kernel.may()?;
        Ok(kernel.attachments.clone())
    }

    fn run(&self, program: Runnable<'_>, packet: Packet<'_>) -> Answer<Outcome> {
        let mut kernel = self.0.borrow_mut();
        match program {
            Runnable::Filter(filter) => {
                kernel.find(filter)?;
            }
            Runnable::Module(module, settings) => {
                validate(&module.wasm, settings.capabilities.unwrap_or(0))?;
            }
        }
        Ok(kernel.outcome.clone().unwrap_or(Outcome {
            verdict: guest::ACCEPT,
            trap: NO_TRAP,
            mark: packet.mark,
            fuel_used: packet.bytes.len() as u64,
            output: String::new(),
            tier: ioctl::TIER_JIT,
        }))
    }
}

impl Fake {
    /// Runs one command. Returns the exit code, standard output and standard error.
    pub fn try_do(&self, line: &str) -> (u8, String, String) {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let cli = Cli::try_parse_from(["nfwasm"].into_iter().chain(words)).unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Output::new(&mut stdout, cli.json, false);
        let open = || Ok(Box::new(self.clone()) as Box<dyn Device>);
        let result = nfwasm::execute(&cli, &open, &mut out);
        let code = nfwasm::report(result, &mut out, &mut stderr);
        drop(out);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (code, text(stdout), text(stderr))
    }

    /// Runs one command that must succeed. Returns its output.
    pub fn do_(&self, line: &str) -> String {
        let (code, stdout, stderr) = self.try_do(line);
        assert_eq!((code, stderr.as_str()), (0, ""), "{line}");
        stdout
    }

    /// Runs one command that the kernel must refuse. Returns standard error.
    pub fn refused(&self, line: &str) -> String {
        let (code, stdout, stderr) = self.try_do(line);
        assert_eq!((code, stdout.as_str()), (4, ""), "{line}: {stderr}");
        stderr
    }

    pub fn with_counters() -> Self {
        let fake = Self::default();
        fake.do_(&format!(
            "load {ACCEPT} --attach inet:prerouting:raw --attach netdev:ingress@eth0"
        ));
        {
            let mut kernel = fake.0.borrow_mut();
            let mut counters = Counters {
                packets: 100,
                bytes: 8_400,
                accepted: 60,
                dropped: 40,
                quarantined: 20,
                fuel_total: 800,
                fuel_min: 5,
                fuel_max: 30,
                ..Counters::default()
            };
            counters.traps[Trap::OutOfFuel as usize] = 12;
            kernel.attachments[0].counters = counters;
            kernel.filters[0].counters = counters;
            kernel.filters[0].state = STATE_QUARANTINED;
        }
        fake
    }
}
