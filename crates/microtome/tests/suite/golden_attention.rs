//! TransformerLens's numbers on attention: statistics, diagonals, and the scores of `head_detector`.

use microtome::method::attention::{Weighting, patterns, weighted_patterns};
use microtome::method::attention_stats::AttentionStats;
use microtome::method::detect::{Back, Detector, Score, Target};
use microtome::method::head_scores::HeadScoring;
use microtome::model::{Hook, Processing, RunOptions, Site};
use microtome::{Bos, Component, Experiment, Method, Prompt, Quantity, Record, Text};

use crate::golden_data::{Golden, assert_close, values};

const BOTH: [Processing; 2] = [Processing::Raw, Processing::Folded];

/// The prompts of the reference: the clean one, and `[0] + s + s`, whose period is `rep` of the configuration.
fn prompts(golden: &Golden) -> [(&'static str, Vec<u32>); 2] {
    [("clean", golden.ids("clean")), ("rep", golden.ids("rep"))]
}

fn period(golden: &Golden) -> usize {
    (golden.ids("rep").len() - 1) / 2
}

fn statistics(golden: &Golden, tokens: &[u32], detectors: Vec<Detector>) -> Record {
    let stats = AttentionStats { detectors, head: None, weighting: Weighting::Pattern };
    let experiment = Experiment {
        model: golden.dir.display().to_string(),
        weights: golden.model.model().processing(),
        precision: microtome::model::Precision::F32,
        bos: Bos::Prepend,
        prompts: vec![Prompt {
            clean: Text::Ids(tokens.to_vec()),
            corrupt: None,
            answers: vec![],
            wrong_answers: vec![],
        }],
        method: Method::Attention(stats),
        metrics: vec![],
        read_at: None,
        seed: 0,
    };
    experiment.run_quietly(&golden.model).unwrap()
}

fn cells(record: &Record, metric: &str) -> Vec<f64> {
    let table = record.table(metric, Quantity::Value).unwrap_or_else(|| panic!("no table of {metric}"));
    table.values.iter().map(|v| v.unwrap()).collect()
}

#[test]
fn golden_statistics_of_attention() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let record = statistics(&golden, &golden.ids("clean"), vec![]);
        for (key, metric) in [
            ("attn/entropy_mean", "pattern_entropy"),
            ("attn/entropy_mean_skip0", "pattern_entropy_skip_first"),
            ("attn/distance_mean", "attention_distance"),
            ("attn/bos_mean", "bos_share"),
            ("attn/clean/diag_prev", "previous_share"),
        ] {
            golden.assert_close(key, &cells(&record, metric));
        }
        // The reference has heads before queries, our tables have positions before heads.
        let config = golden.model.config();
        let (n, h) = (golden.ids("clean").len(), config.n_heads);
        let found = cells(&record, "pattern_entropy_by_query");
        let turned: Vec<f64> = (0..config.n_layers * h * n)
            .map(|i| found[(i / (h * n)) * n * h + (i % n) * h + (i / n) % h])
            .collect();
        golden.assert_close("attn/entropy_by_q", &turned);
        let on_self = Site::all().find(|site| site.short_name() == "pattern").unwrap();
        let own: Vec<f64> = (0..config.n_layers)
            .flat_map(|layer| {
                let acts = values(&golden.acts[&on_self.at(layer).to_string()]);
                (0..h).map(move |head| (0..n).map(|q| acts[(head * n + q) * n + q]).sum::<f64>() / n as f64)
            })
            .collect();
        assert_close("self_share", &cells(&record, "self_share"), &own, 1e-4);
    }
}

#[test]
fn golden_patterns_of_a_repeated_sequence() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let found = patterns(&golden.model, &golden.ids("rep")).unwrap();
        golden.assert_close("attn/rep/pattern", &values(&found));
    }
}

#[test]
fn golden_diagonals_in_both_conventions() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let n = period(&golden);
        let back =
            |offset, from| Detector { target: Target::Back(Back { offset, from }), score: Score::Share };
        let asked = [
            ("diag_prev", back(1, None)),
            ("diag_dup", back(n, None)),
            ("diag_induction", back(n - 1, None)),
            ("second_half_dup", back(n, Some(n + 1))),
            ("second_half_induction", back(n - 1, Some(n + 1))),
        ];
        let detectors = asked.iter().map(|(_, detector)| detector.clone()).collect();
        let record = statistics(&golden, &golden.ids("rep"), detectors);
        for (key, detector) in &asked {
            golden.assert_close(&format!("attn/rep/{key}"), &cells(&record, &detector.name()));
        }
        let clean = statistics(&golden, &golden.ids("clean"), vec![back(1, None)]);
        golden.assert_close("attn/clean/diag_prev", &cells(&clean, "share/back_1"));
    }
}

#[test]
fn golden_detection_patterns_and_scores_of_transformerlens_head_detector() {
    let scores = [Score::TlMul, Score::TlMulExbos, Score::TlMulExcur, Score::TlAbs];
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        for (name, tokens) in prompts(&golden) {
            for target in Target::NAMED {
                let kind = target.name();
                let matrix = target.matrix(&tokens).unwrap().concat();
                let expected = golden.derived.get(&format!("attn/{name}/tl_detection/{kind}"));
                assert_eq!(matrix, values(expected.unwrap()), "{name} {kind}");
                let detector = |score| Detector { target: target.clone(), score };
                let record = statistics(&golden, &tokens, scores.map(detector).to_vec());
                for score in scores {
                    let key = format!("attn/{name}/{}/{kind}", score.name());
                    let found = cells(&record, &detector(score).name());
                    if score == Score::TlAbs {
                        // Rounded to three decimals, so that the last of them may differ by one.
                        assert_close(&key, &found, &golden.values(&key), 1e-3 + 1e-9);
                        let same =
                            found.iter().zip(golden.values(&key)).filter(|(a, b)| (*a - b).abs() < 1e-6);
                        assert!(2 * same.count() > found.len(), "{key}: most round alike");
                    } else {
                        golden.assert_close(&key, &found);
                    }
                }
            }
        }
    }
}

