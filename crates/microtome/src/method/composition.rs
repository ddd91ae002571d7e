//! Composition: how much every head reads of what every earlier head writes, by the weights alone; and how much each
//! head copies.
//!
//! Of an earlier head 1 and a later head 2 (Elhage et al. 2021), with `|.|` the Frobenius norm:
//!
//! - Q-composition `|W_OV1 W_QK2| / (|W_OV1| |W_QK2|)`, with `W_OV = W_V W_O` and `W_QK = W_Q W_K^T`;
//! - K-composition the same with `W_QK2^T`;
//! - V-composition the same with `W_OV2`.
//!
//! 0 means that 2 reads nothing of what 1 writes; matrices that know nothing of each other still reach
//! about `1 / sqrt(d_model)`: with one of them turned at random, the mean of the square is exactly `1 / d_model`
//! (`d_model - 1` where both lie in the space of mean 0, as folded weights do). With [`Baseline::Random`] that number
//! is taken off. All of it is computed from `d_head x d_head` products: `|A M B^T|^2 = trace(A^T A M B^T B M^T)`.
//!
//! The copying score of every head is that of [`head_circuit`](super::head_circuit).

use std::sync::atomic::Ordering;

use microtome_model::{Config, DType, Device, Model, Processing, Tensor, as_f64};
use serde::{Deserialize, Serialize};

use super::circuit_weights::{Embedding, LayerMaps, Size, TokensRead, about_weights};
use super::eigenvalues::{eigenvalues, positivity};
use super::sweep;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Partial, Watch};
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::text_model::TextModel;

/// Composition scores of all pairs of heads, asked as an experiment. It needs no prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Composition {
    /// What is taken off every score.
    #[serde(default)]
    pub less: Baseline,
}

/// What composition scores are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Nothing.
    #[default]
    None,
    /// What matrices that know nothing of each other reach.
    Random,
}

/// The later head's input that is composed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Q,
    K,
    V,
}

const KINDS: [(Kind, &str, &str); 3] = [
    (Kind::Q, "q_composition", "queries"),
    (Kind::K, "k_composition", "keys"),
    (Kind::V, "v_composition", "values"),
];

/// The table of copying scores.
const COPYING: &str = "copying";

/// Tokens multiplied at once.
const AT_ONCE: usize = 4096;

