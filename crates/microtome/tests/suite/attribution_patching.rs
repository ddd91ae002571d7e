//! Attribution patching: TransformerLens's numbers, patching where the estimate is exact, and the definitions of its
//! corrections by intervening.

use std::sync::atomic::{AtomicBool, Ordering};

use microtome::method::attribution_patching::{AttributionPatching, Correction};
use microtome::method::patch::{By, Direction};
use microtome::method::remeasure::{Check, Remeasured};
use microtome::metric::MetricId;
use microtome::model::{
    Change, Config, Edit, Model, Positions, Precision, Processing, RunOptions, Site, Tensor, Value, Weights,
};
use microtome::{
    Answer, Basis, Bos, Component, Error, Experiment, Method, Prompt, Quantity, Record, Text, TextModel,
    Watch,
};

use crate::golden_data::Golden;
use crate::laws::{pair, toy};

const BOTH: [Direction; 2] = [Direction::Denoise, Direction::Noise];

fn plain(site: Site, by: By) -> AttributionPatching {
    AttributionPatching {
        site,
        by,
        direction: Direction::Denoise,
        at: Positions::All,
        steps: None,
        corrections: vec![],
        check: None,
    }
}

fn experiment(model: &TextModel, method: Method, prompts: Vec<Prompt>) -> Experiment {
    Experiment {
        model: "any".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Omit,
        prompts,
        method,
        metrics: vec![MetricId::named("logit_diff").unwrap()],
        read_at: None,
        seed: 0,
    }
}

fn estimated(model: &TextModel, asked: AttributionPatching, prompts: Vec<Prompt>) -> Record {
    experiment(model, Method::AttributionPatching(asked), prompts).run_quietly(model).unwrap()
}

fn scores(record: &Record) -> Vec<f64> {
    let table = record.table("logit_diff", Quantity::Change).unwrap();
    assert_eq!(table.basis, Basis::Estimate);
    table.values.iter().map(|value| value.unwrap()).collect()
}

/// What patching changes, and the value of the run that is patched.
fn patched(model: &TextModel, asked: &AttributionPatching, prompts: Vec<Prompt>) -> Record {
    experiment(model, Method::Patch(asked.patch()), prompts).run_quietly(model).unwrap()
}

fn run_value(record: &Record, run: &str) -> f64 {
    let runs = record.mean_runs();
    runs.iter().find(|(name, _)| name == run).unwrap().1[0].value
}

/// By cell, what patching one prompt pair changes.
fn changes(model: &TextModel, asked: &AttributionPatching, prompt: Prompt) -> Vec<f64> {
    let record = patched(model, asked, vec![prompt]);
    let base = match asked.direction {
        Direction::Denoise => run_value(&record, "corrupt"),
        Direction::Noise => run_value(&record, "clean"),
    };
    let table = record.table("logit_diff", Quantity::Value).unwrap();
    table.values.iter().map(|value| value.unwrap() - base).collect()
}

fn furthest(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0, |most, (a, b)| f64::max(most, (a - b).abs()))
}

#[test]
fn golden_estimates_of_every_site_both_ways() {
    for processing in [Processing::Raw, Processing::Folded] {
        let Some(golden) = Golden::open(processing) else { return };
        let prompt = Prompt {
            clean: golden.prompt("clean"),
            corrupt: Some(golden.prompt("corrupt")),
            answers: vec![Answer::Id(golden.id("target"))],
            wrong_answers: vec![Answer::Id(golden.id("foil"))],
        };
        let tables = [
            ("z", Site::Z, By::Head),
            ("z_by_pos", Site::Z, By::HeadPosition),
            ("resid_pre_by_pos", Site::ResidPre, By::LayerPosition),
            ("resid_mid_by_pos", Site::ResidMid, By::LayerPosition),
            ("attn_out_by_pos", Site::AttnOut, By::LayerPosition),
            ("mlp_out_by_pos", Site::MlpOut, By::LayerPosition),
        ];
        let mut compared = 0;
        for (way, direction) in [("denoise", Direction::Denoise), ("noise", Direction::Noise)] {
            for (name, site, by) in &tables {
                let asked = AttributionPatching { direction, ..plain(*site, by.clone()) };
                let record = estimated(&golden.model, asked.clone(), vec![prompt.clone()]);
                golden.assert_close(&format!("atp/{way}/{name}"), &scores(&record));
                compared += 1;

                let patched = patched(&golden.model, &asked, vec![prompt.clone()]);
                let axes =
                    |record: &Record, quantity| record.table("logit_diff", quantity).unwrap().axes.clone();
                for quantity in [Quantity::Change, Quantity::Recovery] {
                    assert_eq!(axes(&record, quantity), axes(&patched, Quantity::Recovery));
                }
            }
        }
        assert_eq!(compared, golden.derived.keys().filter(|name| name.starts_with("atp/")).count());
    }
}

