//! `cargo xtask bench-server`: the server under mixed requests from many connections.
//!
//! Starts the release build on the model `demo`, keeps every connection busy for the time given with what the page
//! and its front ends ask (half of it never asked before, so that it is computed), and reports failures,
//! times and the memory of the process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::cargo::released;

/// How long, and from how many connections.
#[derive(Args)]
pub struct BenchServer {
    /// Connections, each with a request under way all the time.
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// Seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// A server of our own, stopped when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was measured.
#[derive(Default)]
struct Seen {
    /// By kind of request: milliseconds.
    times: BTreeMap<&'static str, Vec<f64>>,
    failures: Vec<String>,
}

impl BenchServer {
    /// Runs it and prints a table.
    pub fn run(&self, root: &Path) -> Result<()> {
        let server = start(&released(root)?)?;
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections_per_host(1000)
            .max_idle_connections(1000)
            .build()
            .into();
        let seen = Mutex::new(Seen::default());
        let next = AtomicU64::new(0);
        let (until, started) = (Duration::from_secs(self.seconds), Instant::now());
        let mut memory = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..self.connections {
                scope.spawn(|| {
                    while started.elapsed() < until {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        ask(&agent, &server.address, number, &seen);
                    }
                });
            }
            while started.elapsed() < until {
                std::thread::sleep(Duration::from_secs(5).min(until.saturating_sub(started.elapsed())));
                memory.push((started.elapsed().as_secs(), resident_mib(server.child.id())));
            }
        });
        report(&seen.into_inner().unwrap_or_default(), self, &memory);
        Ok(())
    }
}

fn start(program: &Path) -> Result<Server> {
    let mut child = Command::new(program)
        .args(["serve", "--no-open", "--port", "0", "--queue", "256"])
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the server")?;
    let mut line = String::new();
    let out = child.stdout.take().context("the server has no output")?;
    BufReader::new(out).read_line(&mut line)?;
    let address = line.split_whitespace().find(|word| word.starts_with("http://"));
    let address =
        address.with_context(|| format!("no address in `{line}`"))?.trim_end_matches('/').to_owned();
    Ok(Server { child, address })
}

/// One request of the mix. Numbers go through it in turn; every other one asks what nobody asked before.
fn ask(agent: &ureq::Agent, address: &str, number: u64, seen: &Mutex<Seen>) {
    let fresh = if number.is_multiple_of(2) { number } else { number % 14 };
    let names = ["Mary", "John", "Anna", "Tom", "Emma", "Paul", "Lisa", "Peter"];
    let name = |step: u64| names[((fresh / step) % 8) as usize];
    let prompt =
        format!("In {} {} and {} went to the store, {} gave a drink to", fresh, name(1), name(8), name(8));
    let experiment = |method: Value| json!({"model": "demo", "method": method, "prompts": [{"clean": prompt, "answers": [" Mary"]}]});
    let pair = json!({"clean_prompt": prompt, "corrupt_prompt": prompt.replace("and", "or"), "target_token": " Mary"});
    let (kind, path, body) = match number % 7 {
        0 => ("sweep", "/sweep", json!({"clean_prompt": prompt, "target_token": " Mary"})),
        1 => ("patch sweep", "/patch-sweep", pair),
        2 => ("tokenize", "/api/tokenize", json!({"text": prompt})),
        3 => ("target", "/api/target", json!({"text": "Mar"})),
        4 => ("attention", "/api/attention", json!({"prompt": prompt})),
        5 => ("lens, streamed", "/api/experiments", experiment(json!({"logit_lens": {}}))),
        _ => {
            let generate = json!({"generate": {"max_new_tokens": 20, "cut": ["L1H3"]}});
            let mut body = experiment(generate);
            body["prompts"][0]["answers"] = json!([]);
            ("generation, streamed", "/api/experiments", body)
        }
    };
    let begun = Instant::now();
    let mut request = agent.post(format!("{address}{path}")).header("content-type", "application/json");
    if kind.ends_with("streamed") {
        request = request.header("accept", "text/event-stream");
    }
    let problem = match request.send(body.to_string()) {
        Ok(mut response) => {
            let status = response.status();
            match response.body_mut().read_to_vec() {
                Ok(bytes) if status == 200 => {
                    let streamed = kind.ends_with("streamed");
                    let whole = !streamed || String::from_utf8_lossy(&bytes).contains("event: done");
                    (!whole).then(|| "ended without `done`".to_owned())
                }
                Ok(bytes) => Some(format!("{status}: {}", String::from_utf8_lossy(&bytes))),
                Err(error) => Some(error.to_string()),
            }
        }
        Err(error) => Some(error.to_string()),
    };
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let Ok(mut seen) = seen.lock() else { return };
    seen.times.entry(kind).or_default().push(took);
    seen.failures.extend(problem.map(|problem| format!("{kind}: {problem}")));
}

/// Memory of a process that is in use, where the system tells.
fn resident_mib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

fn report(seen: &Seen, bench: &BenchServer, memory: &[(u64, Option<u64>)]) {
    let total: usize = seen.times.values().map(Vec::len).sum();
    let rate = total as f64 / bench.seconds as f64;
    println!(
        "\n{} connections, {} s: {total} requests, {rate:.0} a second, {} failed\n",
        bench.connections,
        bench.seconds,
        seen.failures.len()
    );
    for failure in seen.failures.iter().take(10) {
        println!("failed: {failure}");
    }
    println!("| request | count | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|");
    let all: Vec<f64> = seen.times.values().flatten().copied().collect();
    let rows = seen.times.iter().map(|(kind, times)| (*kind, times.clone())).chain([("all", all)]);
    for (kind, mut times) in rows {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("| {kind} | {} | {:.1} | {:.1} | {:.1} |", times.len(), at(0.5), at(0.99), at(1.0));
    }
    let told: Vec<String> =
        memory.iter().filter_map(|(secs, mib)| Some(format!("{} MiB at {secs} s", (*mib)?))).collect();
    println!("\nmemory in use: {}", told.join(", "));
}
