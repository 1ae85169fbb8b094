// SPDX-License-Identifier: GPL-2.0-only
//! Who is compared.

use crate::workload::Workload;
use crate::{ebpf, iptables, nf_wasm, nftables};
use clap::ValueEnum;
use std::any::Any;

/// What filters packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Contender {
    /// Nothing does.
    None,
    /// A filter in Wasm.
    NfWasm,
    /// A program of type `BPF_PROG_TYPE_NETFILTER`.
    Ebpf,
    /// nftables' rules.
    Nftables,
    /// The same rules as iptables (the one of nftables, Debian's) has them.
    Iptables,
}

/// Why a contender is not attached.
pub enum Refusal {
    /// The contender has no way to do this.
    Cannot(&'static str),
    /// It has, but something is wrong.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What is undone when it is dropped.
pub type Attached = Box<dyn Any>;

impl Contender {
    /// All, the one that costs nothing first.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::NfWasm,
        Self::Ebpf,
        Self::Nftables,
        Self::Iptables,
    ];

    /// As results call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NfWasm => "nf_wasm",
            Self::Ebpf => "ebpf",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }

    /// How it runs filters, if it has several ways.
    pub fn tier(self) -> Option<&'static str> {
        (self == Self::NfWasm).then_some("interp")
    }

    /// Has the contender filter what leaves by IPv4.
    pub fn attach(self, workload: &Workload) -> Result<Attached, Refusal> {
        match self {
            Self::None => Ok(Box::new(())),
            Self::NfWasm => Ok(Box::new(nf_wasm::attach(workload)?)),
            Self::Ebpf => Ok(Box::new(ebpf::attach(workload)?)),
            Self::Nftables => Ok(Box::new(nftables::attach(workload)?)),
            Self::Iptables => Ok(Box::new(iptables::attach(workload)?)),
        }
    }
}
