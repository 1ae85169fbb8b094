// SPDX-License-Identifier: GPL-2.0-only
//! Measures instructions per unit of fuel of each operator, to find operators that are charged too
//! little. Needs `guest_test=1`.
//!
//! The numbers are virtual nanoseconds. These are instructions if, and only if, QEMU counts them:
//!
//! ```text
//! cargo xtask vm --accel tcg --cpus 1 --append mitigations=off \
//!     --qemu-arg -icount --qemu-arg shift=0,sleep=off -- \
//!     sh -c 'rmmod nf_wasm; insmod /lib/modules/*/extra/nf_wasm.ko guest_test=1; nf-wasm-op-cost'
//! ```

use std::time::{Duration, Instant};

use nf_wasm_shared::abi::ioctl::GUEST_TEST_INVOKE;
use nf_wasm_tests::guest_test::{named, Session};

/// How often the loop's body repeats the operator.
const COPIES: usize = 64;
/// Rounds of the short and of the long loop. The result is the difference.
const ROUNDS: [u64; 2] = [10, 210];
/// How long to run before the first measurement.
const WARM_UP: Duration = Duration::from_secs(2);
/// Number of measurements. The minimum is used, because other work only adds time.
const TRIES: usize = 3;

/// Operands that take different paths through an algorithm: ordinary, small and large, close to
/// each other, subnormal, infinite, NaN.
const F64: [u64; 8] = [
    0x3ff5_5555_5555_5555,
    0x3ff5_5555_5555_5556,
    0x400a_aaaa_aaaa_aaab,
    0x0000_0000_0000_0003,
    0x000f_ffff_ffff_ffff,
    0x7fef_ffff_ffff_ffff,
    0x4340_0000_0000_0001,
    0x7ff8_0000_0000_0000,
];
const F32: [u64; 8] = [
    0x3faa_aaab,
    0x3faa_aaac,
    0x4055_5555,
    0x0000_0003,
    0x007f_ffff,
    0x7f7f_ffff,
    0x4b80_0001,
    0x7fc0_0000,
];
const INTEGERS: [u64; 4] = [0x1234_5678, 7, 0xffff_fff1, 0x7fff_ffff_ffff_fff1];

/// The operations: type of the result, name, type and number of operands.
const OPERATIONS: &[(&str, &str, &str, usize)] = &[
    ("i32", "i32.add", "i32", 2),
    ("i32", "i32.mul", "i32", 2),
    ("i32", "i32.rotl", "i32", 2),
    ("i32", "i32.popcnt", "i32", 1),
    ("i32", "i32.div_s", "i32", 2),
    ("i32", "i32.rem_u", "i32", 2),
    ("i64", "i64.add", "i64", 2),
    ("i64", "i64.mul", "i64", 2),
    ("i64", "i64.popcnt", "i64", 1),
    ("i64", "i64.div_s", "i64", 2),
    ("i64", "i64.rem_u", "i64", 2),
    ("f32", "f32.add", "f32", 2),
    ("f32", "f32.mul", "f32", 2),
    ("f32", "f32.div", "f32", 2),
    ("f32", "f32.sqrt", "f32", 1),
    ("f32", "f32.nearest", "f32", 1),
    ("f32", "f32.min", "f32", 2),
    ("i32", "f32.lt", "f32", 2),
    ("f64", "f64.add", "f64", 2),
    ("f64", "f64.sub", "f64", 2),
    ("f64", "f64.mul", "f64", 2),
    ("f64", "f64.div", "f64", 2),
    ("f64", "f64.sqrt", "f64", 1),
    ("f64", "f64.ceil", "f64", 1),
    ("f64", "f64.floor", "f64", 1),
    ("f64", "f64.trunc", "f64", 1),
    ("f64", "f64.nearest", "f64", 1),
    ("f64", "f64.min", "f64", 2),
    ("f64", "f64.max", "f64", 2),
    ("f64", "f64.neg", "f64", 1),
    ("f64", "f64.copysign", "f64", 2),
    ("i32", "f64.eq", "f64", 2),
    ("i32", "f64.lt", "f64", 2),
    ("f32", "f32.demote_f64", "f64", 1),
    ("f64", "f64.promote_f32", "f32", 1),
    ("i32", "i32.trunc_sat_f64_s", "f64", 1),
    ("i64", "i64.trunc_sat_f64_u", "f64", 1),
    ("f32", "f32.convert_i64_s", "i64", 1),
    ("f32", "f32.convert_i64_u", "i64", 1),
    ("f64", "f64.convert_i32_s", "i32", 1),
    ("f64", "f64.convert_i64_s", "i64", 1),
    ("f64", "f64.convert_i64_u", "i64", 1),
];

fn main() {
    let session = Session::open();
    // Everything is slower in the first seconds after boot.
    let wasm = wat::parse_str(r#"(module (func (export "f") (loop (br 0))))"#).expect("valid WAT");
    let instance = session.instantiate(&wasm).expect("instantiate");
    let since = Instant::now();
    while since.elapsed() < WARM_UP {
        let request = named(GUEST_TEST_INVOKE, instance, "f");
        session
            .operation(request)
            .expect("the call succeeds and traps");
    }
    println!(
        "{:<22} {:>12} {:>6} {:>16}",
        "operation", "instructions", "fuel", "per fuel"
    );
    for (result, name, operand, count) in OPERATIONS {
        let operands = match *operand {
            "f32" => &F32[..],
            "f64" => &F64[..],
            _ => &INTEGERS[..],
        };
        let arguments = ["(local.get 1) ", "(local.get 2) "][..*count].concat();
        let body = format!("(local.set 3 ({name} {arguments}))").repeat(COPIES);
        let wasm = wat::parse_str(format!(
            r#"(module (func (export "f") (param i64 {operand} {operand}) (local {result})
                (loop {body}
                    (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
                    (br_if 0 (i64.ne (local.get 0) (i64.const 0))))))"#
        ));
        let instance = session.instantiate(&wasm.expect(name)).expect(name);
        let mut worst = (0.0, 0.0);
        for (index, left) in operands.iter().enumerate() {
            // Pair each operand with itself, and with the next.
            for right in [left, &operands[(index + 1) % operands.len()]] {
                let tries = (0..TRIES).map(|_| cost(&session, instance, *left, *right));
                let (time, fuel) = tries.min_by(|a, b| a.0.total_cmp(&b.0)).expect("tries");
                if time > worst.0 {
                    worst = (time, fuel);
                }
            }
        }
        let (time, fuel) = worst;
        println!("{name:<22} {time:>12.0} {fuel:>6.1} {:>16.0}", time / fuel);
    }
}

/// Time and fuel of one operation.
fn cost(session: &Session, instance: u32, left: u64, right: u64) -> (f64, f64) {
    let [short, long] = ROUNDS.map(|rounds| {
        let mut request = named(GUEST_TEST_INVOKE, instance, "f");
        request.values[..3].copy_from_slice(&[rounds, left, right]);
        request.value_count = 3;
        let since = Instant::now();
        let answer = session.operation(request).expect("the call succeeds");
        (since.elapsed().as_nanos() as f64, answer.fuel_used as f64)
    });
    let operations = (ROUNDS[1] - ROUNDS[0]) as f64 * COPIES as f64;
    (
        (long.0 - short.0) / operations,
        (long.1 - short.1) / operations,
    )
}
