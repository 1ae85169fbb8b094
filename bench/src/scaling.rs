// SPDX-License-Identifier: GPL-2.0-only
//! Measures the cost per packet while all CPUs send.
//!
//! QEMU counts the instructions of all emulated CPUs together. The figure therefore includes work
//! that one CPU does for another, and waiting. It does not include the cost of cache lines that
//! move between CPUs: QEMU has no caches.

use crate::contender::Contender;
use crate::refusal::Refusal;
use crate::report::Scaling;
use crate::sender::Sender;
use crate::workload::Workload;
use anyhow::Result;
use nix::sched::{sched_setaffinity, CpuSet};
use nix::unistd::Pid;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// Sends of each CPU: in total, and before the measurement begins.
const SENDS: u32 = 40_000;
const WARM_UP: u32 = 20_000;

/// Measures with all CPUs of the machine.
pub fn measure() -> Result<Scaling> {
    let cpus = thread::available_parallelism()?.get();
    let workload = Workload::named("block-telnet")?;
    let _first = Sender::new()?;
    let none = all_send(cpus, &workload)?;
    let _attached = match Contender::NfWasm.attach(&workload) {
        Ok(attached) => attached,
        Err(Refusal::Cannot(reason)) => anyhow::bail!(reason),
        Err(Refusal::Failed(error)) => return Err(error),
    };
    let with = all_send(cpus, &workload)?;
    Ok(Scaling {
        cpus,
        instructions: with,
        added_instructions: with - none,
    })
}

/// Instructions per packet.
fn all_send(cpus: usize, workload: &Workload) -> Result<i64> {
    let barrier = Barrier::new(cpus + 1);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..cpus)
            .map(|cpu| {
                let barrier = &barrier;
                scope.spawn(move || -> Result<()> {
                    let prepared = || -> Result<Sender> {
                        let mut here = CpuSet::new();
                        here.set(cpu)?;
                        sched_setaffinity(Pid::from_raw(0), &here)?;
                        let mut sender = Sender::another()?;
                        sender.load(&workload.packets);
                        sender.send(WARM_UP)?;
                        Ok(sender)
                    };
                    let sender = prepared();
                    barrier.wait();
                    sender?.send(SENDS)
                })
            })
            .collect();
        barrier.wait();
        let since = Instant::now();
        for sender in senders {
            sender.join().expect("a sender does not panic")?;
        }
        let sends = u128::from(SENDS) * cpus as u128;
        Ok((since.elapsed().as_nanos() / sends) as i64)
    })
}
