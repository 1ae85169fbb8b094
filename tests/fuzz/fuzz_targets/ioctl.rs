// SPDX-License-Identifier: GPL-2.0-only
//! Decodes ioctl arguments as the kernel half does. The caller's memory has holes and read-only
//! parts, and another thread writes to it.
#![no_main]

use std::cell::Cell;

use libfuzzer_sys::fuzz_target;
use nf_wasm_fuzz_targets::caller::{Caller, Region};
use nf_wasm_generate::{Result, Unstructured};
use nf_wasm_shared::abi::capability::ALL_BITS;
use nf_wasm_shared::abi::ioctl::{
    self, Attach, AttachmentEntry, Detach, FilterEntry, GuestTest, Hook, Info, List, Load, Replace,
    Run, Select, FAMILY_NETDEV,
};
use nf_wasm_shared::abi::limits;
use nf_wasm_shared::decode::check::{self, Selector, Settings, Subject};
use nf_wasm_shared::decode::exchange::{exchange, read_hooks, write_table, Refused};
use nf_wasm_shared::decode::name::Name;
use nf_wasm_shared::decode::plain::{Plain, Request};
use nf_wasm_shared::decode::wrong::Wrong;

/// Addresses in the caller's memory.
const REQUEST: u64 = 0x1000;
const ARRAY: u64 = 0x10_0000;
const LOG: u64 = 0x20_0000;

/// A refusal, as in the kernel half.
struct Refusal(Wrong, String);

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Self(wrong, wrong.to_string())
    }
}

impl Refused for Refusal {
    fn text(&self) -> Option<&[u8]> {
        Some(self.1.as_bytes())
    }
}

/// Random bytes, in which some fields are then made plausible.
fn request<T: Request>(u: &mut Unstructured<'_>) -> Result<T> {
    let mut request = T::zeroed();
    if u.ratio(1, 4)? {
        u.fill_buffer(request.as_bytes_mut())?;
    }
    if let Some(log) = request.log() {
        log.buf = *u.choose(&[0, LOG, LOG + 100, 1, u64::MAX])?;
        log.len = *u.choose(&[0, 1, 300, 1024, u32::MAX])?;
    }
    Ok(request)
}

fn address(u: &mut Unstructured<'_>) -> Result<u64> {
    Ok(*u.choose(&[ARRAY, ARRAY, ARRAY + 8, 0, u64::MAX - 16, u64::MAX])?)
}

fn name(u: &mut Unstructured<'_>) -> Result<[u8; ioctl::NAME_LEN]> {
    let mut name = [0; ioctl::NAME_LEN];
    let len = u.int_in_range(0..=8)?;
    for byte in &mut name[..len] {
        *byte = *u.choose(b"abz019.-_ /\xff")?;
    }
    if u.ratio(1, 8)? {
        name[u.int_in_range(0..=63)?] = b'x';
    }
    Ok(name)
}

fn small(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(*u.choose(&[
        0,
        0,
        0,
        1,
        2,
        3,
        5,
        10,
        32,
        40,
        255,
        512,
        513,
        4096,
        65_536,
        u32::MAX,
    ])?)
}

