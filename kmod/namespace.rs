// SPDX-License-Identifier: GPL-2.0-only
//! Network namespaces: each has filters and attachments of its own, which go with it.
//!
//! Lock order: RTNL, then a namespace's turn, its tables, CPU hotplug (netfilter takes it to switch
//! a static key when a hook is registered), the list of programs ([`crate::programs`]), the lock of
//! builds ([`crate::thread`]). A turn is never waited for with RTNL held. Nothing that takes long
//! (building a program) is done under a namespace's tables, since the device notifier waits for
//! them with RTNL held.

use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;
use kernel::sync::{new_mutex, rcu, Arc, Mutex, MutexGuard};

use crate::abi::ioctl::{Hook, FAMILY_NETDEV};
use crate::abi::limits;
use crate::attachment::Attachment;
use crate::audit::Entry;
use crate::bindings;
use crate::counters::Totals;
use crate::decode::check::{self, Selector};
use crate::decode::name::Name;
use crate::filter::Filter;
use crate::killable::LockKillable;
use crate::program::Program;
use crate::refusal::{refuse, Answer};

/// A filter and what is written down of it.
pub(crate) struct Record {
    pub(crate) filter: Arc<Filter>,
    /// Sum of the attachments that are gone.
    retired: Totals,
    pub(crate) replaced: u32,
}

/// What a namespace's lock protects.
pub(crate) struct Tables {
    filters: KVec<Record>,
    attachments: KVec<Pin<KBox<Attachment>>>,
    last_id: u32,
}

impl Tables {
    pub(crate) fn filters(&self) -> &[Record] {
        &self.filters
    }

    pub(crate) fn attachments(&self) -> &[Pin<KBox<Attachment>>] {
        &self.attachments
    }

