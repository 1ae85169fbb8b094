// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bench`: what filters cost, in a machine whose instructions QEMU counts.

use crate::build::Build;
use crate::error::Result;
use crate::vm::Machine;

/// A machine in which a virtual nanosecond is an instruction; what it is to do is still to be said.
pub fn counting() -> Machine {
    Machine {
        cpus: 1,
        append: vec!["mitigations=off".into(), "nokaslr".into()],
        qemu_args: vec!["-icount".into(), "shift=0,sleep=off".into()],
        ..Machine::default()
    }
}

/// Measures all there is to measure.
pub fn bench(build: &Build) -> Result<i32> {
    let machine = Machine {
        command: vec!["nf-wasm-bench".into()],
        ..counting()
    };
    build.boot(&machine, Some("tcg"))
}
