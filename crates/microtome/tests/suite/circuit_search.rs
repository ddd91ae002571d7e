//! Circuits found, measured and judged: a model whose circuit is known, one run at a time against lanes, and what is
//! refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use microtome::circuit::compare::{jaccard, precision, recall};
use microtome::circuit::curve::{CircuitCurve, MIB_SHARES};
use microtome::circuit::edge_attribution::GradientsAt;
use microtome::circuit::judge::{CircuitJudgement, NamedCircuit};
use microtome::circuit::search::{Begun, CircuitSearch, CircuitSize, FindBy, FoundCircuit};
use microtome::circuit::wiring::sender_outputs;
use microtome::circuit::{Circuit, Edge, Graph, Node, Pick, Rest, planted};
use microtome::metric::MetricId;
use microtome::model::{Precision, SenderOutputs};
use microtome::{Bos, Error, Experiment, Method, Prompt, Quantity, Record, Table, Text, TextModel, Watch};

use crate::circuits::{corrupt_outputs, ids, logit_diff};
use crate::laws::{pair, toy};

fn experiment(model: &TextModel, method: Method, metric: &str, prompts: Vec<Prompt>) -> Experiment {
    Experiment {
        model: "any".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Omit,
        prompts,
        method,
        metrics: vec![MetricId::named(metric).unwrap()],
        read_at: None,
        seed: 0,
    }
}

fn search(by: Vec<FindBy>) -> CircuitSearch {
    CircuitSearch { by, rest: Rest::Resample, begun: vec![] }
}

fn found(model: &TextModel, asked: CircuitSearch, prompts: Vec<Prompt>) -> Vec<FoundCircuit> {
    let method = Method::CircuitSearch(asked);
    experiment(model, method, "logit_diff", prompts).run_quietly(model).unwrap().results.circuits
}