/// Puts the request into memory, passes it to `f` as the kernel does, and checks the memory after
/// the call.
fn make<T: Request>(
    u: &mut Unstructured<'_>,
    mut request: T,
    f: impl FnOnce(&Caller, &mut T) -> core::result::Result<(), Refusal>,
) -> Result<()> {
    let ours = size_of::<T>();
    let said: u32 = match u.int_in_range(0..=7_u8)? {
        0 => u.arbitrary()?,
        1 => u.int_in_range(0..=ours as u32)?,
        2 | 3 => u.int_in_range(ours as u32..=ours as u32 + 200)?,
        4 => *u.choose(&[4096, 4097])?,
        _ => ours as u32,
    };
    request.as_bytes_mut()[..4].copy_from_slice(&said.to_ne_bytes());
    let mut bytes = request.as_bytes().to_vec();
    bytes.resize(4200, 0);
    if u.ratio(1, 4)? {
        let at = u.int_in_range(0..=bytes.len() - 1)?;
        bytes[at] = u.arbitrary()?;
    }
    let said = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if u.ratio(1, 4)? {
        bytes.truncate(u.int_in_range(0..=ours + 100)?);
    }
    let mut array = vec![0; *u.choose(&[0, 32, 100, 4096, 20_000])?];
    for hook in array.chunks_mut(size_of::<Hook>()) {
        if u.is_empty() || hook.len() < size_of::<Hook>() {
            break;
        }
        let mut made = Hook {
            family: small(u)?,
            hook: u.int_in_range(0..=5)?,
            priority: u.arbitrary()?,
            ..Hook::default()
        };
        if made.family == FAMILY_NETDEV || u.ratio(1, 8)? {
            u.fill_buffer(&mut made.device[..4])?;
        }
        hook.copy_from_slice(made.as_bytes());
    }
    let race = match u.ratio(1, 4)? {
        true => Some((
            u.int_in_range(1..=4)?,
            u.int_in_range(0..=ours)?,
            u.arbitrary()?,
        )),
        false => None,
    };
    let region = |address, bytes, read_only| Region {
        address,
        bytes,
        read_only,
    };
    let before = vec![
        region(REQUEST, bytes, u.ratio(1, 16)?),
        region(ARRAY, array, u.ratio(1, 16)?),
        region(LOG, vec![0xaa; *u.choose(&[0, 10, 2000])?], u.ratio(1, 16)?),
    ];
    let caller = Caller::new(before.clone(), race);
    let there = caller.is_there(REQUEST, said as usize);
    let writable = !before[0].read_only;

    let called = Cell::new(false);
    let answer = exchange::<T, Refusal>(&caller, REQUEST, |request| {
        called.set(true);
        let known = request.as_bytes();
        let size = u32::from_ne_bytes([known[0], known[1], known[2], known[3]]);
        assert!(size as usize >= T::FIRST_SIZE);
        f(&caller, request)
    });
    if let Err(refusal) = &answer {
        let known = [7, 8, 14, 22, 27, 28, 90, 95];
        assert!(known.contains(&refusal.0.errno()), "{:?}", refusal.0);
        assert!(!refusal.1.is_empty() && refusal.1.is_ascii());
        assert!(!refusal.1.bytes().any(|byte| byte.is_ascii_control()));
    }
    let after = caller.regions.into_inner();
    // The kernel half must not write beyond its struct, whatever size the caller gave.
    let known = (said as usize).min(ours).min(before[0].bytes.len());
    if race.is_none() {
        let (old, new) = (&before[0].bytes, &after[0].bytes);
        assert_eq!(old[known..], new[known..]);
        // If the request is shorter than the kernel's struct, there are no unknown bytes to check.
        let behind = ours.min(said as usize)..said as usize;
        let zero = old.get(behind).is_some_and(|it| it.iter().all(|&b| b == 0));
        let expected = if before[0].bytes.len() < 4 {
            Some(Wrong::Fault)
        } else if (said as usize) < T::FIRST_SIZE {
            Some(Wrong::Size(said as usize))
        } else if said > 4096 || (there && !zero) {
            Some(Wrong::UnknownPart)
        } else if there && !writable {
            Some(Wrong::Fault)
        } else {
            None
        };
        match (expected, &answer) {
            (Some(expected), Err(refusal)) => assert_eq!(refusal.0, expected),
            (Some(expected), Ok(())) => panic!("{expected:?} was accepted"),
            (None, _) => {}
        }
        assert_eq!(called.get(), expected.is_none() && there);
    }
    if !called.get() {
        assert_eq!(before[1..], after[1..], "a refused size writes nothing");
    }
    Ok(())
}

fn check_settings(settings: &Settings) {
    assert_eq!(settings.capabilities & !ALL_BITS, 0);
    assert!((1..=limits::MAX_FUEL).contains(&settings.fuel));
    assert!((1..=limits::MAX_SNAPLEN).contains(&settings.snaplen));
    assert!(settings.trap_policy & !ioctl::TRAP_RELOAD <= ioctl::TRAP_DROP);
    assert!(settings.quarantine > 0);
}

fn check_name(name: &Name) {
    // The loader accepts every name that the kernel accepts, and shows it unchanged.
    let text = name.to_string();
    let parsed: nfwasm::name::Name = text.parse().expect("a name");
    assert_eq!(parsed.field(), name.field());
}

fn check_selector(selector: &Selector) {
    match selector {
        Selector::Id(id) => assert_ne!(*id, 0),
        Selector::Name(name) => check_name(name),
    }
}

