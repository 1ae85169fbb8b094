// SPDX-License-Identifier: GPL-2.0-only
//! Network namespaces: each has its own filters and attachments, which go when it goes.
//!
//! Lock order: RTNL, a namespace's turn, its tables, CPU hotplug (netfilter takes it to switch a static key
//! when a hook is registered), the list of programs ([`crate::objects::programs`]). Nobody waits for a turn
//! with RTNL held. The device notifier waits for the tables with RTNL held. So with the tables locked no
//! program is built or freed, no grace period is waited for, and this module allocates nothing that is
//! charged to a memory cgroup, because a charge may put its task to sleep. (Netfilter's array of a hook's
//! functions is charged.)

use core::ptr::{self, NonNull};

use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex, MutexGuard};
use kernel::task::CurrentTask;

use crate::abi::ioctl::{Hook, FAMILY_NETDEV};
use crate::control::audit::Entry;
use crate::control::refusal::{refuse, Answer};
use crate::decode::check::{self, Selector};
use crate::decode::name::Name;
use crate::kernel_ext::grace_period::GracePeriod;
use crate::kernel_ext::killable::LockKillable;
use crate::kernel_ext::net::Net;
use crate::kernel_ext::netdevice::{DeviceEvents, DeviceNotifier, NetDevice, NotifierRegistration};
use crate::kernel_ext::per_net::{PerNet, PerNetOperations, PerNetRegistration};
use crate::kernel_ext::rcu_pointer::Retired;
use crate::objects::attachment::Attachment;
use crate::objects::filter::Filter;
use crate::objects::programs::ListedProgram;
use crate::objects::tables::{Room, Tables};

/// A network namespace.
///
/// # Invariants
///
/// `net` outlives this, and every attachment in `tables` was registered with it, or never.
#[pin_data]
pub(crate) struct Namespace {
    net: NonNull<Net>,
    /// Held while a program is built and published, so that of two who replace a filter the second
    /// starts from what the first has set. Taken before `tables`, and never with RTNL held.
    #[pin]
    turn: Mutex<()>,
    #[pin]
    tables: Mutex<Tables>,
}

// SAFETY: `net` is only lent, and may be used by any thread; the rest is behind mutexes.
unsafe impl Send for Namespace {}
// SAFETY: As above.
unsafe impl Sync for Namespace {}

impl Namespace {
    /// The namespace that a task is in, for as long as it stays in this call of the module's.
    pub(crate) fn current(task: &CurrentTask) -> Result<&Self> {
        // SAFETY: The module stays: the call is made through an open file of its device.
        unsafe { NAMESPACES.get(Net::of_task(task)) }.ok_or(ENODEV)
    }

    pub(crate) fn net(&self) -> &Net {
        // SAFETY: By the invariant `net` outlives `self`.
        unsafe { self.net.as_ref() }
    }

    /// Whether it is the one that the machine booted with.
    pub(crate) fn is_initial(&self) -> bool {
        self.net().is_initial()
    }

