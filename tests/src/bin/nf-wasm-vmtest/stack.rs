// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's stack is small, and a load must not come near its end.

use nf_wasm_abi::capability::ALL_BITS;
use nf_wasm_abi::ioctl::Info;
use nf_wasm_hostile::heavy;
use nf_wasm_tests::device::{Device, Spec};
use nf_wasm_tests::net::Net;
use nix::errno::Errno;

crate::tests![the_worst_modules_leave_a_quarter_of_it];

/// What a load may use: 12 of 16 KiB. KASAN's instrumentation needs more, and doubles the stack.
fn most(info: &Info) -> u32 {
    info.load_stack_size / 4 * 3
}

fn the_worst_modules_leave_a_quarter_of_it() {
    let net = Net::pair();
    let device = Device::open();
    for case in heavy::CASES {
        let what = case.name;
        let filter = net
            .server
            .load(Spec::new("worst", (case.module)()).allow(ALL_BITS));
        filter.unload();
        let info = device.info().expect("info");
        assert!(info.load_stack_peak > 0, "it is measured");
        assert!(
            info.load_stack_peak < most(&info),
            "{what}: {} of {} bytes of stack",
            info.load_stack_peak,
            info.load_stack_size
        );
    }
    // What is refused uses stack as well.
    for cut in [100, 1000, 5000] {
        let mut wasm = heavy::everything();
        wasm.truncate(wasm.len() - cut);
        let refused = net.server.try_load(&Spec::new("cut", wasm).allow(ALL_BITS));
        assert_eq!(refused.expect_err("cut off").errno, Errno::ENOEXEC);
    }
    let info = device.info().expect("info");
    println!("peak of a load's stack: {} bytes", info.load_stack_peak);
    assert!(info.load_stack_peak < most(&info));
}
