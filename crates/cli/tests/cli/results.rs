//! The numbers: those of the library, related to each other as the definitions say.

use microtome::circuit::edge_attribution::{EdgeAttribution, GradientsAt};
use microtome::circuit::path_patch::{MlpsBetween, PathPatch, Receivers, Senders};
use microtome::circuit::search::{CircuitSearch, CircuitSize, FindBy, FoundCircuit};
use microtome::circuit::{Pick, Rest};
use microtome::method::ablate::{Ablate, Targets};
use microtome::method::attribution_patching::{AttributionPatching, Correction};
use microtome::method::change::Replacement;
use microtome::method::logit_lens::{LogitLens, Rows};
use microtome::method::patch::{By, Direction, Patch};
use microtome::method::remeasure::Check;
use microtome::model::{Positions, Precision, Processing, Site};
use microtome::{Answer, Bos, Experiment, Method, Prompt, Quantity, Record, Text};

use crate::bench::{Bench, CLEAN, CORRUPT, N_CTX, N_HEADS, N_LAYERS};

/// Two runs of one experiment may sum in another order on another number of threads.
const SAME: f64 = 1e-5;

fn experiment(method: Method, weights: Processing) -> Experiment {
    Experiment {
        model: "model".to_owned(),
        weights,
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts: vec![Prompt {
            clean: Text::Text(CLEAN.to_owned()),
            corrupt: matches!(method, Method::Patch(_) | Method::PathPatch(_))
                .then(|| Text::Text(CORRUPT.to_owned())),
            answers: vec![Answer::Text(" Mary".to_owned())],
            wrong_answers: vec![Answer::Text(" John".to_owned())],
        }],
        method,
        metrics: vec![],
        read_at: None,
        seed: 0,
    }
}

fn values(record: &Record, metric: &str, quantity: Quantity) -> Vec<f64> {
    let table = record.table(metric, quantity).unwrap_or_else(|| panic!("no {quantity:?} of {metric}"));
    table.values.iter().map(|value| value.unwrap()).collect()
}

/// The value of a metric in a whole run of the first prompt.
fn whole(record: &Record, run: &str, metric: &str) -> f64 {
    let run = record.results.prompts[0].runs.iter().find(|report| report.name == run).unwrap();
    run.metrics.iter().find(|value| value.metric == metric).unwrap().value
}

const ASK: [&str; 5] = [CLEAN, "-t", " Mary", "-f", " John"];

#[test]
fn a_head_sweep_prints_the_record_the_library_gives() {
    let bench = Bench::new();
    for (processing, weights) in [(Processing::Folded, "folded"), (Processing::Raw, "raw")] {
        let method = Method::Ablate(Ablate {
            clamp: None,
            targets: Targets::Heads,
            with: Replacement::Zero,
            at: Positions::All,
        });
        let expected = experiment(method, processing).run_quietly(&bench.model(processing)).unwrap();
        let found = bench.run_record(&[&["ablate", "--weights", weights], &ASK[..]].concat());
        assert_eq!(found.experiment, expected.experiment);
        assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
    }
}

#[test]
fn a_patch_prints_the_record_the_library_gives() {
    let bench = Bench::new();
    let method = Method::Patch(Patch {
        site: Site::from_short_name("resid_pre").unwrap(),
        by: By::LayerPosition,
        direction: Direction::Denoise,
        at: Positions::All,
    });
    let expected =
        experiment(method, Processing::Folded).run_quietly(&bench.model(Processing::Folded)).unwrap();
    let args = [&["patch", "-c", CORRUPT, "--site", "resid_pre"], &ASK[..]].concat();
    let found = bench.run_record(&args);
    assert_eq!(found.experiment, expected.experiment);
    assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
}