#[test]
fn with_steps_the_input_sums_to_the_whole_change() {
    let model = toy();
    for direction in BOTH {
        let asked = AttributionPatching { direction, ..plain(Site::ResidPre, By::LayerPosition) };
        let whole = {
            let record = estimated(&model, asked.clone(), vec![pair(2)]);
            let (clean, corrupt) = (run_value(&record, "clean"), run_value(&record, "corrupt"));
            if direction == Direction::Denoise { clean - corrupt } else { corrupt - clean }
        };
        let sum = |steps| -> f64 {
            let asked = AttributionPatching { steps, ..asked.clone() };
            scores(&estimated(&model, asked, vec![pair(2)]))[..7].iter().sum()
        };
        let found = sum(Some(60));
        assert!((found - whole).abs() < 2e-2 * whole.abs(), "{direction:?}: {found} of {whole}");
        assert!((sum(None) - whole).abs() > 2e-2 * whole.abs(), "or steps would do nothing");
    }
}

/// One layer of attention, no LayerNorm: all that follows the pattern is linear. Its scores are some tens, so that nearly
/// every softmax is saturated.
fn saturated() -> TextModel {
    let config = Config {
        n_layers: 1,
        n_heads: 3,
        d_model: 16,
        d_head: 5,
        d_vocab: 23,
        n_ctx: 20,
        mlp: None,
        norm: None,
    };
    let mut weights = Weights::random(&config, 11, 1.0).unwrap();
    let qkv = &mut weights.blocks[0].qkv;
    qkv.w = (&qkv.w * 8.0).unwrap();
    TextModel::from_model("saturated", Model::new(config, weights, Processing::Raw).unwrap()).unwrap()
}

#[test]
fn the_qk_fix_is_patching_where_what_follows_the_pattern_is_linear() {
    let model = saturated();
    let layouts = [By::Head, By::HeadPosition, By::Layer, By::LayerPosition];
    for (site, direction) in [Site::Q, Site::K].into_iter().flat_map(|site| BOTH.map(|way| (site, way))) {
        for by in &layouts {
            let at = match by {
                By::Head | By::Layer => vec![Positions::All, Positions::Last, Positions::At(vec![1, 6])],
                _ => vec![Positions::All],
            };
            for at in at {
                let raw = AttributionPatching { direction, at, ..plain(site, by.clone()) };
                let fixed = AttributionPatching { corrections: vec![Correction::QkFix], ..raw.clone() };
                let exact = changes(&model, &raw, pair(2));
                let largest = exact.iter().fold(0.0, |most: f64, change| most.max(change.abs()));
                let fixed = furthest(&scores(&estimated(&model, fixed, vec![pair(2)])), &exact);
                let raw = furthest(&scores(&estimated(&model, raw, vec![pair(2)])), &exact);
                // f32 scores of some tens have steps of 4e-6, and so have what the softmax makes of them.
                assert!(fixed < 1e-4 * largest.max(1.0), "{site:?} {by:?}: off by {fixed} of {largest}");
                assert!(raw > 0.3 * largest, "{site:?} {by:?}: uncorrected off by {raw} of {largest}");
            }
        }
    }
}