fn edges_by(pick: Pick, size: CircuitSize) -> FindBy {
    FindBy::Edges { gradients: GradientsAt::Inputs(5), pick, size }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// The mean logit difference of a circuit, prompt by prompt, one run each.
fn value(model: &TextModel, prompts: &[Prompt], circuit: &Circuit) -> f64 {
    mean(prompts.iter().map(|prompt| logit_diff(model, prompt, circuit, &corrupt_outputs(model, prompt))))
}

fn faithfulness(model: &TextModel, prompts: &[Prompt], circuit: &Circuit) -> f64 {
    let graph = circuit.graph;
    let of = |circuit: &Circuit| value(model, prompts, circuit);
    let (full, empty) = (of(&Circuit::whole(graph)), of(&Circuit { graph, edges: BTreeSet::new() }));
    (of(circuit) - empty) / (full - empty)
}

#[test]
fn every_way_recovers_the_planted_circuit() {
    let planted = planted::induction().unwrap();
    let prompts = planted::pairs(6, 1);
    let count = planted.edges_of_tokens.len();
    let by = vec![
        FindBy::Acdc(vec![0.5, 2.0]),
        edges_by(Pick::Strongest, CircuitSize::Count(vec![count])),
        edges_by(Pick::Helpful, CircuitSize::Count(vec![count])),
        edges_by(Pick::Grow, CircuitSize::Count(vec![count])),
        edges_by(Pick::Strongest, CircuitSize::Faithful(0.95)),
        FindBy::Nodes { gradients: GradientsAt::Inputs(5), size: CircuitSize::Faithful(0.95) },
    ];
    let method = Method::CircuitSearch(search(by));
    let record = experiment(&planted.model, method, "logit_diff", prompts.clone())
        .run_quietly(&planted.model)
        .unwrap();
    assert!(record.is_complete());
    let found = &record.results.circuits;
    let names: Vec<&str> = found.iter().map(|found| &found.name[..]).collect();
    assert_eq!(names, ["acdc-0.5", "acdc-2", "edges-5", "edges-5", "edges-5", "edges-2", "nodes-2"]);
    for circuit in &found[..5] {
        // Precision and recall 1.
        assert_eq!(circuit.edges, planted.edges_of_tokens, "{}", circuit.name);
        assert!((circuit.faithfulness.unwrap() - 1.0).abs() < 0.05, "{circuit:?}");
    }
    // What is copied is all that differs for the last token: where to look is the same in both prompts, as long as
    // both ends of the match come from one of them. So less is faithful enough: precision 1, recall 2 of 5.
    let copied: BTreeSet<Edge> =
        ["input->a1.h0<v>", "a1.h0->logits"].iter().map(|edge| edge.parse().unwrap()).collect();
    assert_eq!(found[5].edges, copied);
    // Of nodes, the two heads: all that is needed is among their edges, and six edges that are not.
    let nodes = &found[6];
    let heads: Vec<String> = nodes.nodes.iter().map(Node::to_string).collect();
    assert_eq!(heads, ["input", "a0.h0", "a1.h0", "logits"]);
    assert_eq!(recall(&nodes.edges, &planted.edges), Some(1.0));
    assert_eq!(precision(&nodes.edges, &planted.edges), Some(7.0 / 12.0));
    let shared = record.table("jaccard", Quantity::Value).unwrap();
    for (one, other) in [(0, 0), (0, 5), (0, 6), (6, 0)] {
        let expected = jaccard(&found[one].edges, &found[other].edges);
        assert_eq!(shared.values[one * found.len() + other], Some(expected));
    }
}

#[test]
fn with_the_rest_at_zero_cuts_recover_the_edges_of_positions_too() {
    let planted = planted::induction().unwrap();
    let asked = CircuitSearch { rest: Rest::Zero, ..search(vec![FindBy::Acdc(vec![0.5])]) };
    let found = found(&planted.model, asked, planted::pairs(4, 1));
    assert_eq!(found[0].edges, planted.edges);
}

/// ACDC as it was published: one run after the other, an edge at a time.
fn one_by_one(model: &TextModel, prompts: &[Prompt], threshold: f64) -> BTreeSet<Edge> {
    let graph = Graph::of(model.config());
    let mut circuit = Circuit::whole(graph);
    let mut now = value(model, prompts, &circuit);
    for (to, port) in graph.receivers().into_iter().rev() {
        for from in graph.senders().into_iter().rev() {
            let edge = Edge::new(from, to, port);
            if graph.check(edge).is_err() {
                continue;
            }
            circuit.edges.remove(&edge);
            if to != Node::Logits && !circuit.edges.iter().any(|other| other.from == to) {
                continue;
            }
            let after = value(model, prompts, &circuit);
            if (after - now).abs() < threshold {
                now = after;
            } else {
                circuit.edges.insert(edge);
            }
        }
    }
    circuit.pruned().edges
}

#[test]
fn lanes_ahead_find_what_one_run_after_the_other_finds() {
    let model = toy();
    let prompts = vec![pair(1), pair(4)];
    let mut sizes = BTreeSet::new();
    for threshold in [0.003, 0.03, 0.2] {
        let found = found(&model, search(vec![FindBy::Acdc(vec![threshold])]), prompts.clone());
        assert_eq!(found[0].edges, one_by_one(&model, &prompts, threshold), "{threshold}");
        sizes.insert(found[0].edges.len());
    }
    assert!(sizes.len() == 3 && *sizes.first().unwrap() > 0, "circuits of three sizes: {sizes:?}");
}

/// Runs, and stops when so many steps are done.
fn stopped_at(experiment: &Experiment, model: &TextModel, steps: usize) -> Record {
    let cancel = AtomicBool::new(false);
    let mut progress = |done: usize, _: usize| {
        if done >= steps {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let mut watch =
        Watch { cancel: &cancel, progress: &mut progress, partial: None, memory_budget: 64 << 20 };
    experiment.run(model, &mut watch).unwrap()
}

#[test]
fn a_search_that_was_stopped_goes_on_from_its_record_to_the_same_circuits() {
    let model = toy();
    let asked = |begun| {
        let by = vec![FindBy::Acdc(vec![0.2, 0.03])];
        let method = Method::CircuitSearch(CircuitSearch { begun, ..search(by) });
        experiment(&model, method, "logit_diff", vec![pair(1)])
    };
    let whole = asked(vec![]).run_quietly(&model).unwrap();
    let n_edges = Graph::of(model.config()).edges().len();
    for steps in [40, n_edges + 40] {
        let stopped = stopped_at(&asked(vec![]), &model, steps);
        assert!(!stopped.is_complete());
        let last = stopped.results.circuits.last().unwrap();
        assert!(last.faithfulness.is_none());
        let decided = last.begun.as_ref().unwrap().decided;
        assert!(decided > 0 && decided < n_edges, "{decided}");
        let text = serde_json::to_string(&stopped).unwrap();
        let begun = Begun::of_record(&serde_json::from_str(&text).unwrap());
        assert_eq!(begun.len(), stopped.results.circuits.len());
        let resumed = asked(begun).run_quietly(&model).unwrap();
        assert_eq!(resumed.results.circuits, whole.results.circuits, "stopped at {steps}");
    }
}

#[test]
fn the_smallest_circuit_that_is_faithful_enough_is_taken_and_its_number_is_that_of_plain_runs() {
    let model = toy();
    let prompts = vec![pair(1), pair(4), pair(9)];
    let goal = 0.8;
    let asked = search(vec![
        edges_by(Pick::Grow, CircuitSize::Faithful(goal)),
        FindBy::Nodes { gradients: GradientsAt::Base, size: CircuitSize::Count(vec![1, 6, 15, 99]) },
    ]);
    let found = found(&model, asked, prompts.clone());
    let graph = Graph::of(model.config());
    for found in &found {
        let circuit = Circuit::new(graph, found.edges.clone()).unwrap();
        let expected = faithfulness(&model, &prompts, &circuit);
        assert!((found.faithfulness.unwrap() - expected).abs() < 1e-4, "{} {expected}", found.name);
        let spread = found.spread.unwrap();
        assert!(spread.low <= spread.high && spread.low.is_finite());
    }
    assert!(found[0].faithfulness.unwrap() >= goal);
    // Of all 15 nodes, or more, the circuit is the model.
    let last = found.last().unwrap();
    assert_eq!((&last.name[..], last.faithfulness), ("nodes-15", Some(1.0)));
}

fn curve(model: &TextModel, asked: CircuitCurve, prompts: Vec<Prompt>) -> Record {
    experiment(model, Method::CircuitCurve(asked), "logit_diff", prompts).run_quietly(model).unwrap()
}

fn table<'a>(record: &'a Record, metric: &str) -> &'a Table {
    record.table(metric, Quantity::Value).unwrap()
}

fn numbers(table: &Table) -> Vec<f64> {
    table.values.iter().map(|value| value.unwrap()).collect()
}

#[test]
fn the_curve_rises_from_nothing_to_the_model_and_its_areas_are_those_of_trapezoids() {
    let planted = planted::induction().unwrap();
    let n_edges = Graph::of(planted.model.config()).edges().len();
    let record = curve(
        &planted.model,
        CircuitCurve { gradients: GradientsAt::Inputs(5), ..Default::default() },
        planted::pairs(6, 1),
    );
    let f = numbers(table(&record, "faithfulness"));
    assert_eq!(table(&record, "faithfulness").axes[1].labels.len(), MIB_SHARES.len());
    let (scored, random) = f.split_at(MIB_SHARES.len());
    assert_eq!((scored[0], scored[9], random[9]), (0.0, 1.0, 1.0));
    // Five of so many edges do it; at random they hardly ever come together.
    let first = MIB_SHARES.iter().position(|share| (share * n_edges as f64).round() >= 5.0).unwrap();
    assert!(scored[first..].iter().all(|f| (f - 1.0).abs() < 0.05), "{scored:?}");
    assert!(random[first].abs() < 0.1 && random[..9].iter().zip(scored).all(|(r, s)| *r <= s + 0.05));
    let area = |of: &dyn Fn(f64) -> f64| -> f64 {
        let points: Vec<(f64, f64)> = MIB_SHARES.iter().copied().zip(scored.iter().map(|&f| of(f))).collect();
        points.windows(2).map(|p| (p[1].0 - p[0].0) * (p[0].1 + p[1].1) / 2.0).sum()
    };
    let (cpr, cmd) = (numbers(table(&record, "cpr")), numbers(table(&record, "cmd")));
    assert!((cpr[0] - area(&|f| f)).abs() < 1e-9 && (cmd[0] - area(&|f| (1.0 - f).abs())).abs() < 1e-9);
    assert!(cpr[0] > 0.95 && cmd[0] < 0.05 && cpr[1] < cpr[0] && cmd[1] > cmd[0], "{cpr:?} {cmd:?}");
    assert!(table(&record, "cpr").spread.iter().all(Option::is_some));
    // Every draw of these prompts has the same five edges on top.
    assert_eq!(numbers(table(&record, "edges"))[first], 5.0);
    assert!(numbers(table(&record, "jaccard"))[first] > 0.99);
}

#[test]
fn every_point_of_a_curve_is_that_of_plain_runs_and_one_prompt_has_no_intervals() {
    let model = toy();
    let prompts = vec![pair(1)];
    let asked = CircuitCurve { shares: vec![0.05, 0.3, 1.0], random: Some(0), ..Default::default() };
    let record = curve(&model, asked, prompts.clone());
    let sizes = [0.05, 0.3].map(|share| (share * Graph::of(model.config()).edges().len() as f64).round());
    let counts = sizes.map(|size| size as usize).to_vec();
    let by = FindBy::Edges {
        gradients: GradientsAt::Base,
        pick: Pick::Strongest,
        size: CircuitSize::Count(counts),
    };
    let found = found(&model, search(vec![by]), prompts.clone());
    let f = numbers(table(&record, "faithfulness"));
    assert_eq!(f.len(), 3, "no random ranking was asked for");
    for (found, f) in found.iter().zip(&f) {
        let circuit = Circuit::new(Graph::of(model.config()), found.edges.clone()).unwrap();
        assert!((faithfulness(&model, &prompts, &circuit) - f).abs() < 1e-4);
    }
    assert!(table(&record, "faithfulness").spread.is_empty());
    assert!(record.table("jaccard", Quantity::Value).is_none());
}

#[test]
fn the_planted_circuit_is_judged_faithful_complete_and_minimal_but_for_what_is_put_in() {
    let planted = planted::induction().unwrap();
    let model = &planted.model;
    let prompts = planted::pairs(5, 2);
    let graph = Graph::of(model.config());
    let mut more = planted.edges_of_tokens.clone();
    let idle: Edge = "input->a0.h2<v>".parse().unwrap();
    more.extend([idle, "a0.h2->logits".parse().unwrap()]);
    let asked = CircuitJudgement {
        circuits: vec![
            NamedCircuit { name: "planted".to_owned(), edges: planted.edges.clone() },
            NamedCircuit { name: "more".to_owned(), edges: more.clone() },
        ],
        rests: vec![],
        random: Some(6),
        subsets: Some(3),
    };
    let method = Method::CircuitJudgement(asked);
    let record = experiment(model, method, "logit_diff", prompts.clone()).run_quietly(model).unwrap();
    assert!(record.is_complete());
    // FindBy circuit, by rest: resample, mean, zero.
    let f = numbers(table(&record, "faithfulness"));
    assert!(f[..3].iter().all(|f| (f - 1.0).abs() < 0.05), "{f:?}");
    let without = numbers(table(&record, "completeness"));
    assert!(without[0].abs() < 0.05, "{without:?}");
    let random = numbers(table(&record, "random"));
    assert!(random.iter().all(|f| f.abs() < 0.2), "{random:?}");
    // The mean of the corrupt runs, and nothing at all, one run each.
    let outputs: Vec<SenderOutputs> = prompts
        .iter()
        .map(|prompt| sender_outputs(model, &ids(prompt.corrupt.as_ref().unwrap())).unwrap())
        .collect();
    let mut average = outputs[0].clone();
    for (i, one) in outputs.iter().enumerate().skip(1) {
        average = average.towards(one, 1.0 / (i + 1) as f64).unwrap();
    }
    let zero = Arc::new(average.zeros_like().unwrap());
    let circuits = [planted.edges.clone(), more.clone()].map(|edges| Circuit { graph, edges });
    for (rest, others) in [(1, Arc::new(average)), (2, zero)] {
        let of = |circuit: &Circuit| {
            mean(prompts.iter().map(|prompt| logit_diff(model, prompt, circuit, &others)))
        };
        let (full, empty) = (of(&Circuit::whole(graph)), of(&Circuit { graph, edges: BTreeSet::new() }));
        for (c, circuit) in circuits.iter().enumerate() {
            let expected = (of(circuit) - empty) / (full - empty);
            assert!((f[c * 3 + rest] - expected).abs() < 1e-4, "{c} {rest} {expected}");
        }
    }
    let minimality = table(&record, "minimality");
    for (label, value) in minimality.axes[0].labels.iter().zip(numbers(minimality)) {
        let (name, edge) = label.split_once(": ").unwrap();
        let edge: Edge = edge.parse().unwrap();
        match planted.edges_of_tokens.contains(&edge) {
            true => assert!(value > 0.3, "{name} needs {edge}: {value}"),
            false => assert!(value < 0.05, "{name} does not need {edge}: {value}"),
        }
    }
    assert_eq!(minimality.values.len(), planted.edges.len() + more.len());
    assert_eq!(table(&record, "jaccard").values[1], Some(jaccard(&planted.edges, &more)));
}

#[test]
fn a_circuit_can_be_found_by_the_distance_of_whole_distributions() {
    let planted = planted::induction().unwrap();
    let method = Method::CircuitSearch(search(vec![FindBy::Acdc(vec![0.2])]));
    let record =
        experiment(&planted.model, method, "kl", planted::pairs(4, 1)).run_quietly(&planted.model).unwrap();
    let found = &record.results.circuits[0];
    assert_eq!(found.edges, planted.edges_of_tokens);
    assert!((found.faithfulness.unwrap() - 1.0).abs() < 0.05);
}

#[test]
fn what_no_circuit_can_be_found_from_is_an_error_that_says_why() {
    let model = toy();
    let refused = |asked: CircuitSearch, prompts: Vec<Prompt>| {
        experiment(&model, Method::CircuitSearch(asked), "logit_diff", prompts)
            .run_quietly(&model)
            .unwrap_err()
    };
    let acdc = |threshold: f64| search(vec![FindBy::Acdc(vec![threshold])]);
    assert!(matches!(refused(search(vec![]), vec![pair(1)]), Error::Missing { .. }));
    assert!(matches!(refused(search(vec![FindBy::Acdc(vec![])]), vec![pair(1)]), Error::Missing { .. }));
    for threshold in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(refused(acdc(threshold), vec![pair(1)]), Error::OutOfRange { .. }), "{threshold}");
    }
    for goal in [0.0, 1.5, f64::NAN] {
        let asked = search(vec![edges_by(Pick::Strongest, CircuitSize::Faithful(goal))]);
        assert!(matches!(refused(asked, vec![pair(1)]), Error::OutOfRange { .. }), "{goal}");
    }
    let asked = search(vec![edges_by(Pick::Strongest, CircuitSize::Count(vec![3, 0]))]);
    assert!(matches!(refused(asked, vec![pair(1)]), Error::OutOfRange { .. }));
    let alone = Prompt { corrupt: None, ..pair(1) };
    assert!(matches!(refused(acdc(0.1), vec![alone]), Error::Missing { .. }));
    let same = Prompt { corrupt: Some(pair(1).clean), ..pair(1) };
    let message = refused(acdc(0.1), vec![same]).to_string();
    assert!(message.contains("nothing to explain"), "{message}");
    let first = |text: &Text| Text::Ids(ids(text)[..5].to_vec());
    let long = pair(1);
    let short = Prompt { clean: first(&long.clean), corrupt: long.corrupt.as_ref().map(first), ..long };
    let mean = CircuitSearch { rest: Rest::Mean, ..acdc(0.1) };
    assert!(matches!(refused(mean, vec![pair(1), short.clone()]), Error::PositionsDiffer { .. }));
    // A judgement that names no rest leaves the mean out instead.
    let edges = ["input->m0", "m0->logits"].map(|edge| edge.parse().unwrap());
    let circuits = vec![NamedCircuit { name: "one".to_owned(), edges: edges.into_iter().collect() }];
    let judged = |rests: Vec<Rest>| {
        let asked = CircuitJudgement { circuits: circuits.clone(), rests, random: Some(0), subsets: Some(0) };
        let prompts = vec![pair(1), short.clone()];
        experiment(&model, Method::CircuitJudgement(asked), "logit_diff", prompts).run_quietly(&model)
    };
    assert!(matches!(judged(vec![Rest::Resample, Rest::Mean]), Err(Error::PositionsDiffer { .. })));
    let record = judged(vec![]).unwrap();
    assert!(record.is_complete());
    assert_eq!(table(&record, "faithfulness").axes[1].labels, ["resample", "zero"]);
    let begun = Begun { threshold: 0.1, decided: 1 << 20, edges: BTreeSet::new() };
    let beyond = CircuitSearch { begun: vec![begun], ..acdc(0.1) };
    assert!(matches!(refused(beyond, vec![pair(1)]), Error::OutOfRange { .. }));

    let judged = |name: &str, edges: &[&str]| {
        let edges = edges.iter().map(|edge| edge.parse().unwrap()).collect();
        let circuits = vec![NamedCircuit { name: name.to_owned(), edges }];
        let asked = CircuitJudgement { circuits, rests: vec![], random: None, subsets: None };
        experiment(&model, Method::CircuitJudgement(asked), "logit_diff", vec![pair(1)])
            .run_quietly(&model)
            .unwrap_err()
    };
    assert!(matches!(judged("one", &[]), Error::Missing { .. }));
    assert!(matches!(judged(" ", &["input->logits"]), Error::Missing { .. }));
    assert!(matches!(judged("one", &["a9.h0->logits"]), Error::NoSuchComponent { .. }));
    for shares in [vec![0.0], vec![0.5, 0.2], vec![1.1]] {
        let asked = CircuitCurve { shares, ..Default::default() };
        let refused = experiment(&model, Method::CircuitCurve(asked), "logit_diff", vec![pair(1)]);
        assert!(matches!(refused.run_quietly(&model), Err(Error::OutOfRange { .. })));
    }
}
