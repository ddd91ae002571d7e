//! Files and standard output: the same numbers in every format, pictures that are pictures, records
//! that replay.

use crate::bench::{Bench, CLEAN, CORRUPT};
use microtome::{Quantity, Record};

const SWEEP: [&str; 6] = ["ablate", CLEAN, "-t", " Mary", "-f", " John"];

/// Width and height in a PNG's header.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(bytes[12..16], *b"IHDR");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn every_output_is_written_by_one_command_and_holds_the_same_record() {
    let bench = Bench::new();
    let files = ["--json=a.json", "--csv=a.csv", "--png", "a.png", "--svg", "a.svg", "--record", "r.json"];
    let table = bench.run(&[&SWEEP[..], &files].concat());
    assert!(table.contains("Change in logit difference when one head is set to 0"), "{table}");
    assert_eq!(bench.files(), ["a.csv", "a.json", "a.png", "a.svg", "r.json"]);
    assert_eq!(bench.read("a.json"), bench.read("r.json"));
}

#[test]
fn csv_holds_the_numbers_of_the_json() {
    let bench = Bench::new();
    bench.run(&[&SWEEP[..], &["--csv=a.csv", "--json=a.json"]].concat());
    let record = bench.record("a.json");
    let mut reader = csv::Reader::from_path(bench.path("a.csv")).unwrap();
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(header, ["metric", "quantity", "unit", "layer", "head", "value", "stderr", "low", "high"]);
    let mut rows = reader.records().map(Result::unwrap);
    for table in &record.results.tables {
        for (cell, value) in table.values.iter().enumerate() {
            let row = rows.next().unwrap();
            assert_eq!(row[0], table.metric);
            assert_eq!(format!("{}{}", &row[3], &row[4]), table.label(cell));
            assert_eq!(row[5].parse::<f64>().unwrap(), value.unwrap());
        }
    }
    assert!(rows.next().is_none());
}

#[test]
fn csv_on_standard_output_is_csv_and_nothing_else() {
    let bench = Bench::new();
    let args = ["patch", CLEAN, "-c", CORRUPT, "-t", " Mary", "--site", "resid_pre", "--csv"];
    let printed = bench.run(&args);
    let mut reader = csv::Reader::from_reader(printed.as_bytes());
    let positions: Vec<String> = reader.records().map(|row| row.unwrap()[4].to_owned()).collect();
    assert_eq!(positions[..3], ["<|endoftext|>@0", "a@1", " Mary@2"]);
}

#[test]
fn a_png_is_twice_the_size_of_a_well_formed_svg() {
    let bench = Bench::new();
    bench.run(&[&SWEEP[..], &["--png", "a.png", "--svg", "a.svg"]].concat());
    let svg = bench.read("a.svg");
    // The renderer parses it as XML first.
    let (width, height) = png_size(&microtome::plot::svg_to_png(&svg, 1.0).unwrap());
    assert!(width > 100 && height > 100);
    let png = std::fs::read(bench.path("a.png")).unwrap();
    let (wide, high) = png_size(&png);
    // Sizes are rounded to whole pixels, once for each.
    assert!(
        wide.abs_diff(2 * width) <= 1 && high.abs_diff(2 * height) <= 1,
        "{wide}x{high} {width}x{height}"
    );
    assert!(svg.contains("logit difference"));
}

#[test]
fn show_and_value_choose_the_table_that_is_shown_and_drawn() {
    let bench = Bench::new();
    let args = ["--metric", "kl, prob", "--show", "prob", "--value", "--svg", "a.svg"];
    let text = bench.run(&[&SWEEP[..], &args].concat());
    assert!(text.contains("\nProbability when one head is set to 0"), "{text}");
    assert!(bench.read("a.svg").contains("Probability when one head"));
}

#[test]
fn a_record_replays_and_a_tampered_number_is_found() {
    let bench = Bench::new();
    bench.run(&[&SWEEP[..], &["--record", "r.json"]].concat());
    assert_eq!(serde_json::to_string_pretty(&bench.record("r.json")).unwrap() + "\n", bench.read("r.json"));
    let agreed = bench.run(&["replay", "r.json"]);
    assert!(agreed.starts_with("all numbers agree"), "{agreed}");

    let mut record: Record = bench.record("r.json");
    let table = record.results.tables.iter_mut().find(|table| table.quantity == Quantity::Change).unwrap();
    table.values[3] = table.values[3].map(|value| value + 0.01);
    bench.write("tampered.json", &serde_json::to_string(&record).unwrap());
    let output = bench.command().args(["replay", "tampered.json"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed.contains("results.tables[0].values[3]: ") && printed.contains("1 difference;"),
        "{printed}"
    );
}

#[test]
fn a_record_replays_on_a_model_that_has_moved_when_told_where() {
    let bench = Bench::new();
    bench.run(&[&SWEEP[..], &["--record", "r.json"]].concat());
    std::fs::rename(bench.path("model"), bench.path("moved")).unwrap();
    let complaint = bench.refusal(&["replay", "r.json"]);
    assert!(complaint.contains("`model`"), "{complaint}");
    assert!(bench.run(&["replay", "r.json", "--model", "moved"]).starts_with("all numbers agree"));
}

#[test]
fn a_replay_on_other_weights_says_that_the_weights_differ() {
    let bench = Bench::new();
    let other = Bench::with_neurons(24);
    bench.run(&[&SWEEP[..], &["--record", "r.json"]].concat());
    let other = other.path("model").to_str().unwrap().to_owned();
    let output = bench.command().args(["replay", "r.json", "--model", &other]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("weights differ: "));
}

#[test]
fn ranks_have_no_decimals_and_pipes_no_colours() {
    let bench = Bench::new();
    let text = bench.run(&["ablate", CLEAN, "-t", " Mary", "--heads", "0.0"]);
    assert!(!text.contains('\x1b'), "{text}");
    let rank = text.split("rank ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(rank.parse::<u32>().is_ok(), "{rank}");
    assert!(text.contains("\n1 run, "), "{text}");
}

#[cfg(unix)]
#[test]
fn a_link_is_written_through_and_a_device_stays_a_device() {
    use std::os::unix::fs::FileTypeExt;
    let bench = Bench::new();
    bench.write("real.csv", "old");
    std::os::unix::fs::symlink(bench.path("real.csv"), bench.path("link.csv")).unwrap();
    bench.run(&[&SWEEP[..], &["--csv=link.csv", "--json=/dev/null"]].concat());
    assert!(bench.read("real.csv").starts_with("metric,"));
    assert!(std::fs::symlink_metadata(bench.path("link.csv")).unwrap().is_symlink());
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert_eq!(bench.files(), ["link.csv", "real.csv"]);
}
