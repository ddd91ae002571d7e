//! This library's side of `cargo xtask bench-peer`: one process that answers tasks.
//!
//!     cargo run --release -p microtome --example peer_tasks CHECKPOINT [DEVICE [PRECISION]]
//!
//! Loads the checkpoint, weights as in the file, on a device (`cpu` where none is named) and in a precision (`f32`,
//! or `bf16` on a GPU), runs one forward pass and says so with a line
//! `{"versions": {..}, "peak_mib": ..}`. From then on each line of standard input is a task and each line
//! of standard output its answer:
//!
//!     {"task": "zero_all", "clean": [ids], "corrupt": [ids], "answer": id, "wrong": id,
//!      "cut": [[layer, head], ..], "new_tokens": n}
//!     {"seconds": .., "values": [..], "peak_mib": .., "flop": ..}
//!
//! A task is what a user of the library would call, and alone is timed. `flop` is the arithmetic the lanes
//! engine counts in such a task, in a run of its own that is not timed; only where the request says
//! `"count": true`. The task `peak` gives the GFLOP/s of products in the nearest cache.

use std::error::Error;
use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use microtome::method::ablate::{Ablate, Targets, zeroed};
use microtome::method::change::Replacement;
use microtome::method::gradient::{Of, metric_gradients};
use microtome::method::logit_lens::LogitLens;
use microtome::method::patch::{By, Direction, Patch};
use microtome::metric::{MetricId, most_probable};
use microtome::model::{
    Cache, Change, DeviceChoice, Edit, Hook, Lane, LaneEvent, LaneOptions, LaneRun, LoadOptions, Positions,
    Precision, Preparation, Processing, Run, RunOptions, Site, Stream, as_f64, with_rows,
};
use microtome::{Answer, Bos, Component, Experiment, Method, Prompt, Quantity, Record, Text, TextModel};
use serde::Deserialize;
use serde_json::json;

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the sweeps over heads measure.
const METRICS: [&str; 4] = ["prob", "rank", "entropy", "margin"];

/// A task with its inputs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Request {
    task: String,
    clean: Vec<u32>,
    corrupt: Vec<u32>,
    answer: u32,
    wrong: u32,
    cut: Vec<(usize, usize)>,
    new_tokens: usize,
    count: bool,
}

/// A task's result, still in the form the library gives it.
enum Found {
    /// The values of each metric by cell.
    Tables(Record, &'static [&'static str], Quantity),
    Lens(Record),
    Run(Run),
    Numbers(Vec<f64>),
}

fn main() -> Result<(), String> {
    microtome_kernels::keep_free_memory(None);
    // On a thread of the pool itself, as in the command.
    rayon::scope(|_| answer().map_err(|error| error.to_string()))
}

fn answer() -> Outcome<()> {
    let usage = "usage: peer_tasks CHECKPOINT [DEVICE [PRECISION]]";
    let checkpoint = std::env::args().nth(1).ok_or(usage)?;
    let device = std::env::args().nth(2).unwrap_or("cpu".to_owned());
    let precision = match std::env::args().nth(3).as_deref() {
        None | Some("f32") => Precision::F32,
        Some("bf16") => Precision::Bf16,
        Some(other) => return Err(format!("weights are kept as f32 or bf16, not `{other}`").into()),
    };
    let prepared = Preparation { processing: Processing::Raw, precision };
    let device = device.parse::<DeviceChoice>()?.open()?.device;
    let options = LoadOptions { device, ..LoadOptions::default() };
    let model = TextModel::load(&checkpoint, prepared, &options, &mut ())?;
    forward(&model, &[1, 2, 3, 4])?;
    let mut out = std::io::stdout().lock();
    let versions = json!({"microtome": env!("CARGO_PKG_VERSION")});
    writeln!(out, "{}", json!({"versions": versions, "peak_mib": peak_mib()}))?;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let begun = Instant::now();
        let found = request.run(&model)?;
        // A GPU may not have come to the end of what it was given.
        model.model().device().synchronize()?;
        let seconds = begun.elapsed().as_secs_f64();
        let peak_mib = peak_mib();
        let flop = if request.count { request.flop(&model)? } else { None };
        let values = found.values()?;
        writeln!(
            out,
            "{}",
            json!({"seconds": seconds, "values": values, "peak_mib": peak_mib, "flop": flop})
        )?;
    }
    Ok(())
}

