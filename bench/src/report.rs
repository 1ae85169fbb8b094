// SPDX-License-Identifier: GPL-2.0-only
//! The results as JSON and as tables.

use crate::contender::Contender;
use anyhow::{bail, Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Version of the format.
const SCHEMA: u32 = 1;

/// All results of a run.
#[derive(Serialize, Deserialize)]
pub struct Report {
    schema: u32,
    /// The kernel's release.
    kernel: String,
    /// The flavour of the kernel module and of the filters.
    #[serde(default)]
    compiler: String,
    /// The commit of this repository.
    #[serde(default)]
    pub commit: String,
    pub results: Vec<Cell>,
    pub missing: Vec<Missing>,
    #[serde(default)]
    pub curves: Vec<Point>,
    #[serde(default)]
    pub loads: Vec<LoadCost>,
    #[serde(default)]
    pub scaling: Vec<Scaling>,
    #[serde(default)]
    pub cpus: Vec<CpuCosts>,
}

/// Costs that may depend on the number of CPUs, in instructions.
#[derive(Serialize, Deserialize)]
pub struct CpuCosts {
    pub cpus: usize,
    /// Bytes of the Wasm module that is loaded.
    pub module_bytes: usize,
    pub load_instructions: i64,
    /// To bring the last CPU online, without programs and with `programs` of them. `None` if there
    /// is only one CPU.
    pub bring_up_instructions: Option<i64>,
    pub programs: usize,
    pub bring_up_with_programs: Option<i64>,
}

/// One cell of the table.
#[derive(Serialize, Deserialize)]
pub struct Cell {
    pub workload: String,
    pub contender: String,
    /// nf_wasm's tier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<String>,
    /// Instructions per packet, in total and added by the contender.
    pub instructions: i64,
    pub added_instructions: i64,
    /// The difference between the averages that `instructions` is taken from.
    pub spread: i64,
}

/// One point of a curve: what a contender adds.
#[derive(Serialize, Deserialize)]
pub struct Point {
    /// The quantity that grows.
    pub curve: String,
    /// The quantity's value.
    pub x: u32,
    pub contender: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<String>,
    pub added_instructions: i64,
    pub spread: i64,
}

/// What a contender adds, at each point of a curve.
pub struct Line<'a> {
    pub contender: &'a str,
    pub places: Vec<u32>,
    pub added: Vec<i64>,
}

/// The cost of loading a Wasm module, and of replacing it by itself under traffic.
#[derive(Serialize, Deserialize)]
pub struct LoadCost {
    pub module_bytes: usize,
    /// Instructions of the whole ioctl, on a machine with one CPU.
    pub load_instructions: i64,
    /// The cost of each of the engine's stages.
    pub stages: Vec<StageCost>,
    /// Instructions of the whole ioctl, without those of the packets.
    pub replace_instructions: i64,
    /// Packets sent during the replacement.
    pub packets_meanwhile: u32,
    /// Bytes of kernel memory that the filter uses per CPU.
    pub memory_per_cpu: u64,
    /// Bytes of kernel memory that all CPUs share.
    #[serde(default)]
    pub memory_shared: u64,
}

/// A stage of a load.
#[derive(Serialize, Deserialize)]
pub struct StageCost {
    pub stage: String,
    pub instructions: i64,
}

/// The cost of nf_wasm's block-telnet while `cpus` CPUs send.
#[derive(Serialize, Deserialize)]
pub struct Scaling {
    pub cpus: usize,
    /// Instructions per packet, in total and added by nf_wasm.
    pub instructions: i64,
    pub added_instructions: i64,
}

/// A cell without a figure, and the reason.
#[derive(Serialize, Deserialize)]
pub struct Missing {
    pub workload: String,
    pub contender: String,
    pub reason: String,
}

impl Report {
    /// An empty report for the running kernel.
    pub fn new() -> Result<Self> {
        Ok(Self {
            schema: SCHEMA,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .into(),
            compiler: String::new(),
            commit: String::new(),
            results: Vec::new(),
            missing: Vec::new(),
            curves: Vec::new(),
            loads: Vec::new(),
            scaling: Vec::new(),
            cpus: Vec::new(),
        })
    }

