//! Logit of the answer.

use super::{Metric, Needs, Row};

pub(super) struct Logit;

impl Metric for Logit {
    fn name(&self) -> &'static str {
        "logit"
    }
    fn title(&self) -> &'static str {
        "logit"
    }
    fn unit(&self) -> &'static str {
        "logits"
    }
    fn describe(&self) -> &'static str {
        "logit of the answer at the position read; of several answers, their mean"
    }
    fn needs(&self) -> Needs {
        Needs::Answers
    }
    fn row(&self, row: &Row) -> f64 {
        row.mean_logit(row.answers)
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let mut gradient = vec![0.0; row.logits.len()];
        row.answers.iter().for_each(|&id| gradient[id as usize] += 1.0 / row.answers.len() as f64);
        Some(gradient)
    }
}
