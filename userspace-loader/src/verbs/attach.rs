// SPDX-License-Identifier: MIT OR Apache-2.0
//! `attach` and `detach`: attach filters to hooks, and remove attachments.

use nf_wasm_shared::abi::ioctl::{AttachmentEntry, FAMILY_NETDEV};
use nix::errno::Errno;
use serde::Serialize;

use crate::cli::{Attach, Detach};
use crate::device::Device;
use crate::error::{Error, Refusal, Result};
use crate::hook::{self, Pattern};
use crate::name::Selector;
use crate::output::Output;
use crate::Open;

#[derive(Serialize)]
struct Attachment {
    attachment: u32,
}

/// Attaches a filter to a hook.
pub fn attach(ask: &Attach, open: Open<'_>, out: &mut Output<'_>) -> Result {
    let at = hook::shown(&ask.hook);
    let attachment = open()?.attach(&ask.filter, &ask.hook).map_err(|refusal| {
        refusal.while_trying(
            format_args!("cannot attach filter {} to {at}", ask.filter),
            |errno| match errno {
                Errno::EEXIST => Some("give another priority, as in `filter-10`".to_owned()),
                Errno::EOPNOTSUPP if ask.hook.family == FAMILY_NETDEV => Some(
                    "the kernel needs CONFIG_NETFILTER_INGRESS or CONFIG_NETFILTER_EGRESS"
                        .to_owned(),
                ),
                _ => None,
            },
        )
    })?;
    out.either(&Attachment { attachment }, |out| {
        out.line(format_args!(
            "attached filter {} to {at}, attachment id {attachment}",
            ask.filter
        ))
    })
}

/// Removes one attachment.
pub fn detach(ask: &Detach, open: Open<'_>, out: &mut Output<'_>) -> Result {
    let device = open()?;
    let (attachment, what) = match (&ask.filter, &ask.hook, ask.attachment) {
        (Some(filter), Some(hook), None) => {
            let what = format!("cannot detach filter {filter} from {hook}");
            (find(&*device, &what, filter, hook)?, what)
        }
        (None, None, Some(id)) => (id, format!("cannot remove attachment {id}")),
        _ => {
            return Err(Error::usage(
                "cannot detach",
                "give a filter and a hook, or an attachment's id",
            ))
        }
    };
    device
        .detach(attachment)
        .map_err(|refusal| refusal.while_trying(what, |_| None))?;
    out.either(&Attachment { attachment }, |out| {
        out.line(format_args!("removed attachment {attachment}"))
    })
}

/// Finds the id of the only attachment of `filter` that `pattern` matches. The kernel module never
/// reuses ids, so the id is safe to use even if attachments change meanwhile.
fn find(device: &dyn Device, what: &str, filter: &Selector, pattern: &Pattern) -> Result<u32> {
    let refused = |refusal: Refusal| refusal.while_trying(what, |_| None);
    let filters = device.filters().map_err(refused)?;
    let id = filters
        .iter()
        .find(|entry| filter.selects(entry.id, &entry.name))
        .ok_or_else(|| Error::no_filter(what, filter))?
        .id;
    let attachments = device.attachments().map_err(refused)?;
    let matching: Vec<&AttachmentEntry> = attachments
        .iter()
        .filter(|attachment| attachment.filter == id && pattern.matches(&attachment.hook))
        .collect();
    match matching[..] {
        [one] => Ok(one.id),
        [] => Err(
            Error::no_such(what, format_args!("it is not attached there"))
                .help(format!("`nfwasm show {id}` shows its attachments")),
        ),
        _ => {
            let ids: Vec<_> = matching
                .iter()
                .map(|attachment| format!("{} is {}", attachment.id, hook::shown(&attachment.hook)))
                .collect();
            Err(Error::usage(
                what,
                format_args!("several attachments match: {}", ids.join(", ")),
            )
            .help("give the priority, or --attachment with an id"))
        }
    }
}
