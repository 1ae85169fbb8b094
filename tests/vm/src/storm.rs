// SPDX-License-Identifier: GPL-2.0-only
//! A storm: several processes load, attach, replace, release, list, run and unload in several
//! network namespaces while packets pass, and at its end each packet is accounted for.
//!
//! In each namespace a filter of the storm's own stands before, and one behind, all those of the
//! [`worker`]s. What was sent, the first has counted; less what the workers' filters dropped, the
//! last has; and that many were received.

pub mod worker;

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nf_wasm_shared::abi::ioctl::{Hook, FAMILY_INET, HOOK_INGRESS, HOOK_INPUT};
use serde::{Deserialize, Serialize};

use crate::cpu::Offline;
use crate::device::{hook, netdev, Spec};
use crate::filter::Filter;
use crate::net::{Ip, Net};
use crate::traffic::Flood;
use crate::{eventually, wasm};

/// The command that storms, and that a worker is.
pub const COMMAND: &str = "nf-wasm-storm";

/// Pairs of namespaces with traffic between them.
const NETS: usize = 3;

/// What kind of storm.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long.
    pub seconds: u64,
    /// How many workers.
    pub processes: u32,
    /// Where the workers' choices begin.
    pub seed: u64,
    /// Whether CPU 1 goes and comes all the while.
    pub hotplug: bool,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "successful commands of each kind")]
pub struct Done {
    pub loads: u64,
    pub attaches: u64,
    pub detaches: u64,
    pub replacements: u64,
    pub releases: u64,
    pub lists: u64,
    pub runs: u64,
    pub unloads: u64,
    /// Namespaces that were made, filtered in and left.
    pub namespaces: u64,
    /// Packets that its filters dropped.
    pub dropped: u64,
    /// Packets for which they trapped.
    pub trapped: u64,
    /// Packets for which there was no instance.
    pub internal: u64,
}

