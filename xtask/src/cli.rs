// SPDX-License-Identifier: GPL-2.0-only
//! Parses the command line.

use crate::error::{Context, Error, Result};
use crate::flavour::Flavour;
use crate::vm::Machine;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What `cargo xtask help` prints.
pub const HELP: &str = "\
Builds nf_wasm for the kernel that Debian's trixie-backports offers today, and runs it in QEMU.

cargo xtask build                  kernel module, loader, tests, filters, guest image
cargo xtask demo                   the demo, in a virtual machine
cargo xtask vm [OPTION]… -- COMMAND…
                                   COMMAND as root in a virtual machine with nf_wasm loaded; its
                                   output and exit status become this command's. Without COMMAND,
                                   a shell
cargo xtask filter DIR             builds the Rust filter whose Cargo.toml is in DIR, which may be
                                   anywhere: DIR/NAME.wasm
cargo xtask test [lint|host|fuzz|vm|docs|bench] [FILTER]
                                   formatting and lints, tests on the host, a little fuzzing, tests
                                   in the machine, the code blocks of README.md and docs/, the cost
                                   of packets compared with the committed figures
cargo xtask fuzz [TARGET]… [OPTION]…
                                   fuzzing outside of the kernel; docs/testing.md has more
cargo xtask bench [WORKLOAD]…      instructions that filters add per packet, as QEMU counts them,
                                   compared with eBPF, nftables and iptables; the table of all
                                   workloads goes to bench/results/latest.json
cargo xtask bench --profile WORKLOAD
                                   the functions in which nf_wasm's instructions are spent
cargo xtask bench --host           compares the engine with other engines, on the host
cargo xtask fmt                    formats the sources
cargo xtask lint                   the same as test lint
cargo xtask generate               writes the parts of headers and docs that come from tables in shared/
cargo xtask unsafe                 counts unsafe code, into docs/unsafe.md
cargo xtask update                 looks for a newer kernel
cargo xtask clean                  removes the cache

Options of test:
  --everything         leaves nothing out for time, on stock, rt and debug: hours; docs/testing.md
                       says when
Options of build, demo, vm and test:
  --kernel FLAVOUR     Debian's: stock (default), cloud, or rt (PREEMPT_RT); compiled here, from the
                       same source: debug (KASAN, lockdep, kmemleak, fault injection), or kcsan
                       (data races). test takes several, with commas, or all: stock, rt and debug
Options of vm:
  --share DIR          DIR, read-only, at /share in the machine
  --cpus N             processors (2)
  --memory MIB         memory (1024; 2048 for a kernel that is compiled here)
  --append ARG         an argument for the kernel; may be given several times
  --qemu-arg ARG       an argument for QEMU; may be given several times
  --accel kvm|tcg      the accelerator (KVM if it works here, else TCG)
  --timeout SECONDS    how long COMMAND may take (1800)
  --no-module          do not load nf_wasm
Options of fuzz:
  --seconds N          how long each target runs (60)
  --runs N             how many inputs each target gets, in place of a time
  --seed N             libFuzzer's seed; 0, the default, is a random one
  --reproduce FILE     runs the target on one input

Everything built goes to $NF_WASM_CACHE, else $XDG_CACHE_HOME/nf_wasm, else ~/.cache/nf_wasm.
";

/// The verbs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Build,
    Demo,
    Filter,
    Vm,
    Test,
    Fuzz,
    Bench,
    Format,
    Lint,
    Generate,
    Unsafe,
    Update,
    Clean,
    Help,
}

/// The options of `fuzz`.
#[derive(Default)]
pub struct Fuzzing {
    pub seconds: Option<u32>,
    pub runs: Option<u32>,
    pub seed: u32,
    pub reproduce: Option<PathBuf>,
}

/// A valid command line.
pub struct Options {
    pub verb: Verb,
    /// One kernel, except for `test`.
    pub kernels: Vec<Flavour>,
    /// The machine of `vm`.
    pub machine: Machine,
    pub accelerator: Option<String>,
    pub fuzzing: Fuzzing,
    /// Whether `test` runs without shortcuts.
    pub everything: bool,
    /// Whether `bench` compares engines on the host.
    pub on_host: bool,
    /// The workload that `bench` profiles.
    pub profile: Option<String>,
    /// The words after `filter`, `test`, `fuzz` or `bench`.
    pub rest: Vec<String>,
}

