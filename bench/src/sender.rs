// SPDX-License-Identifier: GPL-2.0-only
//! Sends packets and measures instructions per packet.

use crate::shell;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    connect, send, socket, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// Number of packets sent before the first measurement. In the first seconds after boot a send
/// takes three times as long.
const SINCE_BOOT: u32 = 100_000;
/// Number of packets sent before each further measurement.
const WARM_UP: u32 = 4_000;
/// Timed rounds. A round sends every packet once.
const ROUNDS: usize = 200;
/// The rounds that are averaged, as a range of all rounds sorted by duration: those in which the
/// CPU does nothing but send. A timer tick makes its round a third slower, and the next round a
/// little slower.
const AVERAGED: std::ops::Range<usize> = 10..40;
/// How many averages in a row have to agree.
const AGREEING: usize = 3;
/// The number of averages after which the median of all may be the result.
const MAX_AVERAGES: usize = 15;
/// How much averages that agree may differ: in instructions, and in parts per thousand.
const TOLERANCE: (i64, i64) = (4, 1);
/// The tolerance for the middle half of all averages, if no averages in a row agree.
const LOOSE_TOLERANCE: (i64, i64) = (20, 3);

/// A measured cost.
pub struct Figure {
    /// Instructions per packet.
    pub instructions: i64,
    /// The difference between the largest and the smallest average.
    pub spread: i64,
}

/// A raw socket, and the packets that it sends.
pub struct Sender {
    socket: OwnedFd,
    packets: Vec<Vec<u8>>,
}

impl Sender {
    /// Makes the device that drops packets, and sends until the machine has warmed up.
    pub fn new() -> Result<Self> {
        shell::run(&["ip", "link", "add", "bench", "type", "dummy"])?;
        std::fs::write("/proc/sys/net/ipv6/conf/bench/disable_ipv6", "1")?;
        shell::run(&["ip", "addr", "add", "198.51.100.1/24", "dev", "bench"])?;
        shell::run(&["ip", "link", "set", "bench", "up"])?;
        let mut sender = Self::another()?;
        eprintln!("warming up");
        sender.send(SINCE_BOOT)?;
        Ok(sender)
    }

    /// A further sender for the existing device.
    pub fn another() -> Result<Self> {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::empty(),
            SockProtocol::Raw,
        )
        .context("a raw socket")?;
        connect(socket.as_raw_fd(), &SockaddrIn::new(198, 51, 100, 2, 0))?;
        Ok(Self {
            socket,
            packets: vec![nf_wasm_bench_traffic::packets::udp(
                [192, 0, 2, 1],
                9,
                &[0; 64],
            )],
        })
    }

    /// Makes further sends cycle through `packets`.
    pub fn load(&mut self, packets: &[Vec<u8>]) {
        self.packets = packets.to_vec();
    }

    /// Sends `times` packets.
    pub fn send(&mut self, times: u32) -> Result<()> {
        for packet in self.packets.iter().cycle().take(times as usize) {
            send(self.socket.as_raw_fd(), packet, MsgFlags::empty())?;
        }
        Ok(())
    }

    /// How many of `times` sends of `packet` fail because a filter drops the packet.
    pub fn dropped(&mut self, packet: &[u8], times: u32) -> Result<u32> {
        let mut dropped = 0;
        for _ in 0..times {
            match send(self.socket.as_raw_fd(), packet, MsgFlags::empty()) {
                Ok(_) => {}
                Err(Errno::EPERM) => dropped += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(dropped)
    }

    /// Measures instructions per packet until the result has settled: the median of averages in a
    /// row that agree, or of all averages if the middle half of them is close enough.
    pub fn settled(&mut self) -> Result<Figure> {
        self.send(WARM_UP)?;
        let mut averages = Vec::new();
        while averages.len() < MAX_AVERAGES {
            averages.push(self.average()?);
            if let Some(last) = averages.last_chunk::<AGREEING>() {
                let mut last = *last;
                last.sort_unstable();
                if let Some(figure) = figure(&last, TOLERANCE) {
                    return Ok(figure);
                }
            }
        }
        averages.sort_unstable();
        let middle = &averages[MAX_AVERAGES / 4..MAX_AVERAGES - MAX_AVERAGES / 4];
        figure(middle, LOOSE_TOLERANCE)
            .with_context(|| format!("the figures do not settle: {averages:?}"))
    }

    fn average(&mut self) -> Result<i64> {
        let packets = self.packets.len() as u32;
        let mut rounds = [0; ROUNDS];
        for round in &mut rounds {
            let since = Instant::now();
            self.send(packets)?;
            *round = since.elapsed().as_nanos() as i64;
        }
        rounds.sort_unstable();
        let averaged = &rounds[AVERAGED];
        let sum = averaged.iter().sum::<i64>();
        Ok(sum / (averaged.len() as i64 * i64::from(packets)))
    }
}

/// The median of sorted averages, if they agree.
fn figure(averages: &[i64], tolerance: (i64, i64)) -> Option<Figure> {
    let (first, last) = (*averages.first()?, *averages.last()?);
    let spread = last - first;
    (spread <= tolerance.0.max(first * tolerance.1 / 1_000)).then(|| Figure {
        instructions: averages[averages.len() / 2],
        spread,
    })
}
