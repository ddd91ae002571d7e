//! Sparse autoencoders: an activation as a few active features of many.
//!
//! With an activation `x` of one position, flattened over heads where there are heads:
//!
//! ```text
//! x' = normalised(x) - b_dec              (b_dec only where `apply_b_dec_to_input`)
//! standard  f = relu(x' W_enc + b_enc)
//! topk      f = relu of the k largest of (x' W_enc + b_enc), 0 elsewhere
//! jumprelu  f = relu(p) where p = x' W_enc + b_enc > threshold, 0 elsewhere
//! gated     f = relu(x' (W_enc exp(r_mag)) + b_mag) where x' W_enc + b_gate > 0, 0 elsewhere
//! reconstruction = denormalised(f W_dec + b_dec)
//! ```
//!
//! A transcoder reads one activation and reconstructs another, with `f` as standard or jumprelu read it and no `b_dec` in `x'`:
//!
//! ```text
//! reconstruction = f W_dec + b_dec (+ W_skip x)
//! ```
//!
//! A topk autoencoder may say that it compares `p |W_dec_i|`: its features are then in these units and are divided
//! by `|W_dec_i|` when decoded. BatchTopK and Matryoshka autoencoders are saved with one threshold
//! per feature and run as jumprelu. Normalisation is by LayerNorm over the position (`layer_norm`: unbiased
//! standard deviation, `eps` outside the root) or to the norm `sqrt(d_in)` (`constant_norm_rescale`); the average of
//! `expected_average_only_in` is part of the weights when they are saved.
//!
//! The files are SAELens's: `cfg.json` and `sae_weights.safetensors`. Left out: autoencoders of one
//! head, `tanh-relu`, ghost gradients' and finetuning's extra tensors.

mod active;
mod change;
mod choice;
mod config;
mod demo;
mod error;
mod load;
mod quality;
mod releases;
mod report;
mod save;
mod transcoder;

use microtome_model::{Change, DType, Edit, Hook, Site, Tensor, Value, on_cpu};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::text_model::TextModel;
pub use active::{ActiveFeature, Features};
pub(crate) use active::{rows, strongest};
pub use change::FeatureChange;
pub(crate) use change::{Cell, edits_of};
pub use choice::SaeChoice;
pub(crate) use config::known_name;
pub use config::{Architecture, Normalization, SaeConfig, TrainedOn};
pub use error::SaeError;
pub(crate) use quality::Kept;
pub use quality::{Losses, Quality};
pub use report::SaeReport;
pub use transcoder::Transcoder;

/// The files of a folder.
const CONFIG_FILE: &str = "cfg.json";
const WEIGHTS_FILE: &str = "sae_weights.safetensors";

/// A sparse autoencoder ready to run on the processor, in f32.
#[derive(Debug, Clone)]
pub struct Sae {
    name: SaeChoice,
    /// Fingerprint of its tensors as they are in the file.
    hash: String,
    config: SaeConfig,
    weights: Weights,
}

/// Tensors as on disk, in f32.
#[derive(Debug, Clone)]
struct Weights {
    /// `[d_in, d_sae]`.
    w_enc: Tensor,
    /// `[d_sae, d_out]`.
    w_dec: Tensor,
    /// `[d_out]`.
    b_dec: Tensor,
    /// `[d_out, d_in]`, of a transcoder with a skip connection.
    skip: Option<Tensor>,
    kind: Kind,
}

/// What an architecture has of its own; each tensor is `[d_sae]`.
#[derive(Debug, Clone)]
enum Kind {
    Standard { b_enc: Tensor },
    TopK { b_enc: Tensor, k: usize, norms: Option<Tensor> },
    JumpRelu { b_enc: Tensor, threshold: Tensor },
    Gated { b_gate: Tensor, r_mag: Tensor, b_mag: Tensor },
}

/// What an autoencoder is about in one text.
#[derive(Debug, Clone)]
pub struct Activations {
    /// The activation it reads, `[pos, ..]`.
    pub input: Tensor,
    /// The one it writes, and reconstructs, `[pos, ..]`; the same but of a transcoder.
    pub target: Tensor,
}

/// An activation and the features read from it.
#[derive(Debug, Clone)]
pub struct Coded {
    /// `[pos, d_sae]`.
    features: Tensor,
    /// `[pos, d_in]`, what was encoded, before any normalisation.
    input: Tensor,
    /// What undoes the normalisation, each `[pos, 1]`: the reconstruction is `y * scale + shift`.
    undo: Option<(Tensor, Tensor)>,
    /// Shape of what is decoded.
    shape: Vec<usize>,
}

impl Coded {
    /// Feature activations, `[pos, d_sae]`.
    pub fn features(&self) -> &Tensor {
        &self.features
    }
}

