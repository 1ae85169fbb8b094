// SPDX-License-Identifier: GPL-2.0-only
//! A storm: several processes load, attach, replace, release, list, run and unload in several
//! network namespaces under traffic. At its end, every packet must be accounted for.
//!
//! In each namespace, the storm's own filters run before and after all filters of the [`worker`]s.
//! The first filter counts all packets that were sent. The last filter counts all packets that the
//! workers' filters did not drop. Every packet that it counts must be received.

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

/// The command that runs a storm, and that runs as a worker.
pub const COMMAND: &str = "nf-wasm-storm";

/// Pairs of namespaces with traffic between them.
const NETS: usize = 3;

/// The parameters of a storm.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The duration.
    pub seconds: u64,
    /// The number of workers.
    pub processes: u32,
    /// The seed of the workers' choices.
    pub seed: u64,
    /// Whether CPU 1 goes offline and online all the time.
    pub hotplug: bool,
}

/// The actions of a worker, or of all.
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
    /// Namespaces that were made, used for a filter, and left.
    pub namespaces: u64,
    /// Packets that the worker's filters dropped.
    pub dropped: u64,
    /// Packets on which the worker's filters trapped.
    pub trapped: u64,
    /// Packets on a CPU without an instance.
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

/// The results of a storm.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that the first filters counted.
    pub entered: u64,
    /// Packets that the last filters counted.
    pub left: u64,
    /// Packets that were received.
    pub received: u64,
    /// How many times CPU 1 went offline and online.
    pub hotplugs: u64,
    /// The sum over the workers.
    pub done: Done,
}

impl Report {
    /// Packets that are unaccounted for: before the first filters, between the filters, after the
    /// last ones.
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
             {} unloads, {} namespaces; CPU 1 went offline and online {} times",
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
    // Dropped in this order.
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

/// Starts a worker's process.
fn start(index: u32, plan: &Plan, lanes: &[Lane]) -> Child {
    let namespaces = lanes.iter().map(|lane| lane.net.server.name());
    // Senders work mostly in softirqs, on whatever thread is running. With the same priority, the
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

/// Ends a worker. Returns its actions.
fn finish(mut worker: Child) -> Done {
    drop(worker.stdin.take());
    let output = worker.wait_with_output().expect("a worker");
    assert!(output.status.success(), "a worker failed: {output:?}");
    serde_json::from_slice(&output.stdout).expect("a worker's report")
}

/// Runs a storm.
///
/// # Panics
///
/// If a worker gets a refusal that it must not get, or another check fails. Missing packets do not
/// panic: they are in the report.
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
        // Wait until the last packets have arrived. Lost packets show in the report.
        let mut last = 0;
        eventually("no more packets arrive", || {
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
        assert_eq!(left.len(), 2, "the workers left filters loaded");
    }
    report
}

/// Sets the flag when it is dropped, also if a test panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts datagrams until the flag is set and the socket is empty.
fn count(socket: &mut std::net::UdpSocket, over: &AtomicBool) -> u64 {
    let mut buffer = [0; 128];
    let mut received = 0;
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("timeout");
    loop {
        // A datagram that the last filter counted is in the socket at once. So one more round
        // suffices.
        let last_round = over.load(Ordering::Relaxed);
        while socket.recv(&mut buffer).is_ok() {
            received += 1;
        }
        if last_round {
            return received;
        }
    }
}

/// Takes CPU 1 offline and online until the flag is set. Returns how many times.
fn hotplug(over: &AtomicBool) -> u64 {
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        Offline::take(1).bring_back();
        times += 1;
        thread::sleep(Duration::from_millis(50));
    }
    times
}

/// Waits until standard input ends: the parent has closed it or has exited.
pub(crate) fn until_stdin_ends() {
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
}
