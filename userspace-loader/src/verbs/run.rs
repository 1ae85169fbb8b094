// SPDX-License-Identifier: MIT OR Apache-2.0
//! `run`: runs a filter on one packet, in the kernel.

use std::path::Path;

use nf_wasm_shared::abi::guest::{ACCEPT, DROP};
use nf_wasm_shared::abi::ioctl::{NO_TRAP, TIER_JIT};
use nf_wasm_shared::abi::trap::Trap;
use nix::errno::Errno;
use serde::Serialize;

use crate::capabilities;
use crate::cli::Run;
use crate::device::{Outcome, Packet, Runnable};
use crate::error::{Error, Result};
use crate::hook::Family;
use crate::module::{self, Module};
use crate::name::{self, Selector};
use crate::output::Output;
use crate::{packet, Open};

#[derive(Serialize)]
struct Report {
    /// `accept` or `drop`; `null` if the filter trapped or returned another number.
    verdict: Option<&'static str>,
    /// The trap's kind, or `null`.
    trap: Option<String>,
    fuel_used: u64,
    mark: u32,
    output: Vec<String>,
    /// The tier in which the filter ran: `jit` or `interp`.
    tier: &'static str,
}

impl From<&Outcome> for Report {
    fn from(outcome: &Outcome) -> Self {
        let trap = (outcome.trap != NO_TRAP).then(|| match Trap::from_number(outcome.trap) {
            Some(trap) => trap.name().to_owned(),
            None => format!("trap-{}", outcome.trap),
        });
        let verdict = match outcome.verdict {
            _ if trap.is_some() => None,
            ACCEPT => Some("accept"),
            DROP => Some("drop"),
            _ => None,
        };
        Self {
            verdict,
            trap,
            fuel_used: outcome.fuel_used,
            mark: outcome.mark,
            output: outcome.output.lines().map(str::to_owned).collect(),
            tier: match outcome.tier {
                TIER_JIT => "jit",
                _ => "interp",
            },
        }
    }
}

/// Runs a filter on one packet.
pub fn run(ask: &Run, open: Open<'_>, out: &mut Output<'_>) -> Result {
    let bytes = packet::read(&ask.packet)?;
    let (family, hook) = place(ask, &bytes)?;
    let packet = Packet {
        bytes: &bytes,
        family: family.number(),
        hook,
        mark: ask.mark,
    };
    let outcome = if module::is_file(&ask.program) {
        run_file(ask, packet, open)
    } else {
        run_filter(ask, packet, open)
    }?;
    let report = Report::from(&outcome);
    out.either(&report, |out| {
        out.pairs(&[
            (
                "verdict",
                match (&report.trap, report.verdict) {
                    (Some(trap), _) => format!("none, trapped: {trap}"),
                    (None, Some(verdict)) => verdict.to_owned(),
                    (None, None) => outcome.verdict.to_string(),
                },
            ),
            ("fuel used", report.fuel_used.to_string()),
            ("mark", format!("{:#x}", report.mark)),
            ("tier", report.tier.to_owned()),
        ])?;
        for line in &report.output {
            out.line(format_args!("logged: {}", name::shown_text(line)))?;
        }
        Ok(())
    })
}

/// The family and the hook that go into the packet's context.
fn place(ask: &Run, bytes: &[u8]) -> Result<(Family, u32)> {
    let what = "cannot run the packet";
    let family = match ask.family {
        Some(Family::Inet) => return Err(Error::usage(what, "a packet is ipv4 or ipv6, not inet")),
        Some(family) => family,
        None => packet::family(bytes).ok_or_else(|| {
            Error::usage(what, "it is neither IPv4 nor IPv6")
                .help("begin it at its network header, or give --family")
        })?,
    };
    let hook = ask.hook.as_deref().unwrap_or(match family {
        Family::Netdev => "ingress",
        _ => "prerouting",
    });
    let hook = family.hook(hook).map_err(|why| Error::usage(what, why))?;
    Ok((family, hook))
}

fn run_file(ask: &Run, packet: Packet<'_>, open: Open<'_>) -> Result<Outcome> {
    let module = Module::read(Path::new(&ask.program), ask.signed.signature.as_deref())?;
    let settings = ask.grant.settings(module.manifest);
    open()?
        .run(Runnable::Module(&module, &settings), packet)
        .map_err(|refusal| {
            refusal.while_trying(format_args!("cannot run {}", ask.program), |errno| {
                if errno != Errno::EACCES {
                    return None;
                }
                let needed = nf_wasm_engine::inspect(&module.wasm).ok()?.capabilities;
                let names = capabilities::names(needed).join(",");
                Some(format!(
                    "grant the capabilities that it needs: --allow {names}"
                ))
            })
        })
}

fn run_filter(ask: &Run, packet: Packet<'_>, open: Open<'_>) -> Result<Outcome> {
    let what = format!("cannot run `{}`", name::shown_text(&ask.program));
    let filter: Selector = ask.program.parse().map_err(|why| {
        Error::usage(&what, why).help("a file has a slash in its path, or ends in .wasm or .wat")
    })?;
    let grant = &ask.grant;
    if grant.allow.is_some()
        || grant.fuel.is_some()
        || grant.snaplen.is_some()
        || ask.signed.signature.is_some()
    {
        return Err(Error::usage(
            what,
            "a loaded filter has its own settings: --allow, --fuel, --snaplen and --signature are \
             for files",
        )
        .help("a file has a slash in its path, or ends in .wasm or .wat"));
    }
    open()?
        .run(Runnable::Filter(&filter), packet)
        .map_err(|refusal| refusal.while_trying(what, |_| None))
}
