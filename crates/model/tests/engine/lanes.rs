//! Lanes equal the loop: one full run per variant.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use microtome_model::{
    Change, Edit, Error, Hook, Lane, LaneEvent, LaneOptions, LaneRun, Model, Positions, Processing,
    RunOptions, Site, Tensor, Units, Value, Work,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::toy::{KINDS, Kind, config, distance, model, packed_model};

/// Rounding of f64 through three layers; an error of the engine is larger by ten orders.
const TOLERANCE: f64 = 1e-10;

/// Where heads are multiplied one by one the tensor library does it, and rounds by the number of rows.
fn is_by_head(lane: &Lane) -> bool {
    let by_head = [Site::AttnIn, Site::QInput, Site::KInput, Site::VInput, Site::Result];
    lane.edits.iter().any(|edit| by_head.contains(&edit.hook.site))
}

type Rows = HashMap<(usize, usize), Tensor>;

/// All logits a lane run reports, with what it leaves to the base filled in.
fn collect(
    model: &Model,
    prompts: &[Vec<u32>],
    lanes: &[Lane],
    read: &Positions,
    options: &LaneOptions,
) -> (Rows, Work) {
    let run = LaneRun::new(model, prompts, lanes, read).unwrap();
    let mut base: Rows = HashMap::new();
    let mut out: Rows = HashMap::new();
    let mut finished = 0;
    let work = run
        .run(options, |event| -> Result<_, Error> {
            match event {
                LaneEvent::Base { prompt, positions, logits } => {
                    for (row, &pos) in positions.iter().enumerate() {
                        base.insert((prompt, pos), logits.get(row)?);
                    }
                }
                LaneEvent::Rows { rows, logits } => {
                    for (row, &at) in rows.iter().enumerate() {
                        assert!(out.insert(at, logits.get(row)?).is_none(), "{at:?} reported twice");
                    }
                }
                LaneEvent::Kept { .. } => unreachable!("nothing was to be kept"),
                LaneEvent::Finished { lanes } => {
                    assert_eq!(lanes.start, finished, "lanes come in order");
                    finished = lanes.end;
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(finished, lanes.len());
    for (index, lane) in lanes.iter().enumerate() {
        for &pos in run.read(lane.prompt) {
            out.entry((index, pos)).or_insert_with(|| base[&(lane.prompt, pos)].clone());
        }
    }
    (out, work)
}

pub fn assert_lanes_equal_the_loop(
    model: &Model,
    prompts: &[Vec<u32>],
    lanes: &[Lane],
    read: &Positions,
    budget: usize,
    tolerance: f64,
) {
    assert_lanes_are_near_the_loop(model, prompts, lanes, read, budget, &|_, _| tolerance);
}

/// The same; how far each lane may be is told from the lane and its loop's logits, `[position read, d_vocab]`.
fn assert_lanes_are_near_the_loop(
    model: &Model,
    prompts: &[Vec<u32>],
    lanes: &[Lane],
    read: &Positions,
    budget: usize,
    allowed: &dyn Fn(&Lane, &Tensor) -> f64,
) {
    let options = LaneOptions { memory_budget: budget, cancel: None };
    let (rows, _) = collect(model, prompts, lanes, read, &options);
    for (index, lane) in lanes.iter().enumerate() {
        let options = RunOptions { edits: lane.edits.clone(), logits: read.clone(), ..Default::default() };
        let full = model.run(&prompts[lane.prompt], &options).unwrap();
        let tolerance = allowed(lane, full.logits().unwrap());
        for (row, pos) in read.resolve(prompts[lane.prompt].len()).unwrap().into_iter().enumerate() {
            let expected = full.logits().unwrap().get(row).unwrap();
            let d = distance(&rows[&(index, pos)], &expected);
            assert!(d <= tolerance, "lane {index} {:?} at position {pos}: {d} of {tolerance}", lane.edits);
        }
    }
}

pub fn prompt(len: usize, seed: usize) -> Vec<u32> {
    (0..len).map(|i| ((i * 7 + seed * 5 + i * i) % 17) as u32).collect()
}

/// Any edit that fits a model of this kind and a prompt of this length.
fn any_edit(kind: Kind, len: usize) -> impl Strategy<Value = Edit> {
    let config = config(kind);
    let hooks = Hook::all(&config);
    let positions = prop_oneof![
        Just(Positions::All),
        Just(Positions::Last),
        (0..len).prop_map(Positions::From),
        proptest::collection::vec(0..len, 1..4).prop_map(Positions::At),
    ];
    (select(hooks), positions, 0..12usize, any::<u64>(), any::<bool>()).prop_map(
        move |(hook, positions, kind, seed, some)| {
            let (count, _) = hook.site.units(&config);
            let pick = seed as usize;
            let noise = |shape: &[usize]| {
                let n: usize = shape.iter().product();
                let at = |i: usize| ((i as f64 + 1.0) * (pick % 97 + 1) as f64 * 0.618).fract() - 0.3;
                Tensor::from_vec((0..n).map(at).collect::<Vec<f64>>(), shape, &microtome_model::Device::Cpu)
                    .unwrap()
            };
            let shape = hook.shape(&config, len);
            let change = match (kind, hook.site) {
                (0, Site::Pattern) => Change::Uniform,
                (1, Site::Pattern) => Change::Identity,
                (2, Site::Pattern) => Change::Random { seed },
                (3, Site::Pattern) if hook.layer > 0 => Change::Previous,
                (4 | 5, Site::Pattern) => {
                    let query = positions.resolve(len).unwrap()[0];
                    Change::KnockOut(vec![(query, pick % (query + 1))])
                }
                (4 | 5, Site::AttnScores) => {
                    match positions.resolve(len).unwrap().into_iter().rfind(|&q| q > 0) {
                        Some(query) => Change::KnockOut(vec![(query, pick % query)]),
                        None => Change::Zero,
                    }
                }
                (0..=5, Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale) => Change::Scale(1.7),
                (0..=5, _) => Change::Zero,
                (6, _) => Change::Set(Value::Scalar(0.4)),
                (7 | 8, _) => Change::Set(Value::Tensor(noise(&shape))),
                (9, _) => Change::Set(Value::Tensor(noise(&shape[1..]))),
                (10, _) => Change::Add(Value::Tensor(noise(&shape))),
                _ => Change::Scale(0.5),
            };
            let units = if some && count > 1 { Units::At(vec![pick % count]) } else { Units::All };
            Edit { hook, units, positions, change }
        },
    )
}

fn splits_and_edits_one_norm(edits: &[Edit]) -> bool {
    let norm = |edit: &Edit| matches!(edit.hook.site, Site::Ln1Scale | Site::Ln1Normalized);
    let split =
        |edit: &Edit| matches!(edit.hook.site, Site::AttnIn | Site::QInput | Site::KInput | Site::VInput);
    edits.iter().filter(|e| norm(e)).any(|a| edits.iter().any(|b| split(b) && a.hook.layer == b.hook.layer))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lanes_equal_one_full_run_per_variant(
        (kind, lanes, read, budget) in (select(KINDS.to_vec()), 1..8usize).prop_flat_map(|(kind, n)| {
            let lane = (0..2usize).prop_flat_map(move |prompt| {
                let edits = proptest::collection::vec(any_edit(kind, 4 + 2 * prompt), 0..4);
                edits.prop_map(move |edits| Lane { prompt, edits })
            });
            let read = prop_oneof![
                Just(Positions::Last),
                Just(Positions::All),
                Just(Positions::At(vec![1, 3])),
                Just(Positions::From(2)),
            ];
            let budget = prop_oneof![Just(0), Just(20_000), Just(usize::MAX)];
            (Just(kind), proptest::collection::vec(lane, n), read, budget)
        })
    ) {
        prop_assume!(!lanes.iter().any(|lane| splits_and_edits_one_norm(&lane.edits)));
        let exact = model(kind, Processing::Raw);
        let prompts = [prompt(4, 1), prompt(6, 2)];
        assert_lanes_equal_the_loop(&exact, &prompts, &lanes, &read, budget, TOLERANCE);
        let model = packed_model(kind, Processing::Raw);
        let by_head = lanes.iter().any(is_by_head);
        // By head, sums have another order in f32; and where the loop itself is off by rounding, so are they.
        let rounding = |lane: &Lane, logits: &Tensor| {
            let options = RunOptions { edits: lane.edits.clone(), logits: read.clone(), ..Default::default() };
            distance(logits, exact.run(&prompts[lane.prompt], &options).unwrap().logits().unwrap())
        };
        let allowed = |lane: &Lane, logits: &Tensor| {
            if by_head { 1e-3f64.max(2.0 * rounding(lane, logits)) } else { 0.0 }
        };
        assert_lanes_are_near_the_loop(&model, &prompts, &lanes, &read, budget, &allowed);
    }
}

/// Every change at every hook where it is allowed, at one position and at all, for a prompt of `len` tokens.
pub fn lanes_of_every_edit(kind: Kind, len: usize) -> Vec<Lane> {
    let config = config(kind);
    let model = model(kind, Processing::Raw);
    let mut lanes = Vec::new();
    for hook in Hook::all(&config) {
        let shape = hook.shape(&config, len);
        let filled = |shape: &[usize], x: f64| {
            let n: usize = shape.iter().product();
            let cell = |i: usize| x * ((i * i + 3 * i) % 7) as f64;
            Tensor::from_vec((0..n).map(cell).collect::<Vec<_>>(), shape, &microtome_model::Device::Cpu)
                .unwrap()
        };
        let mut changes = vec![
            Change::Zero,
            Change::Set(Value::Scalar(0.3)),
            Change::Set(Value::Tensor(filled(&shape, 0.1))),
            Change::Set(Value::Tensor(filled(&shape[1..], 0.1))),
            Change::Add(Value::Scalar(0.2)),
            Change::Add(Value::Tensor(filled(&shape, 0.1))),
            Change::Scale(1.5),
        ];
        if hook.site == Site::Pattern {
            changes.extend([Change::Uniform, Change::Identity, Change::Random { seed: 3 }]);
            if hook.layer > 0 {
                changes.push(Change::Previous);
            }
        }
        if hook.site.is_attention() {
            changes.push(Change::KnockOut(vec![(4, 1), (3, 0)]));
        }
        let (count, _) = hook.site.units(&config);
        for change in changes {
            for positions in [Positions::All, Positions::Last, Positions::At(vec![1, 3]), Positions::From(3)]
            {
                for units in [Units::All, Units::At(vec![count - 1])] {
                    let edit = Edit { hook, units, positions: positions.clone(), change: change.clone() };
                    lanes.push(Lane { prompt: 0, edits: vec![edit] });
                }
            }
        }
    }
    let allowed = |lane: &Lane| {
        LaneRun::new(&model, &[prompt(len, 3)], std::slice::from_ref(lane), &Positions::Last).is_ok()
    };
    lanes.retain(allowed);
    lanes
}

/// Not left to chance.
#[test]
fn every_kind_of_edit_at_every_hook_equals_its_full_run() {
    for kind in KINDS {
        let len = 5;
        let model = model(kind, Processing::Raw);
        let mut lanes = lanes_of_every_edit(kind, len);
        assert!(lanes.len() > 1000, "{}", lanes.len());
        for read in [Positions::All, Positions::Last] {
            assert_lanes_equal_the_loop(&model, &[prompt(len, 3)], &lanes, &read, usize::MAX, TOLERANCE);
        }
        // The kernels give every row the same bits whatever it is multiplied with.
        lanes.retain(|lane| !is_by_head(lane));
        let model = packed_model(kind, Processing::Raw);
        for read in [Positions::All, Positions::Last] {
            assert_lanes_equal_the_loop(&model, &[prompt(len, 3)], &lanes, &read, usize::MAX, 0.0);
        }
    }
}

fn head_lanes(model: &Model, positions: &Positions) -> Vec<Lane> {
    let config = model.config();
    let heads = (0..config.n_layers).flat_map(|layer| (0..config.n_heads).map(move |head| (layer, head)));
    let edit = |(layer, head): (usize, usize)| {
        Edit::new(Site::Z.at(layer), Change::Zero).units([head]).positions(positions.clone())
    };
    heads.map(|head| Lane { prompt: 0, edits: vec![edit(head)] }).collect()
}

/// DESIGN: at the last position a lane that changes layer `l` costs one row in the MLP of `l`, in
/// every matrix above, and in the unembedding; nothing else.
#[test]
fn a_sweep_at_the_last_position_touches_one_row_per_lane_and_layer_above() {
    let model = model(Kind::Full, Processing::Folded);
    let config = model.config().clone();
    let (d, a, m, v) = (config.d_model, config.d_attn(), config.d_mlp(), config.d_vocab);
    let tokens = prompt(9, 1);
    let (n_layers, n_heads, len) = (config.n_layers as u64, config.n_heads as u64, tokens.len() as u64);

    let base = LaneRun::new(&model, &[&tokens], &[], &Positions::Last).unwrap();
    let base = base.run::<Error>(&LaneOptions::default(), |_| Ok(ControlFlow::Continue(()))).unwrap();
    let lanes = head_lanes(&model, &Positions::Last);
    let run = LaneRun::new(&model, &[&tokens], &lanes, &Positions::Last).unwrap();
    let work = run.run::<Error>(&LaneOptions::default(), |_| Ok(ControlFlow::Continue(()))).unwrap();

    let above: u64 = (0..n_layers).sum::<u64>() * n_heads; // lanes times layers above their own
    let lanes = n_layers * n_heads;
    let of_lanes = |size: (usize, usize)| work.rows[&size] - len * n_layers;
    assert_eq!(of_lanes((d, 3 * a)), above, "queries, keys and values of the layers above");
    assert_eq!(of_lanes((a, d)), above + lanes, "W_O of those and of the layer changed");
    assert_eq!(of_lanes((d, m)), above + lanes, "MLPs from the layer changed on");
    assert_eq!(work.rows[&(d, v)], 1 + lanes, "one row of logits each");
    assert_eq!(base.rows[&(d, v)], 1);
}

/// The two figures of DESIGN.md for GPT-2 small's shape, counted on a toy by the same formula.
#[test]
fn a_sweep_over_all_positions_computes_only_read_positions_in_the_last_layer() {
    let model = model(Kind::Full, Processing::Folded);
    let config = model.config().clone();
    let (d, a, m) = (config.d_model, config.d_attn(), config.d_mlp());
    let tokens = prompt(9, 1);
    let (n_layers, n_heads, len) = (config.n_layers as u64, config.n_heads as u64, tokens.len() as u64);
    let lanes = head_lanes(&model, &Positions::All);
    let run = LaneRun::new(&model, &[&tokens], &lanes, &Positions::Last).unwrap();
    let work = run.run::<Error>(&LaneOptions::default(), |_| Ok(ControlFlow::Continue(()))).unwrap();

    // The base keeps all its rows where a lane takes something from it after the last attention.
    let base = len * n_layers;
    let below_last: u64 = (0..n_layers - 1).map(|layer| (n_layers - 1 - layer) * n_heads * len).sum();
    let in_last = n_layers * n_heads;
    assert_eq!(work.rows[&(d, m)], base + below_last + in_last);
    assert_eq!(work.rows[&(d, 2 * a)], (n_layers - 1) * n_heads * len, "keys and values of the last layer");
    assert_eq!(work.rows[&(d, a)], (n_layers - 1) * n_heads, "its queries: only where read");
}

#[test]
fn a_cancelled_run_keeps_the_lanes_already_finished() {
    let model = model(Kind::Full, Processing::Raw);
    let cancel = AtomicBool::new(false);
    let lanes = head_lanes(&model, &Positions::All);
    let run = LaneRun::new(&model, &[prompt(5, 0)], &lanes, &Positions::Last).unwrap();
    let mut finished = Vec::new();
    let options = LaneOptions { memory_budget: 0, cancel: Some(&cancel) };
    run.run::<Error>(&options, |event| {
        if let LaneEvent::Finished { lanes } = event {
            finished.push(lanes);
            cancel.store(finished.len() == 2, Ordering::Relaxed);
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(finished, [0..1, 1..2]);
}

#[test]
fn a_lane_that_names_what_does_not_exist_is_an_error_before_anything_runs() {
    let model = model(Kind::Full, Processing::Raw);
    let refuse = |edit: Edit| {
        let lane = Lane { prompt: 0, edits: vec![edit] };
        LaneRun::new(&model, &[prompt(5, 0)], &[lane], &Positions::Last).err().expect("refused").to_string()
    };
    let z = |layer| Edit::new(Site::Z.at(layer), Change::Zero);
    assert!(refuse(z(3)).contains("layer 3"));
    assert!(refuse(z(0).units([2])).contains("heads"));
    assert!(refuse(z(0).positions(Positions::At(vec![5]))).contains("position 5"));
    assert!(refuse(Edit::new(Site::Z.at(0), Change::Uniform)).contains("hook_pattern"));
    assert!(refuse(Edit::new(Site::Pattern.at(0), Change::Previous)).contains("layer 0"));
    assert!(refuse(Edit::new(Site::Pattern.at(0), Change::KnockOut(vec![(1, 3)]))).contains("query 1"));
    assert!(refuse(Edit::new(Site::AttnScores.at(0), Change::KnockOut(vec![(0, 0)]))).contains("query 0"));
}
