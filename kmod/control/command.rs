// SPDX-License-Identifier: GPL-2.0-only
//! Carries out commands: from validated arguments to a change, or a listing, of a namespace's
//! objects.

use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::rcu;

use crate::abi::capability;
use crate::abi::guest;
use crate::abi::ioctl::{
    Attach, Detach, FilterEntry, Info, List, Load, Replace, Select, ABI_VERSION, STATE_ACTIVE,
    STATE_QUARANTINED,
};
use crate::abi::limits;
use crate::build::allocator;
use crate::build::thread;
use crate::control::admission::{self, admit, read_signature, Admission, Digest};
use crate::control::audit::Entry;
use crate::control::refusal::{Answer, Refusal};
use crate::control::request::{read_bytes, Caller};
use crate::decode::check;
use crate::decode::exchange::{read_hooks, write_table};
use crate::decode::name::Name;
use crate::decode::plain::Plain;
use crate::kernel_ext::{self, cpu, integrity, kthread};
use crate::objects::namespace::Namespace;
use crate::objects::programs::ListedProgram;
use crate::objects::tables::{Record, Tables};

pub(crate) use crate::control::run::run;

/// `NF_WASM_INFO`.
pub(crate) fn info(info: &mut Info) -> Answer {
    *info = Info {
        size: size_of::<Info>() as u32,
        abi_version: ABI_VERSION,
        guest_version: guest::VERSION,
        cpus: cpu::possible_cpus() as u32,
        capabilities: capability::ALL_BITS,
        version: text_field(crate::VERSION.as_bytes()),
        built_for: text_field(kernel_ext::built_for().to_bytes()),
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
        load_stack_peak: thread::STACK_PEAK.load(Relaxed),
        load_stack_size: kthread::stack_size(),
        packet_path_allocations: allocator::PACKET_PATH_ALLOCATIONS.load(Relaxed),
        admission: admission::enforced(),
        allowed_digests: integrity::listed_digests(),
        max_signature_bytes: limits::SIGNATURE_BYTES,
        reserved: 0,
        max_hook_fuel: limits::HOOK_FUEL,
    };
    Ok(())
}

/// Copies a text to a field of bytes, cut off so that a NUL follows it.
fn text_field<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    let len = text.len().min(N - 1);
    field[..len].copy_from_slice(&text[..len]);
    field
}

/// Copies a Wasm module from the caller.
pub(crate) fn read_module(address: u64, len: u32) -> Answer<KVVec<u8>> {
    check::module_len(len)?;
    Ok(read_bytes(address, len)?)
}

/// `NF_WASM_LOAD`.
pub(crate) fn load(namespace: &Namespace, request: &mut Load) -> Answer {
    let (name, settings) = check::load(request)?;
    let mut hooks = KVec::new();
    read_hooks(&Caller, request, |hook| {
        Ok::<_, Refusal>(hooks.push(hook, GFP_KERNEL)?)
    })?;
    let wasm = read_module(request.module, request.module_len)?;
    let signature = read_signature(request.signature, request.signature_len)?;
    let admission = admit_as(c"nf_wasm_load", namespace, &name, 0, &wasm, &signature)?;
    let (filter, attachments) = {
        let _turn = namespace.turn()?;
        let filter = namespace.prepare(name, settings.fuel, &hooks)?;
        // A new filter has no program to replace.
        filter.publish(ListedProgram::new(
            wasm,
            admission,
            settings,
            &filter.logger,
        )?);
        let attachments = namespace.add(&filter, &hooks)?;
        (filter, attachments)
    };
    request.id = filter.id;
    Entry::of(c"nf_wasm_load", namespace.net(), &filter)
        .program(&admission)
        .write();
    for (attachment, hook) in attachments.iter().zip(&hooks) {
        Entry::of(c"nf_wasm_attach", namespace.net(), &filter)
            .at(*attachment, hook)
            .write();
    }
    Ok(())
}

/// Decides whether `wasm` may run as the filter with this name, and with this id or 0. Writes a
/// refusal to the audit log, as a failed operation `op`.
pub(crate) fn admit_as(
    op: &'static CStr,
    namespace: &Namespace,
    name: &Name,
    id: u32,
    wasm: &[u8],
    signature: &[u8],
) -> Answer<Admission> {
    let digest = Digest::of(wasm);
    admit(wasm, digest, signature).inspect_err(|refusal| {
        Entry::new(op, namespace.net(), name, id)
            .refused(&digest, refusal.error)
            .write();
    })
}

