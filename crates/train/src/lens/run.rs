//! The training of a tuned lens from beginning to end, or from where it was. Which windows an update reads follows from the seed and the
//! step.

use std::time::Instant;

use microtome::TextModel;
use microtome::tuned_lens::TunedLens;
use microtome_model::{Device, Processing, Tensor, load_safetensors, to_safetensors};
use serde::{Deserialize, Serialize};

use super::config::LensTraining;
use super::draw::draw;
use super::learner::LensLearner;
use crate::adamw::Moments;
use crate::checkpoint::json;
use crate::data::Part;
use crate::error::{Error, Result};
use crate::open::open;
use crate::reading::Reading;
use crate::run_dir::{Log, RunDir, read_json, write_file, write_whole};
use crate::schedule::Schedule;
use crate::steps::{Every, Steps, go};
use crate::train::{Start, log};

/// Whoever watches the training of a lens.
pub trait LensObserver {
    /// Something worth a line.
    fn note(&mut self, _message: &str) {}

    /// An update was made, of so many; each learns from so many windows.
    fn update(&mut self, _line: &LensLine, _steps: u64, _batch: usize) {}

    /// The lens was measured.
    fn evaluation(&mut self, _evaluation: &LensEvaluation) {}

    /// A checkpoint was made after this many updates.
    fn checkpoint(&mut self, _step: u64) {}

    /// Whether to make a checkpoint and stop.
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// Nobody watches.
impl LensObserver for () {}

/// A line of `losses.jsonl` for an update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LensLine {
    /// Which update, counted from 1.
    pub step: u64,
    /// Mean KL of each layer on the batch before the update, in nats.
    pub losses: Vec<f64>,
    /// Learning rate.
    pub learning_rate: f64,
}

/// An evaluation on validation windows. After 0 updates it is that of the logit lens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LensEvaluation {
    /// Updates made.
    pub step: u64,
    /// Positions measured.
    pub n_positions: usize,
    /// Mean KL(model's output || lens) of the stream entering each layer, in nats.
    pub kl: Vec<f64>,
}

/// Where a run was when a checkpoint was made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LensState {
    /// Updates made.
    pub step: u64,
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
    /// The logit lens's evaluation.
    pub logit_lens: Option<LensEvaluation>,
    /// The last evaluation.
    pub evaluation: Option<LensEvaluation>,
}

/// `record.json`: what a run was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LensRecord {
    /// Version of the program.
    pub version: String,
    /// The model.
    pub model: String,
    /// How its weights were processed.
    pub weights: Processing,
    /// Where the run is.
    #[serde(flatten)]
    pub state: LensState,
}

/// What came out of a run.
#[derive(Debug)]
pub struct LensSummary {
    /// Whether an observer stopped it before its end.
    pub stopped: bool,
    /// The lens as it is now.
    pub lens: TunedLens,
    /// What is known about the run.
    pub record: LensRecord,
}

/// Trains a tuned lens for a model. `config.model` says which model it is and how its weights are processed; the caller has
/// loaded it.
///
/// # Errors
/// [`Error`]: settings that do not fit, a folder that holds something else, text too short, another model than the run began
/// with, a loss that is not finite, files that cannot be written. The last checkpoint is kept in all of them.
pub fn train_lens(
    model: &TextModel,
    config: &LensTraining,
    start: Start,
    observer: &mut dyn LensObserver,
) -> Result<LensSummary> {
    let config = config.resolved(model)?;
    let dir = RunDir::new(&config.out);
    // What cannot be read is said before anything is written.
    let reading = Reading::open(model, &config.data)?;
    let (resumes, lock) = open(&config, &dir, start)?;
    let mut run = Run::prepare(model, &config, dir, &reading, resumes)?;
    observer.note(&run.describe());
    if resumes {
        observer.note(&format!("resuming after step {}", run.state.step));
    }
    run.write_record()?;
    let training = &config.training;
    let every = Every {
        steps: training.steps,
        evaluation: training.evaluate_every,
        checkpoint: training.checkpoint_every,
    };
    let kept = resumes.then_some(run.state.step);
    let stopped = go(&mut Watched { run: &mut run, observer }, every, kept)?;
    let record = run.write_record()?;
    let lens = run.learner.lens()?;
    // Held until the last file is written.
    drop(lock);
    Ok(LensSummary { stopped, lens, record })
}

