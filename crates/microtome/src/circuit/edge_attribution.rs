//! Edge attribution patching: what every edge of the model's graph is worth, estimated by derivatives.
//!
//! An edge carries what its sender writes to one input of its receiver. Were the sender's output there that of the other run,
//! the metric would change, to first order, by
//!
//! ```text
//! score(u -> v) = sum over positions of (other_u - base_u) . d metric / d input_v
//! ```
//!
//! with `input_v` before its LayerNorm, everything after it free to change. Two runs and one backward pass so estimate
//! every edge. Base and other are the clean and the corrupt run (noise, as the method was published) or the other way round.
//!
//! The derivative at one end misses what saturates between the two. With steps it is the mean over points halfway
//! through `m` equal steps (the midpoint rule): of the input embeddings on the line from base to other (`inputs`), or of one
//! sender layer's outputs at a time, for the edges of these senders (`activations`). Then the scores of a sender's edges add
//! up, as `m` grows, to the whole change: of the input's edges for `inputs`, of every sender layer's for `activations`.
//!
//! Syed, Rager and Conmy 2023 (EAP); Hanna, Pezzelle and Belinkov 2024 (EAP-IG). Their code takes the ends of steps rather
//! than their middles.

use std::sync::atomic::Ordering;

use microtome_model::{Config, Edit, Hook, RunOptions, SenderOutputs, Tensor, as_f64};
use serde::{Deserialize, Serialize};

use super::graph::{Edge, Graph, Node, Port};
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::measure::{Meter, Reading, Subject};
use crate::method::gradient::{Of, check_steps, metric_gradients, midpoint, moved, one_metric};
use crate::method::patch::Direction;
use crate::method::sweep;
use crate::metric::MetricId;
use crate::record::{Axis, Basis, PromptReport, Quantity, Results, Table};
use crate::stats::over_prompts;
use crate::text_model::{TextModel, Tokens};

/// An estimate of every edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EdgeAttribution {
    /// Which run is changed; `noise`, the clean one with corrupt values, where left out.
    #[serde(default = "noise")]
    pub direction: Direction,
    /// Where derivatives are taken.
    #[serde(default)]
    pub gradients: GradientsAt,
}

/// Where derivatives are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GradientsAt {
    /// At the run that is changed.
    #[default]
    Base,
    /// The mean over so many steps of the input on its way to the other run's.
    Inputs(usize),
    /// The mean over so many steps of each layer of senders on its way to the other run's.
    Activations(usize),
}

pub(crate) fn noise() -> Direction {
    Direction::Noise
}

impl GradientsAt {
    /// Backward passes of one prompt.
    pub fn passes(self, config: &Config) -> usize {
        match self {
            GradientsAt::Base => 1,
            GradientsAt::Inputs(steps) => steps,
            GradientsAt::Activations(steps) => steps.saturating_mul(SenderOutputs::blocks(config).len()),
        }
    }
}

