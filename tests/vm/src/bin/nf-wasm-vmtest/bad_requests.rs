// SPDX-License-Identifier: GPL-2.0-only
//! Invalid ioctl arguments, missing objects, and structs of other versions.

use std::mem::{offset_of, size_of};
use std::os::fd::AsFd;

use nf_wasm_shared::abi::ioctl::{
    self, Attach, Detach, FilterEntry, Hook, Info, List, Load, Log, Replace, Run, Select,
    FAMILY_INET, FAMILY_IPV4, FAMILY_NETDEV, HOOK_INGRESS, HOOK_INPUT, NF_WASM_UNLOAD,
};
use nf_wasm_tests::device::{hook, name_field, netdev, Device, Spec};
use nf_wasm_tests::net::Net;
use nf_wasm_tests::{sys, wasm};
use nix::errno::Errno;

crate::tests![
    unknown_commands,
    wrong_sizes,
    structs_of_the_first_version,
    longer_structs_with_nothing_in_them,
    bad_pointers,
    unknown_flags_and_reserved_fields,
    unknown_values,
    odd_names,
    a_taken_name,
    hooks_that_there_are_not,
    filters_and_attachments_that_there_are_not,
    short_log_buffers,
    lists_that_do_not_fit,
    lists_of_another_version,
];

fn unknown_commands() {
    let device = Device::open();
    for number in [0, 0x4e9f, 0x4e00 | 0xbf, 0x4eaa, 0x5401, u32::MAX] {
        let mut bytes = [0; 64];
        let answer = sys::ioctl_bytes(device.file().as_fd(), number, &mut bytes);
        assert_eq!(answer, Err(Errno::ENOTTY), "{number:#x}");
    }
}

/// Each command, with the size of its struct in the first version and now.
const COMMANDS: [(u32, usize, usize); 10] = [
    (
        ioctl::NF_WASM_INFO,
        offset_of!(Info, admission),
        size_of::<Info>(),
    ),
    (
        ioctl::NF_WASM_LOAD,
        offset_of!(Load, signature),
        size_of::<Load>(),
    ),
    (
        ioctl::NF_WASM_REPLACE,
        offset_of!(Replace, signature),
        size_of::<Replace>(),
    ),
    (NF_WASM_UNLOAD, size_of::<Select>(), size_of::<Select>()),
    (
        ioctl::NF_WASM_ATTACH,
        size_of::<Attach>(),
        size_of::<Attach>(),
    ),
    (
        ioctl::NF_WASM_DETACH,
        size_of::<Detach>(),
        size_of::<Detach>(),
    ),
    (
        ioctl::NF_WASM_LIST_FILTERS,
        size_of::<List>(),
        size_of::<List>(),
    ),
    (
        ioctl::NF_WASM_LIST_ATTACHMENTS,
        size_of::<List>(),
        size_of::<List>(),
    ),
    (
        ioctl::NF_WASM_RUN,
        offset_of!(Run, signature),
        size_of::<Run>(),
    ),
    (
        ioctl::NF_WASM_RELEASE,
        size_of::<Select>(),
        size_of::<Select>(),
    ),
];

fn with_size(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size.clamp(4, 8192)];
    bytes[..4].copy_from_slice(&(size as u32).to_ne_bytes());
    bytes
}

fn wrong_sizes() {
    let device = Device::open();
    let ask = |command, bytes: &mut [u8]| sys::ioctl_bytes(device.file().as_fd(), command, bytes);
    for (command, first, size) in COMMANDS {
        for small in [0, 1, 3, 4, first / 2, first - 1] {
            let answer = ask(command, &mut with_size(small));
            assert_eq!(answer, Err(Errno::EINVAL), "{command:#x}: {small} bytes");
        }
        for large in [4097, 1 << 20, u32::MAX as usize] {
            let answer = ask(command, &mut with_size(large));
            assert_eq!(answer, Err(Errno::E2BIG), "{command:#x}: {large} bytes");
        }
        // A nonzero byte in a part of the struct that the kernel module does not know.
        for at in [size, size + 5, size + 63] {
            let mut bytes = with_size(size + 64);
            bytes[at] = 1;
            let answer = ask(command, &mut bytes);
            assert_eq!(answer, Err(Errno::E2BIG), "{command:#x}: byte {at}");
        }
    }
}