/// With LayerNorms and MLPs behind the pattern it is an estimate, but of the pattern that there will be.
#[test]
fn the_qk_fix_comes_nearer_to_patching_in_a_whole_model_too() {
    let Some(golden) = Golden::open(Processing::Raw) else { return };
    let prompt = Prompt {
        clean: golden.prompt("clean"),
        corrupt: Some(golden.prompt("corrupt")),
        answers: vec![Answer::Id(golden.id("target"))],
        wrong_answers: vec![Answer::Id(golden.id("foil"))],
    };
    for site in [Site::Q, Site::K] {
        let asked = plain(site, By::Head);
        let exact = changes(&golden.model, &asked, prompt.clone());
        let off = |corrections| -> f64 {
            let asked = AttributionPatching { corrections, ..asked.clone() };
            let found = scores(&estimated(&golden.model, asked, vec![prompt.clone()]));
            found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).sum()
        };
        let (raw, fixed) = (off(vec![]), off(vec![Correction::QkFix]));
        assert!(fixed < raw, "{site:?}: {fixed} against {raw}");
    }
}

#[test]
fn where_all_that_follows_is_linear_the_estimate_is_the_patch() {
    let model = saturated();
    let by_head = [Site::V, Site::Pattern, Site::Z, Site::Result].map(|site| (site, By::HeadPosition));
    let by_layer = [Site::AttnOut, Site::ResidPost].map(|site| (site, By::LayerPosition));
    let together =
        By::Heads(vec![Component::Head { layer: 0, head: 0 }, Component::Head { layer: 0, head: 2 }]);
    for (site, by) in by_head.into_iter().chain(by_layer).chain([(Site::Z, together)]) {
        for direction in BOTH {
            let asked = AttributionPatching { direction, ..plain(site, by.clone()) };
            let exact = changes(&model, &asked, pair(3));
            let largest = exact.iter().fold(1.0, |most: f64, change| most.max(change.abs()));
            let off = furthest(&scores(&estimated(&model, asked, vec![pair(3)])), &exact);
            assert!(off < 1e-4 * largest, "{site:?}: off by {off} of {largest}");
        }
    }
}

#[test]
fn scores_ahead_of_a_query_count_nothing() {
    let model = toy();
    let found = scores(&estimated(&model, plain(Site::AttnScores, By::HeadPosition), vec![pair(2)]));
    assert!(found.iter().any(|score| score.abs() > 1e-3));
    // The first query sees one key: nothing it could turn away from.
    let of_first = |layer: usize| &found[layer * 7 * 4..layer * 7 * 4 + 4];
    assert!((0..3).all(|layer| of_first(layer).iter().all(|score| score.abs() < 1e-6)));
}

fn ids(text: &Text) -> Vec<u32> {
    match text {
        Text::Ids(ids) => ids.clone(),
        Text::Text(_) => unreachable!("these prompts are ids"),
    }
}

