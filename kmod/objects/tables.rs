// SPDX-License-Identifier: GPL-2.0-only
//! The tables of a network namespace: its filters and their attachments.

use kernel::prelude::*;
use kernel::sync::Arc;

use crate::abi::ioctl::{Hook, FAMILY_IPV4, FAMILY_IPV6};
use crate::abi::limits;
use crate::control::refusal::{refuse, Answer};
use crate::decode::check::Selector;
use crate::decode::name::Name;
use crate::kernel_ext::netdevice::NetDevice;
use crate::objects::attachment::{protocols, Attachment};
use crate::objects::counters::Totals;
use crate::objects::filter::Filter;

/// A filter and what is written down of it.
pub(crate) struct Record {
    pub(crate) filter: Arc<Filter>,
    /// Sum of the attachments that are gone.
    retired: Totals,
    pub(crate) replaced: u32,
}

/// What a namespace's lock protects.
///
/// # Invariants
///
/// The filter of an attachment is in `filters`, or held by who has just taken it out of there: an
/// attachment is never the last to let go of its filter.
pub(crate) struct Tables {
    /// Those that packets come in by, and those that packets may still be inside of. They are
    /// dropped before the filters.
    attachments: KVec<Attachment>,
    filters: KVec<Record>,
    last_id: u32,
}

impl Tables {
    pub(crate) fn new() -> Self {
        // INVARIANT: There are no attachments.
        Tables {
            attachments: KVec::new(),
            filters: KVec::new(),
            last_id: 0,
        }
    }

    pub(crate) fn filters(&self) -> &[Record] {
        &self.filters
    }

    /// The attachments that packets come in by.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(|it| it.is_registered())
    }

    /// The same, to be changed.
    pub(crate) fn attachments_mut(&mut self) -> impl Iterator<Item = &mut Attachment> {
        let attachments = self.attachments.iter_mut();
        attachments.filter(|it| it.is_registered())
    }

    pub(crate) fn next_id(&mut self) -> Answer<u32> {
        let Some(id) = self.last_id.checked_add(1) else {
            refuse!(
                ENOSPC,
                "ids are used up; unload and insert the kernel module again"
            );
        };
        self.last_id = id;
        Ok(id)
    }

    fn position(&self, selector: &Selector) -> Answer<usize> {
        let found = self.filters.iter().position(|record| match selector {
            Selector::Id(id) => record.filter.id == *id,
            Selector::Name(name) => record.filter.name() == name,
        });
        match found {
            Some(position) => Ok(position),
            None => refuse!(
                ENOENT,
                "there is no filter {} in this network namespace; `nfwasm list` shows those that \
                 there are",
                selector
            ),
        }
    }

    /// The filter that `selector` names.
    pub(crate) fn find(&self, selector: &Selector) -> Answer<&Arc<Filter>> {
        Ok(&self.filters[self.position(selector)?].filter)
    }

    /// The same, with what is written down of it.
    pub(crate) fn find_record(&mut self, selector: &Selector) -> Answer<&mut Record> {
        let position = self.position(selector)?;
        Ok(&mut self.filters[position])
    }

    /// Whether a filter with this name may be added.
    pub(crate) fn check_room(&self, name: &Name) -> Answer {
        if let Some(record) = self.filters.iter().find(|it| it.filter.name() == name) {
            refuse!(
                EEXIST,
                "the name '{}' is taken by the filter with id {}; replace or unload that one, or \
                 choose another name",
                name,
                record.filter.id
            );
        }
        if self.filters.len() >= limits::FILTERS as usize {
            refuse!(
                ENOSPC,
                "this network namespace has {} filters, and no more are allowed",
                limits::FILTERS
            );
        }
        Ok(())
    }

    /// What the tables lack to take so many more filters and attachments, if anything.
    pub(crate) fn lacks(&mut self, filters: usize, attachments: usize) -> Option<Lack> {
        self.forget_left();
        let lack = Lack {
            filters: grown(&self.filters, filters),
            attachments: grown(&self.attachments, attachments),
        };
        (lack.filters != 0 || lack.attachments != 0).then_some(lack)
    }

    /// Moves into `room` what is to have more of it than here. What is left in there is the
    /// caller's to free after unlocking.
    pub(crate) fn make_room(&mut self, room: &mut Room) {
        move_to_larger(&mut self.filters, &mut room.filters);
        move_to_larger(&mut self.attachments, &mut room.attachments);
    }

    /// Adds a filter that there is room for. [`Self::check_room`] was asked.
    pub(crate) fn add(&mut self, filter: &Arc<Filter>) -> Result {
        let record = Record {
            filter: filter.clone(),
            retired: Totals::new(),
            replaced: 0,
        };
        Ok(self.filters.push_within_capacity(record)?)
    }

    /// Lets no more packets in to a filter, and takes it out. Who calls this holds it until its
    /// attachments are gone.
    pub(crate) fn take_out(&mut self, filter: &Arc<Filter>) {
        self.unregister(|it| Arc::ptr_eq(it.filter(), filter));
        self.filters
            .retain(|record| !Arc::ptr_eq(&record.filter, filter));
    }

    /// Whether one more attachment is allowed.
    pub(crate) fn check_attachments(&self) -> Answer {
        if self.attachments().count() >= limits::ATTACHMENTS as usize {
            refuse!(
                ENOSPC,
                "this network namespace has {} attachments, and no more are allowed",
                limits::ATTACHMENTS
            );
        }
        Ok(())
    }

    /// Keeps an attachment that there is room for, of a filter that is here or that the caller
    /// holds.
    pub(crate) fn keep(&mut self, attachment: Attachment) -> Result {
        Ok(self.attachments.push_within_capacity(attachment)?)
    }

    /// Lets no more packets in by the attachments for which `which` holds. They stay, out of sight,
    /// until [`Self::forget_left`] finds that no packet is inside.
    pub(crate) fn unregister(&mut self, which: impl Fn(&Attachment) -> bool) {
        let attachments = self.attachments_mut();
        attachments
            .filter(|it| which(it))
            .for_each(Attachment::unregister);
    }

    /// Whether packets come in by all attachments: there is nothing to be forgotten.
    pub(crate) fn is_settled(&self) -> bool {
        self.attachments.iter().all(Attachment::is_registered)
    }

    /// Frees the attachments that no packet is inside of any more. What they counted stays with
    /// their filters. Does not wait.
    pub(crate) fn forget_left(&mut self) {
        let filters = &mut self.filters;
        self.attachments.retain(|attachment| {
            if attachment.is_registered() || !attachment.has_left() {
                return true;
            }
            let record = filters
                .iter_mut()
                .find(|it| Arc::ptr_eq(&it.filter, attachment.filter()));
            if let Some(record) = record {
                record.retired.add(&attachment.totals());
            }
            false
        });
    }

    /// Sum of what the filter's attachments have counted, past ones included.
    pub(crate) fn totals(&self, record: &Record) -> Totals {
        let mut totals = record.retired;
        for attachment in &self.attachments {
            if Arc::ptr_eq(attachment.filter(), &record.filter) {
                totals.add(&attachment.totals());
            }
        }
        totals
    }

    /// Refuses an attachment that would have a packet meet filters with more than
    /// [`limits::HOOK_FUEL`] at one hook, all together.
    pub(crate) fn check_fuel(
        &self,
        hook: &Hook,
        device: *const NetDevice,
        fuel: u64,
    ) -> Answer {
        for &protocol in protocols(hook.family) {
            let there = self.fuel_at(protocol, hook.hook, device, Filter::fuel);
            check_sum(protocol, hook.hook, there + fuel)?;
        }
        Ok(())
    }

    /// The same for a replacement that is to give `filter` so much fuel.
    pub(crate) fn check_new_fuel(&self, filter: &Filter, fuel: u64) -> Answer {
        if fuel <= filter.fuel() {
            return Ok(());
        }
        let fuel_of = |it: &Filter| match it.id == filter.id {
            true => fuel,
            false => it.fuel(),
        };
        for attachment in self.attachments().filter(|it| it.filter().id == filter.id) {
            let Hook { family, hook, .. } = *attachment.hook();
            for &protocol in protocols(family) {
                let sum = self.fuel_at(protocol, hook, attachment.device(), fuel_of);
                check_sum(protocol, hook, sum)?;
            }
        }
        Ok(())
    }

    /// What a packet of `protocol` may use of fuel at a hook, at which each filter has as much as
    /// `fuel_of` says.
    fn fuel_at(
        &self,
        protocol: u32,
        hook: u32,
        device: *const NetDevice,
        fuel_of: impl Fn(&Filter) -> u64,
    ) -> u64 {
        // No sum overflows: there are at most `limits::ATTACHMENTS` times `limits::MAX_FUEL`.
        self.attachments()
            .filter(|it| it.meets(protocol, hook, device))
            .map(|it| fuel_of(it.filter()))
            .sum()
    }
}

