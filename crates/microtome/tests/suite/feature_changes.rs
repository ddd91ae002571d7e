//! Features changed in lanes against features changed by hand and spliced in, one full run each; estimates against both.

use microtome::method::feature_attribution::{FeatureAttribution, FeatureEstimate};
use microtome::method::feature_edit::{FeatureEdit, FeatureEdits};
use microtome::method::feature_sweep::{FeatureCells, FeatureSweep, FeatureTargets};
use microtome::method::generate::Generate;
use microtome::method::patch::Direction;
use microtome::method::remeasure::Check;
use microtome::method::steering::{DirectionLength, Steering, SteeringDirection};
use microtome::model::{Positions, Processing, RunOptions, Tensor};
use microtome::sae::{ErrorTerm, FeatureChange, Sae, SaeChoice};
use microtome::{Answer, Basis, Experiment, Method, Quantity, Record, TextModel};

use crate::features::{asked, beside};
use crate::golden_data::{Golden, assert_close, values};

/// f32: sums of 32 and 96 terms, two layers.
const TOLERANCE: f64 = 1e-4;
const ANSWER: u32 = 7;

struct Bench {
    golden: Golden,
    model: TextModel,
    sae: SaeChoice,
    tokens: Vec<u32>,
}

impl Bench {
    fn new(name: &str) -> Option<Bench> {
        let golden = Golden::open(Processing::Raw)?;
        let (model, sae) = beside(&golden, name);
        let tokens = golden.ids("clean");
        Some(Bench { golden, model, sae, tokens })
    }

    fn sae(&self) -> &Sae {
        self.model.sae(&self.sae).unwrap()
    }

    fn ask(&self, method: Method) -> Experiment {
        let mut experiment = asked(&self.golden, std::slice::from_ref(&self.tokens), method);
        experiment.prompts[0].answers = vec![Answer::Id(ANSWER)];
        experiment.metrics = vec!["logit".parse().unwrap()];
        experiment
    }

    fn run(&self, method: Method) -> Record {
        self.ask(method).run_quietly(&self.model).unwrap()
    }

    fn sweep(&self) -> FeatureSweep {
        FeatureSweep {
            sae: self.sae.clone(),
            features: FeatureTargets::Active,
            change: FeatureChange::Ablate,
            by: FeatureCells::Feature,
            at: Some(Positions::All),
            error: ErrorTerm::Keep,
            most: None,
        }
    }

    /// The answer's logit in a run with every feature activation replaced, the whole prompt spliced.
    fn spliced(&self, tokens: &[u32], error: ErrorTerm, new: impl Fn(usize, usize, f32) -> f32) -> f64 {
        let sae = self.sae();
        let x = sae.read(&self.model, tokens).unwrap();
        let coded = sae.encode(&x.input).unwrap();
        let rows: Vec<Vec<f32>> = coded.features().to_vec2().unwrap();
        let changed: Vec<f32> = rows
            .iter()
            .enumerate()
            .flat_map(|(pos, row)| row.iter().enumerate().map(move |(i, &x)| (pos, i, x)))
            .map(|(pos, i, x)| new(pos, i, x))
            .collect();
        let changed = Tensor::from_vec(changed, coded.features().dims(), coded.features().device()).unwrap();
        let edits = vec![sae.splice(&coded, &changed, &x.target, error).unwrap()];
        let run = self.model.model().run(tokens, &RunOptions { edits, ..Default::default() }).unwrap();
        last_logit(run.logits().unwrap())
    }

    fn plain(&self, tokens: &[u32]) -> f64 {
        let run = self.model.model().run(tokens, &RunOptions::default()).unwrap();
        last_logit(run.logits().unwrap())
    }
}

fn last_logit(logits: &Tensor) -> f64 {
    let last = logits.get(logits.dim(0).unwrap() - 1).unwrap();
    values(&last)[ANSWER as usize]
}