#[test]
fn a_mask_scores_as_the_named_target_it_spells_out() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let tokens = golden.ids("rep");
    let matrix = Target::InductionHead.matrix(&tokens).unwrap();
    let pairs: Vec<(usize, usize)> = (0..tokens.len())
        .flat_map(|q| (0..=q).map(move |k| (q, k)))
        .filter(|&(q, k)| matrix[q][k] == 1.0)
        .collect();
    for score in Score::ALL {
        let named = Detector { target: Target::InductionHead, score };
        let expected = cells(&statistics(&golden, &tokens, vec![named.clone()]), &named.name());
        for target in [Target::Matrix(matrix.clone()), Target::Pairs(pairs.clone())] {
            let mask = Detector { target, score };
            assert_eq!(cells(&statistics(&golden, &tokens, vec![mask.clone()]), &mask.name()), expected);
        }
    }
}

#[test]
fn weighted_patterns_are_the_pattern_times_the_norms_of_values_and_of_what_they_write() {
    for processing in BOTH {
        let Some(golden) = Golden::open(processing) else { return };
        let tokens = golden.ids("clean");
        let config = golden.model.config();
        let (n, h, d) = (tokens.len(), config.n_heads, config.d_head);
        let plain = values(&patterns(&golden.model, &tokens).unwrap());
        let by_value = values(&weighted_patterns(&golden.model, &tokens, Weighting::Value).unwrap());
        let by_output = values(&weighted_patterns(&golden.model, &tokens, Weighting::Output).unwrap());
        let weights = golden.model.model().weights().unpacked().unwrap();
        for layer in 0..config.n_layers {
            let v = values(&golden.acts[&Site::V.at(layer).to_string()]); // [pos, head, d_head], TransformerLens's
            let w_o = values(&weights.blocks[layer].out.w); // [head * d_head, d_model]
            for head in 0..h {
                for q in 0..n {
                    for k in 0..n {
                        let value = &v[(k * h + head) * d..][..d];
                        let norm = value.iter().map(|x| x * x).sum::<f64>().sqrt();
                        let written: f64 = (0..config.d_model)
                            .map(|m| {
                                let sum: f64 = value
                                    .iter()
                                    .enumerate()
                                    .map(|(i, x)| x * w_o[(head * d + i) * config.d_model + m])
                                    .sum();
                                sum * sum
                            })
                            .sum::<f64>()
                            .sqrt();
                        let cell = ((layer * h + head) * n + q) * n + k;
                        let (p, what) = (plain[cell], format!("L{layer}H{head} {q} {k}"));
                        assert_close(&what, &[by_value[cell]], &[p * norm], 1e-4);
                        assert_close(&what, &[by_output[cell]], &[p * written], 1e-4);
                    }
                }
            }
        }
    }
}

#[test]
fn the_whole_pattern_of_a_head_is_the_hook_s() {
    let Some(golden) = Golden::open(Processing::Folded) else { return };
    let tokens = golden.ids("clean");
    let stats = AttentionStats { head: Some(Component::Head { layer: 1, head: 2 }), ..Default::default() };
    let mut experiment = statistics(&golden, &tokens, vec![]).experiment;
    experiment.method = Method::Attention(stats);
    let record = experiment.run_quietly(&golden.model).unwrap();
    let table = record.table("pattern", Quantity::Value).unwrap();
    let hook: Hook = Site::Pattern.at(1);
    let options = RunOptions { reads: vec![hook], ..Default::default() };
    let run = golden.model.model().run(&tokens, &options).unwrap();
    let expected = values(&run.cache.get(hook).unwrap().get(2).unwrap());
    let n = tokens.len();
    for (cell, (value, expected)) in table.values.iter().zip(expected).enumerate() {
        assert_eq!(*value, (cell % n <= cell / n).then_some(expected));
    }
}

#[test]
fn head_scores_are_the_detectors_means_over_sequences() {
    let Some(golden) = Golden::open(Processing::Folded) else { return };
    let mut experiment = statistics(&golden, &golden.ids("clean"), vec![]).experiment;
    experiment.prompts.clear();
    experiment.method =
        Method::HeadScores(HeadScoring { period: Some(8), sequences: Some(6), least: Some(0.1) });
    let record = experiment.run_quietly(&golden.model).unwrap();
    for metric in HeadScoring::METRICS {
        let table = record.table(metric, Quantity::Value).unwrap();
        assert_eq!(table.spread.len(), table.values.len());
        for (value, spread) in table.values.iter().zip(&table.spread) {
            let (value, spread) = (value.unwrap(), spread.unwrap());
            assert!((0.0..=1.0).contains(&value), "{metric}: {value}");
            assert!(spread.low <= value && value <= spread.high && spread.stderr >= 0.0, "{metric}");
        }
    }
    let roles = record.results.roles.unwrap();
    assert_eq!(roles.heads.len(), golden.model.config().n_layers * golden.model.config().n_heads);
    for head in &roles.heads {
        assert!(head.has.iter().all(|role| role.score >= 0.1));
    }
}