impl EdgeAttribution {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let metric = one_metric(experiment, "edge attribution")?;
        let found = self.estimate(experiment, model, metric, watch)?;
        let passes = self.gradients.passes(model.config());
        let (n_cases, finished) = (experiment.prompts.len(), found.by_prompt.len());
        let Estimated { graph, edges, by_prompt, base_values, prompts } = found;
        let base = base_values.iter().sum::<f64>() / finished as f64;
        let table = self.table(&graph, &edges, metric, &by_prompt, base, experiment.seed);
        let mut notes = vec![self.done(metric)];
        notes.push(format!("{}: {}", metric.name(), metric.describe()));
        notes.extend(sweep::prompts_note(finished, experiment));
        Ok(Results {
            prompts,
            tables: vec![table],
            notes,
            runs: finished * passes,
            runs_wanted: n_cases * passes,
            ..Default::default()
        })
    }

    /// Estimates every edge for every prompt, as far as `watch` lets it.
    ///
    /// # Errors
    /// Anything asked for that does not exist or fit; [`Error::StoppedEarly`] where no prompt was finished.
    pub(crate) fn estimate(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        metric: MetricId,
        watch: &mut Watch,
    ) -> Result<Estimated> {
        if let GradientsAt::Inputs(steps) | GradientsAt::Activations(steps) = self.gradients {
            check_steps(steps)?;
        }
        let meter = Meter { metrics: vec![metric], read_at: experiment.read_at };
        let cases = experiment.cases(model)?;
        let corrupts: Vec<_> = cases
            .iter()
            .enumerate()
            .map(|(i, case)| experiment.corrupt(i, &case.clean, model))
            .collect::<Result<_>>()?;
        let graph = Graph::of(model.config());
        let edges = graph.edges();
        let passes = self.gradients.passes(model.config());
        let mut found = Estimated { graph, edges, by_prompt: vec![], base_values: vec![], prompts: vec![] };
        (watch.progress)(0, cases.len() * passes);
        'prompts: for (i, (case, corrupt)) in cases.iter().zip(&corrupts).enumerate() {
            let (base, other) = self.direction.base_and_other(&case.clean, corrupt);
            let contrast = Contrast::new(model, &meter, case, base, other)?;
            let of = Of { metric, read_at: experiment.read_at, answers: &case.answers, wrong: &case.wrong };
            let scoring = Scoring { model, graph, contrast: &contrast, of, budget: watch.memory_budget };
            let mut scores = vec![0.0; scoring.n_cells()];
            for pass in 0..passes {
                if watch.cancel.load(Ordering::Relaxed) {
                    break 'prompts;
                }
                scoring.pass(self.gradients, pass, &mut scores)?;
                (watch.progress)(i * passes + pass + 1, cases.len() * passes);
            }
            let of_edges: Vec<f64> = found.edges.iter().map(|edge| scores[cell(&graph, *edge)]).collect();
            if of_edges.iter().any(|score| !score.is_finite()) {
                return Err(Error::NotFinite { what: "the derivative of a run".to_owned() });
            }
            found.by_prompt.push(of_edges);
            found.base_values.push(contrast.base_reading.values[0]);
            let (clean, corrupted) = match self.direction {
                Direction::Denoise => (&contrast.other_reading, &contrast.base_reading),
                Direction::Noise => (&contrast.base_reading, &contrast.other_reading),
            };
            let runs = [("clean", Some(clean)), ("corrupt", Some(corrupted))];
            found.prompts.push(sweep::report(model, case, Some(corrupt.clone()), &[metric], &runs));
        }
        if found.by_prompt.is_empty() { Err(Error::StoppedEarly) } else { Ok(found) }
    }

    fn table(
        &self,
        graph: &Graph,
        edges: &[Edge],
        metric: MetricId,
        by_prompt: &[Vec<f64>],
        base: f64,
        seed: u64,
    ) -> Table {
        let (means, spreads) = over_prompts(by_prompt, seed);
        let senders = graph.senders().iter().map(Node::to_string).collect();
        let receivers: Vec<String> =
            graph.receivers().iter().map(|(node, port)| format!("{node}{}", port.suffix())).collect();
        let n_cells = graph.senders().len() * receivers.len();
        let (mut values, mut spread) = (vec![None; n_cells], vec![]);
        for (edge, mean) in edges.iter().zip(means) {
            values[cell(graph, *edge)] = Some(mean);
        }
        if !spreads.is_empty() {
            spread = vec![None; n_cells];
            for (edge, of) in edges.iter().zip(spreads) {
                spread[cell(graph, *edge)] = Some(of);
            }
        }
        let (from, to) = self.direction.source_and_target();
        Table {
            metric: metric.name().to_owned(),
            quantity: Quantity::Change,
            title: format!(
                "Estimated change in {} when one edge carries the {from} run's value",
                metric.title()
            ),
            unit: metric.unit().to_owned(),
            baseline: format!("0 = the {to} run, {base:.4} {}", metric.unit()).trim_end().to_owned(),
            basis: Basis::Estimate,
            axes: vec![
                Axis { name: "sender".to_owned(), labels: senders },
                Axis { name: "receiver".to_owned(), labels: receivers },
            ],
            values,
            spread,
        }
    }

    /// What was done, in words.
    fn done(&self, metric: MetricId) -> String {
        let (from, to) = self.direction.source_and_target();
        let at = match self.gradients {
            GradientsAt::Base => format!("at the {to} run"),
            GradientsAt::Inputs(m) => {
                format!("mean over {m} steps of the input from the {to} prompt to the {from} one")
            }
            GradientsAt::Activations(m) => {
                format!("mean over {m} steps of each layer of senders from the {to} run to the {from} one")
            }
        };
        format!(
            "each edge: sum over positions of ({from} - {to}) output of its sender . d {} / d its receiver's input, {at}; \
             a first-order estimate",
            metric.name()
        )
    }
}

