// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask`: builds nf_wasm for Debian's current backports kernel and runs it in a virtual
//! machine.
//!
//! What the modules do, in the order of the work: `host` and `root` make the build root. `offer`
//! and `kernel` fetch and prepare Debian's kernel. `engine` and `module` build the two halves of
//! nf_wasm.ko. `userland` builds the other programs. `guest` packs everything into an archive, and
//! `vm` boots it.

mod bench;
mod build;
mod census;
mod checks;
mod cli;
mod console;
mod docs;
mod engine;
mod error;
mod files;
mod filter;
mod flavour;
mod fpu;
mod fuzz;
mod guest;
mod host;
mod kernel;
mod module;
mod offer;
mod patched;
mod profile;
mod progress;
mod root;
mod suites;
mod table;
mod tool;
mod userland;
mod vm;
mod workplace;

use build::Build;
use cli::{Options, Verb};
use error::{Context, Result};
use files::Cache;
use offer::Offer;
use progress::Progress;
use root::Root;
use std::path::Path;
use std::process::exit;

fn main() {
    match run() {
        Ok(status) => exit(status),
        Err(error) => {
            eprintln!("xtask: {error}");
            exit(1)
        }
    }
}

fn run() -> Result<i32> {
    let options = Options::parse(std::env::args_os().skip(1))?;
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no checkout")?;
    let cache = Cache::open(checkout)?;
    match options.verb {
        Verb::Help => print!("{}", cli::HELP),
        Verb::Clean => {
            let _locks = (cache.lock_checkout()?, cache.lock()?);
            files::remove_tree(&cache.dir)?;
        }
        Verb::Update => {
            let _lock = cache.lock()?;
            let progress = Progress::start();
            let root = Root::make(&cache, checkout, &progress)?;
            Offer::update(&root, &cache, &progress)?;
        }
        Verb::Build => {
            let build = Build::make(options.kernels[0], cache, checkout)?;
            println!("{}", build.collect()?.display());
        }
        Verb::Vm => {
            let build = Build::make(options.kernels[0], cache, checkout)?;
            return build.boot(&options.machine, options.accelerator.as_deref());
        }
        Verb::Filter => {
            let dir = Path::new(&options.rest[0]);
            let dir = dir.canonicalize().context(dir.display())?;
            filter::require_package(&dir)?;
            let _lock = cache.lock_checkout()?;
            let root = workplace::build_root(&cache, checkout)?;
            let project = filter::Project {
                dir: &dir,
                seen_at: &dir,
                checkout_at: checkout,
            };
            for module in project.build(&root, &cache)? {
                println!("{}", module.display());
            }
        }
        Verb::Demo => {
            let build = Build::make(options.kernels[0], cache, checkout)?;
            let command = vec!["nf-wasm-demo".into()];
            return build.boot(
                &vm::Machine {
                    command,
                    ..Default::default()
                },
                None,
            );
        }
        Verb::Generate => return checks::generate(&cache, checkout),
        Verb::Unsafe => census::write(checkout)?,
        Verb::Fuzz => {
            return fuzz::fuzz(&options.rest, &options.fuzzing, &cache, checkout);
        }
        Verb::Bench if options.on_host => return bench::on_host(&cache, checkout),
        Verb::Bench => {
            let build = Build::make(options.kernels[0], cache.clone(), checkout)?;
            let material = build.bench_material(checkout)?;
            return match &options.profile {
                Some(workload) => profile::profile(&build, workload, material, &cache),
                None => bench::bench(&build, &options.rest, material, checkout),
            };
        }
        Verb::Format => return checks::format(&cache, checkout),
        Verb::Lint => return checks::test(&["lint".to_owned()], &options, &cache, checkout),
        Verb::Test => return checks::test(&options.rest, &options, &cache, checkout),
    }
    Ok(0)
}
