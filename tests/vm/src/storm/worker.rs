// SPDX-License-Identifier: GPL-2.0-only
//! One process of a storm. A seed decides its actions, in namespaces that it shares with other
//! workers. It ends when its standard input ends. Its report counts every packet that its filters
//! dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastrand::Rng;
use nf_wasm_shared::abi::capability::ALL_BITS;
use nf_wasm_shared::abi::ioctl::{
    Hook, Run, FAMILY_INET, FAMILY_IPV4, HOOK_INGRESS, HOOK_INPUT, HOOK_OUTPUT, HOOK_PREROUTING,
    NF_WASM_RELEASE, NF_WASM_UNLOAD, TIER_AUTO, TIER_INTERP, TRAP_ACCEPT, TRAP_DROP,
};
use nf_wasm_shared::abi::trap::Trap;
use nix::errno::Errno;
use nix::sched::{unshare, CloneFlags};

use super::{until_stdin_ends, Done};
use crate::device::{hook, netdev, Device, Refused, Spec};
use crate::net::Namespace;
use crate::wasm;

/// Maximum number of filters of a worker.
const MAX_FILTERS: usize = 4;

/// A filter of this worker.
struct Own {
    namespace: usize,
    id: u32,
    attachments: Vec<u32>,
}

struct Worker {
    index: u32,
    random: Rng,
    namespaces: Vec<Namespace>,
    programs: Vec<Vec<u8>>,
    own: Vec<Own>,
    loaded: u64,
    done: Done,
}

/// Works until standard input ends. Returns the actions.
///
/// # Panics
///
/// If the kernel module gives an unexpected refusal.
pub fn work(index: u32, seed: u64, namespaces: Vec<Namespace>) -> Done {
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    thread::spawn({
        let stop = stop.clone();
        move || {
            until_stdin_ends();
            stop.store(true, Ordering::Relaxed);
        }
    });
    let mut worker = Worker {
        index,
        random: Rng::with_seed(seed ^ (u64::from(index) << 32)),
        namespaces,
        programs: programs(),
        own: Vec::new(),
        loaded: 0,
        done: Done::default(),
    };
    while !stop.load(Ordering::Relaxed) {
        worker.step();
    }
    while !worker.own.is_empty() {
        worker.unload();
    }
    worker.done
}

/// Filters that accept, drop, trap, use capabilities, and use up their fuel.
fn programs() -> Vec<Vec<u8>> {
    let count = "(global $seen (mut i32) (i32.const 0))";
    let mark = r#"(import "nfw.mark" "get" (func $get (result i32)))
                  (import "nfw.mark" "set" (func $set (param i32) (result i32)))"#;
    vec![
        wasm::always(1),
        wasm::filter("", "(i32.ne (i32.load8_u (local.get $pkt)) (i32.const 0))"),
        // Drops every eighth packet.
        wasm::filter(
            count,
            "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
             (i32.ne (i32.and (global.get $seen) (i32.const 7)) (i32.const 0))",
        ),
        // Traps on every eighth packet.
        wasm::filter(
            count,
            "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
             (if (i32.eqz (i32.and (global.get $seen) (i32.const 7))) (then (unreachable)))
             (i32.const 1)",
        ),
        wasm::filter("", "(loop $for (br $for)) (unreachable)"),
        wasm::filter(
            mark,
            "(drop (call $set (i32.add (call $get) (i32.const 1)))) (i32.const 1)",
        ),
    ]
}

impl Worker {
    fn step(&mut self) {
        match self.random.u32(0..100) {
            0..20 => self.load(),
            20..30 => self.attach(),
            30..40 => self.detach(),
            40..60 => self.replace(),
            60..65 => self.release(),
            65..75 => self.list(),
            75..82 => self.run(),
            82..85 => self.leave_a_namespace(),
            _ => self.unload(),
        }
    }

    fn ask<R: Send>(&self, namespace: usize, f: impl FnOnce(&Device) -> R + Send) -> R {
        self.namespaces[namespace].enter(|| f(&Device::open()))
    }

    fn one_of<T, const N: usize>(&mut self, choices: [T; N]) -> T {
        self.random.choice(choices).expect("the list is not empty")
    }

    fn program(&mut self) -> Vec<u8> {
        let index = self.random.usize(0..self.programs.len());
        self.programs[index].clone()
    }

    /// A hook that the packets pass, with a priority between the storm's own filters.
    fn place(&mut self) -> Hook {
        let priority = self.random.i32(-1000..1000);
        match self.random.u32(0..4) {
            0 => Hook {
                priority,
                ..netdev(HOOK_INGRESS, "to-client")
            },
            1 => hook(FAMILY_INET, HOOK_PREROUTING, priority),
            2 => hook(FAMILY_INET, HOOK_INPUT, priority),
            _ => hook(FAMILY_IPV4, HOOK_INPUT, priority),
        }
    }

    /// One of this worker's filters, if it has any.
    fn any(&mut self) -> Option<usize> {
        let count = self.own.len();
        (count > 0).then(|| self.random.usize(0..count))
    }

