// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.mark`: the packet's mark.

use wasmi::TrapCode;

use crate::host::Host;
use crate::guest::Guest;

pub(super) fn get<H: Host>(guest: &mut impl Guest<H>) -> Result<u32, TrapCode> {
    Ok(guest.state().host.mark())
}

pub(super) fn set<H: Host>(guest: &mut impl Guest<H>, mark: u32) -> Result<i32, TrapCode> {
    guest.state().host.set_mark(mark);
    Ok(0)
}
