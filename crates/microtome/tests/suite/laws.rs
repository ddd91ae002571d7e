//! What holds for any model: a patch of what is there already changes nothing, records replay, a
//! stopped experiment keeps what it finished.

use std::sync::atomic::{AtomicBool, Ordering};

use microtome::method::ablate::{Ablate, Targets};
use microtome::method::change::{Per, Replacement};
use microtome::method::clamp::Clamp;
use microtome::method::edit::{ChangeSpec, EditRun, EditSpec};
use microtome::method::generate::Generate;
use microtome::method::head_scores::head_scores;
use microtome::method::patch::{By, Direction, Patch};
use microtome::metric::METRICS;
use microtome::metric::MetricId;
use microtome::model::{
    Activation, Config, MlpConfig, Model, NormConfig, Positions, Precision, Processing, Site, Units, Weights,
};
use microtome::{
    Answer, Bos, Component, Experiment, Method, Prompt, Quantity, Record, Text, TextModel, Watch,
};

pub fn toy() -> TextModel {
    toy_of(Processing::Folded)
}

/// The same with weights as they are: its final LayerNorm has gain and bias.
pub fn toy_raw() -> TextModel {
    toy_of(Processing::Raw)
}

fn toy_of(processing: Processing) -> TextModel {
    let config = Config {
        n_layers: 3,
        n_heads: 4,
        d_model: 16,
        d_head: 4,
        d_vocab: 23,
        n_ctx: 20,
        mlp: Some(MlpConfig { d_mlp: 32, activation: Activation::GeluNew }),
        norm: Some(NormConfig { eps: 1e-5 }),
    };
    let weights = Weights::random(&config, 5, 1.2).unwrap();
    TextModel::from_model("toy", Model::new(config, weights, processing).unwrap()).unwrap()
}

pub fn pair(shift: u32) -> Prompt {
    let ids = |step: u32| (0..7).map(|i| (i * step + shift) % 23).collect::<Vec<u32>>();
    Prompt {
        clean: Text::Ids(ids(5)),
        corrupt: Some(Text::Ids(ids(6))),
        answers: vec![Answer::Id(3)],
        wrong_answers: vec![Answer::Id(8)],
    }
}

fn experiment(method: Method, prompts: Vec<Prompt>) -> Experiment {
    let metrics = METRICS.iter().map(|metric| MetricId::named(metric.name()).unwrap()).collect();
    Experiment {
        model: "toy".to_owned(),
        weights: Processing::Folded,
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts,
        method,
        metrics,
        read_at: None,
        seed: 3,
    }
}

fn heads(with: Replacement) -> Method {
    Method::Ablate(Ablate { clamp: None, targets: Targets::Heads, with, at: Positions::All })
}

fn patch(site: Site, by: By, direction: Direction) -> Method {
    Method::Patch(Patch { site, by, direction, at: Positions::All })
}

fn run(experiment: &Experiment) -> Record {
    experiment.run_quietly(&toy()).unwrap()
}

#[test]
fn patching_clean_into_clean_changes_nothing() {
    for site in [Site::Z, Site::Q, Site::Pattern, Site::ResidPre, Site::MlpOut] {
        let mut prompt = pair(1);
        prompt.corrupt = Some(prompt.clean.clone());
        let by = if site.has_heads() { By::HeadPosition } else { By::LayerPosition };
        let record = run(&experiment(patch(site, by, Direction::Denoise), vec![prompt]));
        let kl = record.table("kl_mean", Quantity::Value).unwrap();
        assert!(kl.values.iter().all(|v| v.unwrap().abs() < 1e-9), "{site:?}");
        let recovery = record.table("prob", Quantity::Recovery).unwrap();
        assert!(recovery.values.iter().all(Option::is_none), "there is nothing to recover");
    }
}

#[test]
fn patching_the_whole_residual_stream_recovers_everything() {
    for direction in [Direction::Denoise, Direction::Noise] {
        let record = run(&experiment(patch(Site::ResidPost, By::Layer, direction), vec![pair(1)]));
        let expected = if direction == Direction::Denoise { 1.0 } else { 0.0 };
        let table = record.table("logit_diff", Quantity::Recovery).unwrap();
        assert!(table.values.iter().all(|v| (v.unwrap() - expected).abs() < 1e-4), "{:?}", table.values);
    }
}

