// SPDX-License-Identifier: GPL-2.0-only
//! Checks that nf_wasm.ko has no floating-point instructions. The kernel does not save the
//! floating-point registers; guests' floats are computed with integers.

use crate::error::{Error, Result};
use crate::root::Root;
use crate::tool;
use std::path::Path;

/// Fails if the code of `object` has an instruction of the x87, MMX, SSE or AVX units.
pub fn check(object: &str, root: &Root, log: &Path) -> Result<()> {
    let mut objdump = root.command(["objdump", "--disassemble", "--no-show-raw-insn", object]);
    let listing = tool::capture(&mut objdump, log)?;
    let mut function = "";
    let mut instructions = 0;
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix(">:") {
            function = name;
        } else if let Some(instruction) = instruction(line) {
            instructions += 1;
            if is_float(instruction) {
                return Err(Error::new(format!(
                    "{object} uses the floating-point unit: {instruction} (in {function}>)"
                )));
            }
        }
    }
    // If the output is not a disassembly, the check must fail.
    if instructions < 1000 {
        return Err(Error::new(format!("{object} was not disassembled")));
    }
    Ok(())
}

/// The text after the address, if the line is an instruction.
fn instruction(line: &str) -> Option<&str> {
    let (address, rest) = line.split_once(":\t")?;
    let address = address.trim_start();
    let is_address = !address.is_empty() && address.bytes().all(|c| c.is_ascii_hexdigit());
    is_address.then(|| rest.trim())
}

/// Whether an instruction uses the floating-point unit or a vector unit, by its registers, or by
/// its mnemonic if the registers are implied.
fn is_float(instruction: &str) -> bool {
    const REGISTERS: [&str; 5] = ["%xmm", "%ymm", "%zmm", "%mm", "%st"];
    const STATE: [&str; 8] = [
        "emms",
        "ldmxcsr",
        "stmxcsr",
        "vldmxcsr",
        "vstmxcsr",
        "vzeroupper",
        "vzeroall",
        "xrstor",
    ];
    // A symbol's name may look like a register.
    let code = instruction.split(['<', '#']).next().unwrap_or(instruction);
    if REGISTERS.iter().any(|register| code.contains(register)) {
        return true;
    }
    let mnemonic = code
        .split_whitespace()
        // Skip prefixes, which objdump writes before the mnemonic.
        .find(|word| {
            !matches!(
                *word,
                "fs" | "gs" | "cs" | "ds" | "es" | "ss" | "lock" | "notrack"
            )
        });
    match mnemonic {
        // No other x86 mnemonic begins with `f`.
        Some(word) => word.starts_with('f') || STATE.contains(&word),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_code_are_found() {
        let line = "    1f20:\tmov    %rsp,%rbp";
        assert_eq!(instruction(line), Some("mov    %rsp,%rbp"));
        assert_eq!(instruction("0000000000000010 <memcpy>:"), None);
        assert_eq!(
            instruction("nf_wasm.ko:     file format elf64-x86-64"),
            None
        );
        assert_eq!(instruction(""), None);
    }

    #[test]
    fn the_floating_point_unit_is_seen() {
        for code in [
            "movsd  0x8(%rax),%xmm0",
            "vaddpd %ymm1,%ymm2,%ymm3",
            "flds   (%rax)",
            "fninit",
            "fstp   %st(0)",
            "movq   %mm0,(%rax)",
            "emms",
            "ldmxcsr 0x4(%rsp)",
        ] {
            assert!(is_float(code), "{code}");
        }
    }

    #[test]
    fn other_code_is_not() {
        for code in [
            "mov    %rsp,%rbp",
            "call   1f20 <fma_xmm%st>",
            "mov    %fs:0x28,%rax",
            "fs nopw 0x0(%rax)",
            "cs nopw 0x0(%rax,%rax,1)",
            "lea    0x10(%rip),%rdi        # 1234 <float>",
            "lock cmpxchg %ecx,(%rdi)",
            "jmp    *%rax",
            "(bad)",
        ] {
            assert!(!is_float(code), "{code}");
        }
    }
}