impl Done {
    fn add(&mut self, other: &Self) {
        let sum = [
            (&mut self.loads, other.loads),
            (&mut self.attaches, other.attaches),
            (&mut self.detaches, other.detaches),
            (&mut self.replacements, other.replacements),
            (&mut self.releases, other.releases),
            (&mut self.lists, other.lists),
            (&mut self.runs, other.runs),
            (&mut self.unloads, other.unloads),
            (&mut self.namespaces, other.namespaces),
            (&mut self.dropped, other.dropped),
            (&mut self.trapped, other.trapped),
            (&mut self.internal, other.internal),
        ];
        for (sum, more) in sum {
            *sum += more;
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that the filters before all others counted.
    pub entered: u64,
    /// Packets that the filters behind all others counted.
    pub left: u64,
    /// Packets that were received.
    pub received: u64,
    /// Times that CPU 1 went and came.
    pub hotplugs: u64,
    /// Sum over the workers.
    pub done: Done,
}

impl Report {
    /// Packets that are not accounted for, at each of three places.
    pub fn differences(&self) -> [i128; 3] {
        let [sent, entered, left, received, dropped] = [
            self.sent,
            self.entered,
            self.left,
            self.received,
            self.done.dropped,
        ]
        .map(i128::from);
        [sent - entered, entered - dropped - left, left - received]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = &self.done;
        writeln!(
            f,
            "{} loads, {} attaches, {} detaches, {} replacements, {} releases, {} lists, {} runs, \
             {} unloads, {} namespaces; CPU 1 went and came {} times",
            done.loads,
            done.attaches,
            done.detaches,
            done.replacements,
            done.releases,
            done.lists,
            done.runs,
            done.unloads,
            done.namespaces,
            self.hotplugs,
        )?;
        writeln!(
            f,
            "{} packets sent, {} entered, {} dropped ({} traps, {} without an instance), {} left, \
             {} received",
            self.sent,
            self.entered,
            done.dropped,
            done.trapped,
            done.internal,
            self.left,
            self.received
        )?;
        write!(f, "differences: {:?}", self.differences())
    }
}

/// A pair of namespaces with traffic, and the filters at its ends.
struct Lane {
    // In the order in which they go.
    first: Filter,
    last: Filter,
    net: Net,
}

fn at_priority(mut hook: Hook, priority: i32) -> Hook {
    hook.priority = priority;
    hook
}

impl Lane {
    fn new() -> Self {
        let net = Net::pair();
        let first = at_priority(netdev(HOOK_INGRESS, "to-client"), i32::MIN);
        let last = hook(FAMILY_INET, HOOK_INPUT, i32::MAX);
        let witness = |name: &str, hook| Spec::new(name, wasm::always(1)).at(hook);
        Self {
            first: net.server.load(witness("first", first)),
            last: net.server.load(witness("last", last)),
            net,
        }
    }
}

/// A worker's process.
fn start(index: u32, plan: &Plan, lanes: &[Lane]) -> Child {
    let namespaces = lanes.iter().map(|lane| lane.net.server.name());
    // The senders' work is mostly done in softirqs, on whatever thread is there: among equals, the
    // workers would hardly run.
    Command::new("nice")
        .args(["-n", "-10", COMMAND])
        .args(["worker", &index.to_string(), &plan.seed.to_string()])
        .args(namespaces)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a worker")
}

/// Has a worker end, and reads what it did.
fn finish(mut worker: Child) -> Done {
    drop(worker.stdin.take());
    let output = worker.wait_with_output().expect("a worker");
    assert!(output.status.success(), "a worker failed: {output:?}");
    serde_json::from_slice(&output.stdout).expect("what a worker did")
}

/// Storms.
///
/// # Panics
///
/// If a worker is refused what it may do, or something is not as it should be, except that packets
/// are missing: that is in the report.
pub fn storm(plan: &Plan) -> Report {
    let lanes: Vec<Lane> = (0..NETS).map(|_| Lane::new()).collect();
    let mut report = Report::default();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Ends(&over);
        let mut readers = Vec::new();
        let mut floods = Vec::new();
        for lane in &lanes {
            let address = lane.net.server_address(Ip::V4);
            let mut socket = lane.net.server.udp(address, 9);
            readers.push(scope.spawn({
                let over = &over;
                move || count(&mut socket, over)
            }));
            floods.push(lane.net.client.flood(SocketAddr::new(address, 9)));
        }
        let hotplugs = plan.hotplug.then(|| scope.spawn(|| hotplug(&over)));
        let workers: Vec<Child> = (0..plan.processes)
            .map(|index| start(index, plan, &lanes))
            .collect();
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(plan.seconds) {
            thread::sleep(Duration::from_millis(100));
        }
        for done in workers.into_iter().map(finish) {
            report.done.add(&done);
        }
        report.sent = floods.into_iter().map(Flood::stop).sum();
        let entered = || -> u64 {
            let all = lanes.iter().map(|lane| lane.first.counters().packets);
            all.sum()
        };
        // What is on its way arrives; a packet that was lost would show in the report.
        let mut last = 0;
        eventually("packets come to rest", || {
            let now = entered();
            (std::mem::replace(&mut last, now) == now).then_some(())
        });
        report.entered = last;
        report.left = lanes.iter().map(|lane| lane.last.counters().packets).sum();
        drop(ends);
        let read = readers.into_iter().map(|reader| reader.join());
        report.received = read.map(|count| count.expect("a reader")).sum();
        report.hotplugs = hotplugs.map_or(0, |thread| thread.join().expect("hotplug"));
    });
    for lane in &lanes {
        let left: Vec<_> = lane.net.server.filters();
        assert_eq!(left.len(), 2, "the workers left nothing behind");
    }
    report
}

/// Says that it is over when it is dropped, also where a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts datagrams until it is over and there are no more.
fn count(socket: &mut std::net::UdpSocket, over: &AtomicBool) -> u64 {
    let mut buffer = [0; 128];
    let mut received = 0;
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("timeout");
    loop {
        // What is there is there at once: the last filter counted it before it was queued.
        let last_round = over.load(Ordering::Relaxed);
        while socket.recv(&mut buffer).is_ok() {
            received += 1;
        }
        if last_round {
            return received;
        }
    }
}

/// Has CPU 1 go and come until it is over; says how many times.
fn hotplug(over: &AtomicBool) -> u64 {
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        Offline::take(1).bring_back();
        times += 1;
        thread::sleep(Duration::from_millis(50));
    }
    times
}

/// Waits until nobody holds this process's other end.
pub(crate) fn until_stdin_ends() {
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
}
