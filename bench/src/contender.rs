// SPDX-License-Identifier: GPL-2.0-only
//! The packet filters that are compared.

use crate::refusal::Refusal;
use crate::shell::{self, Undo};
use crate::workload::{Task, Workload, MATERIAL};
use crate::{ebpf, iptables, nf_wasm, nftables};
use clap::ValueEnum;
use std::any::Any;

/// What filters packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Contender {
    /// Nothing does.
    None,
    /// A hook does nothing.
    EmptyHook,
    /// A filter in Wasm, compiled.
    NfWasm,
    /// The same, interpreted.
    NfWasmInterp,
    /// A program of type `BPF_PROG_TYPE_NETFILTER`.
    Ebpf,
    /// nftables' rules.
    Nftables,
    /// The same rules as iptables (the one of nftables, Debian's) has them.
    Iptables,
}

/// What is undone when it is dropped.
pub type Attached = Box<dyn Any>;

impl Contender {
    /// All, the one that costs nothing first.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::EmptyHook,
        Self::NfWasm,
        Self::NfWasmInterp,
        Self::Ebpf,
        Self::Nftables,
        Self::Iptables,
    ];

    /// As results call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::EmptyHook => "empty_hook",
            Self::NfWasm => "nf_wasm",
            Self::NfWasmInterp => "nf_wasm_interp",
            Self::Ebpf => "ebpf",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }

    /// How it runs filters, if it has several ways.
    pub fn tier(self) -> Option<&'static str> {
        match self {
            Self::NfWasm => Some("jit"),
            Self::NfWasmInterp => Some("interp"),
            _ => None,
        }
    }

    /// Has the contender filter what leaves by IPv4.
    pub fn attach(self, workload: &Workload) -> Result<Attached, Refusal> {
        match self {
            Self::None => Ok(Box::new(())),
            Self::EmptyHook => empty_hook(workload),
            Self::NfWasm => Ok(Box::new(nf_wasm::attach(workload, "jit")?)),
            Self::NfWasmInterp => Ok(Box::new(nf_wasm::attach(workload, "interp")?)),
            Self::Ebpf => Ok(Box::new(ebpf::attach(workload)?)),
            Self::Nftables => Ok(Box::new(nftables::attach(workload)?)),
            Self::Iptables => Ok(Box::new(iptables::attach(workload)?)),
        }
    }
}

/// What costs nothing but the way there.
fn empty_hook(workload: &Workload) -> Result<Attached, Refusal> {
    if !matches!(workload.task, Task::AcceptAll) {
        return Err(Refusal::Cannot("a hook that does nothing filters nothing"));
    }
    shell::run(&["insmod", &format!("{MATERIAL}/nf_wasm_empty_hook.ko")])?;
    Ok(Box::new(Undo(&["rmmod", "nf_wasm_empty_hook"])))
}
