//! Paths and circuits: TransformerLens's path patches, whole circuits against single edges, and a model whose circuit is
//! known.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use microtome::circuit::eap_json::{eap_json, read_eap_json};
use microtome::circuit::edge_attribution::{EdgeAttribution, GradientsAt};
use microtome::circuit::induction::InductionCircuit;
use microtome::circuit::path_patch::{MlpsBetween, PathPatch, Receivers, Senders};
use microtome::circuit::scores::{EdgeScores, Keep};
use microtome::circuit::wiring::{circuit_edits, sender_outputs};
use microtome::circuit::{Circuit, Edge, Graph, Node, Port, Receiver, planted};
use microtome::method::patch::Direction;
use microtome::metric::MetricId;
use microtome::model::{Change, Edit, Positions, Precision, Processing, RunOptions, SenderOutputs, Value};
use microtome::{
    Answer, Basis, Bos, Error, Experiment, Method, Prompt, Quantity, Record, Text, TextModel, Watch,
};

use crate::golden_data::{Golden, values};
use crate::laws::{pair, toy};

fn experiment(model: &TextModel, patch: PathPatch, metrics: &[&str], prompts: Vec<Prompt>) -> Experiment {
    Experiment {
        model: "any".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Omit,
        prompts,
        method: Method::PathPatch(patch),
        metrics: metrics.iter().map(|name| MetricId::named(name).unwrap()).collect(),
        read_at: None,
        seed: 0,
    }
}

fn patch(from: Senders, to: Receivers) -> PathPatch {
    PathPatch { from, to, mlps: MlpsBetween::Frozen, direction: Direction::Noise, at: Positions::All }
}

fn cells(record: &Record, metric: &str, quantity: Quantity) -> Vec<Option<f64>> {
    record.table(metric, quantity).unwrap().values.clone()
}

/// The queries, keys and values of every head, as the golden numbers have them.
fn inputs_of_heads(model: &TextModel) -> Vec<Receiver> {
    let (n_layers, n_heads) = (model.config().n_layers, model.config().n_heads);
    let mut inputs = Vec::new();
    for port in [Port::Query, Port::Key, Port::Value] {
        for layer in 0..n_layers {
            inputs.extend((0..n_heads).map(|head| Receiver { node: Node::Head { layer, head }, port }));
        }
    }
    inputs
}

#[test]
fn golden_path_patches_both_ways_with_mlps_frozen_and_recomputed() {
    for processing in [Processing::Raw, Processing::Folded] {
        let Some(golden) = Golden::open(processing) else { return };
        let prompt = Prompt {
            clean: golden.prompt("clean"),
            corrupt: Some(golden.prompt("corrupt")),
            answers: vec![Answer::Id(golden.id("target"))],
            wrong_answers: vec![Answer::Id(golden.id("foil"))],
        };
        let run = |patch: PathPatch, metrics: &[&str]| {
            experiment(&golden.model, patch, metrics, vec![prompt.clone()])
                .run_quietly(&golden.model)
                .unwrap()
        };
        let mut compared = 0;
        for (way, direction) in [("noise", Direction::Noise), ("denoise", Direction::Denoise)] {
            for (between, mlps) in
                [("mlp_frozen", MlpsBetween::Frozen), ("mlp_recomputed", MlpsBetween::Recomputed)]
            {
                let of = |to| PathPatch { mlps, direction, ..patch(Senders::Heads, to) };
                let record = run(of(Receivers::default()), &["prob", "logit_diff"]);
                for metric in ["prob", "logit_diff"] {
                    for (quantity, suffix) in [(Quantity::Value, ""), (Quantity::Recovery, "_recovery")] {
                        let name = format!("path/{way}/{between}/to_logits/{metric}{suffix}");
                        let found: Vec<f64> =
                            cells(&record, metric, quantity).into_iter().map(Option::unwrap).collect();
                        golden.assert_close(&name, &found);
                        compared += 1;
                    }
                }
                let name = format!("path/{way}/{between}/to_qkv/logit_diff");
                if processing == Processing::Folded {
                    assert!(!golden.derived.contains_key(&name));
                    continue;
                }
                let record = run(of(Receivers::Each(inputs_of_heads(&golden.model))), &["logit_diff"]);
                let (mut found, mut expected) = (vec![], vec![]);
                for (cell, golden) in
                    cells(&record, "logit_diff", Quantity::Value).into_iter().zip(golden.values(&name))
                {
                    // No number where the receiver's layer is not above the sender's.
                    assert_eq!(cell.is_none(), golden.is_nan());
                    if let Some(cell) = cell {
                        found.push(cell);
                        expected.push(golden);
                    }
                }
                golden.assert_close_to(&name, &found, &expected);
                compared += 1;
            }
        }
        let all = golden.derived.keys().filter(|name| name.starts_with("path/")).count();
        assert_eq!(compared, all, "every golden path patch");
    }
}

