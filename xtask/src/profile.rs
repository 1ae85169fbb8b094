// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bench --profile WORKLOAD`: shows in which stages and functions a packet's
//! instructions are spent.
//!
//! QEMU logs each instruction while a sender in the machine sends packets. The filter's cost is
//! everything from a packet's first instruction in nf_wasm to its last. /proc/kallsyms gives the
//! function of each address.

use crate::bench;
use crate::build::Build;
use crate::error::{Context, Error, Result};
use crate::files::{self, Cache};
use crate::vm::{Machine, Run};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// The sender prints this after the symbols, before its endless loop.
const READY: &str = "\nREADY\n";
/// The function that begins the next packet.
const NEXT_PACKET: &str = "raw_sendmsg";
/// The stages of a packet, and parts of the names of their functions. Inlined code counts for the
/// stage of its caller.
const STAGES: [(&str, &[&str]); 5] = [
    (
        "hook: bottom halves, program, verdict, counters",
        &[
            "nf_wasm_hook",
            "nf_wasm_attachment_decide",
            "attachment",
            "7program",
            "nf_wasm_trace_",
            "nf_wasm_drop_",
            "nf_wasm_cpu_",
            "local_bh_",
        ],
    ),
    (
        "context and window",
        &[
            "nf_wasm_run_on_copy",
            "nf_wasm_run_in_place",
            "nf_wasm_context_fill",
            "nf_wasm_skb_load",
            "nf_wasm_host_load",
            "skb_copy_bits",
            "memcpy",
        ],
    ),
    ("engine: entry and exit", &["nf_wasm_engine_call", "memset"]),
    ("guest, interpreted", &["wasmi", "nf_wasm_host_"]),
    // /proc/kallsyms has no names of native code. Its addresses are after the last symbol.
    ("guest, compiled", &["__init_scratch_end", "bpf_prog_"]),
];
/// The minimum size of a log: about fifty packets.
const LOG_BYTES: u64 = 100 << 20;
/// The time limit of the machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Functions: address and name.
struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// Parses the text of `/proc/kallsyms`.
    fn read(text: &str) -> Self {
        let mut symbols: Vec<(u64, String)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                words.next()?;
                let name = words.next()?.to_owned();
                // Labels inside functions, for unwinding and tracing.
                if name.starts_with(".L") {
                    return None;
                }
                let module = words.next().map_or(String::new(), |it| format!(" {it}"));
                Some((address, name + &module))
            })
            .collect();
        symbols.sort();
        Self(symbols)
    }

    fn at(&self, address: u64) -> &str {
        self.with_start(address).1
    }

    /// The function of an address: its start and its name.
    fn with_start(&self, address: u64) -> (u64, &str) {
        let after = self.0.partition_point(|(start, _)| *start <= address);
        match after.checked_sub(1) {
            Some(at) => (self.0[at].0, &self.0[at].1),
            None => (0, "?"),
        }
    }
}

/// The addresses of a packet's instructions, in order.
type Packet = Vec<u64>;

/// Profiles nf_wasm with a workload, with `material` of [`Build::bench_material`].
pub fn profile(build: &Build, workload: &str, material: PathBuf, cache: &Cache) -> Result<i32> {
    let mut machine = Machine {
        command: vec!["nf-wasm-bench".into(), "profile".into(), workload.into()],
        timeout: PATIENCE,
        ..bench::counting(material)
    };
    let run = build.prepare(&machine)?;
    let monitor = run.inside("monitor");
    let socket = format!("socket,id=monitor,server=on,wait=off,path={monitor}");
    let trace = run.inside("trace");
    let more = ["-D", &trace, "-chardev", &socket, "-mon", "chardev=monitor"];
    machine.qemu_args.extend(more.map(str::to_owned));
    eprintln!("Booting, and sending until the cost has settled");
    let symbols = thread::scope(|scope| {
        let machine = scope.spawn(|| build.run(&machine, &run, Some("tcg")));
        let symbols = watch(&run, || machine.is_finished());
        // The monitor's `quit` ends the machine while its command runs: an error is expected.
        let _ = machine.join();
        symbols
    })?;
    let log = File::open(run.path("trace")).context("QEMU's log")?;
    let mut packets = packets(log, &symbols)?;
    packets.sort_by_key(Vec::len);
    let median = packets
        .get(packets.len() / 2)
        .context("no packet reached the filter")?;
    show(median, &symbols);
    println!("        in the median packet of {}", packets.len());
    let way = cache.path("log/profile.txt");
    files::write(&way, listing(median, &symbols).as_bytes())?;
    println!("All its instructions are listed in {}", way.display());
    Ok(0)
}

