// SPDX-License-Identifier: MIT OR Apache-2.0
//! `check`: shows what a filter needs and whether it can be loaded, without the kernel module.

use nf_wasm_engine::Inspection;
use nf_wasm_shared::abi::guest::{EXPORT_BUF, EXPORT_INIT};
use nix::errno::Errno;
use serde::Serialize;

use super::Status;
use crate::cli::Check;
use crate::device::Settings;
use crate::error::{Error, Refusal, Result};
use crate::manifest::Manifest;
use crate::module::Module;
use crate::output::Output;
use crate::{capabilities, name, rehearsal, view};

#[derive(Serialize)]
struct Report<'a> {
    file: String,
    loadable: bool,
    bytes: usize,
    /// Why it cannot be loaded, or `null`.
    refusal: Option<RefusalView>,
    /// `null` if the file is not a filter.
    needs: Option<Needs<'a>>,
}

#[derive(Serialize)]
struct RefusalView {
    errno: String,
    text: String,
    /// The only fault is a missing capability, which the rest of the report shows.
    #[serde(skip)]
    is_denial: bool,
}

#[derive(Serialize)]
struct Needs<'a> {
    capabilities: Vec<String>,
    /// Needed capabilities that `--allow` lacks; `null` without `--allow`.
    missing: Option<Vec<String>>,
    imports: Vec<Import<'a>>,
    exports: Vec<Export<'a>>,
    functions: u32,
    memory_pages: Option<Pages>,
    /// Size of the linear memory on each CPU after set-up; `null` if the load was refused.
    memory_bytes: Option<usize>,
    init: bool,
    buffer: bool,
    /// Exports that set the filter up, in the order of the calls.
    set_up: Vec<&'static str>,
    manifest: Manifest,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Import<'a> {
    module: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Export<'a> {
    kind: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct Pages {
    min: u32,
    max: Option<u64>,
}

impl<'a> Needs<'a> {
    fn new(inspection: &Inspection<'a>, manifest: Manifest, granted: Option<u64>) -> Self {
        Self {
            capabilities: capabilities::names(inspection.capabilities),
            missing: granted.map(|granted| capabilities::names(inspection.capabilities & !granted)),
            imports: inspection
                .imports
                .iter()
                .map(|import| Import {
                    module: import.module,
                    name: import.name,
                })
                .collect(),
            exports: inspection
                .exports
                .iter()
                .map(|export| Export {
                    kind: export.kind.name(),
                    name: export.name,
                })
                .collect(),
            functions: inspection.functions,
            memory_pages: inspection.memory.map(|memory| Pages {
                min: memory.min,
                max: memory.max,
            }),
            memory_bytes: None,
            init: inspection.has_init,
            buffer: inspection.has_buf,
            set_up: set_up(inspection),
            manifest,
            notes: notes(inspection),
        }
    }

    fn missing(&self) -> &[String] {
        self.missing.as_deref().unwrap_or_default()
    }
}

