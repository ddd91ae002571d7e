//! Attention, roles and circuits of heads on the command line.

use microtome::method::attention::patterns;
use microtome::method::attention_stats::AttentionStats;
use microtome::method::head_scores::HeadScoring;
use microtome::model::{Precision, Processing};
use microtome::{Bos, Experiment, Method, Prompt, Quantity, Text};

use crate::bench::{Bench, CLEAN, CORRUPT};

const SAME: f64 = 1e-5;

fn experiment(method: Method, prompts: &[&str]) -> Experiment {
    let prompt = |text: &&str| Prompt {
        clean: Text::Text((*text).to_owned()),
        corrupt: None,
        answers: vec![],
        wrong_answers: vec![],
    };
    Experiment {
        model: "model".to_owned(),
        weights: Processing::Folded,
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts: prompts.iter().map(prompt).collect(),
        method,
        metrics: vec![],
        read_at: None,
        seed: 0,
    }
}

fn same_as_the_library(bench: &Bench, experiment: &Experiment, args: &[&str]) {
    let expected = experiment.run_quietly(&bench.model(Processing::Folded)).unwrap();
    let found = bench.run_record(args);
    assert_eq!(found.experiment, expected.experiment);
    assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
}

#[test]
fn statistics_printed_are_the_library_s() {
    let bench = Bench::new();
    let one = experiment(Method::Attention(AttentionStats::default()), &[CLEAN]);
    same_as_the_library(&bench, &one, &["attention", CLEAN]);
    let text = bench.run(&["attention", CLEAN, "--show", "attention_distance"]);
    assert!(text.contains("How far back attention goes") && text.contains("tokens"), "{text}");
    // Several prompts: means with their spread.
    let pairs = format!(
        r#"{{"prompts": [{{"clean": "{CLEAN}"}}, {{"clean": "{CORRUPT}"}}, {{"clean": "a Mary"}}]}}"#
    );
    bench.write("pairs.json", &pairs);
    let several = experiment(Method::Attention(AttentionStats::default()), &[CLEAN, CORRUPT, "a Mary"]);
    same_as_the_library(&bench, &several, &["attention", "--pairs", "pairs.json"]);
    let text = bench.run(&["attention", "--pairs", "pairs.json", "--show", "bos_share"]);
    assert!(text.contains("3 prompts") && text.contains("± "), "{text}");
}

