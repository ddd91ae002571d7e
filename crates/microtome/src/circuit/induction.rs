//! The induction circuit of a model: which heads feed the keys of its induction heads.
//!
//! 1. Every head is scored on random tokens said twice ([`head_scores`]); the heads with the highest induction score are followed.
//! 2. By the weights: K-composition of every earlier head with each of these
//!    ([`composition`](crate::method::composition)).
//! 3. By intervention: prompts `BOS r r`, `r` random tokens that differ, cut off before the last one, which is the answer; in the
//!    corrupt prompt the first `r` is another. [Path patching](super::path_patch) from every head to query, key and
//!    value of each, MLPs frozen, corrupt into clean: what the logit difference between the last token of `r` and that of the
//!    other one loses.
//!
//! A previous-token head that an induction head reads shows in both: its K-composition is high, and with its corrupt
//! output at the key the answer is lost. Elhage et al. 2021; Olsson et al. 2022. Left out: what reaches the keys through a head
//! in between.

use std::sync::atomic::Ordering;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use super::graph::{Node, Port};
use super::path_patch::{MlpsBetween, PathPatch, Receivers, Senders};
use super::receiver::Receiver;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Method, Prompt, Watch};
use crate::method::composition::k_scores;
use crate::method::head_scores::{HeadScores, head_scores};
use crate::method::patch::Direction;
use crate::method::sweep;
use crate::metric::MetricId;
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::stats::Spread;
use crate::text_model::{Answer, Text, TextModel};
use microtome_model::Positions;

/// A search for the induction circuit. It needs no prompt; the random tokens come from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InductionCircuit {
    /// Induction heads followed; 3 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Tokens before they are said again; 20, or as many as context and vocabulary hold, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<usize>,
    /// Sequences averaged over; 8 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences: Option<usize>,
}

/// A head that feeds the key of an induction head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Feeding {
    /// The earlier head.
    pub from: Component,
    /// The induction head.
    pub to: Component,
    /// How much of the earlier head's attention goes to the token before.
    pub previous_token: f64,
    /// How much of the induction head's attention goes to what followed the present token earlier on.
    pub induction: f64,
    /// K-composition of the two, by the weights; left out where a head writes or reads nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k_composition: Option<f64>,
    /// Recovery of the logit difference with the earlier head's corrupt output at the key: 1 = nothing is lost.
    pub recovery: f64,
    /// How sure the recovery is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

/// A path that takes less than this share of the answer away is not listed.
const LEAST_LOST: f64 = 0.05;
/// Paths listed, at most.
const LISTED: usize = 20;
/// Most sequences there may be.
const MOST_SEQUENCES: usize = 1000;

/// The metric of its patches.
const METRIC: &str = "logit_diff";