#[test]
fn zeroing_a_head_equals_zeroing_its_pattern_and_resampling_equals_noising() {
    let of = |method| run(&experiment(method, vec![pair(2)]));
    let tables = |record: &Record, q| record.table("logit_diff", q).unwrap().values.clone();
    let close = |a: Vec<Option<f64>>, b: Vec<Option<f64>>| {
        for (a, b) in a.into_iter().zip(b) {
            assert!((a.unwrap() - b.unwrap()).abs() < 1e-5);
        }
    };
    let zero = of(heads(Replacement::Zero));
    close(tables(&zero, Quantity::Change), tables(&of(heads(Replacement::ZeroPattern)), Quantity::Change));
    let resampled = of(heads(Replacement::Resample { from: None }));
    let noised = of(patch(Site::Z, By::Head, Direction::Noise));
    close(tables(&resampled, Quantity::Value), tables(&noised, Quantity::Value));
}

#[test]
fn a_component_cut_alone_equals_its_cell_in_the_sweep() {
    let part = Component::Head { layer: 1, head: 2 };
    let alone = Ablate {
        clamp: None,
        targets: Targets::Together(vec![part]),
        with: Replacement::Mean { reference: vec![], per: Per::Overall },
        at: Positions::From(2),
    };
    let sweep = Ablate { targets: Targets::Heads, ..alone.clone() };
    let (alone, sweep) = (
        run(&experiment(Method::Ablate(alone), vec![pair(3)])),
        run(&experiment(Method::Ablate(sweep), vec![pair(3)])),
    );
    for metric in METRICS {
        let cell = sweep.table(metric.name(), Quantity::Value).unwrap().values[6].unwrap();
        let one = alone.table(metric.name(), Quantity::Value).unwrap().values[0].unwrap();
        assert!((cell - one).abs() < 1e-5 * one.abs().max(1.0), "{}", metric.name());
    }
}

#[test]
fn neurons_cut_one_by_one_equal_an_edit_of_each() {
    let method = Method::Ablate(Ablate {
        clamp: None,
        targets: Targets::Neurons(vec![1]),
        with: Replacement::Zero,
        at: Positions::Last,
    });
    let record = run(&experiment(method, vec![pair(1)]));
    let table = record.table("prob", Quantity::Value).unwrap();
    assert_eq!(table.values.len(), 32);
    for neuron in [0, 17, 31] {
        let edit = EditSpec {
            hook: "blocks.1.mlp.hook_post".to_owned(),
            units: Units::At(vec![neuron]),
            at: Positions::Last,
            change: ChangeSpec::Set(0.0),
        };
        let one = run(&experiment(Method::Edit(EditRun { edits: vec![edit] }), vec![pair(1)]));
        let one = one.table("prob", Quantity::Value).unwrap().values[0].unwrap();
        assert!((table.values[neuron].unwrap() - one).abs() < 1e-6);
    }
}

#[test]
fn means_over_prompts_are_means_of_single_runs_with_intervals_around_them() {
    let prompts: Vec<Prompt> = (0..5).map(pair).collect();
    let all = run(&experiment(heads(Replacement::Zero), prompts.clone()));
    let table = all.table("logit_diff", Quantity::Change).unwrap();
    let single: Vec<Record> =
        prompts.into_iter().map(|prompt| run(&experiment(heads(Replacement::Zero), vec![prompt]))).collect();
    for cell in 0..table.values.len() {
        let of =
            |record: &Record| record.table("logit_diff", Quantity::Change).unwrap().values[cell].unwrap();
        let mean = single.iter().map(of).sum::<f64>() / 5.0;
        let value = table.values[cell].unwrap();
        assert!((value - mean).abs() < 1e-5);
        let spread = table.spread[cell].unwrap();
        assert!(spread.low <= value && value <= spread.high && spread.stderr > 0.0);
    }
}

