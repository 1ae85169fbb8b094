// SPDX-License-Identifier: GPL-2.0-only
//! Sends and receives, with sockets in a network namespace and with raw frames.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sched::{sched_setaffinity, CpuSet};
use nix::sys::socket::{
    connect, setsockopt, socket, sockopt, AddressFamily, SockFlag, SockType, SockaddrStorage,
};
use nix::unistd::Pid;

use crate::net::Namespace;
use crate::{eventually, sys, PATIENCE};

/// Binds this thread to a CPU.
///
/// # Panics
///
/// If there is no such CPU.
pub fn pin_to_cpu(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).expect("a valid CPU");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("sched_setaffinity");
}

impl Namespace {
    /// A UDP socket that is bound to `address`. Its buffer can hold everything that a test sends.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn udp(&self, address: IpAddr, port: u16) -> UdpSocket {
        let socket = self
            .enter(|| UdpSocket::bind((address, port)))
            .expect("bind");
        setsockopt(&socket, sockopt::RcvBufForce, &(512 << 20)).expect("SO_RCVBUFFORCE");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket
    }

    /// A UDP socket that sends to `to`.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn udp_to(&self, to: SocketAddr) -> UdpSocket {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0; 16].into(),
        };
        self.enter(|| {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(to)?;
            io::Result::Ok(socket)
        })
        .expect("connect")
    }

    /// A non-blocking TCP listener.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn tcp(&self, address: IpAddr, port: u16) -> TcpListener {
        let listener = self
            .enter(|| TcpListener::bind((address, port)))
            .expect("bind");
        listener.set_nonblocking(true).expect("set_nonblocking");
        listener
    }

    /// Begins to connect to a TCP server.
    ///
    /// # Panics
    ///
    /// If the kernel returns an error at once.
    #[track_caller]
    pub fn dial(&self, to: SocketAddr) -> Dial {
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = self
            .enter(|| socket(family, SockType::Stream, flags, None))
            .expect("socket");
        match connect(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            &SockaddrStorage::from(to),
        ) {
            Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Dial(socket.into()),
            Err(error) => panic!("connect to {to}: {error}"),
        }
    }

    /// A socket that sends frames through a device.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn frames(&self, device: &str) -> Frames {
        let ifindex = self.ifindex(device);
        let socket = self
            .enter(|| sys::frame_socket(ifindex))
            .expect("packet socket");
        Frames(socket.into())
    }

    /// Sends datagrams from this namespace to `to` on another thread, until [`Flood::stop`].
    #[track_caller]
    pub fn flood(&self, to: SocketAddr) -> Flood {
        Flood::begin(self.udp_to(to), None)
    }

    /// Like [`Namespace::flood`], on one CPU.
    #[track_caller]
    pub fn flood_on_cpu(&self, to: SocketAddr, cpu: usize) -> Flood {
        Flood::begin(self.udp_to(to), Some(cpu))
    }
}

/// A TCP connection whose handshake may be in progress.
#[derive(Debug)]
pub struct Dial(TcpStream);

impl Dial {
    /// Whether the handshake has succeeded or failed.
    pub fn decided(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO).expect("poll") > 0
    }

    /// Waits until the connection is established.
    ///
    /// # Panics
    ///
    /// If the connection is refused, or not established in time.
    #[track_caller]
    pub fn connected(self) -> TcpStream {
        eventually("a TCP connection", || self.decided().then_some(()));
        if let Some(error) = self.0.take_error().expect("SO_ERROR") {
            panic!("connect: {error}");
        }
        self.0.set_nonblocking(false).expect("set_nonblocking");
        self.0.set_read_timeout(Some(PATIENCE)).expect("timeout");
        self.0
    }
}

/// Accepts a connection on a listener of [`Namespace::tcp`].
///
/// # Panics
///
/// If there is none in time.
#[track_caller]
pub fn accept(listener: &TcpListener) -> TcpStream {
    eventually("a TCP connection", || match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(false).expect("set_nonblocking");
            stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
            Some(stream)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("accept: {error}"),
    })
}

/// A socket that sends frames.
#[derive(Debug)]
pub struct Frames(File);

impl Frames {
    /// Sends one frame, Ethernet header first.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn send(&mut self, frame: &[u8]) {
        self.0.write_all(frame).expect("send a frame");
    }
}

/// Sends `count` datagrams of `len` bytes. A datagram that a filter at the output hook drops counts
/// as sent.
///
/// # Panics
///
/// If sending fails for another reason.
#[track_caller]
pub fn send(socket: &UdpSocket, count: u64, len: usize) {
    let payload = vec![0x5a; len];
    for _ in 0..count {
        send_one(socket, &payload);
    }
}

/// Sends one datagram.
///
/// # Panics
///
/// If sending fails for another reason than a filter at the output hook.
#[track_caller]
pub fn send_one(socket: &UdpSocket, payload: &[u8]) {
    match socket.send(payload) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => panic!("send: {error}"),
    }
}

/// Receives `count` datagrams.
///
/// # Panics
///
/// If they do not arrive in time.
#[track_caller]
pub fn receive(socket: &UdpSocket, count: u64) {
    let mut buffer = [0; 65_536];
    for number in 0..count {
        if let Err(error) = socket.recv(&mut buffer) {
            panic!("datagram {number} of {count} did not arrive: {error}");
        }
    }
}

/// Whether no datagram can be received.
///
/// # Panics
///
/// If receiving fails.
#[track_caller]
pub fn is_silent(socket: &UdpSocket) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).expect("poll") == 0
}

/// A thread that sends datagrams until it is stopped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn begin(socket: UdpSocket, cpu: Option<usize>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (stop, sent) = (stop.clone(), sent.clone());
            move || {
                if let Some(cpu) = cpu {
                    pin_to_cpu(cpu);
                }
                while !stop.load(Ordering::Relaxed) {
                    // Some tests remove the path to the receiver.
                    if socket.send(&[0x5a; 64]).is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    } else {
                        thread::yield_now();
                    }
                }
            }
        });
        Self {
            stop,
            sent,
            thread: Some(thread),
        }
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until `more` further datagrams have been sent.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let goal = self.sent() + more;
        eventually("traffic", || (self.sent() >= goal).then_some(()));
    }

    /// Stops. Returns how many datagrams were sent.
    pub fn stop(mut self) -> u64 {
        self.end();
        self.sent()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end();
    }
}
