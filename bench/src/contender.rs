// SPDX-License-Identifier: GPL-2.0-only
//! The packet filters that are compared.

use crate::refusal::Refusal;
use crate::shell::{self, Undo};
use crate::workload::{Task, Workload, MATERIAL};
use crate::{ebpf, iptables, nf_wasm, nftables};
use clap::ValueEnum;
use std::any::Any;

/// A packet filter, or a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Contender {
    /// No filter and no hook.
    None,
    /// A hook that returns at once.
    EmptyHook,
    /// A Wasm filter in the tier `jit`.
    NfWasm,
    /// A Wasm filter in the tier `interp`.
    NfWasmInterp,
    /// An eBPF program of type `BPF_PROG_TYPE_NETFILTER`.
    Ebpf,
    /// nftables rules.
    Nftables,
    /// The same rules in iptables. Debian's iptables translates them for nftables.
    Iptables,
}

/// Detaches the contender when it is dropped.
pub type Attached = Box<dyn Any>;

impl Contender {
    /// All contenders, the baseline without a filter first.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::EmptyHook,
        Self::NfWasm,
        Self::NfWasmInterp,
        Self::Ebpf,
        Self::Nftables,
        Self::Iptables,
    ];

    /// The contender's name in results.
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

    /// The tier, if the contender has tiers.
    pub fn tier(self) -> Option<&'static str> {
        match self {
            Self::NfWasm => Some("jit"),
            Self::NfWasmInterp => Some("interp"),
            _ => None,
        }
    }

    /// Makes the contender filter packets that leave by IPv4.
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

/// Attaches a hook that returns at once: the cost of reaching a hook.
fn empty_hook(workload: &Workload) -> Result<Attached, Refusal> {
    if !matches!(workload.task, Task::AcceptAll) {
        return Err(Refusal::Cannot("a hook that does nothing filters nothing"));
    }
    shell::run(&["insmod", &format!("{MATERIAL}/nf_wasm_empty_hook.ko")])?;
    Ok(Box::new(Undo(&["rmmod", "nf_wasm_empty_hook"])))
}
