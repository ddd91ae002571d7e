//! Direct logit attribution: TransformerLens's numbers, and shares that sum to the logit in any model.

use microtome::method::attribution::{Attribution, Heads, Reading};
use microtome::model::{Activation, Config, MlpConfig, Model, NormConfig, Precision, Processing, Weights};
use microtome::{Answer, Bos, Error, Experiment, Method, Prompt, Quantity, Record, Text, TextModel};

use crate::golden_data::{Golden, assert_close};

/// Sums of 32 products of f32, a few hundred of them.
const TOLERANCE: f64 = 2e-4;

fn ask(model: &TextModel, attribution: Attribution, prompts: Vec<Prompt>, read_at: Option<usize>) -> Record {
    experiment(model, attribution, prompts, read_at).run_quietly(model).unwrap()
}

fn experiment(
    model: &TextModel,
    attribution: Attribution,
    prompts: Vec<Prompt>,
    read_at: Option<usize>,
) -> Experiment {
    Experiment {
        model: "model".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Omit,
        prompts,
        method: Method::DirectAttribution(attribution),
        metrics: vec![],
        read_at,
        seed: 0,
    }
}

fn prompt(ids: Vec<u32>, answer: u32, wrong: Option<u32>) -> Prompt {
    Prompt {
        clean: Text::Ids(ids),
        corrupt: None,
        answers: vec![Answer::Id(answer)],
        wrong_answers: wrong.into_iter().map(Answer::Id).collect(),
    }
}

fn values(record: &Record, metric: &str) -> Vec<f64> {
    let table = record.table(metric, Quantity::Change).unwrap_or_else(|| panic!("no table of {metric}"));
    table.values.iter().map(|value| value.unwrap()).collect()
}

#[test]
fn golden_shares_of_neurons_and_transformerlenss_logit_attrs() {
    for processing in [Processing::Raw, Processing::Folded] {
        let Some(golden) = Golden::open(processing) else { return };
        let (tokens, target, foil) = (golden.ids("clean"), golden.id("target"), golden.id("foil"));
        let n_layers = golden.model.config().n_layers;
        let d_mlp = golden.model.config().d_mlp();
        for (kind, wrong) in [(0, None), (1, Some(foil))] {
            let all = Attribution { neurons: (0..n_layers).collect(), ..Default::default() };
            let record = ask(&golden.model, all, vec![prompt(tokens.clone(), target, wrong)], None);
            // Ours holds the output bias after the neurons.
            let found = values(&record, "direct_neurons");
            let found: Vec<f64> =
                found.chunks(d_mlp + 1).flat_map(|layer| &layer[..d_mlp]).copied().collect();
            let expected: Vec<f64> =
                golden.values("dla/neurons_last").into_iter().skip(kind).step_by(2).collect();
            assert_close("dla/neurons_last", &found, &expected, TOLERANCE);
        }
        let tl = Attribution { reading: Reading::TlLogitAttrs, ..Default::default() };
        let record = ask(&golden.model, tl, vec![prompt(tokens, target, Some(foil))], None);
        let expected = golden.values("dla/tl_logit_attrs_heads_last");
        assert_close("dla/tl_logit_attrs_heads_last", &values(&record, "direct_heads"), &expected, TOLERANCE);
        let sum = record.results.notes.iter().any(|note| note.contains("miss the model's own"));
        assert!(sum, "the shares are not said to sum to the logit");
    }
}

fn toys() -> Vec<TextModel> {
    let full = Config {
        n_layers: 3,
        n_heads: 4,
        d_model: 16,
        d_head: 4,
        d_vocab: 23,
        n_ctx: 20,
        mlp: Some(MlpConfig { d_mlp: 32, activation: Activation::GeluNew }),
        norm: Some(NormConfig { eps: 1e-5 }),
    };
    let attention_only = Config { mlp: None, ..full.clone() };
    let no_norm = Config { norm: None, ..full.clone() };
    let toy = |config: Config| {
        let gain = if config.norm.is_none() { 0.7 } else { 1.2 };
        [Processing::Raw, Processing::Folded].map(|processing| {
            let weights = Weights::random(&config, 5, gain).unwrap();
            TextModel::from_model("toy", Model::new(config.clone(), weights, processing).unwrap()).unwrap()
        })
    };
    [full, attention_only, no_norm].into_iter().flat_map(toy).collect()
}

