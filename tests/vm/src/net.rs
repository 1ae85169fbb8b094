// SPDX-License-Identifier: GPL-2.0-only
//! Network namespaces for tests.
//!
//! [`Net::pair`]:
//!
//! ```text
//! ┌ client ─────────────────┐      ┌ server ─────────────────┐
//! │        to-server        │──────│        to-client        │
//! │ 10.77.1.1   fd77:1::1   │      │ 10.77.1.2   fd77:1::2   │
//! └─────────────────────────┘      └─────────────────────────┘
//! ```
//!
//! [`Net::routed`]:
//!
//! ```text
//! ┌ client ─────────────────┐      ┌ router ─────────────────┐
//! │        to-router        │──────│        to-client        │
//! │ 10.77.1.1   fd77:1::1   │      │ 10.77.1.2   fd77:1::2   │
//! └─────────────────────────┘      │                         │
//! ┌ server ─────────────────┐      │                         │
//! │        to-router        │──────│        to-server        │
//! │ 10.77.2.1   fd77:2::1   │      │ 10.77.2.2   fd77:2::2   │
//! └─────────────────────────┘      └─────────────────────────┘
//! ```
//!
//! Neighbours are permanent entries. There are no link-local addresses and no solicited-node groups
//! to report. So the veth pair carries only the test's packets.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::mount::{mount, umount2, MntFlags, MsFlags};
use nix::sched::{setns, unshare, CloneFlags};
use nix::unistd::unlink;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both IP versions.
pub const BOTH: [Ip; 2] = [Ip::V4, Ip::V6];

/// A named network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace that `ip netns` shows with this name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// The name that `ip netns` shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Whether the namespace exists.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Removes the namespace's name. The namespace itself ends with its last reference.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn delete(&self) {
        self.try_delete().expect("umount and unlink");
    }

    fn try_delete(&self) -> nix::Result<()> {
        umount2(&self.path(), MntFlags::MNT_DETACH)?;
        unlink(&self.path())
    }

    /// Runs `f` on a thread in the namespace. Sockets that `f` makes stay in the namespace.
    ///
    /// # Panics
    ///
    /// If `f` panics, or the namespace does not exist.
    #[track_caller]
    pub fn enter<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let file = match File::open(self.path()) {
            Ok(file) => file,
            Err(error) => panic!("namespace {}: {error}", self.name),
        };
        let entered = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
                f()
            });
            thread.join()
        });
        entered.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Moves the calling thread into the namespace.
    ///
    /// # Panics
    ///
    /// If the namespace does not exist.
    #[track_caller]
    pub fn join(&self) {
        let file = File::open(self.path()).expect("namespace");
        setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
    }

    /// Runs `ip -n NAME WORDS…`.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        self.batch(words);
    }

    /// Runs `ip` in the namespace, with a batch of lines.
    #[track_caller]
    fn batch(&self, lines: &str) {
        feed(
            Command::new("ip").args(["-n", &self.name, "-batch", "-"]),
            lines,
        );
    }

    /// Runs `nft` in the namespace, with a script.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn nft(&self, script: &str) {
        self.enter(|| feed(Command::new("nft").args(["-f", "-"]), script));
    }

    /// Runs an `nft` script. Returns false if the kernel lacks a feature that the script needs.
    ///
    /// # Panics
    ///
    /// If `nft` cannot be started.
    #[track_caller]
    pub fn try_nft(&self, script: &str) -> bool {
        let output = self.enter(|| Command::new("nft").arg(script).output());
        output.expect("nft").status.success()
    }

    /// The index of a device.
    ///
    /// # Panics
    ///
    /// If there is no such device.
    #[track_caller]
    pub fn ifindex(&self, device: &str) -> u32 {
        self.enter(|| nix::net::if_::if_nametoindex(device))
            .expect(device)
    }

    /// Writes a setting below /proc/sys/net.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn sysctl(&self, setting: &str, value: &str) {
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.enter(|| fs::write(format!("/proc/sys/net/{setting}"), value))
            .expect(setting);
    }
}

