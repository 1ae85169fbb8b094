// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of hooks that a filter can be attached to, by family.
//!
//! The numbers of hooks and families are those of netfilter. `cargo xtask generate` writes them to
//! the C headers.

/// A family of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name in listings and on the command line.
    pub name: &'static str,
    /// Its number, one of `FAMILY_*`.
    pub number: u32,
    /// Netfilter's name of the number.
    pub netfilter: &'static str,
    /// Whether an attachment names a device.
    pub has_device: bool,
    /// Its hooks, in the order of their numbers, which begin with 0.
    pub hooks: &'static [Place],
}

/// A hook of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name in listings and on the command line.
    pub name: &'static str,
    /// Its number in its family, one of `HOOK_*`.
    pub number: u32,
    /// Netfilter's name of the number.
    pub netfilter: &'static str,
    /// The names in [`PRIORITIES`] that nftables allows at the hook.
    pub priorities: &'static [&'static str],
}

/// nftables' names of priorities, and their numbers.
pub const PRIORITIES: [(&str, i32); 6] = [
    ("raw", -300),
    ("mangle", -150),
    ("dstnat", -100),
    ("filter", 0),
    ("security", 50),
    ("srcnat", 100),
];

macro_rules! hooks {
    ($($list:ident { $($constant:ident $name:literal $number:literal $netfilter:ident $priorities:expr;)* })*) => {$(
        $(
            #[doc = concat!("`", stringify!($netfilter), "`.")]
            pub const $constant: u32 = $number;
        )*

        const $list: &[Place] = &[$(Place {
            name: $name,
            number: $number,
            netfilter: stringify!($netfilter),
            priorities: &$priorities,
        }),*];
    )*};
}

macro_rules! families {
    ($($constant:ident $name:literal $number:literal $netfilter:ident $has_device:literal $hooks:ident;)*) => {
        $(
            #[doc = concat!("`", stringify!($netfilter), "`.")]
            pub const $constant: u32 = $number;
        )*

        /// All families.
        pub const FAMILIES: &[Family] = &[$(Family {
            name: $name,
            number: $number,
            netfilter: stringify!($netfilter),
            has_device: $has_device,
            hooks: $hooks,
        }),*];
    };
}

hooks! {
    INET_HOOKS {
        HOOK_PREROUTING "prerouting" 0 NF_INET_PRE_ROUTING ["raw", "mangle", "dstnat", "filter", "security"];
        HOOK_INPUT "input" 1 NF_INET_LOCAL_IN ["raw", "mangle", "filter", "security", "srcnat"];
        HOOK_FORWARD "forward" 2 NF_INET_FORWARD ["raw", "mangle", "filter", "security"];
        HOOK_OUTPUT "output" 3 NF_INET_LOCAL_OUT ["raw", "mangle", "dstnat", "filter", "security"];
        HOOK_POSTROUTING "postrouting" 4 NF_INET_POST_ROUTING ["raw", "mangle", "filter", "security", "srcnat"];
    }
    NETDEV_HOOKS {
        HOOK_INGRESS "ingress" 0 NF_NETDEV_INGRESS ["filter"];
        HOOK_EGRESS "egress" 1 NF_NETDEV_EGRESS ["filter"];
    }
}

// Family inet attaches to IPv4 and IPv6 at once.
families! {
    FAMILY_INET "inet" 1 NFPROTO_INET false INET_HOOKS;
    FAMILY_IPV4 "ipv4" 2 NFPROTO_IPV4 false INET_HOOKS;
    FAMILY_NETDEV "netdev" 5 NFPROTO_NETDEV true NETDEV_HOOKS;
    FAMILY_IPV6 "ipv6" 10 NFPROTO_IPV6 false INET_HOOKS;
}

impl Family {
    /// The family with this number.
    pub fn by_number(number: u32) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.number == number)
    }

    /// The hook with this number.
    pub fn hook(&self, number: u32) -> Option<&'static Place> {
        self.hooks.iter().find(|hook| hook.number == number)
    }
}

impl Place {
    /// The named priorities that the hook has, and their numbers.
    pub fn priorities(&'static self) -> impl Iterator<Item = (&'static str, i32)> {
        PRIORITIES
            .into_iter()
            .filter(|(name, _)| self.priorities.contains(name))
    }
}
