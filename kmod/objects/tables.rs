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

/// A filter with its counts.
pub(crate) struct Record {
    pub(crate) filter: Arc<Filter>,
    /// Sum of the counters of removed attachments.
    retired: Totals,
    pub(crate) replaced: u32,
}

/// The data behind a namespace's lock.
///
/// # Invariants
///
/// The filter of an attachment is in `filters`, or is held by the code that has just removed it
/// from there: an attachment never holds the last reference to its filter.
pub(crate) struct Tables {
    /// Registered attachments, and unregistered ones that a packet may still be inside of. They are
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

    /// The registered attachments.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(|it| it.is_registered())
    }

    /// The registered attachments, mutable.
    pub(crate) fn attachments_mut(&mut self) -> impl Iterator<Item = &mut Attachment> {
        let attachments = self.attachments.iter_mut();
        attachments.filter(|it| it.is_registered())
    }

    pub(crate) fn next_id(&mut self) -> Answer<u32> {
        let Some(id) = self.last_id.checked_add(1) else {
            refuse!(
                ENOSPC,
                "all ids are used up; unload the kernel module and load it again"
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
                "there is no filter {} in this network namespace; `nfwasm list` shows all filters",
                selector
            ),
        }
    }

    /// The filter that `selector` names.
    pub(crate) fn find(&self, selector: &Selector) -> Answer<&Arc<Filter>> {
        Ok(&self.filters[self.position(selector)?].filter)
    }

    /// The record of the filter that `selector` names.
    pub(crate) fn find_record(&mut self, selector: &Selector) -> Answer<&mut Record> {
        let position = self.position(selector)?;
        Ok(&mut self.filters[position])
    }

    /// Refuses a filter whose name is taken, or which exceeds the limit.
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

    /// The capacities that the tables need for `filters` more filters and `attachments` more
    /// attachments. `None` if they have them.
    pub(crate) fn lacks(&mut self, filters: usize, attachments: usize) -> Option<Lack> {
        self.forget_left();
        let lack = Lack {
            filters: grown(&self.filters, filters),
            attachments: grown(&self.attachments, attachments),
        };
        (lack.filters != 0 || lack.attachments != 0).then_some(lack)
    }

    /// Moves each table for which `room` has more capacity to the memory in `room`. The caller
    /// drops `room`, with the old memory, after the unlock.
    pub(crate) fn make_room(&mut self, room: &mut Room) {
        move_to_larger(&mut self.filters, &mut room.filters);
        move_to_larger(&mut self.attachments, &mut room.attachments);
    }

    /// Adds a filter. The caller has called [`Self::check_room`], and the tables have the capacity.
    pub(crate) fn add(&mut self, filter: &Arc<Filter>) -> Result {
        let record = Record {
            filter: filter.clone(),
            retired: Totals::new(),
            replaced: 0,
        };
        Ok(self.filters.push_within_capacity(record)?)
    }

    /// Unregisters a filter's attachments, and removes the filter. The caller holds a reference to
    /// it until the attachments are freed.
    pub(crate) fn take_out(&mut self, filter: &Arc<Filter>) {
        self.unregister(|it| Arc::ptr_eq(it.filter(), filter));
        self.filters
            .retain(|record| !Arc::ptr_eq(&record.filter, filter));
    }

    /// Refuses an attachment over the limit.
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

    /// Adds an attachment. The tables have the capacity, and its filter is in the tables or held by
    /// the caller.
    pub(crate) fn keep(&mut self, attachment: Attachment) -> Result {
        Ok(self.attachments.push_within_capacity(attachment)?)
    }

    /// Unregisters the attachments that `which` selects. They are kept, but no longer listed, until
    /// [`Self::forget_left`] finds that no packet is inside.
    pub(crate) fn unregister(&mut self, which: impl Fn(&Attachment) -> bool) {
        let attachments = self.attachments_mut();
        attachments
            .filter(|it| which(it))
            .for_each(Attachment::unregister);
    }

    /// Whether all attachments are registered: [`Self::forget_left`] has nothing to free.
    pub(crate) fn is_settled(&self) -> bool {
        self.attachments.iter().all(Attachment::is_registered)
    }

    /// Frees the unregistered attachments that no packet is inside of. Adds their counters to their
    /// filters' records. Does not wait.
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

    /// Sum of the counters of the filter's attachments, removed ones included.
    pub(crate) fn totals(&self, record: &Record) -> Totals {
        let mut totals = record.retired;
        for attachment in &self.attachments {
            if Arc::ptr_eq(attachment.filter(), &record.filter) {
                totals.add(&attachment.totals());
            }
        }
        totals
    }

    /// Refuses an attachment if the filters that a packet meets at one hook would together have
    /// more than [`limits::HOOK_FUEL`].
    pub(crate) fn check_fuel(&self, hook: &Hook, device: *const NetDevice, fuel: u64) -> Answer {
        for &protocol in protocols(hook.family) {
            let there = self.fuel_at(protocol, hook.hook, device, Filter::fuel);
            check_sum(protocol, hook.hook, there + fuel)?;
        }
        Ok(())
    }

    /// The same for a replacement that gives `filter` this much fuel.
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

    /// The most fuel that a packet of `protocol` may use at a hook. `fuel_of` gives the fuel of
    /// each filter there.
    fn fuel_at(
        &self,
        protocol: u32,
        hook: u32,
        device: *const NetDevice,
        fuel_of: impl Fn(&Filter) -> u64,
    ) -> u64 {
        // The sum does not overflow: it is at most `limits::ATTACHMENTS` times `limits::MAX_FUEL`.
        self.attachments()
            .filter(|it| it.meets(protocol, hook, device))
            .map(|it| fuel_of(it.filter()))
            .sum()
    }
}

/// The capacities that the tables need; 0 if a table has enough.
pub(crate) struct Lack {
    filters: usize,
    attachments: usize,
}

/// Memory for larger tables. It is allocated and freed with the tables unlocked, because a charge
/// to a full memory cgroup sleeps for long.
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

/// The capacity that `table` needs for `more` entries, or 0 if it has enough.
fn grown<T>(table: &KVec<T>, more: usize) -> usize {
    let wanted = table.len() + more;
    match wanted <= table.capacity() {
        true => 0,
        false => wanted.max(2 * table.capacity()),
    }
}

/// Moves `table` to the memory of `room`, if that is larger. `room` is empty before and after.
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
        "all filters that a packet of family {} meets at hook {} would together have {} units of \
         fuel, and at most {} are allowed; give this filter or the attached filters less fuel, or \
         detach one",
        family,
        hook,
        sum,
        limits::HOOK_FUEL
    );
}
