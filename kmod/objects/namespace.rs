// SPDX-License-Identifier: GPL-2.0-only
//! Network namespaces: each has its own filters and attachments, which are freed with it.
//!
//! Lock order: RTNL, a namespace's `turn`, its tables, CPU hotplug (netfilter locks it when it
//! registers a hook, to switch a static key), the list of programs ([`crate::objects::programs`]).
//! No task waits for a `turn` with RTNL held. The device notifier waits for the tables with RTNL
//! held. With the tables locked, therefore, nf_wasm builds and frees no program, waits for no grace
//! period, and allocates no memory that is charged to a memory cgroup, because a charge may sleep
//! for long. (Netfilter's array of a hook's functions is charged.)

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
/// `net` outlives this. Every attachment in `tables` was registered in `net`, or was never
/// registered.
#[pin_data]
pub(crate) struct Namespace {
    net: NonNull<Net>,
    /// Held while a program is built and published. It orders concurrent replacements of a filter:
    /// the second starts from the settings of the first. Taken before `tables`, and never with RTNL
    /// held.
    #[pin]
    turn: Mutex<()>,
    #[pin]
    tables: Mutex<Tables>,
}

// SAFETY: `net` is only borrowed, and any thread may use it; the rest is behind mutexes.
unsafe impl Send for Namespace {}
// SAFETY: As above.
unsafe impl Sync for Namespace {}

impl Namespace {
    /// The namespace of `task`, which cannot change during this system call.
    pub(crate) fn current(task: &CurrentTask) -> Result<&Self> {
        // SAFETY: The kernel module stays loaded: the caller has its device open.
        unsafe { NAMESPACES.get(Net::of_task(task).ok_or(ENODEV)?) }.ok_or(ENODEV)
    }

    pub(crate) fn net(&self) -> &Net {
        // SAFETY: By the invariant `net` outlives `self`.
        unsafe { self.net.as_ref() }
    }

    /// Whether this is the initial network namespace.
    pub(crate) fn is_initial(&self) -> bool {
        self.net().is_initial()
    }