#[test]
fn detectors_are_asked_for_by_name_by_offset_and_by_mask() {
    let bench = Bench::new();
    bench.write("pairs.json", "[[4, 1], [2, 2]]");
    bench.write("matrix.json", "[[0, 0, 0], [1, 0, 0], [0, 0.5, 0]]");
    let record = bench.run_record(&[
        "attention",
        CLEAN,
        "--detect",
        "induction_head,9,9@11",
        "--mask",
        "pairs.json",
        "--score",
        "share,tl_mul",
    ]);
    let names: Vec<&str> = record.results.tables.iter().map(|table| &table.metric[..]).collect();
    for name in [
        "share/induction_head",
        "tl_mul/induction_head",
        "share/back_9",
        "share/back_9_from_11",
        "tl_mul/mask",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    // What the mask says is what is measured.
    let model = bench.model(Processing::Folded);
    let tokens = model.tokens(&Text::Text(CLEAN.to_owned()), Bos::Prepend).unwrap();
    let pattern: Vec<Vec<f32>> =
        patterns(&model, &tokens.ids).unwrap().get(1).unwrap().get(2).unwrap().to_vec2().unwrap();
    let expected = f64::from(pattern[4][1] + pattern[2][2]) / 2.0;
    let found = record.table("share/mask", Quantity::Value).unwrap().values[5].unwrap();
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    bench.run(&["attention", "a Mary", "--mask", "matrix.json", "--show", "share/mask"]);
}

#[test]
fn one_head_s_pattern_is_shown_whole_and_all_of_them_in_a_file_that_stands_alone() {
    let bench = Bench::new();
    let text = bench.run(&["attention", "a Mary gave", "--head", "1.2", "--show", "pattern"]);
    assert!(text.contains("Where L1H2 looks") && text.contains(" gave"), "{text}");
    bench.run(&["attention", "a Mary gave", "--head", "1.2", "--html", "a.html", "--weighting", "output"]);
    let html = bench.read("a.html");
    assert!(html.contains("\"weighting\":\"output\"") && html.contains("\"chosen\":5"));
    for address in ["http:", "https:", "src=", "href="] {
        assert!(!html.contains(address), "{address}");
    }
}

#[test]
fn the_role_table_shows_scores_with_their_spread() {
    let bench = Bench::new();
    let scoring = HeadScoring { period: Some(6), sequences: Some(4), least: Some(0.2) };
    let roles = ["heads", "--period", "6", "--sequences", "4", "--least", "0.2"];
    same_as_the_library(&bench, &experiment(Method::HeadScores(scoring), &[]), &roles);
    let text = bench.run(&roles);
    assert!(text.contains("roles, from these scores on: induction 0.2000"), "{text}");
    assert!(text.contains("± ") && text.contains("95%"), "{text}");
    assert!(text.contains("standard error over the 4 sequences"), "{text}");
}

#[test]
fn the_circuits_of_a_head_are_printed_and_replay() {
    let bench = Bench::new();
    let args = ["head", "1.2", "--token", " Mary", "--embedding", "after-mlp0", "--size", "layer-norm"];
    let text = bench.run(&[&args[..], &["--record", "head.json", "--list", "3"]].concat());
    for words in ["copying score", "QK, query looks at key", "[ Mary]", "raises", "folded weights"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let report = bench.record("head.json").results.head_circuit.unwrap();
    assert_eq!((report.qk.highest.len(), report.tokens.len()), (20, 1));
    assert!(bench.run(&["replay", "head.json"]).contains("all numbers agree"), "the record replays");
}

#[test]
fn compositions_are_printed_with_what_unrelated_matrices_reach() {
    let bench = Bench::new();
    let text = bench.run(&["composition", "--show", "k_composition", "--less", "random"]);
    assert!(
        text.contains("unrelated matrices") && text.contains("L0H0 L1H") || text.contains("H1 L1H"),
        "{text}"
    );
    let record = bench.run_record(&["composition"]);
    assert_eq!(record.results.tables.len(), 4);
    let table = record.table("q_composition", Quantity::Value).unwrap();
    assert_eq!(table.values.iter().flatten().count(), 9, "three heads before three");
}

#[test]
fn what_cannot_be_asked_of_heads_is_refused() {
    let bench = Bench::new();
    let refused = |args: &[&str], words: &[&str]| {
        let complaint = bench.refusal(args);
        for word in words {
            assert!(complaint.contains(word), "{args:?}: expected `{word}` in: {complaint}");
        }
    };
    bench.write("far.json", "[[99, 1]]");
    bench.write("later.json", "[[0, 1], [0, 0]]");
    bench.write("words.json", "{\"a\": 1}");
    refused(&["attention"], &["no prompt"]);
    refused(&["attention", "a", "--head", "1.3"], &["L1H3 does not exist", "heads 0 to 2"]);
    refused(&["attention", "a", "--head", "m1"], &["`m1` is no head"]);
    refused(&["attention", "a", "--detect", "induktion"], &["`induktion` is no target", "induction_head"]);
    refused(&["attention", "a", "--detect", "40"], &["40 before it"]);
    refused(&["attention", "a", "--mask", "far.json"], &["(99, 1)", "0 to 1"]);
    refused(&["attention", "a", "--mask", "words.json"], &["`words.json` is no mask", "pairs"]);
    refused(&["attention", "a", "--mask", "none.json"], &["cannot read `none.json`"]);
    refused(
        &["attention", "a", "--show", "entropy"],
        &["metric `entropy` is not measured", "pattern_entropy"],
    );
    refused(&["attention", "a", "--html", "no/where.html"], &["cannot write `no/where.html`"]);
    refused(&["attention", "a", "--html", "x", "--json=x"], &["--json and --html both write `x`"]);
    refused(&["attention", &"a".repeat(100)], &["101 tokens", "at most 64"]);
    refused(&["heads", "--least", "2"], &["least score of a role is 2", "0 to 1"]);
    refused(&["head", "9.0"], &["L9H0 does not exist", "layers 0 to 1"]);
    refused(&["head", "m1"], &["`m1` is no head"]);
    refused(&["head", "0.1", "--embedding", "after-mlp0"], &["come before it"]);
    refused(&["head", "0.1", "--token", " Marys"], &["` Marys` is 2 tokens"]);
    refused(&["head", "0.1", "--pairs", "0"], &["number of pairs is 0"]);
}
