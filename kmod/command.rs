// SPDX-License-Identifier: GPL-2.0-only
//! The commands, from a struct of the ABI to a change of a namespace and back.

use core::ffi::CStr;

use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::rcu;

use crate::abi::capability;
use crate::abi::guest;
use crate::abi::ioctl::{
    Attach, Detach, FilterEntry, Hook, Info, List, Load, Replace, Select, ABI_VERSION,
    REPLACE_CAPABILITIES, REPLACE_FUEL, REPLACE_QUARANTINE, REPLACE_SNAPLEN, REPLACE_TRAP_POLICY,
    STATE_ACTIVE, STATE_QUARANTINED, TRAP_ACCEPT, TRAP_DROP,
};
use crate::abi::limits;
use crate::bindings;
use crate::cpu;
use crate::name::Name;
use crate::namespace::{Namespace, Record, Tables};
use crate::program::{Program, Settings};
use crate::refusal::{refuse, Answer};
use crate::region;
use crate::request::{
    check_unused, read_bytes, read_extensible, selector, user_ptr, write_extensible, Plain,
};
use crate::thread;

pub(crate) use crate::run::run;

/// Most bytes of an entry that a caller may know.
const MAX_ENTRY_BYTES: usize = 4096;

/// `NF_WASM_INFO`.
pub(crate) fn info(info: &mut Info) -> Answer {
    // SAFETY: Constants of the C half; the text ends with NUL.
    let (built_for, load_stack_size) = unsafe {
        (
            CStr::from_char_ptr(core::ptr::addr_of!(bindings::nf_wasm_built_for).cast()),
            bindings::nf_wasm_stack_size,
        )
    };
    *info = Info {
        size: size_of::<Info>() as u32,
        abi_version: ABI_VERSION,
        guest_version: guest::VERSION,
        cpus: cpu::possible_cpus() as u32,
        capabilities: capability::ALL_BITS,
        version: text_field(crate::VERSION.as_bytes()),
        built_for: text_field(built_for.to_bytes()),
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
        load_stack_size,
        packet_path_allocations: region::PACKET_PATH_ALLOCATIONS.load(Relaxed),
    };
    Ok(())
}

/// A text as a field of bytes, cut off so that a NUL remains.
fn text_field<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    let len = text.len().min(N - 1);
    field[..len].copy_from_slice(&text[..len]);
    field
}

/// Checks what an operator set, and puts defaults in the place of zeros.
pub(crate) fn check_settings(mut settings: Settings) -> Answer<Settings> {
    let unknown = settings.capabilities & !capability::ALL_BITS;
    if unknown != 0 {
        refuse!(
            EOPNOTSUPP,
            "capabilities {:#x}: not known to this module, which knows {:#x}",
            unknown,
            capability::ALL_BITS
        );
    }
    if settings.trap_policy != TRAP_ACCEPT && settings.trap_policy != TRAP_DROP {
        refuse!(
            EOPNOTSUPP,
            "trap policy {}: must be accept (0) or drop (1)",
            settings.trap_policy
        );
    }
    if settings.fuel > limits::MAX_FUEL {
        refuse!(
            EFBIG,
            "fuel {}: at most {} for one packet",
            settings.fuel,
            limits::MAX_FUEL
        );
    }
    if settings.snaplen > limits::MAX_SNAPLEN {
        refuse!(
            EFBIG,
            "snaplen {}: at most {} bytes",
            settings.snaplen,
            limits::MAX_SNAPLEN
        );
    }
    if settings.fuel == 0 {
        settings.fuel = limits::DEFAULT_FUEL;
    }
    if settings.snaplen == 0 {
        settings.snaplen = limits::DEFAULT_SNAPLEN;
    }
    if settings.quarantine == 0 {
        settings.quarantine = limits::DEFAULT_QUARANTINE;
    }
    Ok(settings)
}

/// Copies a Wasm binary from a caller.
pub(crate) fn read_module(address: u64, len: u32) -> Answer<KVVec<u8>> {
    if len == 0 {
        refuse!(ENOEXEC, "the module is empty");
    }
    if len > limits::MODULE_BYTES {
        refuse!(
            EFBIG,
            "the module has {} bytes, and at most {} are allowed; strip names and debug \
             information, or optimise for size",
            len,
            limits::MODULE_BYTES
        );
    }
    Ok(read_bytes(address, len)?)
}

fn read_hooks(request: &Load) -> Answer<KVec<Hook>> {
    let mut hooks = KVec::new();
    if request.hook_count == 0 {
        return Ok(hooks);
    }
    if request.hook_count > limits::ATTACHMENTS {
        refuse!(
            ENOSPC,
            "{} hooks: at most {} attachments are allowed",
            request.hook_count,
            limits::ATTACHMENTS
        );
    }
    let size = request.hook_size as usize;
    if size < size_of::<Hook>() || size > MAX_ENTRY_BYTES {
        refuse!(
            EINVAL,
            "hook_size {}: a hook has {} bytes",
            size,
            size_of::<Hook>()
        );
    }
    for index in 0..request.hook_count as usize {
        let mut hook = Hook::zeroed();
        let from = user_ptr(request.hooks).wrapping_byte_add(index * size);
        read_extensible(from, size, &mut hook)?;
        crate::attachment::check_hook(&hook)?;
        hooks.push(hook, GFP_KERNEL)?;
    }
    Ok(hooks)
}

