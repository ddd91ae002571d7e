//! Statistics of every head's attention on the prompts given, and how much of it falls where a detector looks.
//!
//! Of one prompt of `n` tokens, with `P` a head's pattern, whose rows sum to 1:
//!
//! - entropy: mean over queries of `-sum_k P ln P`, nats; query 0 sees one key, so its entropy is always 0, and a
//!   second number leaves it out;
//! - distance: mean over queries of `sum_k P (q - k)`, tokens;
//! - share on the first position (BOS, where it is prepended), mean over queries of `P[q, 0]`;
//! - share on self, mean over queries of `P[q, q]`; on the previous token, mean over queries from 1 of `P[q, q - 1]`;
//! - any [`Detector`].
//!
//! Over several prompts each number is the mean of the prompts' numbers, with its standard error and bootstrap
//! interval. Patterns weighted by the values moved ([`Weighting`]) have rows that do not sum to 1; statistics and
//! detectors take each row over its sum, the pattern shown stays as it is.

use std::sync::atomic::Ordering;

use microtome_model::{Tensor, as_f64};
use serde::{Deserialize, Serialize};

use super::attention::{Weighting, bytes_of_patterns, patterns_of_layers};
use super::detect::Detector;
use super::sweep;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Partial, Watch};
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::stats::{Bootstrap, Spread, mean, standard_error};
use crate::text_model::{TextModel, Tokens};

/// Statistics of every head's attention.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AttentionStats {
    /// What the entries of a pattern are multiplied by.
    #[serde(default)]
    pub weighting: Weighting,
    /// What is looked for beside the statistics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detectors: Vec<Detector>,
    /// A head whose pattern is given whole; of a single prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Component>,
}

/// One statistic of a pattern.
struct Statistic {
    metric: &'static str,
    title: &'static str,
    unit: &'static str,
    baseline: &'static str,
    of: fn(&[Vec<f64>]) -> Option<f64>,
}

/// The statistics there are, in the order of their tables.
const STATISTICS: [Statistic; 6] = [
    Statistic {
        metric: "pattern_entropy",
        title: "Entropy of attention",
        unit: "nats",
        baseline: "0 = every query looks at one key; mean over queries",
        of: |pattern| mean_over(pattern, 0, |_, row| entropy(row)),
    },
    Statistic {
        metric: "pattern_entropy_skip_first",
        title: "Entropy of attention, first query left out",
        unit: "nats",
        baseline: "0 = every query looks at one key; mean over queries from 1",
        of: |pattern| mean_over(pattern, 1, |_, row| entropy(row)),
    },
    Statistic {
        metric: "attention_distance",
        title: "How far back attention goes",
        unit: "tokens",
        baseline: "0 = the query itself; mean of query - key, weighted by attention",
        of: |pattern| {
            mean_over(pattern, 0, |q, row| {
                row.iter().enumerate().map(|(k, p)| p * (q as f64 - k as f64)).sum()
            })
        },
    },
    Statistic {
        metric: "bos_share",
        title: "Attention to the first position",
        unit: "share of attention",
        baseline: "0 = none of a head's attention, 1 = all of it; mean over queries",
        of: |pattern| mean_over(pattern, 0, |_, row| row[0]),
    },
    Statistic {
        metric: "self_share",
        title: "Attention to the query itself",
        unit: "share of attention",
        baseline: "0 = none of a head's attention, 1 = all of it; mean over queries",
        of: |pattern| mean_over(pattern, 0, |q, row| row[q]),
    },
    Statistic {
        metric: "previous_share",
        title: "Attention to the previous token",
        unit: "share of attention",
        baseline: "0 = none of a head's attention, 1 = all of it; mean over queries from 1",
        of: |pattern| mean_over(pattern, 1, |q, row| row[q - 1]),
    },
];

/// The table of entropies query by query.
const BY_QUERY: &str = "pattern_entropy_by_query";
/// The table of one head's pattern.
const PATTERN: &str = "pattern";