    fn next_id(&mut self) -> Answer<u32> {
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

    fn check_room(&self, name: &Name) -> Answer {
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

    /// Sum of what the filter's attachments have counted, past ones included.
    pub(crate) fn totals(&self, record: &Record) -> Totals {
        let mut totals = record.retired;
        for attachment in &self.attachments {
            if Arc::ptr_eq(&attachment.filter, &record.filter) {
                totals.add(&attachment.totals());
            }
        }
        totals
    }
}

/// A network namespace.
#[pin_data]
pub(crate) struct Namespace {
    net: *mut kernel_bindings::net,
    /// Held while a program is built and published, so that of two who replace a filter the second
    /// starts from what the first has set. Taken before `tables`, and never with RTNL held.
    #[pin]
    turn: Mutex<()>,
    #[pin]
    tables: Mutex<Tables>,
}

impl Namespace {
    fn new(net: *mut kernel_bindings::net) -> impl PinInit<Self> {
        pin_init!(Namespace {
            net,
            turn <- new_mutex!(()),
            tables <- new_mutex!(Tables {
                filters: KVec::new(),
                attachments: KVec::new(),
                last_id: 0,
            }),
        })
    }

    /// The namespace that the caller is in.
    pub(crate) fn current() -> Result<&'static Self> {
        // SAFETY: A task's namespace lives as long as the task stays in it, which it does during
        // a system call.
        let net = unsafe { bindings::nf_wasm_current_net() };
        // SAFETY: It lives.
        unsafe { Self::of(net) }.ok_or(ENODEV)
    }

    /// The state that belongs to `net`.
    ///
    /// # Safety
    ///
    /// `net` lives, and neither it nor the module goes while the result is used.
    unsafe fn of<'a>(net: *mut kernel_bindings::net) -> Option<&'a Self> {
        // SAFETY: The slot holds null or what `Self::enter` put there.
        unsafe { (*slot(net)).cast::<Self>().as_ref() }
    }

    pub(crate) fn net(&self) -> *mut kernel_bindings::net {
        self.net
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

    /// Makes a filter, without a program, that [`Self::add`] may take. Refuses early what that
    /// would refuse after the work.
    pub(crate) fn prepare(&self, name: Name) -> Answer<Arc<Filter>> {
        let mut tables = self.tables.lock();
        tables.check_room(&name)?;
        let id = tables.next_id()?;
        Ok(Arc::pin_init(Filter::new(id, name), GFP_KERNEL_ACCOUNT)?)
    }

    /// Adds a filter and attaches it to all of `hooks`, or does neither. Returns the attachments'
    /// ids.
    pub(crate) fn add(&self, filter: &Arc<Filter>, hooks: &[Hook]) -> Answer<KVec<u32>> {
        let mut ids = KVec::with_capacity(hooks.len(), GFP_KERNEL)?;
        let mut tables = self.tables.lock();
        tables.check_room(filter.name())?;
        tables.filters.push(
            Record {
                filter: filter.clone(),
                retired: Totals::new(),
                replaced: 0,
            },
            GFP_KERNEL,
        )?;
        for hook in hooks {
            let attached = self.attach_locked(&mut tables, filter, hook);
            // There is room for all of them.
            if let Err(refusal) = attached.and_then(|id| Ok(ids.push(id, GFP_KERNEL)?)) {
                self.detach_where(&mut tables, |it| Arc::ptr_eq(&it.filter, filter));
                tables.filters.pop();
                return Err(refusal);
            }
        }
        Ok(ids)
    }

    /// The filter that `selector` names.
    pub(crate) fn find(&self, selector: &Selector) -> Answer<Arc<Filter>> {
        let tables = self.tables.lock();
        let position = tables.position(selector)?;
        Ok(tables.filters[position].filter.clone())
    }

    /// Swaps the filter's program, unless the filter is gone in the meantime.
    pub(crate) fn replace(&self, filter: &Arc<Filter>, program: Pin<KBox<Program>>) -> Answer {
        let mut tables = self.tables.lock();
        let position = tables.position(&Selector::Id(filter.id))?;
        tables.filters[position].replaced += 1;
        filter.publish(program);
        Ok(())
    }

    /// Detaches a filter and takes it out. It is freed when the caller lets go of it.
    pub(crate) fn remove(&self, selector: &Selector) -> Answer<Arc<Filter>> {
        let mut tables = self.tables.lock();
        let position = tables.position(selector)?;
        let filter = tables.filters[position].filter.clone();
        self.detach_where(&mut tables, |it| Arc::ptr_eq(&it.filter, &filter));
        if let Ok(record) = tables.filters.remove(position) {
            drop(record);
        }
        Ok(filter)
    }

    /// Attaches a filter to a hook. Returns the attachment's id, and the filter.
    pub(crate) fn attach(&self, selector: &Selector, hook: &Hook) -> Answer<(u32, Arc<Filter>)> {
        let mut tables = self.tables.lock();
        let position = tables.position(selector)?;
        let filter = tables.filters[position].filter.clone();
        Ok((self.attach_locked(&mut tables, &filter, hook)?, filter))
    }

    fn attach_locked(&self, tables: &mut Tables, filter: &Arc<Filter>, hook: &Hook) -> Answer<u32> {
        check::hook(hook)?;
        if tables.attachments.len() >= limits::ATTACHMENTS as usize {
            refuse!(
                ENOSPC,
                "this network namespace has {} attachments, and no more are allowed",
                limits::ATTACHMENTS
            );
        }
        let device = if hook.family == FAMILY_NETDEV {
            self.device(hook)?
        } else {
            ptr::null_mut()
        };
        if let Some(there) = tables
            .attachments
            .iter()
            .find(|it| Arc::ptr_eq(&it.filter, filter) && it.is_at(hook, device))
        {
            refuse!(
                EEXIST,
                "the filter is attached there already, with the same priority, as attachment {}",
                there.id
            );
        }
        let id = tables.next_id()?;
        tables.attachments.reserve(1, GFP_KERNEL_ACCOUNT)?;
        // SAFETY: The device is registered; `Self::forget_device` runs before it no longer is.
        let mut attachment = unsafe { Attachment::new(id, filter.clone(), hook, device)? };
        // SAFETY: `net` lives as long as `self`, and every way out of the table unregisters.
        if let Err(error) = unsafe { attachment.as_mut().register(self.net) } {
            refuse!(
                error,
                "netfilter refused hook {} of family {} with priority {}",
                hook.hook,
                hook.family,
                hook.priority
            );
        }
        // There is room: it was reserved above.
        tables.attachments.push(attachment, GFP_KERNEL_ACCOUNT)?;
        Ok(id)
    }

    /// Looks up a hook's device, without a reference: it stays at least until the notifier has had
    /// the lock that the caller holds.
    fn device(&self, hook: &Hook) -> Answer<*mut kernel_bindings::net_device> {
        let name = core::str::from_utf8(&hook.device)
            .unwrap_or("?")
            .trim_end_matches('\0');
        // SAFETY: The namespace lives; the name ends with NUL, which `check::hook` saw to.
        let device = unsafe { bindings::dev_get_by_name(self.net, hook.device.as_ptr().cast()) };
        if device.is_null() {
            refuse!(
                ENODEV,
                "there is no device '{}' in this network namespace",
                name
            );
        }
        // SAFETY: We have a reference. A device that is still registered here is one whose
        // notifier has yet to wait for our lock, so it may be given back.
        let registered = unsafe {
            let registered = bindings::nf_wasm_dev_registered(device);
            bindings::nf_wasm_dev_put(device);
            registered
        };
        if !registered {
            refuse!(ENODEV, "the device '{}' is being removed", name);
        }
        Ok(device)
    }

    /// Undoes one attachment. Returns the filter, and where it was.
    pub(crate) fn detach(&self, id: u32) -> Answer<(Arc<Filter>, Hook)> {
        let mut tables = self.tables.lock();
        let Some(attachment) = tables.attachments.iter().find(|it| it.id == id) else {
            refuse!(
                ENOENT,
                "there is no attachment with id {} in this network namespace; `nfwasm list` shows \
                 those that there are",
                id
            );
        };
        let was = (attachment.filter.clone(), *attachment.hook());
        self.detach_where(&mut tables, |it| it.id == id);
        Ok(was)
    }

    /// Undoes the attachments for which `which` holds. What they counted stays with their filters.
    fn detach_where(&self, tables: &mut Tables, which: impl Fn(&Attachment) -> bool) {
        let mut found = false;
        for attachment in tables.attachments.iter_mut().filter(|it| which(it)) {
            // SAFETY: It was registered with this namespace.
            unsafe { attachment.as_mut().unregister(self.net) };
            found = true;
        }
        if !found {
            return;
        }
        // Packets that came in before are out after this.
        rcu::synchronize_rcu();
        for attachment in tables.attachments.iter().filter(|it| which(it)) {
            let totals = attachment.totals();
            if let Some(record) = tables
                .filters
                .iter_mut()
                .find(|it| Arc::ptr_eq(&it.filter, &attachment.filter))
            {
                record.retired.add(&totals);
            }
        }
        tables.attachments.retain(|it| !which(it));
    }

    /// Undoes the attachments on a device that is about to go. Called with RTNL held.
    fn forget_device(&self, device: *const kernel_bindings::net_device) {
        let mut tables = self.tables.lock();
        for attachment in tables.attachments.iter().filter(|it| it.is_on(device)) {
            Entry::of(c"nf_wasm_detach", self, &attachment.filter)
                .at(attachment.id, attachment.hook())
                .write_now();
        }
        self.detach_where(&mut tables, |it| it.is_on(device));
    }

    /// Lets no more packets in. The namespace, or the module, is about to go.
    fn close(&self) {
        for attachment in self.tables.lock().attachments.iter_mut() {
            // SAFETY: It was registered with this namespace.
            unsafe { attachment.as_mut().unregister(self.net) };
        }
    }

    /// Writes down that all filters go.
    fn audit_end(&self) {
        for record in self.tables.lock().filters() {
            Entry::of(c"nf_wasm_unload", self, &record.filter).write_now();
        }
    }
}

/// Where `net` keeps our pointer.
///
/// # Safety
///
/// `net` lives, and the module's operations are registered.
unsafe fn slot(net: *mut kernel_bindings::net) -> *mut *mut core::ffi::c_void {
    // SAFETY: By the contract; the id was written by the registration.
    unsafe { bindings::nf_wasm_net_slot(net, *ptr::addr_of!(NET_ID)) }
}

/// Which of a namespace's slots is ours. Written by `register_pernet_subsys`.
static mut NET_ID: u32 = 0;

static mut NET_OPERATIONS: kernel_bindings::pernet_operations =
    kernel_bindings::pernet_operations {
        init: Some(enter),
        pre_exit: Some(pre_exit),
        exit: Some(exit),
        id: ptr::addr_of_mut!(NET_ID),
        size: size_of::<*mut Namespace>(),
        ..pin_init::zeroed()
    };

static mut DEVICE_NOTIFIER: kernel_bindings::notifier_block = kernel_bindings::notifier_block {
    notifier_call: Some(device_event),
    ..pin_init::zeroed()
};

/// A namespace is new, or the module is.
///
/// # Safety
///
/// Called by the kernel, once for each namespace.
unsafe extern "C" fn enter(net: *mut kernel_bindings::net) -> i32 {
    match KBox::pin_init(Namespace::new(net), GFP_KERNEL_ACCOUNT) {
        Ok(namespace) => {
            // SAFETY: The operations are being registered, so the slot exists. The box is taken
            // back in `exit`, and nothing moves it until then.
            unsafe {
                *slot(net) = KBox::into_raw(Pin::into_inner_unchecked(namespace)).cast();
            }
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// A namespace, or the module, is about to go. A grace period follows before [`exit`].
///
/// # Safety
///
/// Called by the kernel, once for each namespace that was entered.
unsafe extern "C" fn pre_exit(net: *mut kernel_bindings::net) {
    // SAFETY: The namespace was entered and not left.
    if let Some(namespace) = unsafe { Namespace::of(net) } {
        namespace.close();
    }
}

/// A namespace, or the module, goes.
///
/// # Safety
///
/// Called by the kernel, once for each namespace that was entered, a grace period after
/// [`pre_exit`].
unsafe extern "C" fn exit(net: *mut kernel_bindings::net) {
    // SAFETY: The pointer came from a box in `enter`; packets are out, and no task is in a
    // namespace that goes, nor in the device of a module that goes.
    unsafe {
        let namespace = core::mem::replace(&mut *slot(net), ptr::null_mut());
        if !namespace.is_null() {
            let namespace = KBox::from_raw(namespace.cast::<Namespace>());
            namespace.audit_end();
            drop(namespace);
        }
    }
}

/// Something happened to a device.
///
/// # Safety
///
/// Called by the kernel with RTNL held and a valid `info`.
unsafe extern "C" fn device_event(
    _notifier: *mut kernel_bindings::notifier_block,
    event: usize,
    info: *mut core::ffi::c_void,
) -> i32 {
    // SAFETY: A constant of the C half; `info` names a device, whose namespace lives.
    unsafe {
        if event == bindings::nf_wasm_netdev_unregister {
            let device = bindings::nf_wasm_notifier_dev(info);
            if let Some(namespace) = Namespace::of(bindings::nf_wasm_dev_net(device)) {
                namespace.forget_device(device);
            }
        }
    }
    kernel_bindings::NOTIFY_DONE as i32
}

/// The module's presence in all namespaces. Dropping it detaches and frees everything.
pub(crate) struct Registration(());

impl Registration {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The statics are only handed to the kernel here, and the module has one
        // registration.
        unsafe {
            kernel::error::to_result(kernel_bindings::register_pernet_subsys(ptr::addr_of_mut!(
                NET_OPERATIONS
            )))?;
            if let Err(error) = kernel::error::to_result(bindings::register_netdevice_notifier(
                ptr::addr_of_mut!(DEVICE_NOTIFIER),
            )) {
                bindings::unregister_pernet_subsys(ptr::addr_of_mut!(NET_OPERATIONS));
                return Err(error);
            }
        }
        Ok(Registration(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Both were registered by `new`.
        unsafe {
            bindings::unregister_netdevice_notifier(ptr::addr_of_mut!(DEVICE_NOTIFIER));
            bindings::unregister_pernet_subsys(ptr::addr_of_mut!(NET_OPERATIONS));
        }
    }
}
