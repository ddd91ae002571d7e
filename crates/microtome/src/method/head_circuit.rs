//! What one head's weights match and move: its QK and OV circuits over all pairs of tokens (Elhage et al. 2021, "A
//! Mathematical Framework for Transformer Circuits").
//!
//! With `E` the tokens as the head reads them, one row each:
//!
//! - QK, `E W_Q W_K^T E^T / sqrt(d_head)`: entry (a, b) is what the attention score of token a for token b owes to the
//!   two tokens alone. Biases and positions are left out;
//! - OV, `E W_V W_O W_U`: entry (a, b) is what looking at token a adds to the logit of token b.
//!
//! Both are `d_vocab x d_vocab` of rank `d_head` at most, so they are kept as two thin factors and looked through some
//! rows at a time. Given are the largest and smallest entries, mean and deviation, the diagonal (a token and
//! itself), and single tokens' rows and columns.
//!
//! The **copying score** is the sum of OV's eigenvalues over the sum of their absolute values: 1 for a head
//! that raises every token it looks at, -1 for one that lowers them. The eigenvalues that are not 0 are those of the
//! `d_head x d_head` product `W_O W_U E W_V`, so it is exact and cheap. The **matching score** is the same of QK, from
//! `W_K^T E^T E W_Q`: 1 where tokens match themselves.
//!
//! Positions have a circuit of their own: `qk_position` is the score of the key some tokens back by position embeddings
//! alone, less the query's mean over the keys it sees (a softmax does not see that mean).

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use microtome_model::{Config, DType, Device, Model, Tensor, as_f64, with_rows};
use serde::{Deserialize, Serialize};

use super::circuit_weights::{Embedding, LayerMaps, Size, TokensRead, about_weights};
use super::eigenvalues::{Eigenvalue, eigenvalues, positivity};
use super::strongest_pairs::{Entry, Scan, rows_at_once, scan};
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::record::{Axis, Basis, Quantity, Results, Table, TokenLabel};
use crate::text_model::{Answer, TextModel};

/// The circuits of one head, asked as an experiment. It needs no prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeadCircuit {
    /// Which head.
    pub head: Component,
    /// What of a token the head reads.
    #[serde(default)]
    pub embedding: Embedding,
    /// How large it is.
    #[serde(default)]
    pub size: Size,
    /// How many of the strongest pairs are given, at either end; 20 where left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<usize>,
    /// Tokens whose own rows and columns are given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Answer>,
}

/// What was found of a head's circuits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadReport {
    /// Which head.
    pub head: Component,
    /// From a query's token to a key's.
    pub qk: CircuitReport,
    /// From the token looked at to the token raised.
    pub ov: CircuitReport,
    /// Sum of OV's eigenvalues over the sum of their absolute values; left out where all are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copying: Option<f64>,
    /// The eigenvalues of OV that may be other than 0, the largest first.
    pub ov_eigenvalues: Vec<Eigenvalue>,
    /// The same as `copying`, of QK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<f64>,
    /// The eigenvalues of QK that may be other than 0, the largest first.
    pub qk_eigenvalues: Vec<Eigenvalue>,
    /// The tokens asked about.
    pub tokens: Vec<TokenReport>,
}

/// One circuit over all pairs of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CircuitReport {
    /// The pairs with the largest entries.
    pub highest: Vec<TokenPair>,
    /// The pairs with the smallest.
    pub lowest: Vec<TokenPair>,
    /// Mean of all entries.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// Mean of a token with itself.
    pub diagonal_mean: f64,
    /// Share of tokens whose largest entry is with themselves.
    pub diagonal_first: f64,
    /// Tokens looked through; fewer than there are where it was stopped.
    pub tokens: usize,
}

/// An entry of a circuit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenPair {
    /// The query's token, or the one looked at.
    pub from: TokenLabel,
    /// The key's token, or the one raised.
    pub to: TokenLabel,
    /// The entry.
    pub value: f64,
}

/// A token with a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenValue {
    /// The token.
    pub token: TokenLabel,
    /// The number.
    pub value: f64,
}

/// What a head does with one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenReport {
    /// Which.
    pub token: TokenLabel,
    /// As a query: the keys with the highest scores.
    pub looks_at: Vec<TokenValue>,
    /// As a key: the queries with the highest scores.
    pub looked_at_by: Vec<TokenValue>,
    /// Looked at: the tokens raised most.
    pub raises: Vec<TokenValue>,
    /// Looked at: the tokens lowered most.
    pub lowers: Vec<TokenValue>,
}

/// Pairs given where nobody says how many.
const PAIRS: usize = 20;
/// Most pairs.
const MOST_PAIRS: usize = 1000;
/// Entries of a single token's row.
const OF_TOKEN: usize = 10;
/// The table of positions.
const POSITION: &str = "qk_position";
/// Offsets in it.
const OFFSETS: usize = 16;

