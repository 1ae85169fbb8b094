// SPDX-License-Identifier: GPL-2.0-only
//! Removes namespaces, devices and the kernel module under traffic.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use nf_wasm_shared::abi::ioctl::{
    FAMILY_INET, FAMILY_IPV4, HOOK_EGRESS, HOOK_INGRESS, HOOK_INPUT, HOOK_OUTPUT, HOOK_PREROUTING,
    QUARANTINE_NEVER,
};
use nf_wasm_tests::device::{hook, netdev, Device, Spec};
use nf_wasm_tests::net::{Ip, Net};
use nf_wasm_tests::traffic::{is_silent, receive, send};
use nf_wasm_tests::{eventually, kernel, wasm};

crate::tests![
    a_namespace_goes_under_traffic,
    rmmod_and_insmod_under_traffic,
    unloading_lets_packets_through,
    a_module_for_another_kernel_is_refused,
    an_open_device_keeps_the_module,
    devices_go_without_waiting_for_packets_in_filters,
];

fn everywhere(name: &str, device: &str, verdict: i32) -> Spec {
    Spec::new(name, wasm::always(verdict))
        .at(netdev(HOOK_INGRESS, device))
        .at(hook(FAMILY_INET, HOOK_PREROUTING, 0))
        .at(hook(FAMILY_INET, HOOK_INPUT, 0))
        .at(hook(FAMILY_INET, HOOK_OUTPUT, 0))
        .at(netdev(HOOK_EGRESS, device))
}

fn a_namespace_goes_under_traffic() {
    for _ in 0..kernel::rounds(5, 2) {
        let net = Net::pair();
        let address = net.server_address(Ip::V4);
        let flood = net.client.flood(SocketAddr::new(address, 9));
        let filter = net.server.load(everywhere("f", "to-client", 1));
        eventually("packets are decided", || {
            (filter.counters().packets > 100).then_some(())
        });
        // The last reference frees the namespace, and with it the device and the filter.
        net.server.delete();
        drop(filter);
        eventually("the client's end of the veth pair is gone", || {
            net.client
                .enter(|| nix::net::if_::if_nametoindex("to-server"))
                .is_err()
                .then_some(())
        });
        flood.stop();
    }
    // Nothing that was freed keeps the kernel module.
    kernel::remove();
    kernel::insert();
}

fn rmmod_and_insmod_under_traffic() {
    let net = Net::pair();
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let flood = net.client.flood(SocketAddr::new(address, 9));
    let drained = std::thread::spawn(move || {
        // The receiver runs until the end marker arrives.
        let mut buffer = [0; 128];
        let mut received = 0_u64;
        while socket.recv(&mut buffer).is_ok_and(|len| len > 1) {
            received += 1;
        }
        received
    });
    for round in 0..kernel::rounds(10, 3) {
        let filter = net.server.load(everywhere("f", "to-client", 1));
        let other = net.client.load(everywhere("f", "to-server", 1));
        for filter in [&filter, &other] {
            eventually("packets are decided", || {
                (filter.counters().packets > 50).then_some(())
            });
        }
        kernel::remove();
        assert!(!fs::exists("/dev/nf_wasm").expect("stat"), "round {round}");
        flood.wait_for(50);
        kernel::insert();
        assert_eq!(net.server.filters(), [], "round {round}");
        assert_eq!(net.server.attachments(), [], "round {round}");
        flood.wait_for(50);
    }
    let sent = flood.stop();
    // A datagram of one byte is the end marker.
    send(&net.client.udp_to(SocketAddr::new(address, 9)), 1, 1);
    let received = drained.join().expect("the receiver");
    assert_eq!(received, sent, "packets were lost");
}

fn unloading_lets_packets_through() {
    let net = Net::pair();
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    let filter = net.server.load(everywhere("f", "to-client", 0));
    send(&sender, 5, 1);
    eventually("drops", || (filter.counters().dropped == 5).then_some(()));
    assert!(is_silent(&socket));
    filter.unload();
    assert_eq!(net.server.filters(), []);
    assert_eq!(net.server.attachments(), []);
    send(&sender, 5, 1);
    receive(&socket, 5);
}

fn a_module_for_another_kernel_is_refused() {
    let before = fs::read_to_string("/proc/modules").expect("/proc/modules");
    let mut module = fs::read(kernel::module_file()).expect("nf_wasm.ko");
    let magic = b"vermagic=";
    let at = module
        .windows(magic.len())
        .position(|bytes| bytes == magic)
        .expect("nf_wasm.ko has a vermagic");
    // Another version string of the same length.
    module[at + magic.len()] ^= 1;
    let path = std::path::Path::new("/tmp/other-kernel.ko");
    fs::write(path, module).expect("write");
    let output = kernel::insmod(path, &[]);
    let _ = fs::remove_file(path);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(text.contains("invalid module format"), "{text}");
    let log = kernel::log_tail(5);
    assert!(log.contains("version magic"), "{log}");
    let after = fs::read_to_string("/proc/modules").expect("/proc/modules");
    assert_eq!(before, after);
    Device::open().info().expect("the inserted module works");
}

fn an_open_device_keeps_the_module() {
    let device = Device::open();
    let output = Command::new("rmmod")
        .arg("nf_wasm")
        .output()
        .expect("rmmod");
    assert!(!output.status.success());
    device.info().expect("info");
}

/// The device notifier runs with RTNL held, so that other network configuration waits for it. Slow
/// packets lengthen grace periods: a wait for one is then visible in the stack.
fn devices_go_without_waiting_for_packets_in_filters() {
    const DEVICES: usize = 5;
    let net = Net::pair();
    let mut spec = Spec::new("on-devices", wasm::always(1));
    for n in 0..DEVICES {
        let name = format!("dummy-{n}");
        net.server
            .ip(&format!("link add {name} group 77 type dummy"));
        spec = spec.at(netdev(HOOK_INGRESS, &name));
    }
    let filter = net.server.load(spec);
    let slow = Spec::new("slow", wasm::endless()).fuel(kernel::much_fuel());
    let slow = slow.quarantine(QUARANTINE_NEVER);
    let slow = net.server.load(slow.at(hook(FAMILY_IPV4, HOOK_OUTPUT, 0)));
    let flood = net
        .server
        .flood_on_cpu(SocketAddr::from(([127, 0, 0, 1], 9)), 1);
    eventually("slow packets", || {
        (slow.counters().packets > 0).then_some(())
    });
    let mut ip = Command::new("ip")
        .args(["-n", net.server.name(), "link", "delete", "group", "77"])
        .spawn()
        .expect("ip");
    let stack = format!("/proc/{}/stack", ip.id());
    let mut waits = Vec::new();
    let status = loop {
        // The file is gone once the process has ended.
        let frames = fs::read_to_string(&stack).unwrap_or_default();
        if frames.contains("device_event") && frames.contains("synchronize_rcu") {
            waits.push(frames);
        }
        if let Some(status) = ip.try_wait().expect("wait") {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert!(status.success(), "{status}");
    flood.stop();
    assert_eq!(waits.first(), None);
    assert_eq!(filter.attachments(), []);
}
