//! Every metric: one file each, and the one list [`METRICS`] from which command help, the API and the
//! page follow.
//!
//! A metric looks at one row of logits at a time, so the logits of thousands of variants need never be
//! held together. [`Metric::row`] gives its value at one position; for metrics over a whole prompt the
//! rows are averaged and [`Metric::finish`] turns the average into the number (a mean loss into a
//! perplexity). [`Metric::gradient`] is the derivative of the row's value in its logits, where there is
//! one: gradient methods start from it, so a metric has one definition for measuring and for
//! differentiating. Arithmetic is f64 whatever the model's type.

mod entropy;
mod kl;
mod kl_mean;
mod log_prob;
mod logit;
mod logit_diff;
mod loss;
mod margin;
mod perplexity;
mod prob;
mod prob_diff;
mod rank;
mod top1_changed;

pub use microtome_kernels::log_sum_exp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// All metrics, in the order they are listed to users.
pub static METRICS: &[&dyn Metric] = &[
    &prob::Prob,
    &log_prob::LogProb,
    &logit::Logit,
    &logit_diff::LogitDiff,
    &prob_diff::ProbDiff,
    &rank::Rank,
    &entropy::Entropy,
    &margin::Margin,
    &kl::Kl,
    &kl_mean::KlMean,
    &loss::Loss,
    &perplexity::Perplexity,
    &top1_changed::Top1Changed,
];

/// A number taken from logits.
pub trait Metric: Sync {
    /// Its name on the command line and in files: `logit_diff`.
    fn name(&self) -> &'static str;
    /// Its name in titles: `logit difference`.
    fn title(&self) -> &'static str;
    /// Its unit: `nats`, `logits`; empty where it has none.
    fn unit(&self) -> &'static str;
    /// One sentence: the formula, and what it is taken over.
    fn describe(&self) -> &'static str;
    /// Which positions it is taken over.
    fn over(&self) -> Over {
        Over::Position
    }
    /// Which tokens must be given.
    fn needs(&self) -> Needs {
        Needs::Nothing
    }
    /// What it is 0 against, for metrics that compare with the unedited run by themselves.
    fn compares(&self) -> Compares {
        Compares::Nothing
    }
    /// Which way a prediction is better.
    fn better(&self) -> Better {
        Better::Higher
    }
    /// The value at one position.
    fn row(&self, row: &Row) -> f64;
    /// The number, from the mean of [`Metric::row`] over the positions.
    fn finish(&self, mean: f64) -> f64 {
        mean
    }
    /// The derivative of [`Metric::finish`].
    fn slope(&self, _mean: f64) -> f64 {
        1.0
    }
    /// The derivative of [`Metric::row`] in the row's logits, `None` where it has none.
    fn gradient(&self, row: &Row) -> Option<Vec<f64>>;
}

/// The positions a metric is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The position that is read: the last, unless told otherwise.
    Position,
    /// Every position.
    Every,
    /// Every position that has a next token in the prompt.
    Predicting,
}

/// The tokens a metric needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// None.
    Nothing,
    /// At least one right answer.
    Answers,
    /// Right and wrong answers.
    Both,
}

/// What a metric compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compares {
    /// It describes one run; its change between two runs is a second number.
    Nothing,
    /// It is a difference from the unedited run by itself.
    Original,
}

/// Which values of a metric speak for a better prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// High ones: a probability.
    Higher,
    /// Low ones: a loss, a distance from the unedited run.
    Lower,
}

/// One position's logits, with all a metric may look at.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// `[d_vocab]`
    pub logits: &'a [f32],
    /// Log of the sum of their exponentials.
    pub log_z: f64,
    /// The unedited run's logits at the same position; the same as `logits` for that run itself.
    pub original: &'a [f32],
    /// Log of the sum of their exponentials.
    pub original_log_z: f64,
    /// Ids of the right answers.
    pub answers: &'a [u32],
    /// Ids of the wrong answers.
    pub wrong: &'a [u32],
    /// The token that follows in the prompt.
    pub next: Option<u32>,
}