    /// Reads a report that the virtual machine printed, and adds the commit.
    pub fn finish(file: &Path, commit: String) -> Result<Self> {
        let mut report: Self = read(file)?;
        let output = Command::new("rustc").arg("--version").output()?;
        report.compiler = String::from_utf8_lossy(&output.stdout).trim().into();
        report.commit = commit;
        Ok(report)
    }

    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| file.display().to_string())
    }

    /// Fails if a figure of `after` is more than `percent` percent larger than in this report.
    pub fn compare(&self, after: &Self, percent: i64) -> Result<()> {
        let mut grown = Vec::new();
        for new in &after.results {
            let is_it = |old: &&Cell| {
                (&old.workload, &old.contender, &old.tier)
                    == (&new.workload, &new.contender, &new.tier)
            };
            let Some(old) = self.results.iter().find(is_it) else {
                continue;
            };
            // A baseline without a filter does not depend on nf_wasm.
            if new.contender == Contender::None.name() {
                continue;
            }
            let (before, now) = (old.added_instructions, new.added_instructions);
            println!(
                "{:<16} {:<9} {before:>8} {now:>8} {:>+7.1} %",
                new.workload,
                new.contender,
                (now - before) as f64 * 100.0 / before as f64
            );
            if (now - before) * 100 > before * percent {
                grown.push(format!("{} of {}", new.workload, new.contender));
            }
        }
        if !grown.is_empty() {
            bail!(
                "more than {percent} % larger than before: {}",
                grown.join(", ")
            );
        }
        Ok(())
    }

    /// The measured workloads, in the order of measurement.
    pub fn workloads(&self) -> Vec<&str> {
        let mut workloads: Vec<&str> = Vec::new();
        for cell in &self.results {
            if !workloads.contains(&cell.workload.as_str()) {
                workloads.push(&cell.workload);
            }
        }
        workloads
    }

    /// The measured curves.
    pub fn curves(&self) -> BTreeSet<&str> {
        self.curves.iter().map(|it| it.curve.as_str()).collect()
    }

    /// A line for each contender of a curve.
    pub fn lines(&self, curve: &str) -> Vec<Line<'_>> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for point in self.curves.iter().filter(|it| it.curve == curve) {
            let at = lines.iter().position(|it| it.contender == point.contender);
            let at = at.unwrap_or_else(|| {
                lines.push(Line {
                    contender: &point.contender,
                    places: Vec::new(),
                    added: Vec::new(),
                });
                lines.len() - 1
            });
            lines[at].places.push(point.x);
            lines[at].added.push(point.added_instructions);
        }
        lines
    }

    /// The curves' points.
    fn places(&self) -> Vec<(&str, u32)> {
        let mut places: Vec<(&str, u32)> = Vec::new();
        for point in &self.curves {
            if places.last() != Some(&(&point.curve, point.x)) {
                places.push((&point.curve, point.x));
            }
        }
        places
    }

    /// The contenders of a workload, and the instructions that each adds.
    pub fn added<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = (&'a str, i64)> {
        self.results
            .iter()
            .filter(move |cell| cell.workload == workload)
            .filter(|cell| cell.contender != Contender::None.name())
            .map(|cell| (cell.contender.as_str(), cell.added_instructions))
    }

    /// Replaces the tables between the marks in `page`.
    pub fn write_tables(&self, page: &Path) -> Result<()> {
        let name = || page.display().to_string();
        let mut text = fs::read_to_string(page).with_context(name)?;
        let tables = [
            ("workloads", self.table()),
            ("loads", self.table_of_loads()),
            ("scaling", self.table_of_scaling()),
            ("cpus", self.table_of_cpus()),
        ];
        for (mark, table) in tables {
            let marks = [
                format!("<!-- {mark} -->\n"),
                format!("<!-- end of {mark} -->"),
            ];
            let Some((before, rest)) = text.split_once(&marks[0]) else {
                continue;
            };
            let (_, after) = rest.split_once(&marks[1]).with_context(name)?;
            text = format!("{before}{}{table}{}{after}", marks[0], marks[1]);
        }
        fs::write(page, text).with_context(name)
    }

    /// The cost of loads and replacements, in Markdown, in thousands of instructions.
    fn table_of_loads(&self) -> String {
        let mut table = String::new();
        for (row, load) in self.loads.iter().enumerate() {
            let thousands = |instructions: i64| (instructions / 1_000).to_string();
            let stages = load.stages.iter();
            // The rest is the Wasm binary, and the snapshot, which is as large as an instance.
            let code = load
                .memory_shared
                .saturating_sub(load.module_bytes as u64 + load.memory_per_cpu);
            let cells: Vec<(&str, String)> = [
                ("bytes", load.module_bytes.to_string()),
                ("load", thousands(load.load_instructions)),
            ]
            .into_iter()
            .chain(stages.map(|it| (it.stage.as_str(), thousands(it.instructions))))
            .chain([
                ("replace", thousands(load.replace_instructions)),
                ("packets meanwhile", load.packets_meanwhile.to_string()),
                ("bytes a CPU", load.memory_per_cpu.to_string()),
                ("bytes shared", load.memory_shared.to_string()),
                ("of it code", code.to_string()),
            ])
            .collect();
            if row == 0 {
                table += &markdown(cells.iter().map(|(head, _)| *head));
                table += &markdown(cells.iter().map(|_| "--:"));
            }
            table += &markdown(cells.iter().map(|(_, cell)| cell.as_str()));
        }
        table
    }

    /// The cost per packet with several CPUs, in Markdown.
    fn table_of_scaling(&self) -> String {
        let mut table = markdown(["CPUs", "a packet", "of it nf_wasm's"].into_iter());
        table += &markdown(["--:"; 3].into_iter());
        for it in &self.scaling {
            let cells = [it.cpus as i64, it.instructions, it.added_instructions];
            let cells = cells.map(|cell| cell.to_string());
            table += &markdown(cells.iter().map(String::as_str));
        }
        table
    }

    /// The cost of loads and of CPUs that come online, in Markdown, in thousands of instructions.
    fn table_of_cpus(&self) -> String {
        let mut table = markdown(["CPUs", "load", "CPU online", "with programs"].into_iter());
        table += &markdown(["--:"; 4].into_iter());
        for it in &self.cpus {
            let thousands = |cost: i64| (cost / 1_000).to_string();
            let online = |cost: Option<i64>| cost.map_or("-".to_owned(), thousands);
            let cells = [
                it.cpus.to_string(),
                thousands(it.load_instructions),
                online(it.bring_up_instructions),
                online(it.bring_up_with_programs),
            ];
            table += &markdown(cells.iter().map(String::as_str));
        }
        table
    }

    /// Instructions per packet, in Markdown: in total without a filter, then what each contender
    /// adds.
    fn table(&self) -> String {
        let row = |first: &str, cells: Vec<String>| {
            let first = format!("| {first:<16} |");
            cells
                .iter()
                .fold(first, |row, cell| row + &format!(" {cell:>9} |"))
                + "\n"
        };
        let heads = Contender::ALL.map(|it| it.name().to_owned());
        let rules = Contender::ALL.map(|_| "--------:".to_owned());
        let mut table = row("workload", heads.into());
        table += &row("----------------", rules.into());
        for workload in self.workloads() {
            let cells = Contender::ALL.map(|it| self.cell(workload, it.name()));
            table += &row(workload, cells.into());
        }
        table
    }

    fn cell(&self, workload: &str, contender: &str) -> String {
        let is_it = |it: &&Cell| it.workload == workload && it.contender == contender;
        match self.results.iter().find(is_it) {
            Some(cell) if contender == Contender::None.name() => cell.instructions.to_string(),
            Some(cell) => format!("+{}", cell.added_instructions),
            None => "-".to_owned(),
        }
    }
}

/// A row of a table.
fn markdown<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    cells.fold("|".to_owned(), |row, cell| row + " " + cell + " |") + "\n"
}

/// Reads JSON that this program wrote or the virtual machine printed.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

/// The table, and the reasons for its empty cells.
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.table())?;
        for Missing {
            workload,
            contender,
            reason,
        } in &self.missing
        {
            writeln!(f, "{workload}, {contender}: {reason}")?;
        }
        for (curve, x) in self.places() {
            let added: Vec<_> = self
                .curves
                .iter()
                .filter(|it| (it.curve.as_str(), it.x) == (curve, x))
                .map(|it| format!("{} +{}", it.contender, it.added_instructions))
                .collect();
            writeln!(f, "{x} {curve}: {}", added.join(", "))?;
        }
        if !self.loads.is_empty() {
            writeln!(f, "\nthousands of instructions:\n{}", self.table_of_loads())?;
        }
        if !self.scaling.is_empty() {
            writeln!(f, "block-telnet:\n{}", self.table_of_scaling())?;
        }
        if !self.cpus.is_empty() {
            writeln!(f, "thousands of instructions:\n{}", self.table_of_cpus())?;
        }
        Ok(())
    }
}