/// The prompt's ids.
pub fn ids(text: &Text) -> Vec<u32> {
    match text {
        Text::Ids(ids) => ids.clone(),
        Text::Text(_) => unreachable!("these prompts are ids"),
    }
}

/// The logit difference of a circuit run on a prompt.
pub fn logit_diff(model: &TextModel, prompt: &Prompt, circuit: &Circuit, others: &Arc<SenderOutputs>) -> f64 {
    logit_diff_of(model, prompt, circuit_edits(circuit, model.config(), others).unwrap())
}

/// The logit difference of an edited run.
fn logit_diff_of(model: &TextModel, prompt: &Prompt, edits: Vec<Edit>) -> f64 {
    let options = RunOptions { edits, logits: Positions::Last, ..Default::default() };
    let run = model.model().run(&ids(&prompt.clean), &options).unwrap();
    let logits = values(run.logits().unwrap());
    let of = |answers: &[Answer]| match answers {
        [Answer::Id(id)] => logits[*id as usize],
        _ => unreachable!("one answer"),
    };
    of(&prompt.answers) - of(&prompt.wrong_answers)
}

pub fn corrupt_outputs(model: &TextModel, prompt: &Prompt) -> Arc<SenderOutputs> {
    Arc::new(sender_outputs(model, &ids(prompt.corrupt.as_ref().unwrap())).unwrap())
}

#[test]
fn the_senders_of_a_graph_are_those_that_models_rewire() {
    let model = toy();
    let graph = Graph::of(model.config());
    let senders = graph.senders();
    for edge in graph.edges() {
        let hook = edge.hook(graph.n_layers);
        let below = microtome::model::senders_below(hook, model.config()).unwrap();
        let place = graph.sender_index(edge.from).unwrap();
        assert!(place < below, "{edge}");
        let sound = senders.iter().filter(|&&from| Edge::new(from, edge.to, edge.port).is_sound()).count();
        assert_eq!(sound, below, "{edge}");
    }
}

#[test]
fn a_circuit_of_all_edges_is_the_clean_run_of_none_the_corrupt_one_and_dead_ends_do_not_matter() {
    let model = toy();
    let graph = Graph::of(model.config());
    let prompt = pair(1);
    let corrupt = corrupt_outputs(&model, &prompt);
    let of = |circuit: &Circuit| logit_diff(&model, &prompt, circuit, &corrupt);
    let swapped = Prompt { clean: prompt.corrupt.clone().unwrap(), ..prompt.clone() };
    let whole = Circuit::whole(graph);
    assert!(circuit_edits(&whole, model.config(), &corrupt).unwrap().is_empty());
    let none = Circuit::new(graph, []).unwrap();
    let corrupted = logit_diff(&model, &swapped, &whole, &corrupt);
    assert!((of(&none) - corrupted).abs() < 1e-4);
    assert!((of(&whole) - corrupted).abs() > 0.01, "the two runs differ");
    // Every third edge: many of these lie on no way from the input to the logits.
    let some = Circuit::new(graph, graph.edges().into_iter().step_by(3)).unwrap();
    let pruned = some.pruned();
    assert!(pruned.edges.len() < some.edges.len());
    assert!((of(&some) - of(&pruned)).abs() < 1e-4);
    let other = Graph { n_layers: 9, ..graph };
    assert!(circuit_edits(&Circuit::whole(other), model.config(), &corrupt).is_err());
}

