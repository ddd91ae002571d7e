//! Steering: what is added is what is said, texts are those of the steered model, and what is refused.

use microtome::method::steering::{DirectionLength, Over, Steering, SteeringDirection};
use microtome::metric::MetricId;
use microtome::model::{Change, Device, Edit, Positions, Precision, RunOptions, Site, Tensor, Value};
use microtome::{Bos, Component, Error, Experiment, Method, Prompt, Quantity, Record, Text, TextModel};

use crate::circuits::ids;
use crate::golden_data::values;
use crate::laws::{pair, toy};

fn experiment(model: &TextModel, steering: Steering) -> Experiment {
    Experiment {
        model: "any".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Omit,
        prompts: vec![Prompt { corrupt: None, ..pair(1) }],
        method: Method::Steering(steering),
        metrics: vec![MetricId::named("logit_diff").unwrap()],
        read_at: None,
        seed: 0,
    }
}

fn steering(along: SteeringDirection, strengths: &[f64]) -> Steering {
    Steering {
        along,
        layer: 1,
        strengths: strengths.to_vec(),
        length: DirectionLength::AsIs,
        max_new_tokens: 0,
        temperature: 0.0,
    }
}

fn numbers(record: &Record) -> Vec<f64> {
    record.table("logit_diff", Quantity::Value).unwrap().values.iter().map(|value| value.unwrap()).collect()
}

fn resid(model: &TextModel, ids: &[u32]) -> Vec<Vec<f64>> {
    let hook = Site::ResidPre.at(1);
    let options = RunOptions { reads: vec![hook], ..Default::default() };
    let run = model.model().run(ids, &options).unwrap();
    values(run.cache.get(hook).unwrap()).chunks(16).map(<[f64]>::to_vec).collect()
}

/// The logits at the last position of a run with this edit.
fn last_logits(model: &TextModel, ids: &[u32], edit: Edit) -> Vec<f64> {
    let options = RunOptions { edits: vec![edit], logits: Positions::Last, ..Default::default() };
    values(model.model().run(ids, &options).unwrap().logits().unwrap())
}

/// The same with this added at every position.
fn logits_with(model: &TextModel, ids: &[u32], added: &[f64]) -> Vec<f64> {
    let added: Vec<f32> = added.iter().map(|x| *x as f32).collect();
    let value = Tensor::from_vec(added.clone(), added.len(), &Device::Cpu).unwrap();
    last_logits(model, ids, Edit::new(Site::ResidPre.at(1), Change::Add(Value::Tensor(value))))
}

fn clean() -> Vec<u32> {
    ids(&pair(1).clean)
}

#[test]
fn a_difference_of_texts_is_added_as_often_as_is_said() {
    let model = toy();
    let (to, from) = (vec![vec![3u32, 8, 1], vec![4, 4]], vec![vec![7u32, 2]]);
    let texts = |list: &[Vec<u32>]| list.iter().cloned().map(Text::Ids).collect::<Vec<_>>();
    for (over, length) in [(Over::Last, DirectionLength::AsIs), (Over::All, DirectionLength::One)] {
        // Over all, every position of every text counts the same.
        let mean = |list: &[Vec<u32>]| {
            let rows: Vec<Vec<f64>> = list
                .iter()
                .flat_map(|ids| {
                    let rows = resid(&model, ids);
                    let first = if over == Over::Last { rows.len() - 1 } else { 0 };
                    rows[first..].to_vec()
                })
                .collect();
            (0..16)
                .map(|d| rows.iter().map(|row| row[d]).sum::<f64>() / rows.len() as f64)
                .collect::<Vec<f64>>()
        };
        let mut direction: Vec<f64> = mean(&to).iter().zip(mean(&from)).map(|(a, b)| a - b).collect();
        if length == DirectionLength::One {
            let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
            direction.iter_mut().for_each(|x| *x /= norm);
        }
        let along = SteeringDirection::Difference { towards: texts(&to), away: texts(&from), over };
        let asked = Steering { length, ..steering(along, &[-2.0, 0.0, 0.5]) };
        let found = numbers(&experiment(&model, asked).run_quietly(&model).unwrap());
        for (strength, found) in [-2.0, 0.0, 0.5].into_iter().zip(found) {
            let added: Vec<f64> = direction.iter().map(|x| x * strength).collect();
            let logits = logits_with(&model, &clean(), &added);
            assert!((logits[3] - logits[8] - found).abs() < 1e-4, "{over:?} {strength}: {found}");
        }
    }
}

