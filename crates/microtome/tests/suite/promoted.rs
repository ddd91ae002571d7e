//! Promoted tokens: what components write, token by token, is their share of the logits.

use microtome::method::attribution::Attribution;
use microtome::method::promoted_tokens::{PromotedTokens, Promotion};
use microtome::model::{Precision, RunOptions, Site};
use microtome::{Answer, Bos, Component, Error, Experiment, Method, Prompt, Quantity, Record, TextModel};

use crate::circuits::ids;
use crate::golden_data::values;
use crate::laws::{pair, toy, toy_raw};

fn ask(model: &TextModel, method: Method, prompt: Prompt, read_at: Option<usize>) -> Experiment {
    Experiment {
        model: "any".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Omit,
        prompts: vec![prompt],
        method,
        metrics: vec![],
        read_at,
        seed: 0,
    }
}

fn promotions(model: &TextModel, names: &[&str], read_at: Option<usize>) -> Vec<Promotion> {
    let components = names.iter().map(|name| name.parse().unwrap()).collect();
    let method = Method::PromotedTokens(PromotedTokens { components, tokens: Some(23) });
    let prompt = Prompt { corrupt: None, answers: vec![], wrong_answers: vec![], ..pair(1) };
    ask(model, method, prompt, read_at).run_quietly(model).unwrap().results.promotions
}

/// The share of a logit difference that direct attribution gives to a head, or to an MLP.
fn share(record: &Record, component: Component) -> f64 {
    let (metric, cell) = match component {
        Component::Head { layer, head } => ("direct_heads", layer * 4 + head),
        Component::Mlp { layer } => ("direct_mlps", layer),
        _ => unreachable!("heads and MLPs are asked about"),
    };
    record.table(metric, Quantity::Change).unwrap().values[cell].unwrap()
}

#[test]
fn the_difference_of_two_tokens_is_their_direct_attribution_with_either_weights_at_any_position() {
    for model in [toy(), toy_raw()] {
        for read_at in [None, Some(3)] {
            for found in promotions(&model, &["L0H1", "L2H3", "m0", "m2"], read_at) {
                let value = |id: u32| found.promoted.iter().find(|of| of.token.id == id).unwrap().value;
                for (answer, wrong) in [(3, 8), (20, 0)] {
                    let prompt = Prompt {
                        corrupt: None,
                        answers: vec![Answer::Id(answer)],
                        wrong_answers: vec![Answer::Id(wrong)],
                        ..pair(1)
                    };
                    let method = Method::DirectAttribution(Attribution::default());
                    let record = ask(&model, method, prompt, read_at).run_quietly(&model).unwrap();
                    let expected = share(&record, found.component);
                    let difference = value(answer) - value(wrong);
                    assert!(
                        (difference - expected).abs() < 1e-4,
                        "{}: {difference} {expected}",
                        found.component
                    );
                }
                // Less their mean, largest first, and the other way round.
                assert!(found.promoted.iter().map(|of| of.value).sum::<f64>().abs() < 1e-4);
                assert!(found.promoted.windows(2).all(|pair| pair[0].value >= pair[1].value));
                assert_eq!(found.suppressed[0], found.promoted[22]);
                assert_eq!(found.position, read_at.unwrap_or(6));
            }
        }
    }
}

#[test]
fn neurons_of_a_layer_promote_what_their_mlp_does_but_for_its_bias_and_heads_what_attention_does() {
    let model = toy();
    let sum_of = |names: Vec<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut sum = vec![0.0; 23];
        for found in promotions(&model, &names, None) {
            found.promoted.iter().for_each(|of| sum[of.token.id as usize] += of.value);
        }
        sum
    };
    let neurons = sum_of((0..32).map(|neuron| format!("L1N{neuron}")).collect());
    let mlp = sum_of(vec!["m1".to_owned()]);
    let bias = sum_of(vec!["m1".to_owned()]).iter().zip(&neurons).map(|(m, n)| m - n).collect::<Vec<f64>>();
    // What is left is the same wherever it is read: the MLP's bias, through the same scale.
    let scale_at = |pos: usize| {
        let hook = Site::LnFinalScale.at(0);
        let run =
            model.model().run(&ids(&pair(1).clean), &RunOptions { reads: vec![hook], ..Default::default() });
        values(run.unwrap().cache.get(hook).unwrap())[pos]
    };
    let other = |names: Vec<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut sum = vec![0.0; 23];
        for found in promotions(&model, &names, Some(2)) {
            found.promoted.iter().for_each(|of| sum[of.token.id as usize] += of.value);
        }
        sum
    };
    let neurons_there = other((0..32).map(|neuron| format!("L1N{neuron}")).collect());
    let mlp_there = other(vec!["m1".to_owned()]);
    for (token, bias) in bias.iter().enumerate() {
        let there = mlp_there[token] - neurons_there[token];
        assert!((bias * scale_at(6) - there * scale_at(2)).abs() < 1e-3, "{token}: {bias} {there}");
    }
    assert!(mlp.iter().any(|value| value.abs() > 1e-3));
}

#[test]
fn what_promotes_nothing_is_an_error_that_says_why() {
    let model = toy();
    let refused = |names: &[&str], tokens, read_at| {
        let components = names.iter().map(|name| name.parse().unwrap()).collect();
        let method = Method::PromotedTokens(PromotedTokens { components, tokens });
        ask(&model, method, pair(1), read_at).run_quietly(&model).unwrap_err()
    };
    assert!(matches!(refused(&[], None, None), Error::Missing { .. }));
    assert!(matches!(refused(&["L9H1"], None, None), Error::NoSuchComponent { .. }));
    assert!(matches!(refused(&["L1H1"], Some(0), None), Error::OutOfRange { .. }));
    assert!(matches!(refused(&["L1H1"], None, Some(50)), Error::Model(_)));
}
