//! The training of an autoencoder from beginning to end, or from where it was.
//!
//! A run is resumed from `last/` as that of a model is: logs are cut to what they were when the checkpoint was made, the buffer
//! is filled again from where its filling had begun, and every step draws what it would have drawn.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use microtome::TextModel;
use microtome::sae::{Quality, Sae};
use microtome_model::{Device, Positions, Processing, Tensor, load_safetensors, to_safetensors};
use serde::{Deserialize, Serialize};

use super::buffer::{Cursor, Filling, Source};
use super::config::{Plan, SaeTraining, Sparsity};
use super::draw::draw;
use super::learner::{Costs, Numbers, SaeLearner};
use crate::adamw::Moments;
use crate::checkpoint::json;
use crate::data::Part;
use crate::error::{Error, Result};
use crate::open::open;
use crate::reading::Reading;
use crate::run_dir::{Log, RunDir, read_json, write_file, write_whole};
use crate::steps::{Every, Steps, go};
use crate::train::{Start, log};

/// Activations of the buffer that resampling chooses from, at most.
const RESAMPLED_FROM: usize = 8192;

/// Dead features are not resampled in the last third of the updates, so that the last ones have time to learn.
const RESAMPLING_ENDS: (u64, u64) = (2, 3);

/// Whoever watches the training of an autoencoder.
pub trait SaeObserver {
    /// Something worth a line.
    fn note(&mut self, _message: &str) {}

    /// The buffer is being filled: so many activations of so many.
    fn filling(&mut self, _rows: usize, _of: usize) {}

    /// An update was made, of so many; each learns from so many tokens.
    fn update(&mut self, _line: &SaeLine, _steps: u64, _batch: usize) {}

    /// The autoencoder was measured.
    fn evaluation(&mut self, _evaluation: &SaeEvaluation) {}

    /// A checkpoint was made after this many updates.
    fn checkpoint(&mut self, _step: u64) {}

    /// Whether to make a checkpoint and stop.
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// Nobody watches.
impl SaeObserver for () {}

/// A line of `losses.jsonl` for an update. Means are over the batch, before the update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaeLine {
    /// Which update, counted from 1.
    pub step: u64,
    /// What is learnt from, in the units in which the mean norm of activations is `sqrt(d_in)`.
    pub loss: f64,
    /// Mean squared error, summed over dimensions.
    pub mse: f64,
    /// Mean sum of feature activations.
    pub l1: f64,
    /// Mean number of active features.
    pub l0: f64,
    /// The auxiliary loss, weighted, in the units of `loss`.
    pub aux: f64,
    /// Dead features after the update.
    pub dead: usize,
    /// Dead features that were resampled before it.
    pub resampled: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// Tokens learnt from up to here.
    pub tokens: u64,
}

/// An evaluation on validation windows: [`Quality`], and how many features are dead.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaeEvaluation {
    /// Updates made.
    pub step: u64,
    /// Positions encoded.
    pub n_positions: usize,
    /// Active features at a position.
    pub l0: f64,
    /// Mean sum of feature activations.
    pub l1: f64,
    /// Mean squared error, summed over dimensions.
    pub mse: f64,
    /// Explained variance.
    pub explained_variance: Option<f64>,
    /// Mean loss of the model as it is, in nats.
    pub loss: f64,
    /// With the reconstruction in the activation's place.
    pub loss_spliced: f64,
    /// With 0 there.
    pub loss_zero: f64,
    /// With the mean there.
    pub loss_mean: f64,
    /// Loss recovered, measured from 0.
    pub recovered_from_zero: Option<f64>,
    /// Loss recovered, measured from the mean.
    pub recovered_from_mean: Option<f64>,
    /// Dead features: not active on the last `training.dead_after` tokens learnt from.
    pub dead: usize,
}

