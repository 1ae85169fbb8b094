// SPDX-License-Identifier: GPL-2.0-only
//! The WebAssembly specification's tests on the engine in this process: interpreted, as
//! `nf-wasm-spectest --engine` runs them, and compiled.

#[path = "../../../jit/tests/common/vm.rs"]
mod vm;

use std::cell::Cell;
use std::ffi::c_void;

use nf_wasm_engine::guest_test::Session;
use nf_wasm_engine::{helper_addresses, NativeCode};
use nf_wasm_jit::{Code, Insn, Machine};
use nf_wasm_shared::abi::limits::INIT_FUEL;
use nf_wasm_test_host::Packet;
use nf_wasm_tests::guest_test::Failure;
use nf_wasm_tests::spec::{self, refused, Guest};
use wasmparser::{Parser, Payload, TypeRef};

/// More calls than this are compiled.
const CALLS: usize = 10_000;

#[test]
fn the_specification_holds() {
    let report = spec::run("", Session::new);
    println!("{}", report.summary());
    assert_eq!(report.failures, [""; 0]);
    assert_eq!(report.differences(""), [""; 0], "tests/spec/rejected.txt");
}

/// Functions that can be compiled run in the eBPF machine of the compiler's tests, the others are
/// interpreted.
#[test]
fn the_specification_holds_compiled() {
    let compiled = Cell::new(0);
    let report = spec::run("", || Compiled {
        session: Session::new(),
        globals: Vec::new(),
        calls: &compiled,
    });
    println!("{}{} calls compiled", report.summary(), compiled.get());
    assert!(compiled.get() > CALLS, "{} calls compiled", compiled.get());
    assert_eq!(report.failures, [""; 0]);
    assert_eq!(report.differences(""), [""; 0], "tests/spec/rejected.txt");
}

/// A session whose functions are compiled if possible.
struct Compiled<'a> {
    session: Session,
    /// For each instance: the number of its globals.
    globals: Vec<u64>,
    /// Counts calls of compiled functions.
    calls: &'a Cell<usize>,
}

impl Guest for Compiled<'_> {
    fn instantiate(&mut self, wasm: &[u8]) -> Result<u32, Failure> {
        let instance = Guest::instantiate(&mut self.session, wasm)?;
        let at = instance as usize;
        self.globals.resize(self.globals.len().max(at + 1), 0);
        self.globals[at] = globals(wasm);
        Ok(instance)
    }

    fn register(&mut self, instance: u32, name: &str) -> Result<(), Failure> {
        Guest::register(&mut self.session, instance, name)
    }

    fn invoke(
        &mut self,
        instance: u32,
        name: &str,
        arguments: &[u64],
    ) -> Result<Vec<u64>, Failure> {
        let mut values = spec::values(arguments);
        let globals = self.globals[instance as usize];
        let emulated = |code: &Code| -> Option<Box<dyn NativeCode>> {
            Some(Box::new(Emulated {
                insns: code.insns.clone(),
                slots: code.slots,
                globals,
            }))
        };
        let count = arguments.len();
        let called = self
            .session
            .invoke_natively(instance, name, &mut values, count, INIT_FUEL, emulated)
            .map_err(refused)?;
        match called {
            Some(called) => {
                self.calls.set(self.calls.get() + 1);
                let results = called.result.map_err(Failure::Trapped)?;
                Ok(values[..results as usize].to_vec())
            }
            None => Guest::invoke(&mut self.session, instance, name, arguments),
        }
    }

    fn get(&mut self, instance: u32, name: &str) -> Result<u64, Failure> {
        Guest::get(&mut self.session, instance, name)
    }
}

/// Compiled code that the eBPF machine runs.
struct Emulated {
    insns: Vec<Insn>,
    slots: u32,
    globals: u64,
}

impl NativeCode for Emulated {
    unsafe fn run(&self, machine: *mut Machine) -> u32 {
        let range = |start: u64, bytes: u64| start..start + bytes;
        let globals = self.globals * 8;
        let frames = size_of::<Machine>() as u64 + u64::from(self.slots) * 8;
        // SAFETY: By the contract the code was compiled for this machine, and the engine does not
        // write to it until this returns.
        let memory = unsafe { range((*machine).memory as u64, (*machine).memory_bytes as u64) };
        let bounds = [range(machine as u64 - globals, globals + frames), memory];
        let helper = |number: i32| {
            let address = helper_addresses::<Packet>()[number as usize];
            // SAFETY: All helpers take at most five arguments, in registers, and return one value.
            unsafe { std::mem::transmute::<*const c_void, vm::Helper>(address) }
        };
        vm::run(&self.insns, machine as u64, &bounds, helper, None).0 as u32
    }
}

/// Number of a module's globals, with those that it imports.
fn globals(wasm: &[u8]) -> u64 {
    let sections = Parser::new(0).parse_all(wasm).flatten();
    let counts = sections.map(|section| match section {
        Payload::GlobalSection(section) => u64::from(section.count()),
        Payload::ImportSection(imports) => {
            let imports = imports.into_iter().flatten();
            imports
                .filter(|import| matches!(import.ty, TypeRef::Global(_)))
                .count() as u64
        }
        _ => 0,
    });
    counts.sum()
}
