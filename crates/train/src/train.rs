//! A run from beginning to end, or from where it was: update after update, measured and kept on the way.
//!
//! A run is resumed from `last/`: its logs are cut to what they were when that checkpoint was made, and
//! every step then draws what it would have drawn, since nothing random depends on anything but the seed
//! and the step.

use std::time::Instant;

use microtome::TextModel;
use microtome_model::{Config as Sizes, DownloadProgress, Model, Tokenizer, weight_hash};
use serde::{Deserialize, Serialize};

use crate::begin::{Beginning, from_checkpoint, new_model, vocabulary};
use crate::checkpoint::{self, Best, State};
use crate::config::Config;
use crate::data::{Data, Part, Texts};
use crate::draw::draw;
use crate::error::{Error, Result};
use crate::evaluate::{Evaluation, in_context_score, losses_by_position, mean};
use crate::learner::{Learner, Update};
use crate::open::open;
use crate::run_dir::{Log, RunDir, write_whole};
use crate::sample;
use crate::telemetry::{self, Telemetry};
use crate::vocabulary::Vocabulary;

/// What to do with a folder that holds a run already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Go on where it was, begin if there is none.
    #[default]
    Continue,
    /// Go on where it was.
    Resume,
    /// Throw it away.
    Fresh,
}

/// Whoever watches a run.
pub trait Observer {
    /// Something worth a line.
    fn note(&mut self, _message: &str) {}

    /// An update was made.
    fn update(&mut self, _progress: &Progress) {}

    /// The model was measured.
    fn evaluation(&mut self, _evaluation: &Evaluation) {}

    /// Its heads were.
    fn telemetry(&mut self, _telemetry: &Telemetry) {}

    /// A text was continued.
    fn sample(&mut self, _text: &str) {}

    /// A checkpoint was made after this many updates.
    fn checkpoint(&mut self, _step: u64) {}

    /// Who is told of the download of a model to start from.
    fn download(&mut self) -> Box<dyn DownloadProgress> {
        Box::new(())
    }

    /// Whether to make a checkpoint and stop.
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// Nobody watches.
impl Observer for () {}

/// An update among those of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Updates made, this one included.
    pub step: u64,
    /// Updates the run will make.
    pub steps: u64,
    /// Tokens of one update.
    pub tokens: u64,
    /// The update.
    pub update: Update,
}

/// What came out of a run.
#[derive(Debug)]
pub struct Summary {
    /// Updates made.
    pub step: u64,
    /// Whether an observer stopped it before its end.
    pub stopped: bool,
    /// The last evaluation made here; none where the run was over already.
    pub evaluation: Option<Evaluation>,
    /// The best one.
    pub best: Option<Best>,
    /// The model as it is now.
    pub model: Model,
    /// Its tokenizer.
    pub tokenizer: Option<Tokenizer>,
    /// What is known about the run.
    pub record: RunRecord,
}

/// `record.json`: what a run was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of the program.
    pub version: String,
    /// Fingerprint of the text.
    pub data_hash: Option<String>,
    /// Tokens to learn from.
    pub training_tokens: usize,
    /// Tokens to measure on.
    pub validation_tokens: usize,
    /// Sizes of the model.
    pub model: Sizes,
    /// Numbers learnt.
    pub n_parameters: usize,
    /// Updates made.
    pub step: u64,
    /// The best evaluation.
    pub best: Option<Best>,
    /// Fingerprint of the weights.
    pub weight_hash: String,
    /// Time spent on it, all sittings together.
    pub elapsed_secs: f64,
}

/// A line of `losses.jsonl` for an update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossLine {
    /// Which update, counted from 1.
    pub step: u64,
    /// Mean loss of its batches before it was made, in nats.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Length of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens read up to here.
    pub tokens: u64,
}

/// Trains a model.
///
/// # Errors
/// [`Error`]: settings that do not fit, a folder that holds something else, text too short, a loss that is
/// not finite, files that cannot be written. The last checkpoint is kept in all of them.
pub fn train(config: &Config, start: Start, observer: &mut dyn Observer) -> Result<Summary> {
    let config = config.resolved()?;
    let dir = RunDir::new(&config.out);
    // What cannot be read is said before anything is written.
    let texts = Texts::open(&config.data)?;
    let (resumes, lock) = open(&config, &dir, start)?;
    let state = if resumes { checkpoint::read_state(&dir.path("last"))? } else { State::default() };
    let mut run = Run::prepare(config, dir, state, texts, observer)?;
    let stopped = run.go(observer)?;
    let summary = run.finish(stopped);
    // Held until the last file is written.
    drop(lock);
    summary
}