/// Where a run was when a checkpoint was made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaeState {
    /// Updates made.
    pub step: u64,
    /// Where the buffer's filling began.
    pub cursor: Cursor,
    /// Batches of it used.
    pub used: usize,
    /// What activations are multiplied by.
    pub scale: f64,
    /// The last evaluation's step.
    pub evaluated: Option<u64>,
    /// Length of `losses.jsonl`.
    pub losses_bytes: u64,
    /// Fingerprint of the text.
    pub data_hash: String,
    /// Fingerprint of the model's weights.
    pub weight_hash: String,
    /// Time spent on the run up to here.
    pub elapsed_secs: f64,
}

/// `record.json`: what a run was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SaeRecord {
    /// Version of the program.
    pub version: String,
    /// The model.
    pub model: String,
    /// Fingerprint of its weights before processing.
    pub weight_hash: String,
    /// How they were processed.
    pub weights: Processing,
    /// Fingerprint of the text.
    pub data_hash: String,
    /// Tokens of the text to learn from.
    pub training_tokens: usize,
    /// Tokens to measure on.
    pub validation_tokens: usize,
    /// Updates made.
    pub step: u64,
    /// Tokens learnt from, those that came again counted again.
    pub tokens: u64,
    /// What activations were multiplied by while learning.
    pub scale: f64,
    /// The last evaluation.
    pub evaluation: Option<SaeEvaluation>,
    /// Time spent on it, all sittings together.
    pub elapsed_secs: f64,
}

/// What came out of a run.
#[derive(Debug)]
pub struct SaeSummary {
    /// Whether an observer stopped it before its end.
    pub stopped: bool,
    /// The autoencoder as it is now; none where it was stopped before the first buffer was full.
    pub sae: Option<Sae>,
    /// What is known about the run.
    pub record: SaeRecord,
}

/// Trains an autoencoder on a model's activations. `config.model` says which model it is and how its weights are processed; the
/// caller has loaded it.
///
/// # Errors
/// [`Error`]: settings that do not fit, a folder that holds something else, text too short, another model than the run began
/// with, a loss that is not finite, files that cannot be written. The last checkpoint is kept in all of them.
pub fn train_sae(
    model: &TextModel,
    config: &SaeTraining,
    start: Start,
    observer: &mut dyn SaeObserver,
) -> Result<SaeSummary> {
    let config = config.resolved(model)?;
    let plan = config.plan(model)?;
    let dir = RunDir::new(&config.out);
    // What cannot be read is said before anything is written.
    let reading = Reading::open(model, &config.data)?;
    let (resumes, lock) = open(&config, &dir, start)?;
    let mut run = Run::prepare(model, &config, plan, dir, &reading, resumes)?;
    observer.note(&run.describe());
    if resumes {
        observer.note(&format!("resuming after step {}", run.state.step));
    }
    run.write_record()?;
    let every = Every {
        steps: run.plan.steps,
        evaluation: config.evaluation.every,
        checkpoint: config.checkpoints.every,
    };
    let kept = resumes.then_some(run.state.step);
    let stopped = go(&mut Watched { run: &mut run, observer }, every, kept)?;
    let record = run.write_record()?;
    let sae = run.learner.is_some().then(|| run.sae()).transpose()?;
    // Held until the last file is written.
    drop(lock);
    Ok(SaeSummary { stopped, sae, record })
}

/// A run under way.
struct Run<'m> {
    config: &'m SaeTraining,
    plan: Plan,
    dir: RunDir,
    source: Source<'m>,
    measured: Vec<Vec<u32>>,
    /// From the first filling on.
    learner: Option<SaeLearner>,
    filling: Option<Filling>,
    state: SaeState,
    losses: Log,
    evaluation: Option<SaeEvaluation>,
    started: Instant,
    /// Time spent before this sitting.
    earlier_secs: f64,
}

/// A run and whoever watches it.
struct Watched<'a, 'm> {
    run: &'a mut Run<'m>,
    observer: &'a mut dyn SaeObserver,
}

impl Steps for Watched<'_, '_> {
    fn step(&self) -> u64 {
        self.run.state.step
    }

    fn evaluated(&self) -> Option<u64> {
        self.run.state.evaluated
    }

    fn should_stop(&mut self) -> bool {
        self.observer.should_stop()
    }