/// A circuit that lacks one edge, a path patch with frozen MLPs, and the other way round.
#[test]
fn a_direct_path_is_the_whole_circuit_less_one_edge() {
    let model = toy();
    let graph = Graph::of(model.config());
    let prompt = pair(2);
    let corrupt = corrupt_outputs(&model, &prompt);
    let all = patch(Senders::Every, Receivers::Every);
    let record = experiment(&model, all, &["logit_diff"], vec![prompt.clone()]).run_quietly(&model).unwrap();
    let found = cells(&record, "logit_diff", Quantity::Value);
    let edges = graph.edges();
    assert_eq!(found.iter().flatten().count(), edges.len(), "every edge, and nothing else");
    assert_eq!((record.results.runs, record.results.runs_wanted), (edges.len(), edges.len()));
    let table = record.table("logit_diff", Quantity::Value).unwrap();
    for edge in edges.into_iter().step_by(7) {
        let mut circuit = Circuit::whole(graph);
        circuit.edges.remove(&edge);
        let expected = logit_diff(&model, &prompt, &circuit, &corrupt);
        let row = graph.sender_index(edge.from).unwrap();
        let column = graph.receiver_index(edge.to, edge.port).unwrap();
        let names = format!("{}->{}", table.axes[0].labels[row], table.axes[1].labels[column]);
        assert_eq!(names, edge.to_string());
        let found = found[row * table.axes[1].labels.len() + column].unwrap();
        assert!((found - expected).abs() < 1e-4, "{edge}: {found} against {expected}");
    }
}

#[test]
fn a_small_memory_several_prompts_and_a_stop_change_no_number() {
    let model = toy();
    let asked = PathPatch { mlps: MlpsBetween::Recomputed, ..patch(Senders::Every, Receivers::Every) };
    let prompts = vec![pair(1), pair(3)];
    let whole = experiment(&model, asked.clone(), &["logit_diff"], prompts.clone());
    let expected = whole.run_quietly(&model).unwrap();
    let run = |experiment: &Experiment, stop_after: usize| {
        let cancel = AtomicBool::new(false);
        let mut progress = |done: usize, of: usize| {
            assert!(done <= of);
            cancel.store(done >= stop_after, Ordering::Relaxed);
        };
        let mut watch =
            Watch { cancel: &cancel, progress: &mut progress, partial: None, memory_budget: 10_000 };
        experiment.run(&model, &mut watch)
    };
    let found = run(&whole, usize::MAX).unwrap();
    assert_eq!(expected.differences(&found, 1e-5), Vec::<String>::new());
    // Stopped in the second prompt: the first one's numbers are what one prompt alone gives.
    let half = whole.method.runs_per_prompt(model.config(), 7);
    let stopped = run(&whole, half / 2 + 30).unwrap();
    assert!(!stopped.is_complete());
    let one = experiment(&model, asked, &["logit_diff"], vec![prompts[0].clone()]);
    let alone = cells(&one.run_quietly(&model).unwrap(), "logit_diff", Quantity::Value);
    for (a, b) in cells(&stopped, "logit_diff", Quantity::Value).iter().zip(&alone) {
        assert!(a.is_none() && b.is_none() || (a.unwrap() - b.unwrap()).abs() < 1e-5);
    }
    assert!(matches!(run(&one, 0), Err(Error::StoppedEarly)));
}