/// `NF_WASM_LOAD`.
pub(crate) fn load(namespace: &Namespace, request: &mut Load) -> Answer {
    check_unused(request.flags, request.reserved)?;
    let name = Name::parse(&request.name)?;
    let settings = check_settings(Settings {
        capabilities: request.capabilities,
        fuel: request.fuel,
        snaplen: request.snaplen,
        trap_policy: request.trap_policy,
        quarantine: request.quarantine,
    })?;
    let hooks = read_hooks(request)?;
    let wasm = read_module(request.module, request.module_len)?;
    let _turn = namespace.turn();
    let filter = namespace.prepare(name)?;
    filter.publish(Program::new(wasm, settings, &filter.logger)?);
    let id = filter.id;
    namespace.add(filter, &hooks)?;
    request.id = id;
    Ok(())
}

/// `NF_WASM_REPLACE`.
pub(crate) fn replace(namespace: &Namespace, request: &mut Replace) -> Answer {
    const KNOWN: u32 = REPLACE_CAPABILITIES
        | REPLACE_FUEL
        | REPLACE_SNAPLEN
        | REPLACE_TRAP_POLICY
        | REPLACE_QUARANTINE;
    check_unused(request.flags, 0)?;
    if request.set & !KNOWN != 0 {
        refuse!(
            EOPNOTSUPP,
            "set {:#x}: not known to this module",
            request.set & !KNOWN
        );
    }
    let selector = selector(request.id, &request.name)?;
    let wasm = read_module(request.module, request.module_len)?;
    let _turn = namespace.turn();
    let filter = namespace.find(&selector)?;
    let mut settings = {
        let rcu = rcu::read_lock();
        *filter.program(&rcu).ok_or(ENOENT)?.settings()
    };
    if request.set & REPLACE_CAPABILITIES != 0 {
        settings.capabilities = request.capabilities;
    }
    if request.set & REPLACE_FUEL != 0 {
        settings.fuel = request.fuel;
    }
    if request.set & REPLACE_SNAPLEN != 0 {
        settings.snaplen = request.snaplen;
    }
    if request.set & REPLACE_TRAP_POLICY != 0 {
        settings.trap_policy = request.trap_policy;
    }
    if request.set & REPLACE_QUARANTINE != 0 {
        settings.quarantine = request.quarantine;
    }
    let settings = check_settings(settings)?;
    let program = Program::new(wasm, settings, &filter.logger)?;
    namespace.replace(&filter, program)
}

/// `NF_WASM_UNLOAD`.
pub(crate) fn unload(namespace: &Namespace, request: &mut Select) -> Answer {
    check_unused(request.flags, request.reserved)?;
    namespace.remove(&selector(request.id, &request.name)?)
}

/// `NF_WASM_ATTACH`.
pub(crate) fn attach(namespace: &Namespace, request: &mut Attach) -> Answer {
    check_unused(request.flags, 0)?;
    let selector = selector(request.id, &request.name)?;
    request.attachment = namespace.attach(&selector, &request.hook)?;
    Ok(())
}

/// `NF_WASM_DETACH`.
pub(crate) fn detach(namespace: &Namespace, request: &mut Detach) -> Answer {
    check_unused(request.flags, request.reserved)?;
    namespace.detach(request.attachment)
}

/// `NF_WASM_RELEASE`.
pub(crate) fn release(namespace: &Namespace, request: &mut Select) -> Answer {
    check_unused(request.flags, request.reserved)?;
    let filter = namespace.find(&selector(request.id, &request.name)?)?;
    let rcu = rcu::read_lock();
    if let Some(program) = filter.program(&rcu) {
        program.release();
    }
    Ok(())
}

/// `NF_WASM_LIST_FILTERS`.
pub(crate) fn list_filters(namespace: &Namespace, request: &mut List) -> Answer {
    write_table(request, || {
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
            .iter()
            .filter(|it| it.filter.id == filter.id)
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
    }
    entry
}

/// `NF_WASM_LIST_ATTACHMENTS`.
pub(crate) fn list_attachments(namespace: &Namespace, request: &mut List) -> Answer {
    write_table(request, || {
        namespace.read(|tables| {
            let mut entries = KVVec::with_capacity(tables.attachments().len(), GFP_KERNEL)?;
            for attachment in tables.attachments() {
                entries.push(attachment.entry(), GFP_KERNEL)?;
            }
            Ok(entries)
        })
    })
}

/// Writes a table to a caller, who may have less room than it needs. The entries are collected
/// first, so that no page fault is taken under a namespace's lock.
fn write_table<T: Plain>(request: &mut List, collect: impl FnOnce() -> Result<KVVec<T>>) -> Answer {
    check_unused(request.flags, request.reserved)?;
    let size = request.entry_size as usize;
    if size == 0 || size > MAX_ENTRY_BYTES {
        refuse!(
            EINVAL,
            "entry_size {}: this module's entries have {} bytes",
            size,
            size_of::<T>()
        );
    }
    let entries = collect()?;
    for (index, entry) in entries.iter().take(request.capacity as usize).enumerate() {
        let to = user_ptr(request.entries).wrapping_byte_add(index * size);
        write_extensible(to, size, entry)?;
    }
    request.count = entries.len() as u32;
    Ok(())
}
