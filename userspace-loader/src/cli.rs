// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line. The doc comments here are also the help texts and the man pages; the types
//! also make the completions.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use nf_wasm_shared::abi::ioctl::{self, Hook, QUARANTINE_NEVER};

use crate::capabilities;
use crate::device::Settings;
use crate::hook::{self, Family, Pattern};
use crate::manifest::Manifest;
use crate::name::{Name, Selector};

/// Load WebAssembly packet filters into the kernel
///
/// A filter is a WebAssembly module that decides packets at the kernel's netfilter hooks. This
/// tool loads filters into the kernel module nf_wasm, attaches them to hooks, and shows their
/// counters. Filters belong to the network namespace that nfwasm runs in.
///
/// Most verbs need CAP_NET_ADMIN. `nfwasm doctor` finds out why filters cannot be loaded.
#[derive(Debug, Parser)]
#[command(
    name = "nfwasm",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 kernel and nfwasm do not match, 4 refused by the kernel.",
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Write JSON to standard output, one document with a `schema` number at its root
    ///
    /// An error is written to standard error as text, and to standard output as a document with an
    /// `error` member.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    #[allow(missing_docs, reason = "it would be shown as help")]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "each struct has the text")]
pub enum Verb {
    Load(Load),
    Attach(Attach),
    Detach(Detach),
    Replace(Replace),
    Unload(Unload),
    List(List),
    Show(Show),
    Stats(Stats),
    Release(Release),
    Check(Check),
    Run(Run),
    Info(Info),
    Doctor(Doctor),
    Completions(Completions),
    Man(Man),
}

/// Load a filter, and attach it to hooks
///
/// If the load or one of the attachments fails, nothing changes. Prints the ids of the filter and
/// of its attachments.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nfwasm load block-telnet.wasm --attach inet:prerouting --attach netdev:ingress@eth0"
)]
pub struct Load {
    /// A WebAssembly module, binary or, if the name ends in .wat, in the text format
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Name of the filter [default: the file's name without its extension]
    #[arg(long)]
    pub name: Option<Name>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "it would be shown as help")]
    pub signed: Signed,

    /// Attach to this hook; may be given several times
    #[arg(
        long,
        long_help = hook::help(),
        value_name = "FAMILY:HOOK[:PRIORITY][@DEVICE]",
        value_parser = hook::parse
    )]
    pub attach: Vec<Hook>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "it would be shown as help")]
    pub grant: Grant,

    /// Decision for packets on which the filter traps, and for all packets during a quarantine
    ///
    /// With `reload`, an instance that trapped is restored before its next packet: its memory
    /// becomes what it was after the filter's initialisation. If it keeps trapping, it waits before
    /// each reload, from 1 ms to 1 s, and the decision above holds meanwhile. Then the filter is
    /// quarantined.
    #[arg(long, value_name = "POLICY", default_value = "drop")]
    pub on_trap: TrapPolicy,

    /// Restore each CPU's instance after this many packets, 0 for never [default: 0]
    #[arg(long, value_name = "PACKETS")]
    pub recycle: Option<u32>,

    /// Quarantine the filter after this many traps in a row on one CPU, or `never`
    /// [default: 1000]
    ///
    /// A quarantined filter no longer runs. Its trap policy decides every packet until it is
    /// released or replaced.
    #[arg(long, value_name = "TRAPS", value_parser = parse_quarantine)]
    pub quarantine: Option<u32>,
}

/// Options for a Wasm module's signature.
#[derive(Debug, Args)]
pub struct Signed {
    /// Detached PKCS#7 signature of the module, in DER [default: the module's file name plus .p7s,
    /// if that file exists]
    ///
    /// The kernel checks it against its trusted keyrings. It refuses a bad signature even if it
    /// does not require signatures; `nfwasm info` shows whether it does. `openssl cms -sign -binary
    /// -noattr -nocerts -outform DER` makes a signature.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub signature: Option<PathBuf>,
}

/// Options for a filter's capabilities and limits.
#[derive(Debug, Args)]
pub struct Grant {
    #[arg(
        long,
        help = capabilities::help(),
        long_help = capabilities::help() + "\n\n`nfwasm check` shows the capabilities that a filter needs.",
        value_name = "CAPABILITY",
        value_delimiter = ',',
        value_parser = capabilities::parse
    )]
    #[allow(missing_docs, reason = "it would be shown as help")]
    pub allow: Option<Vec<u64>>,

    /// Fuel for one packet, about one unit for each WebAssembly operator [default: 100000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub fuel: Option<u64>,

    /// Maximum bytes of each packet that the filter gets, starting at the network header; overrides
    /// the manifest [default: 256]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub snaplen: Option<u32>,

    /// Tier: how the filter runs [default: auto]
    #[arg(long)]
    pub tier: Option<Tier>,
}