impl InductionCircuit {
    /// The metrics its tables are of.
    pub const METRICS: [&'static str; 4] = [METRIC, "k_composition", "previous_token", "induction"];

    /// How many edited runs it takes, at most.
    pub fn count(&self, config: &microtome_model::Config) -> usize {
        let heads = config.n_layers * config.n_heads;
        let followed = self.heads.unwrap_or(3).min(heads);
        self.sequences.unwrap_or(8).saturating_mul(3 * heads * followed)
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let unused = [
            (!experiment.prompts.is_empty(), "prompts: it takes random tokens"),
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at"),
        ];
        Error::refuse_unused("the induction circuit", &unused)?;
        let config = model.config();
        let asked = self.checked(model)?;
        let scores = head_scores(model, asked.period, asked.sequences, experiment.seed)?;
        if watch.cancel.load(Ordering::Relaxed) {
            return Err(Error::StoppedEarly);
        }
        let followed = followed(&scores, asked.heads);
        if followed.is_empty() {
            let hint = "an induction head reads what an earlier layer wrote; this model has one layer";
            return Err(Error::Missing { what: "a second layer", hint });
        }
        let ports = [Port::Query, Port::Key, Port::Value];
        let inputs = followed
            .iter()
            .flat_map(|&(layer, head)| ports.map(|port| Receiver { node: Node::Head { layer, head }, port }));
        let patch = PathPatch {
            from: Senders::Heads,
            to: Receivers::Each(inputs.collect()),
            mlps: MlpsBetween::Frozen,
            direction: Direction::Noise,
            at: Positions::All,
        };
        let patched = Experiment {
            prompts: sequences(model, asked.period, asked.sequences, experiment.seed),
            metrics: vec![MetricId::named(METRIC)?],
            method: Method::PathPatch(patch.clone()),
            ..experiment.clone()
        };
        let found = patch.run(&patched, model, watch)?;
        let composed = k_scores(model.model())?;
        let feedings = feedings(&found, &followed, &scores, &composed, config.n_heads);
        let mut tables = found.tables;
        tables.push(composition_table(&followed, &composed, config.n_heads));
        for (metric, title, values) in [
            ("previous_token", "Attention to the previous token", &scores.previous),
            ("induction", "Attention to what followed the same token earlier on", &scores.induction),
        ] {
            tables.push(Table {
                metric: metric.to_owned(),
                quantity: Quantity::Value,
                title: title.to_owned(),
                unit: "share of attention".to_owned(),
                baseline: "0 = none of a head's attention, 1 = all of it".to_owned(),
                basis: Basis::Exact,
                axes: vec![sweep::layer_axis("L", 0..config.n_layers), sweep::head_axis(config.n_heads)],
                values: values.iter().flatten().copied().map(Some).collect(),
                spread: vec![],
            });
        }
        let names: Vec<String> = followed.iter().map(|&head| component(head).to_string()).collect();
        let mut notes = vec![
            format!(
                "followed: {}, the heads that attend most to what came after the same token",
                names.join(", ")
            ),
            format!(
                "{} sequences of {} random tokens said twice; the corrupt prompt begins with others; seed {}",
                asked.sequences, asked.period, experiment.seed
            ),
        ];
        notes.extend(found.notes);
        Ok(Results {
            feedings,
            tables,
            notes,
            prompts: found.prompts,
            runs: found.runs,
            runs_wanted: found.runs_wanted,
            ..Default::default()
        })
    }

    fn checked(&self, model: &TextModel) -> Result<Asked> {
        let config = model.config();
        // Scores put BOS in front of both halves.
        let room = (config.n_ctx.saturating_sub(1) / 2).min(config.d_vocab.saturating_sub(1) / 2);
        let asked = Asked {
            heads: self.heads.unwrap_or(3),
            period: self.period.unwrap_or(room.min(20)),
            sequences: self.sequences.unwrap_or(8),
        };
        let out_of = |name: &'static str, value: usize, expected: &'static str| {
            Err(Error::OutOfRange { name, value: value as f64, expected })
        };
        if asked.heads == 0 {
            return out_of("the number of heads followed", asked.heads, "1 or more");
        }
        if !(1..=MOST_SEQUENCES).contains(&asked.sequences) {
            return out_of("the number of sequences", asked.sequences, "1 to 1000");
        }
        if asked.period < 2 {
            return out_of("the period", asked.period, "2 tokens or more");
        }
        if asked.period > room {
            return out_of(
                "the period",
                asked.period,
                "at most half the context, and half the vocabulary without its BOS",
            );
        }
        Ok(asked)
    }
}

/// What is asked, defaults filled in.
struct Asked {
    heads: usize,
    period: usize,
    sequences: usize,
}

fn component((layer, head): (usize, usize)) -> Component {
    Component::Head { layer, head }
}

/// The heads above the first layer with the highest induction score, highest first.
fn followed(scores: &HeadScores, count: usize) -> Vec<(usize, usize)> {
    let of_layer =
        |(layer, row): (usize, &Vec<f64>)| (0..row.len()).map(move |head| (layer, head)).collect::<Vec<_>>();
    let mut heads: Vec<(usize, usize)> =
        scores.induction.iter().enumerate().skip(1).flat_map(of_layer).collect();
    let score = |&(layer, head): &(usize, usize)| scores.induction[layer][head];
    heads.sort_by(|a, b| score(b).total_cmp(&score(a)));
    heads.truncate(count);
    heads
}

/// Prompts `BOS r r` without their last token, the first `r` another in the corrupt ones.
fn sequences(model: &TextModel, period: usize, count: usize, seed: u64) -> Vec<Prompt> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Head scores draw from streams 0 and 1.
    rng.set_stream(2);
    let bos = model.bos();
    let vocabulary: Vec<u32> = (0..model.config().d_vocab as u32).filter(|id| Some(*id) != bos).collect();
    let prompt = |_| {
        let mut tokens = vocabulary.clone();
        for place in 0..2 * period {
            let left = (tokens.len() - place) as u64;
            tokens.swap(place, place + ((u64::from(rng.next_u32()) * left) >> 32) as usize);
        }
        let (said, other) = (&tokens[..period], &tokens[period..2 * period]);
        let text =
            |first: &[u32]| Text::Ids(bos.iter().chain(first).chain(&said[..period - 1]).copied().collect());
        Prompt {
            clean: text(said),
            corrupt: Some(text(other)),
            answers: vec![Answer::Id(said[period - 1])],
            wrong_answers: vec![Answer::Id(other[period - 1])],
        }
    };
    (0..count).map(prompt).collect()
}

