// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.packet`: the whole packet, also beyond the window.

use wasmi::TrapCode;

use crate::host::Host;
use crate::guest::Guest;

/// The result for a range beyond the end of the packet.
const EFAULT: i32 = -14;

pub(super) fn len<H: Host>(guest: &mut impl Guest<H>) -> Result<i32, TrapCode> {
    Ok(guest.state().packet_len as i32)
}

pub(super) fn load<H: Host>(
    guest: &mut impl Guest<H>,
    offset: u32,
    to: u32,
    len: u32,
) -> Result<i32, TrapCode> {
    let (bytes, state) = guest.bytes_and_state(to, len)?;
    if u64::from(offset) + u64::from(len) > u64::from(state.packet_len) {
        return Ok(EFAULT);
    }
    match state.host.load(offset, bytes) {
        // The cost is known only now: a packet may have over a thousand pieces, and is walked from
        // its start.
        Ok(pieces) => guest.charge(u64::from(pieces)).map(|()| 0),
        Err(errno) => Ok(errno),
    }
}
