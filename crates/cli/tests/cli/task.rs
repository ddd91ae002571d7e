//! Pairs that are made, and a file of one's own that is checked.

use microtome::{Prompt, read_pairs};

use crate::bench::Bench;

#[test]
fn pairs_are_written_where_they_are_asked_for_and_can_be_asked_about() {
    let bench = Bench::new();
    let printed = bench.run(&["task", "make", "induction", "-n", "3", "--seed", "2"]);
    bench.write("printed.json", &printed);
    let ask = ["task", "make", "induction", "-n", "3", "--seed", "2", "-o", "pairs.json"];
    let output = bench.command().args(ask).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("wrote 3 pairs to pairs.json"));
    let read = |name: &str| -> Vec<Prompt> { read_pairs(&bench.path(name)).unwrap() };
    assert_eq!(read("printed.json"), read("pairs.json"));
    let record = bench.run_record(&["patch", "--pairs", "pairs.json", "--metric", "logit_diff"]);
    assert_eq!(record.results.prompts.len(), 3);
}

#[test]
fn every_task_is_listed_with_its_corruptions() {
    let listed = Bench::new().run(&["task", "list"]);
    for words in
        ["ioi", "greater-than", "induction", "facts", "agreement", "abc, third, swapped", "prob_diff"]
    {
        assert!(listed.contains(words), "{words}: {listed}");
    }
}

#[test]
fn a_file_is_checked_pair_by_pair_and_what_can_be_used_is_written() {
    let bench = Bench::new();
    bench.write(
        "mine.csv",
        "clean,corrupted,answer,wrong_answer\n\
         a Mary and John gave the ball to,a Mary and Mary gave the ball to, Mary, John\n\
         a Mary and John,a Mary and John gave, Mary, John\n\
         a Mary and,a John and, Marys, John\n",
    );
    let output = bench.command().args(["task", "check", "mine.csv", "-o", "usable.json"]).output().unwrap();
    assert!(output.status.success());
    let told = String::from_utf8(output.stdout).unwrap();
    for words in
        ["pair 2: ", "same number of tokens", "pair 3: ", "` Marys` is 2 tokens", "1 of 3 pairs can be used"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(read_pairs(&bench.path("usable.json")).unwrap().len(), 1);
}

#[test]
fn what_cannot_be_made_is_refused_and_no_file_is_left() {
    let bench = Bench::new();
    let refused = |args: &[&str], words: &[&str]| {
        let complaint = bench.refusal(args);
        words.iter().for_each(|word| assert!(complaint.contains(word), "{args:?}: `{word}` in: {complaint}"));
    };
    refused(&["task", "make", "io", "-o", "a.json"], &["task `io` not found", "did you mean `ioi`?"]);
    refused(&["task", "make", "ioi", "-o", "a.json"], &["needs at least 5 names", "has 2"]);
    refused(&["task", "make", "induction", "-n", "0"], &["the number of pairs is 0", "1 to 10000"]);
    refused(&["task", "make", "induction", "--corruption", "x"], &["has no corruption `x`", "others"]);
    refused(&["task", "make", "induction", "-o", "a.csv"], &["a list of token ids", "write JSON"]);
    refused(&["task", "make", "induction", "-o", "nowhere/a.json"], &["cannot write `nowhere/a.json`"]);
}
