//! Work nobody waits for any more is stopped.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use microtome_server::Settings;
use serde_json::{Value, json};

use crate::served::{DEMO, Server};

/// Minutes of work if nobody stops it: every neuron by itself, on one worker.
fn endless(seed: u64) -> Value {
    let prompts: Vec<Value> = (0..150)
        .map(|i| json!({"clean": format!("{i} {}", "the cat sat on the mat. ".repeat(12))}))
        .collect();
    json!({"model": "demo", "prompts": prompts, "seed": seed,
        "method": {"ablate": {"targets": {"neurons": []}, "with": "zero"}}, "metrics": ["kl"]})
}

fn one_worker(queue: usize) -> Server {
    Server::with(DEMO.clone(), Settings { workers: 1, queue, body_limit: 4 << 20, ..Settings::default() })
}

fn gauge(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find(|line| line.starts_with(&format!("microtome_{name} "))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        // Not a measurement: only a test that would never end is a failure.
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that has begun to read an experiment's events.
fn begin_streaming(server: &Server, experiment: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let body = experiment.to_string();
    let head = format!(
        "POST /api/experiments HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut begun = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&begun).contains("event: ") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&begun));
        begun.extend_from_slice(&buffer[..count]);
    }
    stream
}

#[test]
fn a_client_killed_in_mid_stream_frees_its_worker() {
    let server = one_worker(8);
    let client = begin_streaming(&server, &endless(1));
    wait_until("it computes", || gauge(&server, "working") == 1);
    drop(client);
    wait_until("the worker is free", || gauge(&server, "working") == 0);
    assert_eq!(gauge(&server, "listeners"), 0);
    let quick = json!({"model": "demo", "prompts": [{"clean": "The cat"}], "method": "measure"});
    assert_eq!(server.events(&quick).last().unwrap().0, "done");
}

#[test]
fn a_client_of_the_plain_endpoints_that_goes_away_gives_up_its_place_in_the_line() {
    let server = one_worker(8);
    let worker = begin_streaming(&server, &endless(2));
    let mut waiting = TcpStream::connect(&server.address).unwrap();
    let body = r#"{"clean_prompt":"Paris is the capital of","target_token":" France"}"#;
    let head = format!(
        "POST /sweep HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    waiting.write_all((head + body).as_bytes()).unwrap();
    wait_until("it waits", || gauge(&server, "waiting") == 1);
    drop(waiting);
    wait_until("nobody waits", || gauge(&server, "waiting") == 0);
    drop(worker);
    wait_until("the worker is free", || gauge(&server, "working") == 0);
}

#[test]
fn a_full_line_turns_the_next_away_at_once() {
    let server = one_worker(1);
    let _worker = begin_streaming(&server, &endless(3));
    wait_until("it computes", || gauge(&server, "working") == 1);
    let _second = begin_streaming(&server, &endless(4));
    let third = server.post("/api/experiments", &endless(5));
    third.refused(503, "busy");
    assert!(third.headers.contains_key("retry-after"));
    // What is known is answered all the same.
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn cancelling_stops_an_experiment_and_keeps_what_it_finished() {
    let server = one_worker(8);
    let id = server.ask("/api/experiments", &endless(6))["id"].as_str().unwrap().to_owned();
    let at = format!("/api/experiments/{id}");
    wait_until("something is finished", || server.get(&at).json()["runs"].as_u64().unwrap() > 3072);
    assert_eq!(server.delete(&at).status, 200);
    wait_until("it stops", || server.get(&at).json()["status"] == "cancelled");
    let record = server.get(&format!("{at}/record")).json();
    let (runs, wanted) = (&record["results"]["runs"], &record["results"]["runs_wanted"]);
    assert!(runs.as_u64().unwrap() >= 3072 && runs.as_u64() < wanted.as_u64(), "{runs} of {wanted}");
    let events = crate::served::parse_events(&server.get(&format!("{at}/events")).text());
    assert_eq!(events.last().unwrap().0, "cancelled");
}

#[test]
fn an_experiment_that_takes_too_long_is_stopped() {
    let limit = Duration::from_millis(200);
    let settings = Settings { workers: 1, time_limit: limit, body_limit: 4 << 20, ..Settings::default() };
    let server = Server::with(DEMO.clone(), settings);
    let events = server.events(&endless(7));
    let (name, data) = events.last().unwrap();
    assert_eq!((name.as_str(), &data["error"]), ("failed", &json!("time_limit")));
}

#[test]
fn partial_tables_come_before_the_end_and_agree_with_it() {
    let experiment = json!({"model": "demo", "prompts": [{"clean": "the cat sat on the mat. ".repeat(8)}],
        "method": {"ablate": {"targets": {"neurons": [0]}, "with": "zero"}}, "metrics": ["entropy"]});
    let in_small_steps = Settings { memory_budget: 1 << 20, ..Settings::default() };
    let events = Server::with(DEMO.clone(), in_small_steps).events(&experiment);
    let partial = events.iter().find(|(name, _)| name == "partial");
    let (_, partial) = partial.expect("a sweep of hundreds of runs tells on the way");
    let values = |data: &Value| data["tables"][0]["values"].as_array().unwrap().clone();
    let (before, after) = (values(partial), values(&events.last().unwrap().1["results"]));
    let known: Vec<usize> = (0..before.len()).filter(|&i| !before[i].is_null()).collect();
    assert!(!known.is_empty() && known.len() < before.len());
    assert!(known.iter().all(|&i| before[i] == after[i]), "what was told stays");
}

#[test]
fn told_to_stop_the_server_stops_what_would_run_on() {
    let finish_time = Duration::from_millis(300);
    let settings = Settings { workers: 1, finish_time, body_limit: 4 << 20, ..Settings::default() };
    let mut server = Server::with(DEMO.clone(), settings);
    server.ask("/api/experiments", &endless(8));
    wait_until("it computes", || gauge(&server, "working") == 1);
    server.stop();
    server.wait();
}

#[test]
fn told_to_stop_the_server_finishes_what_runs() {
    let mut server = one_worker(8);
    let quick = json!({"model": "demo", "prompts": [{"clean": "the cat sat on the mat. ".repeat(16)}],
        "method": {"ablate": {"targets": {"neurons": [0]}, "with": "zero"}}, "metrics": ["entropy"]});
    let mut client = begin_streaming(&server, &quick);
    server.stop();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: done"), "{}", &rest[rest.len().saturating_sub(300)..]);
    wait_until("nobody listens any more", || TcpStream::connect(&server.address).is_err());
}