/// A run under way.
struct Run {
    config: Config,
    dir: RunDir,
    learner: Learner,
    vocabulary: Option<Vocabulary>,
    data: Data,
    state: State,
    losses: Log,
    telemetry: Option<Log>,
    samples: Option<Log>,
    /// Windows that every evaluation measures on: training, validation.
    fixed: [Vec<Vec<u32>>; 2],
    evaluation: Option<Evaluation>,
    started: Instant,
    /// Time spent before this sitting.
    earlier_secs: f64,
}

impl Run {
    fn prepare(
        config: Config,
        dir: RunDir,
        state: State,
        texts: Option<Texts>,
        observer: &mut dyn Observer,
    ) -> Result<Run> {
        let started = Instant::now();
        let resumes = dir.path("last").is_dir();
        let loaded = match (&config.model.init_from, resumes) {
            (_, true) => Some(checkpoint::read_model(&dir.path("last").to_string_lossy(), &mut ())?),
            (Some(spec), false) => Some(checkpoint::read_model(spec, &mut *observer.download())?),
            (None, false) => None,
        };
        let tokenizer = loaded.as_ref().and_then(|loaded| loaded.tokenizer.clone());
        let bos = loaded.as_ref().and_then(|loaded| loaded.bos);
        let vocabulary = match &texts {
            Some(texts) => Some(vocabulary(&config, &dir, resumes, texts, tokenizer, observer)?),
            None => tokenizer.map(Vocabulary::of).transpose()?,
        };
        let n_vocab = match (&loaded, &vocabulary) {
            (Some(loaded), _) => loaded.config.d_vocab,
            (None, Some(vocabulary)) => vocabulary.size(),
            (None, None) => config.data.vocab.unwrap_or_default(),
        };
        let beginning = match loaded {
            Some(loaded) => from_checkpoint(&config, resumes, loaded.config, loaded.weights)?,
            None => new_model(&config, n_vocab)?,
        };
        let Beginning { sizes, weights, ties } = beginning;
        if let Some(vocabulary) = vocabulary.as_ref().filter(|v| v.size() > sizes.d_vocab) {
            let expected = format!("one with at most the model's {} tokens", sizes.d_vocab);
            return Err(Error::setting("data.tokenizer", format!("one of {}", vocabulary.size()), expected));
        }
        let data = match (&texts, &vocabulary) {
            (Some(texts), Some(vocabulary)) => {
                observer.note(&format!("reading {}", config.data.describe()));
                Data::read(texts, vocabulary, &config.data, sizes.n_ctx, config.seed)?
            }
            _ => Data::random(n_vocab, bos, sizes.n_ctx, config.seed),
        };
        if let (true, Some(here)) = (resumes, data.hash())
            && state.data_hash.as_deref() != Some(here)
        {
            let there = state.data_hash.clone().unwrap_or_default();
            return Err(Error::TextChanged { dir: dir.root().to_owned(), there, here: here.to_owned() });
        }
        let mut learner = Learner::new(&sizes, &weights, ties, &config.training, config.seed)?;
        if resumes {
            let list = learner.parameters.list();
            checkpoint::read_moments(&dir.path("last"), list, &mut learner.optimiser, state.step)?;
            observer.note(&format!("resuming after step {}", state.step));
        }
        let fixed = [Part::Training, Part::Validation].map(|part| data.measured(part, &config));
        if config.evaluation.telemetry {
            telemetry::check(sizes.n_ctx)?;
        }
        let losses = Log::open(&dir.path("losses.jsonl"), state.losses_bytes)?;
        let log = |name: &str, len: u64| Log::open(&dir.path(name), len);
        let asked = &config.evaluation;
        let telemetry = asked.telemetry.then(|| log("telemetry.jsonl", state.telemetry_bytes)).transpose()?;
        let has_samples = !asked.samples.is_empty();
        let samples = has_samples.then(|| log("samples.txt", state.samples_bytes)).transpose()?;
        let state = State { data_hash: data.hash().map(str::to_owned), ..state };
        let earlier_secs = state.elapsed_secs;
        let run = Run {
            config,
            dir,
            learner,
            vocabulary,
            data,
            state,
            losses,
            telemetry,
            samples,
            fixed,
            evaluation: None,
            started,
            earlier_secs,
        };
        for sample in &run.config.evaluation.samples {
            sample::check(&run.reader()?, sample)?;
        }
        observer.note(&run.describe());
        run.write_record()?;
        Ok(run)
    }