/// Estimates of every edge, change by change as the direction has it.
pub(crate) struct Estimated {
    pub graph: Graph,
    /// The graph's edges, in its order.
    pub edges: Vec<Edge>,
    /// By prompt finished, by edge.
    pub by_prompt: Vec<Vec<f64>>,
    /// By prompt finished: the metric of the run that is changed.
    pub base_values: Vec<f64>,
    /// The prompts finished.
    pub prompts: Vec<PromptReport>,
}

/// The place of an edge of the graph in a matrix of senders and receivers.
fn cell(graph: &Graph, edge: Edge) -> usize {
    let row = graph.sender_index(edge.from).expect("an edge of the graph has its sender there");
    let column =
        graph.receiver_index(edge.to, edge.port).expect("an edge of the graph has its receiver there");
    row * n_receivers(graph) + column
}

fn n_receivers(graph: &Graph) -> usize {
    graph.receivers().len()
}

/// The estimate of one prompt pair under way.
struct Scoring<'a> {
    model: &'a TextModel,
    graph: Graph,
    contrast: &'a Contrast,
    of: Of<'a>,
    budget: usize,
}

/// Positions whose numbers are multiplied at once.
const POSITIONS_AT_ONCE: usize = 32;

impl Scoring<'_> {
    fn n_cells(&self) -> usize {
        self.graph.senders().len() * n_receivers(&self.graph)
    }

    /// Adds one backward pass of all that there are.
    fn pass(&self, gradients: GradientsAt, pass: usize, scores: &mut [f64]) -> Result<()> {
        let blocks = SenderOutputs::blocks(self.model.config());
        let all = 0..self.graph.senders().len();
        let (toward, steps, senders) = match gradients {
            GradientsAt::Base => (None, 1, all),
            GradientsAt::Inputs(m) => (Some((blocks[0], midpoint(pass, m))), m, all),
            GradientsAt::Activations(m) => {
                let block = blocks[pass / m];
                (Some((block, midpoint(pass % m, m))), m, block.first..block.first + block.count)
            }
        };
        let edits = match toward {
            None => vec![],
            Some((block, share)) => {
                let part = self.contrast.difference.narrow(1, block.first, block.count)?;
                let part = if block.hook.site.has_heads() { part } else { part.squeeze(1)? };
                vec![moved(block.hook, &part, share)?]
            }
        };
        for receivers in self.chunks() {
            self.add(&edits, senders.clone(), &receivers, 1.0 / steps as f64, scores)?;
        }
        Ok(())
    }

    /// Receivers in lots whose derivatives fit the budget, a layer at least.
    fn chunks(&self) -> Vec<Vec<(Node, Port)>> {
        let config = self.model.config();
        // A split input is held as value, as variable, as derivative, normalised, and in between.
        let copies = 8;
        let inputs = 3 * config.n_heads * config.d_model;
        let per_layer = self.contrast.base.tokens.len() * inputs * copies * size_of::<f32>();
        let layers = (self.budget / per_layer.max(1)).clamp(1, config.n_layers.max(1));
        let layer_of = |node: Node| match node {
            Node::Head { layer, .. } | Node::Mlp { layer } => layer,
            Node::Input | Node::Logits => config.n_layers.saturating_sub(1),
        };
        let mut chunks: Vec<Vec<(Node, Port)>> = vec![vec![]; config.n_layers.div_ceil(layers)];
        for receiver in self.graph.receivers() {
            chunks[layer_of(receiver.0) / layers].push(receiver);
        }
        chunks
    }

    fn add(
        &self,
        edits: &[Edit],
        senders: std::ops::Range<usize>,
        receivers: &[(Node, Port)],
        weight: f64,
        scores: &mut [f64],
    ) -> Result<()> {
        let n_layers = self.model.config().n_layers;
        let hook = |&(to, port): &(Node, Port)| Edge::new(Node::Input, to, port).hook(n_layers);
        let mut hooks: Vec<Hook> = receivers.iter().map(hook).collect();
        hooks.dedup();
        let tokens = &self.contrast.base.tokens;
        let found = metric_gradients(self.model, tokens, edits, &hooks, self.of)?;
        let slopes = receivers.iter().map(|receiver| -> Result<Tensor> {
            let slope = found.at.gradients.get(hook(receiver))?;
            Ok(match receiver.0 {
                Node::Head { head, .. } => slope.narrow(1, head, 1)?.squeeze(1)?,
                _ => slope.clone(),
            })
        });
        let slopes = Tensor::stack(&slopes.collect::<Result<Vec<_>>>()?, 1)?; // [pos, receiver, d_model]
        let outputs = self.contrast.difference.narrow(1, senders.start, senders.len())?;
        let nodes = self.graph.senders();
        let n_columns = n_receivers(&self.graph);
        for first in (0..tokens.len()).step_by(POSITIONS_AT_ONCE) {
            let count = POSITIONS_AT_ONCE.min(tokens.len() - first);
            let rows = |of: &Tensor| -> Result<Tensor> {
                Ok(as_f64(&of.narrow(0, first, count)?)?.transpose(0, 1)?.flatten_from(1)?)
            };
            let products: Vec<Vec<f64>> = rows(&outputs)?.matmul(&rows(&slopes)?.t()?)?.to_vec2()?;
            for (row, products) in senders.clone().zip(products) {
                for (&(to, port), product) in receivers.iter().zip(products) {
                    if Edge::new(nodes[row], to, port).is_sound() {
                        let column = self.graph.receiver_index(to, port).unwrap_or_default();
                        scores[row * n_columns + column] += weight * product;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A pair of prompts with both runs' readings, and how what senders write differs between them.
struct Contrast {
    /// The run that is changed.
    base: Subject,
    base_reading: Reading,
    /// The run that values come from.
    other_reading: Reading,
    /// What the other run's senders write minus what the base's do, `[pos, sender, d_model]`.
    difference: Tensor,
}

impl Contrast {
    fn new(model: &TextModel, meter: &Meter, case: &Case, base: &Tokens, other: &Tokens) -> Result<Contrast> {
        let of = |subject: &Subject| -> Result<(SenderOutputs, Reading)> {
            let reads = SenderOutputs::hooks(model.config());
            let options = RunOptions { reads, logits: meter.read(), ..Default::default() };
            let run = model.model().run(&subject.tokens, &options)?;
            Ok((
                SenderOutputs::of_cache(model.config(), &run.cache)?,
                meter.of_logits(subject, run.logits()?)?,
            ))
        };
        let (base, other) = (case.subject(base), case.subject(other));
        let (base_outputs, base_reading) = of(&base)?;
        let (other_outputs, other_reading) = of(&other)?;
        let difference = (other_outputs.values() - base_outputs.values())?;
        Ok(Contrast { base, base_reading, other_reading, difference })
    }
}
