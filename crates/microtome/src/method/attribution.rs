//! Direct logit attribution: what each component writes towards the answer, by itself.
//!
//! The final LayerNorm's scale is frozen at its value in this run, which makes the logits linear in the
//! residual stream: each component's output, centred, divided by the scale, times the gain, dotted
//! with the unembedding direction, is its share. The shares and the constant term sum to the logit (or
//! logit difference) exactly. nostalgebraist 2020; Elhage et al. 2021.
//!
//! A head's share is the sum over the positions it looks at of `pattern[query, key] * (v[key] W_O)` read the same way, and an
//! MLP's that of its neurons, `post * W_out`, and its bias: both can be asked for.

use std::sync::atomic::Ordering;

use microtome_model::{Config, Edit, Hook, Positions, RunOptions, Site, Tensor, as_f64};
use serde::{Deserialize, Serialize};

use super::sweep;
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::stats::over_prompts;
use crate::text_model::TextModel;

/// Direct logit attribution, asked as an experiment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Attribution {
    /// Layers whose neurons are told apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neurons: Vec<usize>,
    /// What a head's share is told apart by.
    #[serde(default, skip_serializing_if = "Heads::is_whole")]
    pub heads: Heads,
    /// How a component's output is read.
    #[serde(default, skip_serializing_if = "Reading::is_exact")]
    pub reading: Reading,
}

/// What a head's share is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Heads {
    /// Nothing.
    #[default]
    Whole,
    /// The positions it looks at; of a single prompt.
    BySource,
}

impl Heads {
    fn is_whole(&self) -> bool {
        *self == Heads::Whole
    }
}

/// How a component's output is read as the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Through the final LayerNorm with its scale frozen: shares sum to the logit.
    #[default]
    Exact,
    /// As `cache.logit_attrs` of TransformerLens: the final LayerNorm's gain and bias are left out. The same on folded
    /// weights, where there is no gain; otherwise shares do not sum to the logit.
    TlLogitAttrs,
}

impl Reading {
    fn is_exact(&self) -> bool {
        *self == Reading::Exact
    }
}

/// Shares of a logit or logit difference at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectAttribution {
    /// Token embedding.
    pub embed: f64,
    /// Position embedding.
    pub pos_embed: f64,
    /// `[layer][head]`: each head's output, `b_O` left out.
    pub heads: Vec<Vec<f64>>,
    /// By layer: `b_O`.
    pub attention_bias: Vec<f64>,
    /// By layer: the MLP's output, its bias included.
    pub mlps: Vec<f64>,
    /// What does not depend on the prompt: the final LayerNorm's bias and the unembedding's.
    pub constant: f64,
    /// The residual stream read as the answer would be, without the constant: entering each layer and
    /// between its attention and MLP (`0_pre`, `0_mid`, ..), then leaving the last (`final_post`).
    pub accumulated: Vec<(String, f64)>,
}

impl DirectAttribution {
    /// All shares together: the logit, or logit difference, itself.
    pub fn total(&self) -> f64 {
        let heads: f64 = self.heads.iter().flatten().sum();
        let layers: f64 = self.attention_bias.iter().chain(&self.mlps).sum();
        self.embed + self.pos_embed + heads + layers + self.constant
    }
}

/// Takes apart `mean logit of answers - mean logit of wrong answers` (the mean logit of the answers where
/// no wrong ones are given) at position `pos` of a prompt, in a run with these edits.
///
/// # Errors
/// A position or token that does not exist.
pub fn direct_attribution(
    model: &TextModel,
    tokens: &[u32],
    pos: usize,
    answers: &[u32],
    wrong: &[u32],
    edits: &[Edit],
) -> Result<DirectAttribution> {
    let asked = Asked { tokens, pos, answers, wrong, edits, reading: Reading::Exact };
    Ok(asked.read(model, &Attribution::default())?.shares)
}

/// What is taken apart.
struct Asked<'a> {
    tokens: &'a [u32],
    pos: usize,
    answers: &'a [u32],
    wrong: &'a [u32],
    edits: &'a [Edit],
    reading: Reading,
}