impl Row<'_> {
    /// Log-probability of a token, nats.
    pub fn log_prob(&self, id: u32) -> f64 {
        self.logit(id) - self.log_z
    }

    /// Probability of a token.
    pub fn prob(&self, id: u32) -> f64 {
        self.log_prob(id).exp()
    }

    /// Logit of a token.
    pub fn logit(&self, id: u32) -> f64 {
        f64::from(self.logits[id as usize])
    }

    /// Probability of every token.
    pub fn probs(&self) -> impl Iterator<Item = f64> {
        self.logits.iter().map(|&x| (f64::from(x) - self.log_z).exp())
    }

    /// The mean logit of some tokens.
    fn mean_logit(&self, ids: &[u32]) -> f64 {
        ids.iter().map(|&id| self.logit(id)).sum::<f64>() / ids.len() as f64
    }

    /// The summed probability of some tokens.
    pub(crate) fn total_prob(&self, ids: &[u32]) -> f64 {
        ids.iter().map(|&id| self.prob(id)).sum()
    }
}

/// The ids of the `count` highest logits, highest first, ties by id: the most probable tokens.
pub fn most_probable(logits: &[f32], count: usize) -> Vec<u32> {
    let count = count.min(logits.len());
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(count + 1);
    for (id, &logit) in logits.iter().enumerate() {
        if best.len() == count && best.last().is_none_or(|&(least, _)| logit <= least) {
            continue;
        }
        let at = best.partition_point(|&(other, _)| other >= logit);
        best.insert(at, (logit, id as u32));
        best.truncate(count);
    }
    best.into_iter().map(|(_, id)| id).collect()
}