    /// Waits until no other task builds a program for this namespace. Returns `EINTR` if the caller
    /// is killed meanwhile.
    pub(crate) fn turn(&self) -> Result<MutexGuard<'_, ()>> {
        self.turn.lock_killable()
    }

    /// Calls `f` with the tables locked.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&Tables) -> R) -> R {
        f(&self.tables.lock())
    }

    /// Locks the tables, with room for `filters` more filters and `attachments` more attachments.
    fn lock_with_room(&self, filters: usize, attachments: usize) -> Result<MutexGuard<'_, Tables>> {
        loop {
            let mut tables = self.tables.lock();
            let Some(lack) = tables.lacks(filters, attachments) else {
                return Ok(tables);
            };
            drop(tables);
            let mut room = Room::new(&lack)?;
            self.tables.lock().make_room(&mut room);
            // Other tasks may use up the room before the tables are locked again. The loop ends,
            // because the number of filters and attachments is limited.
        }
    }

    /// Makes a filter without a program, for [`Self::add`] to attach to `hooks`. `fuel` is that of
    /// its program. Checks early what [`Self::add`] would refuse after the build.
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

    /// Adds a filter that has a program, and attaches it to all of `hooks`; on failure it does
    /// neither. Returns the attachments' ids.
    pub(crate) fn add(&self, filter: &Arc<Filter>, hooks: &[Hook]) -> Answer<KVec<u32>> {
        let mut ids = KVec::with_capacity(hooks.len(), GFP_KERNEL)?;
        // Declared before `tables`, so that unused attachments are dropped after the unlock.
        let mut attachments = KVec::with_capacity(hooks.len(), GFP_KERNEL)?;
        for hook in hooks {
            // SAFETY: The filter has a program, as the caller ensured.
            let attachment = unsafe { Attachment::new(filter.clone(), hook)? };
            attachments.push(Some(attachment), GFP_KERNEL)?;
        }
        let mut tables = self.lock_with_room(1, hooks.len())?;
        tables.check_room(filter.name())?;
        tables.add(filter)?;
        for attachment in &mut attachments {
            let attached = self.attach_locked(&mut tables, attachment);
            // The push does not fail: `ids` has the capacity.
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

    /// Replaces the filter's program, unless the filter was removed meanwhile. Returns the old
    /// program; the caller drops it with no lock held.
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

    /// Checks early whether [`Self::replace`] would refuse the new program's fuel.
    pub(crate) fn check_new_fuel(&self, filter: &Filter, fuel: u64) -> Answer {
        self.read(|tables| tables.check_new_fuel(filter, fuel))
    }

    /// Detaches a filter and removes it from the tables. The filter is freed when the caller drops
    /// it.
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

    /// Attaches a filter to a hook. Returns the attachment's id and the filter.
    pub(crate) fn attach(&self, selector: &Selector, hook: &Hook) -> Answer<(u32, Arc<Filter>)> {
        let filter = self.find(selector)?;
        check::hook(hook)?;
        // SAFETY: The filter was in the tables, and so has a program.
        let mut attachment = Some(unsafe { Attachment::new(filter.clone(), hook)? });
        let attached = {
            let mut tables = self.lock_with_room(0, 1)?;
            // The filter may have been removed meanwhile.
            tables.find(&Selector::Id(filter.id))?;
            self.attach_locked(&mut tables, &mut attachment)
        };
        let id = attached.inspect_err(|_| self.wait_for_packets())?;
        Ok((id, filter))
    }

    /// Registers the attachment in `slot`, and moves it to the tables. Its filter is in the tables,
    /// and the tables have room for it. If this is refused before the registration, the attachment
    /// stays in `slot`, and the caller drops it after the unlock. `slot` must not be empty.
    fn attach_locked(&self, tables: &mut Tables, slot: &mut Option<Attachment>) -> Answer<u32> {
        let attachment = slot.as_mut().ok_or(EINVAL)?;
        let filter = attachment.filter();
        let hook = *attachment.hook();
        let hook = &hook;
        check::hook(hook)?;
        let device = self.device(hook)?;
        if let Some(present) = tables
            .attachments()
            .find(|it| Arc::ptr_eq(it.filter(), filter) && it.is_at(hook, device))
        {
            refuse!(
                EEXIST,
                "the filter is attached there already, with the same priority, as attachment {}",
                present.id
            );
        }
        tables.check_attachments()?;
        tables.check_fuel(hook, device, filter.fuel())?;
        let id = tables.next_id()?;
        // SAFETY: By the invariant `net` outlives the tables, and the attachment is kept there. The
        // device is registered now. Before it is unregistered, `forget_device` unregisters the
        // attachment: it waits for the tables, which the caller has locked.
        let registered = unsafe { attachment.register(id, device, self.net()) };
        // Keep it even if the registration failed: a packet may be inside by now. The tables have
        // room for it.
        if let Some(attachment) = slot.take() {
            tables.keep(attachment)?;
        }
        if let Err(error) = registered {
            if error == E2BIG {
                refuse!(
                    ENOSPC,
                    "netfilter has the maximum number of functions at hook {} of family {}, or of \
                     a family that it includes",
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

    /// Looks up a hook's device, without a reference. The device is not freed before the notifier
    /// has taken the tables' lock, which the caller holds. Null unless the family is netdev.
    fn device(&self, hook: &Hook) -> Answer<*const NetDevice> {
        if hook.family != FAMILY_NETDEV {
            return Ok(ptr::null());
        }
        let name = CStr::from_bytes_until_nul(&hook.device).map_err(|_| EINVAL)?;
        let found = NetDevice::with_name(self.net(), name, |device| {
            (ptr::from_ref(device), device.is_registered())
        });
        // While the device is registered, its notifier has yet to take the lock that the caller
        // holds, and the device is not freed before that.
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

    /// Removes one attachment. Returns its filter and its hook.
    pub(crate) fn detach(&self, id: u32) -> Answer<(Arc<Filter>, Hook)> {
        let detached = {
            let mut tables = self.tables.lock();
            let Some(attachment) = tables.attachments_mut().find(|it| it.id == id) else {
                refuse!(
                    ENOENT,
                    "there is no attachment with id {} in this network namespace; `nfwasm list` \
                     shows all attachments",
                    id
                );
            };
            attachment.unregister();
            (attachment.filter().clone(), *attachment.hook())
        };
        self.wait_for_packets();
        Ok(detached)
    }

    /// Waits until no packet is inside the attachments that were unregistered before this call, and
    /// frees them: one grace period for all of them. The caller must not hold the tables' lock,
    /// because a task that waits for it may hold RTNL.
    fn wait_for_packets(&self) {
        if self.read(Tables::is_settled) {
            return;
        }
        GracePeriod::begin().wait();
        self.tables.lock().forget_left();
    }

    /// Removes the attachments on a device that is being unregistered. Called with RTNL held, so
    /// this does not wait. Attachments that a packet may still be inside of are freed by the next
    /// change of the tables, or with the namespace.
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

    /// Copies a device's new name to its attachments. Called with RTNL held.
    fn rename_device(&self, device: &NetDevice) {
        let mut tables = self.tables.lock();
        let attachments = tables.attachments_mut();
        attachments
            .filter(|it| it.is_on(device))
            .for_each(Attachment::rename);
    }

    /// Unregisters all attachments, because the namespace or the kernel module is about to go.
    fn close(&self) {
        self.tables.lock().unregister(|_| true);
    }

    /// Writes an audit record for each filter, because all are about to be freed.
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

/// Removes attachments from devices that are unregistered, and copies new device names.
struct Devices;

static DEVICE_NOTIFIER: DeviceNotifier<Devices> = DeviceNotifier::new();

impl Devices {
    /// The state of `net`, which is a device's network namespace.
    fn namespace(net: &Net) -> Option<&Namespace> {
        // SAFETY: The state of a network namespace outlives its devices, because the kernel frees the
        // state of subsystems after devices. When the kernel module is unloaded, the notifier is
        // unregistered first.
        unsafe { NAMESPACES.get(net) }
    }
}

impl DeviceEvents for Devices {
    fn leaves(device: &NetDevice, net: &Net) {
        if let Some(namespace) = Self::namespace(net) {
            namespace.forget_device(device);
        }
    }

    fn is_renamed(device: &NetDevice, net: &Net) {
        if let Some(namespace) = Self::namespace(net) {
            namespace.rename_device(device);
        }
    }
}

/// The kernel module's registration for network namespaces. Dropping it detaches and frees all
/// filters. The notifier is dropped first, because it uses the namespaces.
pub(crate) struct Registration {
    _devices: NotifierRegistration,
    _namespaces: PerNetRegistration,
}

impl Registration {
    /// # Safety
    ///
    /// Called once, before any command can run.
    pub(crate) unsafe fn new() -> Result<Self> {
        // SAFETY: This is called once. Neither a command nor the notifier looks up a namespace yet.
        let namespaces = unsafe { NAMESPACES.register()? };
        Ok(Registration {
            // SAFETY: This is called once. If it fails, `namespaces` is dropped.
            _devices: unsafe { DEVICE_NOTIFIER.register()? },
            _namespaces: namespaces,
        })
    }
}