/// The exports that are called before the first packet.
fn set_up(inspection: &Inspection<'_>) -> Vec<&'static str> {
    let has_buf = inspection.has_buf && inspection.memory.is_some();
    let called = [
        inspection.initializer,
        has_buf.then_some(EXPORT_BUF),
        inspection.has_init.then_some(EXPORT_INIT),
    ];
    called.into_iter().flatten().collect()
}

/// Notes on probable mistakes.
fn notes(inspection: &Inspection<'_>) -> Vec<String> {
    let first = inspection.calls_first.map(|function| {
        format!(
            "nfw_filter calls function {function} first, for every packet. If that function runs \
             constructors, link with -Wl,--export=__wasm_call_ctors, so that they run only once"
        )
    });
    first.into_iter().collect()
}

/// Shows what a filter needs.
pub fn check(ask: &Check, out: &mut Output<'_>) -> Result<Status> {
    let Module { wasm, manifest, .. } = Module::read(&ask.file, None)?;
    let granted = ask.allow.as_deref().map(capabilities::union);
    let inspection = nf_wasm_engine::inspect(&wasm).ok();
    let needed = inspection.as_ref().map_or(0, |it| it.capabilities);
    let settings = Settings {
        capabilities: Some(granted.unwrap_or(needed)),
        snaplen: ask.snaplen.or(manifest.snaplen),
        ..Settings::default()
    };
    let loaded = rehearsal::load(&wasm, &settings);
    let mut needs = inspection
        .as_ref()
        .map(|inspection| Needs::new(inspection, manifest, granted));
    if let (Some(needs), Ok(instance)) = (&mut needs, &loaded) {
        needs.memory_bytes = Some(instance.memory().len());
    }
    let file = ask.file.display().to_string();
    let refusal = loaded.err().map(|Refusal { errno, text }| RefusalView {
        errno: format!("{errno:?}"),
        text: name::shown_text(&text),
        is_denial: errno == Errno::EACCES,
    });
    let status = match &refusal {
        None => Status::Well,
        Some(refusal) if !refusal.is_denial && !out.is_json() => {
            return Err(Error::failure(
                format_args!("{file} cannot be loaded"),
                format_args!("{} [{}]", refusal.text, refusal.errno),
            ));
        }
        Some(_) => Status::Problem,
    };
    let report = Report {
        file,
        loadable: refusal.is_none(),
        bytes: wasm.len(),
        refusal,
        needs,
    };
    out.either(&report, |out| text(&report, ask, out))?;
    Ok(status)
}

fn text(report: &Report<'_>, asked: &Check, out: &mut Output<'_>) -> Result {
    let Some(needs) = &report.needs else {
        return Ok(());
    };
    let or_none = |names: Vec<String>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            name::shown_text(&names.join(", "))
        }
    };
    let imports = needs
        .imports
        .iter()
        .map(|import| format!("{}.{}", import.module, import.name));
    let exports = needs
        .exports
        .iter()
        .map(|export| format!("{} {}", export.kind, export.name));
    let memory = match &needs.memory_pages {
        None => "none".to_owned(),
        Some(Pages { min, max }) => {
            let mut text = format!("{} initially", pages(u64::from(*min)));
            if let Some(max) = max {
                text += &format!(", {} at most", pages(*max));
            }
            if let Some(bytes) = needs.memory_bytes {
                text += &format!("; {} on each CPU", view::bytes(bytes as u64));
            }
            text
        }
    };
    let set_up = match needs.set_up.join(", ") {
        names if names.is_empty() => "none".to_owned(),
        names if report.loadable => format!("ran {names}, as a load does on each CPU"),
        names => format!("{names} (not run)"),
    };
    let buffer = if needs.buffer {
        "from nfw_buf"
    } else if needs.memory_pages.is_some() {
        "appended to the memory"
    } else {
        "none: the filter has no memory and cannot read packets"
    };
    let snaplen = match (asked.snaplen, needs.manifest.snaplen) {
        (Some(bytes), _) => format!("{bytes} bytes, by --snaplen"),
        (None, Some(bytes)) => format!("{bytes} bytes, by its manifest"),
        (None, None) => "the default".to_owned(),
    };
    out.pairs(&[
        ("module", format!("{} bytes", report.bytes)),
        ("functions", needs.functions.to_string()),
        ("imports", or_none(imports.collect())),
        ("exports", or_none(exports.collect())),
        ("memory", memory),
        ("packet buffer", buffer.to_owned()),
        ("snaplen", snaplen),
        ("set-up", set_up),
        ("capabilities", or_none(needs.capabilities.clone())),
    ])?;
    out.line("")?;
    for note in &needs.notes {
        out.line(format_args!("note: {note}\n"))?;
    }
    if !needs.missing().is_empty() {
        return out.line(format_args!(
            "not granted: {}; the kernel would refuse the filter",
            needs.missing().join(", ")
        ));
    }
    let allow = if needs.capabilities.is_empty() {
        String::new()
    } else {
        format!(" --allow {}", needs.capabilities.join(","))
    };
    let snaplen = asked
        .snaplen
        .map(|bytes| format!(" --snaplen {bytes}"))
        .unwrap_or_default();
    out.line(format_args!("nfwasm load {}{allow}{snaplen}", report.file))
}

fn pages(count: u64) -> String {
    view::bytes(count.saturating_mul(65_536))
}