#[test]
fn the_last_position_is_all_that_goes_straight_to_the_last_logits() {
    let model = toy();
    let of = |at: Positions, mlps: MlpsBetween| {
        let asked = PathPatch { at, mlps, ..patch(Senders::Every, Receivers::default()) };
        let record = experiment(&model, asked, &["logit_diff"], vec![pair(1)]).run_quietly(&model).unwrap();
        cells(&record, "logit_diff", Quantity::Value).into_iter().map(Option::unwrap).collect::<Vec<_>>()
    };
    for mlps in [MlpsBetween::Frozen, MlpsBetween::Recomputed] {
        for (all, last) in of(Positions::All, mlps).iter().zip(of(Positions::Last, mlps)) {
            assert!((all - last).abs() < 1e-5);
        }
    }
    // Through MLPs it arrives otherwise.
    let frozen = of(Positions::All, MlpsBetween::Frozen);
    let through = of(Positions::All, MlpsBetween::Recomputed);
    assert!(frozen.iter().zip(&through).any(|(a, b)| (a - b).abs() > 1e-2));
}

#[test]
fn a_path_patch_that_cannot_be_is_an_error_that_says_why() {
    let model = toy();
    let refuse = |from: Senders, to: Receivers| {
        let asked = experiment(&model, patch(from, to), &["logit_diff"], vec![pair(1)]);
        asked.run_quietly(&model).unwrap_err().to_string()
    };
    let node = |name: &str| name.parse::<Node>().unwrap();
    let to = |name: &str| Receivers::Each(vec![name.parse().unwrap()]);
    let logits = Receivers::default;
    assert!(refuse(Senders::Each(vec![]), logits()).contains("a sender is missing"));
    assert!(refuse(Senders::Heads, Receivers::Together(vec![])).contains("a receiver is missing"));
    assert!(refuse(Senders::Each(vec![node("a0.h9")]), logits()).contains("heads 0 to 3"));
    assert!(refuse(Senders::Each(vec![node("m9")]), logits()).contains("layers 0 to 2"));
    assert!(refuse(Senders::Together(vec![node("logits")]), logits()).contains("logits"));
    assert!(refuse(Senders::Each(vec![node("m1"), node("m1")]), logits()).contains("named twice"));
    assert!(refuse(Senders::Heads, to("a7.h0<q>")).contains("layers 0 to 2"));
    assert!(refuse(Senders::Each(vec![node("a1.h0")]), to("a1.h1<k>")).contains("only goes up"));
    let mut lonely = pair(1);
    lonely.corrupt = None;
    let asked = experiment(&model, patch(Senders::Heads, logits()), &["logit_diff"], vec![lonely]);
    assert!(asked.run_quietly(&model).unwrap_err().to_string().contains("corrupt prompt"));
}

fn names(edges: &[&str]) -> BTreeSet<Edge> {
    edges.iter().map(|edge| edge.parse().unwrap()).collect()
}

#[test]
fn the_planted_model_does_induction_by_its_circuit_and_by_nothing_else() {
    let planted = planted::induction().unwrap();
    let model = &planted.model;
    let graph = Graph::of(model.config());
    let circuit = Circuit::new(graph, planted.edges.clone()).unwrap();
    let prompts = planted::pairs(6, 1);
    assert_ne!(prompts, planted::pairs(6, 2));
    for prompt in &prompts {
        let corrupt = corrupt_outputs(model, prompt);
        let of = |circuit: &Circuit| logit_diff(model, prompt, circuit, &corrupt);
        let whole = of(&Circuit::whole(graph));
        assert!(whole > 6.0, "the right token by far: {whole}");
        assert!((of(&circuit) / whole - 1.0).abs() < 0.02, "faithful");
        let without = |edge: &Edge| {
            let mut edges = Circuit::whole(graph).edges;
            edges.remove(edge);
            of(&Circuit { graph, edges })
        };
        // Precision and recall of exact edge patching at half the effect of the largest.
        let found: BTreeSet<Edge> =
            graph.edges().into_iter().filter(|edge| without(edge) < 0.5 * whole).collect();
        assert_eq!(found, planted.edges_of_tokens);
        // Where the rest is zeroed rather than resampled, each of the seven is needed.
        let zero = Arc::new(corrupt.zeros_like().unwrap());
        let zeroed = |circuit: &Circuit| logit_diff(model, prompt, circuit, &zero);
        assert!((zeroed(&circuit) / whole - 1.0).abs() < 0.02);
        for edge in &planted.edges {
            let mut less = circuit.clone();
            less.edges.remove(edge);
            assert!(zeroed(&less) < 0.75 * whole, "{edge} {}", zeroed(&less));
        }
    }
    assert_eq!(&planted.edges - &planted.edges_of_tokens, names(&["input->a0.h0<q>", "input->a0.h0<k>"]));
}