fn change_of(record: &Record) -> Vec<f64> {
    record.table("logit", Quantity::Change).unwrap().values.iter().flatten().copied().collect()
}

const ARCHITECTURES: [&str; 7] =
    ["standard", "standard_hook_z", "standard_layer_norm", "topk", "topk_rescale", "jumprelu", "gated"];

#[test]
fn a_lane_that_changes_a_feature_is_a_run_with_the_change_spliced_in_by_hand() {
    for name in ARCHITECTURES {
        let Some(bench) = Bench::new(name) else { return };
        let clean = bench.plain(&bench.tokens);
        for change in [
            FeatureChange::Ablate,
            FeatureChange::Scale(2.5),
            FeatureChange::Set(1.5),
            FeatureChange::Add(-0.5),
        ] {
            let record =
                bench.run(Method::FeatureSweep(FeatureSweep { change, most: Some(6), ..bench.sweep() }));
            let report = record.results.feature_sweep.as_ref().unwrap();
            assert_eq!((report.cells.len(), record.is_complete()), (6, true), "{name}");
            assert!(report.n_found > 6 && report.cells[0].activation >= report.cells[5].activation);
            let new = |x: f32| match change {
                FeatureChange::Scale(factor) => factor as f32 * x,
                FeatureChange::Set(value) => value as f32,
                FeatureChange::Add(more) => x + more as f32,
                _ => 0.0,
            };
            for (cell, found) in report.cells.iter().zip(change_of(&record)) {
                let by_hand =
                    bench.spliced(
                        &bench.tokens,
                        ErrorTerm::Keep,
                        |_, i, x| if i == cell.feature { new(x) } else { x },
                    );
                assert_close(&format!("{name} {change:?}"), &[found], &[by_hand - clean], TOLERANCE);
            }
        }
    }
}

#[test]
fn without_the_error_term_changes_are_against_the_spliced_run() {
    let Some(bench) = Bench::new("topk") else { return };
    let record = bench.run(Method::FeatureSweep(FeatureSweep {
        error: ErrorTerm::Drop,
        most: Some(5),
        ..bench.sweep()
    }));
    let report = record.results.feature_sweep.as_ref().unwrap();
    let spliced = bench.spliced(&bench.tokens, ErrorTerm::Drop, |_, _, x| x);
    assert_close("spliced", &[report.spliced[0].value], &[spliced], TOLERANCE);
    for (cell, found) in report.cells.iter().zip(change_of(&record)) {
        let by_hand =
            bench.spliced(&bench.tokens, ErrorTerm::Drop, |_, i, x| if i == cell.feature { 0.0 } else { x });
        assert_close("dropped", &[found], &[by_hand - spliced], TOLERANCE);
    }
    let table = record.table("logit", Quantity::Change).unwrap();
    assert!(table.baseline.contains("the reconstruction alone"), "{}", table.baseline);
    assert_eq!(record.results.runs, 6);
}

