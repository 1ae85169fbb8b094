// SPDX-License-Identifier: GPL-2.0-only
//! Fuzzes the loaded kernel module. See docs/testing.md.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nf_wasm_tests::fuzz::{modules, requests, tiers, Campaign, Report};
use nf_wasm_tests::kernel;
use nf_wasm_tests::pins::Pins;

const USAGE: &str = "nf-wasm-fuzz modules|ioctl|tiers [--seed S] [--from N] [--seconds N|--runs N]";
/// Texts that must not appear in the kernel log.
const COMPLAINTS: [&str; 7] = [
    "BUG",
    "WARNING",
    "Oops",
    "KASAN",
    "UBSAN",
    "general protection",
    "panicked",
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((campaign, fuzz)) = parse(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let since = Instant::now();
    let pins = Pins::put();
    let mut report = fuzz(campaign);
    drop(pins);
    let log = kernel::log();
    let complaints = log
        .lines()
        .filter(|line| COMPLAINTS.iter().any(|it| line.contains(it)));
    report.findings.extend(complaints.map(str::to_owned));
    report.print();
    println!(
        "{} findings in {} cases, {:.0} s. To continue: nf-wasm-fuzz {} --seed {} --from {}",
        report.findings.len(),
        report.next - campaign.from,
        since.elapsed().as_secs_f64(),
        words[0],
        campaign.seed,
        report.next
    );
    ExitCode::from(u8::from(!report.findings.is_empty()))
}

type Fuzz = fn(Campaign) -> Report;

fn parse(words: &[String]) -> Option<(Campaign, Fuzz)> {
    let (subject, options) = words.split_first()?;
    let fuzz: Fuzz = match subject.as_str() {
        "modules" => modules::run,
        "ioctl" => requests::run,
        "tiers" => tiers::run,
        _ => return None,
    };
    let mut campaign = Campaign {
        seed: 1,
        from: 0,
        runs: None,
        time: Duration::from_secs(60),
    };
    for option in options.chunks(2) {
        let [name, value] = option else {
            return None;
        };
        let value: u64 = value.parse().ok()?;
        match name.as_str() {
            "--seed" => campaign.seed = value,
            "--from" => campaign.from = value,
            "--runs" => campaign.runs = Some(value),
            "--seconds" => campaign.time = Duration::from_secs(value),
            _ => return None,
        }
    }
    Some((campaign, fuzz))
}
