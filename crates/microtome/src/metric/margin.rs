//! Margin between the answer and the best other token.

use super::{Metric, Needs, Row};

pub(super) struct Margin;

impl Margin {
    /// The best answer and the best other token.
    fn rivals(row: &Row) -> (usize, usize) {
        let higher = |best: Option<usize>, id: usize| match best {
            Some(best) if row.logits[best] >= row.logits[id] => Some(best),
            _ => Some(id),
        };
        let answers = row.answers.iter().map(|&id| id as usize);
        let others = (0..row.logits.len()).filter(|&id| !row.answers.contains(&(id as u32)));
        (answers.fold(None, higher).unwrap_or(0), others.fold(None, higher).unwrap_or(0))
    }
}

impl Metric for Margin {
    fn name(&self) -> &'static str {
        "margin"
    }
    fn title(&self) -> &'static str {
        "margin"
    }
    fn unit(&self) -> &'static str {
        "logits"
    }
    fn describe(&self) -> &'static str {
        "logit of the (best) answer minus the best other logit at the position read"
    }
    fn needs(&self) -> Needs {
        Needs::Answers
    }
    fn row(&self, row: &Row) -> f64 {
        let (answer, other) = Margin::rivals(row);
        f64::from(row.logits[answer]) - f64::from(row.logits[other])
    }
    fn gradient(&self, row: &Row) -> Option<Vec<f64>> {
        let (answer, other) = Margin::rivals(row);
        let mut gradient = vec![0.0; row.logits.len()];
        gradient[answer] = 1.0;
        gradient[other] = -1.0;
        Some(gradient)
    }
}
