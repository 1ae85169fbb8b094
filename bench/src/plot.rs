// SPDX-License-Identifier: GPL-2.0-only
//! Draws a plot for each workload and each curve.

use crate::report::Report;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use svg::node::element::{Polyline, Rectangle, Text};
use svg::Document;

const WIDTH: i64 = 640;
/// Height of a bar, with the space around it.
const ROW: i64 = 26;
const BAR: i64 = 18;
/// Space for the title, and for the names before the bars.
const TITLE: i64 = 34;
const NAMES: i64 = 80;
/// Space for a figure after the longest bar.
const FIGURES: i64 = 80;
/// Colours of nf_wasm and of the other contenders. They also differ in brightness.
const COLOURS: [&str; 2] = ["#654ff0", "#8a8a98"];
/// The dash patterns of lines, and of their samples in a legend.
const DASHES: [&str; 4] = ["none", "8 4", "2 3", "8 3 2 3"];
const SAMPLES: [&str; 4] = ["———", "– – –", "· · · ·", "– · –"];

/// Height of a curve, and the space for the names after it.
const HEIGHT: i64 = 240;
const LEGEND: i64 = 140;

/// Draws how many instructions each contender adds per packet: a file in `folder` for each workload
/// and curve.
pub fn plots(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for workload in report.workloads() {
        let file = folder.join(format!("{workload}.svg"));
        svg::save(&file, &plot(report, workload)).with_context(|| file.display().to_string())?;
    }
    for curve in report.curves() {
        let file = folder.join(format!("curve-{curve}.svg"));
        svg::save(&file, &graph(report, curve)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// A document of this height with a title.
fn document(height: i64, title: String) -> Document {
    let background = Rectangle::new()
        .set("width", WIDTH)
        .set("height", height)
        .set("fill", "white");
    let title = Text::new(title)
        .set("x", 8)
        .set("y", 20)
        .set("font-size", 15);
    Document::new()
        .set("viewBox", (0, 0, WIDTH, height))
        .set("font-family", "sans-serif")
        .set("font-size", 13)
        .add(background)
        .add(title)
}

fn plot(report: &Report, workload: &str) -> Document {
    let bars: Vec<_> = report.added(workload).collect();
    let height = TITLE + ROW * bars.len() as i64;
    let mut document = document(
        height,
        format!("{workload}: instructions added to a packet's way"),
    );
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

/// Draws a curve's lines. The x values are spaced evenly.
fn graph(report: &Report, curve: &str) -> Document {
    let lines = report.lines(curve);
    let most = lines.iter().flat_map(|line| &line.added).max();
    let most = *most.unwrap_or(&1).max(&1);
    let places = &lines[0].places;
    let (left, right) = (NAMES, WIDTH - LEGEND);
    let (top, bottom) = (TITLE + 10, HEIGHT - 30);
    let x = |at: usize| left + (right - left) * at as i64 / (places.len() as i64 - 1).max(1);
    let y = |added: i64| bottom - (bottom - top) * added / most;
    let text = |text: String, at: (i64, i64), anchor: &str| {
        Text::new(text)
            .set("x", at.0)
            .set("y", at.1)
            .set("text-anchor", anchor)
    };
    let mut document = document(
        HEIGHT,
        format!("{curve}: instructions added to a packet's way"),
    )
    .add(text(most.to_string(), (left - 8, top + 4), "end"))
    .add(text("0".to_owned(), (left - 8, bottom), "end"));
    for (at, place) in places.iter().enumerate() {
        document = document.add(text(place.to_string(), (x(at), bottom + 20), "middle"));
    }
    for (number, line) in lines.iter().enumerate() {
        let points: Vec<String> = (line.added.iter().enumerate())
            .map(|(at, added)| format!("{},{}", x(at), y(*added)))
            .collect();
        let is_theirs = usize::from(!line.contender.starts_with("nf_wasm"));
        // The dash pattern distinguishes the other contenders.
        document = document
            .add(
                Polyline::new()
                    .set("points", points.join(" "))
                    .set("fill", "none")
                    .set("stroke", COLOURS[is_theirs])
                    .set("stroke-width", 2)
                    .set("stroke-dasharray", DASHES[number % DASHES.len()]),
            )
            .add(text(
                format!("{} {}", line.contender, SAMPLES[number % SAMPLES.len()]),
                (right + 12, top + 4 + 20 * number as i64),
                "start",
            ));
    }
    document
}
