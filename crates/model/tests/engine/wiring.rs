//! Rewired runs against a composition by hand, receiver after receiver.

use std::ops::ControlFlow;
use std::sync::Arc;

use microtome_model::{
    Change, Edit, Error, Hook, Lane, LaneEvent, LaneOptions, LaneRun, Model, Positions, Processing, Rewire,
    RunOptions, SenderOutputs, Site, Tensor, Value, senders_below,
};

use crate::lanes::{assert_lanes_equal_the_loop, prompt};
use crate::toy::{KINDS, Kind, distance, model, packed_model};

/// Rounding of f64 through three layers.
const TOLERANCE: f64 = 1e-10;

/// Every input that can be rewired, in firing order.
fn inputs(model: &Model) -> Vec<Hook> {
    let config = model.config();
    Hook::all(config).into_iter().filter(|hook| senders_below(*hook, config).is_some()).collect()
}

fn outputs(model: &Model, tokens: &[u32], edits: &[Edit]) -> (SenderOutputs, Tensor) {
    let hooks = SenderOutputs::hooks(model.config());
    let options = RunOptions { edits: edits.to_vec(), reads: hooks, ..Default::default() };
    let run = model.run(tokens, &options).unwrap();
    (SenderOutputs::of_cache(model.config(), &run.cache).unwrap(), run.logits().unwrap().clone())
}

/// Shares for an input, some 0, some 1, some between, different by seed.
fn shares(model: &Model, hook: Hook, seed: usize) -> Tensor {
    let config = model.config();
    let units = if hook.site.has_heads() { config.n_heads } else { 1 };
    let count = senders_below(hook, config).unwrap();
    let cell = |i: usize| [0.0, 1.0, 0.3][(i * i + 5 * i + hook.layer + hook.site as usize + seed) % 3];
    Tensor::from_vec((0..units * count).map(cell).collect::<Vec<f64>>(), (units, count), model.device())
        .unwrap()
}

fn rewired(model: &Model, hooks: &[Hook], from: &Arc<SenderOutputs>, seed: usize) -> Vec<Edit> {
    let edit = |&hook: &Hook| {
        let rewire = Rewire { shares: shares(model, hook, seed), from: from.clone() };
        Edit::new(hook, Change::Rewire(rewire))
    };
    hooks.iter().map(edit).collect()
}

/// The logits where each receiver's input is worked out from a run of its own and then set.
fn by_hand(model: &Model, tokens: &[u32], other: &SenderOutputs, edits: &[Edit]) -> Tensor {
    let mut fixed: Vec<Edit> = Vec::new();
    for edit in edits {
        let Change::Rewire(rewire) = &edit.change else { unreachable!() };
        let (own, _) = outputs(model, tokens, &fixed);
        let options = RunOptions { edits: fixed.clone(), reads: vec![edit.hook], ..Default::default() };
        let input = model.run(tokens, &options).unwrap().cache.get(edit.hook).unwrap().clone();
        let (units, count) = rewire.shares.dims2().unwrap();
        let mut parts = Vec::new();
        for unit in 0..units {
            let mut x = if edit.hook.site.has_heads() {
                input.narrow(1, unit, 1).unwrap().squeeze(1).unwrap()
            } else {
                input.clone()
            };
            for sender in 0..count {
                let share = rewire.shares.get(unit).unwrap().get(sender).unwrap().to_scalar::<f64>().unwrap();
                let of = |outputs: &SenderOutputs| {
                    outputs.values().narrow(1, sender, 1).unwrap().squeeze(1).unwrap()
                };
                x = (x + ((of(other) - of(&own)).unwrap() * share).unwrap()).unwrap();
            }
            parts.push(x);
        }
        let value =
            if edit.hook.site.has_heads() { Tensor::stack(&parts, 1).unwrap() } else { parts.remove(0) };
        fixed.push(Edit::new(edit.hook, Change::Set(Value::Tensor(value))));
    }
    outputs(model, tokens, &fixed).1
}