#[test]
fn path_patching_finds_which_head_feeds_the_planted_induction_head_and_where() {
    let planted = planted::induction().unwrap();
    let inputs = ["a1.h0<q>", "a1.h0<k>", "a1.h0<v>"].map(|name| name.parse().unwrap()).to_vec();
    let asked = patch(Senders::Heads, Receivers::Each(inputs));
    let asked = experiment(&planted.model, asked, &["logit_diff"], planted::pairs(4, 3));
    let record = asked.run_quietly(&planted.model).unwrap();
    let recovery = cells(&record, "logit_diff", Quantity::Recovery);
    // Senders a0.h0 to a1.h2, each to query, key and value; noise: 1 = as the clean run.
    for (cell, value) in recovery.iter().enumerate() {
        match (cell / 3, cell % 3) {
            (0, 1) => assert!(value.unwrap() < 0.7, "a0.h0 to the key: {value:?}"),
            (0..3, _) => assert!((value.unwrap() - 1.0).abs() < 0.02, "{cell}: {value:?}"),
            _ => assert_eq!(*value, None),
        }
    }
}

#[test]
fn the_induction_circuit_of_the_planted_model_is_the_one_planted() {
    let planted = planted::induction().unwrap();
    let find = |circuit: InductionCircuit| {
        let method = Method::InductionCircuit(circuit);
        let asked = experiment(&planted.model, patch(Senders::Heads, Receivers::default()), &[], vec![]);
        Experiment { method, ..asked }.run_quietly(&planted.model)
    };
    let record = find(InductionCircuit { heads: Some(1), ..Default::default() }).unwrap();
    let found = &record.results.feedings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].from.to_string(), found[0].to.to_string()), ("L0H0".into(), "L1H0".into()));
    assert!(found[0].previous_token > 0.9 && found[0].recovery < 0.7, "{found:?}");
    let composed = record.table("k_composition", Quantity::Value).unwrap();
    assert_eq!(composed.axes[1].labels, ["a1.h0<k>"]);
    let highest = composed.values.iter().flatten().copied().fold(f64::MIN, f64::max);
    assert_eq!(found[0].k_composition, Some(highest));
    assert_eq!(record.results.runs, 8 * 3 * 3);
    for (circuit, words) in [
        (InductionCircuit { period: Some(8), ..Default::default() }, "half the context"),
        (InductionCircuit { heads: Some(0), ..Default::default() }, "1 or more"),
        (InductionCircuit { sequences: Some(0), ..Default::default() }, "1 to 1000"),
    ] {
        let message = find(circuit).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

fn attribution(model: &TextModel, asked: EdgeAttribution, prompts: Vec<Prompt>) -> Record {
    let asked = Experiment {
        method: Method::EdgeAttribution(asked),
        ..experiment(model, patch(Senders::Heads, Receivers::default()), &["logit_diff"], prompts)
    };
    asked.run_quietly(model).unwrap()
}

fn eap(direction: Direction, gradients: GradientsAt) -> EdgeAttribution {
    EdgeAttribution { direction, gradients }
}

#[test]
fn golden_edge_attribution_both_ways() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let prompt = Prompt {
        clean: golden.prompt("clean"),
        corrupt: Some(golden.prompt("corrupt")),
        answers: vec![Answer::Id(golden.id("target"))],
        wrong_answers: vec![Answer::Id(golden.id("foil"))],
    };
    // As the golden numbers name them: `embed`, `a0.h0.q`.
    let names = |key: &str| -> Vec<String> {
        let list = golden.json["scalars_f64"][key].as_array().unwrap();
        list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let mut compared = 0;
    for (way, direction) in [("noise", Direction::Noise), ("denoise", Direction::Denoise)] {
        let record = attribution(&golden.model, eap(direction, GradientsAt::Base), vec![prompt.clone()]);
        let table = record.table("logit_diff", Quantity::Change).unwrap();
        let senders: Vec<String> =
            table.axes[0].labels.iter().map(|name| name.replace("input", "embed")).collect();
        let receivers: Vec<String> =
            table.axes[1].labels.iter().map(|name| name.replace('<', ".").replace('>', "")).collect();
        assert_eq!(senders, names("eap_senders"));
        assert_eq!(receivers, names("eap_receivers"));
        // Where there is no edge TransformerLens has 0.
        let found: Vec<f64> = table.values.iter().map(|value| value.unwrap_or(0.0)).collect();
        golden.assert_close(&format!("eap/{way}"), &found);
        compared += 1;
    }
    assert_eq!(compared, golden.derived.keys().filter(|name| name.starts_with("eap/")).count());
}

/// The law of an estimate: per unit of a small share of the difference it is what intervening on the edge does, and over whole
/// differences it ranks edges nearly as intervening does.
#[test]
fn predicted_edge_effects_are_those_of_intervening_over_random_edges() {
    let model = toy();
    let config = model.config();
    let graph = Graph::of(config);
    let prompt = pair(2);
    let record = attribution(&model, eap(Direction::Noise, GradientsAt::Base), vec![prompt.clone()]);
    let predicted = cells(&record, "logit_diff", Quantity::Change);
    let clean = Arc::new(sender_outputs(&model, &ids(&prompt.clean)).unwrap());
    let corrupt = corrupt_outputs(&model, &prompt);
    let n_receivers = graph.receivers().len();
    let place = |edge: &Edge| {
        let row = graph.sender_index(edge.from).unwrap();
        row * n_receivers + graph.receiver_index(edge.to, edge.port).unwrap()
    };
    let intervened = |edge: &Edge, share: f64| {
        let of = |outputs: &SenderOutputs| {
            outputs.values().narrow(1, graph.sender_index(edge.from).unwrap(), 1).unwrap()
        };
        let part = ((of(&corrupt) - of(&clean)).unwrap() * share).unwrap(); // [pos, 1, d_model]
        let hook = edge.hook(config.n_layers);
        let edit = match edge.to {
            Node::Head { head, .. } => {
                let (len, _, d_model) = part.dims3().unwrap();
                let wide = part.broadcast_as((len, config.n_heads, d_model)).unwrap().contiguous().unwrap();
                Edit::new(hook, Change::Add(Value::Tensor(wide))).units([head])
            }
            _ => Edit::new(hook, Change::Add(Value::Tensor(part.squeeze(1).unwrap()))),
        };
        logit_diff_of(&model, &prompt, vec![edit])
    };
    let largest = predicted.iter().flatten().fold(0.0, |most: f64, score| most.max(score.abs()));
    let (mut state, share) = (7_u64, 0.02);
    let edges = graph.edges();
    for _ in 0..25 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let edge = edges[(state >> 33) as usize % edges.len()];
        let slope = (intervened(&edge, share) - intervened(&edge, -share)) / (2.0 * share);
        let found = predicted[place(&edge)].unwrap();
        assert!((slope - found).abs() < 0.01 * largest, "{edge}: predicted {found}, intervened {slope}");
    }
    // The whole difference is no small one: the order of edges holds, their sizes need not.
    let base = intervened(&edges[0], 0.0);
    let pairs: Vec<(f64, f64)> =
        edges.iter().map(|edge| (predicted[place(edge)].unwrap(), intervened(edge, 1.0) - base)).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
    let (a, b) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(x, y)| of(x - a, y - b)).sum::<f64>();
    let correlation = sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt();
    assert!(correlation > 0.6, "{correlation}");
}