#[test]
fn positions_and_features_are_told_apart_or_taken_together() {
    let Some(bench) = Bench::new("standard") else { return };
    let clean = bench.plain(&bench.tokens);
    let by_position = FeatureSweep { by: FeatureCells::FeaturePosition, most: Some(8), ..bench.sweep() };
    let record = bench.run(Method::FeatureSweep(by_position));
    let report = record.results.feature_sweep.as_ref().unwrap();
    let axis = &record.table("logit", Quantity::Change).unwrap().axes[0];
    for ((cell, found), label) in report.cells.iter().zip(change_of(&record)).zip(&axis.labels) {
        let pos = cell.position.unwrap();
        assert_eq!(label, &format!("{}@{pos}", cell.feature));
        let new = |at: usize, i: usize, x: f32| if (at, i) == (pos, cell.feature) { 0.0 } else { x };
        let by_hand = bench.spliced(&bench.tokens, ErrorTerm::Keep, new);
        assert_close("position", &[found], &[by_hand - clean], TOLERANCE);
    }
    let first: Vec<usize> = {
        let record = bench.run(Method::FeatureSweep(bench.sweep()));
        record.results.feature_sweep.unwrap().cells.iter().take(3).map(|cell| cell.feature).collect()
    };
    let at = Some(Positions::From(2));
    let together =
        FeatureSweep { features: FeatureTargets::Together(first.clone()), at: at.clone(), ..bench.sweep() };
    let record = bench.run(Method::FeatureSweep(together));
    let new = |pos: usize, i: usize, x: f32| if pos >= 2 && first.contains(&i) { 0.0 } else { x };
    let by_hand = bench.spliced(&bench.tokens, ErrorTerm::Keep, new) - clean;
    assert_close("together", &change_of(&record), &[by_hand], TOLERANCE);
    assert_eq!(record.results.prompts[0].runs.last().unwrap().name, "edited");

    // The same as edits, each in its own way, and with the error dropped.
    let edit = |feature: usize, change| FeatureEdit { feature, change, at: at.clone() };
    let edits = vec![
        edit(first[0], FeatureChange::Set(0.0)),
        edit(first[1], FeatureChange::Ablate),
        edit(first[2], FeatureChange::Scale(0.0)),
    ];
    let asked = FeatureEdits { sae: bench.sae.clone(), edits, error: ErrorTerm::Keep };
    assert_close("edits", &change_of(&bench.run(Method::FeatureEdit(asked.clone()))), &[by_hand], TOLERANCE);
    let dropped = FeatureEdits { error: ErrorTerm::Drop, ..asked };
    let found = change_of(&bench.run(Method::FeatureEdit(dropped)));
    assert_eq!(found.len(), 2);
}

#[test]
fn patching_every_feature_and_the_error_is_patching_the_activation() {
    let Some(bench) = Bench::new("jumprelu") else { return };
    let corrupt = bench.golden.ids("corrupt");
    let (clean, base) = (bench.plain(&bench.tokens), bench.plain(&corrupt));
    let patch = |features, error| {
        let change = FeatureChange::Patch(Direction::Denoise);
        let sweep = FeatureSweep { change, features, error, ..bench.sweep() };
        let mut experiment = bench.ask(Method::FeatureSweep(sweep));
        experiment.prompts[0].corrupt = Some(microtome::Text::Ids(corrupt.clone()));
        experiment.run_quietly(&bench.model).unwrap()
    };
    let record = patch(FeatureTargets::Active, ErrorTerm::Keep);
    let report = record.results.feature_sweep.as_ref().unwrap();
    let sae = bench.sae();
    let there: Vec<Vec<f32>> = sae
        .encode(&sae.read(&bench.model, &bench.tokens).unwrap().input)
        .unwrap()
        .features()
        .to_vec2()
        .unwrap();
    let recovery = record.table("logit", Quantity::Recovery).unwrap();
    for (cell, found) in report.cells.iter().zip(&recovery.values).take(5) {
        let by_hand =
            bench.spliced(
                &corrupt,
                ErrorTerm::Keep,
                |pos, i, x| if i == cell.feature { there[pos][i] } else { x },
            );
        assert_close("patch", &[found.unwrap()], &[(by_hand - base) / (clean - base)], 10.0 * TOLERANCE);
    }
    let all: Vec<usize> = report.cells.iter().map(|cell| cell.feature).collect();
    let together = patch(FeatureTargets::Together(all), ErrorTerm::Drop);
    let by_hand = bench.spliced(&bench.tokens, ErrorTerm::Drop, |_, _, x| x);
    // The clean features in the corrupt run, its error gone, are the clean run's reconstruction.
    let value = together.table("logit", Quantity::Value).unwrap().values[0].unwrap();
    assert_close("all", &[value], &[by_hand], TOLERANCE);
}

