// SPDX-License-Identifier: MIT OR Apache-2.0
//! `check`: what a filter needs, and whether the kernel would take it, without the kernel.

use nf_wasm_engine::{Inspection, Refusal};
use nix::errno::Errno;
use serde::Serialize;

use super::Status;
use crate::cli::Check;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::name;
use crate::output::Output;
use crate::{capabilities, module, view};

#[derive(Serialize)]
struct Report<'a> {
    file: String,
    loadable: bool,
    bytes: usize,
    /// Why not, or `null`.
    refusal: Option<RefusalView>,
    /// `null` for a module that is refused whatever it is granted.
    needs: Option<Needs<'a>>,
}

#[derive(Serialize)]
struct RefusalView {
    errno: String,
    text: String,
}

#[derive(Serialize)]
struct Needs<'a> {
    capabilities: Vec<String>,
    /// Those that `--allow` does not have; `null` without `--allow`.
    missing: Option<Vec<String>>,
    imports: Vec<Import<'a>>,
    exports: Vec<Export<'a>>,
    functions: u32,
    memory_pages: Option<Pages>,
    init: bool,
    buffer: bool,
    manifest: Manifest,
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
            init: inspection.has_init,
            buffer: inspection.has_buf,
            manifest,
        }
    }

    fn missing(&self) -> &[String] {
        self.missing.as_deref().unwrap_or_default()
    }
}

/// Says what a filter needs.
pub fn check(ask: &Check, out: &mut Output<'_>) -> Result<Status> {
    let wasm = module::read(&ask.file)?;
    let file = ask.file.display().to_string();
    let granted = ask.allow.as_deref().map(capabilities::union);
    match nf_wasm_engine::inspect(&wasm) {
        Ok(inspection) => {
            let manifest = module::manifest(&ask.file, &wasm)?;
            let needs = Needs::new(&inspection, manifest, granted);
            let report = Report {
                file,
                loadable: needs.missing().is_empty(),
                bytes: wasm.len(),
                refusal: None,
                needs: Some(needs),
            };
            out.either(&report, |out| text(&report, out))?;
            Ok(if report.loadable {
                Status::Well
            } else {
                Status::Problem
            })
        }
        Err(refusal) => refused(file, wasm.len(), &refusal, out),
    }
}

fn refused(file: String, bytes: usize, refusal: &Refusal, out: &mut Output<'_>) -> Result<Status> {
    let text = name::shown_text(&refusal.message);
    let errno = format!("{:?}", Errno::from_raw(refusal.kind.errno()));
    if !out.is_json() {
        return Err(Error::failure(
            format_args!("{file} cannot be loaded"),
            format_args!("{text} [{errno}]"),
        ));
    }
    out.json(&Report {
        file,
        loadable: false,
        bytes,
        refusal: Some(RefusalView { errno, text }),
        needs: None,
    })?;
    Ok(Status::Problem)
}

fn text(report: &Report<'_>, out: &mut Output<'_>) -> Result {
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
        Some(Pages { min, max: None }) => format!("{} at first", pages(u64::from(*min))),
        Some(Pages {
            min,
            max: Some(max),
        }) => format!(
            "{} at first, {} at most",
            pages(u64::from(*min)),
            pages(*max)
        ),
    };
    let runs_init = if needs.init {
        "it is run at load"
    } else {
        "none"
    };
    let buffer = if needs.buffer {
        "from nfw_buf"
    } else if needs.memory_pages.is_some() {
        "appended to the memory"
    } else {
        "none: the filter has no memory and sees no packet"
    };
    let snaplen = match needs.manifest.snaplen {
        Some(bytes) => format!("{bytes} bytes, by its manifest"),
        None => "the default".to_owned(),
    };
    out.pairs(&[
        ("module", format!("{} bytes", report.bytes)),
        ("functions", needs.functions.to_string()),
        ("imports", or_none(imports.collect())),
        ("exports", or_none(exports.collect())),
        ("memory", memory),
        ("packet buffer", buffer.to_owned()),
        ("snaplen", snaplen),
        ("nfw_init", runs_init.to_owned()),
        ("capabilities", or_none(needs.capabilities.clone())),
    ])?;
    out.line("")?;
    if !needs.missing().is_empty() {
        return out.line(format_args!(
            "not granted: {}; the kernel would refuse it",
            needs.missing().join(", ")
        ));
    }
    let allow = if needs.capabilities.is_empty() {
        String::new()
    } else {
        format!(" --allow {}", needs.capabilities.join(","))
    };
    out.line(format_args!("nfwasm load {}{allow}", report.file))
}

fn pages(count: u64) -> String {
    view::bytes(count.saturating_mul(65_536))
}
