//! Pairs of components: what cutting two does beyond cutting each, against runs asked for one by one.

use std::sync::atomic::{AtomicBool, Ordering};

use microtome::method::ablate::{Ablate, Targets};
use microtome::method::change::Replacement;
use microtome::method::importance::{Importance, Measure, Parts};
use microtome::method::pairs::Pairs;
use microtome::metric::MetricId;
use microtome::model::{Positions, Processing, Site};
use microtome::{Bos, Component, Error, Experiment, Method, Prompt, Quantity, Record, Watch};

use crate::laws::{pair, toy};

fn parts(names: &[&str]) -> Vec<Component> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn experiment(method: Method, metric: &str, prompts: Vec<Prompt>) -> Experiment {
    Experiment {
        model: "toy".to_owned(),
        weights: Processing::Folded,
        precision: microtome::model::Precision::F32,
        bos: Bos::Prepend,
        prompts,
        method,
        metrics: vec![MetricId::named(metric).unwrap()],
        read_at: None,
        seed: 3,
    }
}

fn run(method: Method, metric: &str, prompts: Vec<Prompt>) -> Record {
    experiment(method, metric, prompts).run_quietly(&toy()).unwrap()
}

fn effect(cut: Vec<Component>, metric: &str, quantity: Quantity, prompts: Vec<Prompt>) -> f64 {
    let ablate =
        Ablate { targets: Targets::Together(cut), with: Replacement::Zero, at: Positions::All, clamp: None };
    run(Method::Ablate(ablate), metric, prompts).table(metric, quantity).unwrap().values[0].unwrap()
}

#[test]
fn an_interaction_is_the_joint_effect_minus_the_single_ones() {
    let among = parts(&["L0H1", "m0", "L2H3", "L1N5"]);
    for (metric, joint) in [("logit_diff", Quantity::Change), ("kl", Quantity::Value)] {
        let pairs = Pairs { among: among.clone(), ..Default::default() };
        let prompts = vec![pair(1), pair(2), pair(4)];
        let record = run(Method::Pairs(pairs), metric, prompts.clone());
        assert_eq!((record.results.runs, record.results.runs_wanted), (3 * 10, 3 * 10));
        let of = |cut: Vec<Component>| effect(cut, metric, joint, prompts.clone());
        let interaction = record.table(metric, Quantity::Interaction).unwrap();
        let both = record.table(metric, joint).unwrap();
        for (i, &a) in among.iter().enumerate() {
            for (j, &b) in among.iter().enumerate() {
                let cell = i * among.len() + j;
                if i > j {
                    assert_eq!((interaction.values[cell], both.values[cell]), (None, None), "each pair once");
                    continue;
                }
                if i == j {
                    assert_eq!(interaction.values[cell], None);
                    assert!((both.values[cell].unwrap() - of(vec![a])).abs() < 1e-6);
                    continue;
                }
                let (joint, singles) = (of(vec![a, b]), of(vec![a]) + of(vec![b]));
                assert!((both.values[cell].unwrap() - joint).abs() < 1e-6, "{metric} {a} {b}");
                assert!(
                    (interaction.values[cell].unwrap() - (joint - singles)).abs() < 1e-6,
                    "{metric} {a} {b}"
                );
                let spread = interaction.spread[cell].unwrap();
                assert!(spread.low <= interaction.values[cell].unwrap() && spread.stderr > 0.0);
            }
        }
    }
}

#[test]
fn rows_and_columns_that_differ_hold_every_pair_once_and_no_part_with_itself() {
    let pairs = Pairs {
        among: parts(&["L0H1", "L1H0"]),
        against: parts(&["L1H0", "L2H2", "L0H1"]),
        ..Default::default()
    };
    let record = run(Method::Pairs(pairs.clone()), "logit_diff", vec![pair(1)]);
    let table = record.table("logit_diff", Quantity::Interaction).unwrap();
    assert_eq!(table.axes[0].labels, ["L0H1", "L1H0"]);
    assert_eq!(table.axes[1].labels, ["L1H0", "L2H2", "L0H1"]);
    let there: Vec<bool> = table.values.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, true, false, false, true, false]);
    assert!(pairs.count(toy().config()) >= record.results.runs, "a bound on the runs");
}

#[test]
fn backups_hurt_where_the_earlier_one_is_cut_and_more_than_by_themselves() {
    // Low values of a loss are better, high ones of a logit difference.
    for (metric, joint, harm) in [("logit_diff", Quantity::Change, -1.0), ("kl", Quantity::Value, 1.0)] {
        let prompts = vec![pair(1), pair(5)];
        let record = run(Method::Pairs(Pairs::default()), metric, prompts);
        let (interaction, both) =
            (record.table(metric, Quantity::Interaction).unwrap(), record.table(metric, joint).unwrap());
        let mut expected = Vec::new();
        for (cell, value) in interaction.values.iter().enumerate() {
            let Some(value) = value else { continue };
            let (earlier, later) = (cell / 12, cell % 12);
            let without = both.values[cell].unwrap() - both.values[earlier * 12 + earlier].unwrap();
            if harm * value > 0.0 && harm * without > 0.0 {
                expected.push((harm * value, later, earlier, without));
            }
        }
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        let backups = &record.results.backups;
        assert!(!backups.is_empty() && backups.len() == expected.len().min(20), "{metric}");
        let name = |head: usize| format!("L{}H{}", head / 4, head % 4);
        for (backup, (hurts, later, earlier, without)) in backups.iter().zip(expected) {
            assert_eq!((backup.backup.to_string(), backup.of.to_string()), (name(later), name(earlier)));
            assert!((backup.interaction * harm - hurts).abs() < 1e-9);
            assert!((backup.without - without).abs() < 1e-9);
            assert!((backup.without - backup.alone - backup.interaction).abs() < 1e-9);
            assert!(backup.spread.is_some(), "over two prompts");
        }
    }
}

