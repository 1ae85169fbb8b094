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

/// All that one run measured.
#[derive(Serialize, Deserialize)]
pub struct Report {
    schema: u32,
    /// Release of the kernel.
    kernel: String,
    /// Of module and filters.
    #[serde(default)]
    compiler: String,
    /// Of this repository.
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
}

/// One cell of the table.
#[derive(Serialize, Deserialize)]
pub struct Cell {
    pub workload: String,
    pub contender: String,
    /// How nf_wasm runs filters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<String>,
    /// Instructions that a packet takes, and what of it is the contender's.
    pub instructions: i64,
    pub added_instructions: i64,
    /// By how much rounds that were measured differed.
    pub spread: i64,
}

/// What a contender adds where something grows.
#[derive(Serialize, Deserialize)]
pub struct Point {
    /// What grows.
    pub curve: String,
    /// How much of it there is.
    pub x: u32,
    pub contender: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<String>,
    pub added_instructions: i64,
    pub spread: i64,
}

/// What a contender adds at each place of a curve.
pub struct Line<'a> {
    pub contender: &'a str,
    pub places: Vec<u32>,
    pub added: Vec<i64>,
}

/// What it takes to load a module, and to replace it by itself under traffic.
#[derive(Serialize, Deserialize)]
pub struct LoadCost {
    pub module_bytes: usize,
    /// Of the whole ioctl, on a machine with one CPU.
    pub load_instructions: i64,
    /// What of it are the engine's stages.
    pub stages: Vec<StageCost>,
    /// Of the whole ioctl, without what the packets took.
    pub replace_instructions: i64,
    /// Packets that were sent during the replacement.
    pub packets_meanwhile: u32,
    /// Bytes of kernel memory that the filter has for each CPU.
    pub memory_per_cpu: u64,
}

/// A stage of a load.
#[derive(Serialize, Deserialize)]
pub struct StageCost {
    pub stage: String,
    pub instructions: i64,
}

/// What block-telnet of nf_wasm costs while each of so many CPUs sends.
#[derive(Serialize, Deserialize)]
pub struct Scaling {
    pub cpus: usize,
    /// Instructions that a packet takes, and what of it is nf_wasm's.
    pub instructions: i64,
    pub added_instructions: i64,
}

/// A cell that has no figure.
#[derive(Serialize, Deserialize)]
pub struct Missing {
    pub workload: String,
    pub contender: String,
    pub reason: String,
}

impl Report {
    /// Of nothing, on the kernel that runs.
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
        })
    }

    /// One that a machine printed, with what only its host knows.
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

    /// Fails if a figure of `after` is more than `percent` larger than here.
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
            // What is measured without a filter is not ours.
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
            bail!("more than {percent} % above before: {}", grown.join(", "));
        }
        Ok(())
    }

    /// The workloads that were measured, in that order.
    pub fn workloads(&self) -> Vec<&str> {
        let mut workloads: Vec<&str> = Vec::new();
        for cell in &self.results {
            if !workloads.contains(&cell.workload.as_str()) {
                workloads.push(&cell.workload);
            }
        }
        workloads
    }

    /// The curves that were measured.
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

    /// Where the curves have points.
    fn places(&self) -> Vec<(&str, u32)> {
        let mut places: Vec<(&str, u32)> = Vec::new();
        for point in &self.curves {
            if places.last() != Some(&(&point.curve, point.x)) {
                places.push((&point.curve, point.x));
            }
        }
        places
    }

    /// The contenders of a workload, and what they add.
    pub fn added<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = (&'a str, i64)> {
        self.results
            .iter()
            .filter(move |cell| cell.workload == workload)
            .filter(|cell| cell.contender != Contender::None.name())
            .map(|cell| (cell.contender.as_str(), cell.added_instructions))
    }

    /// Puts tables between the marks that `page` has for them.
    pub fn write_tables(&self, page: &Path) -> Result<()> {
        let name = || page.display().to_string();
        let mut text = fs::read_to_string(page).with_context(name)?;
        let tables = [
            ("workloads", self.table()),
            ("loads", self.table_of_loads()),
            ("scaling", self.table_of_scaling()),
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

    /// What loads and replacements took, in Markdown: thousands of instructions.
    fn table_of_loads(&self) -> String {
        let mut table = String::new();
        for (row, load) in self.loads.iter().enumerate() {
            let thousands = |instructions: i64| (instructions / 1_000).to_string();
            let stages = load.stages.iter();
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

    /// What packets took with more CPUs, in Markdown.
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

    /// Instructions a packet, in Markdown: without any filter, and what each contender adds.
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

/// What was written, or a machine printed.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

/// The table, and why some of its cells are empty.
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
        Ok(())
    }
}