/// A run under way.
struct Run<'m> {
    config: &'m LensTraining,
    schedule: Schedule,
    dir: RunDir,
    model: &'m TextModel,
    reading: &'m Reading,
    measured: Vec<Vec<u32>>,
    learner: LensLearner<'m>,
    /// An epoch and its order of windows.
    order: Option<(u64, Vec<u32>)>,
    state: LensState,
    losses: Log,
    started: Instant,
    /// Time spent before this sitting.
    earlier_secs: f64,
}

/// A run and whoever watches it.
struct Watched<'a, 'm> {
    run: &'a mut Run<'m>,
    observer: &'a mut dyn LensObserver,
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
        let line = self.run.update()?;
        let training = &self.run.config.training;
        self.observer.update(&line, training.steps, training.batch);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<()> {
        let evaluation = self.run.evaluate()?;
        self.observer.evaluation(&evaluation);
        Ok(())
    }

    fn keep(&mut self) -> Result<()> {
        self.run.keep()?;
        self.observer.checkpoint(self.run.state.step);
        Ok(())
    }
}

impl<'m> Run<'m> {
    fn prepare(
        model: &'m TextModel,
        config: &'m LensTraining,
        dir: RunDir,
        reading: &'m Reading,
        resumes: bool,
    ) -> Result<Run<'m>> {
        let started = Instant::now();
        let (data_hash, weight_hash) = (reading.hash().to_owned(), model.about().weight_hash.clone());
        let last = dir.path("last");
        let mut learner = LensLearner::new(model)?;
        let state = if resumes {
            let state: LensState = read_json(&last.join("state.json"))?;
            dir.check_origin([&state.data_hash, &data_hash], [&state.weight_hash, &weight_hash])?;
            read_learner(&last.join("training.safetensors"), &mut learner, state.step)?;
            state
        } else {
            LensState { data_hash, weight_hash, ..LensState::default() }
        };
        let losses = Log::open(&dir.path("losses.jsonl"), state.losses_bytes)?;
        let measured = reading.measured(config.training.evaluate_windows)?;
        let (schedule, earlier_secs) = (config.schedule(), state.elapsed_secs);
        let order = None;
        Ok(Run {
            config,
            schedule,
            dir,
            model,
            reading,
            measured,
            learner,
            order,
            state,
            losses,
            started,
            earlier_secs,
        })
    }

    fn describe(&self) -> String {
        let (sizes, reading) = (self.model.config(), self.reading);
        let windows = |part| format!("{} tokens in {} windows", reading.tokens(part), reading.windows(part));
        format!(
            "{} translators, {} wide\n{} to learn from, {} to validate on; text {}",
            sizes.n_layers,
            sizes.d_model,
            windows(Part::Training),
            windows(Part::Validation),
            reading.hash()
        )
    }

    /// The windows of the next update.
    fn windows(&mut self) -> Vec<Vec<u32>> {
        let (batch, all) = (self.config.training.batch as u64, self.reading.windows(Part::Training) as u64);
        let numbers = self.state.step * batch..(self.state.step + 1) * batch;
        let mut windows = Vec::with_capacity(batch as usize);
        for number in numbers {
            let (epoch, index) = (number / all, (number % all) as usize);
            if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
                self.order = Some((epoch, self.reading.order(self.config.seed, epoch)));
            }
            let window = self.order.as_ref().map_or(0, |(_, order)| order[index]);
            windows.push(self.reading.window(Part::Training, window as usize));
        }
        windows
    }

    fn update(&mut self) -> Result<LensLine> {
        let windows = self.windows();
        let step = self.state.step;
        let learning_rate = self.schedule.at(step);
        let losses = self.learner.update(step, &windows, self.reading.first(), learning_rate)?;
        self.state.step += 1;
        let line = LensLine { step: self.state.step, losses, learning_rate };
        log(&mut self.losses, &line)?;
        Ok(line)
    }

    fn evaluate(&mut self) -> Result<LensEvaluation> {
        let (kl, n_positions) = self.learner.losses(&self.measured, self.reading.first())?;
        let evaluation = LensEvaluation { step: self.state.step, n_positions, kl };
        log(&mut self.losses, &evaluation)?;
        self.state.evaluated = Some(self.state.step);
        if self.state.step == 0 {
            self.state.logit_lens = Some(evaluation.clone());
        }
        self.state.evaluation = Some(evaluation.clone());
        Ok(evaluation)
    }

    /// Makes the checkpoint that a run goes on from.
    fn keep(&mut self) -> Result<()> {
        self.state.losses_bytes = self.losses.flush()?;
        self.state.elapsed_secs = self.earlier_secs + self.started.elapsed().as_secs_f64();
        let files = self.learner.lens()?.files()?;
        let training = to_safetensors(&learner_tensors(&self.learner)?)?;
        self.dir.replace("last", |dir| {
            for (name, bytes) in &files {
                write_file(&dir.join(name), bytes)?;
            }
            write_file(&dir.join("training.safetensors"), &training)?;
            write_file(&dir.join("state.json"), &json(&self.state, &dir.join("state.json"))?)
        })?;
        let title = self.config.out.file_name().unwrap_or_default().to_string_lossy();
        draw(&self.dir, &title)
    }

    fn write_record(&mut self) -> Result<LensRecord> {
        self.state.elapsed_secs = self.earlier_secs + self.started.elapsed().as_secs_f64();
        let record = LensRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: self.model.about().model.clone(),
            weights: self.model.model().processing(),
            state: self.state.clone(),
        };
        let path = self.dir.path("record.json");
        write_whole(&path, &json(&record, &path)?)?;
        Ok(record)
    }
}