impl Request {
    fn run(&self, model: &TextModel) -> Outcome<Found> {
        let zero =
            |at| Method::Ablate(Ablate { clamp: None, targets: Targets::Heads, with: Replacement::Zero, at });
        let patch = |site, by, at| Method::Patch(Patch { site, by, direction: Direction::Denoise, at });
        let sweep = |method, metrics, quantity| -> Outcome<Found> {
            Ok(Found::Tables(self.experiment(model, method, metrics)?.run_quietly(model)?, metrics, quantity))
        };
        match self.task.as_str() {
            "zero_all" => sweep(zero(Positions::All), &METRICS, Quantity::Change),
            "zero_last" => sweep(zero(Positions::Last), &METRICS, Quantity::Change),
            "patch_all" => sweep(patch(Site::Z, By::Head, Positions::All), &METRICS, Quantity::Value),
            "patch_last" => sweep(patch(Site::Z, By::Head, Positions::Last), &METRICS, Quantity::Value),
            "resid_patch" => {
                let method = patch(Site::ResidPre, By::LayerPosition, Positions::All);
                sweep(method, &["logit_diff"], Quantity::Value)
            }
            "forward" => Ok(Found::Run(forward(model, &self.clean)?)),
            "atp" => Ok(Found::Numbers(self.attribution_patching(model)?)),
            "lens" => {
                let method = Method::LogitLens(LogitLens::default());
                // One cheap metric: without any, all that the prompt allows are measured. And one text: the lens reads a
                // corrupt one as well where there is one.
                let mut experiment = self.experiment(model, method, &["logit"])?;
                experiment.prompts[0].corrupt = None;
                Ok(Found::Lens(experiment.run_quietly(model)?))
            }
            "cache" => {
                let options = RunOptions { reads: cached_hooks(model), ..Default::default() };
                Ok(Found::Run(model.model().run(&self.clean, &options)?))
            }
            "generate" => Ok(Found::Numbers(self.generate(model)?)),
            "peak" => Ok(Found::Numbers(vec![microtome_kernels::peak_gflops()])),
            other => Err(format!("no task `{other}`").into()),
        }
    }

    fn experiment(&self, model: &TextModel, method: Method, metrics: &[&str]) -> Outcome<Experiment> {
        let prompt = Prompt {
            clean: Text::Ids(self.clean.clone()),
            corrupt: Some(Text::Ids(self.corrupt.clone())),
            answers: vec![Answer::Id(self.answer)],
            wrong_answers: vec![Answer::Id(self.wrong)],
        };
        Ok(Experiment {
            model: String::new(),
            weights: Processing::Raw,
            precision: model.model().precision(),
            bos: Bos::Omit,
            prompts: vec![prompt],
            method,
            metrics: metrics.iter().map(|name| MetricId::named(name)).collect::<Result<_, _>>()?,
            read_at: None,
            seed: 0,
        })
    }

    /// `sum (clean - corrupt) * d logit_diff / d corrupt` over positions and dimensions of each head's `z`.
    fn attribution_patching(&self, model: &TextModel) -> Outcome<Vec<f64>> {
        let hooks = in_layers(model, Site::Z);
        let options = RunOptions { reads: hooks.clone(), logits: Positions::Last, ..Default::default() };
        let clean = model.model().run(&self.clean, &options)?.cache;
        let metric = MetricId::named("logit_diff")?;
        let of = Of { metric, read_at: None, answers: &[self.answer], wrong: &[self.wrong] };
        let corrupt = metric_gradients(model, &self.corrupt, &[], &hooks, of)?.at;
        let mut by_head = Vec::new();
        for &hook in &hooks {
            let difference = (clean.get(hook)? - corrupt.activations.get(hook)?)?; // [pos, head, d_head]
            let products = (difference * corrupt.gradients.get(hook)?)?;
            by_head.extend(as_f64(&products.sum((0, 2))?)?.to_vec1::<f64>()?);
        }
        Ok(by_head)
    }

    /// The most probable token again and again, with heads set to 0 throughout.
    fn generate(&self, model: &TextModel) -> Outcome<Vec<f64>> {
        let cut = self.cut.iter().map(|&(layer, head)| zeroed(Component::Head { layer, head }));
        let cut: Vec<Edit> = cut.collect();
        let mut stream = Stream::new(model.model(), &cut, self.clean.len() + self.new_tokens)?;
        let (mut new, mut written) = (self.clean.clone(), Vec::new());
        for _ in 0..self.new_tokens {
            let logits = stream.feed(&new)?;
            let last = logits.get(logits.dim(0)? - 1)?;
            new = with_rows(&last, |row| most_probable(row, 1))?;
            written.extend(new.iter().copied().map(f64::from));
        }
        Ok(written)
    }