impl Options {
    /// Parses the words after `cargo xtask`.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let mut words = words.into_iter();
        let verb = match words.next().as_deref().and_then(|word| word.to_str()) {
            Some("build") => Verb::Build,
            Some("demo") => Verb::Demo,
            Some("filter") => Verb::Filter,
            Some("vm") => Verb::Vm,
            Some("test") => Verb::Test,
            Some("fuzz") => Verb::Fuzz,
            Some("bench") => Verb::Bench,
            Some("fmt") => Verb::Format,
            Some("lint") => Verb::Lint,
            Some("generate") => Verb::Generate,
            Some("unsafe") => Verb::Unsafe,
            Some("update") => Verb::Update,
            Some("clean") => Verb::Clean,
            None | Some("help" | "--help" | "-h") => Verb::Help,
            Some(other) => return Err(Error::new(format!("unknown verb {other:?}\n\n{HELP}"))),
        };
        let mut options = Self {
            verb,
            kernels: Vec::new(),
            machine: Machine::default(),
            accelerator: None,
            fuzzing: Fuzzing::default(),
            everything: false,
            on_host: false,
            profile: None,
            rest: Vec::new(),
        };
        while let Some(word) = words.next() {
            let word = text(word)?;
            if word == "--" {
                options.machine.command = words.by_ref().collect();
                break;
            }
            if word == "--help" || word == "-h" {
                options.verb = Verb::Help;
                return Ok(options);
            }
            // Accept both `--name value` and `--name=value`.
            let (name, mut inline) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = || match inline.take() {
                Some(value) => Ok(value),
                None => text(words.next().context(format!("{name} needs a value"))?),
            };
            let vm = verb == Verb::Vm;
            let fuzz = verb == Verb::Fuzz;
            let takes_names = matches!(verb, Verb::Filter | Verb::Fuzz | Verb::Test | Verb::Bench);
            let fuzzing = &mut options.fuzzing;
            match name {
                "--kernel" => options.kernels = kernels(verb, &value()?)?,
                "--share" if vm => options.machine.share = Some(folder(&value()?)?),
                "--cpus" if vm => options.machine.cpus = number(name, &value()?)?,
                "--memory" if vm => options.machine.memory_mib = Some(number(name, &value()?)?),
                "--append" if vm => options.machine.append.push(value()?),
                "--qemu-arg" if vm => options.machine.qemu_args.push(value()?),
                "--accel" if vm => options.accelerator = Some(value()?),
                "--timeout" if vm => {
                    let seconds: u32 = number(name, &value()?)?;
                    options.machine.timeout = Duration::from_secs(seconds.into());
                }
                "--no-module" if vm => options.machine.with_module = false,
                "--everything" if verb == Verb::Test => options.everything = true,
                "--host" if verb == Verb::Bench => options.on_host = true,
                "--profile" if verb == Verb::Bench => options.profile = Some(value()?),
                "--seconds" if fuzz => fuzzing.seconds = Some(number(name, &value()?)?),
                "--runs" if fuzz => fuzzing.runs = Some(number(name, &value()?)?),
                "--seed" if fuzz => fuzzing.seed = number(name, &value()?)?,
                "--reproduce" if fuzz => fuzzing.reproduce = Some(value()?.into()),
                _ if takes_names && !name.starts_with('-') => options.rest.push(word),
                _ => {
                    return Err(Error::new(format!(
                        "{name} is unknown here; a command for the machine follows --\n\n{HELP}"
                    )))
                }
            }
        }
        if options.kernels.is_empty() {
            options.kernels = match options.everything {
                true => Flavour::TESTED.to_vec(),
                false => vec![Flavour::Stock],
            };
        }
        if verb == Verb::Filter && options.rest.len() != 1 {
            return Err(Error::new(
                "filter takes one folder: cargo xtask filter DIR",
            ));
        }
        Ok(options)
    }
}

fn kernels(verb: Verb, names: &str) -> Result<Vec<Flavour>> {
    if verb == Verb::Test && names == "all" {
        return Ok(Flavour::TESTED.to_vec());
    }
    let kernels = names
        .split(',')
        .map(Flavour::named)
        .collect::<Result<Vec<_>>>()?;
    if verb != Verb::Test && kernels.len() > 1 {
        return Err(Error::new("only test takes more than one kernel"));
    }
    Ok(kernels)
}

fn text(word: OsString) -> Result<String> {
    word.into_string()
        .map_err(|word| Error::new(format!("not UTF-8: {word:?}")))
}

fn number(name: &str, value: &str) -> Result<u32> {
    match value.parse() {
        Ok(0) | Err(_) => Err(Error::new(format!("{name} needs a number, not {value:?}"))),
        Ok(number) => Ok(number),
    }
}

fn folder(path: &str) -> Result<PathBuf> {
    let real = PathBuf::from(path).canonicalize().context(path)?;
    if !real.is_dir() {
        return Err(Error::new(format!("{path} is not a folder")));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn command_follows_two_dashes() {
        let options = parse("vm --cpus 4 --append=quiet -- ls -l").unwrap();
        assert_eq!(options.machine.cpus, 4);
        assert_eq!(options.machine.append, ["quiet"]);
        assert_eq!(options.machine.command, ["ls", "-l"]);
    }

    #[test]
    fn options_belong_to_verbs() {
        assert!(parse("build --cpus 4").is_err());
        assert!(parse("vm ls").is_err());
        assert!(parse("vm --cpus none").is_err());
        assert!(parse("filter").is_err());
        assert!(parse("filter --kernel rt a b").is_err());
        assert_eq!(parse("filter ../a").unwrap().rest, ["../a"]);
        assert_eq!(parse("test vm replace").unwrap().rest, ["vm", "replace"]);
    }

    #[test]
    fn only_tests_take_several_kernels() {
        let kernels = |line| parse(line).map(|options| options.kernels);
        assert_eq!(kernels("build").unwrap(), [Flavour::Stock]);
        assert_eq!(kernels("vm --kernel debug").unwrap(), [Flavour::Debug]);
        assert_eq!(kernels("test --kernel all").unwrap(), Flavour::TESTED);
        assert_eq!(
            kernels("test --kernel stock,rt").unwrap(),
            [Flavour::Stock, Flavour::Rt]
        );
        assert_eq!(kernels("test --everything").unwrap(), Flavour::TESTED);
        assert_eq!(
            kernels("test --everything --kernel kcsan").unwrap(),
            [Flavour::Kcsan]
        );
        assert!(kernels("vm --everything").is_err());
        assert!(kernels("vm --kernel stock,rt").is_err());
        assert!(kernels("demo --kernel all").is_err());
    }
}