/// Waits for the sender, lets QEMU log packets, and ends the machine. Returns the guest's symbols.
fn watch(run: &Run, ended: impl Fn() -> bool) -> Result<Symbols> {
    let since = Instant::now();
    let over = || ended() || since.elapsed() > PATIENCE;
    let text = loop {
        let text = fs::read_to_string(run.path("stdout")).unwrap_or_default();
        if text.contains(READY) {
            break text;
        }
        if over() {
            return Err(Error::new("the sender did not start"));
        }
        thread::sleep(Duration::from_millis(200));
    };
    let symbols = Symbols::read(&text);
    let mut monitor = UnixStream::connect(run.path("monitor")).context("QEMU's monitor")?;
    let mut tell = |command: &str| writeln!(monitor, "{command}").context("QEMU's monitor");
    tell("one-insn-per-tb on")?;
    let trace = run.path("trace");
    let bytes = || fs::metadata(&trace).map_or(0, |it| it.len());
    loop {
        let before = bytes();
        tell("log exec,nochain")?;
        while bytes() < before + LOG_BYTES && !over() {
            thread::sleep(Duration::from_millis(50));
        }
        tell("log none")?;
        // The log may be of the sender that still prints its symbols: then try again.
        let log = File::open(&trace).context("QEMU's log")?;
        if !packets(log, &symbols)?.is_empty() || over() {
            break;
        }
        thread::sleep(Duration::from_secs(2));
    }
    tell("quit")?;
    Ok(symbols)
}

/// The complete packets of a log.
fn packets(log: impl Read, symbols: &Symbols) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    let mut packet = Packet::new();
    // The length up to the last instruction in nf_wasm. Later instructions belong to the packet
    // only if nf_wasm runs again.
    let mut len = 0;
    for line in BufReader::new(log).lines() {
        let line = line.context("QEMU's log")?;
        // Trace 0: 0x7f… [cs_base/pc/flags/cflags]
        let Some(address) = line
            .split_once('[')
            .and_then(|(_, rest)| rest.split('/').nth(1))
            .and_then(|word| u64::from_str_radix(word, 16).ok())
        else {
            continue;
        };
        let name = symbols.at(address);
        if name.ends_with("[nf_wasm]") {
            packet.push(address);
            len = packet.len();
        } else if name == NEXT_PACKET && len > 0 {
            packet.truncate(len);
            packets.push(std::mem::take(&mut packet));
            len = 0;
        } else if len > 0 {
            packet.push(address);
        }
    }
    // The first packet may be incomplete.
    packets.drain(..packets.len().min(1));
    Ok(packets)
}

/// Prints a packet's stages in order, and its functions, the most expensive first.
fn show(packet: &Packet, symbols: &Symbols) {
    let names = || packet.iter().map(|address| symbols.at(*address));
    println!("{:>6}  stage", "count");
    for (stage, count) in stages(names()) {
        println!("{count:>6}  {stage}");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names() {
        *counts.entry(name).or_default() += 1;
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    println!("\n{:>6}  function", "count");
    for (name, count) in &rows {
        println!("{count:>6}  {name}");
    }
    println!("{:>6}  together,", packet.len());
}

/// The number of instructions in each stage.
fn stages<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(&'static str, usize)> {
    let others = (STAGES.len(), "the kernel's other work");
    let mut counts = vec![0; STAGES.len() + 1];
    for name in names {
        let is_in = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let at = STAGES.iter().position(|(_, parts)| is_in(parts));
        counts[at.unwrap_or(others.0)] += 1;
    }
    let stages = STAGES.iter().map(|(stage, _)| *stage).chain([others.1]);
    stages.zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// A packet's instructions in order. Consecutive instructions of a function share a line.
fn listing(packet: &Packet, symbols: &Symbols) -> String {
    let mut text = String::new();
    let mut last = "";
    for address in packet {
        let (start, name) = symbols.with_start(*address);
        if name != last {
            text += &format!("\n{name}:");
            last = name;
        }
        text += &format!(" {:x}", address - start);
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found() {
        let symbols = Symbols::read(
            "0000000000001000 T raw_sendmsg\n0000000000002000 t hook\t[nf_wasm]\n\
             0000000000003000 T memcpy\n0000000000004000 T nf_hook_slow\n",
        );
        let mut log = String::new();
        let mut at = |address: u64| {
            log += &format!("Trace 0: 0x7f0000000000 [00000000/{address:016x}/0/0] x\n");
        };
        for _ in 0..3 {
            at(0x2000);
            at(0x2004);
            at(0x3000);
            at(0x2008);
            at(0x4000);
            at(0x1000);
            at(0x1004);
        }
        let packets = packets(log.as_bytes(), &symbols).unwrap();
        assert_eq!(packets.len(), 2);
        assert_eq!(
            stages(packets[0].iter().map(|address| symbols.at(*address))),
            [("context and window", 1), ("the kernel's other work", 3)]
        );
        assert_eq!(packets[0], [0x2000, 0x2004, 0x3000, 0x2008]);
        assert_eq!(
            listing(&packets[0], &symbols),
            "\nhook [nf_wasm]: 0 4\nmemcpy: 0\nhook [nf_wasm]: 8\n"
        );
    }
}