#[test]
fn a_path_patch_prints_the_record_the_library_gives() {
    let bench = Bench::new();
    let to = ["a1.h0<q>", "a1.h0<k>", "logits"].map(|name| name.parse().unwrap()).to_vec();
    let cases: [(&[&str], Senders, Receivers, MlpsBetween); 3] = [
        (&[], Senders::Heads, Receivers::default(), MlpsBetween::Frozen),
        (
            &["--from", "every", "--to", "1.0.q,L1H0.k,logits", "--mlps", "recomputed"],
            Senders::Every,
            Receivers::Each(to.clone()),
            MlpsBetween::Recomputed,
        ),
        (
            &["--from", "0.1,m0", "--from-together", "--to", "1.0.q,L1H0.k,logits", "--together"],
            Senders::Together(["a0.h1", "m0"].map(|name| name.parse().unwrap()).to_vec()),
            Receivers::Together(to),
            MlpsBetween::Frozen,
        ),
    ];
    for (flags, from, to, mlps) in cases {
        let patch = PathPatch { from, to, mlps, direction: Direction::Noise, at: Positions::All };
        let expected = experiment(Method::PathPatch(patch), Processing::Folded);
        let expected = expected.run_quietly(&bench.model(Processing::Folded)).unwrap();
        let found = bench.run_record(&[&["path-patch", "-c", CORRUPT], flags, &ASK[..]].concat());
        assert_eq!(found.experiment, expected.experiment);
        assert_eq!(expected.differences(&found, SAME), Vec::<String>::new(), "{flags:?}");
    }
}

#[test]
fn edges_print_the_record_the_library_gives_and_are_written_for_eap() {
    let bench = Bench::new();
    let gradients = GradientsAt::Inputs(2);
    let asked = Method::EdgeAttribution(EdgeAttribution { direction: Direction::Denoise, gradients });
    let mut asked = experiment(asked, Processing::Folded);
    asked.prompts[0].corrupt = Some(Text::Text(CORRUPT.to_owned()));
    let expected = asked.run_quietly(&bench.model(Processing::Folded)).unwrap();
    let file = bench.path("edges.json");
    let flags = ["--steps", "2", "--direction", "denoise", "--eap", file.to_str().unwrap(), "--top", "9"];
    let found = bench.run_record(&[&["edges", "-c", CORRUPT], &flags[..], &ASK[..]].concat());
    assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
    let json: serde_json::Value = serde_json::from_str(&bench.read("edges.json")).unwrap();
    let inside = json["edges"].as_object().unwrap().values().filter(|edge| edge["in_graph"] == true).count();
    assert!((1..=9).contains(&inside), "{inside}");
}

#[test]
fn an_attribution_patch_prints_the_record_the_library_gives_and_says_how_well_it_agrees() {
    let bench = Bench::new();
    let asked = AttributionPatching {
        site: Site::K,
        by: By::Head,
        direction: Direction::Noise,
        at: Positions::All,
        steps: Some(2),
        corrections: vec![Correction::QkFix, Correction::GradDrop],
        check: Some(Check::All),
    };
    let mut asked = experiment(Method::AttributionPatching(asked), Processing::Folded);
    asked.prompts[0].corrupt = Some(Text::Text(CORRUPT.to_owned()));
    let expected = asked.run_quietly(&bench.model(Processing::Folded)).unwrap();
    let file = bench.path("agree.svg");
    let flags = ["--site", "k", "--direction", "noise", "--steps", "2", "--qk-fix", "--grad-drop"];
    let check = ["--check", "all", "--scatter", file.to_str().unwrap()];
    let args = [&["attribution-patch", "-c", CORRUPT], &flags[..], &check, &ASK].concat();
    let found = bench.run_record(&args);
    assert_eq!(found.experiment, expected.experiment);
    assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
    let remeasured = found.results.remeasured.unwrap();
    assert_eq!(bench.read("agree.svg").matches("<circle").count(), remeasured.cells.len());
    let text = bench.run(&args);
    let spearman = format!("Spearman rank correlation {:.3}", remeasured.spearman.unwrap());
    assert!(text.contains(&spearman) && text.contains("estimate"), "{text}");
}

