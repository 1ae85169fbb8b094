// SPDX-License-Identifier: GPL-2.0-only
//! The demo: a WebAssembly filter stops telnet and lets the web pass, in a stock kernel.
//!
//! It prints each command that it runs, so that a reader can type it. It fails if a result differs
//! from what it announces.
//!
//! ```text
//! ┌ client ────────────────────┐      ┌ server ────────────────────┐
//! │            wire            │──────│            wire            │
//! │ 192.0.2.1   2001:db8::1    │      │ 192.0.2.2   2001:db8::2    │
//! └────────────────────────────┘      └────────────────────────────┘
//! ```

use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use nf_wasm_tests::FILTERS;
use serde_json::Value;

type Result<T, E = String> = std::result::Result<T, E>;

const SETUP: &str = "\
ip netns add client
ip netns add server
ip link add wire netns client address 02:00:00:00:00:01 type veth peer name wire netns server address 02:00:00:00:00:02
ip -n client link set wire addrgenmode none up
ip -n server link set wire addrgenmode none up
ip -n client address add 192.0.2.1/24 dev wire
ip -n server address add 192.0.2.2/24 dev wire
ip -n client address add 2001:db8::1/64 dev wire nodad
ip -n server address add 2001:db8::2/64 dev wire nodad
ip -n client neighbour add 2001:db8::2 lladdr 02:00:00:00:00:02 dev wire nud permanent
ip -n server neighbour add 2001:db8::1 lladdr 02:00:00:00:00:01 dev wire nud permanent";

const SERVERS: [&str; 2] = [
    "ip netns exec server nc -ll -p 23 -e echo 'This is telnet.'",
    "ip netns exec server nc -ll -p 80 -e echo 'This is the web.'",
];

/// Counts the packets that reach the input hook just before the filter.
const WITNESS: &str = "ip netns exec server nft 'table inet witness { counter seen { }; chain input { type filter hook input priority -10; counter name seen; }; }'";

const ADDRESSES: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