    fn update(&mut self) -> Result<()> {
        match self.run.fill(self.observer)? {
            true => self.run.update(self.observer),
            false => Ok(()),
        }
    }

    fn evaluate(&mut self) -> Result<()> {
        self.run.evaluate(self.observer)
    }

    fn keep(&mut self) -> Result<()> {
        if self.run.learner.is_none() {
            return Ok(());
        }
        self.run.keep()?;
        self.observer.checkpoint(self.run.state.step);
        Ok(())
    }
}

impl<'m> Run<'m> {
    fn prepare(
        model: &'m TextModel,
        config: &'m SaeTraining,
        plan: Plan,
        dir: RunDir,
        reading: &'m Reading,
        resumes: bool,
    ) -> Result<Run<'m>> {
        let started = Instant::now();
        let (data_hash, weight_hash) = (reading.hash().to_owned(), model.about().weight_hash.clone());
        let last = dir.path("last");
        let mut learner = None;
        let state = if resumes {
            let state: SaeState = read_json(&last.join("state.json"))?;
            dir.check_origin([&state.data_hash, &data_hash], [&state.weight_hash, &weight_hash])?;
            learner = Some(read_learner(&last.join("training.safetensors"), &plan, state.step)?);
            state
        } else {
            SaeState { data_hash, weight_hash, ..SaeState::default() }
        };
        let losses = Log::open(&dir.path("losses.jsonl"), state.losses_bytes)?;
        let record = dir.path("record.json");
        let evaluation = match resumes && record.is_file() {
            true => read_json::<SaeRecord>(&record)?.evaluation.filter(|e| Some(e.step) == state.evaluated),
            false => None,
        };
        let source = Source { model, reading, hook: plan.sae.hook, seed: config.seed };
        let measured = reading.measured(config.evaluation.windows)?;
        let earlier_secs = state.elapsed_secs;
        let filling = None;
        Ok(Run {
            config,
            plan,
            dir,
            source,
            measured,
            learner,
            filling,
            state,
            losses,
            evaluation,
            started,
            earlier_secs,
        })
    }

    fn describe(&self) -> String {
        let (sae, reading) = (&self.plan.sae, self.source.reading);
        let kept = match self.plan.sparsity {
            Sparsity::Price { l1, .. } => format!("each unit of activation costs {l1}"),
            Sparsity::Largest { k, .. } => format!("{k} active at a position"),
        };
        let windows = |part| format!("{} tokens in {} windows", reading.tokens(part), reading.windows(part));
        format!(
            "{} autoencoder at {}, {} wide: {} features, {kept}\n{} to learn from, {} to validate on; text {}",
            sae.architecture.name(),
            sae.hook,
            sae.d_in,
            sae.d_sae,
            windows(Part::Training),
            windows(Part::Validation),
            reading.hash()
        )
    }

    /// Fills the buffer where it is empty; `false` where the observer did not wait for it.
    fn fill(&mut self, observer: &mut dyn SaeObserver) -> Result<bool> {
        if self.filling.is_some() {
            return Ok(true);
        }
        let rows = self.config.training.buffer;
        let mut goes_on = |done: usize| {
            observer.filling(done, rows);
            !observer.should_stop()
        };
        let Some(mut filling) = self.source.fill(self.state.cursor, rows, &mut goes_on)? else {
            return Ok(false);
        };
        if self.learner.is_none() {
            self.state.scale = match filling.mean_norm() {
                norm if norm > 0.0 => (self.plan.sae.d_in as f64).sqrt() / norm,
                _ => 1.0,
            };
        }
        filling.scale(self.state.scale as f32);
        self.learner.get_or_insert_with(|| {
            let Plan { sae, sparsity, dead_after, .. } = &self.plan;
            SaeLearner::new(sae.d_sae, filling.mean(), *sparsity, *dead_after, self.config.seed)
        });
        self.filling = Some(filling);
        Ok(true)
    }

    fn update(&mut self, observer: &mut dyn SaeObserver) -> Result<()> {
        let (Some(filling), Some(learner)) = (&self.filling, &mut self.learner) else { return Ok(()) };
        let (step, batch) = (self.state.step, self.config.training.batch);
        let resampled = match self.plan.sparsity {
            Sparsity::Price { resample_every, .. }
                if step > 0
                    && resample_every > 0
                    && step.is_multiple_of(resample_every)
                    && step * RESAMPLING_ENDS.1 < self.plan.steps * RESAMPLING_ENDS.0 =>
            {
                learner.resample(&filling.take(0, RESAMPLED_FROM), self.config.seed, step)
            }
            _ => 0,
        };
        let x = filling.take(self.state.used * batch, batch);
        let learning_rate = self.plan.schedule.at(step);
        let Costs { loss, mse, l1, l0, aux } = learner.update(step, &x, learning_rate)?;
        self.state.step += 1;
        self.state.used += 1;
        let scale = self.state.scale;
        let line = SaeLine {
            step: self.state.step,
            loss,
            mse: mse / (scale * scale),
            l1: l1 / scale,
            l0,
            aux,
            dead: learner.dead(),
            resampled,
            learning_rate,
            tokens: self.state.step * batch as u64,
        };
        // What does not fill a batch is left.
        if (self.state.used + 1) * batch > filling.len() {
            (self.state.cursor, self.state.used) = (filling.next, 0);
            self.filling = None;
        }
        log(&mut self.losses, &line)?;
        observer.update(&line, self.plan.steps, batch);
        Ok(())
    }

    fn evaluate(&mut self, observer: &mut dyn SaeObserver) -> Result<()> {
        let Some(learner) = &self.learner else { return Ok(()) };
        let dead = learner.dead();
        let at = Positions::From(self.source.reading.first());
        let quality = self.sae()?.quality(self.source.model, &self.measured, &at)?;
        let Quality { n_positions, l0, l1, mse, explained_variance, losses, .. } = quality;
        let evaluation = SaeEvaluation {
            step: self.state.step,
            n_positions,
            l0,
            l1,
            mse,
            explained_variance,
            loss: losses.clean,
            loss_spliced: losses.spliced,
            loss_zero: losses.zero,
            loss_mean: losses.mean,
            recovered_from_zero: losses.recovered_from_zero(),
            recovered_from_mean: losses.recovered_from_mean(),
            dead,
        };
        log(&mut self.losses, &evaluation)?;
        self.state.evaluated = Some(self.state.step);
        self.evaluation = Some(evaluation);
        observer.evaluation(&evaluation);
        Ok(())
    }

    /// The autoencoder as it is now, in the activation's own units.
    fn sae(&self) -> Result<Sae> {
        let (sae, scale) = (&self.plan.sae, self.state.scale);
        let Some(learner) = &self.learner else {
            return Err(Error::NothingToResume { dir: self.config.out.clone() });
        };
        let Numbers { encoder, b_enc, decoder, b_dec } = learner.numbers();
        let (d_in, d_sae) = (sae.d_in, sae.d_sae);
        let matrix = |values: &[f32]| Tensor::from_slice(values, (d_sae, d_in), &Device::Cpu);
        let bias = |values: &[f32]| {
            let values: Vec<f32> = values.iter().map(|&x| (f64::from(x) / scale) as f32).collect();
            let len = values.len();
            Tensor::from_vec(values, len, &Device::Cpu)
        };
        let tensors: HashMap<String, Tensor> = [
            ("W_enc", matrix(encoder)?.t()?.contiguous()?),
            ("b_enc", bias(b_enc)?),
            ("W_dec", matrix(decoder)?),
            ("b_dec", bias(b_dec)?),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into();
        Ok(Sae::new(sae.clone(), tensors, "the autoencoder in training")?)
    }

    /// Makes the checkpoint that a run goes on from.
    fn keep(&mut self) -> Result<()> {
        self.state.losses_bytes = self.losses.flush()?;
        self.state.elapsed_secs = self.elapsed_secs();
        let files = self.sae()?.files(self.plan.dtype)?;
        let training = self.learner.as_ref().map(learner_tensors).transpose()?.unwrap_or_default();
        self.write_record()?;
        self.dir.replace("last", |dir| {
            for (name, bytes) in &files {
                write_file(&dir.join(name), bytes)?;
            }
            write_file(&dir.join("training.safetensors"), &to_safetensors(&training)?)?;
            write_file(&dir.join("state.json"), &json(&self.state, &dir.join("state.json"))?)
        })?;
        let title = self.config.out.file_name().unwrap_or_default().to_string_lossy();
        draw(&self.dir, &title)
    }

    fn elapsed_secs(&self) -> f64 {
        self.earlier_secs + self.started.elapsed().as_secs_f64()
    }

    fn write_record(&self) -> Result<SaeRecord> {
        let (model, reading) = (self.source.model, self.source.reading);
        let record = SaeRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: model.about().model.clone(),
            weight_hash: self.state.weight_hash.clone(),
            weights: model.model().processing(),
            data_hash: self.state.data_hash.clone(),
            training_tokens: reading.tokens(Part::Training),
            validation_tokens: reading.tokens(Part::Validation),
            step: self.state.step,
            tokens: self.state.step * self.config.training.batch as u64,
            scale: self.state.scale,
            evaluation: self.evaluation,
            elapsed_secs: self.elapsed_secs(),
        };
        let path = self.dir.path("record.json");
        write_whole(&path, &json(&record, &path)?)?;
        Ok(record)
    }
}