/// Each derivative of GradDrop by intervening: a small step along the difference, while what one layer writes stays.
#[test]
fn grad_drop_is_the_mean_size_over_runs_in_which_one_layer_is_held() {
    let model = toy();
    let prompt = pair(2);
    let (clean, corrupt) = (ids(&prompt.clean), ids(prompt.corrupt.as_ref().unwrap()));
    let run = |tokens: &[u32], edits: Vec<Edit>| {
        let sites = [Site::Z, Site::ResidMid, Site::AttnOut, Site::MlpOut];
        let reads = sites.iter().flat_map(|site| (0..3).map(|layer| site.at(layer))).collect();
        let options = RunOptions { reads, edits, logits: Positions::Last, ..Default::default() };
        model.model().run(tokens, &options).unwrap()
    };
    let (base, other) = (run(&corrupt, vec![]), run(&clean, vec![]));
    let logit_diff = |edits: Vec<Edit>| -> f64 {
        let logits: Vec<f32> = run(&corrupt, edits).logits.unwrap().flatten_all().unwrap().to_vec1().unwrap();
        f64::from(logits[3] - logits[8])
    };
    // How the metric changes along the difference at `site`, per whole difference, with what `held` writes as it was.
    let slope = |site: Site, layer: usize, head: Option<usize>, held: usize| -> f64 {
        let hook = site.at(layer);
        let step = |share: f64| {
            let difference = (other.cache.get(hook).unwrap() - base.cache.get(hook).unwrap()).unwrap();
            let moved = Edit::new(hook, Change::Add(Value::Tensor((difference * share).unwrap())));
            let moved = if let Some(head) = head { moved.units([head]) } else { moved };
            let hold = |site: Site| {
                let value: Tensor = base.cache.get(site.at(held)).unwrap().clone();
                Edit::new(site.at(held), Change::Set(Value::Tensor(value)))
            };
            logit_diff(vec![moved, hold(Site::AttnOut), hold(Site::MlpOut)])
        };
        (step(0.02) - step(-0.02)) / 0.04
    };
    let asked = |site, by| AttributionPatching { corrections: vec![Correction::GradDrop], ..plain(site, by) };
    let heads = scores(&estimated(&model, asked(Site::Z, By::Head), vec![prompt.clone()]));
    let mids = scores(&estimated(&model, asked(Site::ResidMid, By::Layer), vec![prompt.clone()]));
    let largest = heads.iter().chain(&mids).fold(0.0, |most: f64, score| most.max(*score));
    for layer in 0..3 {
        for head in 0..4 {
            let others = (0..3).filter(|&held| held != layer);
            let expected =
                others.map(|held| slope(Site::Z, layer, Some(head), held).abs()).sum::<f64>() / 2.0;
            let found = heads[layer * 4 + head];
            assert!((found - expected).abs() < 0.01 * largest, "L{layer}H{head}: {found}, {expected}");
            assert!(slope(Site::Z, layer, Some(head), layer).abs() < 1e-9, "held, it reaches nothing");
        }
        // The stream goes past the layer it is in.
        let expected = (0..3).map(|held| slope(Site::ResidMid, layer, None, held).abs()).sum::<f64>() / 3.0;
        assert!((mids[layer] - expected).abs() < 0.01 * largest, "L{layer}: {}, {expected}", mids[layer]);
    }
    // What is held at the very hook that is asked about reaches nothing either.
    let written = scores(&estimated(&model, asked(Site::AttnOut, By::Layer), vec![prompt]));
    let expected = (slope(Site::AttnOut, 2, None, 0).abs() + slope(Site::AttnOut, 2, None, 1).abs()) / 2.0;
    assert!((written[2] - expected).abs() < 0.01 * largest, "{written:?}, {expected}");
}

fn checked(model: &TextModel, check: Check, prompts: Vec<Prompt>) -> (Record, Remeasured) {
    let asked = AttributionPatching { check: Some(check), ..plain(Site::Z, By::Head) };
    let record = estimated(model, asked, prompts);
    let remeasured = record.results.remeasured.clone().unwrap();
    (record, remeasured)
}