#[test]
fn a_neuron_steers_by_what_it_writes() {
    let model = toy();
    let component: Component = "L0N5".parse().unwrap();
    let found = experiment(&model, steering(SteeringDirection::Neuron(component), &[3.0]));
    let found = numbers(&found.run_quietly(&model).unwrap())[0];
    // The same as 3 more of its activation in layer 0, read in front of layer 1.
    let edit = Edit::new(Site::MlpPost.at(0), Change::Add(Value::Scalar(3.0))).units([5]);
    let logits = last_logits(&model, &clean(), edit);
    assert!((logits[3] - logits[8] - found).abs() < 1e-4);
}

#[test]
fn texts_are_what_the_steered_model_says_token_by_token_beside_the_model_as_it_is() {
    let model = toy();
    let direction: Vec<f64> = (0..16).map(|i| f64::from(i % 5) - 2.0).collect();
    let along = SteeringDirection::Vector(direction.clone());
    let asked = Steering { max_new_tokens: 5, ..steering(along, &[1.5, -3.0]) };
    let record = experiment(&model, asked).run_quietly(&model).unwrap();
    assert!(record.is_complete());
    let strengths: Vec<f64> = record.results.steered.iter().map(|text| text.strength).collect();
    assert_eq!(strengths, [0.0, 1.5, -3.0]);
    for text in &record.results.steered {
        let added: Vec<f64> = direction.iter().map(|x| x * text.strength).collect();
        let mut ids = clean();
        for token in text.tokens.iter().filter(|token| !token.is_prompt) {
            let logits = logits_with(&model, &ids, &added);
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            assert_eq!(token.id as usize, best, "strength {}", text.strength);
            ids.push(token.id);
        }
        assert_eq!(ids.len(), clean().len() + 5);
        let mut loss = 0.0;
        for end in 1..ids.len() {
            let logits = logits_with(&model, &ids[..end], &[0.0; 16]);
            let z = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
            loss += (z - logits[ids[end] as usize]) / (ids.len() - 1) as f64;
        }
        assert!((loss.exp() / text.perplexity - 1.0).abs() < 1e-3, "{} {}", loss.exp(), text.perplexity);
    }
}

#[test]
fn what_is_no_direction_is_an_error_that_says_why() {
    let model = toy();
    let refused = |asked: Steering| experiment(&model, asked).run_quietly(&model).unwrap_err();
    let same = || vec![Text::Ids(vec![3, 4])];
    let difference = |towards, away| SteeringDirection::Difference { towards, away, over: Over::Last };
    let none = refused(steering(difference(same(), same()), &[1.0]));
    assert!(matches!(none, Error::Missing { what: "a direction", .. }), "{none}");
    assert!(matches!(refused(steering(difference(same(), vec![]), &[1.0])), Error::Missing { .. }));
    let vector = |n| SteeringDirection::Vector(vec![1.0; n]);
    assert!(matches!(refused(steering(vector(3), &[1.0])), Error::OutOfRange { .. }));
    assert!(matches!(refused(steering(vector(16), &[])), Error::Missing { .. }));
    assert!(matches!(refused(steering(vector(16), &[f64::NAN])), Error::OutOfRange { .. }));
    let head = SteeringDirection::Neuron("L0H1".parse().unwrap());
    assert!(matches!(refused(steering(head, &[1.0])), Error::NotANeuron { .. }));
    assert!(matches!(refused(Steering { layer: 9, ..steering(vector(16), &[1.0]) }), Error::Model(_)));
}
