// SPDX-License-Identifier: GPL-2.0-only
//! A plot for each workload.

use crate::report::Report;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use svg::node::element::{Rectangle, Text};
use svg::Document;

const WIDTH: i64 = 640;
/// Of a bar, with the space around it.
const ROW: i64 = 26;
const BAR: i64 = 18;
/// Room for the title, and for the names in front of the bars.
const TITLE: i64 = 34;
const NAMES: i64 = 80;
/// Room for a figure behind the longest bar.
const FIGURES: i64 = 80;
/// Colours of ours and of theirs, which differ in brightness too.
const COLOURS: [&str; 2] = ["#654ff0", "#b4b4c0"];

/// Draws what each contender adds to a packet's way: a file for each workload, in `folder`.
pub fn plots(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for workload in report.workloads() {
        let file = folder.join(format!("{workload}.svg"));
        svg::save(&file, &plot(report, workload)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn plot(report: &Report, workload: &str) -> Document {
    let bars: Vec<_> = report.added(workload).collect();
    let height = TITLE + ROW * bars.len() as i64;
    let title = Text::new(format!("{workload}: instructions added to a packet's way"))
        .set("x", 8)
        .set("y", 20)
        .set("font-size", 15);
    let background = Rectangle::new()
        .set("width", WIDTH)
        .set("height", height)
        .set("fill", "white");
    let mut document = Document::new()
        .set("viewBox", (0, 0, WIDTH, height))
        .set("font-family", "sans-serif")
        .set("font-size", 13)
        .add(background)
        .add(title);
    let longest = bars
        .iter()
        .map(|(_, added)| *added)
        .max()
        .unwrap_or(1)
        .max(1);
    for (row, (name, added)) in bars.iter().enumerate() {
        let top = TITLE + ROW * row as i64;
        let length = (added * (WIDTH - NAMES - FIGURES) / longest).max(1);
        let text = |text: String, x: i64| Text::new(text).set("x", x).set("y", top + BAR - 5);
        let is_theirs = usize::from(!name.starts_with("nf_wasm"));
        document = document
            .add(
                Rectangle::new()
                    .set("x", NAMES)
                    .set("y", top)
                    .set("width", length)
                    .set("height", BAR)
                    .set("fill", COLOURS[is_theirs]),
            )
            .add(text((*name).to_owned(), NAMES - 6).set("text-anchor", "end"))
            .add(text(added.to_string(), NAMES + length + 6));
    }
    document
}
