// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask test docs`: tests the code blocks of the documentation.
//!
//! docs/testing.md, "Documentation", describes the words that may follow the opening fence of a
//! code block.

mod machine;
mod page;
mod plan;

use crate::build::Build;
use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::filter::Project;
use crate::flavour::Flavour;
use crate::tool;
use crate::vm::Machine;
use page::Block;
use plan::{Plan, Step};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The pages, or the folders of pages.
const PAGES: [&str; 4] = ["README.md", "docs", "filters", "sdk"];
/// The names that pages use for a reader's own modules.
const MODULES: [&str; 3] = ["my.wasm", "new.wasm", "better.wasm"];
/// The time limit of the machine, in case it hangs. It normally takes less than a minute.
const PATIENCE: Duration = Duration::from_secs(900);
/// The folder in which a project and the checkout are side by side, as in README.md.
const BESIDE: &str = "/docs";
const CHECKOUT: &str = "/docs/nf_wasm";

/// Runs the code blocks of all pages. Returns whether all had the expected result.
pub fn test(cache: &Cache, checkout: &Path) -> Result<bool> {
    let plan = Plan::of(&blocks(checkout)?)?;
    let build = Build::make(Flavour::Stock, cache.clone(), checkout)?;
    let work = Workshop::make(cache, checkout, &plan, &build)?;
    let mut passed = true;
    {
        let _lock = cache.lock_checkout()?;
        for step in &plan.steps {
            if let Err(error) = work.take(step) {
                eprintln!("{}: {error}", step.place());
                passed = false;
            }
        }
    }
    let machine = Machine {
        command: ["sh", "-c", machine::RUNNER].map(Into::into).to_vec(),
        share: Some(work.dir.clone()),
        timeout: PATIENCE,
        captured: true,
        ..Machine::default()
    };
    let run = build.prepare(&machine)?;
    let status = build.run(&machine, &run, None)?;
    let printed = fs::read(run.path("stdout")).context("what the machine printed")?;
    passed &= plan.work.judge(&String::from_utf8_lossy(&printed));
    Ok(passed && status == 0)
}

/// The blocks of all pages.
fn blocks(checkout: &Path) -> Result<Vec<Block>> {
    let mut pages = BTreeSet::new();
    for name in PAGES {
        files::list(checkout, Path::new(name), &mut pages)?;
    }
    let mut blocks = Vec::new();
    for page in pages {
        if page.extension().map_or(false, |it| it == "md") {
            let text = fs::read_to_string(checkout.join(&page)).context(page.display())?;
            blocks.extend(page::blocks(&page.to_string_lossy(), &text)?);
        }
    }
    Ok(blocks)
}

/// The folder that takes the place of the checkout's parent. The machine has it at `/share`.
struct Workshop<'a> {
    dir: PathBuf,
    /// The same folder, as the build root sees it.
    inside: String,
    /// The log of the steps on the host.
    log: PathBuf,
    cache: &'a Cache,
    build: &'a Build,
}

impl<'a> Workshop<'a> {
    fn make(cache: &'a Cache, checkout: &Path, plan: &Plan, build: &'a Build) -> Result<Self> {
        let name = cache.of_checkout("docs");
        let dir = cache.path(&name);
        let log = cache.path("log/docs.log");
        tool::new_log(&log)?;
        files::remove_tree(&dir)?;
        for (path, text) in &plan.files {
            files::write(&dir.join(path), text.as_bytes())?;
        }
        for share in &plan.shares {
            files::mirror(&checkout.join(share), &dir.join(share), &["."])?;
        }
        for module in MODULES {
            files::copy(
                &build.filters().join("block-telnet.wasm"),
                &dir.join(module),
            )?;
        }
        for (number, script) in plan.work.scripts.iter().enumerate() {
            let file = dir.join(machine::SCRIPTS).join(format!("{number:03}"));
            files::write(&file, script.text().as_bytes())?;
        }
        Ok(Self {
            dir,
            inside: format!("/cache/{name}"),
            log,
            cache,
            build,
        })
    }

    /// Runs a step on the host.
    fn take(&self, step: &Step) -> Result<()> {
        let root = self.build.root();
        let mut command = match step {
            Step::Filter { folder, .. } => {
                let project = Project {
                    dir: &self.dir.join(folder),
                    seen_at: &Path::new(BESIDE).join(folder),
                    checkout_at: Path::new(CHECKOUT),
                };
                return project.build(root, self.cache).map(drop);
            }
            Step::Script { text, .. } => {
                let mut shell = root.command(["env", &format!("--chdir={}", self.inside)]);
                shell.args(["sh", "-ec", text]);
                shell
            }
            Step::Text { path, .. } => {
                let mut check = self.build.program("nfwasm");
                check.arg("check").arg(format!("{}/{path}", self.inside));
                check
            }
            Step::C { path, .. } => {
                let mut cc = root.command(["cc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
                cc.args(["-I", "/checkout/shared/include"]);
                cc.arg(format!("{}/{path}", self.inside));
                cc
            }
        };
        tool::run(&mut command, &self.log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_somebody_who_runs_it() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let blocks = blocks(checkout.expect("a checkout")).expect("blocks");
        assert!(blocks.len() > 20);
        Plan::of(&blocks).expect("a plan");
    }
}