#[test]
fn what_is_checked_is_what_patching_gives_strongest_estimates_first() {
    let model = toy();
    let prompts = vec![pair(1), pair(2), pair(4)];
    let (record, all) = checked(&model, Check::All, prompts.clone());
    let estimates = scores(&record);
    let exact = patched(&model, &plain(Site::Z, By::Head), prompts.clone());
    let base = run_value(&exact, "corrupt");
    let table = exact.table("logit_diff", Quantity::Value).unwrap();
    assert_eq!(all.cells.len(), 12);
    for cell in &all.cells {
        assert_eq!(cell.estimate, estimates[cell.cell]);
        assert_eq!(cell.label, table.label(cell.cell));
        assert!((cell.exact - (table.values[cell.cell].unwrap() - base)).abs() < 1e-9);
        let spread = cell.spread.unwrap();
        assert!(spread.low <= cell.exact && cell.exact <= spread.high);
    }
    assert!(all.cells.windows(2).all(|two| two[0].estimate.abs() >= two[1].estimate.abs()));
    // By hand: 1 - 6 sum d^2 / (n (n^2 - 1)), where no two are equal.
    let rank = |values: &[f64], of: f64| values.iter().filter(|value| **value < of).count() as f64;
    let exact: Vec<f64> = all.cells.iter().map(|cell| cell.exact).collect();
    let apart = |cell: &microtome::method::remeasure::RemeasuredCell| {
        (rank(&estimates, cell.estimate) - rank(&exact, cell.exact)).powi(2)
    };
    let expected = 1.0 - 6.0 * all.cells.iter().map(apart).sum::<f64>() / (12.0 * 143.0);
    assert!((all.spearman.unwrap() - expected).abs() < 1e-9);
    assert!(all.pearson.unwrap() > 0.5, "{:?}", all.pearson);

    let (record, few) = checked(&model, Check::Top(4), prompts);
    assert_eq!(few.cells, all.cells[..4]);
    assert_eq!((record.results.runs, record.results.runs_wanted), (3 * (1 + 4), 3 * (1 + 4)));
    let plot = record.scatter().unwrap();
    assert_eq!(plot.points.len(), 4);
    assert_eq!((plot.points[0].x, plot.points[0].y), (few.cells[0].estimate, few.cells[0].exact));

    let (_, more) = checked(&model, Check::Top(1000), vec![pair(1)]);
    assert_eq!(more.cells.len(), 12, "no more than there are");
    assert!(more.cells[0].spread.is_none());
}

#[test]
fn recovery_is_estimated_on_the_scale_of_patching() {
    let model = toy();
    for direction in BOTH {
        let asked = AttributionPatching { direction, ..plain(Site::Z, By::Head) };
        let record = estimated(&model, asked, vec![pair(2)]);
        let (clean, corrupt) = (run_value(&record, "clean"), run_value(&record, "corrupt"));
        let base = if direction == Direction::Denoise { corrupt } else { clean };
        let recovery = record.table("logit_diff", Quantity::Recovery).unwrap();
        assert_eq!(recovery.basis, Basis::Estimate);
        for (score, recovery) in scores(&record).into_iter().zip(&recovery.values) {
            let expected = (base + score - corrupt) / (clean - corrupt);
            assert!((recovery.unwrap() - expected).abs() < 1e-9);
        }
    }
}

#[test]
fn several_prompts_are_averaged_and_a_small_memory_changes_no_number() {
    let model = toy();
    let prompts = [pair(1), pair(2), pair(5)];
    let pattern = AttributionPatching { steps: Some(2), ..plain(Site::Pattern, By::HeadPosition) };
    let dropped = AttributionPatching {
        corrections: vec![Correction::GradDrop, Correction::QkFix],
        ..plain(Site::K, By::Head)
    };
    for asked in [pattern, dropped] {
        let record = estimated(&model, asked.clone(), prompts.to_vec());
        let alone: Vec<Vec<f64>> =
            prompts.iter().map(|p| scores(&estimated(&model, asked.clone(), vec![p.clone()]))).collect();
        let mean: Vec<f64> =
            (0..alone[0].len()).map(|cell| alone.iter().map(|of| of[cell]).sum::<f64>() / 3.0).collect();
        assert!(furthest(&scores(&record), &mean) < 1e-9);
        let table = record.table("logit_diff", Quantity::Change).unwrap();
        assert_eq!(table.spread.len(), table.values.len());

        let tight = {
            let asked = experiment(&model, Method::AttributionPatching(asked), prompts.to_vec());
            let never = AtomicBool::new(false);
            let progress = &mut |_, _| {};
            asked
                .run(&model, &mut Watch { cancel: &never, progress, partial: None, memory_budget: 1 })
                .unwrap()
        };
        // Other derivatives of the same run take part in other sums of f32.
        assert!(furthest(&scores(&record), &scores(&tight)) < 1e-5);
    }
}

