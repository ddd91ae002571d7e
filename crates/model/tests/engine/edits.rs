//! What each change promises about the value it leaves behind, read back at the hook.

use microtome_model::{Change, Edit, Model, Positions, Processing, RunOptions, Site, Tensor, Value};

use crate::toy::{Kind, distance, model, values};

const TOKENS: [u32; 5] = [3, 1, 4, 1, 5];

/// The value at an edit's hook with and without the edit.
fn before_and_after(model: &Model, edit: &Edit) -> (Tensor, Tensor) {
    let run = |edits| {
        let options = RunOptions { edits, reads: vec![edit.hook], ..Default::default() };
        model.run(&TOKENS, &options).unwrap().cache.get(edit.hook).unwrap().clone()
    };
    (run(vec![]), run(vec![edit.clone()]))
}

#[test]
fn only_the_selected_heads_at_the_selected_positions_change() {
    let model = model(Kind::Full, Processing::Raw);
    let edit = Edit::new(Site::Z.at(1), Change::Set(Value::Scalar(9.0)))
        .units([1])
        .positions(Positions::At(vec![2, 4]));
    let (before, after) = before_and_after(&model, &edit);
    let (before, after) = (before.to_vec3::<f64>().unwrap(), after.to_vec3::<f64>().unwrap());
    for pos in 0..TOKENS.len() {
        for head in 0..2 {
            if head == 1 && (pos == 2 || pos == 4) {
                assert!(after[pos][head].iter().all(|&x| x == 9.0));
            } else {
                assert_eq!(before[pos][head], after[pos][head]);
            }
        }
    }
}

#[test]
fn pattern_changes_are_distributions_over_what_a_query_sees() {
    let model = model(Kind::Full, Processing::Raw);
    for change in [Change::Uniform, Change::Identity, Change::Random { seed: 1 }, Change::Previous] {
        let (_, after) = before_and_after(&model, &Edit::new(Site::Pattern.at(1), change.clone()));
        for head in after.to_vec3::<f64>().unwrap() {
            for (query, row) in head.iter().enumerate() {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{}", change.name());
                assert!(row[query + 1..].iter().all(|&p| p == 0.0), "{} looks ahead", change.name());
            }
        }
    }
}

#[test]
fn the_previous_pattern_is_that_of_the_layer_below() {
    let model = model(Kind::Full, Processing::Raw);
    let edit = Edit::new(Site::Pattern.at(2), Change::Previous).units([0]);
    let (_, after) = before_and_after(&model, &edit);
    let below = RunOptions { reads: vec![Site::Pattern.at(1)], ..Default::default() };
    let below = model.run(&TOKENS, &below).unwrap().cache.get(Site::Pattern.at(1)).unwrap().clone();
    assert_eq!(distance(&after.get(0).unwrap(), &below.get(0).unwrap()), 0.0);
    assert!(distance(&after.get(1).unwrap(), &below.get(1).unwrap()) > 0.01);
}

#[test]
fn random_patterns_repeat_with_their_seed_and_differ_with_another() {
    let model = model(Kind::Full, Processing::Raw);
    let with = |seed| before_and_after(&model, &Edit::new(Site::Pattern.at(1), Change::Random { seed })).1;
    assert_eq!(distance(&with(1), &with(1)), 0.0);
    assert!(distance(&with(1), &with(2)) > 0.01);
}

#[test]
fn an_edge_cut_in_the_scores_is_renormalised_and_one_cut_in_the_pattern_is_not() {
    let model = model(Kind::Full, Processing::Raw);
    let edges = vec![(4, 0), (4, 2)];
    let pattern = |site: Site| {
        let options = RunOptions {
            edits: vec![Edit::new(site.at(0), Change::KnockOut(edges.clone())).units([1])],
            reads: vec![Site::Pattern.at(0)],
            ..Default::default()
        };
        model
            .run(&TOKENS, &options)
            .unwrap()
            .cache
            .get(Site::Pattern.at(0))
            .unwrap()
            .to_vec3::<f64>()
            .unwrap()
    };
    let (_, plain) = before_and_after(&model, &Edit::new(Site::Pattern.at(0), Change::Scale(1.0)));
    let plain = plain.to_vec3::<f64>().unwrap();
    let (cut, renormalised) = (pattern(Site::Pattern), pattern(Site::AttnScores));
    assert_eq!(cut[0], plain[0]);
    assert_eq!(cut[1][3], plain[1][3]);
    assert_eq!([cut[1][4][0], cut[1][4][2], cut[1][4][1]], [0.0, 0.0, plain[1][4][1]]);
    let kept: f64 = [1, 3, 4].iter().map(|&k| plain[1][4][k]).sum();
    assert!((renormalised[1][4][1] - plain[1][4][1] / kept).abs() < 1e-12);
}

#[test]
fn a_value_of_the_wrong_shape_is_refused_with_the_shapes_that_fit() {
    let model = model(Kind::Full, Processing::Raw);
    let value = Tensor::zeros((4, 2, 5), microtome_model::DType::F64, &microtome_model::Device::Cpu).unwrap();
    let edit = Edit::new(Site::Z.at(0), Change::Set(Value::Tensor(value)));
    let message =
        model.run(&TOKENS, &RunOptions { edits: vec![edit], ..Default::default() }).unwrap_err().to_string();
    assert!(
        message.contains("[4, 2, 5]") && message.contains("[5, 2, 5]") && message.contains("[2, 5]"),
        "{message}"
    );
}

#[test]
fn editing_what_the_hooks_read_back_changes_nothing() {
    let model = model(Kind::Full, Processing::Raw);
    let plain = model.run(&TOKENS, &RunOptions::default()).unwrap().logits.unwrap();
    for hook in microtome_model::Hook::all(model.config()) {
        let read = RunOptions { reads: vec![hook], ..Default::default() };
        let value = model.run(&TOKENS, &read).unwrap().cache.get(hook).unwrap().clone();
        let edit = Edit::new(hook, Change::Set(Value::Tensor(value)));
        let edited = model
            .run(&TOKENS, &RunOptions { edits: vec![edit], ..Default::default() })
            .unwrap()
            .logits
            .unwrap();
        let d = distance(&plain, &edited);
        assert!(d < 1e-11, "{hook}: {d}");
        assert!(!values(&edited).iter().any(|x| x.is_nan()));
    }
}
