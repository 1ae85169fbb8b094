// SPDX-License-Identifier: GPL-2.0-only
//! Runs generated filters in the kernel and in user space, and compares.

use nf_wasm_engine::{Instance, Options, Outcome};
use nf_wasm_generate::case::{Case, Filters};
use nf_wasm_generate::random::Random;
use nf_wasm_generate::Unstructured;
use nf_wasm_shared::abi::capability::LOG;
use nf_wasm_shared::abi::guest::{Context, ACCEPT};
use nf_wasm_shared::abi::ioctl::{
    Counters, Run, FAMILY_NETDEV, HOOK_INGRESS, NO_TRAP, QUARANTINE_NEVER, TRAP_DROP,
};
use nf_wasm_shared::abi::limits::{INIT_FUEL, MEMORY_PAGES, MODULE_BYTES};
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_test_host::Packet;
use nix::errno::Errno;

use super::{Campaign, Report};
use crate::device::{netdev, Device, Refused, Spec};
use crate::eventually;
use crate::net::{mac, Net};
use crate::traffic::{pin_to_cpu, Frames};
use crate::wasm::wat;

/// Random bytes per case.
const BYTES: usize = 6_000;
/// One in so many cases is also loaded and attached, and gets packets.
const LOADED: u64 = 8;
/// Bytes of the longest packet that is sent.
const MTU: usize = 1_500;
/// Bytes of a refusal's text that the kernel keeps.
const TEXT_BYTES: usize = 1_024;

/// A filter that logs its context in hexadecimal.
const TELL: &str = r#"(module
    (import "nfw.log" "write" (func $log (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 256) "0123456789abcdef")
    (func (export "nfw_filter") (param $ctx i32) (param i32 i32) (result i32)
      (local $at i32) (local $byte i32)
      (loop $next
        (local.set $byte (i32.load8_u (i32.add (local.get $ctx) (local.get $at))))
        (i32.store8 (i32.shl (local.get $at) (i32.const 1))
          (i32.load8_u offset=256 (i32.shr_u (local.get $byte) (i32.const 4))))
        (i32.store8 offset=1 (i32.shl (local.get $at) (i32.const 1))
          (i32.load8_u offset=256 (i32.and (local.get $byte) (i32.const 15))))
        (br_if $next (i32.lt_u
          (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 48))))
      (drop (call $log (i32.const 0) (i32.const 96)))
      (i32.const 1)))"#;

/// The outcome of a run, in the kernel or in user space.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    verdict: i32,
    trap: u32,
    fuel: u64,
    mark: u32,
    output: String,
}

struct Fuzzer {
    device: Device,
    net: Net,
    wire: Frames,
    tell: Vec<u8>,
}

/// Runs the campaign.
///
/// # Panics
///
/// If a test helper fails.
pub fn run(campaign: Campaign) -> Report {
    let net = Net::pair();
    pin_to_cpu(0);
    let mut fuzzer = Fuzzer {
        device: Device::open(),
        wire: net.client.frames(net.client_device()),
        net,
        tell: wat(TELL),
    };
    let mut report = Report::default();
    for index in campaign.cases() {
        report.next = index + 1;
        let bytes = Random::new(campaign.seed, index).bytes(BYTES);
        let Ok(case) = Case::new(&mut Unstructured::new(&bytes), Filters::Any, false) else {
            report.count("too few bytes for a case");
            continue;
        };
        let outcome = fuzzer.case(&case, index % LOADED == 0, &mut report);
        if let Err(what) = outcome {
            let seed = campaign.seed;
            report.findings.push(format!(
                "modules --seed {seed} --from {index} --runs 1: {what}"
            ));
        }
    }
    report
}