impl AttentionStats {
    /// The metrics its tables are of, for so many prompts.
    pub fn metrics(&self, prompts: usize) -> Vec<String> {
        let mut names: Vec<String> = STATISTICS.iter().map(|s| s.metric.to_owned()).collect();
        names.extend(self.detectors.iter().map(Detector::name));
        if prompts == 1 {
            names.push(BY_QUERY.to_owned());
        }
        if self.head.is_some() {
            names.push(PATTERN.to_owned());
        }
        names
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let unused = [
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at: it reads all"),
            (self.head.is_some() && experiment.prompts.len() > 1, "a head's pattern over several prompts"),
        ];
        Error::refuse_unused("attention", &unused)?;
        let names = self.metrics(experiment.prompts.len());
        if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            let reason = format!("there are two detectors called `{}`; ask for one at a time", twice.1);
            return Err(Error::BadMask { reason });
        }
        if let Some(head) = self.head {
            head.check(model.config())?;
            if !matches!(head, Component::Head { .. }) {
                return Err(Error::NotOneHead { component: head.to_string() });
            }
        }
        let cases = experiment.cases(model)?;
        let mut read: Vec<Numbers> = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            (watch.progress)(index, cases.len());
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            let of = |source| experiment.in_prompt(index, source);
            read.push(self.numbers(model, case, watch.memory_budget).map_err(of)?);
            if let Some(partial) = watch.partial.as_mut().filter(|_| index % 16 == 15) {
                partial(Partial::Tables(self.tables(experiment, model, &read)));
            }
        }
        if read.is_empty() {
            return Err(Error::StoppedEarly);
        }
        (watch.progress)(read.len(), cases.len());
        let mut tables = self.tables(experiment, model, &read);
        if let [only] = &cases[..] {
            tables.push(by_query(model, &only.clean, &read[0]));
            tables.extend(self.head.map(|head| self.pattern_table(head, &only.clean, &read[0])));
        }
        Ok(Results {
            prompts: cases[..read.len()]
                .iter()
                .map(|case| sweep::report(model, case, None, &[], &[]))
                .collect(),
            tables,
            notes: self.notes(experiment, &cases[..read.len()]),
            runs: read.len(),
            runs_wanted: cases.len(),
            ..Default::default()
        })
    }

    fn numbers(&self, model: &TextModel, case: &Case, budget: usize) -> Result<Numbers> {
        let n_layers = model.config().n_layers;
        let tokens = &case.clean.ids;
        let targets = self.detectors.iter().map(|d| d.target.matrix(tokens)).collect::<Result<Vec<_>>>()?;
        // Patterns of a long prompt are large: as many layers at a time as fit, one run for each such group.
        let of_layer = bytes_of_patterns(model, tokens.len()) / n_layers;
        let at_once = (budget / (3 * of_layer).max(1)).clamp(1, n_layers);
        let mut numbers = Numbers { cells: vec![], by_query: vec![], whole: vec![] };
        for first in (0..n_layers).step_by(at_once) {
            let group = first..(first + at_once).min(n_layers);
            let patterns = patterns_of_layers(model, tokens, self.weighting, group.clone())?;
            for layer in group {
                self.add_layer(rows_of(&patterns, layer - first)?, layer, &targets, &mut numbers);
            }
        }
        Ok(numbers)
    }

    fn add_layer(
        &self,
        heads: Vec<Vec<Vec<f64>>>,
        layer: usize,
        targets: &[Vec<Vec<f64>>],
        numbers: &mut Numbers,
    ) {
        for (head, mut pattern) in heads.into_iter().enumerate() {
            if self.head == Some(Component::Head { layer, head }) {
                numbers.whole = pattern.concat();
            }
            if self.weighting != Weighting::Pattern {
                pattern.iter_mut().for_each(|row| to_shares(row));
            }
            let statistics = STATISTICS.iter().map(|statistic| (statistic.of)(&pattern));
            let detected = self.detectors.iter().zip(targets).map(|(d, target)| d.score.of(&pattern, target));
            numbers.cells.push(statistics.chain(detected).map(|x| x.filter(|x| x.is_finite())).collect());
            numbers.by_query.push(pattern.iter().map(|row| entropy(row)).collect());
        }
    }

    /// One table for each statistic and detector, over the prompts read so far.
    fn tables(&self, experiment: &Experiment, model: &TextModel, read: &[Numbers]) -> Vec<Table> {
        let config = model.config();
        let axes = vec![sweep::layer_axis("L", 0..config.n_layers), sweep::head_axis(config.n_heads)];
        let bootstrap = (read.len() > 1).then(|| Bootstrap::new(read.len(), experiment.seed));
        let weighted = match self.weighting {
            Weighting::Pattern => String::new(),
            other => format!("; of {}, each row over its sum", other.describe()),
        };
        let table = |index: usize, metric: String, title: String, unit: &str, baseline: &str| {
            let of_prompts =
                |cell: usize| read.iter().map(|n| n.cells[cell][index]).collect::<Option<Vec<f64>>>();
            let cells: Vec<Option<Vec<f64>>> =
                (0..config.n_layers * config.n_heads).map(of_prompts).collect();
            Table {
                metric,
                quantity: Quantity::Value,
                title,
                unit: unit.to_owned(),
                baseline: format!("{baseline}{weighted}"),
                basis: Basis::Exact,
                axes: axes.clone(),
                values: cells.iter().map(|cell| cell.as_ref().map(|values| mean(values))).collect(),
                spread: match &bootstrap {
                    Some(bootstrap) => cells.iter().map(|c| spread(c.as_deref()?, bootstrap)).collect(),
                    None => vec![],
                },
            }
        };
        let statistics = STATISTICS.iter().enumerate();
        let mut tables: Vec<Table> = statistics
            .map(|(i, s)| table(i, s.metric.to_owned(), s.title.to_owned(), s.unit, s.baseline))
            .collect();
        for (i, detector) in self.detectors.iter().enumerate() {
            let title =
                format!("Detector {}, {}", detector.target.name().replace('_', " "), detector.score.name());
            let (unit, baseline) = ("share of attention", detector.score.describe());
            tables.push(table(STATISTICS.len() + i, detector.name(), title, unit, baseline));
        }
        tables
    }

    fn pattern_table(&self, head: Component, tokens: &Tokens, numbers: &Numbers) -> Table {
        let n = tokens.ids.len();
        let axis = |name: &str| Axis { name: name.to_owned(), ..sweep::position_axis(tokens) };
        let seen = |cell: usize| cell % n <= cell / n;
        Table {
            metric: PATTERN.to_owned(),
            quantity: Quantity::Value,
            title: format!("Where {head} looks"),
            unit: self.weighting.describe().to_owned(),
            baseline: match self.weighting {
                Weighting::Pattern => "each row sums to 1; a query sees no later key".to_owned(),
                _ => "a query sees no later key".to_owned(),
            },
            basis: Basis::Exact,
            axes: vec![axis("query"), axis("key")],
            values: numbers.whole.iter().enumerate().map(|(i, &x)| seen(i).then_some(x)).collect(),
            spread: vec![],
        }
    }

    fn notes(&self, experiment: &Experiment, cases: &[Case]) -> Vec<String> {
        let mut notes = vec![format!("every head's {}, statistics by head", self.weighting.describe())];
        if let Some(case) = cases.iter().find(|case| !case.clean.bos_prepended) {
            notes.push(format!(
                "no BOS was prepended: the first position holds `{}`, and bos_share is attention to that",
                case.clean.labels[0]
            ));
        }
        if cases.len() > 1 {
            notes.push(format!(
                "means over {} prompts; intervals are 95 % bootstrap over prompts, 1000 resamples, seed {}",
                cases.len(),
                experiment.seed
            ));
        }
        notes.extend(self.detectors.iter().map(|d| format!("{}: {}", d.name(), d.score.describe())));
        notes
    }
}