    fn load(&mut self) {
        if self.own.len() == MAX_FILTERS {
            return self.unload();
        }
        let namespace = self.random.usize(0..self.namespaces.len());
        self.loaded += 1;
        let name = format!("w{}-{}", self.index, self.loaded);
        let spec = Spec::new(&name, self.program())
            .allow(ALL_BITS)
            // Sometimes enough fuel for every program, and a low limit for quarantine.
            .fuel(self.one_of([0, 1_000, 100_000]))
            .quarantine(self.one_of([0, 20]))
            .on_trap(self.one_of([TRAP_ACCEPT, TRAP_DROP]))
            .tier(self.one_of([TIER_AUTO, TIER_INTERP]))
            .at(self.place());
        let id = self.ask(namespace, |device| device.load(&spec));
        let id = expected("load", id);
        let listed = self.ask(namespace, Device::attachments).expect("list");
        self.own.push(Own {
            namespace,
            id,
            attachments: listed
                .iter()
                .filter(|entry| entry.filter == id)
                .map(|entry| entry.id)
                .collect(),
        });
        self.done.loads += 1;
    }

    fn attach(&mut self) {
        let Some(which) = self.any() else {
            return;
        };
        let place = self.place();
        let Own { namespace, id, .. } = self.own[which];
        match self.ask(namespace, |device| device.attach(id, place)) {
            Err(refused) if refused.errno == Errno::EEXIST => {}
            attached => {
                let attached = expected("attach", attached);
                self.own[which].attachments.push(attached);
                self.done.attaches += 1;
            }
        }
    }

    fn detach(&mut self) {
        let Some(which) = self.any() else {
            return;
        };
        self.detach_from(which);
    }

    fn detach_from(&mut self, which: usize) {
        let namespace = self.own[which].namespace;
        if let Some(attachment) = self.own[which].attachments.pop() {
            let detached = self.ask(namespace, |device| device.detach(attachment));
            expected("detach", detached);
            self.done.detaches += 1;
        }
    }

    fn replace(&mut self) {
        let Some(which) = self.any() else {
            return;
        };
        let wasm = self.program();
        let Own { namespace, id, .. } = self.own[which];
        let replaced = self.ask(namespace, |device| device.replace(id, &wasm));
        expected("replace", replaced);
        self.done.replacements += 1;
    }

    fn release(&mut self) {
        let Some(which) = self.any() else {
            return;
        };
        let Own { namespace, id, .. } = self.own[which];
        let released = self.ask(namespace, |device| device.select(NF_WASM_RELEASE, id));
        expected("release", released);
        self.done.releases += 1;
    }

    /// Lists filters and attachments, and checks that this worker's are among them.
    fn list(&mut self) {
        let namespace = self.random.usize(0..self.namespaces.len());
        let (filters, attachments) = self.ask(namespace, |device| {
            (
                device.filters().expect("list filters"),
                device.attachments().expect("list attachments"),
            )
        });
        for own in self.own.iter().filter(|own| own.namespace == namespace) {
            let entry = filters.iter().find(|entry| entry.id == own.id);
            let entry = entry.expect("the filter is listed");
            let counters = &entry.counters;
            assert_eq!(counters.packets, counters.accepted + counters.dropped);
            assert_eq!(entry.attachments as usize, own.attachments.len());
            for id in &own.attachments {
                assert!(attachments.iter().any(|entry| entry.id == *id));
            }
        }
        self.done.lists += 1;
    }

    fn run(&mut self) {
        let wasm = self.program();
        let request = Run {
            family: FAMILY_IPV4,
            capabilities: ALL_BITS,
            ..Run::new()
        };
        let namespace = self.random.usize(0..self.namespaces.len());
        let ran = self.ask(namespace, |device| device.run(request, &wasm, &[0x45; 64]));
        expected("run", ran);
        self.done.runs += 1;
    }

    /// Unloads a filter. It is detached first, so that the counters that are read are final.
    fn unload(&mut self) {
        let Some(which) = self.any() else {
            return;
        };
        while !self.own[which].attachments.is_empty() {
            self.detach_from(which);
        }
        let Own { namespace, id, .. } = self.own.swap_remove(which);
        let filters = self.ask(namespace, Device::filters).expect("list");
        let entry = filters.iter().find(|entry| entry.id == id);
        let counters = &entry.expect("the filter is listed").counters;
        self.done.dropped += counters.dropped;
        self.done.trapped += counters.traps.iter().sum::<u64>();
        self.done.internal += counters.traps[Trap::Internal as usize];
        let unloaded = self.ask(namespace, |device| device.select(NF_WASM_UNLOAD, id));
        expected("unload", unloaded);
        self.done.unloads += 1;
    }

    /// Makes a namespace, loads a filter there, and lets the namespace end with it.
    fn leave_a_namespace(&mut self) {
        let spec =
            Spec::new("left", self.program())
                .allow(ALL_BITS)
                .at(hook(FAMILY_INET, HOOK_OUTPUT, 0));
        let loaded = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
                Device::open().load(&spec)
            });
            inside.join().expect("a thread")
        });
        expected("load in a new namespace", loaded);
        self.done.namespaces += 1;
    }
}

fn expected<T>(what: &str, result: Result<T, Refused>) -> T {
    match result {
        Ok(value) => value,
        Err(refused) => panic!("{what}: {refused}"),
    }
}
