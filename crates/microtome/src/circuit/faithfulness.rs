//! How much of what a model does its circuit does.
//!
//! ```text
//! f(C) = (m(C) - m(empty)) / (m(model) - m(empty))
//! ```
//!
//! `m` is the metric with everything outside the circuit replaced, `empty` the circuit of no edges; over several prompts the
//! means of `m` stand there. 1: the circuit does what the model does; 0: no more than nothing. Over the share `k` of edges kept,
//! CPR is the area under `f`, CMD the area under `|1 - f|`, by trapezoids (Mueller et al. 2025).

use crate::error::{Error, Result};
use crate::method::sweep::{Cell, NOTHING_TO_RECOVER, Ratio};
use crate::metric::MetricId;
use crate::stats::{Bootstrap, Spread, mean, standard_error};

/// What the whole model and the empty circuit give, prompt by prompt.
pub(crate) struct Ends {
    pub full: Vec<f64>,
    pub empty: Vec<f64>,
    bootstrap: Option<Bootstrap>,
}

impl Ends {
    /// The ends of the scale.
    ///
    /// # Errors
    /// [`Error::NothingToExplain`] where the two are one.
    pub fn new(full: Vec<f64>, empty: Vec<f64>, metric: MetricId, seed: u64) -> Result<Ends> {
        let (whole, none) = (mean(&full), mean(&empty));
        if (whole - none).abs() <= NOTHING_TO_RECOVER * whole.abs().max(1.0) {
            return Err(Error::NothingToExplain { metric: metric.name(), value: whole });
        }
        let bootstrap = (full.len() > 1).then(|| Bootstrap::new(full.len(), seed));
        Ok(Ends { full, empty, bootstrap })
    }

    fn ratio(&self, values: &[f64]) -> Ratio {
        Ratio { values: values.to_vec(), corrupt: self.empty.clone(), clean: self.full.clone() }
    }

    /// Faithfulness of a circuit with these values by prompt.
    pub fn faithfulness(&self, values: &[f64]) -> f64 {
        self.over(values, &mut (0..values.len())).unwrap_or(f64::NAN)
    }

    fn over(&self, values: &[f64], prompts: &mut dyn Iterator<Item = usize>) -> Option<f64> {
        self.ratio(values).over(prompts)
    }

    /// How sure it is; `None` for one prompt, or where some resample has nothing to explain.
    pub fn spread(&self, values: &[f64]) -> Option<Spread> {
        let ratio = self.ratio(values);
        let of = |draw: &[u32]| ratio.over(&mut draw.iter().map(|&i| i as usize));
        let (low, high) = self.bootstrap.as_ref()?.interval(of)?;
        Some(Spread { stderr: standard_error(&ratio.by_prompt()), low, high })
    }

    /// A number made of the faithfulness of several circuits, and its interval; the standard error is that of the bootstrap.
    /// `values` is by circuit, by prompt.
    pub fn of_several(&self, values: &[Vec<f64>], number: impl Fn(&[f64]) -> f64) -> (f64, Option<Spread>) {
        let ratios: Vec<Ratio> = values.iter().map(|values| self.ratio(values)).collect();
        let over = |prompts: &[u32]| -> Option<f64> {
            let one = |ratio: &Ratio| ratio.over(&mut prompts.iter().map(|&i| i as usize));
            Some(number(&ratios.iter().map(one).collect::<Option<Vec<f64>>>()?))
        };
        let all: Vec<u32> = (0..self.full.len() as u32).collect();
        let spread = self.bootstrap.as_ref().and_then(|bootstrap| bootstrap.spread(over));
        (over(&all).unwrap_or(f64::NAN), spread)
    }
}

/// Area under points from left to right, by trapezoids.
pub(crate) fn area(points: &[(f64, f64)]) -> f64 {
    points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        let metric = MetricId::named("logit_diff").unwrap();
        Ends::new(vec![3.0, 5.0], vec![-1.0, 1.0], metric, 0).unwrap()
    }

    #[test]
    fn the_model_is_one_nothing_is_zero_and_means_are_taken_first() {
        let ends = ends();
        assert_eq!(ends.faithfulness(&ends.full), 1.0);
        assert_eq!(ends.faithfulness(&ends.empty), 0.0);
        // (mean of 1 and 5) - 0 over 4 - 0.
        assert_eq!(ends.faithfulness(&[1.0, 5.0]), 0.75);
        let (sum, spread) = ends.of_several(&[vec![1.0, 5.0], vec![3.0, 5.0]], |f| f.iter().sum());
        assert_eq!(sum, 1.75);
        let spread = spread.unwrap();
        // Of twice the first prompt (0.5 + 1) and of twice the second (1 + 1).
        assert_eq!((spread.low, spread.high), (1.5, 2.0));
    }

    #[test]
    fn a_metric_that_is_the_same_without_the_model_has_nothing_to_explain() {
        let metric = MetricId::named("logit_diff").unwrap();
        let error = Ends::new(vec![2.0, 4.0], vec![4.0, 2.0], metric, 0).err().unwrap().to_string();
        assert!(error.contains("logit_diff") && error.contains('3'), "{error}");
    }

    #[test]
    fn areas_are_those_of_trapezoids() {
        assert_eq!(area(&[(0.0, 0.0), (0.5, 1.0), (1.0, 1.0)]), 0.75);
        assert_eq!(area(&[(0.5, 1.0)]), 0.0);
    }
}