/// The numbers of one prompt.
struct Numbers {
    /// Of every head, statistics and then detectors.
    cells: Vec<Vec<Option<f64>>>,
    /// Of every head, the entropy of each query.
    by_query: Vec<Vec<f64>>,
    /// The pattern of the head asked for.
    whole: Vec<f64>,
}

/// Patterns of a layer's heads, `[head][query][key]`.
pub(crate) fn rows_of(patterns: &Tensor, layer: usize) -> Result<Vec<Vec<Vec<f64>>>> {
    Ok(as_f64(&patterns.get(layer)?)?.to_vec3()?)
}

/// The mean over the queries from `first` on; `None` where there are none.
pub(crate) fn mean_over(
    pattern: &[Vec<f64>],
    first: usize,
    of: impl Fn(usize, &[f64]) -> f64,
) -> Option<f64> {
    let queries = first..pattern.len();
    let count = queries.len();
    (count > 0).then(|| queries.map(|q| of(q, &pattern[q])).sum::<f64>() / count as f64)
}

fn entropy(row: &[f64]) -> f64 {
    row.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

/// A row over its sum; one that sums to 0 becomes NaN, and the numbers made of it are left out.
fn to_shares(row: &mut [f64]) {
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

/// How sure a mean over these values is.
pub(crate) fn spread(values: &[f64], bootstrap: &Bootstrap) -> Option<Spread> {
    let of = |draw: &[u32]| Some(draw.iter().map(|&i| values[i as usize]).sum::<f64>() / draw.len() as f64);
    let (low, high) = bootstrap.interval(of)?;
    Some(Spread { stderr: standard_error(values), low, high })
}

fn by_query(model: &TextModel, tokens: &Tokens, numbers: &Numbers) -> Table {
    let config = model.config();
    let n = tokens.ids.len();
    let mut values = Vec::with_capacity(numbers.by_query.len() * n);
    for layer in 0..config.n_layers {
        for pos in 0..n {
            let heads = (0..config.n_heads).map(|head| numbers.by_query[layer * config.n_heads + head][pos]);
            values.extend(heads.map(|x| Some(x).filter(|x| x.is_finite())));
        }
    }
    Table {
        metric: BY_QUERY.to_owned(),
        quantity: Quantity::Value,
        title: "Entropy of attention, query by query".to_owned(),
        unit: "nats".to_owned(),
        baseline: "0 = the query looks at one key; at most ln(query + 1)".to_owned(),
        basis: Basis::Exact,
        axes: vec![
            sweep::layer_axis("L", 0..config.n_layers),
            sweep::position_axis(tokens),
            sweep::head_axis(config.n_heads),
        ],
        values,
        spread: vec![],
    }
}