/// What going on needs of a learner.
fn learner_tensors(learner: &LensLearner) -> Result<Vec<(String, Tensor)>> {
    let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
    let mut tensors = vec![];
    let numbers = learner.translators.iter().flat_map(|(w, b)| [w, b]).zip(&learner.optimiser.moments);
    for (i, (values, Moments { first, second })) in numbers.enumerate() {
        for (part, values) in [("value", values), ("first", first), ("second", second)] {
            tensors.push((name(i, part), tensor(values)?));
        }
    }
    Ok(tensors)
}

/// `3.weight.first`
fn name(i: usize, part: &str) -> String {
    format!("{}.{}.{part}", i / 2, ["weight", "bias"][i % 2])
}

fn read_learner(path: &std::path::Path, learner: &mut LensLearner, updates: u64) -> Result<()> {
    let mut tensors = load_safetensors(path)?;
    let mut take = |name: String, len: usize| -> Result<Vec<f32>> {
        match tensors.remove(&name) {
            Some(tensor) if tensor.dims() == [len] => Ok(tensor.to_vec1::<f32>()?),
            _ => {
                let problem = format!("has no `{name}` of {len} numbers");
                Err(Error::Damaged { path: path.to_owned(), problem })
            }
        }
    };
    let numbers = learner.translators.iter_mut().flat_map(|(w, b)| [w, b]);
    for (i, (values, moments)) in numbers.zip(&mut learner.optimiser.moments).enumerate() {
        let len = values.len();
        *values = take(name(i, "value"), len)?;
        *moments = Moments { first: take(name(i, "first"), len)?, second: take(name(i, "second"), len)? };
    }
    learner.optimiser.updates = updates;
    Ok(())
}
