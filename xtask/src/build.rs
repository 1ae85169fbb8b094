// SPDX-License-Identifier: GPL-2.0-only
//! Builds everything that a virtual machine needs. Each step follows those that it depends on;
//! steps run in parallel if that saves time.

use crate::error::{Context, Error, Result};
use crate::files::{self, Cache};
use crate::flavour::Flavour;
use crate::guest::{Guest, Parts};
use crate::kernel::Kernel;
use crate::patched::Patched;
use crate::progress::Progress;
use crate::root::Root;
use crate::vm::{self, Machine, Run};
use crate::{engine, module, tool, userland};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The results of a build for one kernel.
pub struct Build {
    cache: Cache,
    root: Root,
    kernel: Kernel,
    guest: Guest,
    parts: Parts,
    /// The steps and their durations.
    pub durations: Vec<(String, Duration)>,
}

impl Build {
    /// Builds everything that is not up to date.
    pub fn make(flavour: Flavour, cache: Cache, checkout: &Path) -> Result<Self> {
        let _lock = cache.lock_checkout()?;
        let shared = cache.lock()?;
        let progress = Progress::start();
        let root = Root::make(&cache, checkout, &progress)?;
        let patched = Patched::make(&root, &cache, checkout, &progress)?;
        // The loader does not depend on the kernel: both are built in parallel.
        let (halves, userland) = thread::scope(|scope| {
            let userland = scope.spawn(|| {
                let programs = userland::build(&root, &cache, &patched, &progress)?;
                let filters = userland::filters(&root, &cache, checkout, &progress)?;
                Ok((programs, filters, tool::processor_time()))
            });
            let halves = (|| {
                let kernel = Kernel::make(flavour, &root, &cache, checkout, shared, &progress)?;
                let engine = engine::build(&kernel, &root, &cache, &patched, &progress)?;
                let module = module::build(&kernel, &engine, &root, &cache, checkout, &progress)?;
                Ok((kernel, module))
            })();
            let panicked = || Err(Error::new("the loader's build panicked"));
            (halves, userland.join().unwrap_or_else(|_| panicked()))
        });
        let (kernel, module) = halves?;
        let (programs, filters, time) = userland?;
        tool::add_processor_time(time);
        let parts = Parts {
            module,
            programs,
            filters,
        };
        let guest = Guest::make(&kernel, &parts, &root, &cache, checkout, &progress)?;
        let durations = progress.finish();
        Ok(Self {
            cache,
            root,
            kernel,
            guest,
            parts,
            durations,
        })
    }

    /// Collects the files for a machine with this kernel in a folder. Returns the folder.
    pub fn collect(&self) -> Result<PathBuf> {
        let name = format!("out-{}", self.kernel.release);
        let out = self.cache.path(&self.cache.of_checkout(&name));
        files::remove_tree(&out)?;
        files::copy(&self.parts.module, &out.join("nf_wasm.ko"))?;
        let is_loader = |program: &&PathBuf| program.ends_with("nfwasm");
        let loader = self
            .parts
            .programs
            .iter()
            .find(is_loader)
            .context("there is no nfwasm")?;
        files::copy(loader, &out.join("nfwasm"))?;
        files::mirror(&self.parts.filters, &out.join("filters"), &["."])?;
        Ok(out)
    }

    /// Builds the benchmarks' filters, eBPF programs and module. Returns their folder.
    pub fn bench_material(&self, checkout: &Path) -> Result<PathBuf> {
        let _lock = self.cache.lock_checkout()?;
        let progress = Progress::start();
        let out = userland::bench_material(&self.root, &self.cache, checkout, &progress)?;
        module::empty_hook(&self.kernel, &self.root, &self.cache, checkout, &out)?;
        Ok(out)
    }

    /// The build root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The folder with the example filters.
    pub fn filters(&self) -> &Path {
        &self.parts.filters
    }

    /// A command that runs a program of this checkout in the build root.
    pub fn program(&self, name: &str) -> Command {
        let target = self.cache.of_checkout("target/debug");
        self.root.command([format!("/cache/{target}/{name}")])
    }

    /// The accelerator that can run this kernel on this host.
    pub fn accelerator(&self) -> Result<&'static str> {
        vm::accelerator(&self.kernel, &self.guest, &self.root, &self.cache)
    }

    /// Prepares the folder of a run.
    pub fn prepare(&self, machine: &Machine) -> Result<Run> {
        machine.prepare(&self.guest, &self.root, &self.cache)
    }

    /// Boots a machine. Returns the exit status of its command.
    pub fn boot(&self, machine: &Machine, accelerator: Option<&str>) -> Result<i32> {
        self.run(machine, &self.prepare(machine)?, accelerator)
    }

    /// Boots a machine that was prepared. Returns the exit status of its command.
    pub fn run(&self, machine: &Machine, run: &Run, accelerator: Option<&str>) -> Result<i32> {
        let accelerator = match accelerator {
            Some(name) => name,
            None => self.accelerator()?,
        };
        machine
            .run(
                run,
                accelerator,
                &self.kernel,
                &self.guest,
                &self.root,
                &self.cache,
            )
            .context(format!("Linux {} under {accelerator}", self.kernel.release))
    }
}