fn structs_of_the_first_version() {
    let device = Device::open();
    let first = offset_of!(Info, admission);
    let mut bytes = with_size(first);
    sys::ioctl_bytes(device.file().as_fd(), ioctl::NF_WASM_INFO, &mut bytes).expect("info");
    let whole = device.info().expect("info");
    assert_eq!(bytes[4..8], whole.abi_version.to_ne_bytes());
    // The kernel module does not write the unknown part.
    let mut bytes = with_size(first);
    bytes.extend([0xaa; 32]);
    sys::ioctl_bytes(device.file().as_fd(), ioctl::NF_WASM_INFO, &mut bytes).expect("info");
    assert_eq!(bytes[first..], [0xaa; 32]);
}

fn longer_structs_with_nothing_in_them() {
    let device = Device::open();
    let mut info = with_size(size_of::<Info>() + 256);
    sys::ioctl_bytes(device.file().as_fd(), ioctl::NF_WASM_INFO, &mut info).expect("info");
    // It reports the size that it knows.
    let known = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
    assert_eq!(known as usize, size_of::<Info>());
    let mut list = with_size(size_of::<List>() + 256);
    let entry = size_of::<FilterEntry>() as u32;
    list[16..20].copy_from_slice(&entry.to_ne_bytes());
    let answer = sys::ioctl_bytes(
        device.file().as_fd(),
        ioctl::NF_WASM_LIST_FILTERS,
        &mut list,
    );
    assert_eq!(answer, Ok(()));
}

fn bad_pointers() {
    let net = Net::pair();
    net.server.enter(|| {
        let device = Device::open();
        let fd = device.file().as_fd();
        for (command, ..) in COMMANDS {
            for address in [0, 8, usize::MAX - 4096, 1 << 63] {
                let answer = sys::ioctl_nowhere(fd, command, address);
                assert_eq!(answer, Err(Errno::EFAULT), "{command:#x} at {address:#x}");
            }
        }
        let accept = wasm::always(1);
        let module = accept.as_ptr().addr() as u64;
        let module_len = accept.len() as u32;
        let name = name_field(b"f");
        let nowhere = 8;
        let kernel = 0xffff_8880_0000_0000;
        for bad in [nowhere, kernel] {
            let good = Load {
                name,
                module,
                module_len,
                ..Load::new()
            };
            let mut load = Load {
                module: bad,
                ..good
            };
            let answer = sys::ioctl(fd, ioctl::NF_WASM_LOAD, &mut load);
            assert_eq!(answer, Err(Errno::EFAULT), "module");
            let mut load = Load {
                hooks: bad,
                hook_count: 1,
                ..good
            };
            let answer = sys::ioctl(fd, ioctl::NF_WASM_LOAD, &mut load);
            assert_eq!(answer, Err(Errno::EFAULT), "hooks");
            let mut run = Run {
                module,
                module_len,
                packet: bad,
                packet_len: 20,
                family: FAMILY_IPV4,
                ..Run::new()
            };
            let answer = sys::ioctl(fd, ioctl::NF_WASM_RUN, &mut run);
            assert_eq!(answer, Err(Errno::EFAULT), "packet");
            // No buffer for the text of a refusal: the kernel module must not write one.
            let mut load = Load {
                name: name_field(b"a b"),
                log: Log {
                    buf: bad,
                    len: 100,
                    used: 0,
                },
                ..good
            };
            let answer = sys::ioctl(fd, ioctl::NF_WASM_LOAD, &mut load);
            assert!(matches!(answer, Err(Errno::EFAULT | Errno::EINVAL)));
            assert_eq!(device.filters(), Ok(vec![]));
        }
        device.load(&Spec::new("f", accept.clone())).expect("load");
        let mut list = List {
            entries: nowhere,
            capacity: 10,
            ..List::new::<FilterEntry>()
        };
        let answer = sys::ioctl(fd, ioctl::NF_WASM_LIST_FILTERS, &mut list);
        assert_eq!(answer, Err(Errno::EFAULT), "entries");
    });
}

