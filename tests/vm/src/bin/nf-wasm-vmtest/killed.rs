// SPDX-License-Identifier: GPL-2.0-only
//! Kills or stops processes during an ioctl.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nf_wasm_shared::abi::ioctl::{FAMILY_INET, HOOK_INPUT, NF_WASM_UNLOAD, TIER_INTERP};
use nf_wasm_tests::cpu::Offline;
use nf_wasm_tests::device::{hook, text, Device, Spec};
use nf_wasm_tests::net::{Namespace, Net};
use nf_wasm_tests::storm::COMMAND;
use nf_wasm_tests::{eventually, kernel, wasm};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

crate::tests![
    who_waits_for_a_slow_load_can_be_killed,
    a_slow_load_holds_nobody_up,
    a_killed_process_leaves_whole_filters,
    a_stopped_process_holds_nobody_up,
];

/// A filter whose `nfw_init` uses most of its fuel.
fn slow() -> Vec<u8> {
    wasm::filter(
        r#"(func (export "nfw_init") (result i32) (local $i i32)
             (loop $again
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $i) (i32.const 5000000))))
             (i32.const 0))"#,
        "(i32.const 1)",
    )
}

/// A process's state, as in `ps`.
fn state(process: &Child) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits for a load's kernel thread.
fn is_building() -> Option<()> {
    let tasks = fs::read_dir("/proc").expect("/proc").flatten();
    let mut names = tasks.filter_map(|it| fs::read_to_string(it.path().join("comm")).ok());
    names.any(|name| name == "nf_wasm_load\n").then_some(())
}

/// A slow load delays neither a load in another namespace nor the bring-up of a CPU.
fn a_slow_load_holds_nobody_up() {
    let net = Net::pair();
    let loaded = AtomicBool::new(false);
    let offline = Offline::take(1);
    let _present = net.client.load(Spec::new("present", wasm::always(1)));
    thread::scope(|scope| {
        scope.spawn(|| {
            net.server.enter(|| {
                let spec = Spec::new("slow", slow()).tier(TIER_INTERP);
                Device::open().load(&spec).expect("load");
                loaded.store(true, Ordering::Relaxed);
            });
        });
        eventually("its thread", is_building);
        let quick = net.client.load(Spec::new("quick", wasm::always(1)));
        offline.bring_back();
        let entry = quick.entry();
        assert!(
            !loaded.load(Ordering::Relaxed),
            "the slow load ended before the others"
        );
        assert_eq!(entry.instances, 2);
    });
}

fn who_waits_for_a_slow_load_can_be_killed() {
    let net = Net::pair();
    let file = "/tmp/slow.wasm";
    fs::write(file, slow()).expect("write");
    let (under_way, loaded) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            net.server.enter(|| {
                let device = Device::open();
                under_way.store(true, Ordering::Relaxed);
                let first = Spec::new("first", slow()).tier(TIER_INTERP);
                device.load(&first).expect("load");
                loaded.store(true, Ordering::Relaxed);
            });
        });
        eventually("a load", || under_way.load(Ordering::Relaxed).then_some(()));
        eventually("its thread", is_building);
        let mut second = net.server.enter(|| {
            Command::new("nfwasm")
                .args(["load", file, "--name", "second"])
                .stderr(Stdio::null())
                .spawn()
                .expect("nfwasm")
        });
        eventually("the second waits", || {
            (state(&second) == Some('D')).then_some(())
        });
        second.kill().expect("kill");
        second.wait().expect("wait");
        assert!(
            !loaded.load(Ordering::Relaxed),
            "the second load waited for the first although it was killed"
        );
    });
    fs::remove_file(file).expect("remove");
    let names: Vec<_> = net
        .server
        .filters()
        .iter()
        .map(|it| text(&it.name))
        .collect();
    assert_eq!(names, ["first"]);
}

/// A process that loads, attaches, replaces and unloads until it is killed.
fn worker(namespace: &Namespace, seed: u64) -> Child {
    Command::new(COMMAND)
        .args(["worker", "0", &seed.to_string(), namespace.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("a worker")
}

/// Twice the time that a worker takes to load its first filter.
fn while_at_work(namespace: &Namespace) -> Duration {
    let since = Instant::now();
    let mut worker = worker(namespace, 0);
    eventually("the worker has a filter", || {
        (!namespace.filters().is_empty()).then_some(())
    });
    let time = since.elapsed() * 2;
    worker.kill().expect("kill");
    worker.wait().expect("wait");
    check_and_clear(namespace, 0);
    time
}

/// A random time below `most`.
fn part_of(most: Duration, random: &mut Rng) -> Duration {
    most.mul_f64(random.f64())
}

/// Checks that the listings are consistent. Unloads all filters.
#[track_caller]
fn check_and_clear(namespace: &Namespace, round: u64) -> usize {
    let filters = namespace.filters();
    let attachments = namespace.attachments();
    for attachment in &attachments {
        let owner = filters.iter().find(|it| it.id == attachment.filter);
        assert!(owner.is_some(), "round {round}: {attachment:?}");
    }
    for filter in &filters {
        let own = attachments.iter().filter(|it| it.filter == filter.id);
        assert_eq!(filter.attachments as usize, own.count(), "round {round}");
        assert!(filter.instances > 0, "round {round}");
    }
    namespace.enter(|| {
        let device = Device::open();
        for filter in &filters {
            let unloaded = device.select(NF_WASM_UNLOAD, filter.id);
            unloaded.expect("unload");
        }
    });
    assert_eq!(namespace.attachments(), [], "round {round}");
    filters.len()
}

fn a_killed_process_leaves_whole_filters() {
    let net = Net::pair();
    let mut random = Rng::with_seed(3);
    let most = while_at_work(&net.server);
    let mut left = 0;
    for round in 0..kernel::rounds(40, 8) {
        let mut worker = worker(&net.server, round);
        // Kill it at any point: while it starts, in a command, between two.
        thread::sleep(part_of(most, &mut random));
        worker.kill().expect("kill");
        worker.wait().expect("wait");
        left += check_and_clear(&net.server, round);
    }
    println!("filters left behind: {left}");
    assert!(left > 0, "no worker was killed at work");
    // No leaked reference keeps the kernel module.
    kernel::remove();
    kernel::insert();
}

fn a_stopped_process_holds_nobody_up() {
    let net = Net::pair();
    let mut random = Rng::with_seed(4);
    let most = while_at_work(&net.server);
    for round in 0..kernel::rounds(20, 4) {
        let mut worker = worker(&net.server, round);
        thread::sleep(part_of(most, &mut random));
        let pid = Pid::from_raw(worker.id() as i32);
        kill(pid, Signal::SIGSTOP).expect("SIGSTOP");
        eventually("the worker stops", || {
            (state(&worker) == Some('T')).then_some(())
        });
        // A stopped process is outside the kernel module and holds none of its locks.
        let place = hook(FAMILY_INET, HOOK_INPUT, 5000);
        let spec = Spec::new("other", wasm::always(1)).at(place);
        let other = net.server.load(spec);
        other.replace(&wasm::always(0));
        other.unload();
        kill(pid, Signal::SIGCONT).expect("SIGCONT");
        worker.kill().expect("kill");
        worker.wait().expect("wait");
        check_and_clear(&net.server, round);
    }
}
