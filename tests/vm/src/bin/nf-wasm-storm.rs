// SPDX-License-Identifier: GPL-2.0-only
//! Runs a storm for the given time: many processes load, attach, replace and unload under traffic.
//! Prints how many packets are unaccounted for. Exits with 1 if there are any.
//!
//! ```text
//! cargo xtask vm --timeout 3600 -- nf-wasm-storm --seconds 600 [--processes 8] [--seed 1] [--hotplug]
//! ```

use std::process::exit;

use nf_wasm_tests::net::Namespace;
use nf_wasm_tests::pins::Pins;
use nf_wasm_tests::storm::{storm, worker, Plan};

const USAGE: &str = "nf-wasm-storm [--seconds N] [--processes N] [--seed N] [--hotplug]";

fn usage() -> ! {
    eprintln!("usage: {USAGE}");
    exit(2);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "worker") {
        return work(&words[1..]);
    }
    let mut plan = Plan {
        seconds: 60,
        processes: 8,
        seed: 1,
        hotplug: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let number = words.next().and_then(|word| word.parse().ok());
            number.unwrap_or_else(|| usage())
        };
        match word.as_str() {
            "--seconds" => plan.seconds = number(),
            "--processes" => plan.processes = number().try_into().unwrap_or_else(|_| usage()),
            "--seed" => plan.seed = number(),
            "--hotplug" => plan.hotplug = true,
            _ => usage(),
        }
    }
    let pins = Pins::put();
    let report = storm(&plan);
    drop(pins);
    println!("{report}");
    if report.differences() != [0; 3] {
        exit(1);
    }
}

/// `worker INDEX SEED NAMESPACE…`: a process that [`storm`] starts.
fn work(words: &[String]) {
    let [index, seed, namespaces @ ..] = words else {
        usage();
    };
    let (Ok(index), Ok(seed)) = (index.parse(), seed.parse()) else {
        usage();
    };
    let namespaces = namespaces.iter().map(|name| Namespace::named(name));
    let done = worker::work(index, seed, namespaces.collect());
    println!("{}", serde_json::json!(done));
}
