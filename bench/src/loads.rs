// SPDX-License-Identifier: GPL-2.0-only
//! What loads and replacements take, and their stages.
//!
//! The stages are the engine's own functions: kprobes say when each is entered and left.

use crate::report::{LoadCost, StageCost};
use crate::sender::Sender;
use crate::workload::Workload;
use anyhow::{Context, Result};
use nf_wasm_abi::ioctl;
use nf_wasm_tests::device::{hook, Device, Refused, Spec};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Instant;
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemArg, MemorySection,
    MemoryType, Module, TypeSection, ValType,
};

/// Sizes of modules. The last is just below the most that a module may have.
const SIZES: [usize; 3] = [1 << 10, 100 << 10, (1 << 20) - 1024];
/// Bytes of a function's body.
const FUNCTION: usize = 1_000;

/// A stage: its name, and what the symbol of its function has in it.
const STAGES: [(&str, &str); 4] = [
    ("check", "nf_wasm_engine8instance5check"),
    ("translate", "nf_wasm_engine8instance9translate"),
    ("instantiate", "nf_wasm_engine8instance11instantiate"),
    ("warm-up", "nf_wasm_engine4warm7recurse"),
];

/// Measures each size.
pub fn measure() -> Result<Vec<LoadCost>> {
    let mut sender = Sender::new()?;
    sender.load(&Workload::named("accept-all")?.packets);
    let probes = Probes::new()?;
    let device = Device::open();
    SIZES
        .into_iter()
        .map(|size| one(&device, &probes, &mut sender, size))
        .collect()
}

fn one(device: &Device, probes: &Probes, sender: &mut Sender, size: usize) -> Result<LoadCost> {
    eprintln!("a module of {size} bytes");
    let wasm = module(size);
    let refused = |refused: Refused| anyhow::anyhow!("{refused:?}");
    let spec = Spec::new("loads", wasm.clone()).at(hook(ioctl::FAMILY_IPV4, ioctl::HOOK_OUTPUT, 0));
    probes.clear()?;
    let since = Instant::now();
    let id = device.load(&spec).map_err(refused)?;
    let load = since.elapsed().as_nanos() as i64;
    let stages = probes.stages()?;
    let entry = device.filters()?.into_iter().find(|it| it.id == id);
    let memory_per_cpu = entry.context("the filter")?.memory_per_cpu;

    // Of one CPU, the sender has what the replacement leaves it.
    let per_packet = sender.settled()?.instructions;
    let (done, packets) = (AtomicBool::new(false), AtomicU32::new(0));
    let (replaced, elapsed) = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            while !done.load(Relaxed) && sender.send(1).is_ok() {
                packets.fetch_add(1, Relaxed);
            }
        });
        let before = packets.load(Relaxed);
        let since = Instant::now();
        let replaced = device.replace(id, &wasm);
        let elapsed = since.elapsed().as_nanos() as i64;
        let sent = packets.load(Relaxed) - before;
        done.store(true, Relaxed);
        let _ = traffic.join();
        (replaced.map(|()| sent), elapsed)
    });
    let sent = replaced.map_err(refused)?;
    device.select(ioctl::NF_WASM_UNLOAD, id).map_err(refused)?;
    Ok(LoadCost {
        module_bytes: wasm.len(),
        load_instructions: load,
        stages,
        replace_instructions: elapsed - i64::from(sent) * per_packet,
        packets_meanwhile: sent,
        memory_per_cpu,
    })
}

/// A filter of about `size` bytes: functions that load, add and store.
fn module(size: usize) -> Vec<u8> {
    let (mut types, mut functions, mut code) = (
        TypeSection::new(),
        FunctionSection::new(),
        CodeSection::new(),
    );
    types
        .ty()
        .function([ValType::I32, ValType::I32, ValType::I32], [ValType::I32]);
    let mut left = size;
    loop {
        let bytes = left.min(FUNCTION);
        let mut body = Function::new([(1, ValType::I32)]);
        let place = |offset| MemArg {
            offset,
            align: 2,
            memory_index: 0,
        };
        // Each of these has 14 bytes.
        for at in 0..(bytes / 14) as u64 {
            body.instructions()
                .local_get(0)
                .local_get(3)
                .local_get(0)
                .i32_load(place(at % 32 * 4))
                .i32_add()
                .local_tee(3)
                .i32_store(place(at % 32 * 4));
        }
        body.instructions().i32_const(1).end();
        functions.function(0);
        code.function(&body);
        if left <= FUNCTION {
            break;
        }
        left -= bytes;
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("nfw_filter", ExportKind::Func, 0);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memories);
    module.section(&exports).section(&code);
    module.finish()
}

/// Kprobes on the stages, which are gone when this is dropped.
struct Probes {
    tracing: PathBuf,
}

impl Probes {
    fn new() -> Result<Self> {
        let tracing = Path::new("/sys/kernel/tracing").to_owned();
        if !tracing.join("trace").exists() {
            crate::shell::run(&["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"])?;
        }
        let symbols = fs::read_to_string("/proc/kallsyms")?;
        let probes = Self { tracing };
        probes.write("trace_clock", "mono")?;
        for (stage, part) in STAGES {
            let symbol = symbols
                .lines()
                .filter_map(|line| line.split_whitespace().nth(2))
                .find(|symbol| symbol.contains(part) && !symbol.starts_with("__"))
                .with_context(|| format!("no function has {part} in its name"))?;
            let event = stage.replace('-', "_");
            probes.append(&format!("p:nfw_{event}/enter nf_wasm:{symbol}"))?;
            probes.append(&format!("r:nfw_{event}/leave nf_wasm:{symbol}"))?;
            probes.write(&format!("events/nfw_{event}/enable"), "1")?;
        }
        Ok(probes)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.tracing.join(file);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    fn append(&self, probe: &str) -> Result<()> {
        use std::io::Write;
        let path = self.tracing.join("kprobe_events");
        let mut file = fs::File::options().append(true).open(&path)?;
        file.write_all(probe.as_bytes())
            .with_context(|| probe.to_owned())
    }

    fn clear(&self) -> Result<()> {
        self.write("trace", "")
    }

    /// What each stage took since the trace was cleared. The tracer's clock has microseconds.
    fn stages(&self) -> Result<Vec<StageCost>> {
        let trace = fs::read_to_string(self.tracing.join("trace"))?;
        let mut times: BTreeMap<&str, i64> = BTreeMap::new();
        for line in trace.lines().filter(|line| !line.starts_with('#')) {
            // …  12.345678: nfw_check/enter: (…), or just "enter:" with the group left out.
            let mut words = line.split_whitespace();
            let Some(seconds) = words.find_map(|it| it.strip_suffix(':')?.parse::<f64>().ok())
            else {
                continue;
            };
            let (event, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let micros = (seconds * 1e6) as i64;
            for (stage, part) in STAGES {
                if line.contains(part) || rest.contains(part) {
                    let sign = if event.starts_with("enter") { -1 } else { 1 };
                    *times.entry(stage).or_default() += sign * micros;
                }
            }
        }
        Ok(STAGES
            .iter()
            .filter_map(|(stage, _)| {
                Some(StageCost {
                    stage: (*stage).to_owned(),
                    instructions: times.get(stage)? * 1_000,
                })
            })
            .collect())
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for (stage, _) in STAGES {
            let event = stage.replace('-', "_");
            let _ = self.write(&format!("events/nfw_{event}/enable"), "0");
        }
        let _ = self.write("kprobe_events", "");
    }
}