    /// Waits until nobody else builds a program for this namespace. A caller who is killed
    /// meanwhile gets `EINTR`.
    pub(crate) fn turn(&self) -> Result<MutexGuard<'_, ()>> {
        self.turn.lock_killable()
    }

    /// Reads the tables.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&Tables) -> R) -> R {
        f(&self.tables.lock())
    }

    /// Locks the tables when they have room for so many more filters and attachments.
    fn lock_with_room(&self, filters: usize, attachments: usize) -> Result<MutexGuard<'_, Tables>> {
        loop {
            let mut tables = self.tables.lock();
            let Some(lack) = tables.lacks(filters, attachments) else {
                return Ok(tables);
            };
            drop(tables);
            let mut room = Room::new(&lack)?;
            self.tables.lock().make_room(&mut room);
            // Others may use it up before the tables are locked again. That ends: how much they
            // can add is limited.
        }
    }

    /// Makes a filter, without a program, that [`Self::add`] may take and attach to `hooks`, if it
    /// is to have so much `fuel`. Refuses early what that would refuse after the work.
    pub(crate) fn prepare(&self, name: Name, fuel: u64, hooks: &[Hook]) -> Answer<Arc<Filter>> {
        let id = {
            let mut tables = self.tables.lock();
            tables.check_room(&name)?;
            for hook in hooks {
                check::hook(hook)?;
                tables.check_fuel(hook, self.device(hook)?, fuel)?;
            }
            tables.next_id()?
        };
        let filter = Filter::new(id, name, self.is_initial());
        Ok(Arc::pin_init(filter, GFP_KERNEL_ACCOUNT)?)
    }

    /// Adds a filter, of which a program was published, and attaches it to all of `hooks`, or does
    /// neither. Returns the attachments' ids.
    pub(crate) fn add(&self, filter: &Arc<Filter>, hooks: &[Hook]) -> Answer<KVec<u32>> {
        let mut ids = KVec::with_capacity(hooks.len(), GFP_KERNEL)?;
        // Goes after the tables are unlocked, with what was not used of it.
        let mut attachments = KVec::with_capacity(hooks.len(), GFP_KERNEL)?;
        for hook in hooks {
            // SAFETY: The filter has a program, as the caller saw to.
            let attachment = unsafe { Attachment::new(filter.clone(), hook)? };
            attachments.push(Some(attachment), GFP_KERNEL)?;
        }
        let mut tables = self.lock_with_room(1, hooks.len())?;
        tables.check_room(filter.name())?;
        tables.add(filter)?;
        for attachment in &mut attachments {
            let attached = self.attach_locked(&mut tables, attachment);
            // There is room for all of them.
            if let Err(refusal) = attached.and_then(|id| Ok(ids.push(id, GFP_KERNEL)?)) {
                tables.take_out(filter);
                drop(tables);
                self.wait_for_packets();
                return Err(refusal);
            }
        }
        Ok(ids)
    }

    /// The filter that `selector` names.
    pub(crate) fn find(&self, selector: &Selector) -> Answer<Arc<Filter>> {
        self.tables.lock().find(selector).cloned()
    }

    /// Swaps the filter's program, unless the filter is gone in the meantime. Returns the one that
    /// was replaced, for the caller to drop with no lock held.
    pub(crate) fn replace(
        &self,
        filter: &Arc<Filter>,
        program: ListedProgram,
    ) -> Answer<Option<Retired<ListedProgram>>> {
        let mut tables = self.tables.lock();
        let selector = Selector::Id(filter.id);
        tables.find(&selector)?;
        tables.check_new_fuel(filter, program.settings().fuel)?;
        tables.find_record(&selector)?.replaced += 1;
        Ok(filter.publish(program))
    }

    /// Refuses early what [`Self::replace`] would refuse for its fuel.
    pub(crate) fn check_new_fuel(&self, filter: &Filter, fuel: u64) -> Answer {
        self.read(|tables| tables.check_new_fuel(filter, fuel))
    }

    /// Detaches a filter and takes it out. It is freed when the caller lets go of it.
    pub(crate) fn remove(&self, selector: &Selector) -> Answer<Arc<Filter>> {
        let filter = {
            let mut tables = self.tables.lock();
            let filter = tables.find(selector)?.clone();
            tables.take_out(&filter);
            filter
        };
        self.wait_for_packets();
        Ok(filter)
    }

    /// Attaches a filter to a hook. Returns the attachment's id, and the filter.
    pub(crate) fn attach(&self, selector: &Selector, hook: &Hook) -> Answer<(u32, Arc<Filter>)> {
        let filter = self.find(selector)?;
        check::hook(hook)?;
        // SAFETY: It was in the tables, and so has a program.
        let mut attachment = Some(unsafe { Attachment::new(filter.clone(), hook)? });
        let attached = {
            let mut tables = self.lock_with_room(0, 1)?;
            // It may have been taken out meanwhile.
            tables.find(&Selector::Id(filter.id))?;
            self.attach_locked(&mut tables, &mut attachment)
        };
        let id = attached.inspect_err(|_| self.wait_for_packets())?;
        Ok((id, filter))
    }

    /// Registers an attachment whose filter is in the tables, which have room for it, and moves it
    /// there. Where that is refused early, the attachment stays where it is, to be dropped when the
    /// tables are unlocked. There has to be one.
    fn attach_locked(&self, tables: &mut Tables, slot: &mut Option<Attachment>) -> Answer<u32> {
        let attachment = slot.as_mut().ok_or(EINVAL)?;
        let filter = attachment.filter();
        let hook = *attachment.hook();
        let hook = &hook;
        check::hook(hook)?;
        let device = self.device(hook)?;
        if let Some(there) = tables
            .attachments()
            .find(|it| Arc::ptr_eq(it.filter(), filter) && it.is_at(hook, device))
        {
            refuse!(
                EEXIST,
                "the filter is attached there already, with the same priority, as attachment {}",
                there.id
            );
        }
        tables.check_attachments()?;
        tables.check_fuel(hook, device, filter.fuel())?;
        let id = tables.next_id()?;
        // SAFETY: By the invariant `net` outlives the tables, and the attachment is kept there. The
        // device is registered now, and `forget_device` has the attachment unregistered before it
        // no longer is: it waits for the tables that the caller has locked.
        let registered = unsafe { attachment.register(id, device, self.net()) };
        // Also if it was refused: packets may be inside by now. There is room for it.
        if let Some(attachment) = slot.take() {
            tables.keep(attachment)?;
        }
        if let Err(error) = registered {
            if error == E2BIG {
                refuse!(
                    ENOSPC,
                    "netfilter has as many hooks at hook {} of family {}, or of one of those that \
                     belong to it, as it takes",
                    hook.hook,
                    hook.family
                );
            }
            refuse!(
                error,
                "netfilter refused hook {} of family {} with priority {}",
                hook.hook,
                hook.family,
                hook.priority
            );
        }
        Ok(id)
    }

    /// Looks up a hook's device, without a reference: it stays at least until the notifier has had
    /// the lock that the caller holds. Null where the family has none.
    fn device(&self, hook: &Hook) -> Answer<*const NetDevice> {
        if hook.family != FAMILY_NETDEV {
            return Ok(ptr::null());
        }
        let name = CStr::from_bytes_until_nul(&hook.device).map_err(|_| EINVAL)?;
        let found = self
            .net()
            .with_device(name, |device| (ptr::from_ref(device), device.is_registered()));
        // A device that is still registered is one whose notifier has yet to wait for the caller's
        // lock, and that stays until then.
        match found {
            Some((device, true)) => Ok(device),
            Some((_, false)) => refuse!(
                ENODEV,
                "the device '{}' is being removed",
                name.to_str().unwrap_or("?")
            ),
            None => refuse!(
                ENODEV,
                "there is no device '{}' in this network namespace",
                name.to_str().unwrap_or("?")
            ),
        }
    }

    /// Undoes one attachment. Returns the filter, and where it was.
    pub(crate) fn detach(&self, id: u32) -> Answer<(Arc<Filter>, Hook)> {
        let was = {
            let mut tables = self.tables.lock();
            let Some(attachment) = tables.attachments_mut().find(|it| it.id == id) else {
                refuse!(
                    ENOENT,
                    "there is no attachment with id {} in this network namespace; `nfwasm list` \
                     shows those that there are",
                    id
                );
            };
            attachment.unregister();
            (attachment.filter().clone(), *attachment.hook())
        };
        self.wait_for_packets();
        Ok(was)
    }

    /// Frees the attachments that were unregistered before this was called, once no packet is
    /// inside: one grace period for all of them. Called without the tables, because who wants to
    /// look at them may hold RTNL.
    fn wait_for_packets(&self) {
        if self.read(Tables::is_settled) {
            return;
        }
        GracePeriod::begin().wait();
        self.tables.lock().forget_left();
    }

    /// Undoes the attachments on a device that is about to go. Called with RTNL held, so nothing is
    /// waited for: what packets may still be inside of is freed by whoever changes the tables next,
    /// or with the namespace.
    fn forget_device(&self, device: &NetDevice) {
        let mut tables = self.tables.lock();
        for attachment in tables.attachments().filter(|it| it.is_on(device)) {
            Entry::of(c"nf_wasm_detach", self.net(), attachment.filter())
                .at(attachment.id, attachment.hook())
                .write_now();
        }
        tables.unregister(|it| it.is_on(device));
        tables.forget_left();
    }

    /// A device has another name now. Called with RTNL held.
    fn rename_device(&self, device: &NetDevice) {
        let mut tables = self.tables.lock();
        let attachments = tables.attachments_mut();
        attachments
            .filter(|it| it.is_on(device))
            .for_each(Attachment::rename);
    }

    /// Lets no more packets in. The namespace, or the module, is about to go.
    fn close(&self) {
        self.tables.lock().unregister(|_| true);
    }

    /// Writes down that all filters go.
    fn audit_end(&self) {
        for record in self.tables.lock().filters() {
            Entry::of(c"nf_wasm_unload", self.net(), &record.filter).write_now();
        }
    }
}