#[test]
fn estimates_are_the_derivatives_of_what_is_measured() {
    for (name, error) in [("standard", ErrorTerm::Keep), ("standard_layer_norm", ErrorTerm::Drop)] {
        let Some(bench) = Bench::new(name) else { return };
        let attribution = |change, check| FeatureAttribution {
            sae: bench.sae.clone(),
            estimate: FeatureEstimate::Gradient,
            change,
            by: FeatureCells::Feature,
            at: Some(Positions::All),
            error,
            top: Some(6),
            check,
        };
        // A change so small that the first order is all of it.
        let small = 1e-2;
        let record = bench.run(Method::FeatureAttribution(attribution(
            FeatureChange::Scale(1.0 - small),
            Some(Check::Top(3)),
        )));
        let table = record.table("logit", Quantity::Change).unwrap();
        assert_eq!((table.basis, table.values.len()), (Basis::Estimate, 6));
        let remeasured = record.results.remeasured.as_ref().unwrap();
        assert_eq!(remeasured.cells.len(), 3);
        for cell in &remeasured.cells {
            // f32 logits of about 1 carry 1e-7; a hundredth of a change of 0.1 is 1e-3.
            let apart = (cell.estimate - cell.exact).abs();
            assert!(apart < 0.05 * cell.estimate.abs() + 2e-6, "{name} {cell:?}");
        }
        // Setting to 0 is a hundred times that, by first order.
        let ablated = bench.run(Method::FeatureAttribution(attribution(FeatureChange::Ablate, None)));
        let (small_ones, whole) = (change_of(&record), change_of(&ablated));
        let scaled: Vec<f64> = small_ones.iter().map(|x| x / small).collect();
        assert_close(name, &scaled, &whole, 1e-6);
        let report = ablated.results.feature_attribution.as_ref().unwrap();
        assert!(report.n_found >= 6 && report.bias.is_none());
    }
}

#[test]
fn direct_shares_sum_to_the_share_of_the_activation() {
    for (name, hook) in [("standard", "1_pre"), ("topk_rescale", "1_pre"), ("standard_hook_z", "a1")] {
        let Some(bench) = Bench::new(name) else { return };
        let method = Method::FeatureAttribution(FeatureAttribution {
            sae: bench.sae.clone(),
            estimate: FeatureEstimate::Direct,
            change: FeatureChange::Ablate,
            by: FeatureCells::Feature,
            at: None,
            error: ErrorTerm::Keep,
            top: Some(1000),
            check: Some(Check::Top(2)),
        });
        let mut experiment = bench.ask(method);
        experiment.metrics = vec![];
        let record = experiment.run_quietly(&bench.model).unwrap();
        let report = record.results.feature_attribution.as_ref().unwrap();
        let table = record.table("direct_features", Quantity::Value).unwrap();
        let shares: f64 = table.values.iter().flatten().sum();
        assert_close(name, &[shares], &[report.all_features], 1e-9);
        let all = report.all_features + report.bias.unwrap() + report.unexplained.unwrap();
        let pos = bench.tokens.len() - 1;
        let direct = microtome::method::attribution::direct_attribution(
            &bench.golden.model,
            &bench.tokens,
            pos,
            &[ANSWER],
            &[],
            &[],
        )
        .unwrap();
        let expected = match hook {
            "a1" => direct.heads[bench.sae().hook().layer].iter().sum(),
            _ => direct.accumulated.iter().find(|(at, _)| at == hook).unwrap().1,
        };
        assert_close(name, &[all], &[expected], TOLERANCE);
        assert_eq!(record.results.remeasured.as_ref().unwrap().cells.len(), 2);
    }
}