/// A metric chosen by name.
#[derive(Clone, Copy)]
pub struct MetricId(&'static dyn Metric);

impl MetricId {
    /// The metric of this name.
    ///
    /// # Errors
    /// [`Error::UnknownMetric`] with the nearest name and all there are.
    pub fn named(name: &str) -> Result<MetricId> {
        METRICS.iter().find(|metric| metric.name() == name).map(|metric| MetricId(*metric)).ok_or_else(|| {
            let names = || METRICS.iter().map(|metric| metric.name());
            Error::UnknownMetric {
                name: name.to_owned(),
                nearest: microtome_model::nearest(name, names()).unwrap_or_default(),
                known: names().collect::<Vec<_>>().join(", "),
            }
        })
    }
}

impl std::ops::Deref for MetricId {
    type Target = dyn Metric;
    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl PartialEq for MetricId {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl std::fmt::Debug for MetricId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for MetricId {
    type Err = Error;
    fn from_str(name: &str) -> Result<MetricId> {
        MetricId::named(name)
    }
}

impl Serialize for MetricId {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for MetricId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<MetricId, D::Error> {
        MetricId::named(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};

    use super::{METRICS, MetricId};

    impl utoipa::PartialSchema for MetricId {
        fn schema() -> RefOr<Schema> {
            let line = |metric: &&dyn super::Metric| format!("- {}: {}", metric.name(), metric.describe());
            let lines: Vec<String> = METRICS.iter().map(line).collect();
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(METRICS.iter().map(|metric| metric.name())))
                .description(Some(format!("A metric.\n\n{}", lines.join("\n"))))
                .into()
        }
    }

    impl utoipa::ToSchema for MetricId {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [0.3, -1.2, 2.0, 0.7, 1.1, -0.4];
    const ORIGINAL: [f32; 6] = [0.1, 0.2, 1.5, -0.6, 0.9, 0.0];

    fn row<'a>(logits: &'a [f32], original: &'a [f32]) -> Row<'a> {
        Row {
            logits,
            log_z: log_sum_exp(logits),
            original,
            original_log_z: log_sum_exp(original),
            answers: &[3, 4],
            wrong: &[1, 2],
            next: Some(4),
        }
    }

    #[test]
    fn gradients_equal_central_differences() {
        for metric in METRICS {
            let Some(gradient) = metric.gradient(&row(&LOGITS, &ORIGINAL)) else { continue };
            assert_eq!(gradient.len(), LOGITS.len());
            for (i, expected) in gradient.into_iter().enumerate() {
                let at = |step: f32| {
                    let mut logits = LOGITS;
                    logits[i] += step;
                    (f64::from(logits[i]), metric.row(&row(&logits, &ORIGINAL)))
                };
                let ((x1, y1), (x0, y0)) = (at(1e-3), at(-1e-3));
                let difference = (y1 - y0) / (x1 - x0);
                assert!(
                    (difference - expected).abs() < 1e-5,
                    "{} [{i}]: {difference} {expected}",
                    metric.name()
                );
            }
        }
    }

    #[test]
    fn only_metrics_that_count_have_no_gradient() {
        let without: Vec<_> = METRICS
            .iter()
            .filter(|m| m.gradient(&row(&LOGITS, &ORIGINAL)).is_none())
            .map(|m| m.name())
            .collect();
        assert_eq!(without, ["rank", "top1_changed"]);
    }

    #[test]
    fn metrics_agree_with_their_definitions_written_out() {
        let row = row(&LOGITS, &ORIGINAL);
        let of = |name: &str| MetricId::named(name).unwrap().row(&row);
        let z: f64 = LOGITS.iter().map(|&x| f64::from(x).exp()).sum();
        let p: Vec<f64> = LOGITS.iter().map(|&x| f64::from(x).exp() / z).collect();
        let z0: f64 = ORIGINAL.iter().map(|&x| f64::from(x).exp()).sum();
        let p0: Vec<f64> = ORIGINAL.iter().map(|&x| f64::from(x).exp() / z0).collect();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        near(of("prob"), p[3] + p[4]);
        near(of("log_prob"), (p[3] + p[4]).ln());
        near(of("logit"), (0.7 + 1.1) / 2.0);
        near(of("logit_diff"), (0.7 + 1.1) / 2.0 - (-1.2 + 2.0) / 2.0);
        near(of("prob_diff"), p[3] + p[4] - p[1] - p[2]);
        assert_eq!(of("rank"), 2.0); // only token 2 is above the better answer, 4
        near(of("entropy"), -p.iter().map(|p| p * p.ln()).sum::<f64>());
        near(of("margin"), 1.1 - 2.0);
        near(of("kl"), p0.iter().zip(&p).map(|(a, b)| a * (a / b).ln()).sum());
        near(of("loss"), -p[4].ln());
        near(MetricId::named("perplexity").unwrap().finish(2.0), 2f64.exp());
        assert_eq!(of("top1_changed"), 0.0);
    }

    #[test]
    fn the_most_probable_tokens_are_the_highest_logits_with_ties_by_id() {
        let logits = [0.5, 2.0, -1.0, 2.0, 0.7];
        assert_eq!(most_probable(&logits, 3), [1, 3, 4]);
        assert_eq!(most_probable(&logits, 9), [1, 3, 4, 0, 2]);
        assert!(most_probable(&logits, 0).is_empty());
    }

    #[test]
    fn a_name_that_is_no_metric_is_an_error_that_suggests_one() {
        let message = MetricId::named("logitdiff").unwrap_err().to_string();
        assert!(message.contains("`logit_diff`") && message.contains("entropy"), "{message}");
    }

    #[test]
    fn extreme_logits_give_finite_numbers() {
        let logits = [1e30f32, -1e30, 0.0, 0.0, 5.0, -5.0];
        let row = row(&logits, &ORIGINAL);
        assert!(MetricId::named("entropy").unwrap().row(&row) >= 0.0);
        assert_eq!(row.prob(0), 1.0);
    }
}