#[test]
fn circuits_are_found_saved_measured_and_judged() {
    let bench = Bench::new();
    let pair = ["-c", CORRUPT, "-t", " Mary", "-f", " John", "--metric", "logit_diff"];
    let by =
        ["--by", "acdc,edges", "--threshold", "0.01", "--size", "9,30", "--pick", "grow", "--steps", "2"];
    let files = ["--save", "circuits", "--record", "found.json"];
    let found = bench.run_record(&[&["circuit", "find", CLEAN], &pair[..], &by[..], &files[..]].concat());
    let gradients = GradientsAt::Inputs(2);
    let by = vec![
        FindBy::Acdc(vec![0.01]),
        FindBy::Edges { gradients, pick: Pick::Grow, size: CircuitSize::Count(vec![9, 30]) },
    ];
    let search = CircuitSearch { by, rest: Rest::Resample, begun: vec![] };
    let mut asked = experiment(Method::CircuitSearch(search), Processing::Folded);
    asked.prompts[0].corrupt = Some(Text::Text(CORRUPT.to_owned()));
    asked.metrics = found.experiment.metrics.clone();
    let expected = asked.run_quietly(&bench.model(Processing::Folded)).unwrap();
    assert_eq!(found.experiment, expected.experiment);
    assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
    assert_eq!(found.results.circuits, expected.results.circuits);

    // Every circuit has its file, which judges read back.
    let mut args = vec!["circuit", "judge", CLEAN];
    args.extend(pair);
    let saved: Vec<String> =
        found.results.circuits.iter().map(|circuit| format!("circuits/{}.json", circuit.name)).collect();
    let used: Vec<&String> = saved
        .iter()
        .zip(&found.results.circuits)
        .filter(|(_, c)| !c.edges.is_empty())
        .map(|(f, _)| f)
        .collect();
    used.iter().for_each(|file| args.extend(["--circuit", file]));
    let judged = bench.run_record(&args);
    let f = values(&judged, "faithfulness", Quantity::Value);
    let mut kept = found.results.circuits.iter().filter(|circuit| !circuit.edges.is_empty());
    for (circuit, judged) in kept.by_ref().zip(f.chunks(3)) {
        assert!((circuit.faithfulness.unwrap() - judged[0]).abs() < 1e-6, "{}", circuit.name);
    }
    assert!(!used.is_empty());
    // The same circuits by their edges.
    let edges = |circuit: &FoundCircuit| circuit.edges.iter().map(ToString::to_string).collect::<Vec<_>>();
    let circuits = found.results.circuits.iter().filter(|circuit| !circuit.edges.is_empty());
    let written: Vec<String> =
        circuits.map(|circuit| format!("{}={}", circuit.name, edges(circuit).join(","))).collect();
    let mut args = [&["circuit", "judge", CLEAN], &pair[..]].concat();
    written.iter().for_each(|circuit| args.extend(["--edges", circuit]));
    let again = bench.run_record(&args);
    assert_eq!(again.experiment, judged.experiment);
    assert_eq!(judged.differences(&again, SAME), Vec::<String>::new());

    let asked = ["--shares", "0.1,1", "--random", "2", "--steps", "0"];
    let curve = bench.run_record(&[&["circuit", "curve", CLEAN], &pair[..], &asked[..]].concat());
    let f = values(&curve, "faithfulness", Quantity::Value);
    assert_eq!((f.len(), f[1], f[3]), (4, 1.0, 1.0));
}

