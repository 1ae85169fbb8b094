// SPDX-License-Identifier: MIT OR Apache-2.0
//! Constructors of requests with `size` filled in and all other fields at their defaults.

use core::mem::size_of;

use super::ioctl::{
    Attach, AttachmentEntry, Counters, Detach, FilterEntry, GuestTest, Hook, Info, List, Load, Log,
    Replace, Run, Select, DEVICE_LEN, DIGEST_LEN, GUEST_TEST_NAME_LEN, GUEST_TEST_VALUES, NAME_LEN,
    ORIGIN_UNCHECKED, TIER_AUTO, TIER_REASON_LEN,
};
use super::trap::Trap;

/// The size of `T`, for the field `size`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "no struct comes near 4 GiB"
)]
pub const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

const NO_LOG: Log = Log {
    buf: 0,
    len: 0,
    used: 0,
};

const NO_HOOK: Hook = Hook {
    family: 0,
    hook: 0,
    priority: 0,
    reserved: 0,
    device: [0; DEVICE_LEN],
};

const NO_COUNTERS: Counters = Counters {
    packets: 0,
    bytes: 0,
    accepted: 0,
    dropped: 0,
    quarantined: 0,
    traps: [0; Trap::COUNT],
    fuel_total: 0,
    fuel_min: 0,
    fuel_max: 0,
};

impl Select {
    /// A request that selects no filter yet.
    pub const fn new() -> Self {
        Self {
            size: size::<Self>(),
            id: 0,
            name: [0; NAME_LEN],
            flags: 0,
            reserved: 0,
            log: NO_LOG,
        }
    }
}

impl Info {
    /// A request for all fields.
    pub const fn new() -> Self {
        Self {
            size: size::<Self>(),
            abi_version: 0,
            guest_version: 0,
            cpus: 0,
            capabilities: 0,
            version: [0; 32],
            built_for: [0; 64],
            max_module_bytes: 0,
            max_functions: 0,
            max_imports: 0,
            max_exports: 0,
            max_data_segments: 0,
            max_table_elements: 0,
            max_memory_pages: 0,
            max_nesting: 0,
            max_name_bytes: 0,
            max_filters: 0,
            max_attachments: 0,
            max_snaplen: 0,
            default_snaplen: 0,
            default_quarantine: 0,
            default_fuel: 0,
            max_fuel: 0,
            load_stack_peak: 0,
            load_stack_size: 0,
            packet_path_allocations: 0,
            admission: 0,
            allowed_digests: 0,
            max_signature_bytes: 0,
            reserved: 0,
            max_hook_fuel: 0,
        }
    }
}

impl Load {
    /// A load without a module. Every setting is the default, and the trap policy is accept.
    pub const fn new() -> Self {
        Self {
            size: size::<Self>(),
            flags: 0,
            name: [0; NAME_LEN],
            module: 0,
            module_len: 0,
            trap_policy: 0,
            capabilities: 0,
            fuel: 0,
            snaplen: 0,
            quarantine: 0,
            hooks: 0,
            hook_count: 0,
            hook_size: size::<Hook>(),
            id: 0,
            recycle: 0,
            log: NO_LOG,
            signature: 0,
            signature_len: 0,
            tier: TIER_AUTO,
        }
    }
}

impl Replace {
    /// A replacement without a module. It keeps all settings of the filter.
    pub const fn new() -> Self {
        Self {
            size: size::<Self>(),
            id: 0,
            name: [0; NAME_LEN],
            flags: 0,
            set: 0,
            module: 0,
            module_len: 0,
            trap_policy: 0,
            capabilities: 0,
            fuel: 0,
            snaplen: 0,
            quarantine: 0,
            log: NO_LOG,
            signature: 0,
            signature_len: 0,
            tier: TIER_AUTO,
            recycle: 0,
            reserved: 0,
        }
    }
}

impl Attach {
    /// An attachment without a filter.
    pub const fn new() -> Self {
        Self {
            size: size::<Self>(),
            id: 0,
            name: [0; NAME_LEN],
            flags: 0,
            attachment: 0,
            hook: NO_HOOK,
            log: NO_LOG,
        }
    }
}

impl Detach {
    /// A request that names no attachment yet.
    pub const fn new() -> Self {
        Self {
            size: size::<Self>(),
            flags: 0,
            attachment: 0,
            reserved: 0,
            log: NO_LOG,
        }
    }
}

impl List {
    /// A request for the number of entries, without an array.
    pub const fn new<Entry>() -> Self {
        Self {
            size: size::<Self>(),
            flags: 0,
            entries: 0,
            entry_size: size::<Entry>(),
            capacity: 0,
            count: 0,
            reserved: 0,
        }
    }
}

impl FilterEntry {
    /// An empty entry.
    pub const fn new() -> Self {
        Self {
            id: 0,
            state: 0,
            name: [0; NAME_LEN],
            trap_policy: 0,
            snaplen: 0,
            quarantine: 0,
            attachments: 0,
            capabilities: 0,
            capabilities_used: 0,
            fuel: 0,
            module_bytes: 0,
            replaced: 0,
            memory_per_cpu: 0,
            counters: NO_COUNTERS,
            instances: 0,
            origin: ORIGIN_UNCHECKED,
            digest: [0; DIGEST_LEN],
            tier: TIER_AUTO,
            compiled: 0,
            tier_reason: [0; TIER_REASON_LEN],
            memory_shared: 0,
            reloads: 0,
            recycle: 0,
            reserved: 0,
        }
    }
}

impl AttachmentEntry {
    /// An empty entry.
    pub const fn new() -> Self {
        Self {
            id: 0,
            filter: 0,
            hook: NO_HOOK,
            ifindex: 0,
            reserved: 0,
            counters: NO_COUNTERS,
        }
    }
}

impl Run {
    /// A run without a filter and a packet.
    pub const fn new() -> Self {
        Self {
            size: size::<Self>(),
            id: 0,
            name: [0; NAME_LEN],
            module: 0,
            module_len: 0,
            snaplen: 0,
            capabilities: 0,
            fuel: 0,
            packet: 0,
            packet_len: 0,
            flags: 0,
            family: 0,
            hook: 0,
            mark: 0,
            verdict: 0,
            trap: 0,
            reserved: 0,
            fuel_used: 0,
            output: NO_LOG,
            log: NO_LOG,
            signature: 0,
            signature_len: 0,
            tier: TIER_AUTO,
        }
    }
}

impl GuestTest {
    /// A test without an operation.
    pub const fn new() -> Self {
        Self {
            size: size::<Self>(),
            operation: 0,
            instance: 0,
            name_len: 0,
            name: [0; GUEST_TEST_NAME_LEN],
            module: 0,
            module_len: 0,
            flags: 0,
            fuel: 0,
            fuel_used: 0,
            values: [0; GUEST_TEST_VALUES],
            value_count: 0,
            trap: 0,
            offset: 0,
            data: 0,
            data_len: 0,
            tier: TIER_AUTO,
            log: NO_LOG,
        }
    }
}

macro_rules! default_is_new {
    ($($of:ty),+ $(,)?) => {$(
        impl Default for $of {
            fn default() -> Self {
                Self::new()
            }
        }
    )+};
}

default_is_new!(
    Select,
    Info,
    Load,
    Replace,
    Attach,
    FilterEntry,
    AttachmentEntry,
    Run,
    GuestTest
);
