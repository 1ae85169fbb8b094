// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.clock`: the time.

use wasmi::TrapCode;

use crate::host::{Clock, Host};
use crate::guest::Guest;

pub(super) fn monotonic<H: Host>(guest: &mut impl Guest<H>) -> Result<u64, TrapCode> {
    Ok(guest.state().host.now(Clock::Monotonic))
}

pub(super) fn realtime<H: Host>(guest: &mut impl Guest<H>) -> Result<u64, TrapCode> {
    Ok(guest.state().host.now(Clock::Realtime))
}