#[test]
fn recovery_over_prompts_is_the_recovery_of_the_means() {
    let prompts: Vec<Prompt> = (0..4).map(pair).collect();
    let record = run(&experiment(patch(Site::Z, By::Head, Direction::Denoise), prompts));
    let end = |name: &str| {
        let of = |prompt: &microtome::PromptReport| {
            let run = prompt.runs.iter().find(|run| run.name == name).unwrap();
            run.metrics.iter().find(|m| m.metric == "logit_diff").unwrap().value
        };
        record.results.prompts.iter().map(of).sum::<f64>() / 4.0
    };
    let (clean, corrupt) = (end("clean"), end("corrupt"));
    let value = record.table("logit_diff", Quantity::Value).unwrap();
    let recovery = record.table("logit_diff", Quantity::Recovery).unwrap();
    for (value, recovery) in value.values.iter().zip(&recovery.values) {
        assert!((recovery.unwrap() - (value.unwrap() - corrupt) / (clean - corrupt)).abs() < 1e-9);
    }
}

#[test]
fn a_record_survives_json_and_replays_to_the_same_numbers() {
    let generate = Method::Generate(Generate {
        max_new_tokens: 6,
        temperature: 1.0,
        cut: vec![Component::Mlp { layer: 1 }],
        with: Replacement::Zero,
        features: None,
        clamp: vec![Clamp { neuron: Component::Neuron { layer: 2, neuron: 3 }, value: 1.5 }],
    });
    let methods = [
        Method::Measure,
        heads(Replacement::Random),
        heads(Replacement::Mean { reference: vec![Text::Ids(vec![1, 2])], per: Per::Overall }),
        patch(Site::K, By::HeadPosition, Direction::Noise),
        generate,
    ];
    for method in methods {
        let mut experiment = experiment(method, vec![pair(1), pair(4)]);
        if matches!(experiment.method, Method::Generate(_)) {
            experiment.prompts.truncate(1);
            experiment.metrics.clear();
        }
        let record = run(&experiment);
        let json = serde_json::to_string(&record).unwrap();
        let back: Record = serde_json::from_str(&json).unwrap();
        assert_eq!(back.experiment, record.experiment);
        let again = run(&back.experiment);
        assert_eq!(back.differences(&again, 1e-12), Vec::<String>::new());
    }
}

#[test]
fn a_stopped_record_is_compared_as_far_as_it_came() {
    let cancel = AtomicBool::new(false);
    let mut progress = |done: usize, _: usize| cancel.store(done >= 5, Ordering::Relaxed);
    let mut watch = Watch { cancel: &cancel, progress: &mut progress, partial: None, memory_budget: 0 };
    let sweep = experiment(heads(Replacement::Zero), vec![pair(1)]);
    let mut stopped = sweep.run(&toy(), &mut watch).unwrap();
    let whole = run(&sweep);
    assert_eq!(stopped.differences(&whole, 1e-5), Vec::<String>::new());
    stopped.results.tables[0].values[2] = Some(9.0);
    assert_eq!(stopped.differences(&whole, 1e-5).len(), 1);
}

#[test]
fn differences_are_found_and_named() {
    let record = run(&experiment(heads(Replacement::Zero), vec![pair(1)]));
    let mut other = record.clone();
    other.results.tables[0].values[3] = other.results.tables[0].values[3].map(|v| v + 0.01);
    let differences = record.differences(&other, 1e-4);
    assert_eq!(differences.len(), 1);
    assert!(differences[0].contains("tables[0].values[3]"), "{differences:?}");
    other.model.about.weight_hash = "other".to_owned();
    assert!(record.differences(&other, 1e-4)[0].contains("weights differ"));
}

#[test]
fn a_stopped_sweep_keeps_the_runs_it_finished() {
    let cancel = AtomicBool::new(false);
    let mut progress = |done: usize, _: usize| cancel.store(done >= 5, Ordering::Relaxed);
    let mut watch = Watch { cancel: &cancel, progress: &mut progress, partial: None, memory_budget: 0 };
    let sweep = experiment(heads(Replacement::Zero), vec![pair(1)]);
    let record = sweep.run(&toy(), &mut watch).unwrap();
    assert!(!record.is_complete());
    assert_eq!((record.results.runs, record.results.runs_wanted), (5, 12));
    let table = record.table("prob", Quantity::Change).unwrap();
    let whole = run(&sweep);
    let whole = whole.table("prob", Quantity::Change).unwrap();
    for (i, (part, all)) in table.values.iter().zip(&whole.values).enumerate() {
        match i {
            0..5 => assert!((part.unwrap() - all.unwrap()).abs() < 1e-6),
            _ => assert_eq!(*part, None),
        }
    }
}