/// What happens to the part of an activation that the features do not explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorTerm {
    /// It is gone: the model goes on with the reconstruction alone.
    Drop,
    /// It is added back, so that features left as they are change nothing.
    #[default]
    Keep,
}

impl Sae {
    /// What it is called.
    pub fn name(&self) -> &SaeChoice {
        &self.name
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: SaeChoice) -> Sae {
        Sae { name, ..self }
    }

    /// Fingerprint of its tensors, whatever type they are stored as.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Checks that a feature exists.
    ///
    /// # Errors
    /// [`SaeError::NoSuchFeature`].
    pub fn check_feature(&self, feature: usize) -> Result<(), SaeError> {
        let d_sae = self.config.d_sae;
        if feature < d_sae { Ok(()) } else { Err(SaeError::NoSuchFeature { feature, d_sae }) }
    }

    /// What its configuration says.
    pub fn config(&self) -> &SaeConfig {
        &self.config
    }

    /// Where in a model it reads.
    pub fn hook(&self) -> Hook {
        self.config.hook
    }

    /// Where it writes: where it reads, but of a transcoder.
    pub fn writes_at(&self) -> Hook {
        self.config.writes_at()
    }

    /// The layer whose `resid_pre` is the first residual stream that holds what features write: their own layer for
    /// `resid_pre`, the next one otherwise.
    pub fn layer_after(&self) -> usize {
        let hook = self.writes_at();
        if hook.site <= Site::ResidPre { hook.layer } else { hook.layer + 1 }
    }

    /// What each feature writes, `[d_sae, d_out]`, before any normalisation is undone.
    pub fn decoder(&self) -> &Tensor {
        &self.weights.w_dec
    }

    /// What a feature reads by, `[d_in]`, before anything is added.
    ///
    /// # Errors
    /// [`SaeError::NoSuchFeature`].
    pub fn encoder_of(&self, feature: usize) -> Result<Tensor> {
        self.check_feature(feature)?;
        Ok(self.weights.w_enc.narrow(1, feature, 1)?.flatten_all()?)
    }

    /// What a feature writes for each unit of its activation, of the shape in this model of the hook it writes at without
    /// its first axis, before any normalisation is undone.
    ///
    /// # Errors
    /// [`SaeError::NoSuchFeature`].
    pub fn direction(&self, feature: usize, model: &TextModel) -> Result<Tensor> {
        self.check_feature(feature)?;
        let row = self.weights.w_dec.narrow(0, feature, 1)?;
        let row = match &self.weights.kind {
            Kind::TopK { norms: Some(norms), .. } => row.broadcast_div(&norms.narrow(0, feature, 1)?)?,
            _ => row,
        };
        Ok(row.reshape(&self.writes_at().shape(model.config(), 1)[1..])?)
    }

    /// Checks that a model is one this autoencoder can be run on: it has the sites, their widths, the weights the
    /// autoencoder was trained on, prepared as they were.
    ///
    /// # Errors
    /// [`SaeError`], as [`crate::Error::Sae`], and [`crate::Error::Model`] where the model has no such hook.
    pub fn check(&self, model: &TextModel) -> Result<()> {
        self.hook().check(model.config())?;
        self.writes_at().check(model.config())?;
        Ok(self.config.check(model)?)
    }

    /// The features of an activation of the shape its hook has, `[pos, ..]`.
    ///
    /// # Errors
    /// [`SaeError::Width`] where it is not as wide as the autoencoder.
    pub fn encode(&self, activation: &Tensor) -> Result<Coded> {
        let shape = activation.dims().to_vec();
        let width = shape.iter().skip(1).product();
        let SaeConfig { d_in, .. } = self.config;
        if width != d_in {
            let hook = self.hook().to_string();
            return Err(SaeError::Width { hook, does: "reads", width: d_in, found: width }.into());
        }
        let (shape, undone) = match self.config.transcoder {
            Some(transcoder) => (vec![shape[0], transcoder.d_out], false),
            None => (shape, true),
        };
        let input = on_cpu(activation)?.to_dtype(DType::F32)?.reshape(((), d_in))?.contiguous()?;
        let (normal, undo) = self.normalised(&input)?;
        let centred =
            if self.config.subtract_b_dec { normal.broadcast_sub(&self.weights.b_dec)? } else { normal };
        let features = self.activations(&centred)?;
        Ok(Coded { features, input, undo: undo.filter(|_| undone), shape })
    }

    /// The activation these features stand for, in the shape of what was encoded, or what a transcoder writes, `[pos, d_out]`;
    /// what goes past the features through a skip connection is in it. `features` may be
    /// [`Coded::features`] or a changed copy.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] where `features` is not `[pos, d_sae]`.
    pub fn decode(&self, coded: &Coded, features: &Tensor) -> Result<Tensor> {
        Ok(self.decode_flat(coded, features)?.reshape(&coded.shape[..])?)
    }