/// `NF_WASM_REPLACE`.
pub(crate) fn replace(namespace: &Namespace, request: &mut Replace) -> Answer {
    let selector = check::replace(request)?;
    let wasm = read_module(request.module, request.module_len)?;
    let signature = read_signature(request.signature, request.signature_len)?;
    let filter = namespace.find(&selector)?;
    let op = c"nf_wasm_replace";
    let admission = admit_as(op, namespace, filter.name(), filter.id, &wasm, &signature)?;
    let turn = namespace.turn()?;
    let settings = {
        let rcu = rcu::read_lock();
        *filter.program(&rcu).ok_or(ENOENT)?.settings()
    };
    let settings = settings.replaced(request)?;
    namespace.check_new_fuel(&filter, settings.fuel)?;
    let program = ListedProgram::new(wasm, admission, settings, &filter.logger)?;
    let replaced = namespace.replace(&filter, program)?;
    drop(turn);
    // Waits until no packet uses the old program.
    drop(replaced);
    Entry::of(op, namespace.net(), &filter)
        .program(&admission)
        .write();
    Ok(())
}

/// `NF_WASM_UNLOAD`.
pub(crate) fn unload(namespace: &Namespace, request: &mut Select) -> Answer {
    let filter = namespace.remove(&check::select(request)?)?;
    Entry::of(c"nf_wasm_unload", namespace.net(), &filter).write();
    Ok(())
}

/// `NF_WASM_ATTACH`.
pub(crate) fn attach(namespace: &Namespace, request: &mut Attach) -> Answer {
    let (attachment, filter) = namespace.attach(&check::attach(request)?, &request.hook)?;
    request.attachment = attachment;
    Entry::of(c"nf_wasm_attach", namespace.net(), &filter)
        .at(attachment, &request.hook)
        .write();
    Ok(())
}

/// `NF_WASM_DETACH`.
pub(crate) fn detach(namespace: &Namespace, request: &mut Detach) -> Answer {
    check::detach(request)?;
    let (filter, hook) = namespace.detach(request.attachment)?;
    Entry::of(c"nf_wasm_detach", namespace.net(), &filter)
        .at(request.attachment, &hook)
        .write();
    Ok(())
}

/// `NF_WASM_RELEASE`.
pub(crate) fn release(namespace: &Namespace, request: &mut Select) -> Answer {
    let filter = namespace.find(&check::select(request)?)?;
    filter.release();
    Entry::of(c"nf_wasm_release", namespace.net(), &filter).write();
    Ok(())
}

/// `NF_WASM_LIST_FILTERS`.
pub(crate) fn list_filters(namespace: &Namespace, request: &mut List) -> Answer {
    list(request, || {
        namespace.read(|tables| {
            let mut entries = KVVec::with_capacity(tables.filters().len(), GFP_KERNEL)?;
            for record in tables.filters() {
                entries.push(filter_entry(tables, record), GFP_KERNEL)?;
            }
            Ok(entries)
        })
    })
}

fn filter_entry(tables: &Tables, record: &Record) -> FilterEntry {
    let filter = &record.filter;
    let mut entry = FilterEntry {
        id: filter.id,
        name: filter.name().field(),
        replaced: record.replaced,
        attachments: tables
            .attachments()
            .filter(|it| it.filter().id == filter.id)
            .count() as u32,
        counters: tables.totals(record).counters(),
        ..FilterEntry::zeroed()
    };
    let rcu = rcu::read_lock();
    if let Some(program) = filter.program(&rcu) {
        let settings = program.settings();
        entry.state = if program.quarantined() {
            STATE_QUARANTINED
        } else {
            STATE_ACTIVE
        };
        entry.trap_policy = settings.trap_policy;
        entry.snaplen = settings.snaplen;
        entry.quarantine = settings.quarantine;
        entry.capabilities = settings.capabilities;
        entry.capabilities_used = program.capabilities_used();
        entry.fuel = settings.fuel;
        entry.module_bytes = program.wasm().len() as u32;
        entry.memory_per_cpu = program.memory_per_cpu() as u64;
        entry.instances = program.instances();
        entry.digest = *program.admission().digest.bytes();
        entry.origin = program.admission().origin;
        entry.tier = settings.tier;
        entry.compiled = program.compiled();
        entry.tier_reason = program.tier_reason();
        entry.memory_shared = program.memory_shared() as u64;
        entry.recycle = settings.recycle;
        entry.reloads = program.reloads();
    }
    entry
}

/// `NF_WASM_LIST_ATTACHMENTS`.
pub(crate) fn list_attachments(namespace: &Namespace, request: &mut List) -> Answer {
    list(request, || {
        namespace.read(|tables| {
            let count = tables.attachments().count();
            let mut entries = KVVec::with_capacity(count, GFP_KERNEL)?;
            for attachment in tables.attachments() {
                entries.push(attachment.entry(), GFP_KERNEL)?;
            }
            Ok(entries)
        })
    })
}

/// Writes a table to the caller, whose memory may be too short for all of it. The entries are
/// collected first, so that no page fault is taken with a namespace's lock held.
fn list<T: Plain>(request: &mut List, collect: impl FnOnce() -> Result<KVVec<T>>) -> Answer {
    let size = check::list(request, size_of::<T>())?;
    let entries = collect()?;
    write_table(&Caller, request.entries, size, request.capacity, &entries)?;
    request.count = entries.len() as u32;
    Ok(())
}