/// The paths to keys that take most of the answer away, first the one that takes most.
fn feedings(
    found: &Results,
    followed: &[(usize, usize)],
    scores: &HeadScores,
    composed: &[Option<f64>],
    n_heads: usize,
) -> Vec<Feeding> {
    let recovery = found.tables.iter().find(|table| table.quantity == Quantity::Recovery);
    let Some(recovery) = recovery else { return vec![] };
    let columns = 3 * followed.len();
    let heads = scores.induction.len() * n_heads;
    let mut feedings = Vec::new();
    for (index, &to) in followed.iter().enumerate() {
        for sender in 0..heads {
            let cell = sender * columns + 3 * index + 1;
            let Some(value) = recovery.values.get(cell).copied().flatten() else { continue };
            if 1.0 - value < LEAST_LOST {
                continue;
            }
            let from = (sender / n_heads, sender % n_heads);
            feedings.push(Feeding {
                from: component(from),
                to: component(to),
                previous_token: scores.previous[from.0][from.1],
                induction: scores.induction[to.0][to.1],
                k_composition: composed[sender * heads + to.0 * n_heads + to.1],
                recovery: value,
                spread: recovery.spread.get(cell).copied().flatten(),
            });
        }
    }
    feedings.sort_by(|a, b| a.recovery.total_cmp(&b.recovery));
    feedings.truncate(LISTED);
    feedings
}

/// K-composition of every head with those followed.
fn composition_table(followed: &[(usize, usize)], composed: &[Option<f64>], n_heads: usize) -> Table {
    let heads = composed.len().isqrt();
    let node = |(layer, head): (usize, usize)| Node::Head { layer, head }.to_string();
    let axis = |name: &str, labels: Vec<String>| Axis { name: name.to_owned(), labels };
    let of = |from: usize| {
        followed.iter().map(move |&(layer, head)| composed[from * heads + layer * n_heads + head])
    };
    Table {
        metric: "k_composition".to_owned(),
        quantity: Quantity::Value,
        title: "Composition with the keys of the induction heads".to_owned(),
        unit: "share of norms".to_owned(),
        baseline: "0 = reads nothing of it".to_owned(),
        basis: Basis::Exact,
        axes: vec![
            axis("sender", (0..heads).map(|head| node((head / n_heads, head % n_heads))).collect()),
            axis("receiver", followed.iter().map(|&head| format!("{}<k>", node(head))).collect()),
        ],
        values: (0..heads).flat_map(of).collect(),
        spread: vec![],
    }
}