#[track_caller]
fn feed(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    // If the command ends early, its status shows the error.
    let _ = child
        .stdin
        .take()
        .expect("stdin")
        .write_all(input.as_bytes());
    let output = child.wait_with_output().expect("wait");
    assert!(
        output.status.success(),
        "{command:?}: {}\ninput: {input}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Joined namespaces. Removed when this is dropped.
#[derive(Debug)]
pub struct Net {
    /// The namespace that sends.
    pub client: Namespace,
    /// The namespace that receives.
    pub server: Namespace,
    router: Option<Namespace>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Net {
    /// As `ip netns add` does it. Without the program, which takes longer to start than all the rest
    /// where the kernel checks itself.
    fn namespace(role: &str) -> Namespace {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nfw-{}-{number}-{role}", std::process::id());
        let namespace = Namespace { name };
        let path = namespace.path();
        fs::create_dir_all("/run/netns").expect("/run/netns");
        File::create(&path).expect("a file to mount on");
        let made = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let own = Some("/proc/thread-self/ns/net");
            let none = None::<&str>;
            mount(own, &path, none, MsFlags::MS_BIND, none)?;
            // Before there is a device, so that new ones begin with it.
            for (setting, value) in [
                ("addr_gen_mode", "1"),
                ("accept_ra", "0"),
                ("router_solicitations", "0"),
            ] {
                let file = format!("/proc/sys/net/ipv6/conf/default/{setting}");
                fs::write(&file, value).expect(setting);
            }
            nix::Result::Ok(())
        });
        made.join().expect("no panic").expect("a network namespace");
        namespace
    }

    /// Two namespaces.
    ///
    /// # Panics
    ///
    /// If they cannot be made.
    #[track_caller]
    pub fn pair() -> Self {
        let net = Self {
            client: Self::namespace("client"),
            server: Self::namespace("server"),
            router: None,
        };
        join(&net.client, "to-server", &net.server, "to-client", 1, "");
        net
    }

    /// Three namespaces.
    ///
    /// # Panics
    ///
    /// If they cannot be made.
    #[track_caller]
    pub fn routed() -> Self {
        let router = Self::namespace("router");
        router.sysctl("ipv4/ip_forward", "1");
        router.sysctl("ipv6/conf/all/forwarding", "1");
        let net = Self {
            client: Self::namespace("client"),
            server: Self::namespace("server"),
            router: Some(router.clone()),
        };
        for (side, device, subnet) in [(&net.client, "to-client", 1), (&net.server, "to-server", 2)]
        {
            let routes = format!(
                "route add default via 10.77.{subnet}.2\nroute add default via fd77:{subnet}::2\n"
            );
            join(side, "to-router", &router, device, subnet, &routes);
        }
        net
    }

    /// The namespace of the router.
    ///
    /// # Panics
    ///
    /// In a [`Net::pair`].
    #[track_caller]
    pub fn router(&self) -> &Namespace {
        self.router.as_ref().expect("a net with a router")
    }

    /// The server's address.
    pub fn server_address(&self, ip: Ip) -> IpAddr {
        match self.router {
            None => address(ip, 1, 2),
            Some(_) => address(ip, 2, 1),
        }
    }

    /// The client's address.
    pub fn client_address(&self, ip: Ip) -> IpAddr {
        address(ip, 1, 1)
    }

    /// The client's device.
    pub fn client_device(&self) -> &'static str {
        match self.router {
            None => "to-server",
            Some(_) => "to-router",
        }
    }
}

fn address(ip: Ip, subnet: u8, host: u8) -> IpAddr {
    match ip {
        Ip::V4 => Ipv4Addr::new(10, 77, subnet, host).into(),
        Ip::V6 => Ipv6Addr::new(0xfd77, subnet.into(), 0, 0, 0, 0, 0, host.into()).into(),
    }
}

/// MAC address of a [`Net`]'s device.
pub const fn mac(subnet: u8, host: u8) -> [u8; 6] {
    [2, 0x77, 0, 0, subnet, host]
}

fn mac_text(subnet: u8, host: u8) -> String {
    format!("02:77:00:00:{subnet:02x}:{host:02x}")
}

/// Joins two namespaces. `ip` takes `more` lines for each.
fn join(
    left: &Namespace,
    left_device: &str,
    right: &Namespace,
    right_device: &str,
    subnet: u8,
    more: &str,
) {
    let link = format!(
        "link add {left_device} address {} type veth peer name {right_device} address {} netns {}\n",
        mac_text(subnet, 1),
        mac_text(subnet, 2),
        right.name
    );
    for (side, device, own, other, first, more) in [
        (left, left_device, 1, 2, &*link, more),
        (right, right_device, 2, 1, "", ""),
    ] {
        let neighbour = mac_text(subnet, other);
        side.batch(&format!(
            "{first}\
             link set lo up\n\
             link set {device} arp off\n\
             address add 10.77.{subnet}.{own}/24 dev {device}\n\
             address add fd77:{subnet}::{own}/64 dev {device} nodad\n\
             link set {device} up\n\
             neighbour add 10.77.{subnet}.{other} lladdr {neighbour} dev {device} nud permanent\n\
             neighbour add fd77:{subnet}::{other} lladdr {neighbour} dev {device} nud permanent\n\
             {more}"
        ));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in [Some(&self.client), Some(&self.server), self.router.as_ref()] {
            // A test may have deleted it.
            let _ = namespace.map(Namespace::try_delete);
        }
    }
}