fn unknown_flags_and_reserved_fields() {
    let net = Net::pair();
    net.server.enter(|| {
        let device = Device::open();
        let fd = device.file().as_fd();
        let accept = wasm::always(1);
        let id = device.load(&Spec::new("f", accept.clone())).expect("load");
        let good = Load {
            name: name_field(b"g"),
            module: accept.as_ptr().addr() as u64,
            module_len: accept.len() as u32,
            ..Load::new()
        };
        let load = |flags| {
            let mut load = good;
            load.flags = flags;
            sys::ioctl(fd, ioctl::NF_WASM_LOAD, &mut load)
        };
        assert_eq!(load(1), Err(Errno::EOPNOTSUPP));
        assert_eq!(load(1 << 31), Err(Errno::EOPNOTSUPP));

        let replace = |flags, set, reserved| {
            let mut replace = Replace {
                id,
                flags,
                set,
                reserved,
                module: good.module,
                module_len: good.module_len,
                ..Replace::new()
            };
            sys::ioctl(fd, ioctl::NF_WASM_REPLACE, &mut replace)
        };
        assert_eq!(replace(1, 0, 0), Err(Errno::EOPNOTSUPP));
        assert_eq!(replace(0, 1 << 30, 0), Err(Errno::EOPNOTSUPP));
        assert_eq!(replace(0, 0, 1), Err(Errno::EINVAL));

        for command in [NF_WASM_UNLOAD, ioctl::NF_WASM_RELEASE] {
            let select = |flags, reserved| {
                let mut select = Select {
                    id,
                    flags,
                    reserved,
                    ..Select::new()
                };
                sys::ioctl(fd, command, &mut select)
            };
            assert_eq!(select(1, 0), Err(Errno::EOPNOTSUPP));
            assert_eq!(select(0, 1), Err(Errno::EINVAL));
        }
        let attach = |flags, hook: Hook| {
            let mut attach = Attach {
                id,
                flags,
                hook,
                ..Attach::new()
            };
            sys::ioctl(fd, ioctl::NF_WASM_ATTACH, &mut attach)
        };
        let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
        assert_eq!(attach(1, place), Err(Errno::EOPNOTSUPP));
        let reserved = Hook {
            reserved: 1,
            ..place
        };
        assert_eq!(attach(0, reserved), Err(Errno::EINVAL));

        let detach = |flags, reserved| {
            let mut detach = Detach {
                flags,
                reserved,
                attachment: 1,
                ..Detach::new()
            };
            sys::ioctl(fd, ioctl::NF_WASM_DETACH, &mut detach)
        };
        assert_eq!(detach(1, 0), Err(Errno::EOPNOTSUPP));
        assert_eq!(detach(0, 1), Err(Errno::EINVAL));

        for command in [ioctl::NF_WASM_LIST_FILTERS, ioctl::NF_WASM_LIST_ATTACHMENTS] {
            let list = |flags, reserved| {
                let mut list = List {
                    flags,
                    reserved,
                    ..List::new::<FilterEntry>()
                };
                sys::ioctl(fd, command, &mut list)
            };
            assert_eq!(list(1, 0), Err(Errno::EOPNOTSUPP));
            assert_eq!(list(0, 1), Err(Errno::EINVAL));
        }
        let run = |flags, reserved| {
            let packet = [0x45; 20];
            let mut run = Run {
                id,
                flags,
                reserved,
                packet: packet.as_ptr().addr() as u64,
                packet_len: 20,
                family: FAMILY_IPV4,
                ..Run::new()
            };
            sys::ioctl(fd, ioctl::NF_WASM_RUN, &mut run)
        };
        assert_eq!(run(1, 0), Err(Errno::EOPNOTSUPP));
        assert_eq!(run(0, 1), Err(Errno::EINVAL));
        assert_eq!(run(0, 0), Ok(()));

        let filters = device.filters().expect("list");
        assert_eq!(filters.len(), 1);
        assert_eq!((filters[0].replaced, filters[0].attachments), (0, 0));
    });
}

fn unknown_values() {
    let net = Net::pair();
    let spec = || Spec::new("f", wasm::always(1));
    for (spec, errno, words) in [
        (spec().on_trap(2), Errno::EOPNOTSUPP, "trap policy 2"),
        (spec().on_trap(258), Errno::EOPNOTSUPP, "trap policy 258"),
        (spec().allow(1 << 40), Errno::EOPNOTSUPP, "capabilities"),
        (spec().fuel(10_000_001), Errno::EFBIG, "10000000"),
        (spec().snaplen(65_536), Errno::EFBIG, "65535"),
    ] {
        let refused = net.server.try_load(&spec).expect_err(words);
        assert_eq!(refused.errno, errno, "{refused}");
        assert!(refused.text.contains(words), "{refused}");
        assert_eq!(net.server.filters(), []);
    }
}

