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

/// Sends before all else. In the first seconds after boot a send takes three times as long.
const SINCE_BOOT: u32 = 100_000;
/// Sends before each measurement.
const WARM_UP: u32 = 4_000;
/// Rounds that are timed, in each of which every packet is sent once.
const ROUNDS: usize = 200;
/// Which of them are averaged, from the fastest on: those in which nothing but packets happens. A tick
/// of the timer makes the round that it falls into a third dearer, and the next one a little.
const AVERAGED: std::ops::Range<usize> = 10..40;
/// Averages in a row that have to agree.
const AGREEING: usize = 3;
/// Averages after which the median of all is as good, if they go up and down around it.
const MAX_AVERAGES: usize = 15;
/// What averages that agree may differ by: instructions, and parts in a thousand.
const TOLERANCE: (i64, i64) = (4, 1);
/// The same of the middle half of all, where they do not.
const LOOSE_TOLERANCE: (i64, i64) = (20, 3);

/// What averages agreed on.
pub struct Figure {
    /// For one packet.
    pub instructions: i64,
    /// By how much the averages differed.
    pub spread: i64,
}

/// A raw socket, and what goes out of it.
pub struct Sender {
    socket: OwnedFd,
    packets: Vec<Vec<u8>>,
}

impl Sender {
    /// Makes the device that drops packets, and sends until the machine has come to rest.
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

    /// Another one, for the device that is there.
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

    /// From here on sends `packets` in turn.
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

    /// How many of `times` sends of `packet` are dropped.
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

    /// Instructions a packet, once that has settled: the median of averages that agree, or of many
    /// that do not but stay around it.
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
