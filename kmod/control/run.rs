// SPDX-License-Identifier: GPL-2.0-only
//! `NF_WASM_RUN`: runs a filter once, without a hook, on a packet that the caller supplies.

use core::ptr;

use kernel::prelude::*;
use kernel::sync::rcu;

use crate::abi::ioctl::{Run, TIER_INTERP, TIER_JIT};
use crate::build::requester::Requester;
use crate::control::admission::read_signature;
use crate::control::command::{admit_as, read_module};
use crate::control::refusal::{Answer, Text};
use crate::control::request::{read_bytes, Caller};
use crate::decode::check::{self, Selector, Settings, Subject};
use crate::decode::exchange::write_log;
use crate::decode::name::Name;
use crate::kernel_ext::owner::Owner;
use crate::kernel_ext::packet_call;
use crate::kernel_ext::skb::{HookState, OwnedSkBuff};
use crate::objects::instance::Instance;
use crate::objects::namespace::Namespace;
use crate::objects::snapshot::Snapshot;
use crate::packet::host_functions::{Host, Packet};
use crate::packet::logger::{Logger, Speaker};
use crate::packet::native::Call;

/// Runs a filter once, in a new instance, so that it neither reads nor changes the memory of a
/// loaded filter.
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
    let packet = OwnedSkBuff::new(&bytes, request.family, request.mark)?;

    let owner = Owner::current();
    let requester = &Requester::of_command(&owner);
    let speaker = Speaker {
        name,
        is_initial: namespace.is_initial(),
    };
    let logger = KBox::pin_init(Logger::new(speaker), GFP_KERNEL)?;
    let mut output = Text::new()?;
    let init = &mut Host::init(&logger).capture(&mut output);
    let snapshot = Snapshot::build(&wasm, &settings, init, requester)?;
    // SAFETY: It is declared after the snapshot, so it is dropped first.
    let instance = unsafe { snapshot.instance(init, requester)? };
    let state = HookState::without_devices(request.family as u8, request.hook as u8);
    let host = Host::packet(&packet, &logger);
    let host = &mut host.capture(&mut output);
    let outcome = match instance {
        Instance::Interpreted(mut instance) => {
            let mut context = packet_call::context(&packet, &state);
            instance.run_once(host, &mut context, settings.fuel, requester)?
        }
        Instance::Native(instance) => {
            let code = snapshot.native().ok_or(EINVAL)?;
            let call = Call::<()>::new(code, &instance, settings.fuel, ptr::null());
            let packet = Packet {
                skb: &packet,
                state: &state,
                len: request.packet_len,
            };
            // SAFETY: Code, instance, host and packet are ours until it returns.
            unsafe { call.run_once(&packet, host) }
        }
    };

    request.verdict = outcome.verdict;
    request.trap = outcome.trap;
    request.fuel_used = outcome.fuel_used;
    request.tier = match snapshot.native() {
        Some(_) => TIER_JIT,
        None => TIER_INTERP,
    };
    request.mark = packet.mark();
    request.output.used = 0;
    write_log(&Caller, &mut request.output, output.as_bytes())?;
    Ok(())
}

/// Copies a loaded filter's Wasm module and settings, so that the build holds no lock.
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
        // Retry: while memory was allocated, the program was replaced by a longer one.
        if program.wasm().len() > wasm.capacity() {
            continue;
        }
        wasm.extend_from_slice(program.wasm(), GFP_KERNEL_ACCOUNT)?;
        return Ok((*filter.name(), wasm, *program.settings()));
    }
}