impl Fuzzer {
    fn case(&mut self, case: &Case, loaded: bool, report: &mut Report) -> Result<(), String> {
        if case.wasm.len() > MODULE_BYTES as usize {
            report.count("too long");
            return Ok(());
        }
        let packet = &case.packets[0];
        let kernel = self.ask(case, packet, None);
        match (kernel, start(case)) {
            (Err(refused), _) if refused.errno == Errno::ENOMEM => report.count("no memory"),
            (Err(refused), Err(refusal)) => {
                report.count(&format!("refused, {:?}", refused.errno));
                let mut text = refusal.message;
                // Cut off at a character's end.
                let mut len = text.len().min(TEXT_BYTES);
                while !text.is_char_boundary(len) {
                    len -= 1;
                }
                text.truncate(len);
                if refused.errno as i32 != refusal.kind.errno() || refused.text != text {
                    return Err(format!("the kernel: {refused}; in user space: {text}"));
                }
            }
            (Ok(kernel), Ok(mut instance)) => {
                let context = self.context(case, packet)?;
                let outcome = call(&mut instance, packet, context, case.fuel);
                report.count(&match outcome.verdict {
                    Ok(_) => "ran, a verdict".to_owned(),
                    Err(trap) => format!("ran, {}", trap.name()),
                });
                let here = seen(outcome, &mut instance);
                if kernel != here {
                    return Err(format!("the kernel: {kernel:?}; in user space: {here:?}"));
                }
                if loaded {
                    report.count("attached");
                    self.attached(case, &here)?;
                }
            }
            (Ok(kernel), Err(refusal)) => {
                return Err(format!(
                    "the kernel ran it: {kernel:?}; in user space: {refusal}"
                ));
            }
            (Err(refused), Ok(_)) => {
                return Err(format!("the kernel: {refused}; in user space it loads"));
            }
        }
        Ok(())
    }

    /// Runs a case's module with `NF_WASM_RUN`, or the filter with the id `id`.
    fn ask(&self, case: &Case, packet: &[u8], id: Option<u32>) -> Result<Seen, Refused> {
        let mut request = Run {
            id: id.unwrap_or(0),
            family: case.family,
            hook: case.hook,
            mark: case.mark,
            ..Run::new()
        };
        let mut wasm = &case.wasm[..];
        if id.is_some() {
            wasm = &[];
        } else {
            request.capabilities = case.capabilities;
            request.fuel = case.fuel;
            request.snaplen = case.snaplen;
        }
        let ask = || self.device.run(request, wasm, packet);
        let (answer, output) = match id {
            // In the filter's namespace.
            Some(_) => self.net.server.enter(ask)?,
            None => ask()?,
        };
        Ok(Seen {
            verdict: answer.verdict,
            trap: answer.trap,
            fuel: answer.fuel_used,
            mark: answer.mark,
            output,
        })
    }

    /// The packet's context, as the kernel tells it to a filter.
    fn context(&self, case: &Case, packet: &[u8]) -> Result<Context, String> {
        let request = Run {
            family: case.family,
            hook: case.hook,
            mark: case.mark,
            capabilities: LOG.bit,
            ..Run::new()
        };
        let (_, digits) = self
            .device
            .run(request, &self.tell, packet)
            .map_err(|refused| format!("the context: {refused}"))?;
        let number = |at: usize| {
            let digits = digits.get(at * 8..at * 8 + 8)?;
            Some(u32::from_str_radix(digits, 16).ok()?.swap_bytes())
        };
        let fields: Option<Vec<u32>> = (0..12).map(number).collect();
        let fields = fields.ok_or_else(|| format!("the context: {digits:?}"))?;
        Ok(Context {
            version: fields[0],
            size: fields[1],
            hook: fields[2],
            family: fields[3],
            packet_len: fields[4],
            window_len: fields[5],
            transport_offset: fields[6],
            transport_protocol: fields[7],
            in_ifindex: fields[8],
            out_ifindex: fields[9],
            mark: fields[10],
            conntrack_state: fields[11],
        })
    }

