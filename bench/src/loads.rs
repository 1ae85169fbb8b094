// SPDX-License-Identifier: GPL-2.0-only
//! Measures loads and replacements, stage by stage.

use crate::report::{LoadCost, StageCost};
use crate::sender::Sender;
use crate::workload::Workload;
use anyhow::{Context, Result};
use nf_wasm_shared::abi::ioctl;
use nf_wasm_tests::device::{hook, Device, Refused, Spec};
use nf_wasm_tests::kernel::Tracepoint;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Instant;
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemArg,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

/// Sizes of Wasm modules in bytes. The last is just below the maximum.
const SIZES: [usize; 3] = [1 << 10, 100 << 10, (1 << 20) - 1024];
/// Bytes of a function's body.
const FUNCTION: usize = 1_000;

/// Measures each size.
pub fn measure() -> Result<Vec<LoadCost>> {
    let mut sender = Sender::new()?;
    sender.load(&Workload::named("accept-all")?.packets);
    let device = Device::open();
    SIZES
        .into_iter()
        .map(|size| one(&device, &mut sender, size))
        .collect()
}

fn one(device: &Device, sender: &mut Sender, size: usize) -> Result<LoadCost> {
    eprintln!("a Wasm module of {size} bytes");
    let wasm = module(size);
    let refused = |refused: Refused| anyhow::anyhow!("{refused:?}");
    let spec = Spec::new("loads", wasm.clone()).at(hook(ioctl::FAMILY_IPV4, ioctl::HOOK_OUTPUT, 0));
    let tracepoint = Tracepoint::on("nf_wasm/nf_wasm_build");
    let since = Instant::now();
    let id = device.load(&spec).map_err(refused)?;
    let load = since.elapsed().as_nanos() as i64;
    let stages = stages(&tracepoint.lines())?;
    drop(tracepoint);
    let entry = device.filters()?.into_iter().find(|it| it.id == id);
    let entry = entry.context("the filter")?;

    // There is one CPU: the replacement and the sender share it.
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
        memory_per_cpu: entry.memory_per_cpu,
        memory_shared: entry.memory_shared,
    })
}

/// Loads the module of 100 KB for ever. Prints the kernel's symbols and READY first.
pub fn be_profiled() -> Result<()> {
    let device = Device::open();
    let spec = Spec::new("loads", module(SIZES[1]));
    let symbols = std::fs::read_to_string("/proc/kallsyms")?;
    println!("{symbols}READY");
    loop {
        let refused = |refused: Refused| anyhow::anyhow!("{refused:?}");
        let id = device.load(&spec).map_err(refused)?;
        device.select(ioctl::NF_WASM_UNLOAD, id).map_err(refused)?;
    }
}

/// A filter of about `size` bytes, in functions that load, add and store. All can be reached from
/// `nfw_filter`, but no packet reaches them.
fn module(size: usize) -> Vec<u8> {
    let (mut types, mut functions, mut code) = (
        TypeSection::new(),
        FunctionSection::new(),
        CodeSection::new(),
    );
    types
        .ty()
        .function([ValType::I32, ValType::I32, ValType::I32], [ValType::I32]);
    let mut bodies = Vec::new();
    let mut filter = Function::new([]);
    filter
        .instructions()
        .local_get(2)
        .i32_const(-1)
        .i32_eq()
        .if_(BlockType::Empty);
    functions.function(0);
    let mut left = size;
    for callee in 1.. {
        let bytes = left.min(FUNCTION);
        let mut body = Function::new([(1, ValType::I32)]);
        let place = |offset| MemArg {
            offset,
            align: 2,
            memory_index: 0,
        };
        // Each round adds 15 bytes. The function and its call add about twenty more.
        for at in 0..(bytes.saturating_sub(20) / 15) as u64 {
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
        bodies.push(body);
        filter
            .instructions()
            .local_get(0)
            .local_get(1)
            .local_get(2)
            .call(callee)
            .drop();
        if left <= FUNCTION {
            break;
        }
        left -= bytes;
    }
    filter.instructions().end().i32_const(1).end();
    code.function(&filter);
    for body in &bodies {
        code.function(body);
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

/// The cost of each stage of one instance. The tracer's clock has a resolution of a microsecond.
fn stages(lines: &[String]) -> Result<Vec<StageCost>> {
    // …  12.345678: nf_wasm_build: filter=loads stage=check
    let entered = lines
        .iter()
        .map(|line| {
            let stage = line.split_once("stage=").context("no stage")?.1.trim();
            let mut words = line.split_whitespace();
            let seconds = words.find_map(|it| it.strip_suffix(':')?.parse::<f64>().ok());
            Ok((stage.to_owned(), seconds.context("no time")?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(entered
        .windows(2)
        // Nothing runs between `ready` and the next event.
        .filter(|pair| pair[0].0 != "ready")
        .map(|pair| StageCost {
            stage: pair[0].0.clone(),
            instructions: ((pair[1].1 - pair[0].1) * 1e9).round() as i64,
        })
        .collect())
}