#[test]
fn a_feature_set_while_text_is_written_is_the_same_token_by_token() {
    let Some(bench) = Bench::new("gated") else { return };
    let edits = vec![FeatureEdit { feature: 3, change: FeatureChange::Set(4.0), at: Some(Positions::All) }];
    for error in [ErrorTerm::Keep, ErrorTerm::Drop] {
        let features = FeatureEdits { sae: bench.sae.clone(), edits: edits.clone(), error };
        let generate = Generate {
            max_new_tokens: 4,
            temperature: 0.0,
            cut: vec![],
            with: Default::default(),
            clamp: vec![],
            features: Some(features.clone()),
        };
        let experiment =
            asked(&bench.golden, std::slice::from_ref(&bench.tokens), Method::Generate(generate));
        let record = experiment.run_quietly(&bench.model).unwrap();
        let ids: Vec<u32> = record.results.generation.unwrap().ablated.iter().map(|token| token.id).collect();
        for len in bench.tokens.len()..ids.len() {
            // The whole text so far, in one run with the feature set at every position.
            let asked = FeatureEdits { error, ..features.clone() };
            let experiment = asked_about(&bench, &ids[..len], Method::FeatureEdit(asked))
                .run_quietly(&bench.model)
                .unwrap();
            let run = experiment.results.prompts[0].runs.iter().find(|run| run.name == "edited").unwrap();
            assert_eq!(run.top[0].id, ids[len], "{error:?} {len}");
        }
    }
}

fn asked_about(bench: &Bench, ids: &[u32], method: Method) -> Experiment {
    let mut experiment = asked(&bench.golden, &[ids.to_vec()], method);
    experiment.metrics = vec!["entropy".parse().unwrap()];
    experiment
}

#[test]
fn steering_by_a_feature_adds_its_decoder_row() {
    let Some(bench) = Bench::new("standard") else { return };
    let steer = |along| {
        bench.run(Method::Steering(Steering {
            along,
            layer: 1,
            strengths: vec![2.0],
            length: DirectionLength::AsIs,
            max_new_tokens: 0,
            temperature: 0.0,
        }))
    };
    let row = values(&bench.sae().decoder().get(5).unwrap());
    let by_feature = steer(SteeringDirection::Feature { sae: bench.sae.clone(), feature: 5 });
    let by_numbers = steer(SteeringDirection::Vector(row));
    assert_close("steer", &change_of(&by_feature), &change_of(&by_numbers), 1e-6);
    // That is what adding to the feature does, where its error is kept.
    let edits = vec![FeatureEdit { feature: 5, change: FeatureChange::Add(2.0), at: Some(Positions::All) }];
    let added = FeatureEdits { sae: bench.sae.clone(), edits, error: ErrorTerm::Keep };
    assert_close("add", &change_of(&by_feature), &change_of(&bench.run(Method::FeatureEdit(added))), 1e-6);
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let Some(bench) = Bench::new("standard") else { return };
    let refused = |method| bench.ask(method).run_quietly(&bench.model).unwrap_err().to_string();
    let each = |list| FeatureSweep { features: FeatureTargets::Each(list), ..bench.sweep() };
    assert!(refused(Method::FeatureSweep(each(vec![96]))).contains("feature 96"));
    assert!(refused(Method::FeatureSweep(each(vec![3, 3]))).contains("feature 3"));
    let infinite = FeatureSweep { change: FeatureChange::Set(f64::NAN), ..bench.sweep() };
    assert!(refused(Method::FeatureSweep(infinite)).contains("finite"));
    let lonely = FeatureSweep { change: FeatureChange::Patch(Direction::Denoise), ..bench.sweep() };
    assert!(refused(Method::FeatureSweep(lonely)).contains("corrupt"));
    let none = FeatureEdits { sae: bench.sae.clone(), edits: vec![], error: ErrorTerm::Keep };
    assert!(refused(Method::FeatureEdit(none)).contains("at least one feature"));
    let edit = |at| FeatureEdit { feature: 1, change: FeatureChange::Ablate, at: Some(at) };
    let twice = FeatureEdits {
        sae: bench.sae.clone(),
        edits: vec![edit(Positions::At(vec![1, 2])), edit(Positions::Last), edit(Positions::From(2))],
        error: ErrorTerm::Keep,
    };
    assert!(refused(Method::FeatureEdit(twice)).contains("feature 1"));
}