/// For how many filters and attachments there has to be memory; 0 where there is enough.
pub(crate) struct Lack {
    filters: usize,
    attachments: usize,
}

/// Memory for larger tables. It is allocated and freed with the tables unlocked, since a caller
/// whose memory cgroup is full sleeps for long.
pub(crate) struct Room {
    attachments: KVec<Attachment>,
    filters: KVec<Record>,
}

impl Room {
    pub(crate) fn new(lack: &Lack) -> Result<Self> {
        Ok(Room {
            attachments: KVec::with_capacity(lack.attachments, GFP_KERNEL_ACCOUNT)?,
            filters: KVec::with_capacity(lack.filters, GFP_KERNEL_ACCOUNT)?,
        })
    }
}

/// The capacity that `table` needs for so many `more`, or 0 if it has that.
fn grown<T>(table: &KVec<T>, more: usize) -> usize {
    let wanted = table.len() + more;
    match wanted <= table.capacity() {
        true => 0,
        false => wanted.max(2 * table.capacity()),
    }
}

/// Has `table` use the memory of `room`, if that is larger. `room` is empty before and after.
fn move_to_larger<T>(table: &mut KVec<T>, room: &mut KVec<T>) {
    if room.capacity() <= table.capacity() {
        return;
    }
    for entry in table.drain_all() {
        // Infallible: `room` is empty, and larger than the table.
        let _ = room.push_within_capacity(entry);
    }
    core::mem::swap(table, room);
}

fn check_sum(protocol: u32, hook: u32, sum: u64) -> Answer {
    if sum <= limits::HOOK_FUEL {
        return Ok(());
    }
    let family = match protocol {
        FAMILY_IPV4 => "ipv4",
        FAMILY_IPV6 => "ipv6",
        _ => "netdev",
    };
    refuse!(
        ENOSPC,
        "all filters that a packet of family {} meets at hook {} would have {} units of fuel \
         together, and {} are allowed; give this filter or those that are there less fuel, or \
         detach one",
        family,
        hook,
        sum,
        limits::HOOK_FUEL
    );
}
