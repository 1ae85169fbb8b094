// SPDX-License-Identifier: GPL-2.0-only
//! Prints criterion's results as ratios.

use crate::engines::{self, Case};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// Prints each contender's time as a multiple of nf_wasm's.
pub fn print(cases: &[Case]) -> Result<()> {
    let names: Vec<&str> = engines::ALL.iter().map(|(name, _)| *name).collect();
    println!("\ntime, as a multiple of nf_wasm's");
    println!("| filter | {} |", names.join(" | "));
    println!("|---|{}", "--:|".repeat(names.len()));
    for case in cases {
        let ours = time(case.name, "nf_wasm")?;
        let cells: Vec<String> = names
            .iter()
            .map(|name| match time(case.name, name) {
                Ok(time) => format!("{:.3}", time / ours),
                Err(_) => "-".to_owned(),
            })
            .collect();
        println!("| {} | {} |", case.name, cells.join(" | "));
    }
    Ok(())
}

/// The time that criterion recorded, in nanoseconds.
fn time(case: &str, engine: &str) -> Result<f64> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let file = PathBuf::from(target)
        .join("criterion")
        .join(case)
        .join(engine)
        .join("new/estimates.json");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let estimates: serde_json::Value = serde_json::from_str(&text)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .context("no median")
}