#[test]
fn the_circuit_of_the_strongest_edges_is_drawn_and_written_for_other_programs() {
    let bench = Bench::new();
    let names = ["graph.svg", "graph.dot", "graph.json"];
    let [svg, dot, json] = names.map(|name| bench.path(name));
    let png = bench.path("graph.png");
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let files = [
        format!("--graph={}", path(&svg)),
        format!("--dot={}", path(&dot)),
        format!("--attribution-graph={}", path(&json)),
    ];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    bench.run_record(&[&["edges", "-c", CORRUPT, "--top", "9"], &files[..], &ASK[..]].concat());
    let drawn = bench.read("graph.svg");
    let edges = drawn.matches("class=\"edge\"").count();
    assert!((1..=9).contains(&edges), "{edges}");
    assert!(drawn.contains(&format!("Circuit of {edges} edge")));
    assert_eq!(bench.read("graph.dot").lines().filter(|line| line.contains("penwidth")).count(), edges);
    let graph: serde_json::Value = serde_json::from_str(&bench.read("graph.json")).unwrap();
    let links = graph["links"].as_array().unwrap().len();
    assert!((1..=edges).contains(&links), "one for each pair of nodes");
    bench.run_record(&[&["edges", "-c", CORRUPT, "--graph", &path(&png)], &ASK[..]].concat());
    assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn a_change_is_the_value_minus_the_clean_value_for_every_replacement() {
    let bench = Bench::new();
    let kinds = ["zero", "mean", "resample", "uniform", "zero-pattern", "identity", "random", "previous"];
    for kind in kinds {
        let from: &[&str] = if kind == "resample" { &["-c", CORRUPT] } else { &[] };
        let record = bench.run_record(&[&["ablate", "--with", kind], from, &ASK[..]].concat());
        for metric in ["logit_diff", "prob", "rank", "margin", "entropy"] {
            let clean = whole(&record, "clean", metric);
            let changes = values(&record, metric, Quantity::Change);
            for (change, value) in changes.into_iter().zip(values(&record, metric, Quantity::Value)) {
                assert!(
                    (change - (value - clean)).abs() < 1e-12,
                    "{kind} {metric}: {change} {value} {clean}"
                );
            }
        }
        // Rounding may take a divergence of nothing below 0 by as much.
        assert!(values(&record, "kl", Quantity::Value).into_iter().all(|kl| kl > -1e-12), "{kind}");
    }
}

#[test]
fn a_recovery_is_the_share_of_the_way_from_corrupt_to_clean_in_both_directions() {
    let bench = Bench::new();
    for direction in ["denoise", "noise"] {
        let args = [&["patch", "-c", CORRUPT, "--direction", direction], &ASK[..]].concat();
        let record = bench.run_record(&args);
        let [clean, corrupt] = ["clean", "corrupt"].map(|run| whole(&record, run, "logit_diff"));
        let recoveries = values(&record, "logit_diff", Quantity::Recovery);
        assert_eq!(recoveries.len(), N_LAYERS * N_HEADS);
        for (recovery, value) in recoveries.into_iter().zip(values(&record, "logit_diff", Quantity::Value)) {
            let expected = (value - corrupt) / (clean - corrupt);
            assert!((recovery - expected).abs() < 1e-9, "{direction}: {recovery} {expected}");
        }
    }
}

#[test]
fn sweeps_have_one_value_for_every_part_and_list_the_strongest() {
    let bench = Bench::new();
    for (sweep, cells) in [
        ("heads", N_LAYERS * N_HEADS),
        ("attention", N_LAYERS),
        ("mlps", N_LAYERS),
        ("neurons", N_LAYERS * 48),
    ] {
        let record = bench.run_record(&[&["ablate", "--sweep", sweep], &ASK[..]].concat());
        assert_eq!(values(&record, "prob", Quantity::Change).len(), cells, "{sweep}");
    }
    let text = bench.run(&[&["ablate", "--list", "3"], &ASK[..]].concat());
    let listed =
        text.lines().skip_while(|line| *line != "strongest").skip(1).take_while(|line| !line.is_empty());
    assert_eq!(listed.count(), 3, "{text}");
}

#[test]
fn parts_cut_together_are_named_and_give_one_number() {
    let bench = Bench::new();
    let args = [&["ablate", "--heads", "0.1, L1H2,m0,a1,L1N7", "--at", "3.."], &ASK[..]].concat();
    assert_eq!(values(&bench.run_record(&args), "prob", Quantity::Change).len(), 1);
    let text = bench.run(&args);
    assert!(text.contains("L0H1, L1H2, m0, a1, L1N7 are set to 0 at position 3 and later"), "{text}");
}

#[test]
fn an_edit_by_hook_name_equals_the_ablation_of_that_head() {
    let bench = Bench::new();
    let edited = bench.run_record(&[&["edit", "-e", "blocks.1.attn.hook_z[2]=zero"], &ASK[..]].concat());
    let ablated = bench.run_record(&[&["ablate", "--heads", "1.2"], &ASK[..]].concat());
    for metric in ["logit_diff", "entropy"] {
        let [a, b] = [&edited, &ablated].map(|record| values(record, metric, Quantity::Change)[0]);
        assert!((a - b).abs() < SAME && a != 0.0, "{metric}: {a} {b}");
    }
}

#[test]
fn pairs_from_json_and_csv_give_the_same_means_with_intervals() {
    let bench = Bench::new();
    bench.write(
        "pairs.json",
        r#"{"prompts":[{"clean":"a Mary gave","corrupt":"a John gave","answers":[" the"],"wrong_answers":[" to"]},
                       {"clean":"a John went","corrupt":"a Mary went","answers":[" to"],"wrong_answers":[" ball"]}]}"#,
    );
    bench.write(
        "pairs.csv",
        "clean,corrupted,answer,wrong_answer\na Mary gave,a John gave, the, to\na John went,a Mary went, to, ball\n",
    );
    for args in [&["ablate"][..], &["patch"], &["measure"]] {
        let [json, csv] =
            ["pairs.json", "pairs.csv"].map(|file| bench.run_record(&[args, &["--pairs", file]].concat()));
        assert_eq!(json.experiment, csv.experiment);
        assert_eq!(json.differences(&csv, SAME), Vec::<String>::new());
        assert!(json.results.tables[0].spread.iter().all(Option::is_some), "{args:?}");
    }
}

