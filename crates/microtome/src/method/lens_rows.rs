//! Rows of the residual stream, or of what was added to it, read as logits.
//!
//! A row of the stream goes through the final LayerNorm ([`LensNorm`] says how) and the unembedding. A part of
//! the stream is read without the constant that every row gets: with a frozen scale the map from `x` to logits
//! is `L(x) = A x + c`, so a part gives `L(x) - L(0)`, the constant row `L(0)`, and all of them sum to `L` of
//! the whole stream.

use microtome_model::{Config, FinalNorm, Hook, Run, Site, Tensor, with_rows};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::experiment::Case;
use crate::metric::{MetricId, Row, log_sum_exp, most_probable};
use crate::text_model::{TextModel, Tokens};
use crate::tuned_lens::TunedLens;

/// How a row becomes what the unembedding multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LensNorm {
    /// The final LayerNorm, with the row's own deviation.
    #[default]
    Final,
    /// Nothing: the row itself.
    None,
    /// The final LayerNorm with the scale that the last row of the same position has: a linear map.
    Frozen,
    /// The same without gain and bias, as TransformerLens's `apply_ln_to_stack` does
    /// (`accumulated_resid(apply_ln=True)` of its second version).
    TlCachedScale,
}

/// Which rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LensRows {
    /// The stream entering layer 0 and leaving every layer: `embed`, `L0`, `L1`.
    #[default]
    Layers,
    /// The stream before each attention layer and each MLP, as TransformerLens's `accumulated_resid` names it:
    /// `0_pre`, `0_mid`, `1_pre`, `final_post`.
    Sublayers,
    /// What is added to the stream, one by one: `embed`, `pos_embed`, `0_attn_out`, `0_mlp_out`, and the
    /// `constant` of the final LayerNorm and the unembedding. They sum to the model's logits.
    Contributions,
}

/// One row of the lens.
#[derive(Debug, Clone)]
pub(crate) struct LensRow {
    pub label: String,
    /// Where it is read; `None` for the constant.
    pub hook: Option<Hook>,
    /// How many layers came before it, an attention layer counting half.
    pub layers: f64,
}

impl LensRows {
    /// The rows of a model, in order.
    pub(crate) fn of(self, config: &Config) -> Vec<LensRow> {
        let row = |label: String, hook: Hook, layers: f64| LensRow { label, hook: Some(hook), layers };
        let n_layers = config.n_layers;
        let mut rows = Vec::new();
        match self {
            LensRows::Layers => {
                rows.push(row("embed".to_owned(), Site::ResidPre.at(0), 0.0));
                rows.extend(
                    (0..n_layers)
                        .map(|layer| row(format!("L{layer}"), Site::ResidPost.at(layer), (layer + 1) as f64)),
                );
            }
            LensRows::Sublayers => {
                for layer in 0..n_layers {
                    rows.push(row(format!("{layer}_pre"), Site::ResidPre.at(layer), layer as f64));
                    if config.mlp.is_some() {
                        let after = layer as f64 + 0.5;
                        rows.push(row(format!("{layer}_mid"), Site::ResidMid.at(layer), after));
                    }
                }
                let last = Site::ResidPost.at(n_layers - 1);
                rows.push(row("final_post".to_owned(), last, n_layers as f64));
            }
            LensRows::Contributions => {
                rows.push(row("embed".to_owned(), Site::Embed.at(0), 0.0));
                rows.push(row("pos_embed".to_owned(), Site::PosEmbed.at(0), 0.0));
                for layer in 0..n_layers {
                    let [half, whole] = [0.5, 1.0].map(|share| layer as f64 + share);
                    rows.push(row(format!("{layer}_attn_out"), Site::AttnOut.at(layer), half));
                    if config.mlp.is_some() {
                        rows.push(row(format!("{layer}_mlp_out"), Site::MlpOut.at(layer), whole));
                    }
                }
                let layers = n_layers as f64;
                rows.push(LensRow { label: "constant".to_owned(), hook: None, layers });
            }
        }
        rows
    }
}

/// One row at one position.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// One number per metric.
    pub values: Vec<f64>,
    /// The most probable tokens, most probable first.
    pub top: Vec<(u32, f64)>,
    /// The answers' probability; NaN where there are none.
    pub answer: f64,
}

/// Rows of the residual stream, of as many layers as that takes, that go through the unembedding together: fewer
/// would leave it waiting for memory.
pub(crate) const ROWS: usize = 208;

/// Tokens listed of a cell.
const LISTED: usize = 5;

/// Reads rows of one run at some positions.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub model: &'a TextModel,
    pub metrics: &'a [MetricId],
    pub norm: LensNorm,
    /// What rows go through before.
    pub tuned: Option<&'a TunedLens>,
    pub case: &'a Case,
    pub tokens: &'a Tokens,
    /// The positions that the run kept and that are read, in order.
    pub positions: &'a [usize],
    pub run: &'a Run,
    /// The model's own logits at these positions, `[position, d_vocab]`.
    pub output: &'a [f32],
    pub memory_budget: usize,
}

