// SPDX-License-Identifier: GPL-2.0-only
//! Runs compiled code in user space.

pub mod vm;

use std::ptr;

use nf_wasm_jit::machine::{FIRST_SLOT, TRAPPED};
use nf_wasm_jit::{Code, Helper, Machine};

/// The outcome of a call: its result or the number of a trap, and the remaining fuel.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub result: Result<u64, u32>,
    pub fuel: i64,
}

/// All memory that the code may access: the machine and its frames, globals, the linear memory, the
/// packet. Any other access panics.
pub struct Instance {
    code: Code,
    /// The globals, the first one last; the machine; the slots of its frames.
    frames: Vec<u64>,
    globals: usize,
    linear: Guarded,
    /// Whether the code returns a verdict.
    pub is_filter: bool,
    /// The bytes of the linear part of a packet that is decided in place.
    pub packet: Vec<u8>,
    /// The simulation of mispredicted branches, if it is on.
    pub speculation: Option<vm::Speculation>,
    /// Number of instructions of all calls.
    pub instructions: u64,
}

/// Words of a machine.
const MACHINE: usize = size_of::<Machine>() / 8;
/// Unused words on both sides of memory that a guest can address.
const GUARD: usize = 1 << 13;

/// Words with guards on both sides.
struct Guarded(Vec<u64>);

impl Guarded {
    fn new(words: usize) -> Self {
        Self(vec![0; GUARD + words + GUARD])
    }

    fn words(&self) -> &[u64] {
        &self.0[GUARD..self.0.len() - GUARD]
    }

    fn words_mut(&mut self) -> &mut [u64] {
        let end = self.0.len() - GUARD;
        &mut self.0[GUARD..end]
    }
}

impl Instance {
    pub fn of(code: &Code, pages: usize, globals: &[u64]) -> Self {
        Self {
            code: code.clone(),
            frames: {
                let mut frames: Vec<u64> = globals.iter().rev().copied().collect();
                frames.resize(globals.len() + MACHINE + code.slots as usize, 0);
                frames
            },
            globals: globals.len(),
            linear: Guarded::new((pages << 16) / 8),
            is_filter: false,
            packet: Vec::new(),
            speculation: None,
            instructions: 0,
        }
    }

    pub fn memory(&self) -> &[u8] {
        bytes_of(self.linear.words())
    }

    /// Replaces the bytes of the linear memory.
    #[allow(dead_code, reason = "not all tests do")]
    pub fn set_memory(&mut self, bytes: &[u8]) {
        let words = self.linear.words_mut().iter_mut();
        for (word, bytes) in words.zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        }
    }

    #[allow(dead_code, reason = "not all tests look at one")]
    pub fn global(&self, index: usize) -> u64 {
        self.frames[self.globals - 1 - index]
    }

    /// The first results of the last call, if it returned.
    #[allow(dead_code, reason = "not all tests look at them")]
    pub fn results(&self, count: usize) -> &[u64] {
        &self.frames[self.globals + MACHINE + FIRST_SLOT as usize..][..count]
    }

    pub fn call(&mut self, arguments: [u64; 3], fuel: i64) -> Outcome {
        let mut packet = Guarded::new(self.packet.len().div_ceil(8));
        for (word, bytes) in packet.words_mut().iter_mut().zip(self.packet.chunks(8)) {
            let mut of_word = [0; 8];
            of_word[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(of_word);
        }
        let window = packet.words().as_ptr().cast::<u8>();
        let linear = self.linear.words_mut().as_mut_ptr_range();
        let machine = Machine {
            fuel,
            window,
            minus_end: -(window as i64 + self.packet.len() as i64),
            ..Machine::new(linear.start.cast(), self.memory().len())
        };
        let first = self.globals + MACHINE + FIRST_SLOT as usize;
        let start = self.frames[self.globals..].as_mut_ptr();
        // SAFETY: The words have room for a machine, and are aligned for it.
        unsafe { start.cast::<Machine>().write(machine) };
        self.frames[first..first + 3].copy_from_slice(&arguments);
        let frames = self.frames.as_mut_ptr_range();
        let bounds = [
            frames.start as u64..frames.end as u64,
            linear.start as u64..linear.end as u64,
            window as u64..window as u64 + self.packet.len() as u64,
        ];
        let guarded = linear.start as u64..linear.end as u64 + u64::from(self.code.guard);
        let (insns, mut speculation) = (&self.code.insns, self.speculation.as_mut());
        if let Some(speculation) = &mut speculation {
            speculation.guarded = guarded;
        }
        let helper = |number| helper(Helper::ALL[number as usize]);
        let (code, instructions) = vm::run(insns, start as u64, &bounds, helper, speculation);
        self.instructions += instructions;
        // SAFETY: It was written above, and any bit pattern is valid.
        let machine = unsafe { start.cast::<Machine>().read() };
        Outcome {
            result: match code as u32 {
                0 if self.is_filter => Ok(0),
                1 if self.is_filter => Ok(1),
                0 => Ok(self.frames[first]),
                trap => Err(trap - TRAPPED),
            },
            fuel: machine.fuel,
        }
    }
}

fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: These are the bytes of `words`.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) }
}

/// Runs a bulk operation in the machine's linear memory.
fn bulk(helper: Helper, [machine, a, b, len]: [u64; 4]) -> u64 {
    // SAFETY: The code passes the machine that it was called with.
    let machine = unsafe { &mut *(machine as *mut Machine) };
    let left = machine.fuel - (len / 64) as i64;
    let trap = |machine: &mut Machine, trap: u64| {
        machine.trap = trap;
        machine.fuel = !machine.fuel;
        0
    };
    let bytes = machine.memory_bytes as u64;
    let is_inside = |at: u64| at + len <= bytes;
    let outside = !is_inside(a) || helper == Helper::MemoryCopy && !is_inside(b);
    if outside {
        return trap(machine, 1);
    }
    if left < 0 {
        return trap(machine, 9);
    }
    machine.fuel = left;
    let (to, len) = (machine.memory.wrapping_add(a as usize), len as usize);
    // SAFETY: The ranges are within the linear memory.
    unsafe {
        match helper {
            Helper::MemoryCopy => ptr::copy(machine.memory.add(b as usize), to, len),
            _ => ptr::write_bytes(to, b as u8, len),
        }
    }
    0
}

macro_rules! computing {
    ($helper:expr; $($name:ident)*) => {
        match $helper {
            $(Helper::$name => {
                extern "C" fn $name(a: u64, b: u64, _: u64, _: u64, _: u64) -> u64 {
                    Helper::$name.compute(a, b)
                }
                $name
            })*
            Helper::MemoryCopy => {
                extern "C" fn copy(machine: u64, to: u64, from: u64, len: u64, _: u64) -> u64 {
                    bulk(Helper::MemoryCopy, [machine, to, from, len])
                }
                copy
            }
            Helper::MemoryFill => {
                extern "C" fn fill(machine: u64, to: u64, byte: u64, len: u64, _: u64) -> u64 {
                    bulk(Helper::MemoryFill, [machine, to, byte, len])
                }
                fill
            }
        }
    };
}

#[allow(non_snake_case, reason = "the functions are named after the helpers")]
fn helper(helper: Helper) -> vm::Helper {
    computing!(helper;
        DivS32 DivS64 RemS32 RemS64 Clz32 Clz64 Ctz32 Ctz64 Popcnt32 Popcnt64
        RotL32 RotL64 RotR32 RotR64)
}