#[test]
fn one_component_is_paired_with_every_head() {
    let pairs = Pairs { among: parts(&["L1H2"]), ..Default::default() };
    let record = run(Method::Pairs(pairs), "logit_diff", vec![pair(1)]);
    let table = record.table("logit_diff", Quantity::Interaction).unwrap();
    assert_eq!(table.axes[1].labels.len(), 12);
    assert_eq!(table.values.iter().filter(|x| x.is_none()).count(), 1, "itself alone is left out");
}

#[test]
fn parts_of_each_other_and_parts_named_twice_are_refused() {
    let refusal = |names: &[&str]| {
        let method = Method::Pairs(Pairs { among: parts(names), ..Default::default() });
        experiment(method, "kl", vec![pair(1)]).run_quietly(&toy()).unwrap_err()
    };
    assert!(matches!(refusal(&["a1", "L1H2"]), Error::Overlap { .. }));
    assert!(matches!(refusal(&["L1N3", "m1"]), Error::Overlap { .. }));
    assert!(matches!(refusal(&["L1H2", "m0", "1.2"]), Error::NamedTwice { .. }));
    assert!(matches!(refusal(&["L1H2", "L9H2"]), Error::NoSuchComponent { .. }));
}

#[test]
fn stopped_pairs_keep_what_they_finished() {
    let cancel = AtomicBool::new(false);
    let record = experiment(Method::Pairs(Pairs::default()), "kl", vec![pair(1)])
        .run(
            &toy(),
            &mut Watch {
                cancel: &cancel,
                progress: &mut |done, _| cancel.store(done >= 20, Ordering::Relaxed),
                partial: None,
                memory_budget: 1 << 16,
            },
        )
        .unwrap();
    assert!(!record.is_complete() && record.results.runs >= 20);
    let table = record.table("kl", Quantity::Value).unwrap();
    assert!(table.values.iter().flatten().count() >= 20, "singles and the first pairs");
}

#[test]
fn importance_over_prompts_is_the_mean_of_theirs_with_a_spread() {
    for of in [Parts::Heads, Parts::Mlps] {
        for by in [Measure::Gradient, Measure::OutputNorm, Measure::AblationKl] {
            let ask = |prompts| {
                let mut asked = experiment(Method::Importance(Importance { by, of }), "kl", prompts);
                asked.metrics.clear();
                asked.run_quietly(&toy()).unwrap()
            };
            let values = |record: &Record| record.table(by.metric(), Quantity::Value).unwrap().values.clone();
            let each: Vec<_> = [1, 2, 5].map(|shift| values(&ask(vec![pair(shift)]))).into();
            let together = ask(vec![pair(1), pair(2), pair(5)]);
            assert_eq!(together.results.prompts.len(), 3);
            let table = together.table(by.metric(), Quantity::Value).unwrap();
            assert_eq!(table.values.len(), if of == Parts::Heads { 12 } else { 3 });
            for (cell, value) in table.values.iter().enumerate() {
                let mean = each.iter().map(|values| values[cell].unwrap()).sum::<f64>() / 3.0;
                assert!((value.unwrap() - mean).abs() < 1e-6, "{of:?} {by:?} {cell}");
                let spread = table.spread[cell].unwrap();
                assert!(spread.low <= mean && mean <= spread.high && spread.stderr > 0.0);
            }
        }
    }
}

#[test]
fn an_mlps_gradient_importance_is_its_output_times_the_derivative() {
    use microtome::method::gradient::{Of, metric_gradients};
    let model = toy();
    let Prompt { clean: microtome::Text::Ids(tokens), .. } = pair(1) else { panic!("ids") };
    let metric = MetricId::named("logit_diff").unwrap();
    let importance = Importance { by: Measure::Gradient, of: Parts::Mlps };
    let record = run(Method::Importance(importance), "logit_diff", vec![pair(1)]);
    let found = record.table("importance_gradient", Quantity::Value).unwrap();
    for layer in 0..3 {
        let hook = Site::MlpOut.at(layer);
        let of = Of { metric, read_at: None, answers: &[3], wrong: &[8] };
        let at = metric_gradients(&model, &tokens, &[], &[hook], of).unwrap().at;
        let rows = |cache: &microtome::model::Tensor| cache.to_vec2::<f32>().unwrap();
        let (x, g) = (rows(at.activations.get(hook).unwrap()), rows(at.gradients.get(hook).unwrap()));
        let dots = x.iter().zip(&g).map(|(x, g)| x.iter().zip(g).map(|(x, g)| f64::from(x * g)).sum::<f64>());
        let expected = dots.map(f64::abs).sum::<f64>() / tokens.len() as f64;
        assert!((found.values[layer].unwrap() - expected).abs() < 1e-5, "layer {layer}");
    }
}
