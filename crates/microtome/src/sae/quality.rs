//! How well an autoencoder stands for the activations of a text.
//!
//! ```text
//! L0                 mean over positions of how many features are active
//! explained variance 1 - sum |x - reconstruction|^2 / sum |x - mean of x|^2      over positions and dimensions
//! loss recovered     (loss with x = 0, or its mean - loss spliced in) / (the same - loss of the model as it is)
//! ```
//!
//! Losses are means over all tokens of all prompts that have a token before them. A GPT-2's first position
//! has an activation many times as large as any other, so the positions asked about should leave it out:
//! there everything else stays as it is, and only the others are replaced.
//!
//! Steps: read the activations of every prompt and take their mean; then run every prompt as it is, with the
//! reconstruction, with 0 and with the mean.

use microtome_model::{Change, DType, Edit, Positions, RunOptions, Tensor, Value, as_f64, on_cpu};

use super::{ErrorTerm, Sae};
use crate::error::{Error, Result};
use crate::measure::{Meter, Subject};
use crate::metric::MetricId;
use crate::text_model::TextModel;

/// Losses in nats per token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    /// Of the model as it is.
    pub clean: f64,
    /// With the reconstruction, its error gone.
    pub spliced: f64,
    /// With 0 in place of the activation.
    pub zero: f64,
    /// With the activation's mean over prompts and positions in its place.
    pub mean: f64,
}

impl Losses {
    /// The share of the loss that setting the activation to 0 costs and the reconstruction does not; `None`
    /// where it costs nothing.
    pub fn recovered_from_zero(&self) -> Option<f64> {
        self.recovered(self.zero)
    }

    /// The same against the mean.
    pub fn recovered_from_mean(&self) -> Option<f64> {
        self.recovered(self.mean)
    }

    fn recovered(&self, worst: f64) -> Option<f64> {
        let cost = worst - self.clean;
        (cost.abs() > 1e-10).then(|| (worst - self.spliced) / cost)
    }
}

/// What an autoencoder keeps of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// How many positions were encoded.
    pub n_positions: usize,
    /// Active features per position.
    pub l0: f64,
    /// Explained variance; `None` where the activation does not vary.
    pub explained_variance: Option<f64>,
    /// What it costs.
    pub losses: Losses,
}

impl Sae {
    /// Measures the autoencoder on prompts of token ids, at these positions of each.
    ///
    /// # Errors
    /// [`Error::Missing`] without prompts, [`Error::MissingTokens`] for a prompt of one token, what [`Sae::check`]
    /// and the model refuse.
    pub fn quality(&self, model: &TextModel, prompts: &[Vec<u32>], at: &Positions) -> Result<Quality> {
        self.check(model)?;
        if prompts.is_empty() {
            return Err(Error::Missing { what: "a prompt", hint: "give one or more" });
        }
        let activations =
            prompts.iter().map(|tokens| self.read(model, tokens)).collect::<Result<Vec<_>>>()?;
        let chosen = activations.iter().map(|x| rows(x, at)).collect::<Result<Vec<_>>>()?;
        let all = Tensor::cat(&chosen, 0)?; // [pos, d_in], f64
        let mean = all.mean_keepdim(0)?;
        let variation = sum_of_squares(&all.broadcast_sub(&mean)?)?;
        let n_positions = all.dim(0)?;
        let (mut active, mut unexplained, mut losses) = (0.0, 0.0, [0.0; 4]);
        let mut n_predicted = 0.0;
        for ((tokens, x), original) in prompts.iter().zip(&activations).zip(&chosen) {
            let coded = self.encode(x)?;
            let features = rows(coded.features(), at)?;
            active += features.gt(0.0)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
            let reconstruction = rows(&self.decode(&coded, coded.features())?, at)?;
            unexplained += sum_of_squares(&(original - reconstruction)?)?;

            let shape = &self.hook().shape(model.config(), tokens.len())[1..];
            let mean = Value::Tensor(mean.to_dtype(DType::F32)?.reshape(shape)?);
            let put = |change| Some(Edit::new(self.hook(), change).positions(at.clone()));
            let spliced = self.splice(&coded, coded.features(), ErrorTerm::Drop)?.positions(at.clone());
            let runs = [None, Some(spliced), put(Change::Zero), put(Change::Set(mean))];
            let predicted = tokens.len() as f64 - 1.0;
            for (sum, edit) in losses.iter_mut().zip(runs) {
                *sum += loss(model, tokens, edit)? * predicted;
            }
            n_predicted += predicted;
        }
        let [clean, spliced, zero, mean] = losses.map(|sum| sum / n_predicted);
        Ok(Quality {
            n_positions,
            l0: active / n_positions as f64,
            explained_variance: (variation > 0.0).then(|| 1.0 - unexplained / variation),
            losses: Losses { clean, spliced, zero, mean },
        })
    }

    /// The activation at the autoencoder's hook.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn read(&self, model: &TextModel, tokens: &[u32]) -> Result<Tensor> {
        let options =
            RunOptions { reads: vec![self.hook()], logits: Positions::Last, ..RunOptions::default() };
        let run = model.model().run(tokens, &options)?;
        Ok(on_cpu(run.cache.get(self.hook())?)?)
    }
}

/// Rows of an activation at these positions, flattened, in f64.
fn rows(x: &Tensor, at: &Positions) -> Result<Tensor> {
    let len = x.dim(0)?;
    let kept: Vec<u32> = at.resolve(len)?.into_iter().map(|pos| pos as u32).collect();
    let flat = as_f64(x)?.reshape((len, ()))?.contiguous()?;
    Ok(flat.index_select(&Tensor::new(kept, flat.device())?, 0)?)
}

fn sum_of_squares(x: &Tensor) -> Result<f64> {
    Ok(x.sqr()?.sum_all()?.to_scalar::<f64>()?)
}

fn loss(model: &TextModel, tokens: &[u32], edit: Option<Edit>) -> Result<f64> {
    let subject = Subject { tokens: tokens.to_vec(), answers: vec![], wrong: vec![], clamp: None };
    let meter = Meter { metrics: vec![MetricId::named("loss")?], read_at: None };
    meter.check_length(&subject)?;
    let options = RunOptions { edits: edit.into_iter().collect(), ..RunOptions::default() };
    let run = model.model().run(tokens, &options)?;
    Ok(meter.of_logits(&subject, run.logits()?)?.values[0])
}
