//! Circuits judged: whether they do what the model does, whether they have all that does it, and nothing more.
//!
//! - Faithfulness of the circuit, with each kind of rest.
//! - Completeness: faithfulness of what is left of the model without the circuit. 0 = that does no more than no edge, so
//!   nothing that matters is outside the circuit.
//! - Minimality of each edge: the largest change in faithfulness when it is cut from the circuit, and from subsets of the
//!   circuit that lack each other edge with probability 1/4. An edge near 0 is not needed.
//! - Random circuits of as many edges: their mean faithfulness.
//!
//! Wang et al. 2022 (the three criteria; theirs are over sets of nodes).

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use super::circuit_tables::{faithfulness_note, jaccard_table, scale_of};
use super::evaluate::{Bench, Rest};
use super::faithfulness::Ends;
use super::graph::{Circuit, Edge};
use super::rank::{of_first, shuffled};
use super::search::{ends, reports};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::method::gradient::single_metric;
use crate::method::sweep;
use crate::metric::MetricId;
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::stats::{Spread, mean};
use crate::text_model::TextModel;

/// A judgement of circuits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CircuitJudgement {
    /// The circuits.
    pub circuits: Vec<NamedCircuit>,
    /// Kinds of rest; all three where left out, but for the mean where prompts differ in length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rests: Vec<Rest>,
    /// Random circuits of as many edges; 10 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<usize>,
    /// Subsets of a circuit from which each edge is cut, beside the circuit itself; 4 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsets: Option<usize>,
}

/// A circuit with a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NamedCircuit {
    /// What it is called in tables.
    pub name: String,
    /// Its edges.
    pub edges: BTreeSet<Edge>,
}

/// Most random circuits, and most subsets.
const MOST: usize = 100;
/// Circuits measured at once.
const AT_ONCE: usize = 64;