/// Shares, and those of parts of components.
struct Shares {
    shares: DirectAttribution,
    /// By layer asked for: every neuron's, then the output bias's.
    neurons: Vec<Vec<f64>>,
    /// `[layer][pos][head]` where they were asked for.
    sources: Vec<Vec<Vec<f64>>>,
    /// The logit or logit difference itself.
    model: f64,
}

impl Asked<'_> {
    fn read(&self, model: &TextModel, attribution: &Attribution) -> Result<Shares> {
        let Asked { tokens, pos, answers, wrong, .. } = *self;
        if answers.is_empty() {
            return Err(Error::Missing {
                what: "a right answer",
                hint: "give the token whose logit is taken apart",
            });
        }
        answers.iter().chain(wrong).try_for_each(|&id| model.model().check_tokens(&[id]))?;
        let config = model.config();
        let weights = model.model().weights();
        let layers = 0..config.n_layers;
        let in_layers = |site: Site| layers.clone().map(move |layer| site.at(layer));
        let has_mlp = config.mlp.is_some();
        let by_source = attribution.heads == Heads::BySource;
        let mut reads: Vec<Hook> = vec![Site::Embed.at(0), Site::PosEmbed.at(0)];
        for site in [Site::ResidPre, Site::Result, Site::ResidPost] {
            reads.extend(in_layers(site));
        }
        if has_mlp {
            reads.extend(in_layers(Site::ResidMid).chain(in_layers(Site::MlpOut)));
        }
        if config.norm.is_some() {
            reads.push(Site::LnFinalScale.at(0));
        }
        reads.extend(attribution.neurons.iter().map(|&layer| Site::MlpPost.at(layer)));
        let keep = Positions::At(vec![pos]);
        let (edits, logits) = (self.edits.to_vec(), keep.clone());
        let run =
            model.model().run(tokens, &RunOptions { edits, reads, keep, logits, ..Default::default() })?;

        let row = |hook: Hook| -> Result<Tensor> { Ok(run.cache.get(hook)?.get(0)?) };
        let (direction, constant) = logit_direction(weights, answers, wrong, self.reading)?;
        let scale = match config.norm {
            Some(_) => numbers(&row(Site::LnFinalScale.at(0))?)?[0],
            None => 1.0,
        };
        let direction = through_norm(direction, config, scale);
        let share = |x: &Tensor| -> Result<f64> { Ok(dot(&numbers(x)?, &direction)) };
        let of = |hook: Hook| share(&row(hook)?);
        let by_layer =
            |site: Site| layers.clone().map(|layer| of(site.at(layer))).collect::<Result<Vec<_>>>();

        let heads = layers
            .clone()
            .map(|layer| {
                let result = row(Site::Result.at(layer))?; // [head, d_model]
                (0..config.n_heads).map(|head| share(&result.get(head)?)).collect()
            })
            .collect::<Result<Vec<Vec<f64>>>>()?;
        let attention_bias =
            layers.clone().map(|layer| share(weights.blocks[layer].out.bias())).collect::<Result<_>>()?;
        let mut accumulated = Vec::new();
        for layer in layers.clone() {
            accumulated.push((format!("{layer}_pre"), of(Site::ResidPre.at(layer))?));
            if has_mlp {
                accumulated.push((format!("{layer}_mid"), of(Site::ResidMid.at(layer))?));
            }
        }
        accumulated.push(("final_post".to_owned(), of(Site::ResidPost.at(config.n_layers - 1))?));
        let neurons = |&layer: &usize| -> Result<Vec<f64>> {
            let Some(mlp) = &weights.blocks[layer].mlp else { return Ok(vec![]) };
            let post = numbers(&row(Site::MlpPost.at(layer))?)?;
            let out = numbers(&mlp.output.unpacked()?.w)?; // [d_mlp, d_model]
            let rows = out.chunks(config.d_model).zip(&post);
            let each = rows.map(|(row, post)| post * dot(row, &direction));
            Ok(each.chain([share(mlp.output.bias())?]).collect())
        };
        let neurons = attribution.neurons.iter().map(neurons).collect::<Result<_>>()?;
        let logits = numbers(run.logits()?)?;
        let mean =
            |ids: &[u32]| ids.iter().map(|&id| logits[id as usize]).sum::<f64>() / ids.len().max(1) as f64;
        let sources = if by_source { self.sources(model, &direction)? } else { vec![] };
        let shares = DirectAttribution {
            embed: of(Site::Embed.at(0))?,
            pos_embed: of(Site::PosEmbed.at(0))?,
            heads,
            attention_bias,
            mlps: if has_mlp { by_layer(Site::MlpOut)? } else { vec![] },
            constant,
            accumulated,
        };
        Ok(Shares { shares, neurons, sources, model: mean(answers) - mean(wrong) })
    }

    /// What each head brings from each position it sees, `[layer][pos][head]`.
    fn sources(&self, model: &TextModel, direction: &[f64]) -> Result<Vec<Vec<Vec<f64>>>> {
        let config = model.config();
        let layers = 0..config.n_layers;
        let sites = [Site::Pattern, Site::V];
        let reads = layers.clone().flat_map(|layer| sites.map(|site| site.at(layer))).collect();
        let edits = self.edits.to_vec();
        let options = RunOptions { edits, reads, logits: Positions::Last, ..Default::default() };
        let run = model.model().run(self.tokens, &options)?;
        let of_layer = |layer: usize| -> Result<Vec<Vec<f64>>> {
            let pattern = as_f64(run.cache.get(Site::Pattern.at(layer))?)?.to_vec3::<f64>()?; // [head, query, key]
            let v = as_f64(run.cache.get(Site::V.at(layer))?)?.to_vec3::<f64>()?; // [pos, head, d_head]
            let out = numbers(&model.model().weights().blocks[layer].out.unpacked()?.w)?; // [head * d_head, d_model]
            let read: Vec<f64> = out.chunks(config.d_model).map(|row| dot(row, direction)).collect();
            let of = |pos: usize, head: usize| {
                let through = &read[head * config.d_head..(head + 1) * config.d_head];
                pattern[head][self.pos][pos] * dot(&v[pos][head], through)
            };
            let heads = |pos: usize| (0..config.n_heads).map(|head| of(pos, head)).collect();
            Ok((0..self.tokens.len()).map(heads).collect())
        };
        layers.map(of_layer).collect()
    }
}