#[test]
fn over_several_prompts_a_stopped_sweep_keeps_whole_prompts_only() {
    let cancel = AtomicBool::new(false);
    let mut progress = |done: usize, _: usize| cancel.store(done >= 30, Ordering::Relaxed);
    let mut watch = Watch { cancel: &cancel, progress: &mut progress, partial: None, memory_budget: 0 };
    let prompts: Vec<Prompt> = (0..6).map(pair).collect();
    let record = experiment(heads(Replacement::Zero), prompts).run(&toy(), &mut watch).unwrap();
    assert_eq!((record.results.runs, record.results.prompts.len()), (24, 2));
}

#[test]
fn head_scores_are_shares_of_attention() {
    let scores = head_scores(&toy(), 8, 3, 1).unwrap();
    for score in [&scores.previous, &scores.duplicate, &scores.induction] {
        assert!(score.iter().flatten().all(|&x| (0.0..=1.0).contains(&x)));
    }
    assert!(head_scores(&toy(), 15, 1, 1).is_err(), "past the context");
}

#[test]
fn what_does_not_fit_together_is_refused_with_what_to_do() {
    let refuse = |experiment: Experiment| experiment.run_quietly(&toy()).unwrap_err().to_string();
    let with = |change: fn(&mut Prompt)| {
        let mut prompt = pair(1);
        change(&mut prompt);
        vec![prompt]
    };
    let message = refuse(experiment(heads(Replacement::Zero), vec![]));
    assert!(message.contains("at least one"), "{message}");
    let message = refuse(experiment(heads(Replacement::Zero), with(|p| p.wrong_answers.clear())));
    assert!(message.contains("logit_diff") && message.contains("--foil"), "{message}");
    let message =
        refuse(experiment(heads(Replacement::Zero), with(|p| p.clean = Text::Text("hi".to_owned()))));
    assert!(message.contains("no tokenizer"), "{message}");
    let message = refuse(experiment(heads(Replacement::Zero), with(|p| p.clean = Text::Ids(vec![1; 21]))));
    assert!(message.contains("at most 20"), "{message}");
    let message = refuse(experiment(heads(Replacement::Zero), with(|p| p.answers = vec![Answer::Id(23)])));
    assert!(message.contains("ids 0 to 22"), "{message}");
    let denoise = |site, by| patch(site, by, Direction::Denoise);
    let message =
        refuse(experiment(denoise(Site::Z, By::Head), with(|p| p.corrupt = Some(Text::Ids(vec![1, 2])))));
    assert!(message.contains("same number of tokens") && message.contains("7 and 2"), "{message}");
    let message = refuse(experiment(denoise(Site::ResidPre, By::Head), vec![pair(1)]));
    assert!(message.contains("layer-position"), "{message}");
    let mlp = Targets::Together(vec![Component::Mlp { layer: 0 }]);
    let uniform = Ablate { clamp: None, targets: mlp, with: Replacement::Uniform, at: Positions::All };
    let message = refuse(experiment(Method::Ablate(uniform), vec![pair(1)]));
    assert!(message.contains("zero, mean or resample"), "{message}");
    let edit = |edits| Method::Edit(EditRun { edits });
    assert!(refuse(experiment(edit(vec![]), vec![pair(1)])).contains("an edit is missing"));
    let mean_pattern = EditSpec {
        hook: "blocks.*.attn.hook_pattern".to_owned(),
        units: Units::All,
        at: Positions::All,
        change: ChangeSpec::Replace(Replacement::Mean { reference: vec![], per: Per::Overall }),
    };
    let message = refuse(experiment(edit(vec![mean_pattern]), vec![pair(1)]));
    assert!(message.contains("per position"), "{message}");
    assert!(refuse(experiment(denoise(Site::Z, By::Heads(vec![])), vec![pair(1)])).contains("at least one"));
    let raw = Experiment { weights: Processing::Raw, ..experiment(heads(Replacement::Zero), vec![pair(1)]) };
    assert!(refuse(raw).contains("raw weights"));
    let bf16 =
        Experiment { precision: Precision::Bf16, ..experiment(heads(Replacement::Zero), vec![pair(1)]) };
    assert!(refuse(bf16).contains("bf16 weights"));
    let by_position =
        Patch { site: Site::Z, by: By::HeadPosition, direction: Direction::Noise, at: Positions::Last };
    assert!(refuse(experiment(Method::Patch(by_position), vec![pair(1)])).contains("no use for positions"));
    let mean = Replacement::Mean { reference: vec![], per: Per::Position };
    assert!(refuse(experiment(heads(mean), vec![pair(1)])).contains("reference prompts"));
    let other = vec![Text::Ids(vec![1, 2, 3])];
    let mean = Replacement::Mean { reference: other, per: Per::Position };
    let message = refuse(experiment(heads(mean), vec![pair(1)]));
    assert!(message.contains("7 tokens, expected 3"), "{message}");
    let mlp = By::Heads(vec![Component::Mlp { layer: 1 }]);
    assert!(refuse(experiment(denoise(Site::Z, mlp), vec![pair(1)])).contains("is no head"));
    let mut second = vec![pair(1), pair(2)];
    second[1].answers = vec![Answer::Id(99)];
    assert!(refuse(experiment(heads(Replacement::Zero), second)).starts_with("prompt 2: "));
    let message = refuse(experiment(heads(Replacement::Zero), with(|p| p.answers.clear())));
    assert!(message.contains("wrong answer"), "{message}");
    let missing = Targets::Together(vec![Component::Head { layer: 3, head: 0 }]);
    let ablate = Ablate { clamp: None, targets: missing, with: Replacement::Zero, at: Positions::All };
    assert!(refuse(experiment(Method::Ablate(ablate), vec![pair(1)])).contains("layers 0 to 2"));
    let mut short = experiment(heads(Replacement::Zero), with(|p| p.clean = Text::Ids(vec![1])));
    assert!(refuse(short.clone()).contains("two tokens"));
    short.prompts = vec![pair(1)];
    short.read_at = Some(7);
    assert!(refuse(short).contains("position 7"));
}

