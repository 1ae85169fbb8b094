// SPDX-License-Identifier: MIT OR Apache-2.0
//! `info`: shows the kernel module's version, limits and capabilities.

use nf_wasm_shared::abi::ioctl::{Info, ADMISSION_LOCKED_DOWN, ADMISSION_SIGNATURE};
use serde::Serialize;

use crate::error::Result;
use crate::output::{self, Output};
use crate::{capabilities, name, view, Open};

#[derive(Serialize)]
struct Report {
    version: String,
    built_for: String,
    abi_version: u32,
    guest_version: u32,
    cpus: u32,
    capabilities: Vec<Capability>,
    limits: Limits,
    defaults: Defaults,
    load_stack: LoadStack,
    packet_path_allocations: u64,
    admission: Admission,
}

/// The policy for signatures of Wasm modules.
#[derive(Serialize)]
struct Admission {
    /// The kernel module's parameter of that name.
    require_signature: bool,
    locked_down: bool,
    allowed_digests: u32,
}

impl Admission {
    /// The same as text.
    fn text(&self) -> String {
        let Self {
            require_signature,
            locked_down,
            allowed_digests,
        } = self;
        match (locked_down, require_signature) {
            (true, _) => "only signed modules (the kernel is locked down)".to_owned(),
            (false, true) => format!("signed modules, and {allowed_digests} listed digests"),
            (false, false) => "all modules".to_owned(),
        }
    }
}

#[derive(Serialize)]
struct Capability {
    name: String,
    summary: Option<&'static str>,
}

#[derive(Serialize)]
struct Limits {
    module_bytes: u32,
    functions: u32,
    imports: u32,
    exports: u32,
    data_segments: u32,
    table_elements: u32,
    memory_pages: u32,
    nesting: u32,
    name_bytes: u32,
    filters: u32,
    attachments: u32,
    snaplen: u32,
    fuel: u64,
    /// `null` if the kernel module is older than this limit.
    hook_fuel: Option<u64>,
    signature_bytes: u32,
}

#[derive(Serialize)]
struct Defaults {
    snaplen: u32,
    quarantine: u32,
    fuel: u64,
}

#[derive(Serialize)]
struct LoadStack {
    peak: u32,
    size: u32,
}

impl From<&Info> for Report {
    fn from(info: &Info) -> Self {
        let capability = |name: String| Capability {
            summary: nf_wasm_shared::abi::capability::by_name(&name).map(|known| known.summary),
            name,
        };
        Self {
            version: name::shown(&info.version),
            built_for: name::shown(&info.built_for),
            abi_version: info.abi_version,
            guest_version: info.guest_version,
            cpus: info.cpus,
            capabilities: capabilities::names(info.capabilities)
                .into_iter()
                .map(capability)
                .collect(),
            limits: Limits {
                module_bytes: info.max_module_bytes,
                functions: info.max_functions,
                imports: info.max_imports,
                exports: info.max_exports,
                data_segments: info.max_data_segments,
                table_elements: info.max_table_elements,
                memory_pages: info.max_memory_pages,
                nesting: info.max_nesting,
                name_bytes: info.max_name_bytes,
                filters: info.max_filters,
                attachments: info.max_attachments,
                snaplen: info.max_snaplen,
                fuel: info.max_fuel,
                hook_fuel: (info.max_hook_fuel != 0).then_some(info.max_hook_fuel),
                signature_bytes: info.max_signature_bytes,
            },
            defaults: Defaults {
                snaplen: info.default_snaplen,
                quarantine: info.default_quarantine,
                fuel: info.default_fuel,
            },
            load_stack: LoadStack {
                peak: info.load_stack_peak,
                size: info.load_stack_size,
            },
            packet_path_allocations: info.packet_path_allocations,
            admission: Admission {
                require_signature: info.admission & ADMISSION_SIGNATURE != 0,
                locked_down: info.admission & ADMISSION_LOCKED_DOWN != 0,
                allowed_digests: info.allowed_digests,
            },
        }
    }
}

/// Shows the kernel module's description.
pub fn info(open: Open<'_>, out: &mut Output<'_>) -> Result {
    let info = open()?
        .info()
        .map_err(|refusal| refusal.while_trying("cannot query the kernel module", |_| None))?;
    let report = Report::from(&info);
    out.either(&report, |out| text(&report, out))
}

fn text(report: &Report, out: &mut Output<'_>) -> Result {
    out.pairs(&[
        ("nf_wasm", report.version.clone()),
        ("built for", report.built_for.clone()),
        ("ioctl interface", report.abi_version.to_string()),
        ("guest interface", report.guest_version.to_string()),
        ("CPUs", report.cpus.to_string()),
        (
            "load stack",
            format!(
                "peak {} of {} bytes",
                report.load_stack.peak, report.load_stack.size
            ),
        ),
        (
            "packet path",
            format!("{} allocations", report.packet_path_allocations),
        ),
        ("admits", report.admission.text()),
    ])?;
    let limits = &report.limits;
    let defaults = &report.defaults;
    let none = || "-".to_owned();
    let mut table = output::table(&["LIMIT", "MAX", "DEFAULT"], &["MAX", "DEFAULT"]);
    for (what, max, default) in [
        (
            "fuel per packet",
            limits.fuel.to_string(),
            defaults.fuel.to_string(),
        ),
        (
            "fuel per hook",
            limits.hook_fuel.map_or_else(none, |it| it.to_string()),
            none(),
        ),
        (
            "window bytes",
            limits.snaplen.to_string(),
            defaults.snaplen.to_string(),
        ),
        (
            "traps until quarantine",
            none(),
            defaults.quarantine.to_string(),
        ),
        ("filters per namespace", limits.filters.to_string(), none()),
        (
            "attachments per namespace",
            limits.attachments.to_string(),
            none(),
        ),
        ("module bytes", limits.module_bytes.to_string(), none()),
        (
            "signature bytes",
            limits.signature_bytes.to_string(),
            none(),
        ),
        ("functions", limits.functions.to_string(), none()),
        ("imports", limits.imports.to_string(), none()),
        ("exports", limits.exports.to_string(), none()),
        ("data segments", limits.data_segments.to_string(), none()),
        ("table elements", limits.table_elements.to_string(), none()),
        (
            "memory per CPU",
            view::bytes(u64::from(limits.memory_pages) << 16),
            none(),
        ),
        ("nested blocks", limits.nesting.to_string(), none()),
        ("name bytes", limits.name_bytes.to_string(), none()),
    ] {
        table.add_row([what.to_owned(), max, default]);
    }
    out.line("")?;
    out.table(&table)?;

    let mut table = output::table(&["CAPABILITY", "ALLOWS A FILTER TO"], &[]);
    for capability in &report.capabilities {
        let summary = capability.summary.unwrap_or("(newer than this nfwasm)");
        table.add_row([&capability.name, summary]);
    }
    out.line("")?;
    out.table(&table)
}