#[test]
fn generated_text_is_the_same_for_one_seed_and_another_for_another() {
    let bench = Bench::new();
    let text = |seed: &str| {
        let args = ["generate", CLEAN, "--max", "20", "--temperature", "1", "--cut", "0.1", "--seed", seed];
        let generation = bench.run_record(&args).results.generation.unwrap();
        (generation.control_text, generation.ablated_text)
    };
    assert_eq!(text("1"), text("1"));
    assert_ne!(text("1"), text("2"));
}

#[test]
fn generation_with_a_neuron_cut_and_another_clamped_is_the_librarys() {
    let bench = Bench::new();
    let found =
        bench.run_record(&["generate", CLEAN, "--max", "5", "--cut", "L1N3", "--clamp", "L0N2=5,L0N1=-1"]);
    let Method::Generate(asked) = &found.experiment.method else { panic!("another method") };
    assert_eq!(asked.clamp.iter().map(ToString::to_string).collect::<Vec<_>>(), ["L0N2=5", "L0N1=-1"]);
    let expected = found.experiment.run_quietly(&bench.model(Processing::Folded)).unwrap();
    assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
    assert!(found.results.notes.contains(&"held on every token: L0N2=5, L0N1=-1".to_owned()));
    assert!(bench.refusal(&["generate", CLEAN, "--clamp", "L0H1=5"]).contains("no neuron"));
}

#[test]
fn generation_stops_at_the_end_of_the_context_and_says_so() {
    let bench = Bench::new();
    let text = bench.run(&["generate", CLEAN, "--max", "500"]);
    assert!(text.contains(&format!("end of the context, {N_CTX} tokens")), "{text}");
}

#[test]
fn an_experiment_file_gives_the_same_as_flags() {
    let bench = Bench::new();
    let record = bench.run_record(&[&["ablate"], &ASK[..]].concat());
    bench.write("experiment.json", &serde_json::to_string(&record.experiment).unwrap());
    let from_file = bench.run_record(&["run", "experiment.json"]);
    assert_eq!(record.differences(&from_file, SAME), Vec::<String>::new());
    let piped =
        bench.command().args(["run", "-", "--json"]).write_stdin(bench.read("experiment.json")).output();
    let piped: Record = serde_json::from_slice(&piped.unwrap().stdout).unwrap();
    assert_eq!(piped.experiment, record.experiment);
}

#[test]
fn info_and_tokens_and_metrics_say_what_there_is() {
    let bench = Bench::new();
    let info = bench.run(&["info", "model"]);
    assert!(info.contains("2 layers x 3 heads") && info.contains("folded and raw weights agree"), "{info}");
    let info: serde_json::Value = serde_json::from_str(&bench.run(&["info", "model", "--json"])).unwrap();
    assert_eq!(info["folded_against_raw"]["agrees"], true);
    let tokens = bench.run(&["tokens", " Marys"]);
    assert!(tokens.starts_with("[<|endoftext|>][ Mary][s]\n") && tokens.contains("3 tokens"), "{tokens}");
    let tokens = bench.run(&["tokens", " Marys", "--no-bos", "--json"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&tokens).unwrap()["labels"],
        serde_json::json!([" Mary", "s"])
    );
    let metrics = bench.run(&["metrics"]);
    assert!(["logit_diff", "kl_mean", "perplexity"].iter().all(|name| metrics.contains(name)), "{metrics}");
}