    fn describe(&self) -> String {
        let sizes = self.learner.model().config();
        let mut text = format!(
            "{} parameters: {} layers, {} heads, width {}, context {}, {} tokens in the vocabulary",
            self.learner.parameters.count(),
            sizes.n_layers,
            sizes.n_heads,
            sizes.d_model,
            sizes.n_ctx,
            sizes.d_vocab
        );
        if let Some(hash) = self.data.hash() {
            let (training, validation) =
                (self.data.tokens(Part::Training), self.data.tokens(Part::Validation));
            text += &format!("\n{training} tokens to learn from, {validation} to validate on; text {hash}");
        }
        text
    }

    /// Steps up to the end, or until an observer stops it, which is then `true`.
    fn go(&mut self, observer: &mut dyn Observer) -> Result<bool> {
        let steps = self.config.training.steps;
        let mut kept = self.dir.path("last").is_dir().then_some(self.state.step);
        loop {
            let step = self.state.step;
            let stopped = step < steps && observer.should_stop();
            let is_due = step.is_multiple_of(self.config.evaluation.every) || step >= steps;
            if is_due && !stopped && self.state.evaluated != Some(step) {
                self.evaluate(observer).map_err(|error| error.with_checkpoint(kept))?;
            }
            let is_due = (step > 0 && step.is_multiple_of(self.config.checkpoints.every)) || step >= steps;
            if (is_due || stopped) && kept != Some(step) {
                self.keep()?;
                kept = Some(step);
                observer.checkpoint(step);
            }
            if stopped || step >= steps {
                return Ok(stopped);
            }
            self.update(observer).map_err(|error| error.with_checkpoint(kept))?;
        }
    }

    fn update(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let training = &self.config.training;
        let step = self.state.step;
        let batches: Vec<_> =
            (0..training.accumulate).map(|part| self.data.batch(step, part, training.batch)).collect();
        let update = self.learner.update(step, &batches)?;
        self.state.step += 1;
        let step = self.state.step;
        let n_ctx = self.learner.model().config().n_ctx;
        let tokens = (training.batch * training.accumulate * n_ctx) as u64;
        let line = LossLine {
            step,
            loss: update.loss,
            learning_rate: update.learning_rate,
            grad_norm: update.gradient_norm,
            tokens: tokens * step,
        };
        log(&mut self.losses, &line)?;
        observer.update(&Progress { step, steps: self.config.training.steps, tokens, update });
        Ok(())
    }

    fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let step = self.state.step;
        let model = self.learner.model();
        let training = losses_by_position(model, &self.fixed[0])?;
        let validation = losses_by_position(model, &self.fixed[1])?;
        let evaluation = Evaluation {
            step,
            train_loss: mean(&training),
            validation_loss: mean(&validation),
            in_context_score: in_context_score(&validation),
        };
        log(&mut self.losses, &evaluation)?;
        self.state.evaluated = Some(step);
        self.evaluation = Some(evaluation);
        let best = Best { step, validation_loss: evaluation.validation_loss };
        if !best.validation_loss.is_finite() {
            let (what, value) = ("validation loss", best.validation_loss);
            return Err(Error::NotFinite { what, step, value, checkpoint: None });
        }
        if self.state.best.is_none_or(|so_far| best.validation_loss < so_far.validation_loss) {
            self.dir.replace("best", |dir| self.write_model(dir))?;
            self.state.best = Some(best);
        }
        observer.evaluation(&evaluation);
        self.observe_heads(&evaluation, observer)?;
        self.continue_texts(observer)
    }

    fn observe_heads(&mut self, evaluation: &Evaluation, observer: &mut dyn Observer) -> Result<()> {
        let Some(lines) = &mut self.telemetry else { return Ok(()) };
        let tokenizer = self.vocabulary.as_ref().map(Vocabulary::tokenizer);
        let (model, seed) = (self.learner.model(), self.config.seed);
        let Evaluation { step, in_context_score, .. } = *evaluation;
        let telemetry = Telemetry::measure(model, tokenizer, &self.data, seed, step, in_context_score)?;
        log(lines, &telemetry)?;
        observer.telemetry(&telemetry);
        Ok(())
    }

    fn continue_texts(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.samples.is_none() {
            return Ok(());
        }
        let reader = self.reader()?;
        let Some(lines) = &mut self.samples else { return Ok(()) };
        for asked in &self.config.evaluation.samples {
            let text = sample::sample(&reader, asked, self.config.seed)?;
            lines.line(&format!("step {}\n{text}\n", self.state.step))?;
            observer.sample(&text);
        }
        Ok(())
    }

    /// The model as it reads text.
    fn reader(&self) -> Result<TextModel> {
        let model = TextModel::from_model("training", self.learner.model().clone())?;
        Ok(match &self.vocabulary {
            Some(vocabulary) => model.with_tokenizer(vocabulary.tokenizer().clone()),
            None => model,
        })
    }

    /// Makes the checkpoint that a run goes on from.
    fn keep(&mut self) -> Result<()> {
        self.state.losses_bytes = self.losses.flush()?;
        self.state.telemetry_bytes = self.telemetry.as_mut().map_or(Ok(0), Log::flush)?;
        self.state.samples_bytes = self.samples.as_mut().map_or(Ok(0), Log::flush)?;
        self.state.elapsed_secs = self.elapsed_secs();
        if self.config.checkpoints.keep {
            let steps = self.dir.path("steps");
            std::fs::create_dir_all(&steps).map_err(Error::io("create", &steps))?;
            let name = format!("steps/{:08}", self.state.step);
            self.dir.replace(&name, |dir| self.write_model(dir))?;
        }
        self.dir.replace("last", |dir| {
            self.write_model(dir)?;
            checkpoint::write_state(dir, &self.learner, &self.state)
        })?;
        draw(&self.dir, &self.title())
    }

    /// What pictures are of: the folder's name.
    fn title(&self) -> String {
        self.config.out.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn write_model(&self, dir: &std::path::Path) -> Result<()> {
        checkpoint::write_model(dir, self.learner.model(), self.vocabulary.as_ref(), self.data.bos())
    }

    fn elapsed_secs(&self) -> f64 {
        self.earlier_secs + self.started.elapsed().as_secs_f64()
    }

    fn record(&self) -> Result<RunRecord> {
        let model = self.learner.model();
        Ok(RunRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_hash: self.data.hash().map(str::to_owned),
            training_tokens: self.data.tokens(Part::Training),
            validation_tokens: self.data.tokens(Part::Validation),
            model: model.config().clone(),
            n_parameters: self.learner.parameters.count(),
            step: self.state.step,
            best: self.state.best,
            weight_hash: weight_hash(model.config(), &model.weights().unpacked()?)?,
            elapsed_secs: self.elapsed_secs(),
        })
    }

    fn write_record(&self) -> Result<RunRecord> {
        let path = self.dir.path("record.json");
        let record = self.record()?;
        write_whole(&path, &checkpoint::json(&record, &path)?)?;
        Ok(record)
    }

    fn finish(self, stopped: bool) -> Result<Summary> {
        let record = self.write_record()?;
        Ok(Summary {
            step: self.state.step,
            stopped,
            evaluation: self.evaluation,
            best: self.state.best,
            model: self.learner.model().clone(),
            tokenizer: self.vocabulary.map(|vocabulary| vocabulary.tokenizer().clone()),
            record,
        })
    }
}

/// Appends a value to a log.
pub(crate) fn log(log: &mut Log, line: &impl Serialize) -> Result<()> {
    let failed = |e| Error::io("write", log.path())(std::io::Error::other(e));
    let line = serde_json::to_string(line).map_err(failed)?;
    log.line(&line)
}