#[test]
fn a_rewired_run_is_the_composition_of_its_receivers_by_hand() {
    for kind in KINDS {
        let model = model(kind, Processing::Raw);
        let (clean, corrupt) = (prompt(5, 1), prompt(5, 2));
        let other = Arc::new(outputs(&model, &corrupt, &[]).0);
        let edits = rewired(&model, &inputs(&model), &other, 0);
        let options = RunOptions { edits: edits.clone(), ..Default::default() };
        let found = model.run(&clean, &options).unwrap();
        let expected = by_hand(&model, &clean, &other, &edits);
        let moved = distance(&expected, &outputs(&model, &clean, &[]).1);
        assert!(moved > 1e-3, "the rewiring matters");
        assert!(distance(found.logits().unwrap(), &expected) < TOLERANCE, "{kind:?}");
    }
}

#[test]
fn a_run_with_every_edge_cut_is_the_other_run_and_with_none_its_own() {
    for kind in KINDS {
        let model = model(kind, Processing::Raw);
        let (clean, corrupt) = (prompt(5, 1), prompt(5, 2));
        let (other, corrupted) = outputs(&model, &corrupt, &[]);
        let (own, plain) = outputs(&model, &clean, &[]);
        let other = Arc::new(other);
        for (share, expected) in [(1.0, &corrupted), (0.0, &plain)] {
            let mut edits = rewired(&model, &inputs(&model), &other, 0);
            for edit in &mut edits {
                let Change::Rewire(rewire) = &mut edit.change else { unreachable!() };
                rewire.shares = (rewire.shares.ones_like().unwrap() * share).unwrap();
            }
            let run = model.run(&clean, &RunOptions { edits, ..Default::default() }).unwrap();
            assert!(distance(run.logits().unwrap(), expected) < TOLERANCE, "{kind:?} {share}");
        }
        // Nothing written at all leaves the biases of attention, and whatever was read.
        let nothing = own.zeros_like().unwrap();
        assert!(distance(nothing.values(), own.values()) > 0.1);
        let half = nothing.towards(&own, 0.5).unwrap();
        assert!(distance(&(half.values() * 2.0).unwrap(), own.values()) < 1e-12);
    }
}

#[test]
fn rewired_lanes_equal_one_full_run_each() {
    for kind in KINDS {
        for (model, tolerance) in
            [(model(kind, Processing::Raw), TOLERANCE), (packed_model(kind, Processing::Raw), 1e-3)]
        {
            let prompts = [prompt(6, 1), prompt(5, 3)];
            let others: Vec<Arc<SenderOutputs>> =
                [prompt(6, 2), prompt(5, 4)].iter().map(|p| Arc::new(outputs(&model, p, &[]).0)).collect();
            let inputs = inputs(&model);
            let mut lanes = Vec::new();
            for (prompt, from) in others.iter().enumerate() {
                for seed in 0..3 {
                    lanes.push(Lane { prompt, edits: rewired(&model, &inputs, from, seed) });
                    // Lanes that join higher up, at one receiver or at the last ones alone.
                    lanes.push(Lane {
                        prompt,
                        edits: rewired(&model, &inputs[inputs.len() / 2..], from, seed),
                    });
                    lanes.push(Lane {
                        prompt,
                        edits: rewired(&model, &inputs[seed + 3..seed + 4], from, seed),
                    });
                    lanes.push(Lane {
                        prompt,
                        edits: rewired(&model, &inputs[inputs.len() - 1..], from, seed),
                    });
                    // Some positions; and beside an edit of another kind.
                    let late = rewired(&model, &inputs, from, seed).into_iter();
                    let late = late.map(|edit| edit.positions(Positions::From(3))).collect();
                    lanes.push(Lane { prompt, edits: late });
                    let mut mixed = rewired(&model, &inputs[4..], from, seed);
                    mixed.push(Edit::new(Site::Z.at(1), Change::Zero).units([1]));
                    lanes.push(Lane { prompt, edits: mixed });
                }
                lanes.push(Lane { prompt, edits: vec![Edit::new(Site::Z.at(0), Change::Zero)] });
                lanes.push(Lane { prompt, edits: vec![] });
            }
            for read in [Positions::Last, Positions::All, Positions::At(vec![2, 4])] {
                for budget in [usize::MAX, 0] {
                    assert_lanes_equal_the_loop(&model, &prompts, &lanes, &read, budget, tolerance);
                }
            }
        }
    }
}