impl CircuitJudgement {
    /// The metrics its tables are of.
    pub fn metrics(&self) -> Vec<&'static str> {
        let several = (self.circuits.len() > 1).then_some("jaccard");
        ["faithfulness", "completeness", "random", "minimality"].into_iter().chain(several).collect()
    }

    /// The kinds asked for; all where none is, but for the mean where prompts differ in length.
    fn rests(&self, bench: &Bench) -> Result<Vec<Rest>> {
        let lengths = bench.one_length();
        match (&self.rests[..], lengths) {
            ([], Ok(_)) => Ok(Rest::ALL.to_vec()),
            ([], Err(_)) => Ok(vec![Rest::Resample, Rest::Zero]),
            (rests, Err(differ)) if rests.contains(&Rest::Mean) => Err(differ),
            (rests, _) => Ok(rests.to_vec()),
        }
    }

    fn n_random(&self) -> usize {
        self.random.unwrap_or(10)
    }

    fn n_subsets(&self) -> usize {
        self.subsets.unwrap_or(4)
    }

    /// How many circuits are measured of a prompt, at most.
    pub fn count(&self) -> usize {
        self.total(if self.rests.is_empty() { Rest::ALL.len() } else { self.rests.len() })
    }

    fn total(&self, rests: usize) -> usize {
        let of = |circuit: &NamedCircuit| {
            let whole = rests.saturating_mul(self.n_random().saturating_add(2));
            whole.saturating_add((self.n_subsets() + 1).saturating_mul(circuit.edges.len() + 1))
        };
        self.circuits.iter().map(of).sum()
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        self.check()?;
        let metric = single_metric(experiment, "a judgement of circuits")?;
        let start = self.rests.first().copied().unwrap_or_default();
        let first = Bench::new(experiment, model, metric, start, watch.memory_budget)?;
        let rests = self.rests(&first)?;
        let graph = first.graph;
        let circuits: Vec<Circuit> = self
            .circuits
            .iter()
            .map(|named| Circuit::new(graph, named.edges.iter().copied()))
            .collect::<Result<_>>()?;
        let total = self.total(rests.len());
        let mut done = 0;
        (watch.progress)(0, total);

        let outside = |circuit: &Circuit| Circuit {
            graph,
            edges: first.edges.iter().filter(|edge| !circuit.edges.contains(edge)).copied().collect(),
        };
        let random = |circuit: &Circuit, draw: usize| {
            let ranked = shuffled(&first.edges, experiment.seed.wrapping_add(1 + draw as u64));
            of_first(graph, &ranked, circuit.edges.len())
        };
        // By circuit, by rest: faithfulness, completeness, random circuits.
        let mut wholes: Vec<Vec<[Judged; 3]>> = vec![vec![]; circuits.len()];
        let mut scale = String::new();
        let mut prompts = vec![];
        let mut minimality: Vec<Vec<f64>> = Vec::new();
        for (r, &rest) in rests.iter().enumerate() {
            let other;
            let bench = if r == 0 {
                &first
            } else {
                other = first.with(rest, watch.memory_budget)?;
                &other
            };
            let ends = ends(bench, experiment.seed, watch)?.ok_or(Error::StoppedEarly)?;
            for (circuit, judged) in circuits.iter().zip(&mut wholes) {
                let mut tried = vec![circuit.clone(), outside(circuit)];
                tried.extend((0..self.n_random()).map(|draw| random(circuit, draw)));
                let values =
                    measured(bench, &tried, (&mut done, total), watch)?.ok_or(Error::StoppedEarly)?;
                let one = |values: &[f64]| Some((ends.faithfulness(values), ends.spread(values)));
                let several = |values: &[Vec<f64>]| match values {
                    [] => None,
                    _ => Some(ends.of_several(values, mean)),
                };
                judged.push([one(&values[0]), one(&values[1]), several(&values[2..])]);
            }
            if r == 0 {
                scale = scale_of(&ends, metric);
                prompts = reports(bench, &ends);
                for (i, circuit) in circuits.iter().enumerate() {
                    let seed = experiment.seed.wrapping_add(i as u64);
                    let found = self.minimality(circuit, bench, &ends, seed, (&mut done, total), watch)?;
                    minimality.push(found.ok_or(Error::StoppedEarly)?);
                }
            }
        }
        let names: Vec<&str> = self.circuits.iter().map(|named| &named.name[..]).collect();
        let mut tables = self.wholes(&names, &rests, &wholes, &scale, metric);
        tables.push(self.edges(&circuits, &minimality));
        if circuits.len() > 1 {
            let named: Vec<(&str, &BTreeSet<Edge>)> =
                names.iter().copied().zip(circuits.iter().map(|circuit| &circuit.edges)).collect();
            tables.push(jaccard_table(&named));
        }
        Ok(Results {
            prompts,
            tables,
            notes: self.notes(experiment, metric, &rests),
            runs: total,
            runs_wanted: total,
            ..Default::default()
        })
    }

    fn check(&self) -> Result<()> {
        if self.circuits.is_empty() {
            return Err(Error::Missing { what: "a circuit", hint: "give at least one" });
        }
        for (i, named) in self.circuits.iter().enumerate() {
            if named.name.trim().is_empty() {
                let hint = "results are listed by it";
                return Err(Error::Missing { what: "a name for every circuit", hint });
            }
            if self.circuits[..i].iter().any(|other| other.name == named.name) {
                return Err(Error::NamedTwice { component: named.name.clone(), place: i + 1 });
            }
            if named.edges.is_empty() {
                let hint = "a circuit without an edge does nothing; take one with some";
                return Err(Error::Missing { what: "an edge in every circuit", hint });
            }
        }
        for (i, rest) in self.rests.iter().enumerate() {
            if self.rests[..i].contains(rest) {
                return Err(Error::NamedTwice { component: rest.name().to_owned(), place: i + 1 });
            }
        }
        for (name, value) in [("random circuits", self.n_random()), ("subsets", self.n_subsets())] {
            if value > MOST {
                return Err(Error::OutOfRange { name, value: value as f64, expected: "at most 100" });
            }
        }
        Ok(())
    }

    /// By edge: the largest change in faithfulness when it is cut; `None` where stopped.
    fn minimality(
        &self,
        circuit: &Circuit,
        bench: &Bench,
        ends: &Ends,
        seed: u64,
        done: (&mut usize, usize),
        watch: &mut Watch,
    ) -> Result<Option<Vec<f64>>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bases = vec![circuit.clone()];
        for _ in 0..self.n_subsets() {
            let kept = circuit.edges.iter().filter(|_| rng.next_u32() >= u32::MAX / 4);
            bases.push(Circuit { graph: circuit.graph, edges: kept.copied().collect() });
        }
        // Of every base: itself, then with each edge of the circuit in or out as it is not.
        let mut tried = Vec::new();
        for base in &bases {
            tried.push(base.clone());
            for edge in &circuit.edges {
                let mut other = base.clone();
                if !other.edges.remove(edge) {
                    other.edges.insert(*edge);
                }
                tried.push(other);
            }
        }
        let Some(values) = measured(bench, &tried, done, watch)? else { return Ok(None) };
        let found: Vec<f64> = values.iter().map(|values| ends.faithfulness(values)).collect();
        let largest = |edge: usize| {
            let of_base = |of: &[f64]| (of[1 + edge] - of[0]).abs();
            found.chunks(1 + circuit.edges.len()).map(of_base).fold(0.0, f64::max)
        };
        Ok(Some((0..circuit.edges.len()).map(largest).collect()))
    }

    fn wholes(
        &self,
        names: &[&str],
        rests: &[Rest],
        wholes: &[Vec<[Judged; 3]>],
        scale: &str,
        metric: MetricId,
    ) -> Vec<Table> {
        let axes = vec![
            Axis { name: "circuit".to_owned(), labels: names.iter().map(|&name| name.to_owned()).collect() },
            Axis {
                name: "rest".to_owned(),
                labels: rests.iter().map(|rest| rest.name().to_owned()).collect(),
            },
        ];
        let with = rests[0].name();
        let scale = format!("{scale} ({with})");
        let whats = [
            ("faithfulness", format!("Faithfulness of circuits, by {}", metric.title()), scale.clone()),
            (
                "completeness",
                "Completeness: faithfulness of the model without the circuit".to_owned(),
                "0 = what is left does no more than no edge".to_owned(),
            ),
            ("random", "Faithfulness of random circuits of as many edges, mean".to_owned(), scale),
        ];
        let table = |(i, (metric, title, baseline)): (usize, (&str, String, String))| {
            let cells: Vec<Judged> = wholes.iter().flatten().map(|judged| judged[i]).collect();
            let spread: Vec<Option<Spread>> =
                cells.iter().map(|cell| cell.and_then(|(_, spread)| spread)).collect();
            Table {
                metric: metric.to_owned(),
                quantity: Quantity::Value,
                title,
                unit: String::new(),
                baseline,
                basis: Basis::Exact,
                axes: axes.clone(),
                values: cells.iter().map(|cell| cell.map(|(value, _)| value)).collect(),
                spread: if spread.iter().any(Option::is_some) { spread } else { vec![] },
            }
        };
        whats.into_iter().enumerate().map(table).collect()
    }

    fn edges(&self, circuits: &[Circuit], minimality: &[Vec<f64>]) -> Table {
        let label = |(named, edge): (&NamedCircuit, &Edge)| match circuits.len() {
            1 => edge.to_string(),
            _ => format!("{}: {edge}", named.name),
        };
        let labels = self
            .circuits
            .iter()
            .flat_map(|named| named.edges.iter().map(move |edge| (named, edge)))
            .map(label)
            .collect();
        Table {
            metric: "minimality".to_owned(),
            quantity: Quantity::Value,
            title:
                "Minimality: largest change in faithfulness when an edge is cut from the circuit or a subset"
                    .to_owned(),
            unit: String::new(),
            baseline: "0 = the edge is never needed".to_owned(),
            basis: Basis::Exact,
            axes: vec![Axis { name: "edge".to_owned(), labels }],
            values: minimality.iter().flatten().map(|&value| Some(value)).collect(),
            spread: vec![],
        }
    }

    fn notes(&self, experiment: &Experiment, metric: MetricId, kinds: &[Rest]) -> Vec<String> {
        let name = metric.name();
        let rests: Vec<String> =
            kinds.iter().map(|rest| format!("{} = {}", rest.name(), rest.describe())).collect();
        let left_out = match self.rests.is_empty() && !kinds.contains(&Rest::Mean) {
            true => "; not their mean, which goes position by position: prompts differ in length",
            false => "",
        };
        let mut notes = vec![
            faithfulness_note(metric, None),
            format!("edges outside carry: {}{left_out}", rests.join("; ")),
            format!(
                "completeness: faithfulness of all edges but the circuit's; minimality: over the circuit and {} subsets that lack \
                 each edge with probability 1/4, with {}, seed {}",
                self.n_subsets(),
                kinds[0].name(),
                experiment.seed
            ),
            format!("{name}: {}", metric.describe()),
        ];
        notes.extend(sweep::prompts_note(experiment.prompts.len(), experiment));
        notes
    }
}

/// A number and how sure it is; `None` where there is none.
type Judged = Option<(f64, Option<Spread>)>;

/// Circuits in lots, with progress; `None` where stopped.
fn measured(
    bench: &Bench,
    circuits: &[Circuit],
    (done, total): (&mut usize, usize),
    watch: &mut Watch,
) -> Result<Option<Vec<Vec<f64>>>> {
    let mut values = Vec::with_capacity(circuits.len());
    for lot in circuits.chunks(AT_ONCE) {
        let Some(found) = bench.values(lot, watch)? else { return Ok(None) };
        values.extend(found);
        *done += lot.len();
        (watch.progress)(*done, total);
    }
    Ok(Some(values))
}