/// What going on needs of a learner: its numbers with their moments, and how long features have been idle.
fn learner_tensors(learner: &SaeLearner) -> Result<Vec<(String, Tensor)>> {
    let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
    let mut tensors = vec![];
    for ((name, values), moments) in learner.numbers.named().into_iter().zip(&learner.optimiser.moments) {
        tensors.push((name.to_owned(), tensor(values)?));
        tensors.push((format!("{name}.first"), tensor(&moments.first)?));
        tensors.push((format!("{name}.second"), tensor(&moments.second)?));
    }
    let idle: Vec<i64> = learner.idle.iter().map(|&tokens| tokens as i64).collect();
    tensors.push(("idle".to_owned(), Tensor::from_slice(&idle, idle.len(), &Device::Cpu)?));
    Ok(tensors)
}

fn read_learner(path: &Path, plan: &Plan, updates: u64) -> Result<SaeLearner> {
    let mut tensors = load_safetensors(path)?;
    let damaged = |problem: String| Error::Damaged { path: path.to_owned(), problem };
    let mut take = |name: &str, len: usize| match tensors.remove(name) {
        Some(tensor) if tensor.dims() == [len] => Ok(tensor),
        _ => Err(damaged(format!("has no `{name}` of {len} numbers"))),
    };
    let (d_in, d_sae) = (plan.sae.d_in, plan.sae.d_sae);
    let mut numbers = |name: &str, len: usize| -> Result<(Vec<f32>, Moments)> {
        let mut values = |name: &str| -> Result<Vec<f32>> { Ok(take(name, len)?.to_vec1::<f32>()?) };
        let moments =
            Moments { first: values(&format!("{name}.first"))?, second: values(&format!("{name}.second"))? };
        Ok((values(name)?, moments))
    };
    let (encoder, a) = numbers("encoder", d_sae * d_in)?;
    let (b_enc, b) = numbers("b_enc", d_sae)?;
    let (decoder, c) = numbers("decoder", d_sae * d_in)?;
    let (b_dec, d) = numbers("b_dec", d_in)?;
    let idle = take("idle", d_sae)?.to_vec1::<i64>()?.into_iter().map(|tokens| tokens as u64).collect();
    let numbers = Numbers { encoder, b_enc, decoder, b_dec };
    let mut learner = SaeLearner::of(numbers, plan.sparsity, plan.dead_after);
    learner.optimiser.moments = vec![a, b, c, d];
    learner.optimiser.updates = updates;
    learner.idle = idle;
    Ok(learner)
}