    /// The change of a run that puts these features in the place of the activation they stand for, `target`.
    ///
    /// # Errors
    /// As [`Sae::decode`], and [`crate::Error::Tensor`] where `target` has another shape.
    pub fn splice(
        &self,
        coded: &Coded,
        features: &Tensor,
        target: &Tensor,
        error: ErrorTerm,
    ) -> Result<Edit> {
        let value = self.spliced(coded, features, target, error)?;
        Ok(Edit::new(self.writes_at(), Change::Set(Value::Tensor(value))))
    }

    /// The activation `target` with these features in the place of those it has, in the shape of what is decoded.
    fn spliced(&self, coded: &Coded, features: &Tensor, target: &Tensor, error: ErrorTerm) -> Result<Tensor> {
        let mut value = self.decode_flat(coded, features)?;
        if error == ErrorTerm::Keep {
            let target = on_cpu(target)?.to_dtype(DType::F32)?.reshape(((), self.config.d_out()))?;
            let unexplained = (target - self.decode_flat(coded, &coded.features)?)?;
            value = (value + unexplained)?;
        }
        Ok(value.reshape(&coded.shape[..])?)
    }

    fn decode_flat(&self, coded: &Coded, features: &Tensor) -> Result<Tensor> {
        let features = match &self.weights.kind {
            Kind::TopK { norms: Some(norms), .. } => features.broadcast_div(norms)?,
            _ => features.clone(),
        };
        let mut out = features.matmul(&self.weights.w_dec)?.broadcast_add(&self.weights.b_dec)?;
        if let Some(skip) = &self.weights.skip {
            out = (out + coded.input.matmul(&skip.t()?)?)?;
        }
        Ok(match &coded.undo {
            Some((scale, shift)) => out.broadcast_mul(scale)?.broadcast_add(shift)?,
            None => out,
        })
    }

    fn normalised(&self, x: &Tensor) -> Result<(Tensor, Option<(Tensor, Tensor)>)> {
        let d_in = self.config.d_in as f64;
        match self.config.normalization {
            Normalization::None | Normalization::ExpectedAverageOnlyIn => Ok((x.clone(), None)),
            Normalization::ConstantNormRescale => {
                let scale = (x.sqr()?.sum_keepdim(1)?.sqrt()? / d_in.sqrt())?;
                let shift = scale.zeros_like()?;
                Ok((x.broadcast_div(&scale)?, Some((scale, shift))))
            }
            Normalization::LayerNorm => {
                let mean = x.mean_keepdim(1)?;
                let from_mean = x.broadcast_sub(&mean)?;
                let std = (from_mean.sqr()?.sum_keepdim(1)? / (d_in - 1.0))?.sqrt()?;
                Ok((from_mean.broadcast_div(&(&std + 1e-5)?)?, Some((std, mean))))
            }
        }
    }

    fn activations(&self, x: &Tensor) -> Result<Tensor> {
        let product = x.matmul(&self.weights.w_enc)?;
        let above = |pre: &Tensor, least: &Tensor| -> Result<Tensor> {
            Ok(pre.broadcast_gt(least)?.to_dtype(DType::F32)?)
        };
        match &self.weights.kind {
            Kind::Standard { b_enc } => Ok(product.broadcast_add(b_enc)?.relu()?),
            Kind::JumpRelu { b_enc, threshold } => {
                let pre = product.broadcast_add(b_enc)?;
                Ok((pre.relu()? * above(&pre, threshold)?)?)
            }
            Kind::Gated { b_gate, r_mag, b_mag } => {
                let gate = product.broadcast_add(b_gate)?;
                let open = above(&gate, &b_gate.zeros_like()?)?;
                let size = product.broadcast_mul(&r_mag.exp()?)?.broadcast_add(b_mag)?.relu()?;
                Ok((open * size)?)
            }
            Kind::TopK { b_enc, k, norms } => {
                let pre = product.broadcast_add(b_enc)?;
                let pre = match norms {
                    Some(norms) => pre.broadcast_mul(norms)?,
                    None => pre,
                };
                let mut rows = pre.to_vec2::<f32>()?;
                for row in &mut rows {
                    keep_largest(row, *k);
                }
                let n_rows = rows.len();
                Ok(Tensor::from_vec(rows.concat(), (n_rows, self.config.d_sae), x.device())?)
            }
        }
    }
}

/// All but the `k` largest become 0, and so do those below 0; of equal ones the first stay.
fn keep_largest(row: &mut [f32], k: usize) {
    let mut order: Vec<usize> = (0..row.len()).collect();
    if k < row.len() {
        order.select_nth_unstable_by(k, |&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        for &index in &order[k..] {
            row[index] = 0.0;
        }
    }
    for value in row {
        *value = value.max(0.0);
    }
}
