// SPDX-License-Identifier: MIT OR Apache-2.0
//! `doctor`: finds out why filters cannot be loaded on this system, and suggests remedies.

mod module_file;
mod system;

use serde::Serialize;

use super::Status;
use crate::cli::Doctor;
use crate::error::Result;
use crate::output::{self, Output};
use crate::Open;
use module_file::ModuleFile;
use system::System;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Problem,
    Unknown,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Problem => "PROBLEM",
            State::Unknown => "unknown",
        }
    }
}

/// One check and its result.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// How to solve the problem, if there is one.
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn unknown(name: &'static str, found: impl Into<String>, remedy: Option<String>) -> Self {
        Self {
            state: State::Unknown,
            remedy,
            ..Self::ok(name, found)
        }
    }

    fn problem(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Problem,
            remedy: Some(remedy.into()),
            ..Self::ok(name, found)
        }
    }
}

#[derive(Serialize)]
struct Report {
    /// Whether no check found a problem.
    ok: bool,
    checks: Vec<Check>,
}

/// Runs all checks.
pub fn doctor(ask: &Doctor, open: Open<'_>, out: &mut Output<'_>) -> Result<Status> {
    let system = System::new(&ask.root);
    let file = ModuleFile::find(&ask.root, system.release(), ask.module.as_deref());
    let loaded = system.is_loaded();
    let checks = vec![
        system.rust(),
        module_file::check(&file, system.release(), loaded),
        system.signatures(file.is_signed(), loaded),
        system.loaded(&file),
        system.device(loaded),
        interface(open),
        system.net_admin(),
        system.user_namespace(),
    ];
    let report = Report {
        ok: checks.iter().all(|check| check.state != State::Problem),
        checks,
    };
    out.either(&report, |out| text(&report, out))?;
    Ok(if report.ok {
        Status::Well
    } else {
        Status::Problem
    })
}

/// Checks that the kernel module and this tool have the same interface version.
fn interface(open: Open<'_>) -> Check {
    const NAME: &str = "ioctl interface";
    let info = match open() {
        Ok(device) => device
            .info()
            .map_err(|refusal| refusal.while_trying("cannot query the kernel module", |_| None)),
        Err(error) if error.is_no_device() => {
            return Check::unknown(NAME, "the module is not loaded", None)
        }
        Err(error) => Err(error),
    };
    match info {
        Ok(info) => Check::ok(
            NAME,
            format!("version {}, same as nfwasm", info.abi_version),
        ),
        Err(error) => Check::problem(
            NAME,
            error.to_string(),
            error.remedy().unwrap_or("see the kernel log (`dmesg`)"),
        ),
    }
}

fn text(report: &Report, out: &mut Output<'_>) -> Result {
    let mut table = output::table(&["CHECK", "STATE", "FOUND"], &[]);
    for check in &report.checks {
        table.add_row([check.name, check.state.name(), &check.found]);
    }
    out.table(&table)?;
    let remedies = report
        .checks
        .iter()
        .filter_map(|check| Some((check.name, check.remedy.as_ref()?)));
    for (at, (name, remedy)) in remedies.enumerate() {
        if at == 0 {
            out.line("")?;
        }
        out.line(format_args!("{name}: {remedy}"))?;
    }
    Ok(())
}
