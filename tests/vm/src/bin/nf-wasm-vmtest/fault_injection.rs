// SPDX-License-Identifier: GPL-2.0-only
//! Lets each allocation that a command makes on its caller's thread fail in turn: request copies,
//! tables, threads, netfilter hooks, a network namespace's state. The test `faults` covers the
//! engine's allocations.

use std::fs::File;

use nf_wasm_shared::abi::capability::ALL_BITS;
use nf_wasm_shared::abi::ioctl::{
    Run, FAMILY_INET, FAMILY_IPV4, HOOK_INGRESS, HOOK_INPUT, HOOK_OUTPUT, NF_WASM_RELEASE,
    NF_WASM_UNLOAD,
};
use nf_wasm_tests::device::{hook, netdev, Device, Refused, Spec};
use nf_wasm_tests::fail_nth::Faults;
use nf_wasm_tests::net::Net;
use nf_wasm_tests::wasm;
use nix::errno::Errno;
use nix::sched::{unshare, CloneFlags};

crate::tests![
    each_allocation_of_each_command_may_fail,
    each_allocation_of_a_new_namespace_may_fail,
];

fn faults() -> Option<Faults> {
    let faults = Faults::set_up();
    if faults.is_none() {
        println!("skipped: this kernel has no fault injection");
    }
    faults
}

/// Whether a command succeeded. Its only acceptable refusal is for lack of memory.
#[track_caller]
fn done<T>(what: &str, result: Result<T, Refused>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(refused) => {
            assert_eq!(refused.errno, Errno::ENOMEM, "{what}: {refused}");
            None
        }
    }
}

fn plain<T>(result: Result<T, Errno>) -> Result<T, Refused> {
    result.map_err(|errno| Refused {
        errno,
        text: String::new(),
    })
}

/// Lets each allocation of `command` fail in turn. `undo` reverts a success. Afterwards, and after
/// a refusal, the listings must be unchanged.
#[track_caller]
fn each<T>(
    faults: &Faults,
    device: &Device,
    what: &str,
    command: impl Fn(&Device) -> Result<T, Refused>,
    undo: impl Fn(&Device, T),
) -> u32 {
    let listing = || {
        let filters = device.filters().expect("list filters");
        (filters, device.attachments().expect("list attachments"))
    };
    // Ids are not reused, and replacements are counted, also those that succeeded in spite of a
    // failed allocation.
    let shape = |(mut filters, mut attachments): (Vec<_>, Vec<_>)| {
        for entry in &mut filters {
            let entry: &mut nf_wasm_shared::abi::ioctl::FilterEntry = entry;
            entry.replaced = 0;
        }
        for entry in &mut attachments {
            let entry: &mut nf_wasm_shared::abi::ioctl::AttachmentEntry = entry;
            entry.id = 0;
        }
        (filters, attachments)
    };
    let before = listing();
    let failed = faults.each(|armed| {
        let result = command(device);
        let injected = armed.over();
        match done(what, result) {
            Some(value) => undo(device, value),
            None => assert!(
                injected,
                "{what}: refused for lack of memory without a failed allocation"
            ),
        }
        assert_eq!(shape(listing()), shape(before.clone()), "{what}");
    });
    println!("{what}: {failed} allocations failed");
    failed
}