#[test]
fn with_steps_the_edges_of_what_is_moved_sum_to_the_whole_change() {
    let model = toy();
    let prompt = pair(2);
    let measured = experiment(
        &model,
        patch(Senders::Every, Receivers::default()),
        &["logit_diff"],
        vec![prompt.clone()],
    );
    let record = measured.run_quietly(&model).unwrap();
    let of = |run: &str| {
        let runs = &record.results.prompts[0].runs;
        runs.iter().find(|report| report.name == run).unwrap().metrics[0].value
    };
    let whole = of("corrupt") - of("clean");
    let graph = Graph::of(model.config());
    let n = graph.receivers().len();
    let from_input = |gradients| -> f64 {
        let record = attribution(&model, eap(Direction::Noise, gradients), vec![prompt.clone()]);
        cells(&record, "logit_diff", Quantity::Change)[..n].iter().flatten().sum()
    };
    for gradients in [GradientsAt::Inputs(60), GradientsAt::Activations(60)] {
        let sum = from_input(gradients);
        assert!((sum - whole).abs() < 2e-2 * whole.abs(), "{gradients:?}: {sum} of {whole}");
    }
    assert!((from_input(GradientsAt::Base) - whole).abs() > 2e-2 * whole.abs(), "or steps would do nothing");
}