fn odd_names() {
    let net = Net::pair();
    net.server.enter(|| {
        let device = Device::open();
        let accept = wasm::always(1);
        let load = |name: [u8; 64]| {
            let mut text = vec![0_u8; 300];
            let mut load = Load {
                name,
                module: accept.as_ptr().addr() as u64,
                module_len: accept.len() as u32,
                log: Log {
                    buf: text.as_mut_ptr().expose_provenance() as u64,
                    len: 300,
                    used: 0,
                },
                ..Load::new()
            };
            let answer = sys::ioctl(device.file().as_fd(), ioctl::NF_WASM_LOAD, &mut load);
            text.truncate(load.log.used as usize);
            answer.map_err(|errno| (errno, String::from_utf8_lossy(&text).into_owned()))
        };
        let odd: [&[u8]; 14] = [
            b"",
            b" ",
            b"a b",
            b"a/b",
            b"../a",
            b".hidden",
            b"-dash",
            b"_line",
            b"new\nline",
            b"\x1b[31mred",
            b"per%s",
            b"12345",
            "f\u{fc}nf".as_bytes(),
            &[0xff, 0xfe],
        ];
        for name in odd {
            let (errno, text) = load(name_field(name)).expect_err("an odd name");
            assert_eq!(errno, Errno::EINVAL, "{name:?}");
            assert!(text.contains("name"), "{name:?}: {text}");
            assert!(text.chars().all(|it| !it.is_control()), "{text:?}");
        }
        // No NUL at the end, then bytes after the NUL.
        assert_eq!(load([b'a'; 64]).expect_err("no NUL").0, Errno::EINVAL);
        let mut behind = name_field(b"ab");
        behind[10] = b'c';
        assert_eq!(load(behind).expect_err("behind").0, Errno::EINVAL);
        assert_eq!(device.filters(), Ok(vec![]));
        for name in ["a", "9lives", "A.b_c-d", &"x".repeat(63)] {
            load(name_field(name.as_bytes())).expect(name);
        }
    });
}

fn a_taken_name() {
    let net = Net::pair();
    let filter = net.server.load(Spec::new("taken", wasm::always(1)));
    let before = filter.entry();
    let spec = Spec::new("taken", wasm::always(0)).at(hook(FAMILY_INET, HOOK_INPUT, 0));
    let refused = net.server.try_load(&spec).expect_err("a taken name");
    assert_eq!(refused.errno, Errno::EEXIST);
    for word in ["taken", "replace", "unload", &filter.id().to_string()] {
        assert!(refused.text.contains(word), "{refused}");
    }
    assert_eq!(net.server.filters(), [before]);
    assert_eq!(net.server.attachments(), []);
}

fn hooks_that_there_are_not() {
    let net = Net::pair();
    let filter = net.server.load(Spec::new("f", wasm::always(1)));
    let mut unterminated = netdev(HOOK_INGRESS, "x");
    unterminated.device = [b'x'; 16];
    let mut inet_device = netdev(HOOK_INGRESS, "to-client");
    inet_device.family = FAMILY_INET;
    let cases = [
        (hook(0, HOOK_INPUT, 0), Errno::EOPNOTSUPP, "family 0"),
        // NFPROTO_BRIDGE, then NFPROTO_ARP.
        (hook(7, HOOK_INPUT, 0), Errno::EOPNOTSUPP, "family 7"),
        (hook(3, HOOK_INPUT, 0), Errno::EOPNOTSUPP, "family 3"),
        (hook(FAMILY_INET, 5, 0), Errno::EOPNOTSUPP, "hook 5"),
        (hook(FAMILY_IPV4, u32::MAX, 0), Errno::EOPNOTSUPP, "hook"),
        (netdev(2, "to-client"), Errno::EOPNOTSUPP, "hook 2"),
        (netdev(HOOK_INGRESS, "nowhere0"), Errno::ENODEV, "nowhere0"),
        // A device of another namespace.
        (
            netdev(HOOK_INGRESS, "to-server"),
            Errno::ENODEV,
            "to-server",
        ),
        (hook(FAMILY_NETDEV, 0, 0), Errno::EINVAL, "device"),
        (unterminated, Errno::EINVAL, "device"),
        (inet_device, Errno::EINVAL, "device"),
    ];
    for (place, errno, word) in cases {
        let refused = filter.attach(place).expect_err(word);
        assert_eq!(refused.errno, errno, "{place:?}: {refused}");
        assert!(refused.text.contains(word), "{place:?}: {refused}");
        let loaded = Spec::new("g", wasm::always(1)).at(place);
        let refused = net.server.try_load(&loaded).expect_err(word);
        assert_eq!(refused.errno, errno, "{place:?}: {refused}");
        assert_eq!(net.server.filters().len(), 1);
        assert_eq!(net.server.attachments(), []);
    }
}