impl Attribution {
    /// The metrics its tables are of.
    pub(crate) fn metrics(&self) -> Vec<&'static str> {
        let neurons = (!self.neurons.is_empty()).then_some("direct_neurons");
        let sources = (self.heads == Heads::BySource).then_some("direct_sources");
        let always = ["direct_heads", "direct_mlps", "direct_biases", "direct_outside", "direct_accumulated"];
        always.into_iter().chain(neurons).chain(sources).collect()
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let what = "metrics: it takes apart the logit of the answers, or their logit difference";
        Error::refuse_unused("direct attribution", &[(!experiment.metrics.is_empty(), what)])?;
        let config = model.config();
        for &layer in &self.neurons {
            crate::component::Component::Neuron { layer, neuron: 0 }.check(config)?;
        }
        let cases = experiment.cases(model)?;
        if self.heads == Heads::BySource && cases.len() > 1 {
            let what = "more than one prompt: their positions are not the same";
            return Err(Error::Unused { method: "direct attribution by source", what });
        }
        let n_wrong = cases.iter().filter(|case| !case.wrong.is_empty()).count();
        if n_wrong != 0 && n_wrong != cases.len() {
            let hint = "a logit and a logit difference have no mean; give every prompt one, or none";
            return Err(Error::Missing { what: "a wrong answer for every prompt", hint });
        }
        let mut found: Vec<Shares> = Vec::new();
        for case in &cases {
            (watch.progress)(found.len(), cases.len());
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            let tokens = &case.clean.ids;
            let pos = experiment.read_at.unwrap_or(tokens.len() - 1);
            Positions::At(vec![pos]).resolve(tokens.len())?;
            let (answers, wrong, reading) = (&case.answers[..], &case.wrong[..], self.reading);
            let shares = Asked { tokens, pos, answers, wrong, edits: &[], reading }.read(model, self)?;
            if !shares.model.is_finite() {
                return Err(Error::NotFinite { what: "the run".to_owned() });
            }
            found.push(shares);
        }
        if found.is_empty() {
            return Err(Error::StoppedEarly);
        }
        (watch.progress)(found.len(), cases.len());
        let quantity = if n_wrong > 0 { "logit difference" } else { "logit" };
        let report = |case: &Case| sweep::report(model, case, None, &[], &[]);
        Ok(Results {
            prompts: cases[..found.len()].iter().map(report).collect(),
            tables: self.tables(experiment, config, &cases[0], &found, quantity),
            notes: self.notes(experiment, &found, quantity),
            runs: found.len(),
            runs_wanted: cases.len(),
            ..Default::default()
        })
    }

    fn notes(&self, experiment: &Experiment, found: &[Shares], quantity: &str) -> Vec<String> {
        let position = match experiment.read_at {
            Some(pos) => format!("position {pos}"),
            None => "the last position".to_owned(),
        };
        let mut notes = vec![format!(
            "what each component writes, by itself, towards the {quantity} at {position}, the final LayerNorm's scale \
             frozen"
        )];
        let apart = |shares: &Shares| (shares.shares.total() - shares.model).abs();
        let apart = found.iter().map(apart).fold(0.0, f64::max);
        notes.push(match self.reading {
            Reading::Exact => format!("all shares sum to the model's own {quantity}; largest difference {apart:.1e}"),
            Reading::TlLogitAttrs => format!(
                "the final LayerNorm's gain and bias are left out, as TransformerLens's logit_attrs does: the shares \
                 miss the model's own {quantity} by up to {apart:.1e}"
            ),
        });
        notes.extend(sweep::prompts_note(found.len(), experiment));
        notes
    }

    fn tables(
        &self,
        experiment: &Experiment,
        config: &Config,
        case: &Case,
        found: &[Shares],
        quantity: &str,
    ) -> Vec<Table> {
        let table = |metric: &str, title: &str, axes: Vec<Axis>, of: &dyn Fn(&Shares) -> Vec<f64>| {
            let by_prompt: Vec<Vec<f64>> = found.iter().map(of).collect();
            let (values, spread) = over_prompts(&by_prompt, experiment.seed);
            Table {
                metric: metric.to_owned(),
                // A share is what the logit would lose with it, the scale held: signed about 0.
                quantity: Quantity::Change,
                title: format!("{title} of the {quantity}"),
                unit: "logits".to_owned(),
                baseline: "0 = writes nothing towards the answer".to_owned(),
                basis: Basis::Exact,
                axes,
                values: values.into_iter().map(Some).collect(),
                spread: spread.into_iter().map(Some).collect(),
            }
        };
        let axis = |name: &str, labels: Vec<String>| Axis { name: name.to_owned(), labels };
        let layers = |prefix: &str| sweep::layer_axis(prefix, 0..config.n_layers);
        let outside = ["embed", "pos_embed", "constant", "all shares", "model"].map(str::to_owned).to_vec();
        let stream = found[0].shares.accumulated.iter().map(|(name, _)| name.clone()).collect();
        let mut tables = vec![table(
            "direct_heads",
            "Share of each head",
            vec![layers("L"), sweep::head_axis(config.n_heads)],
            &|of| of.shares.heads.concat(),
        )];
        if config.mlp.is_some() {
            tables.push(table(
                "direct_mlps",
                "Share of each MLP, its bias included",
                vec![layers("m")],
                &|of| of.shares.mlps.clone(),
            ));
        }
        tables.push(table(
            "direct_biases",
            "Share of each attention layer's b_O",
            vec![layers("a")],
            &|of| of.shares.attention_bias.clone(),
        ));
        tables.push(table(
            "direct_outside",
            "Share of what lies outside the layers, and the sum",
            vec![axis("part", outside)],
            &|of| {
                let s = &of.shares;
                vec![s.embed, s.pos_embed, s.constant, s.total(), of.model]
            },
        ));
        let title = "The residual stream read as the answer, without the constant,";
        tables.push(table("direct_accumulated", title, vec![axis("stream", stream)], &|of| {
            of.shares.accumulated.iter().map(|(_, share)| *share).collect()
        }));
        if !self.neurons.is_empty() {
            let labels = (0..config.d_mlp()).map(|n| format!("N{n}")).chain(["bias".to_owned()]).collect();
            let axes = vec![sweep::layer_axis("L", self.neurons.iter().copied()), axis("neuron", labels)];
            tables.push(table("direct_neurons", "Share of each neuron", axes, &|of| of.neurons.concat()));
        }
        if self.heads == Heads::BySource {
            let axes = vec![layers("L"), sweep::position_axis(&case.clean), sweep::head_axis(config.n_heads)];
            tables.push(table(
                "direct_sources",
                "Share of each head by the position it looks at",
                axes,
                &|of| of.sources.concat().concat(),
            ));
        }
        tables
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The direction of the residual stream, after the final LayerNorm's division, that the logits read as
/// the answer, and the constant they add.
fn logit_direction(
    weights: &microtome_model::Weights<microtome_model::LinearMap>,
    answers: &[u32],
    wrong: &[u32],
    reading: Reading,
) -> Result<(Vec<f64>, f64)> {
    let d_model = weights.unembed.d_in();
    let bias = numbers(weights.unembed.bias())?;
    let mut direction = vec![0.0; d_model];
    let mut constant = 0.0;
    for (ids, sign) in [(answers, 1.0), (wrong, -1.0)] {
        for &id in ids {
            let weight = sign / ids.len() as f64;
            let id = id as usize;
            let column = weights.unembed.columns(id..id + 1)?;
            for (sum, x) in direction.iter_mut().zip(numbers(&column)?) {
                *sum += weight * x;
            }
            constant += weight * bias[id];
        }
    }
    if let (Some(norm), Reading::Exact) = (&weights.ln_final, reading) {
        constant += numbers(&norm.b)?.iter().zip(&direction).map(|(b, d)| b * d).sum::<f64>();
        for (d, gain) in direction.iter_mut().zip(numbers(&norm.w)?) {
            *d *= gain;
        }
    }
    Ok((direction, constant))
}

/// The direction by which the residual stream is read as the answer at a position, the final LayerNorm's scale frozen: what
/// a component writes, dotted with it, is its share of the logit, or logit difference.
///
/// # Errors
/// A position or token that does not exist.
pub(crate) fn answer_direction(
    model: &TextModel,
    tokens: &[u32],
    pos: usize,
    (answers, wrong): (&[u32], &[u32]),
) -> Result<Vec<f64>> {
    let config = model.config();
    let (direction, _) = logit_direction(model.model().weights(), answers, wrong, Reading::Exact)?;
    let hook = Site::LnFinalScale.at(0);
    let scale = match config.norm {
        Some(_) => {
            let keep = Positions::At(vec![pos]);
            let options = RunOptions { reads: vec![hook], logits: keep.clone(), keep, ..Default::default() };
            let run = model.model().run(tokens, &options)?;
            numbers(run.cache.get(hook)?)?[0]
        }
        None => 1.0,
    };
    Ok(through_norm(direction, config, scale))
}

/// With a norm, centring the component is centring the direction.
fn through_norm(direction: Vec<f64>, config: &Config, scale: f64) -> Vec<f64> {
    match config.norm {
        Some(_) => {
            let mean = direction.iter().sum::<f64>() / direction.len() as f64;
            direction.iter().map(|d| (d - mean) / scale).collect()
        }
        None => direction,
    }
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(as_f64(x)?.flatten_all()?.to_vec1()?)
}