impl Reader<'_> {
    /// The most probable token of the model itself, of every position.
    pub fn output_top(&self) -> Vec<u32> {
        let top = |row: &[f32]| most_probable(row, 1).first().copied().unwrap_or_default();
        self.output.par_chunks(self.model.config().d_vocab).map(top).collect()
    }

    /// The cells of some rows at every position, `[row][position]`.
    pub fn read(&self, rows: &[LensRow], parts: Parts) -> Result<Vec<Vec<Cell>>> {
        let (n, config) = (self.positions.len(), self.model.config());
        let zeros = || Tensor::zeros((n, config.d_model), self.run_dtype()?, self.model.model().device());
        let stream = |row: &LensRow| -> Result<Tensor> {
            match row.hook {
                Some(hook) => {
                    let rows = self.run.cache.get(hook)?;
                    match self.tuned {
                        Some(lens) => lens.translated(row.layers as usize, rows),
                        None => Ok(rows.clone()),
                    }
                }
                None => Ok(zeros()?),
            }
        };
        let stacked = Tensor::cat(&rows.iter().map(stream).collect::<Result<Vec<_>>>()?, 0)?;
        let scale = match self.norm {
            LensNorm::Frozen | LensNorm::TlCachedScale if config.norm.is_some() => {
                let scale = self.run.cache.get(Site::LnFinalScale.at(0))?;
                Some(Tensor::cat(&vec![scale; rows.len()], 0)?)
            }
            _ => None,
        };
        let constant = match parts {
            Parts::Whole => None,
            Parts::WithoutConstant => {
                let one = scale.as_ref().map(|scale| scale.narrow(0, 0, 1)).transpose()?;
                let logits = self.logits(&zeros()?.narrow(0, 0, 1)?, one.as_ref())?;
                Some(with_rows(&logits, <[f32]>::to_vec)?)
            }
        };
        let n_rows = n * rows.len();
        let at_once = (self.memory_budget / (config.d_vocab * size_of::<f32>())).clamp(1, n_rows);
        let mut cells = Vec::with_capacity(n_rows);
        for first in (0..n_rows).step_by(at_once) {
            let count = at_once.min(n_rows - first);
            let scale = scale.as_ref().map(|scale| scale.narrow(0, first, count)).transpose()?;
            let logits = self.logits(&stacked.narrow(0, first, count)?, scale.as_ref())?;
            let read = |logits: &[f32]| -> Option<Vec<Cell>> {
                let cell = |(i, logits): (usize, &[f32])| {
                    let (row, place) = ((first + i) / n, (first + i) % n);
                    match constant.as_ref().filter(|_| rows[row].hook.is_some()) {
                        Some(constant) => {
                            let part: Vec<f32> = logits.iter().zip(constant).map(|(x, c)| x - c).collect();
                            self.cell(place, &part)
                        }
                        None => self.cell(place, logits),
                    }
                };
                logits.par_chunks(config.d_vocab).enumerate().map(cell).collect()
            };
            let finite = with_rows(&logits, read)?;
            let label = &rows[first / n].label;
            cells.extend(
                finite.ok_or_else(|| Error::NotFinite { what: format!("the lens at {label} or above") })?,
            );
        }
        Ok(cells.chunks(n).map(<[Cell]>::to_vec).collect())
    }

    fn run_dtype(&self) -> Result<microtome_model::DType, microtome_model::TensorError> {
        Ok(self.model.model().weights().embed.dtype())
    }

    fn logits(&self, rows: &Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
        let norm = match (self.norm, scale) {
            (LensNorm::None, _) => FinalNorm::Skipped,
            (LensNorm::Frozen, Some(scale)) => FinalNorm::Frozen(scale),
            (LensNorm::TlCachedScale, Some(scale)) => FinalNorm::FrozenScaleOnly(scale),
            _ => FinalNorm::Own,
        };
        Ok(self.model.model().logits_from_resid(rows, norm)?)
    }

    fn cell(&self, place: usize, logits: &[f32]) -> Option<Cell> {
        let original = &self.output[place * logits.len()..(place + 1) * logits.len()];
        let (log_z, original_log_z) = (log_sum_exp(logits), log_sum_exp(original));
        if !log_z.is_finite() {
            return None;
        }
        let row = Row {
            logits,
            log_z,
            original,
            original_log_z,
            answers: &self.case.answers,
            wrong: &self.case.wrong,
            next: self.tokens.ids.get(self.positions[place] + 1).copied(),
        };
        let top = most_probable(logits, LISTED).into_iter().map(|id| (id, row.prob(id))).collect();
        let answer = match &self.case.answers[..] {
            [] => f64::NAN,
            answers => row.total_prob(answers),
        };
        Some(Cell { values: self.metrics.iter().map(|metric| metric.row(&row)).collect(), top, answer })
    }
}

/// What rows are of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// All of it.
    Whole,
    /// Parts, read without the constant.
    WithoutConstant,
}