#[test]
fn what_was_finished_before_a_stop_is_kept() {
    let model = toy();
    let asked = AttributionPatching { check: Some(Check::All), ..plain(Site::Z, By::Head) };
    let asked = experiment(&model, Method::AttributionPatching(asked), vec![pair(1), pair(2), pair(4)]);
    let stopped_after = |passes: usize| {
        let cancel = AtomicBool::new(false);
        let mut progress = |done, wanted| {
            assert_eq!(wanted, 3 * (1 + 12));
            cancel.store(done >= passes, Ordering::Relaxed);
        };
        let mut watch =
            Watch { cancel: &cancel, progress: &mut progress, partial: None, memory_budget: 1 << 30 };
        asked.run(&model, &mut watch)
    };
    let two = stopped_after(2).unwrap();
    assert_eq!((two.results.prompts.len(), two.results.runs, two.is_complete()), (2, 2, false));
    assert!(two.results.remeasured.is_none());
    let whole = asked.run_quietly(&model).unwrap();
    assert!(whole.is_complete());
    let first = AttributionPatching { check: None, ..plain(Site::Z, By::Head) };
    assert_eq!(scores(&two), scores(&estimated(&model, first, vec![pair(1), pair(2)])));
    // All estimates, no measurement.
    let three = stopped_after(3).unwrap();
    assert_eq!((three.results.runs, three.is_complete()), (3, false));
    assert_eq!(scores(&three), scores(&whole));
    assert!(matches!(stopped_after(0), Err(Error::StoppedEarly)));
}

#[test]
fn an_estimate_that_cannot_be_is_an_error_that_says_why() {
    let model = toy();
    let error = |asked: AttributionPatching, metrics: &[&str]| {
        let metrics = metrics.iter().map(|name| MetricId::named(name).unwrap()).collect();
        let asked =
            Experiment { metrics, ..experiment(&model, Method::AttributionPatching(asked), vec![pair(1)]) };
        asked.run_quietly(&model).unwrap_err().to_string()
    };
    let z = || plain(Site::Z, By::Head);
    let with = |corrections: &[Correction], asked| AttributionPatching {
        corrections: corrections.to_vec(),
        ..asked
    };
    for (message, part) in [
        (error(z(), &["rank"]), "no derivative"),
        (error(z(), &["kl"]), "compares a run with itself"),
        (error(z(), &["prob", "logit_diff"]), "more than one metric"),
        (error(plain(Site::ResidPre, By::Head), &[]), "has no heads"),
        (error(plain(Site::Embed, By::Layer), &[]), "there is only one of it"),
        (
            error(AttributionPatching { at: Positions::Last, ..plain(Site::Z, By::HeadPosition) }, &[]),
            "positions",
        ),
        (error(AttributionPatching { steps: Some(0), ..z() }, &[]), "steps is 0"),
        (error(AttributionPatching { check: Some(Check::Top(0)), ..z() }, &[]), "check is 0"),
        (error(with(&[Correction::QkFix], z()), &[]), "no use for the QK fix"),
        (
            error(with(&[Correction::GradDrop], plain(Site::Z, By::Layers(vec![0, 1]))), &[]),
            "no use for GradDrop",
        ),
    ] {
        assert!(message.contains(part), "{message}");
    }
    let of_one_layer = with(&[Correction::GradDrop], z());
    let asked = experiment(&saturated(), Method::AttributionPatching(of_one_layer), vec![pair(1)]);
    assert!(asked.run_quietly(&saturated()).unwrap_err().to_string().contains("second layer"));
    let mut uneven = experiment(&model, Method::AttributionPatching(z()), vec![pair(1)]);
    uneven.prompts[0].corrupt = Some(Text::Ids(vec![1, 2]));
    assert!(matches!(uneven.run_quietly(&model), Err(Error::LengthsDiffer { .. })));
    uneven.prompts[0].corrupt = None;
    assert!(uneven.run_quietly(&model).unwrap_err().to_string().contains("corrupt prompt"));
}
