// SPDX-License-Identifier: GPL-2.0-only
//! Reads the kernel's audit log, as a listener beside the audit daemon does.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    bind, recv, send, setsockopt, socket, sockopt, AddressFamily, MsgFlags, NetlinkAddr, SockFlag,
    SockProtocol, SockType,
};

use crate::eventually;

/// `AUDIT_SET`.
const SET: u16 = 1001;
/// `AUDIT_KERNEL_OTHER`.
const KERNEL_OTHER: u16 = 1316;
/// `AUDIT_STATUS_ENABLED`, in `struct audit_status`.
const STATUS_ENABLED: u32 = 1;
/// The group `AUDIT_NLGRP_READLOG`, as a bit.
const READLOG: u32 = 1;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The text of an audit record.
#[derive(Clone, Debug)]
pub struct Entry(pub String);

impl Entry {
    /// The value of a field, unchanged.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0
            .split_whitespace()
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether the record contains all of `fields`.
    pub fn has(&self, fields: &[&str]) -> bool {
        let all: Vec<&str> = self.0.split_whitespace().collect();
        fields.iter().all(|field| all.contains(field))
    }
}

/// Turns auditing off when it is dropped.
#[derive(Debug)]
pub struct Audit {
    socket: OwnedFd,
    entries: RefCell<Vec<Entry>>,
}

impl Audit {
    /// Turns auditing on and listens.
    ///
    /// # Panics
    ///
    /// If the kernel has no audit, or the caller lacks the rights.
    #[track_caller]
    pub fn on() -> Self {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkAudit,
        )
        .expect("a netlink socket");
        setsockopt(&socket, sockopt::RcvBuf, &(1 << 20)).expect("SO_RCVBUF");
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, READLOG)).expect("bind");
        let audit = Self {
            socket,
            entries: RefCell::default(),
        };
        audit.enable(true);
        audit
    }

    fn enable(&self, on: bool) {
        let status = [STATUS_ENABLED, on.into(), 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut message = Vec::new();
        let len = HEADER + size_of_val(&status);
        message.extend((len as u32).to_ne_bytes());
        message.extend(SET.to_ne_bytes());
        // NLM_F_REQUEST. No reply is needed.
        message.extend(1_u16.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(status.iter().flat_map(|word| word.to_ne_bytes()));
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty()).expect("AUDIT_SET");
    }

    /// Receives the pending records.
    fn receive(&self) {
        let mut buffer = [0; 9000];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(len) if len > HEADER => {
                    let kind = u16::from_ne_bytes([buffer[4], buffer[5]]);
                    let text = String::from_utf8_lossy(&buffer[HEADER..len]);
                    let text = text.trim_end_matches('\0');
                    if kind == KERNEL_OTHER && text.contains("module=nf_wasm") {
                        self.entries.borrow_mut().push(Entry(text.to_owned()));
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(error) => panic!("the audit log: {error}"),
            }
        }
    }

    /// Waits for a record of the kernel module that has all of `fields`, as in `op=nf_wasm_load`.
    ///
    /// # Panics
    ///
    /// If there is none in time.
    #[track_caller]
    pub fn wait_for(&self, fields: &[&str]) -> Entry {
        eventually(&format!("an audit record with {fields:?}"), || {
            self.receive();
            let entries = self.entries.borrow();
            entries.iter().find(|entry| entry.has(fields)).cloned()
        })
    }

    /// The kernel module's records so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.receive();
        self.entries.borrow().clone()
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.enable(false);
    }
}
