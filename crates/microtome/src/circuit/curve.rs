//! How faithful circuits of every size are, when edges are taken by their scores and when they are taken at random.
//!
//! Edges are ranked by [edge attribution patching](super::edge_attribution); at every share `k` of all edges the circuit of the
//! first `k` is measured, and so are those of random rankings. CPR is the area under faithfulness over `k`, CMD the
//! area under its distance from 1, by trapezoids over the shares measured (Mueller et al. 2025). Stability: the ranking is
//! made again from prompts drawn with replacement, 200 times, and the Jaccard index taken of both circuits at each share.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::circuit_tables::{faithfulness_note, scale_of};
use super::compare::jaccard;
use super::edge_attribution::GradientsAt;
use super::evaluate::{Bench, Rest};
use super::faithfulness::{Ends, area};
use super::graph::{Circuit, Edge};
use super::rank::{Pick, of_first, ranked, shuffled};
use super::search::{at, ends, means, reports, scores};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::method::gradient::one_metric;
use crate::method::sweep;
use crate::metric::MetricId;
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::stats::{Bootstrap, Spread, mean, scatter};
use crate::text_model::TextModel;

/// The faithfulness of circuits by size.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CircuitCurve {
    /// Where the derivatives of the scores are taken.
    #[serde(default)]
    pub gradients: GradientsAt,
    /// In which order edges are taken.
    #[serde(default)]
    pub pick: Pick,
    /// What edges outside a circuit carry.
    #[serde(default)]
    pub rest: Rest,
    /// Shares of all edges, growing, above 0 and up to 1; those of MIB where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<f64>,
    /// Random rankings; 10 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<usize>,
}

/// The shares at which MIB measures.
pub const MIB_SHARES: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
/// Resamples of prompts for the stability of a ranking.
const RESAMPLES: usize = 200;
/// Most random rankings, and most shares.
const MOST: usize = 200;