impl Grant {
    /// The settings for a filter with this manifest.
    pub fn settings(&self, manifest: Manifest) -> Settings {
        Settings {
            capabilities: self.allow.as_deref().map(capabilities::union),
            fuel: self.fuel,
            snaplen: self.snaplen.or(manifest.snaplen),
            tier: self.tier.map(Tier::number),
            ..Settings::default()
        }
    }
}

/// The tiers of `--tier`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Tier {
    /// As native code if the filter can be compiled, else interpreted; `nfwasm show` shows the
    /// reason
    Auto,
    /// Interpreted
    Interp,
    /// As native code; a filter that cannot be compiled is refused
    Jit,
}

impl Tier {
    /// The ABI's number of the tier.
    pub fn number(self) -> u32 {
        match self {
            Self::Auto => ioctl::TIER_AUTO,
            Self::Interp => ioctl::TIER_INTERP,
            Self::Jit => ioctl::TIER_JIT,
        }
    }
}

/// The trap policies of `--on-trap`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TrapPolicy {
    /// Accept the packet
    Accept,
    /// Drop the packet
    Drop,
    /// Accept the packet, and restore the instance
    #[value(name = "reload,accept")]
    ReloadAccept,
    /// Drop the packet, and restore the instance
    #[value(name = "reload,drop")]
    ReloadDrop,
}

impl TrapPolicy {
    /// The ABI's number of the policy.
    pub fn number(self) -> u32 {
        match self {
            Self::Accept => ioctl::TRAP_ACCEPT,
            Self::Drop => ioctl::TRAP_DROP,
            Self::ReloadAccept => ioctl::TRAP_RELOAD | ioctl::TRAP_ACCEPT,
            Self::ReloadDrop => ioctl::TRAP_RELOAD | ioctl::TRAP_DROP,
        }
    }

    /// The policy with this number, if there is one.
    pub fn of(number: u32) -> Option<Self> {
        Self::value_variants()
            .iter()
            .copied()
            .find(|policy| policy.number() == number)
    }
}

impl Display for TrapPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}

fn parse_quarantine(text: &str) -> Result<u32, String> {
    if text == "never" {
        return Ok(QUARANTINE_NEVER);
    }
    match text.parse() {
        Ok(traps) if traps != 0 && traps != QUARANTINE_NEVER => Ok(traps),
        _ => Err("give a number of traps, 1 or more, or `never`".to_owned()),
    }
}

/// Attach a loaded filter to one more hook
///
/// Prints the attachment's id.
#[derive(Debug, Args)]
pub struct Attach {
    /// Name or id of the filter
    pub filter: Selector,

    /// The hook, as in `nfwasm load --attach`
    #[arg(value_name = "FAMILY:HOOK[:PRIORITY][@DEVICE]", value_parser = hook::parse)]
    pub hook: Hook,
}

/// Detach a filter from one hook
///
/// The filter stays loaded.
#[derive(Debug, Args)]
pub struct Detach {
    /// Name or id of the filter
    #[arg(required_unless_present = "attachment")]
    pub filter: Option<Selector>,

    /// The hook; the priority may be left out if only one attachment matches
    #[arg(
        value_name = "FAMILY:HOOK[:PRIORITY][@DEVICE]",
        required_unless_present = "attachment"
    )]
    pub hook: Option<Pattern>,

    /// Id of the attachment, instead of filter and hook
    #[arg(long, value_name = "ID", conflicts_with_all = ["filter", "hook"], value_parser = clap::value_parser!(u32).range(1..))]
    pub attachment: Option<u32>,
}

/// Replace a filter's program atomically
///
/// Every packet is decided by the old program or by the new one. Attachments, id and counters stay;
/// so do all settings that are not given. A quarantine ends.
#[derive(Debug, Args)]
pub struct Replace {
    /// Name or id of the filter
    pub filter: Selector,

    /// The new program, a WebAssembly module, binary or in the text format (.wat)
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    #[command(flatten)]
    #[allow(missing_docs, reason = "it would be shown as help")]
    pub signed: Signed,

    /// Grant exactly these capabilities; `none` revokes all
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', value_parser = capabilities::parse)]
    pub allow: Option<Vec<u64>>,

    /// Fuel for one packet
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub fuel: Option<u64>,

    /// Maximum bytes of each packet that the filter gets; overrides the new program's manifest
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub snaplen: Option<u32>,

    /// Decision for packets on which the filter traps
    #[arg(long, value_name = "POLICY")]
    pub on_trap: Option<TrapPolicy>,

    /// Restore each CPU's instance after this many packets, 0 for never
    #[arg(long, value_name = "PACKETS")]
    pub recycle: Option<u32>,

    /// Quarantine the filter after this many traps in a row on one CPU, or `never`
    #[arg(long, value_name = "TRAPS", value_parser = parse_quarantine)]
    pub quarantine: Option<u32>,