#[test]
fn an_experiment_with_an_unknown_field_is_refused() {
    let json = serde_json::to_string(&experiment(heads(Replacement::Zero), vec![pair(1)])).unwrap();
    assert!(serde_json::from_str::<Experiment>(&json).is_ok());
    let typo = json.replace("\"seed\"", "\"sead\"");
    assert!(serde_json::from_str::<Experiment>(&typo).unwrap_err().to_string().contains("sead"));
}

#[test]
fn as_many_runs_are_made_as_a_method_says_before() {
    let model = toy();
    let targets = [
        Targets::Heads,
        Targets::AttentionLayers,
        Targets::Mlps,
        Targets::Neurons(vec![]),
        Targets::Neurons(vec![1]),
        Targets::Together(vec![Component::Mlp { layer: 0 }]),
    ];
    let ablate = |targets| Ablate { targets, with: Replacement::Zero, at: Positions::All, clamp: None };
    let mut methods: Vec<Method> =
        targets.into_iter().map(|targets| Method::Ablate(ablate(targets))).collect();
    let by = [By::Head, By::HeadPosition, By::Layer, By::LayerPosition, By::Layers(vec![0, 1])];
    methods.extend(by.into_iter().map(|by| {
        let site = if matches!(by, By::Head | By::HeadPosition) { Site::Z } else { Site::ResidPre };
        patch(site, by, Direction::Denoise)
    }));
    for method in methods {
        // The pair has 7 tokens.
        let expected = 2 * method.runs_per_prompt(model.config(), 7);
        let record = run(&experiment(method.clone(), vec![pair(1), pair(2)]));
        assert_eq!(record.results.runs_wanted, expected, "{method:?}");
    }
}
