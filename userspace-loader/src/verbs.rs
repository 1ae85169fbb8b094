// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs of the command line. [`dispatch`] calls the function of a verb.

mod attach;
mod check;
mod doctor;
mod generate;
mod info;
mod list;
mod load;
mod run;
mod stats;

use crate::cli::Verb;
use crate::error::Result;
use crate::output::Output;
use crate::Open;

/// The result of a verb that completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No problem was found.
    Well,
    /// `check` or `doctor` found a problem; the output describes it.
    Problem,
}

/// Runs the function of `verb`.
pub fn dispatch(verb: &Verb, open: Open<'_>, out: &mut Output<'_>) -> Result<Status> {
    match verb {
        Verb::Load(ask) => load::load(ask, open, out),
        Verb::Replace(ask) => load::replace(ask, open, out),
        Verb::Unload(ask) => load::unload(ask, open, out),
        Verb::Release(ask) => load::release(ask, open, out),
        Verb::Attach(ask) => attach::attach(ask, open, out),
        Verb::Detach(ask) => attach::detach(ask, open, out),
        Verb::List(_) => list::list(open, out),
        Verb::Show(ask) => list::show(ask, open, out),
        Verb::Stats(ask) => stats::stats(ask, open, out),
        Verb::Run(ask) => run::run(ask, open, out),
        Verb::Info(_) => info::info(open, out),
        Verb::Check(ask) => return check::check(ask, out),
        Verb::Doctor(ask) => return doctor::doctor(ask, open, out),
        Verb::Completions(ask) => generate::completions(ask, out),
        Verb::Man(ask) => generate::man(ask, out),
    }
    .map(|()| Status::Well)
}
