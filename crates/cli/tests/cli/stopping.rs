//! Ctrl-C and readers that go away.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use microtome::corpus_scan::CorpusScan;

use crate::bench::{Bench, CLEAN};

/// The same command as [`Bench::command`], to be left running.
fn spawn(bench: &Bench, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_microtome"))
        .args(args)
        .current_dir(bench.dir())
        .env("MICROTOME_MODEL", "model")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[cfg(unix)]
#[test]
fn a_sweep_stopped_by_ctrl_c_keeps_its_finished_runs_and_ends_with_130() {
    const NEURONS: usize = 20_000;
    let bench = Bench::with_neurons(NEURONS);
    // As long as the context allows: minutes of work, in chunks of little.
    let prompt = " Mary gave the ball to".repeat(12);
    let args =
        ["ablate", &prompt, "-t", " Mary", "--sweep", "neurons", "--memory", "1", "--record", "r.json"];
    // When the first chunk is done depends on the machine.
    for wait in [1, 4, 16] {
        let child = spawn(&bench, &args);
        std::thread::sleep(Duration::from_secs(wait));
        let stopped = Instant::now();
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success(), "it was over before it could be stopped");
        let output = child.wait_with_output().unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(30), "it went on after it was told to stop");
        if !bench.path("r.json").exists() {
            continue;
        }
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{complaint}");
        assert!(complaint.starts_with("stopped: "), "{complaint}");
        let results = bench.record("r.json").results;
        assert_eq!(results.runs_wanted, 2 * NEURONS);
        assert!(results.runs > 0 && results.runs < results.runs_wanted);
        for table in &results.tables {
            assert_eq!(table.values.iter().flatten().count(), results.runs);
        }
        assert!(String::from_utf8(output.stdout).unwrap().contains("strongest"));
        assert_eq!(bench.files(), ["r.json"]);
        return;
    }
    panic!("nothing was finished after 16 s");
}

#[cfg(unix)]
#[test]
fn a_scan_stopped_by_ctrl_c_is_saved_and_says_how_to_go_on() {
    let bench = Bench::with_neurons(4000);
    bench.write(
        "text.txt",
        &"a Mary and John went to the ball and John gave the ball to Mary. ".repeat(40_000),
    );
    let args =
        ["neurons", "scan", "text.txt", "--neurons", "L1", "--top", "1", "--context", "1", "--out", "s.json"];
    // When the first batch is done depends on the machine.
    for wait in [1, 4, 16] {
        let child = spawn(&bench, &args);
        std::thread::sleep(Duration::from_secs(wait));
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success(), "it was over before it could be stopped");
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        let scan = || CorpusScan::read(&bench.path("s.json"));
        if scan().is_ok_and(|scan| scan.tokens == 0) {
            std::fs::remove_file(bench.path("s.json")).unwrap();
        }
        let Ok(stopped) = scan() else { continue };
        assert_eq!(output.status.code(), Some(130), "{complaint}");
        assert!(complaint.starts_with("stopped: ") && complaint.contains("--resume"), "{complaint}");
        assert!(!stopped.complete && stopped.tokens > 0);
        let limit = (stopped.tokens + 1).to_string();
        bench.run(&[&args[..], &["--resume", "--limit", &limit]].concat());
        assert!(scan().unwrap().tokens > stopped.tokens);
        assert_eq!(bench.files(), ["s.json", "text.txt"]);
        return;
    }
    panic!("nothing was finished after 16 s");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bench = Bench::new();
    for args in [
        &["metrics"][..],
        &["ablate", CLEAN, "-t", " Mary"],
        // More than a pipe holds.
        &["ablate", CLEAN, "-t", " Mary", "--sweep", "neurons", "--json"],
    ] {
        let mut child = spawn(&bench, args);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
        assert!(!line.is_empty());
    }
}