impl CircuitCurve {
    /// The metrics its tables are of.
    pub fn metrics(n_prompts: usize) -> Vec<&'static str> {
        let several = (n_prompts > 1).then_some("jaccard");
        ["faithfulness", "cpr", "cmd", "edges"].into_iter().chain(several).collect()
    }

    fn shares(&self) -> &[f64] {
        if self.shares.is_empty() { &MIB_SHARES } else { &self.shares }
    }

    fn n_random(&self) -> usize {
        self.random.unwrap_or(10)
    }

    /// How many circuits are measured of a prompt, and backward passes taken.
    pub fn count(&self, config: &microtome_model::Config) -> usize {
        let circuits = self.shares().len().saturating_mul(self.n_random().saturating_add(1));
        self.gradients.passes(config).saturating_add(circuits)
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        self.check()?;
        let metric = one_metric(experiment, "a curve of circuits")?;
        let bench = Bench::new(experiment, model, metric, self.rest, watch.memory_budget)?;
        let passes = bench.n_prompts() * self.gradients.passes(model.config());
        let rankings = 1 + self.n_random();
        let total = passes + rankings * self.shares().len();
        let ends = ends(&bench, experiment.seed, watch)?.ok_or(Error::StoppedEarly)?;
        let by_prompt = scores(self.gradients, experiment, &bench, (0, total), watch)?;
        let by_prompt = by_prompt.ok_or(Error::StoppedEarly)?;
        let order =
            |prompts: &[usize]| ranked(&bench.edges, &means(&by_prompt, prompts.iter().copied()), self.pick);
        let all: Vec<usize> = (0..by_prompt.len()).collect();
        let found = order(&all);

        // By ranking, by share, by prompt.
        let mut measured: Vec<Vec<Vec<f64>>> = Vec::new();
        for ranking in 0..rankings {
            let random;
            let edges = match ranking {
                0 => &found,
                _ => {
                    random = shuffled(&bench.edges, experiment.seed.wrapping_add(ranking as u64));
                    &random
                }
            };
            let circuits: Vec<Circuit> =
                self.shares().iter().map(|&share| at_share(&bench, edges, share)).collect();
            let Some(values) = bench.values(&circuits, watch)? else { break };
            measured.push(values);
            (watch.progress)(passes + measured.len() * self.shares().len(), total);
        }
        if measured.is_empty() {
            return Err(Error::StoppedEarly);
        }
        let finished = passes + measured.len() * self.shares().len();
        let mut tables = self.curves(&measured, &ends, metric);
        tables.push(self.sizes(&bench, &found));
        if by_prompt.len() > 1 {
            tables.push(self.stability(&bench, &found, &order, by_prompt.len(), experiment.seed));
        }
        Ok(Results {
            prompts: reports(&bench, &ends),
            tables,
            notes: self.notes(experiment, metric, measured.len() - 1),
            runs: finished,
            runs_wanted: total,
            ..Default::default()
        })
    }

    fn check(&self) -> Result<()> {
        let shares = self.shares();
        let fits = |&share: &f64| share > 0.0 && share <= 1.0;
        if let Some(&share) = shares.iter().find(|share| !fits(share)) {
            return Err(Error::OutOfRange {
                name: "a share",
                value: share,
                expected: "above 0 and at most 1",
            });
        }
        if let Some(pair) = shares.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(Error::OutOfRange { name: "a share", value: pair[1], expected: "shares that grow" });
        }
        for (name, value) in [("shares", shares.len()), ("random rankings", self.n_random())] {
            if value > MOST {
                return Err(Error::OutOfRange { name, value: value as f64, expected: "at most 200" });
            }
        }
        Ok(())
    }

    /// Faithfulness by share, and the areas.
    fn curves(&self, measured: &[Vec<Vec<f64>>], ends: &Ends, metric: MetricId) -> Vec<Table> {
        let shares = self.shares();
        let (found, random) = measured.split_first().expect("the ranking by scores comes first");
        let mut names = vec!["by score".to_owned()];
        if !random.is_empty() {
            names.push(format!("random, mean of {}", random.len()));
        }
        let rankings = Axis { name: "ranking".to_owned(), labels: names };
        let mut cells: Vec<(f64, Option<Spread>)> =
            found.iter().map(|values| (ends.faithfulness(values), ends.spread(values))).collect();
        if !random.is_empty() {
            for share in 0..shares.len() {
                let values: Vec<Vec<f64>> = random.iter().map(|curve| curve[share].clone()).collect();
                cells.push(ends.of_several(&values, mean));
            }
        }
        let area_of = |f: &[f64], of: &dyn Fn(f64) -> f64| {
            area(&shares.iter().copied().zip(f.iter().map(|&f| of(f))).collect::<Vec<_>>())
        };
        let areas = |of: &dyn Fn(f64) -> f64| {
            let mut cells = vec![ends.of_several(found, |f| area_of(f, of))];
            if !random.is_empty() {
                let all = random.concat();
                cells.push(ends.of_several(&all, |f| {
                    f.chunks(shares.len()).map(|f| area_of(f, of)).sum::<f64>() / random.len() as f64
                }));
            }
            cells
        };
        let table = |metric: &str,
                     title: String,
                     baseline: String,
                     axes: Vec<Axis>,
                     cells: Vec<(f64, Option<Spread>)>| {
            let (values, spread): (Vec<_>, Vec<_>) =
                cells.into_iter().map(|(value, spread)| (Some(value), spread)).unzip();
            let spread = if spread.iter().any(Option::is_some) { spread } else { vec![] };
            Table {
                metric: metric.to_owned(),
                quantity: Quantity::Value,
                title,
                unit: String::new(),
                baseline,
                basis: Basis::Exact,
                axes,
                values,
                spread,
            }
        };
        let range =
            format!("from {} to {} of all edges", percent(shares[0]), percent(shares[shares.len() - 1]));
        vec![
            table(
                "faithfulness",
                format!("Faithfulness of circuits by size, by {}", metric.title()),
                scale_of(ends, metric),
                vec![rankings.clone(), self.share_axis()],
                cells,
            ),
            table(
                "cpr",
                format!("CPR: area under faithfulness, {range}"),
                "0 = no better than no edge at any size".to_owned(),
                vec![rankings.clone()],
                areas(&|f| f),
            ),
            table(
                "cmd",
                format!("CMD: area between faithfulness and 1, {range}"),
                "0 = as the whole model at every size".to_owned(),
                vec![rankings],
                areas(&|f| (1.0 - f).abs()),
            ),
        ]
    }

    /// How many edges are on a way from the input to the logits, of those taken.
    fn sizes(&self, bench: &Bench, found: &[Edge]) -> Table {
        let size = |&share: &f64| Some(at_share(bench, found, share).edges.len() as f64);
        Table {
            metric: "edges".to_owned(),
            quantity: Quantity::Value,
            title: "Edges taken by score that lie on a way from the input to the logits".to_owned(),
            unit: "edges".to_owned(),
            baseline: format!("the model has {} edges", bench.edges.len()),
            basis: Basis::Exact,
            axes: vec![self.share_axis()],
            values: self.shares().iter().map(size).collect(),
            spread: vec![],
        }
    }

    /// How much of the circuits is found again from other prompts.
    fn stability(
        &self,
        bench: &Bench,
        found: &[Edge],
        order: &(dyn Fn(&[usize]) -> Vec<Edge> + Sync),
        n_prompts: usize,
        seed: u64,
    ) -> Table {
        let bootstrap = Bootstrap::new(n_prompts, seed);
        let whole: Vec<Circuit> = self.shares().iter().map(|&share| at_share(bench, found, share)).collect();
        // By resample, by share.
        let shared: Vec<Vec<f64>> = bootstrap
            .first(RESAMPLES)
            .par_iter()
            .map(|draw| {
                let again = order(&draw.iter().map(|&i| i as usize).collect::<Vec<_>>());
                let of = |(&share, whole): (&f64, &Circuit)| {
                    jaccard(&at_share(bench, &again, share).edges, &whole.edges)
                };
                self.shares().iter().zip(&whole).map(of).collect()
            })
            .collect();
        let cell = |share: usize| {
            let values: Vec<f64> = shared.iter().map(|by_share| by_share[share]).collect();
            (Some(mean(&values)), Some(scatter(values)))
        };
        let (values, spread) = (0..whole.len()).map(cell).unzip();
        Table {
            metric: "jaccard".to_owned(),
            quantity: Quantity::Value,
            title: format!(
                "Stability: edges shared with the circuit of prompts drawn again (Jaccard, {RESAMPLES} draws)"
            ),
            unit: String::new(),
            baseline: "1 = every draw of prompts gives the same circuit".to_owned(),
            basis: Basis::Exact,
            axes: vec![self.share_axis()],
            values,
            spread,
        }
    }

    fn share_axis(&self) -> Axis {
        Axis { name: "share".to_owned(), labels: self.shares().iter().map(|&share| percent(share)).collect() }
    }

    fn notes(&self, experiment: &Experiment, metric: MetricId, random: usize) -> Vec<String> {
        let name = metric.name();
        let mut notes = vec![
            faithfulness_note(metric, Some(self.rest)),
            format!(
                "edges ranked by edge attribution patching ({}), {}; random: {random} rankings, seed {}",
                at(self.gradients),
                self.pick.describe(),
                experiment.seed
            ),
            format!("{name}: {}", metric.describe()),
        ];
        notes.extend(sweep::prompts_note(experiment.prompts.len(), experiment));
        notes
    }
}

/// The circuit of the first edges of a ranking, a share of all there are, one at least.
fn at_share(bench: &Bench, ranked: &[Edge], share: f64) -> Circuit {
    let count = (share * ranked.len() as f64).round() as usize;
    of_first(bench.graph, ranked, count.max(1))
}

fn percent(share: f64) -> String {
    let hundredth = format!("{:.4}", share * 100.0);
    format!("{}%", hundredth.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_called_by_their_percentage() {
        let names: Vec<String> = MIB_SHARES.iter().map(|&share| percent(share)).collect();
        assert_eq!(names, ["0.1%", "0.2%", "0.5%", "1%", "2%", "5%", "10%", "20%", "50%", "100%"]);
    }
}
