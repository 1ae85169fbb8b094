// SPDX-License-Identifier: MIT OR Apache-2.0
//! Logs the mean and the variance of packet lengths, for the first packet and for every hundredth
//! after it. Needs `nfw.log`. Shows that floats and `core::fmt` work, and their cost: a packet that
//! is logged takes nearly 7,000 units of fuel.
//!
//! Every CPU has its own instance, with its own statistics.
#![no_std]
#![no_main]

use core::fmt::Write;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use nf_wasm_sdk::log::Line;
use nf_wasm_sdk::{filter, Packet, Verdict};

const LOG_EVERY: u32 = 100;

static COUNT: AtomicU32 = AtomicU32::new(0);
/// The mean so far, and the sum of squared differences from it, as the bits of an `f64`.
static MEAN: AtomicU64 = AtomicU64::new(0);
static SQUARES: AtomicU64 = AtomicU64::new(0);

filter!(measure);

fn measure(packet: &Packet) -> Verdict {
    let count = COUNT.load(Relaxed).wrapping_add(1).max(1);
    COUNT.store(count, Relaxed);

    // Welford's algorithm: small differences are not lost in a large sum.
    let length = f64::from(packet.context.packet_len);
    let before = f64::from_bits(MEAN.load(Relaxed));
    let mean = before + (length - before) / f64::from(count);
    let squares = f64::from_bits(SQUARES.load(Relaxed)) + (length - before) * (length - mean);
    MEAN.store(mean.to_bits(), Relaxed);
    SQUARES.store(squares.to_bits(), Relaxed);

    if count % LOG_EVERY == 1 {
        let variance = squares / f64::from(count);
        let mut line = Line::default();
        // Writing to a log line never fails.
        let _ = write!(
            line,
            "{count} packets: mean {mean:.2}, variance {variance:.3e}"
        );
        line.write();
    }
    Verdict::Accept
}
