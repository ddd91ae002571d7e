//! One feature by the weights: the tokens it raises and lowers, and the features that write nearly the same.
//!
//! - Written: `W_dec[feature] W_U`, in logits per unit of activation, before the final LayerNorm divides by its scale, less
//!   the mean over the vocabulary; what is written at `z` or into neurons is followed through `W_O` or `W_out` first.
//! - Nearest: the largest cosines of decoder rows.
//!
//! Where in a text it is active [`crate::corpus_scan`] says.

use microtome_model::{Site, Tensor, as_f64, with_rows};
use serde::{Deserialize, Serialize};

use super::circuit_weights::about_weights;
use super::head_circuit::TokenValue;
use super::promoted_tokens::{ends, logits, tokens_given};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::record::Results;
use crate::sae::{Sae, SaeChoice, SaeError, SaeReport};
use crate::text_model::TextModel;

/// One feature, asked about as an experiment. It needs no prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FeatureProfile {
    /// The autoencoder.
    pub sae: SaeChoice,
    /// Which feature.
    pub feature: usize,
    /// How many tokens are given that it raises, and that it lowers, most; 10 where left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// How many of the nearest features are given; 10 where left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<usize>,
}

/// A feature by the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeatureProfileReport {
    /// The autoencoder.
    pub sae: SaeReport,
    /// Which feature.
    pub feature: usize,
    /// L2 norm of what it writes per unit of activation.
    pub decoder_norm: f64,
    /// L2 norm of what it reads by.
    pub encoder_norm: f64,
    /// Cosine of the two; left out where one is 0, and of a transcoder, whose two are of different places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
    /// Tokens whose logits it raises most, in logits per unit of activation; empty where it does not write into the stream.
    pub promoted: Vec<TokenValue>,
    /// Tokens whose logits it lowers most.
    pub suppressed: Vec<TokenValue>,
    /// The features whose decoder rows point the same way most, the nearest first.
    pub nearest: Vec<NearFeature>,
    /// Its page on Neuronpedia, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// A feature near another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NearFeature {
    /// Which.
    pub feature: usize,
    /// Cosine of the decoder rows.
    pub cosine: f64,
}

/// How many near features are given where nobody says.
const NEAREST: usize = 10;

impl FeatureProfile {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let unused = [
            (!experiment.prompts.is_empty(), "prompts: it is by the weights alone"),
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at"),
        ];
        Error::refuse_unused("a feature's profile", &unused)?;
        let sae = model.sae(&self.sae)?;
        sae.check_feature(self.feature)?;
        let n_tokens = tokens_given(self.tokens)?;
        let n_nearest = match self.nearest.unwrap_or(NEAREST) {
            n @ 0..=1000 => n,
            n => {
                let (name, value) = ("the number of near features", n as f64);
                return Err(Error::OutOfRange { name, value, expected: "0 to 1000" });
            }
        };
        (watch.progress)(0, 1);
        let (promoted, suppressed) = match written(sae, model, self.feature) {
            Ok(row) => ends(model, &logits(model, &row)?, n_tokens),
            Err(Error::Sae(SaeError::NoDirectPath { .. })) => (vec![], vec![]),
            Err(error) => return Err(error),
        };
        let decoder: Vec<f64> = numbers(&sae.direction(self.feature, model)?)?;
        let encoder = numbers(&sae.encoder_of(self.feature)?)?;
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let (decoder_norm, encoder_norm) = (norm(&decoder), norm(&encoder));
        let dot: f64 = decoder.iter().zip(&encoder).map(|(a, b)| a * b).sum();
        let sizes = decoder_norm * encoder_norm;
        let report = FeatureProfileReport {
            sae: sae.report(),
            feature: self.feature,
            decoder_norm,
            encoder_norm,
            cosine: (sizes > 0.0 && sae.hook() == sae.writes_at()).then(|| dot / sizes),
            promoted,
            suppressed,
            nearest: nearest(sae, self.feature, n_nearest)?,
            page: sae.page_of(self.feature),
        };
        (watch.progress)(1, 1);
        let notes = vec![
            format!(
                "feature {} of {} at {}: W_dec W_U, logits per unit of activation before the final LayerNorm divides by its \
                 scale, less the mean over the vocabulary",
                self.feature,
                self.sae,
                sae.place()
            ),
            about_weights(model.model()).to_owned(),
        ];
        Ok(Results { feature: Some(report), notes, runs: 1, runs_wanted: 1, ..Default::default() })
    }
}

/// What a feature adds to the residual stream for each unit of its activation, `[1, d_model]`.
///
/// # Errors
/// [`SaeError::NoDirectPath`] where it is not written there.
pub(crate) fn written(sae: &Sae, model: &TextModel, feature: usize) -> Result<Tensor> {
    let row = sae.direction(feature, model)?.reshape((1, ()))?;
    match output_weights(sae, model)? {
        None => Ok(row),
        Some(weights) => Ok(row.to_dtype(weights.dtype())?.matmul(&weights)?),
    }
}

/// The weights that take what an autoencoder writes into the residual stream, `[d_out, d_model]`; `None` where it is
/// there already.
///
/// # Errors
/// [`SaeError::NoDirectPath`].
pub(crate) fn output_weights(sae: &Sae, model: &TextModel) -> Result<Option<Tensor>> {
    let hook = sae.writes_at();
    let block = model.model().weights().blocks.get(hook.layer);
    let through = match (hook.site, block) {
        (Site::ResidPre | Site::ResidMid | Site::ResidPost | Site::AttnOut | Site::MlpOut, _) => {
            return Ok(None);
        }
        (Site::Z, Some(block)) => Some(&block.out),
        (Site::MlpPost, Some(block)) => block.mlp.as_ref().map(|mlp| &mlp.output),
        _ => None,
    };
    let through = through.ok_or_else(|| SaeError::NoDirectPath { hook: hook.to_string() })?;
    Ok(Some(microtome_model::on_cpu(&through.unpacked()?.w)?))
}

/// The features whose decoder rows have the largest cosine with one's own.
fn nearest(sae: &Sae, feature: usize, count: usize) -> Result<Vec<NearFeature>> {
    let decoder = sae.decoder(); // [d_sae, d_out]
    let own = decoder.narrow(0, feature, 1)?.t()?.contiguous()?;
    let dots = decoder.matmul(&own)?;
    let norms = decoder.sqr()?.sum(1)?.sqrt()?;
    let dots: Vec<f32> = with_rows(&dots, <[f32]>::to_vec)?;
    let norms: Vec<f32> = with_rows(&norms, <[f32]>::to_vec)?;
    let cosine = |i: usize| f64::from(dots[i]) / (f64::from(norms[i]) * f64::from(norms[feature]));
    let others = (0..dots.len()).filter(|&i| i != feature);
    let mut near: Vec<NearFeature> = others
        .map(|i| NearFeature { feature: i, cosine: cosine(i) })
        .filter(|near| near.cosine.is_finite())
        .collect();
    near.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.feature.cmp(&b.feature)));
    near.truncate(count);
    Ok(near)
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(as_f64(x)?.flatten_all()?.to_vec1()?)
}