#[test]
fn scores_are_written_as_eap_json_and_read_back() {
    let model = toy();
    let record = attribution(&model, eap(Direction::Noise, GradientsAt::Base), vec![pair(1)]);
    let scores = EdgeScores::of_record(&record).unwrap();
    let circuit = scores.circuit(40, Keep::Paths);
    assert!(!circuit.edges.is_empty() && circuit.edges.len() <= 40);
    let text = eap_json(&scores, &circuit, model.config());
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["cfg"]["n_layers"], model.config().n_layers);
    assert!(json["nodes"]["logits"]["in_graph"].as_bool().unwrap());
    let first = &json["edges"]["input->a0.h0<q>"];
    let table = record.table("logit_diff", Quantity::Change).unwrap();
    assert_eq!(first["score"].as_f64().unwrap(), -table.values[0].unwrap(), "what is lost");
    let back = read_eap_json(&text, model.config()).unwrap();
    assert_eq!((back.circuit, back.edges), (circuit, scores.edges.clone()));
    assert_eq!(back.nodes[&Node::Input], scores.node(Node::Input).unwrap());
    for (bad, words) in [
        ("{}", "no circuit file"),
        (&text.replace("\"n_layers\": ", "\"n_layers\": 9"), "layers"),
        (&text.replace("input->a0.h0<q>", "input->a0.h0"), "is no edge"),
    ] {
        let error = read_eap_json(bad, model.config()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let measured =
        experiment(&model, patch(Senders::Heads, Receivers::default()), &["logit_diff"], vec![pair(1)]);
    let error = EdgeScores::of_record(&measured.run_quietly(&model).unwrap()).unwrap_err();
    assert!(error.to_string().contains("path_patch"), "{error}");
}

#[test]
fn exact_scores_of_edges_are_what_is_lost_without_each() {
    let model = toy();
    let prompts = vec![pair(1), pair(4)];
    let graph = Graph::of(model.config());
    let without = |prompt: &Prompt, edge: Edge| {
        let mut circuit = Circuit::whole(graph);
        circuit.edges.remove(&edge);
        logit_diff(&model, prompt, &circuit, &corrupt_outputs(&model, prompt))
    };
    let whole = |prompt: &Prompt| {
        logit_diff(&model, prompt, &Circuit::whole(graph), &corrupt_outputs(&model, prompt))
    };
    let asked = experiment(&model, patch(Senders::Every, Receivers::Every), &["logit_diff"], prompts.clone());
    let scores = EdgeScores::of_record(&asked.run_quietly(&model).unwrap()).unwrap();
    assert_eq!((scores.edges.len(), scores.basis), (graph.edges().len(), Basis::Exact));
    for &(edge, score) in scores.edges.iter().step_by(7) {
        let lost = prompts.iter().map(|prompt| whole(prompt) - without(prompt, edge)).sum::<f64>() / 2.0;
        assert!((lost - score).abs() < 1e-4, "{edge}: {score} {lost}");
    }
}