impl HeadCircuit {
    /// The metrics its tables are of.
    pub const METRICS: [&'static str; 1] = [POSITION];

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
        Error::refuse_unused("the circuits of a head", &unused)?;
        self.head.check(model.config())?;
        let Component::Head { layer, head } = self.head else {
            return Err(Error::NotOneHead { component: self.head.to_string() });
        };
        let pairs = self.pairs.unwrap_or(PAIRS);
        if !(1..=MOST_PAIRS).contains(&pairs) {
            let (name, value) = ("the number of pairs", pairs as f64);
            return Err(Error::OutOfRange { name, value, expected: "1 to 1000" });
        }
        let asked: Vec<u32> =
            self.tokens.iter().map(|token| model.answer(token, "token")).collect::<Result<_>>()?;
        let read = TokensRead { model: model.model(), embedding: self.embedding, size: self.size, layer };
        read.check()?;
        let factors = Factors::new(&read, layer, head, watch)?;
        let looked = Looked::new(&factors, pairs, watch)?;
        let d_vocab = model.config().d_vocab;
        let ov_eigenvalues = eigenvalues(&small(&factors.written, &factors.values)?)?;
        let qk_eigenvalues = eigenvalues(&small(&factors.keys, &factors.queries)?)?;
        let report = HeadReport {
            head: self.head,
            qk: circuit(model, &looked.qk),
            ov: circuit(model, &looked.ov),
            copying: positivity(&ov_eigenvalues),
            ov_eigenvalues,
            matching: positivity(&qk_eigenvalues),
            qk_eigenvalues,
            tokens: asked.iter().map(|&id| factors.token(model, id)).collect::<Result<_>>()?,
        };
        let (runs, runs_wanted) = (looked.qk.rows + looked.ov.rows, 2 * d_vocab);
        (watch.progress)(runs, runs_wanted);
        Ok(Results {
            tables: vec![positions(model.model(), layer, head, self.head)?],
            head_circuit: Some(report),
            notes: self.notes(model),
            runs,
            runs_wanted,
            ..Default::default()
        })
    }

    fn notes(&self, model: &TextModel) -> Vec<String> {
        let tokens = match self.embedding {
            Embedding::Embed => "W_E",
            Embedding::AfterMlp0 => "W_E + MLP0(LN2(W_E))",
        };
        let size = match self.size {
            Size::AsIs => "as large as they are",
            Size::LayerNorm => "after the head's LayerNorm",
        };
        vec![
            format!("the circuits of {}: tokens as {tokens}, {size}", self.head),
            about_weights(model.model()).to_owned(),
            "QK: attention score of a query's token for a key's, biases and positions left out".to_owned(),
            "OV: logits that looking at a token adds to another, before the final LayerNorm's scale"
                .to_owned(),
        ]
    }
}

/// Both circuits as thin factors.
struct Factors {
    /// `[d_vocab, d_head]`, over the root of `d_head`.
    queries: Tensor,
    /// `[d_head, d_vocab]`.
    keys: Tensor,
    /// `[d_vocab, d_head]`.
    values: Tensor,
    /// `[d_head, d_vocab]`.
    written: Tensor,
}

/// Tokens projected at once.
const PROJECTED: usize = 4096;

impl Factors {
    fn new(read: &TokensRead, layer: usize, head: usize, watch: &Watch) -> Result<Factors> {
        let config = read.model.config();
        let maps = LayerMaps::of(read.model, layer)?.head(config, head)?;
        let [mut queries, mut keys, mut values] = [vec![], vec![], vec![]];
        for start in (0..config.d_vocab).step_by(PROJECTED) {
            if watch.cancel.load(Ordering::Relaxed) {
                return Err(Error::StoppedEarly);
            }
            let rows = read.rows(start..(start + PROJECTED).min(config.d_vocab))?.contiguous()?; // [tokens, d_model]
            queries.push((rows.matmul(&maps.q)? / (config.d_head as f64).sqrt())?);
            keys.push(rows.matmul(&maps.k)?);
            values.push(rows.matmul(&maps.v)?);
        }
        Ok(Factors {
            queries: Tensor::cat(&queries, 0)?,
            keys: Tensor::cat(&keys, 0)?.t()?.contiguous()?,
            values: Tensor::cat(&values, 0)?,
            written: read.written(&maps.o)?.contiguous()?,
        })
    }