#[test]
fn what_lanes_keep_is_what_their_full_runs_read() {
    let model = model(Kind::Full, Processing::Raw);
    let tokens = prompt(6, 1);
    let hooks =
        vec![Site::Q.at(2), Site::K.at(1), Site::MlpIn.at(2), Site::ResidPost.at(2), Site::Pattern.at(2)];
    let edits = [
        Edit::new(Site::Z.at(0), Change::Zero).units([0]),
        Edit::new(Site::MlpOut.at(1), Change::Scale(2.0)).positions(Positions::From(2)),
        Edit::new(Site::ResidPre.at(0), Change::Scale(0.5)).positions(Positions::At(vec![1, 3])),
    ];
    let lanes: Vec<Lane> = edits.iter().map(|edit| Lane { prompt: 0, edits: vec![edit.clone()] }).collect();
    let run =
        LaneRun::new(&model, &[&tokens], &lanes, &Positions::Last).unwrap().keeping(hooks.clone()).unwrap();
    let mut kept = Vec::new();
    run.run::<Error>(&LaneOptions::default(), |event| {
        if let LaneEvent::Kept { lane, hook, start, value } = event {
            kept.push((lane, hook));
            let options =
                RunOptions { edits: vec![edits[lane].clone()], reads: vec![hook], ..Default::default() };
            let full = model.run(&tokens, &options).unwrap().cache.get(hook).unwrap().clone();
            let axis = usize::from(hook.site.is_attention());
            let expected = full.narrow(axis, start, 6 - start).unwrap();
            assert!(distance(value, &expected) < TOLERANCE, "lane {lane} at {hook}");
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    kept.sort_by_key(|(lane, hook)| (*lane, hook.layer, hook.site));
    // The second lane joins above the keys of layer 1.
    assert_eq!(kept.len(), 3 * hooks.len() - 1);
    assert!(!kept.contains(&(1, Site::K.at(1))));
    let run = LaneRun::new(&model, &[&tokens], &lanes, &Positions::Last).unwrap();
    assert!(run.keeping(vec![Site::Q.at(3)]).is_err());
}

#[test]
fn a_rewiring_that_cannot_be_is_an_error_before_anything_runs() {
    let model = model(Kind::Full, Processing::Raw);
    let tokens = prompt(5, 1);
    let from = Arc::new(outputs(&model, &tokens, &[]).0);
    let refuse = |edits: Vec<Edit>| {
        model.run(&tokens, &RunOptions { edits, ..Default::default() }).expect_err("refused").to_string()
    };
    let rewire = |hook: Hook, shares: &Tensor, from: &Arc<SenderOutputs>| {
        Edit::new(hook, Change::Rewire(Rewire { shares: shares.clone(), from: from.clone() }))
    };
    let fits = shares(&model, Site::QInput.at(1), 0);
    assert!(refuse(vec![rewire(Site::Z.at(1), &fits, &from)]).contains("hook_q_input"));
    assert!(refuse(vec![rewire(Site::ResidPost.at(0), &fits, &from)]).contains("hook_q_input"));
    assert!(refuse(vec![rewire(Site::QInput.at(2), &fits, &from)]).contains("shape"));
    let short = Arc::new(outputs(&model, &tokens[..4], &[]).0);
    assert!(refuse(vec![rewire(Site::QInput.at(1), &fits, &short)]).contains("shape"));
    let again = Arc::new(from.zeros_like().unwrap());
    let two = vec![rewire(Site::QInput.at(1), &fits, &from), rewire(Site::KInput.at(1), &fits, &again)];
    assert!(refuse(two).contains("two others"));
    let edit = rewire(Site::QInput.at(1), &fits, &from);
    let seed = |logits: &Tensor| Ok::<_, Error>(logits.ones_like()?);
    let refused = model.gradients(&tokens, &[edit], &[Site::Z.at(2)], &Positions::Last, seed).unwrap_err();
    assert!(matches!(refused, Error::RewiredGradient), "{refused}");
}
