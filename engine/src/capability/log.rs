// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.log`: lines in the kernel log.

use nf_wasm_shared::abi::limits::LOG_LINE_BYTES;
use wasmi::TrapCode;

use crate::host::Host;
use crate::guest::Guest;

/// Writes a line. Costs twice the fuel of other host functions, because all CPUs contend for one
/// rate limit.
pub(super) fn write<H: Host>(
    guest: &mut impl Guest<H>,
    text: u32,
    len: u32,
) -> Result<i32, TrapCode> {
    let taken = len.min(LOG_LINE_BYTES);
    let (bytes, state) = guest.bytes_and_state(text, len)?;
    // A guest must not be able to forge lines or to send control codes to a terminal.
    let mut line = [0; LOG_LINE_BYTES as usize];
    let line = &mut line[..taken as usize];
    for (to, from) in line.iter_mut().zip(&*bytes) {
        *to = match from {
            b' '..=b'~' => *from,
            _ => b'?',
        };
    }
    state.host.log(line);
    Ok(taken as i32)
}
