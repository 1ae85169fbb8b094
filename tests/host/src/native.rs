// SPDX-License-Identifier: GPL-2.0-only
//! An instance of compiled code. It calls the code on copies of packets, as the kernel half does.

use nf_wasm_engine::{Compiled, Host, Outcome, OwnedMachine, Run, Snapshot};
use nf_wasm_jit::machine::{HostState, LEN_SLOT, TRAPPED};
use nf_wasm_shared::abi::guest::{Context, VERSION};
use nf_wasm_shared::abi::trap::Trap;

use crate::Packet;

/// Bytes of the context.
const CONTEXT: usize = size_of::<Context>();

/// An instance of compiled code.
#[derive(Debug)]
pub struct NativeInstance {
    run: Run,
    machine: OwnedMachine,
    memory: Box<[u8]>,
    host: Box<HostState<Packet>>,
    /// Address of the context in linear memory, if the code reads the buffer.
    context: Option<usize>,
    snaplen: u32,
    window: u32,
}

impl NativeInstance {
    /// An instance that begins like `snapshot`, with the same host.
    ///
    /// # Safety
    ///
    /// `run` is the native code of `compiled`, which was compiled from `snapshot`.
    pub unsafe fn new(compiled: &Compiled, snapshot: &mut Snapshot<Packet>, run: Run) -> Self {
        let mut memory: Box<[u8]> = snapshot.memory().into();
        let mut host = Box::new(HostState {
            host: snapshot.host_mut().clone(),
            packet_len: 0,
        });
        let mut machine = OwnedMachine::new(&compiled.code, &compiled.globals, &mut *memory);
        let at = machine.machine();
        // SAFETY: The machine is owned by `machine`.
        unsafe { (*at).host = (&raw mut *host).cast() };
        Self {
            run,
            machine,
            memory,
            host,
            context: compiled.context.map(|context| context as usize),
            snaplen: compiled.snaplen,
            window: compiled.window,
        }
    }

    /// The host.
    pub fn host_mut(&mut self) -> &mut Packet {
        &mut self.host.host
    }

    /// Decides a packet with the fuel that the code was compiled for, as [`nf_wasm_engine::Instance::call`] does.
    pub fn call(&mut self, context: &Context, fuel: u64) -> Outcome {
        let window_len = context.packet_len.min(self.snaplen);
        if let Some(at) = self.context {
            let context = Context {
                version: VERSION,
                size: CONTEXT as u32,
                window_len,
                ..*context
            };
            let (to, window) = self.memory[at..].split_at_mut(CONTEXT);
            context.write_to(to.try_into().expect("a context's bytes"));
            let (shown, hidden) =
                window[..self.window as usize].split_at_mut(window_len.min(self.window) as usize);
            hidden.fill(0);
            if self.host.host.load(0, shown).is_err() {
                return Outcome {
                    verdict: Err(Trap::Packet),
                    fuel_used: 0,
                };
            }
        }
        self.host.packet_len = context.packet_len;
        self.machine.slots()[LEN_SLOT as usize] = window_len.into();
        let machine = self.machine.machine();
        // SAFETY: By the contract of `new` the code was compiled for this machine, and `&mut self`
        // excludes other users of the machine, the memory and the host.
        let (code, left) = unsafe {
            (
                (self.run)(machine.cast(), std::ptr::null()),
                (*machine).fuel,
            )
        };
        let verdict = match code.checked_sub(TRAPPED) {
            None => Ok(code as i32),
            Some(trap) => Err(Trap::from_number(trap).unwrap_or(Trap::Internal)),
        };
        let fuel_used = match verdict {
            Err(Trap::OutOfFuel) => fuel,
            _ => fuel - left.max(0) as u64,
        };
        Outcome { verdict, fuel_used }
    }
}