#[test]
fn shares_sum_to_the_logit_in_every_kind_of_model_and_those_of_parts_to_their_wholes() {
    for model in toys() {
        let config = model.config().clone();
        for (wrong, read_at) in [(None, None), (Some(8), None), (Some(8), Some(2))] {
            let neurons = if config.mlp.is_some() { vec![0, 2] } else { vec![] };
            let attribution =
                Attribution { neurons: neurons.clone(), heads: Heads::BySource, ..Default::default() };
            let ids = vec![3, 14, 15, 9, 2, 6];
            let record = ask(&model, attribution, vec![prompt(ids.clone(), 5, wrong)], read_at);
            let outside = values(&record, "direct_outside");
            let [embed, pos_embed, constant, all, own] = outside[..] else { panic!("five parts") };
            assert!((all - own).abs() < 2e-5 * own.abs().max(1.0), "{config:?}: {all} {own}");
            let heads = values(&record, "direct_heads");
            let mlps = if config.mlp.is_some() { values(&record, "direct_mlps") } else { vec![] };
            let layers: f64 = heads.iter().chain(&mlps).chain(&values(&record, "direct_biases")).sum();
            assert!((embed + pos_embed + constant + layers - all).abs() < 1e-9);
            let accumulated = values(&record, "direct_accumulated");
            assert!((accumulated.last().unwrap() + constant - own).abs() < 2e-5 * own.abs().max(1.0));
            for (row, &layer) in neurons.iter().enumerate() {
                let of = &values(&record, "direct_neurons")[row * 33..(row + 1) * 33];
                assert!((of.iter().sum::<f64>() - mlps[layer]).abs() < 1e-5, "MLP {layer}");
            }
            // [layer, position, head]; what a query cannot see brings nothing.
            let sources = values(&record, "direct_sources");
            let pos = read_at.unwrap_or(ids.len() - 1);
            for layer in 0..config.n_layers {
                for head in 0..config.n_heads {
                    let at = |p: usize| sources[(layer * ids.len() + p) * config.n_heads + head];
                    let whole = heads[layer * config.n_heads + head];
                    let sum: f64 = (0..ids.len()).map(at).sum();
                    assert!((sum - whole).abs() < 2e-5, "L{layer}H{head}: {sum} {whole}");
                    assert!((pos + 1..ids.len()).all(|later| at(later) == 0.0));
                }
            }
        }
    }
}

#[test]
fn shares_over_prompts_are_their_mean_with_a_spread() {
    let model = &toys()[0];
    let prompts = vec![prompt(vec![3, 14, 15], 5, Some(8)), prompt(vec![1, 2, 3, 4], 7, Some(9))];
    let each: Vec<Vec<f64>> = prompts
        .iter()
        .map(|one| values(&ask(model, Attribution::default(), vec![one.clone()], None), "direct_heads"))
        .collect();
    let together = ask(model, Attribution::default(), prompts, None);
    let table = together.table("direct_heads", Quantity::Change).unwrap();
    for (cell, value) in table.values.iter().enumerate() {
        assert!((value.unwrap() - (each[0][cell] + each[1][cell]) / 2.0).abs() < 1e-9);
        assert!(table.spread[cell].unwrap().stderr > 0.0);
    }
}

#[test]
fn what_cannot_be_taken_apart_is_refused() {
    let model = &toys()[0];
    let refusal =
        |attribution, prompts| experiment(model, attribution, prompts, None).run_quietly(model).unwrap_err();
    let two = |wrong| vec![prompt(vec![1, 2], 5, Some(8)), prompt(vec![1, 2, 3], 5, wrong)];
    assert!(matches!(refusal(Attribution::default(), two(None)), Error::Missing { .. }));
    let sources = Attribution { heads: Heads::BySource, ..Default::default() };
    assert!(matches!(refusal(sources, two(Some(8))), Error::Unused { .. }));
    let mut no_answer = prompt(vec![1, 2], 5, None);
    no_answer.answers.clear();
    assert!(matches!(refusal(Attribution::default(), vec![no_answer]), Error::Missing { .. }));
    let beyond = Attribution { neurons: vec![7], ..Default::default() };
    assert!(matches!(refusal(beyond, vec![prompt(vec![1], 5, None)]), Error::NoSuchComponent { .. }));
}
