// SPDX-License-Identifier: MIT OR Apache-2.0
//! Performs a load in user space, except for admission (signature, lockdown), with the same results
//! and refusals as in the kernel.
//!
//! This links the code that the kernel module uses: `nf_wasm_shared::decode` validates the
//! settings, and the engine makes the instance. The guest's set-up functions really run. They read
//! this machine's clocks, and their log lines are discarded.

use nf_wasm_engine::{Clock, Host, Instance, Options};
use nf_wasm_shared::abi::{ioctl, limits};
use nf_wasm_shared::decode::check;
use nix::errno::Errno;
use nix::time::{clock_gettime, ClockId};

use crate::device::Settings;
use crate::error::Refusal;

/// A negative errno, as host functions return it.
const EFAULT: i32 = -(Errno::EFAULT as i32);

/// The host of a filter that is being set up: there is no packet.
pub struct Surroundings;

impl Host for Surroundings {
    fn load(&mut self, _: u32, _: &mut [u8]) -> Result<u32, i32> {
        Err(EFAULT)
    }

    fn log(&mut self, _: &[u8]) {}

    fn now(&mut self, clock: Clock) -> u64 {
        let clock = match clock {
            Clock::Monotonic => ClockId::CLOCK_MONOTONIC,
            Clock::Realtime => ClockId::CLOCK_REALTIME,
        };
        // Linux has both clocks, and neither is negative.
        let now = clock_gettime(clock).map_or(0, |now| {
            i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec())
        });
        u64::try_from(now).unwrap_or(0)
    }

    fn mark(&mut self) -> u32 {
        0
    }

    fn set_mark(&mut self, _: u32) {}
}

/// Makes an instance of `wasm`, as a load with these `settings` does for each CPU.
///
/// # Errors
///
/// The refusal that the kernel would return.
pub fn load(wasm: &[u8], settings: &Settings) -> Result<Box<Instance<Surroundings>>, Refusal> {
    let checked = settings_of(settings).check().map_err(wrong)?;
    check::module_len(u32::try_from(wasm.len()).unwrap_or(u32::MAX)).map_err(wrong)?;
    let options = Options {
        capabilities: checked.capabilities,
        snaplen: checked.snaplen,
        memory_pages: limits::MEMORY_PAGES,
        init_fuel: limits::INIT_FUEL,
    };
    Instance::new(wasm, &options, Surroundings).map_err(|refusal| Refusal {
        errno: Errno::from_raw(refusal.kind.errno()),
        text: refusal.message,
    })
}

/// Settings as in an ioctl's struct, where most missing ones are 0.
fn settings_of(settings: &Settings) -> check::Settings {
    check::Settings {
        capabilities: settings.capabilities.unwrap_or(0),
        fuel: settings.fuel.unwrap_or(0),
        snaplen: settings.snaplen.unwrap_or(0),
        trap_policy: settings.trap_policy.unwrap_or(ioctl::TRAP_DROP),
        quarantine: settings.quarantine.unwrap_or(0),
        tier: settings.tier.unwrap_or(ioctl::TIER_AUTO),
        recycle: settings.recycle.unwrap_or(0),
    }
}

fn wrong(wrong: nf_wasm_shared::decode::wrong::Wrong) -> Refusal {
    Refusal {
        errno: Errno::from_raw(wrong.errno()),
        text: wrong.to_string(),
    }
}