fn each_allocation_of_each_command_may_fail() {
    let Some(faults) = faults() else {
        return;
    };
    let net = Net::pair();
    let filter = net
        .server
        .load(Spec::new("there", wasm::always(1)).allow(ALL_BITS).at(hook(
            FAMILY_INET,
            HOOK_INPUT,
            0,
        )));
    let spec = Spec::new("f", wasm::filter("", "(i32.const 1)"))
        .allow(ALL_BITS)
        .at(netdev(HOOK_INGRESS, "to-client"))
        .at(hook(FAMILY_INET, HOOK_OUTPUT, 0));
    let id = filter.id();
    let small = wasm::always(1);
    let ran = |device: &Device, request: Run, wasm: &[u8]| {
        let request = Run {
            family: FAMILY_IPV4,
            ..request
        };
        device.run(request, wasm, &[0x45; 64])
    };
    let unload = |device: &Device, id| device.select(NF_WASM_UNLOAD, id).expect("unload");
    net.server.enter(|| {
        let device = &Device::open();
        let count = |what, failed: u32| assert!(failed > 0, "{what}: nothing failed");
        count(
            "load",
            each(&faults, device, "load", |it| it.load(&spec), unload),
        );
        count(
            "attach",
            each(
                &faults,
                device,
                "attach",
                |it| it.attach(id, hook(FAMILY_INET, HOOK_OUTPUT, 7)),
                |it, attachment| it.detach(attachment).expect("detach"),
            ),
        );
        count(
            "replace",
            each(
                &faults,
                device,
                "replace",
                |it| it.replace(id, &small),
                |_, ()| (),
            ),
        );
        count(
            "list filters",
            each(
                &faults,
                device,
                "list filters",
                |it| plain(it.filters()),
                |_, _| (),
            ),
        );
        count(
            "list attachments",
            each(
                &faults,
                device,
                "list attachments",
                |it| plain(it.attachments()),
                |_, _| (),
            ),
        );
        count(
            "run of a module",
            each(
                &faults,
                device,
                "run of a module",
                |it| ran(it, Run::new(), &small),
                |_, _| (),
            ),
        );
        let named = Run { id, ..Run::new() };
        count(
            "run of a filter",
            each(
                &faults,
                device,
                "run of a filter",
                |it| ran(it, named, &[]),
                |_, _| (),
            ),
        );
        // These commands allocate nothing, or succeed without the allocation.
        each(&faults, device, "info", |it| plain(it.info()), |_, _| ());
        each(
            &faults,
            device,
            "release",
            |it| it.select(NF_WASM_RELEASE, id),
            |_, ()| (),
        );
        let other = std::cell::Cell::new(device.load(&spec).expect("load"));
        let before = device.attachments().expect("list");
        let failed = faults.each(|armed| {
            let unloaded = device.select(NF_WASM_UNLOAD, other.get());
            armed.over();
            unloaded.expect("an unload needs no memory");
            other.set(device.load(&spec).expect("load"));
            assert_eq!(device.attachments().expect("list").len(), before.len());
        });
        println!("unload: {failed} allocations failed");
        unload(device, other.get());
        let place = hook(FAMILY_INET, HOOK_OUTPUT, 7);
        let attached = std::cell::Cell::new(device.attach(id, place).expect("attach"));
        let failed = faults.each(|armed| {
            let detached = device.detach(attached.get());
            armed.over();
            detached.expect("a detach needs no memory");
            attached.set(device.attach(id, place).expect("attach"));
        });
        println!("detach: {failed} allocations failed");
        device.detach(attached.get()).expect("detach");
        let failed = faults.each(|armed| {
            let opened = File::open("/dev/nf_wasm");
            if armed.over() {
                return;
            }
            opened.expect("open");
        });
        println!("open: {failed} allocations failed");
    });
    filter.unload();
}

fn each_allocation_of_a_new_namespace_may_fail() {
    let Some(faults) = faults() else {
        return;
    };
    let failed = std::thread::spawn(move || {
        faults.each(|armed| {
            let made = unshare(CloneFlags::CLONE_NEWNET);
            let injected = armed.over();
            match made {
                // The device works in the new namespace.
                Ok(()) => {
                    let device = Device::open();
                    let spec = Spec::new("f", wasm::always(1)).at(hook(FAMILY_INET, HOOK_INPUT, 0));
                    let id = device.load(&spec).expect("load");
                    device.select(NF_WASM_UNLOAD, id).expect("unload");
                }
                Err(errno) => {
                    assert!(injected, "no namespace: {errno}");
                    assert_eq!(errno, Errno::ENOMEM);
                }
            }
        })
    });
    let failed = failed.join().expect("a thread in namespaces of its own");
    println!("new namespace: {failed} allocations failed");
    assert!(failed > 0, "no allocation of the namespace's state failed");
}