#[test]
fn the_model_comes_from_the_environment_and_is_the_one_in_the_program_otherwise() {
    let bench = Bench::new();
    let said = |command: &mut assert_cmd::Command| {
        let output = command.args(["measure", CLEAN]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said(&mut bench.command()).starts_with("model ·"));
    assert!(said(bench.command().env_remove("MICROTOME_MODEL")).starts_with("demo ·"));
}

#[test]
fn bf16_weights_are_asked_for_said_in_the_record_and_replayed() {
    let bench = Bench::new();
    let ask = [&["measure"], &ASK[..]].concat();
    let (f32, text) = (bench.run_record(&ask), bench.run(&[&ask[..], &["--json"]].concat()));
    assert!(!text.contains("precision"), "f32 goes without saying: {text}");
    let ask = [&ask[..], &["--precision", "bf16"]].concat();
    let bf16 = bench.run_record(&ask);
    assert_eq!((bf16.experiment.precision, bf16.model.precision), (Precision::Bf16, Precision::Bf16));
    let entropy = |record: &Record| whole(record, "clean", "entropy");
    let apart = (entropy(&f32) - entropy(&bf16)).abs();
    assert!(apart > 1e-7 && apart < 1e-2, "rounding shows, and is rounding: {apart}");
    assert!(bench.run(&ask).contains("folded bf16 weights"));
    bench.run(&[&ask[..], &["--record=a.json"]].concat());
    assert!(bench.run(&["replay", "a.json"]).contains("all numbers agree"));
}

#[test]
fn info_measures_what_bf16_changes() {
    let bench = Bench::new();
    assert!(!bench.run(&["info", "model", "--json"]).contains("bf16_against_f32"));
    let info = bench.run(&["info", "model", "--json", "--precision", "bf16"]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let number = |key: &str| info["bf16_against_f32"][key].as_f64().unwrap();
    let (logit, prob) = (number("largest_logit_difference"), number("largest_difference"));
    assert!(logit > 1e-6 && logit < 0.1 && prob > 1e-9 && prob < 0.1, "{info}");
    let (mean, largest) = (number("mean_kl_nats"), number("largest_kl_nats"));
    assert!(mean > 0.0 && mean <= largest && largest < 1e-2, "{info}");
}

#[test]
fn a_record_says_where_it_was_computed() {
    let bench = Bench::new();
    let found = bench.run_record(&[&["measure", "--device", "cpu"], &ASK[..]].concat());
    assert_eq!(found.model.device, "cpu");
}

#[test]
fn a_lens_of_parts_and_of_two_prompts_is_the_librarys_and_its_curve_is_drawn() {
    let bench = Bench::new();
    let model = bench.model(Processing::Folded);
    let parts = LogitLens { rows: Rows::Contributions, ..Default::default() };
    let expected = experiment(Method::LogitLens(parts), Processing::Folded).run_quietly(&model).unwrap();
    let found = bench.run_record(&[&["lens", "--rows", "contributions"], &ASK[..]].concat());
    assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
    let shares = values(&found, "logit_diff", Quantity::Change);
    let n = found.results.prompts[0].clean.ids.len();
    let last: f64 = shares.chunks(n).map(|row| row[n - 1]).sum();
    assert!(
        (last - whole(&bench.run_record(&[&["measure"], &ASK[..]].concat()), "clean", "logit_diff")).abs()
            < 1e-4
    );

    let mut both = experiment(Method::LogitLens(LogitLens::default()), Processing::Folded);
    both.prompts[0].corrupt = Some(Text::Text(CORRUPT.to_owned()));
    let expected = both.run_quietly(&model).unwrap();
    let picture = bench.path("curve.svg");
    let drawn = ["lens", "--corrupt", CORRUPT, "--curves", picture.to_str().unwrap()];
    let found = bench.run_record(&[&drawn[..], &ASK[..]].concat());
    assert_eq!(expected.differences(&found, SAME), Vec::<String>::new());
    assert!(std::fs::read_to_string(picture).unwrap().contains("at the last position"));
}
