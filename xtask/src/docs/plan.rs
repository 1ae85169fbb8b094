// SPDX-License-Identifier: GPL-2.0-only
//! Decides how each code block is tested.

use super::machine::{Script, Work};
use super::page::{self, Block, Kind};
use crate::cli::{Options, Verb};
use crate::error::{Error, Result};
use crate::vm::quote;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

/// Commands that do not run, by a part of their text, and the reason. Their xtask command lines are
/// still parsed.
const EXEMPT: [(&str, &str); 7] = [
    ("cargo xtask demo", "a part of CI of its own"),
    ("cargo xtask test", "runs this test, or takes hours"),
    (
        "cargo xtask bench",
        "takes a quarter of an hour; test bench is its short form",
    ),
    (
        "nf-wasm-storm",
        "takes a quarter of the machine's time; the tests `storm` run it",
    ),
    (
        "nf-wasm-hostile cases",
        "takes minutes, and needs a machine that counts instructions",
    ),
    (
        "nf-wasm-spectest --write",
        "takes minutes, and writes a file of the checkout",
    ),
    ("| jq", "the build root has no jq"),
];

/// A shell that stops at the first command that fails, also within pipes.
const STRICT: &str = "bash -eo pipefail -c";

/// A step on the host.
pub enum Step {
    /// `cargo xtask filter ../FOLDER`
    Filter { place: String, folder: String },
    /// A script for the build root.
    Script { place: String, text: String },
    /// A filter in the text format. It must load.
    Text { place: String, path: String },
    /// A C program. It must compile.
    C { place: String, path: String },
}

impl Step {
    /// The place of the block in its page.
    pub fn place(&self) -> &str {
        match self {
            Self::Filter { place, .. }
            | Self::Script { place, .. }
            | Self::Text { place, .. }
            | Self::C { place, .. } => place,
        }
    }
}

/// All files, steps and commands.
#[derive(Default)]
pub struct Plan {
    /// Files, by their path beside the checkout.
    pub files: BTreeMap<String, String>,
    /// Folders of the checkout that the machine gets.
    pub shares: BTreeSet<String>,
    /// The steps on the host, in order, before the machine runs.
    pub steps: Vec<Step>,
    /// The commands for the machine.
    pub work: Work,
    /// Exemptions that some page used.
    exempt: BTreeSet<&'static str>,
}

impl Plan {
    /// The plan for the blocks of all pages. Fails if a block would not be tested.
    pub fn of(blocks: &[Block]) -> Result<Self> {
        let mut plan = Self::default();
        for block in blocks {
            plan.add(block)
                .map_err(|error| Error::new(format!("{}: {error}", block.place)))?;
        }
        for (part, _) in EXEMPT {
            if !plan.exempt.contains(part) {
                return Err(Error::new(format!(
                    "no page has {part:?}: it needs no exemption"
                )));
            }
        }
        plan.check_sources()?;
        Ok(plan)
    }

    fn add(&mut self, block: &Block) -> Result<()> {
        let place = block.place.clone();
        let mut script = Script::default();
        match &block.kind {
            Kind::Text => {}
            Kind::Host => self.host(block, &mut script)?,
            Kind::Machine if self.is_exempt(&block.text) => {}
            Kind::Machine => {
                let command = format!("{STRICT} {}", quote(&block.text));
                self.work.add(&mut script, &place, &command, &[]);
            }
            Kind::Console => {
                for shown in page::prompted(block)? {
                    if !shown.on_host {
                        let (command, output) = (&shown.command, &shown.output);
                        self.work.add(&mut script, &place, command, output);
                        continue;
                    }
                    for words in page::commands(&shown.command) {
                        self.xtask(&place, &words, &shown.output, &mut script)?;
                    }
                }
            }
            Kind::Modprobe => {
                let command = format!("{STRICT} {}", quote(&insertion(&block.text)));
                self.work.add(&mut script, &place, &command, &[]);
            }
            Kind::File(path) => {
                if self
                    .files
                    .insert(path.clone(), block.text.clone())
                    .is_some()
                {
                    return Err(Error::new(format!(
                        "another block already has the file {path}"
                    )));
                }
                let path = path.clone();
                if path.ends_with(".wat") {
                    self.steps.push(Step::Text { place, path });
                } else if path.ends_with(".c") {
                    self.steps.push(Step::C { place, path });
                }
            }
        }
        if !script.is_empty() {
            self.work.scripts.push(script);
        }
        Ok(())
    }