fn filters_and_attachments_that_there_are_not() {
    let net = Net::pair();
    let filter = net.client.load(Spec::new("other", wasm::always(1)));
    net.server.enter(|| {
        let device = Device::open();
        // The filter exists, in another namespace.
        let id = filter.id();
        let refusals = [
            device.replace(id, &wasm::always(1)).expect_err("replace"),
            device
                .attach(id, hook(FAMILY_INET, 0, 0))
                .expect_err("attach"),
            device.detach(id).expect_err("detach"),
            device.select(NF_WASM_UNLOAD, id).expect_err("unload"),
            device
                .select(ioctl::NF_WASM_RELEASE, id)
                .expect_err("release"),
        ];
        for refused in refusals {
            assert_eq!(refused.errno, Errno::ENOENT, "{refused}");
            assert!(refused.text.contains("there is no"), "{refused}");
        }
    });
    assert_eq!(net.client.filters().len(), 1);
}

fn short_log_buffers() {
    let device = Device::open();
    let mut whole = None;
    for len in [1000_usize, 10, 1, 0] {
        let mut text = vec![0xaa_u8; 1001];
        let mut select = Select {
            id: u32::MAX,
            log: Log {
                buf: text.as_mut_ptr().expose_provenance() as u64,
                len: len as u32,
                used: 77,
            },
            ..Select::new()
        };
        let answer = sys::ioctl(device.file().as_fd(), NF_WASM_UNLOAD, &mut select);
        assert_eq!(answer, Err(Errno::ENOENT));
        let used = select.log.used as usize;
        let whole = whole.get_or_insert_with(|| text[..used].to_vec());
        assert_eq!(used, whole.len().min(len));
        assert_eq!(text[..used], whole[..used]);
        assert!(text[used..].iter().all(|&byte| byte == 0xaa));
    }
}

fn lists_that_do_not_fit() {
    let net = Net::pair();
    let filters: Vec<_> = (0..3)
        .map(|n| {
            net.server
                .load(Spec::new(&format!("f{n}"), wasm::always(1)))
        })
        .collect();
    net.server.enter(|| {
        let device = Device::open();
        for capacity in 0..5 {
            let mut entries = vec![FilterEntry::new(); 5];
            let mut list = List {
                entries: entries.as_mut_ptr().expose_provenance() as u64,
                capacity,
                ..List::new::<FilterEntry>()
            };
            let fd = device.file().as_fd();
            sys::ioctl(fd, ioctl::NF_WASM_LIST_FILTERS, &mut list).expect("list");
            assert_eq!(list.count, 3);
            for (at, entry) in entries.iter().enumerate() {
                let written = at < 3.min(capacity as usize);
                assert_eq!(entry.id, if written { filters[at].id() } else { 0 });
            }
        }
    });
}

fn lists_of_another_version() {
    let net = Net::pair();
    let filter = net.server.load(Spec::new("f", wasm::always(1)));
    net.server.enter(|| {
        let device = Device::open();
        let fd = device.file().as_fd();
        let size = size_of::<FilterEntry>();
        // An older caller that knows only the id, and a newer one.
        for entry_size in [4, size + 100] {
            let mut entries = vec![0xaa_u8; entry_size + 8];
            let mut list = List {
                entries: entries.as_mut_ptr().expose_provenance() as u64,
                entry_size: entry_size as u32,
                capacity: 1,
                ..List::new::<FilterEntry>()
            };
            sys::ioctl(fd, ioctl::NF_WASM_LIST_FILTERS, &mut list).expect("list");
            assert_eq!(entries[..4], filter.id().to_ne_bytes());
            assert!(entries[size.min(entry_size)..entry_size]
                .iter()
                .all(|&byte| byte == 0));
            assert!(entries[entry_size..].iter().all(|&byte| byte == 0xaa));
        }
        for entry_size in [0, 5000] {
            let mut list = List {
                entry_size,
                ..List::new::<FilterEntry>()
            };
            let answer = sys::ioctl(fd, ioctl::NF_WASM_LIST_FILTERS, &mut list);
            assert_eq!(answer, Err(Errno::EINVAL));
        }
    });
}