/// How long a server, or a connection's last packet, may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut machine = Machine::default();
    match demo(&mut machine) {
        Ok(()) => {
            println!("\nAll results were as announced.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!();
            eprintln!("The demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo(machine: &mut Machine) -> Result<()> {
    let filters = FILTERS;
    say("A stock kernel and its modules:");
    run("uname -srv")?;
    run("nfwasm info")?;

    say("Two network namespaces, client and server, joined by a veth pair:");
    for line in SETUP.lines() {
        run(line)?;
    }
    say("TCP servers in the namespace server: port 23 (telnet) and port 80 (web):");
    for line in SERVERS {
        machine.start(line)?;
    }
    await_servers()?;

    say("Without a filter, both answer, over IPv4 and IPv6:");
    connections(true)?;

    say("A filter that drops TCP to port 23, at the server's input. It is WebAssembly:");
    run(&format!("ls -l {filters}/block-telnet.wasm"))?;
    let load = format!("nfwasm load {filters}/block-telnet.wasm --attach inet:input");
    run(&format!("ip netns exec server {load}"))?;
    say("As a check, nftables counts the same packets:");
    run(WITNESS)?;

    say("Telnet does not answer now. The web still does:");
    connections(false)?;
    let with = same_counters()?;
    check(with.dropped > 0, "the filter dropped nothing")?;
    check(with.accepted > 0, "the filter accepted nothing")?;
    say(&format!(
        "Of {} packets that nftables saw, the filter saw {}: it dropped {} and let {} pass.",
        with.packets, with.packets, with.dropped, with.accepted
    ));

    say("Replace the filter's program. No packet passes undecided:");
    let replace = format!("nfwasm replace block-telnet {filters}/accept-all.wat");
    run(&format!("ip netns exec server {replace}"))?;
    say("Telnet answers again:");
    connections(true)?;
    let replaced = same_counters()?;
    check(
        replaced.dropped == with.dropped,
        "accept-all dropped packets",
    )?;
    check(
        replaced.accepted > with.accepted,
        "accept-all accepted nothing",
    )?;
    say(&format!(
        "The counters continue: {} packets, the same as in nftables. {} more passed.",
        replaced.packets,
        replaced.accepted - with.accepted
    ));

    say("Unload the filter. Both servers answer again:");
    run("ip netns exec server nfwasm unload block-telnet")?;
    connections(true)?;
    run("ip netns exec server nfwasm list")?;
    let left = query("ip netns exec server nfwasm --json list")?;
    check(
        left["filters"].as_array().is_some_and(Vec::is_empty),
        "a filter is still loaded",
    )
}

/// The processes that the demo started. Kills them when it is dropped.
#[derive(Default)]
struct Machine {
    servers: Vec<Child>,
}

impl Machine {
    /// Starts a command in the background.
    fn start(&mut self, line: &str) -> Result<()> {
        println!("# {line} &");
        let child = Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .stdin(Stdio::null())
            .spawn();
        self.servers.push(child.map_err(|error| error.to_string())?);
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        for name in ["client", "server"] {
            let _ = Command::new("ip")
                .args(["netns", "delete", name])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn say(text: &str) {
    println!("\n{text}");
}

fn check(holds: bool, otherwise: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

fn shell(line: &str) -> Result<Output> {
    let output = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .output();
    output.map_err(|error| format!("{line}: {error}"))
}

/// Shows a command, runs it, and shows its output. It must succeed.
fn run(line: &str) -> Result<()> {
    println!("# {line}");
    let output = shell(line)?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    check(
        output.status.success(),
        &format!("`{line}` ended with {}", output.status),
    )
}

/// Runs a command silently, and parses the JSON that it prints.
fn query(line: &str) -> Result<Value> {
    let output = shell(line)?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        format!("`{line}` printed no JSON: {error}\n{stderr}")
    })
}

/// Waits until the servers listen: before that, a refused connection proves nothing.
fn await_servers() -> Result<()> {
    let since = Instant::now();
    loop {
        let listening = shell("ip netns exec server ss -Hltn 'sport = :23 or sport = :80'")?;
        if listening.stdout.split(|&byte| byte == b'\n').count() > 2 {
            return Ok(());
        }
        check(since.elapsed() < PATIENCE, "the servers do not listen")?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Connects to both ports over both protocols, and compares the results with the announcement.
fn connections(telnet_answers: bool) -> Result<()> {
    for address in ADDRESSES {
        connection(address, 23, telnet_answers.then_some("This is telnet."))?;
        connection(address, 80, Some("This is the web."))?;
    }
    Ok(())
}

fn connection(address: &str, port: u16, expected: Option<&str>) -> Result<()> {
    let line = format!("ip netns exec client nc -w 3 {address} {port}");
    println!("# {line}");
    let output = shell(&line)?;
    let answer = String::from_utf8_lossy(&output.stdout);
    match expected {
        Some(expected) => {
            print!("{answer}");
            check(
                output.status.success() && answer.trim() == expected,
                &format!("{address} port {port} did not answer: {output:?}"),
            )
        }
        None => {
            print!("{}", String::from_utf8_lossy(&output.stderr));
            check(
                !output.status.success() && answer.is_empty(),
                &format!("{address} port {port} answered: {answer}"),
            )
        }
    }
}

struct Counted {
    packets: u64,
    accepted: u64,
    dropped: u64,
}

/// Reads the filter's counters and the witness's until the last packets of closed connections have
/// arrived, and shows them. They must agree.
fn same_counters() -> Result<Counted> {
    let since = Instant::now();
    let counted = loop {
        let before = witnessed()?;
        let filters = query("ip netns exec server nfwasm --json list")?;
        let counters = &filters["filters"][0]["counters"];
        let counter = |name: &str| {
            let number = counters[name].as_u64();
            number.ok_or_else(|| format!("no counter {name} in {filters}"))
        };
        let counted = Counted {
            packets: counter("packets")?,
            accepted: counter("accepted")?,
            dropped: counter("dropped")?,
        };
        let after = witnessed()?;
        if before == after && counted.packets == after {
            break counted;
        }
        check(
            since.elapsed() < PATIENCE,
            &format!(
                "nftables saw {after} packets, the filter {}",
                counted.packets
            ),
        )?;
    };
    run("ip netns exec server nft list counter inet witness seen")?;
    run("ip netns exec server nfwasm stats")?;
    check(
        counted.packets == counted.accepted + counted.dropped,
        "the filter and nftables disagree",
    )?;
    Ok(counted)
}

/// nftables' counter.
fn witnessed() -> Result<u64> {
    let listing = query("ip netns exec server nft --json list counter inet witness seen")?;
    let objects = listing["nftables"].as_array().into_iter().flatten();
    let mut packets = objects.filter_map(|it| it["counter"]["packets"].as_u64());
    packets
        .next()
        .ok_or_else(|| format!("no counter in {listing}"))
}