/// The state of each network namespace.
static NAMESPACES: PerNetOperations<Namespace> = PerNetOperations::new();

impl PerNet for Namespace {
    fn operations() -> &'static PerNetOperations<Self> {
        &NAMESPACES
    }

    unsafe fn new(net: &Net) -> impl PinInit<Self> {
        // INVARIANT: By the contract `net` outlives the state, and the tables are empty.
        pin_init!(Namespace {
            net: NonNull::from(net),
            turn <- new_mutex!(()),
            tables <- new_mutex!(Tables::new()),
        })
    }

    fn pre_exit(&self) {
        self.close();
    }

    fn exit(&self) {
        self.audit_end();
    }
}

/// Takes filters off devices that go, and takes down new names.
struct Devices;

static DEVICE_NOTIFIER: DeviceNotifier<Devices> = DeviceNotifier::new();

impl Devices {
    /// The namespace that `device` is in.
    fn namespace(device: &NetDevice) -> Option<&Namespace> {
        // SAFETY: A namespace outlives its devices, and its state does: it belongs to a subsystem, which
        // the kernel has leave after devices. When the module goes, the notifier does so first.
        unsafe { NAMESPACES.get(device.net()) }
    }
}

impl DeviceEvents for Devices {
    fn unregisters(device: &NetDevice) {
        if let Some(namespace) = Self::namespace(device) {
            namespace.forget_device(device);
        }
    }

    fn is_renamed(device: &NetDevice) {
        if let Some(namespace) = Self::namespace(device) {
            namespace.rename_device(device);
        }
    }
}

/// The module's presence in all namespaces. Dropping it detaches and frees everything. The notifier goes
/// first, since it needs the namespaces.
pub(crate) struct Registration {
    _devices: NotifierRegistration,
    _namespaces: PerNetRegistration,
}

impl Registration {
    /// # Safety
    ///
    /// Called once, before there is a command.
    pub(crate) unsafe fn new() -> Result<Self> {
        // SAFETY: This is called once. Neither a command nor the notifier asks for a namespace yet.
        let namespaces = unsafe { NAMESPACES.register()? };
        Ok(Registration {
            // SAFETY: This is called once. Where it fails, `namespaces` is dropped.
            _devices: unsafe { DEVICE_NOTIFIER.register()? },
            _namespaces: namespaces,
        })
    }
}
