//! Updates of a model.

use microtome_model::Tensor;
use microtome_train::{Error, Learner, TrainingConfig, losses_by_position, mean};

use crate::toy::{learner, windows};

/// No warm-up, so that the first update counts.
fn training() -> TrainingConfig {
    TrainingConfig { warmup: 0, decay_steps: Some(1000), learning_rate: 1e-2, ..TrainingConfig::default() }
}

fn weights(learner: &Learner) -> Vec<f32> {
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    learner.parameters().list().iter().flat_map(|p| flat(&p.var)).collect()
}

#[test]
fn one_batch_can_be_learnt_by_heart() {
    let mut learner = learner(&training());
    let batch = vec![windows(2, 1)];
    let first = learner.update(0, &batch).unwrap().loss;
    // A new model knows nothing: ln 11 = 2.40.
    assert!((first - 11f64.ln()).abs() < 0.1, "{first}");
    let mut last = first;
    for step in 1..300 {
        last = learner.update(step, &batch).unwrap().loss;
    }
    assert!(last < 0.1, "{last}");
    let measured = mean(&losses_by_position(learner.model(), &batch[0]).unwrap());
    assert!(measured < 0.1, "the model that is measured is the one that learns: {measured}");
}

#[test]
fn two_batches_of_four_make_the_update_of_one_of_eight() {
    let all = windows(8, 2);
    let (mut whole, mut parts) = (learner(&training()), learner(&training()));
    for step in 0..3 {
        let one = whole.update(step, std::slice::from_ref(&all)).unwrap();
        let two = parts.update(step, &[all[..4].to_vec(), all[4..].to_vec()]).unwrap();
        assert!((one.loss - two.loss).abs() < 1e-6, "{one:?} {two:?}");
        assert!((one.gradient_norm - two.gradient_norm).abs() < 1e-5 * one.gradient_norm, "{one:?} {two:?}");
    }
    // AdamW makes a rate of 1e-2 of any gradient: where one is almost 0, its rounding shows.
    let far = weights(&whole).iter().zip(weights(&parts)).filter(|(a, b)| (*a - b).abs() > 1e-4).count();
    assert!(far * 100 < weights(&whole).len(), "{far} of {} weights differ", weights(&whole).len());
}

#[test]
fn dropout_changes_the_loss_and_repeats_with_its_seed_and_step() {
    let batch = vec![windows(4, 3)];
    let dropped = TrainingConfig { dropout: 0.3, ..training() };
    let loss = |training: &TrainingConfig, step| learner(training).update(step, &batch).unwrap().loss;
    let first = loss(&dropped, 0);
    assert_eq!(first, loss(&dropped, 0));
    assert_ne!(first, loss(&dropped, 1));
    assert_ne!(first, loss(&training(), 0));
}

#[test]
fn a_long_gradient_is_cut_to_the_length_asked_for() {
    // With the first moment's memory off and no decay an update depends on the direction only, unless
    // it is so small that AdamW's epsilon shows.
    let batch = vec![windows(4, 4)];
    let clipped = TrainingConfig { clip: 1e-9, weight_decay: 0.0, ..training() };
    let (mut free, mut cut) = (learner(&TrainingConfig { clip: 0.0, ..clipped.clone() }), learner(&clipped));
    let before = weights(&free);
    let (a, b) = (free.update(0, &batch).unwrap(), cut.update(0, &batch).unwrap());
    assert_eq!(a, b);
    let moved = |learner: &Learner| -> f64 {
        before.iter().zip(weights(learner)).map(|(a, b)| f64::from(a - b).abs()).sum()
    };
    assert!(moved(&cut) < 0.2 * moved(&free), "{} {}", moved(&cut), moved(&free));
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_update() {
    let mut learner =
        learner(&TrainingConfig { learning_rate: 1e30, min_learning_rate: Some(1e30), ..training() });
    let batch = vec![windows(4, 5)];
    let mut before = weights(&learner);
    for step in 0..20 {
        match learner.update(step, &batch) {
            Ok(_) => before = weights(&learner),
            Err(Error::NotFinite { step: at, .. }) => {
                assert_eq!(at, step + 1);
                assert_eq!(weights(&learner), before);
                return;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("still finite");
}
