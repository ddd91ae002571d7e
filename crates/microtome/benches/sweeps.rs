//! Sweeps at GPT-2 small's shape, random weights: `cargo bench -p microtome --bench sweeps`.
//!
//! The first lines say how much memory the model takes, the last how much the sweeps took at most.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use divan::Bencher;
use microtome::method::ablate::{Ablate, Targets};
use microtome::method::change::Replacement;
use microtome::method::patch::{By, Direction, Patch};
use microtome::metric::MetricId;
use microtome::model::{
    Activation, Change, Config, Edit, Lane, LaneEvent, LaneOptions, LaneRun, MlpConfig, Model, NormConfig,
    Positions, Precision, Processing, RunOptions, Site, Weights,
};
use microtome::{Answer, Bos, Experiment, Method, Prompt, Text, TextModel};

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

static MODEL: LazyLock<TextModel> = LazyLock::new(|| {
    let config = Config {
        n_layers: 12,
        n_heads: 12,
        d_model: 768,
        d_head: 64,
        d_vocab: 50257,
        n_ctx: 1024,
        mlp: Some(MlpConfig { d_mlp: 3072, activation: Activation::GeluNew }),
        norm: Some(NormConfig { eps: 1e-5 }),
    };
    let weights = Weights::random(&config, 0, 0.7).expect("random weights");
    let model = Model::new(config, weights, Processing::Raw).expect("the weights fit");
    TextModel::from_model("gpt2-small shape", model).expect("the weights hash")
});

fn main() {
    microtome_kernels::keep_free_memory(None);
    LazyLock::force(&MODEL);
    println!("peak memory after making the model: {} MiB", peak_mib());
    for at in [Positions::All, Positions::Last] {
        println!("144 heads over 16 tokens at {at}: {:.1} GFLOP", flop(&at) as f64 / 1e9);
    }
    divan::main();
    println!("peak memory after the sweeps: {} MiB", peak_mib());
}

/// Arithmetic of a head sweep, counted by the engine.
fn flop(at: &Positions) -> u64 {
    let Text::Ids(tokens) = prompt(16).clean else { return 0 };
    let heads = (0..12).flat_map(|layer| (0..12).map(move |head| (layer, head)));
    let lane = |(layer, head): (usize, usize)| Lane {
        prompt: 0,
        edits: vec![Edit::new(Site::Z.at(layer), Change::Zero).units([head]).positions(at.clone())],
    };
    let lanes: Vec<Lane> = heads.map(lane).collect();
    let run = LaneRun::new(MODEL.model(), &[tokens], &lanes, &Positions::Last).expect("lanes fit");
    let keep_going = |_: LaneEvent| Ok::<_, microtome::model::Error>(ControlFlow::Continue(()));
    run.run(&LaneOptions::default(), keep_going).expect("runs").flop
}

/// The most memory this process has held, where the system says.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn prompt(len: usize) -> Prompt {
    let ids = |step: usize| (0..len).map(|i| ((i * step + 11) % 50_000) as u32).collect();
    Prompt {
        clean: Text::Ids(ids(7919)),
        corrupt: Some(Text::Ids(ids(7907))),
        answers: vec![Answer::Id(1000)],
        wrong_answers: vec![Answer::Id(2000)],
    }
}

fn experiment(method: Method, len: usize) -> Experiment {
    let metrics = ["prob", "rank", "entropy", "margin"];
    Experiment {
        model: String::new(),
        weights: Processing::Raw,
        precision: Precision::F32,
        bos: Bos::Omit,
        prompts: vec![prompt(len)],
        method,
        metrics: metrics.iter().map(|name| MetricId::named(name).expect("a metric")).collect(),
        read_at: None,
        seed: 0,
    }
}

fn heads(at: Positions) -> Method {
    Method::Ablate(Ablate { clamp: None, targets: Targets::Heads, with: Replacement::Zero, at })
}

#[divan::bench(args = [6, 16, 64], sample_count = 5, sample_size = 1)]
fn zero_144_heads_all_positions(bencher: Bencher, len: usize) {
    bencher.bench(|| experiment(heads(Positions::All), len).run_quietly(&MODEL).expect("runs"));
}

#[divan::bench(args = [6, 16, 64], sample_count = 5, sample_size = 1)]
fn zero_144_heads_last_position(bencher: Bencher, len: usize) {
    bencher.bench(|| experiment(heads(Positions::Last), len).run_quietly(&MODEL).expect("runs"));
}

#[divan::bench(args = [16], sample_count = 5, sample_size = 1)]
fn patch_144_heads_all_positions(bencher: Bencher, len: usize) {
    let patch = Patch { site: Site::Z, by: By::Head, direction: Direction::Denoise, at: Positions::All };
    bencher.bench(|| experiment(Method::Patch(patch.clone()), len).run_quietly(&MODEL).expect("runs"));
}

#[divan::bench(args = [16], sample_count = 5, sample_size = 1)]
fn patch_resid_pre_layer_by_position(bencher: Bencher, len: usize) {
    let patch = Patch {
        site: Site::ResidPre,
        by: By::LayerPosition,
        direction: Direction::Denoise,
        at: Positions::All,
    };
    bencher.bench(|| experiment(Method::Patch(patch.clone()), len).run_quietly(&MODEL).expect("runs"));
}

#[divan::bench(args = [16, 64], sample_count = 10, sample_size = 1)]
fn one_forward_last_position(bencher: Bencher, len: usize) {
    let Text::Ids(tokens) = prompt(len).clean else { return };
    let options = RunOptions { logits: Positions::Last, ..Default::default() };
    bencher.bench(|| MODEL.model().run(&tokens, &options).expect("runs"));
}