    /// A block for the host: xtask commands, or a script of other commands.
    fn host(&mut self, block: &Block, script: &mut Script) -> Result<()> {
        let commands = page::commands(&block.text);
        let is_xtask = |words: &Vec<String>| words.iter().any(|word| word == "xtask");
        if commands.iter().any(is_xtask) {
            for words in &commands {
                self.xtask(&block.place, words, &[], script)?;
            }
        } else if !self.is_exempt(&block.text) {
            self.steps.push(Step::Script {
                place: block.place.clone(),
                text: block.text.clone(),
            });
        }
        Ok(())
    }

    /// A command of xtask, which may run a command in the machine.
    fn xtask(
        &mut self,
        place: &str,
        words: &[String],
        output: &[String],
        script: &mut Script,
    ) -> Result<()> {
        let text = words.join(" ");
        let is_exempt = self.is_exempt(&text);
        let at = words.iter().position(|word| word == "xtask");
        let mut words = match at {
            // Environment variables and `cargo` may precede `xtask`.
            Some(at) if words[at - 1] == "cargo" => words[at + 1..].to_vec(),
            _ if is_exempt => return Ok(()),
            _ => return Err(Error::new(format!("`{text}` is not a command of xtask"))),
        };
        // Ignore a redirection and what follows.
        if let Some(at) = words.iter().position(|word| word == ">") {
            words.truncate(at);
        }
        let mut share = None;
        if let Some(at) = words.iter().position(|word| word == "--share") {
            share = words.get(at + 1).cloned();
            // Any existing folder satisfies the parser.
            words[at + 1] = "/".to_owned();
        }
        let options = Options::parse(words.into_iter().map(OsString::from))
            .map_err(|error| Error::new(format!("`{text}`: {error}")))?;
        match (options.verb, options.rest.as_slice()) {
            _ if is_exempt => {}
            (Verb::Filter, [folder]) => self.steps.push(Step::Filter {
                place: place.to_owned(),
                folder: beside(folder)?.to_owned(),
            }),
            (Verb::Vm, _) => {
                if let Some(share) = share {
                    match share.strip_prefix("../") {
                        Some(folder) => script.share(folder),
                        None => {
                            script.share(&share);
                            self.shares.insert(share);
                        }
                    }
                }
                // Without a command, `vm` runs a shell. The next commands of the console are for
                // this shell.
                let command = options.machine.command.iter();
                let command: Vec<_> = command.map(|it| quoted(&it.to_string_lossy())).collect();
                if !command.is_empty() {
                    self.work.add(script, place, &command.join(" "), output);
                }
            }
            (Verb::Help, _) => {}
            _ => {
                return Err(Error::new(format!(
                    "no test runs `{text}`: see {}",
                    file!()
                )))
            }
        }
        Ok(())
    }

    /// Whether a command is exempt from running.
    fn is_exempt(&mut self, text: &str) -> bool {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found: Vec<_> = EXEMPT
            .iter()
            .filter(|(part, _)| text.contains(part))
            .collect();
        self.exempt.extend(found.iter().map(|(part, _)| *part));
        !found.is_empty()
    }

    /// Checks that some page builds every Rust source file.
    fn check_sources(&self) -> Result<()> {
        for path in self.files.keys().filter(|path| path.ends_with(".rs")) {
            let is_built = self.steps.iter().any(|step| match step {
                Step::Filter { folder, .. } => path.starts_with(&format!("{folder}/")),
                _ => false,
            });
            if !is_built {
                return Err(Error::new(format!("no page builds ../{path}")));
            }
        }
        Ok(())
    }
}

/// A word, quoted for a shell if necessary.
fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./=:".contains(it);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => quote(word),
    }
}

fn beside(path: &str) -> Result<&str> {
    path.strip_prefix("../")
        .ok_or_else(|| Error::new(format!("{path} is not beside the checkout (../)")))
}

/// Commands that insert nf_wasm with the options of a modprobe file and check the parameters.
fn insertion(options: &str) -> String {
    let mut script = format!(
        "printf %s {} > /run/modprobe.conf\n\
         modprobe -r nf_wasm\n\
         modprobe -C /run/modprobe.conf nf_wasm\n",
        quote(options)
    );
    let names = page::commands(options).into_iter().flatten();
    for name in names.filter_map(|word| Some(word.split_once('=')?.0.to_owned())) {
        script += &format!("cat /sys/module/nf_wasm/parameters/{name}\n");
    }
    script
}
