// SPDX-License-Identifier: MIT OR Apache-2.0
//! `load`, `replace`, `unload` and `release`: load a filter, replace its program, unload it, end
//! its quarantine.

use nix::errno::Errno;
use serde::Serialize;

use crate::cli::{Load, Release, Replace, Tier, Unload};
use crate::device::Settings;
use crate::error::{Error, Result};
use crate::module::Module;
use crate::name::{Name, Selector};
use crate::output::Output;
use crate::view::Attachment;
use crate::{capabilities, Open};

#[derive(Serialize)]
struct Loaded<'a> {
    id: u32,
    name: &'a str,
    attachments: &'a [Attachment],
}

/// The JSON of verbs that change one filter.
#[derive(Serialize)]
struct Filter<'a> {
    filter: &'a Selector,
}

/// Loads a filter, and attaches it at the hooks that were given, if any.
pub fn load(ask: &Load, open: Open<'_>, out: &mut Output<'_>) -> Result {
    let name = match &ask.name {
        Some(name) => name.clone(),
        None => Name::for_file(&ask.file).map_err(|why| {
            Error::usage(
                format_args!("cannot name a filter after {}", ask.file.display()),
                why,
            )
            .help("give it a name with --name")
        })?,
    };
    let what = format!("cannot load `{name}`");
    let module = Module::read(&ask.file, ask.signed.signature.as_deref())?;
    let settings = Settings {
        trap_policy: Some(ask.on_trap.number()),
        quarantine: ask.quarantine,
        recycle: ask.recycle,
        ..ask.grant.settings(module.manifest)
    };
    let device = open()?;
    let id = device
        .load(&name, &module, &settings, &ask.attach)
        .map_err(|refusal| {
            refusal.while_trying(what, |errno| {
                let file = ask.file.display();
                match errno {
                    Errno::EEXIST => Some(format!(
                        "`nfwasm replace {name} {file}` replaces its program, `--name` loads \
                         another filter"
                    )),
                    _ => remedy(errno, &module.wasm, settings.capabilities),
                }
            })
        })?;

    // Only the listing has the attachments' ids. If the listing fails, or another task has already
    // unloaded the filter, the load succeeded all the same.
    let attachments: Vec<Attachment> = device
        .attachments()
        .unwrap_or_default()
        .iter()
        .filter(|attachment| attachment.filter == id)
        .map(Attachment::from)
        .collect();
    let name = name.to_string();
    let loaded = Loaded {
        id,
        name: &name,
        attachments: &attachments,
    };
    out.either(&loaded, |out| {
        out.line(format_args!("loaded {name}, id {id}"))?;
        for attachment in &attachments {
            out.line(format_args!(
                "attached {name} to {}, attachment id {}",
                attachment.at, attachment.id
            ))?;
        }
        if ask.attach.is_empty() {
            out.line(format_args!(
                "it gets no packets until it is attached: `nfwasm attach {name} inet:prerouting`"
            ))?;
        }
        Ok(())
    })
}

/// Replaces a filter's program.
pub fn replace(ask: &Replace, open: Open<'_>, out: &mut Output<'_>) -> Result {
    let module = Module::read(&ask.file, ask.signed.signature.as_deref())?;
    let settings = Settings {
        capabilities: ask.allow.as_deref().map(capabilities::union),
        fuel: ask.fuel,
        snaplen: ask.snaplen.or(module.manifest.snaplen),
        trap_policy: ask.on_trap.map(|policy| policy.number()),
        quarantine: ask.quarantine,
        tier: ask.tier.map(Tier::number),
        recycle: ask.recycle,
    };
    let device = open()?;
    device
        .replace(&ask.filter, &module, &settings)
        .map_err(|refusal| {
            refusal.while_trying(
                format_args!("cannot replace the program of filter {}", ask.filter),
                |errno| match errno {
                    Errno::ENOENT => Some(format!(
                        "`nfwasm list` shows the loaded filters; `nfwasm load {}` loads a new \
                         one",
                        ask.file.display()
                    )),
                    _ => remedy(errno, &module.wasm, settings.capabilities),
                },
            )
        })?;
    done(
        out,
        &ask.filter,
        format_args!("replaced the program of filter {}", ask.filter),
    )
}

/// Suggests a remedy for a refused Wasm module.
fn remedy(errno: Errno, wasm: &[u8], granted: Option<u64>) -> Option<String> {
    if errno != Errno::EACCES {
        return None;
    }
    let needed = nf_wasm_engine::inspect(wasm).ok()?.capabilities;
    let all = capabilities::names(needed | granted.unwrap_or(0)).join(",");
    Some(format!(
        "grant the capabilities that it needs: --allow {all}"
    ))
}

/// Detaches and frees a filter.
pub fn unload(ask: &Unload, open: Open<'_>, out: &mut Output<'_>) -> Result {
    open()?.unload(&ask.filter).map_err(|refusal| {
        refusal.while_trying(format_args!("cannot unload filter {}", ask.filter), |_| {
            None
        })
    })?;
    done(
        out,
        &ask.filter,
        format_args!("unloaded filter {}", ask.filter),
    )
}

/// Ends a quarantine.
pub fn release(ask: &Release, open: Open<'_>, out: &mut Output<'_>) -> Result {
    open()?.release(&ask.filter).map_err(|refusal| {
        refusal.while_trying(format_args!("cannot release filter {}", ask.filter), |_| {
            None
        })
    })?;
    done(
        out,
        &ask.filter,
        format_args!(
            "released filter {}; its traps may have left its memory inconsistent, `nfwasm replace` \
             starts with fresh memory",
            ask.filter
        ),
    )
}

fn done(out: &mut Output<'_>, filter: &Selector, text: std::fmt::Arguments<'_>) -> Result {
    out.either(&Filter { filter }, |out| out.line(text))
}