impl Composition {
    /// The metrics its tables are of.
    pub const METRICS: [&'static str; 4] = ["q_composition", "k_composition", "v_composition", COPYING];

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let unused = [
            (!experiment.prompts.is_empty(), "prompts: it is about weights"),
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at"),
        ];
        Error::refuse_unused("composition", &unused)?;
        let config = model.config();
        let heads = config.n_layers * config.n_heads;
        let mut scores = [vec![None; heads * heads], vec![None; heads * heads], vec![None; heads * heads]];
        let wanted = config.n_layers * (config.n_layers - 1) / 2 + 1;
        let mut runs = 0;
        let stop = |watch: &mut Watch, runs: usize| {
            (watch.progress)(runs, wanted);
            watch.cancel.load(Ordering::Relaxed)
        };
        let mut copied = vec![None; heads];
        if !stop(watch, runs) {
            match copying(model.model(), watch)? {
                Some(found) => copied = found,
                None => return Err(Error::StoppedEarly),
            }
            runs += 1;
        }
        'layers: for from in 0..config.n_layers {
            let writer = Heads::of(model.model(), from)?;
            for to in from + 1..config.n_layers {
                if stop(watch, runs) {
                    break 'layers;
                }
                let reader = Heads::of(model.model(), to)?;
                for (scores, (kind, ..)) in scores.iter_mut().zip(KINDS) {
                    writer.write_scores(&reader, kind, config, [from, to], scores)?;
                }
                runs += 1;
            }
            if let Some(partial) = watch.partial.as_mut() {
                partial(Partial::Tables(self.tables(model.model(), &scores, &copied)));
            }
        }
        if runs == 0 {
            return Err(Error::StoppedEarly);
        }
        (watch.progress)(runs, wanted);
        Ok(Results {
            tables: self.tables(model.model(), &scores, &copied),
            notes: vec![
                "how much a head reads of what an earlier one writes, by the weights alone".to_owned(),
                about_weights(model.model()).to_owned(),
                format!(
                    "matrices that know nothing of each other reach {:.4} (root of the mean square)",
                    random(model.model())
                ),
                "copying: sum of the eigenvalues of W_E W_V W_O W_U over the sum of their absolute values"
                    .to_owned(),
            ],
            runs,
            runs_wanted: wanted,
            ..Default::default()
        })
    }

    fn tables(&self, model: &Model, scores: &[Vec<Option<f64>>; 3], copied: &[Option<f64>]) -> Vec<Table> {
        let config = model.config();
        let names: Vec<String> = Component::heads(config).map(|head| head.to_string()).collect();
        let axis = |name: &str| Axis { name: name.to_owned(), labels: names.clone() };
        let (quantity, off, baseline) = match self.less {
            Baseline::None => (
                Quantity::Value,
                0.0,
                format!("0 = reads nothing of it; unrelated matrices reach {:.4}", random(model)),
            ),
            Baseline::Random => {
                let off = random(model);
                (Quantity::Change, off, format!("score - {off:.4}; 0 = as unrelated matrices"))
            }
        };
        let mut tables: Vec<Table> = KINDS
            .iter()
            .zip(scores)
            .map(|((_, metric, input), scores)| Table {
                metric: (*metric).to_owned(),
                quantity,
                title: format!("Composition with the {input} of later heads"),
                unit: "share of norms".to_owned(),
                baseline: baseline.clone(),
                basis: Basis::Exact,
                axes: vec![axis("from"), axis("to")],
                values: scores.iter().map(|score| score.map(|score| score - off)).collect(),
                spread: vec![],
            })
            .collect();
        tables.push(Table {
            metric: COPYING.to_owned(),
            quantity: Quantity::Value,
            title: "Copying: whether a head raises the tokens it looks at".to_owned(),
            unit: "share of eigenvalues".to_owned(),
            baseline: "1 = raises every token it looks at, -1 = lowers them".to_owned(),
            basis: Basis::Exact,
            axes: vec![sweep::layer_axis("L", 0..config.n_layers), sweep::head_axis(config.n_heads)],
            values: copied.to_vec(),
            spread: vec![],
        });
        tables
    }
}

/// The K-composition of every two heads, `[from, to]`; `None` where the second is not in a later layer.
pub(crate) fn k_scores(model: &Model) -> Result<Vec<Option<f64>>> {
    let config = model.config();
    let heads = config.n_layers * config.n_heads;
    let mut scores = vec![None; heads * heads];
    for from in 0..config.n_layers {
        let writer = Heads::of(model, from)?;
        for to in from + 1..config.n_layers {
            writer.write_scores(&Heads::of(model, to)?, Kind::K, config, [from, to], &mut scores)?;
        }
    }
    Ok(scores)
}

/// What scores are expected to be for matrices that know nothing of each other.
fn random(model: &Model) -> f64 {
    let config = model.config();
    let mean_free = model.processing() == Processing::Folded && config.norm.is_some();
    1.0 / ((config.d_model - usize::from(mean_free)).max(1) as f64).sqrt()
}

/// The heads of a layer in f64, with the products of each with itself.
struct Heads {
    maps: LayerMaps,
    /// `W_Q^T W_Q`, `[head, d_head, d_head]`; and so on.
    qq: Tensor,
    kk: Tensor,
    vv: Tensor,
    /// `W_O W_O^T`.
    oo: Tensor,
}

