// SPDX-License-Identifier: GPL-2.0-only
//! `NF_WASM_RUN`: runs a filter once, on a packet that the caller gives, without a hook.

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;
use kernel::sync::rcu;

use crate::abi::ioctl::{Run, TIER_INTERP, TIER_JIT};
use crate::build::owner::Owner;
use crate::build::requester::Requester;
use crate::control::admission::read_signature;
use crate::control::command::{admit_as, read_module};
use crate::control::refusal::{Answer, Text};
use crate::control::request::{read_bytes, Caller};
use crate::decode::check::{self, Selector, Settings, Subject};
use crate::decode::exchange::write_log;
use crate::decode::name::Name;
use crate::kernel_ext::bindings;
use crate::objects::instance::Instance;
use crate::objects::namespace::Namespace;
use crate::packet::host_functions::{describe, Host};
use crate::packet::logger::{Logger, Speaker};

/// A packet that belongs to us.
///
/// # Invariants
///
/// The pointer is to a packet that nobody else has.
struct Packet(*mut kernel_bindings::sk_buff);

impl Packet {
    fn new(bytes: &[u8], family: u32, mark: u32) -> Result<Self> {
        // SAFETY: The bytes are valid for their length, which `check::run` keeps below that of an IP packet.
        let skb = unsafe {
            bindings::nf_wasm_skb_new(bytes.as_ptr().cast(), bytes.len() as u32, family, mark)
        };
        if skb.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: It was just made.
        Ok(Packet(skb))
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: By the invariant nobody else has it, and this is its last use.
        unsafe { bindings::nf_wasm_skb_free(self.0) };
    }
}

/// Runs a filter once, in a fresh instance, so that a running filter's memory is neither seen nor
/// changed.
pub(crate) fn run(namespace: &Namespace, request: &mut Run) -> Answer {
    let (name, wasm, settings) = match check::run(request)? {
        Subject::Filter(selector) => named_program(namespace, &selector)?,
        Subject::Module(settings) => {
            let wasm = read_module(request.module, request.module_len)?;
            let signature = read_signature(request.signature, request.signature_len)?;
            let name = Name::anonymous();
            admit_as(c"nf_wasm_run", namespace, &name, 0, &wasm, &signature)?;
            (name, wasm, settings)
        }
    };
    let bytes = read_bytes(request.packet, request.packet_len)?;
    let packet = Packet::new(&bytes, request.family, request.mark)?;

    let owner = Owner::current();
    let requester = &Requester::of_command(&owner, None);
    let speaker = Speaker {
        name,
        is_initial: namespace.is_initial(),
    };
    let logger = KBox::pin_init(Logger::new(speaker), GFP_KERNEL)?;
    let mut output = Text::new()?;
    let mut instance = Instance::build(
        &wasm,
        &settings,
        &mut Host::init(&logger).capture(&mut output),
        requester,
    )?;
    // SAFETY: All of the state's fields may be zero. That describes a hook without devices, which is valid;
    // and the packet is ours, with its network header set.
    let mut context = unsafe {
        let mut state: bindings::nf_hook_state = core::mem::zeroed();
        state.hook = request.hook as u8;
        state.pf = request.family as u8;
        describe(packet.0, &state)
    };
    // SAFETY: The packet is ours until this function returns, with its network header set.
    let host = unsafe { Host::packet(packet.0, &logger) };
    let host = &mut host.capture(&mut output);
    let outcome = instance.run_once(host, &mut context, settings.fuel, requester)?;

    request.verdict = outcome.verdict;
    request.trap = outcome.trap;
    request.fuel_used = outcome.fuel_used;
    request.tier = if instance.is_native() {
        TIER_JIT
    } else {
        TIER_INTERP
    };
    // SAFETY: The packet is ours, and the guest does not run any more.
    request.mark = unsafe { bindings::nf_wasm_skb_mark(packet.0) };
    request.output.used = 0;
    write_log(&Caller, &mut request.output, output.as_bytes())?;
    Ok(())
}

/// A loaded filter's binary and settings, copied so that nothing is held while it is built.
fn named_program(
    namespace: &Namespace,
    selector: &Selector,
) -> Answer<(Name, KVVec<u8>, Settings)> {
    let filter = namespace.find(selector)?;
    loop {
        let len = {
            let rcu = rcu::read_lock();
            filter.program(&rcu).ok_or(ENOENT)?.wasm().len()
        };
        let mut wasm = KVVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
        let rcu = rcu::read_lock();
        let program = filter.program(&rcu).ok_or(ENOENT)?;
        // Replaced by a longer one while memory was made ready.
        if program.wasm().len() > wasm.capacity() {
            continue;
        }
        wasm.extend_from_slice(program.wasm(), GFP_KERNEL_ACCOUNT)?;
        return Ok((*filter.name(), wasm, *program.settings()));
    }
}