    /// Tier: how the filter runs
    #[arg(long)]
    pub tier: Option<Tier>,
}

/// Detach a filter from all its hooks and free it
#[derive(Debug, Args)]
pub struct Unload {
    /// Name or id of the filter
    pub filter: Selector,
}

/// List this network namespace's filters
#[derive(Debug, Args)]
pub struct List {}

/// Show everything about one filter
#[derive(Debug, Args)]
pub struct Show {
    /// Name or id of the filter
    pub filter: Selector,
}

/// Show counters of packets, traps and fuel
///
/// With --watch and --json, writes one document per line.
#[derive(Debug, Args)]
pub struct Stats {
    /// Name or id of a filter [default: all]
    pub filter: Option<Selector>,

    /// Repeat every second, or every SECONDS, and show rates
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_interval)]
    pub watch: Option<f64>,

    /// Stop after this many repetitions
    #[arg(long, value_name = "TIMES", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

fn parse_interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give 0.1 to 86400 seconds".to_owned()),
    }
}

/// Let a quarantined filter run again
///
/// Each CPU's instance is restored before its next packet: its memory becomes what it was after the
/// filter's initialisation.
#[derive(Debug, Args)]
pub struct Release {
    /// Name or id of the filter
    pub filter: Selector,
}

/// Check whether the kernel would load a filter, and show what the filter needs
///
/// Performs a load in user space, with the kernel module's own code: validates and translates the
/// module, makes an instance, places the packet buffer and runs `_initialize`, `nfw_buf` and
/// `nfw_init`. This needs neither the kernel module nor any privilege.
#[derive(Debug, Args)]
pub struct Check {
    /// A WebAssembly module, binary or in the text format (.wat)
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Fail if the filter needs a capability that is not in this list
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', value_parser = capabilities::parse)]
    pub allow: Option<Vec<u64>>,

    /// Maximum bytes of each packet that the filter gets, as in `nfwasm load --snaplen`
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub snaplen: Option<u32>,
}

/// Run a filter on one packet, in the kernel, without a hook
///
/// The filter runs in a fresh instance. Nothing is counted, and no packet is sent. The exit code is
/// 0 for every verdict.
#[derive(Debug, Args)]
pub struct Run {
    /// Name or id of a loaded filter, or a file: an argument with a slash, or one that ends in
    /// .wasm or .wat
    #[arg(value_name = "FILTER|FILE", value_hint = ValueHint::FilePath)]
    pub program: String,

    /// The packet, starting at its network header: hexadecimal digits, or a file of raw bytes
    #[arg(long, value_name = "HEX|FILE", value_hint = ValueHint::FilePath)]
    pub packet: String,

    /// Family in the packet's context: ipv4, ipv6 or netdev [default: by the packet's IP version]
    #[arg(long)]
    pub family: Option<Family>,

    /// Hook in the packet's context [default: prerouting, or ingress for netdev]
    #[arg(long)]
    pub hook: Option<String>,

    /// The packet's mark, decimal or hexadecimal (0x)
    #[arg(long, default_value = "0", value_parser = parse_mark)]
    pub mark: u32,

    #[command(flatten)]
    #[allow(missing_docs, reason = "it would be shown as help")]
    pub signed: Signed,

    #[command(flatten)]
    #[allow(missing_docs, reason = "it would be shown as help")]
    pub grant: Grant,
}

fn parse_mark(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "give a number from 0 to 0xffffffff".to_owned())
}

/// Show the kernel module's version, limits and capabilities
#[derive(Debug, Args)]
pub struct Info {}

/// Find out why filters cannot be loaded on this system, and suggest remedies
///
/// The exit code is 1 if there is a problem.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Check this kernel module instead of the installed one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub module: Option<PathBuf>,

    /// Check the system under this directory
    #[arg(long, value_name = "DIRECTORY", default_value = "/", hide = true)]
    pub root: PathBuf,
}

/// Write a shell's completions to standard output
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nfwasm completions bash > /usr/share/bash-completion/completions/nfwasm"
)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// Write a manual page to standard output, or all of them to a directory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nfwasm man --directory /usr/local/share/man/man1")]
pub struct Man {
    /// The verb of the page [default: the page of nfwasm itself]
    pub verb: Option<String>,

    /// Write all pages to this directory
    #[arg(long, conflicts_with = "verb", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use nf_wasm_shared::abi::limits;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_shows_the_kernel_modules_defaults() {
        let mut command = Cli::command();
        let load = command.find_subcommand_mut("load").unwrap();
        let help = load.render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for default in [
            limits::DEFAULT_FUEL,
            limits::DEFAULT_SNAPLEN.into(),
            limits::DEFAULT_QUARANTINE.into(),
        ] {
            assert!(help.contains(&format!("[default: {default}]")), "{help}");
        }
    }
}