impl Heads {
    fn of(model: &Model, layer: usize) -> Result<Heads> {
        let config = model.config();
        let maps = LayerMaps::of(model, layer)?.to_f64()?;
        let (h, d) = (config.n_heads, config.d_head);
        let columns = |x: &Tensor| -> Result<Tensor> {
            let x = x.reshape((config.d_model, h, d))?.transpose(0, 1)?.contiguous()?; // [head, d_model, d_head]
            Ok(x.transpose(1, 2)?.contiguous()?.matmul(&x)?)
        };
        let o = maps.o.reshape((h, d, config.d_model))?;
        let oo = o.matmul(&o.transpose(1, 2)?.contiguous()?)?;
        Ok(Heads { qq: columns(&maps.q)?, kk: columns(&maps.k)?, vv: columns(&maps.v)?, oo, maps })
    }

    /// Writes the scores of all pairs of a head here and a head of a later layer.
    fn write_scores(
        &self,
        later: &Heads,
        kind: Kind,
        config: &Config,
        [from, to]: [usize; 2],
        scores: &mut [Option<f64>],
    ) -> Result<()> {
        let (h, d) = (config.n_heads, config.d_head);
        // The later head's matrix is X Y^T; `outer` is Y^T Y, `whole` its squared norm.
        let (x, outer, inner) = match kind {
            Kind::Q => (&later.maps.q, &later.kk, &later.qq),
            Kind::K => (&later.maps.k, &later.qq, &later.kk),
            Kind::V => (&later.maps.v, &later.oo, &later.vv),
        };
        let middle = self.maps.o.contiguous()?.matmul(&x.contiguous()?)?; // [head * d_head, head * d_head]
        let middle = middle.reshape((h, d, h, d))?.permute((0, 2, 1, 3))?.contiguous()?; // [from, to, d_head, d_head]
        let left = self.vv.unsqueeze(1)?.broadcast_matmul(&middle)?;
        let right = middle.broadcast_matmul(&outer.unsqueeze(0)?)?;
        let squares: Vec<Vec<f64>> = (left * right)?.sum(3)?.sum(2)?.to_vec2()?; // [from, to]
        let norms = |a: &Tensor, b: &Tensor| -> Result<Vec<f64>> { Ok((a * b)?.sum(2)?.sum(1)?.to_vec1()?) };
        let (written, read) = (norms(&self.vv, &self.oo)?, norms(inner, outer)?);
        let heads = config.n_layers * h;
        for (i, row) in squares.iter().enumerate() {
            for (j, square) in row.iter().enumerate() {
                let whole = written[i] * read[j];
                let score = (whole > 0.0).then(|| (square.max(0.0) / whole).sqrt());
                scores[(from * h + i) * heads + to * h + j] = score;
            }
        }
        Ok(())
    }
}

/// The copying score of every head; `None` where it was stopped.
fn copying(model: &Model, watch: &Watch) -> Result<Option<Vec<Option<f64>>>> {
    let config = model.config();
    let read = TokensRead { model, embedding: Embedding::Embed, size: Size::AsIs, layer: 0 };
    let unembed = &model.weights().unembed;
    // W_U E, the same for all heads, [d_model, d_model].
    let mut through = Tensor::zeros((config.d_model, config.d_model), DType::F64, &Device::Cpu)?;
    for start in (0..config.d_vocab).step_by(AT_ONCE) {
        if watch.cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let tokens = start..(start + AT_ONCE).min(config.d_vocab);
        let rows = as_f64(&read.rows(tokens.clone())?)?.contiguous()?;
        let columns = as_f64(&unembed.columns(tokens)?)?.contiguous()?;
        through = (through + columns.matmul(&rows)?)?;
    }
    let mut scores = Vec::with_capacity(config.n_layers * config.n_heads);
    for layer in 0..config.n_layers {
        let maps = LayerMaps::of(model, layer)?.to_f64()?;
        for head in 0..config.n_heads {
            let one = maps.head(config, head)?;
            let small = one.o.matmul(&through)?.matmul(&one.v)?; // [d_head, d_head]
            scores.push(positivity(&eigenvalues(&small.to_vec2()?)?));
        }
    }
    Ok(Some(scores))
}