fn command(u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=9_u8)? {
        0 => {
            let load = Load {
                name: name(u)?,
                flags: u32::from(u.ratio(1, 16)?),
                fuel: *u.choose(&[0, 1, limits::MAX_FUEL, limits::MAX_FUEL + 1, u64::MAX])?,
                snaplen: small(u)?,
                trap_policy: *u.choose(&[0, 1, 2, 256, 257, 258])?,
                capabilities: u64::from(u.int_in_range(0..=31_u8)?),
                module_len: small(u)?,
                hooks: address(u)?,
                hook_count: small(u)?,
                hook_size: *u.choose(&[32, 32, 32, 40, 31, 0, 4096, 4097])?,
                ..request(u)?
            };
            make(u, load, |caller, load: &mut Load| {
                let (name, settings) = check::load(load)?;
                check_name(&name);
                check_settings(&settings);
                let mut count = 0;
                read_hooks(caller, load, |hook| {
                    count += 1;
                    check_hook(&hook);
                    Ok::<_, Refusal>(())
                })?;
                assert_eq!(count, load.hook_count);
                assert!(count <= limits::ATTACHMENTS);
                check::module_len(load.module_len)?;
                assert!((1..=limits::MODULE_BYTES).contains(&load.module_len));
                load.id = 1;
                Ok(())
            })
        }
        1 => {
            let replace = Replace {
                id: u.int_in_range(0..=1)?,
                name: name(u)?,
                set: u.int_in_range(0..=160)?,
                fuel: u.arbitrary()?,
                snaplen: small(u)?,
                ..request(u)?
            };
            make(u, replace, |_, replace: &mut Replace| {
                check_selector(&check::replace(replace)?);
                let old = Settings {
                    capabilities: 1,
                    fuel: 2,
                    snaplen: 3,
                    trap_policy: 1,
                    quarantine: 5,
                    tier: 1,
                    recycle: 6,
                };
                let settings = old.replaced(replace)?;
                check_settings(&settings);
                if replace.set == 0 {
                    assert_eq!(settings, old);
                }
                Ok(())
            })
        }
        2 => {
            let select = Select {
                id: u.int_in_range(0..=1)?,
                name: name(u)?,
                flags: u32::from(u.ratio(1, 8)?),
                reserved: u32::from(u.ratio(1, 8)?),
                ..request(u)?
            };
            make(u, select, |_, select: &mut Select| {
                check_selector(&check::select(select)?);
                assert_eq!((select.flags, select.reserved), (0, 0));
                Ok(())
            })
        }
        3 => {
            let attach = Attach {
                name: name(u)?,
                ..request(u)?
            };
            make(u, attach, |_, attach: &mut Attach| {
                check_selector(&check::attach(attach)?);
                check::hook(&attach.hook)?;
                check_hook(&attach.hook);
                Ok(())
            })
        }
        4 => {
            let detach = request(u)?;
            make(u, detach, |_, detach: &mut Detach| {
                Ok(check::detach(detach)?)
            })
        }
        5 => list::<FilterEntry>(u),
        6 => list::<AttachmentEntry>(u),
        7 => {
            let run = Run {
                id: u.int_in_range(0..=1)?,
                name: if u.ratio(1, 2)? { [0; 64] } else { name(u)? },
                module: u64::from(u.int_in_range(0..=1_u8)?),
                fuel: u.int_in_range(0..=limits::MAX_FUEL + 1)?,
                snaplen: small(u)?,
                packet_len: small(u)?,
                family: small(u)?,
                hook: small(u)?,
                ..request(u)?
            };
            make(u, run, |_, run: &mut Run| {
                match check::run(run)? {
                    Subject::Filter(selector) => check_selector(&selector),
                    Subject::Module(settings) => check_settings(&settings),
                }
                assert!((1..=limits::RUN_PACKET_BYTES).contains(&run.packet_len));
                assert!(u8::try_from(run.hook).is_ok() && u8::try_from(run.family).is_ok());
                Ok(())
            })
        }
        8 => {
            let test = GuestTest {
                operation: u.int_in_range(0..=6)?,
                name_len: small(u)?,
                value_count: small(u)?,
                data_len: small(u)?,
                fuel: u.int_in_range(0..=limits::INIT_FUEL + 1)?,
                ..request(u)?
            };
            make(u, test, |_, test: &mut GuestTest| {
                let fuel = check::guest_test(test)?;
                assert!((1..=limits::INIT_FUEL).contains(&fuel));
                assert!(test.name_len as usize <= test.name.len());
                assert!(test.value_count as usize <= test.values.len());
                assert!(test.data_len <= ioctl::GUEST_TEST_READ_BYTES);
                Ok(())
            })
        }
        _ => {
            let info = request(u)?;
            make(u, info, |_, info: &mut Info| {
                info.size = size_of::<Info>() as u32;
                Ok(())
            })
        }
    }
}

fn list<T: Plain>(u: &mut Unstructured<'_>) -> Result<()> {
    let list = List {
        entries: address(u)?,
        entry_size: *u.choose(&[
            0,
            1,
            4,
            100,
            size_of::<T>() as u32,
            500,
            4096,
            4097,
            u32::MAX,
        ])?,
        capacity: small(u)?,
        ..request(u)?
    };
    let entries = vec![T::zeroed(); u.int_in_range(0..=5)?];
    make(u, list, |caller, list: &mut List| {
        let size = check::list(list, size_of::<T>())?;
        write_table(caller, list.entries, size, list.capacity, &entries)?;
        list.count = entries.len() as u32;
        Ok(())
    })
}

fn check_hook(hook: &Hook) {
    assert!(hook.device.contains(&0) && hook.hook <= 4 && u8::try_from(hook.family).is_ok());
}

fuzz_target!(|data: &[u8]| {
    // Too few bytes make no case.
    let _ = command(&mut Unstructured::new(data));
});