    /// Floating-point operations of the task's matrix products, a multiply-add as two.
    fn flop(&self, model: &TextModel) -> Outcome<Option<u64>> {
        let heads = |at: &Positions| -> Vec<Edit> {
            Component::heads(model.config()).map(|head| zeroed(head).positions(at.clone())).collect()
        };
        let one_run = || lanes_flop(model, &self.clean, vec![]);
        let len = self.clean.len() as u64;
        // A position's logits, and what the blocks take for all positions of the prompt.
        let logits = 2 * (model.config().d_model * model.config().d_vocab) as u64;
        let blocks = || Ok::<u64, Box<dyn Error>>(one_run()? - logits);
        Ok(Some(match self.task.as_str() {
            "forward" => one_run()?,
            "cache" => blocks()? + len * logits,
            "lens" => blocks()? + len * logits * (model.config().n_layers as u64 + 1),
            // Both runs, and the derivative, which multiplies by every matrix once.
            "atp" => 3 * one_run()?,
            // The prompt, then all new tokens but the last; attention over a longer past is left out.
            "generate" => {
                let new = self.new_tokens as u64;
                blocks()? / len * (len + new - 1) + new * logits
            }
            "zero_all" => lanes_flop(model, &self.clean, heads(&Positions::All))?,
            "zero_last" => lanes_flop(model, &self.clean, heads(&Positions::Last))?,
            "patch_all" => one_run()? + lanes_flop(model, &self.corrupt, heads(&Positions::All))?,
            "patch_last" => one_run()? + lanes_flop(model, &self.corrupt, heads(&Positions::Last))?,
            "resid_patch" => {
                let spots = in_layers(model, Site::ResidPre).into_iter().flat_map(|hook| {
                    let at = move |pos| Edit::new(hook, Change::Zero).positions(Positions::At(vec![pos]));
                    (0..self.corrupt.len()).map(at)
                });
                one_run()? + lanes_flop(model, &self.corrupt, spots.collect())?
            }
            _ => return Ok(None),
        }))
    }
}

impl Found {
    /// What is compared with the other engines.
    fn values(&self) -> Outcome<Vec<f64>> {
        match self {
            Found::Tables(record, metrics, quantity) => {
                let column = |metric: &&str| -> Outcome<Vec<f64>> {
                    let table = record.table(metric, *quantity).ok_or("the metric was measured")?;
                    Ok(table.values.iter().copied().collect::<Option<_>>().ok_or("every cell was run")?)
                };
                let columns = metrics.iter().map(column).collect::<Outcome<Vec<_>>>()?;
                Ok((0..columns[0].len()).flat_map(|cell| columns.iter().map(move |c| c[cell])).collect())
            }
            Found::Lens(record) => {
                let lens = record.results.lens.as_ref().ok_or("the lens was read")?;
                Ok(lens.top.iter().flatten().flatten().map(|token| token.prob).collect())
            }
            Found::Run(run) if run.cache.hooks().is_empty() => {
                Ok(as_f64(&run.logits()?.flatten_all()?)?.to_vec1()?)
            }
            Found::Run(run) => squares(&run.cache),
            Found::Numbers(numbers) => Ok(numbers.clone()),
        }
    }
}

fn forward(model: &TextModel, tokens: &[u32]) -> microtome::Result<Run> {
    let options = RunOptions { logits: Positions::Last, ..Default::default() };
    Ok(model.model().run(tokens, &options)?)
}

/// The work of a prompt's run with these edits, each in a lane of its own.
fn lanes_flop(model: &TextModel, tokens: &[u32], edits: Vec<Edit>) -> microtome::Result<u64> {
    let lanes: Vec<Lane> = edits.into_iter().map(|edit| Lane { prompt: 0, edits: vec![edit] }).collect();
    let run = LaneRun::new(model.model(), &[tokens], &lanes, &Positions::Last)?;
    let keep_going = |_: LaneEvent| Ok::<_, microtome::model::Error>(ControlFlow::Continue(()));
    Ok(run.run(&LaneOptions::default(), keep_going)?.flop)
}

fn in_layers(model: &TextModel, site: Site) -> Vec<Hook> {
    (0..model.config().n_layers).map(|layer| site.at(layer)).collect()
}

/// Every hook but those that TransformerLens has only where they are asked for.
fn cached_hooks(model: &TextModel) -> Vec<Hook> {
    use Site::{AttnIn, KInput, MlpIn, QInput, Result, VInput};
    let on_request = [AttnIn, QInput, KInput, VInput, Result, MlpIn];
    Hook::all(model.config()).into_iter().filter(|hook| !on_request.contains(&hook.site)).collect()
}

/// Sums of squares of some activations.
fn squares(cache: &Cache) -> Outcome<Vec<f64>> {
    use Site::{K, MlpPost, MlpPre, Pattern, Q, ResidMid, ResidPost, ResidPre, V, Z};
    let mut sums = Vec::new();
    for layer in [0, 6, 11] {
        for site in [ResidPre, Q, K, V, Pattern, Z, ResidMid, MlpPre, MlpPost, ResidPost] {
            let x = as_f64(cache.get(site.at(layer))?)?;
            sums.push(x.sqr()?.sum_all()?.to_scalar::<f64>()?);
        }
    }
    Ok(sums)
}

/// The most memory this process has held, where the system says.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