    /// Loads the filter, runs it by its id, and attaches it to get the case's packets from a veth
    /// pair.
    fn attached(&mut self, case: &Case, ran: &Seen) -> Result<(), String> {
        let device = "to-client";
        let spec = Spec::new("fuzz", case.wasm.clone())
            .allow(case.capabilities)
            .fuel(case.fuel)
            .snaplen(case.snaplen)
            .on_trap(TRAP_DROP)
            .quarantine(QUARANTINE_NEVER)
            .at(netdev(HOOK_INGRESS, device));
        let filter = self
            .net
            .server
            .try_load(&spec)
            .map_err(|refused| format!("runs, but does not load: {refused}"))?;
        let by_id = self
            .ask(case, &case.packets[0], Some(filter.id()))
            .map_err(|refused| format!("runs, but not by its id: {refused}"))?;
        if by_id != *ran {
            return Err(format!("the module: {ran:?}; the filter: {by_id:?}"));
        }
        let mut instance = start(case).map_err(|refusal| refusal.to_string())?;
        let wire = Case {
            family: FAMILY_NETDEV,
            hook: HOOK_INGRESS,
            mark: 0,
            ..case.clone()
        };
        let mut before = filter.counters();
        for packet in &case.packets {
            let packet = &packet[..packet.len().min(MTU)];
            let context = Context {
                in_ifindex: self.net.server.ifindex(device),
                ..self.context(&wire, packet)?
            };
            let outcome = call(&mut instance, packet, context, case.fuel);
            self.wire.send(&frame(packet));
            let after = eventually("the packet is counted", || {
                Some(filter.counters()).filter(|it| it.packets > before.packets)
            });
            let expected = counted(before, outcome, packet.len() as u64);
            if after != expected {
                return Err(format!(
                    "{outcome:?} as a packet: {after:?} after {before:?}"
                ));
            }
            before = after;
        }
        filter.unload();
        Ok(())
    }
}

/// The counters after one more packet with that outcome.
fn counted(mut counters: Counters, outcome: Outcome, bytes: u64) -> Counters {
    counters.packets += 1;
    counters.bytes += bytes;
    match outcome.verdict {
        Ok(ACCEPT) => counters.accepted += 1,
        Ok(_) => counters.dropped += 1,
        Err(trap) => {
            counters.traps[trap as usize] += 1;
            counters.dropped += 1;
        }
    }
    counters.fuel_total += outcome.fuel_used;
    counters.fuel_min = match counters.packets {
        1 => outcome.fuel_used,
        _ => counters.fuel_min.min(outcome.fuel_used),
    };
    counters.fuel_max = counters.fuel_max.max(outcome.fuel_used);
    counters
}

/// A frame whose Ethernet type follows from the packet's version.
fn frame(packet: &[u8]) -> Vec<u8> {
    let ethertype: u16 = match packet[0] >> 4 {
        4 => 0x0800,
        6 => 0x86dd,
        // The Ethernet type for local experiments.
        _ => 0x88b5,
    };
    let ethertype = ethertype.to_be_bytes();
    [&mac(1, 2)[..], &mac(1, 1), &ethertype, packet].concat()
}

fn start(case: &Case) -> Result<Box<Instance<Packet>>, nf_wasm_engine::Refusal> {
    let options = Options {
        capabilities: case.capabilities,
        snaplen: case.snaplen,
        memory_pages: MEMORY_PAGES,
        init_fuel: INIT_FUEL,
    };
    Instance::new(&case.wasm, &options, Packet::none())
}

fn call(
    instance: &mut Instance<Packet>,
    packet: &[u8],
    mut context: Context,
    fuel: u64,
) -> Outcome {
    instance.host_mut().show(packet.to_vec(), context.mark);
    instance.call(&mut context, fuel)
}

fn seen(outcome: Outcome, instance: &mut Instance<Packet>) -> Seen {
    let host = instance.host_mut();
    let (verdict, trap) = match outcome.verdict {
        Ok(verdict) => (verdict, NO_TRAP),
        Err(trap) => (0, number(trap)),
    };
    Seen {
        verdict,
        trap,
        fuel: outcome.fuel_used,
        mark: host.mark,
        output: String::from_utf8_lossy(&host.output).into_owned(),
    }
}

const fn number(trap: Trap) -> u32 {
    trap as u32
}