    fn token(&self, model: &TextModel, id: u32) -> Result<TokenReport> {
        let at = id as usize;
        let row = |a: &Tensor, b: &Tensor| -> Result<Vec<f32>> {
            Ok(with_rows(&a.narrow(0, at, 1)?.matmul(b)?, <[f32]>::to_vec)?)
        };
        let column = |a: &Tensor, b: &Tensor| -> Result<Vec<f32>> {
            Ok(with_rows(&a.matmul(&b.narrow(1, at, 1)?.contiguous()?)?, <[f32]>::to_vec)?)
        };
        let ends = |values: Vec<f32>, highest: bool| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| {
                let by_value = values[a].total_cmp(&values[b]);
                (if highest { by_value.reverse() } else { by_value }).then(a.cmp(&b))
            });
            let value = |&i: &usize| TokenValue { token: label(model, i), value: f64::from(values[i]) };
            order.iter().take(OF_TOKEN).map(value).collect::<Vec<_>>()
        };
        let written = row(&self.values, &self.written)?;
        Ok(TokenReport {
            token: label(model, at),
            looks_at: ends(row(&self.queries, &self.keys)?, true),
            looked_at_by: ends(column(&self.queries, &self.keys)?, true),
            raises: ends(written.clone(), true),
            lowers: ends(written, false),
        })
    }
}

/// Both circuits looked through.
struct Looked {
    qk: Scan,
    ov: Scan,
}

impl Looked {
    fn new(factors: &Factors, pairs: usize, watch: &mut Watch) -> Result<Looked> {
        let d_vocab = factors.queries.dim(0)?;
        // A block, and as much again while it is multiplied.
        let at_once = rows_at_once(d_vocab, (watch.memory_budget / 4).min(64 << 20));
        let mut before = 0;
        let mut look = |a: &Tensor, b: &Tensor| -> Result<Scan> {
            let mut done = |rows| {
                (watch.progress)(before + rows, 2 * d_vocab);
                match watch.cancel.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let found = scan(a, b, pairs, at_once, &mut done)?;
            before += found.rows;
            Ok(found)
        };
        let qk = look(&factors.queries, &factors.keys)?;
        let ov = look(&factors.values, &factors.written)?;
        Ok(Looked { qk, ov })
    }
}

fn label(model: &TextModel, id: usize) -> TokenLabel {
    let id = id as u32;
    TokenLabel { id, token: model.label(id) }
}

fn circuit(model: &TextModel, found: &Scan) -> CircuitReport {
    let pair = |entry: &Entry| TokenPair {
        from: label(model, entry.row),
        to: label(model, entry.column),
        value: f64::from(entry.value),
    };
    CircuitReport {
        highest: found.highest.iter().map(pair).collect(),
        lowest: found.lowest.iter().map(pair).collect(),
        mean: found.mean(),
        deviation: found.deviation(),
        diagonal_mean: found.diagonal_mean(),
        diagonal_first: found.diagonal_first as f64 / found.rows as f64,
        tokens: found.rows,
    }
}

/// `left [d, n] right [n, d]` in f64, row after row.
fn small(left: &Tensor, right: &Tensor) -> Result<Vec<Vec<f64>>> {
    let (d, n) = left.dims2()?;
    let mut sum = Tensor::zeros((d, d), DType::F64, &Device::Cpu)?;
    for start in (0..n).step_by(PROJECTED) {
        let len = PROJECTED.min(n - start);
        let left = as_f64(&left.narrow(1, start, len)?)?.contiguous()?;
        let right = as_f64(&right.narrow(0, start, len)?)?;
        sum = (sum + left.matmul(&right)?)?;
    }
    Ok(sum.to_vec2()?)
}

/// The attention scores of positions for each other, by offset.
fn positions(model: &Model, layer: usize, head: usize, name: Component) -> Result<Table> {
    let config: &Config = model.config();
    let maps = LayerMaps::of(model, layer)?.head(config, head)?.to_f64()?;
    let embed = as_f64(&model.weights().pos_embed)?;
    let scores =
        (embed.matmul(&maps.q)?.matmul(&embed.matmul(&maps.k)?.t()?)? / (config.d_head as f64).sqrt())?;
    let scores: Vec<Vec<f64>> = scores.to_vec2()?; // [query, key]
    let offsets = OFFSETS.min(config.n_ctx);
    let queries = offsets - 1..config.n_ctx;
    let of = |offset: usize| {
        let centred = queries.clone().map(|q| {
            let seen = &scores[q][..=q];
            scores[q][q - offset] - seen.iter().sum::<f64>() / seen.len() as f64
        });
        centred.sum::<f64>() / queries.len() as f64
    };
    Ok(Table {
        metric: POSITION.to_owned(),
        quantity: Quantity::Value,
        title: format!(
            "Attention score of {name} for the key some tokens back, by position embeddings alone"
        ),
        unit: "attention score".to_owned(),
        baseline: format!(
            "0 = the query's mean over the keys it sees; mean over queries from {}, as positions enter layer 0",
            queries.start
        ),
        basis: Basis::Exact,
        axes: vec![Axis { name: "offset".to_owned(), labels: (0..offsets).map(|o| o.to_string()).collect() }],
        values: (0..offsets).map(|offset| Some(of(offset))).collect(),
        spread: vec![],
    })
}
