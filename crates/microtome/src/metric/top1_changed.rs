//! Share of positions whose most probable token differs from the unedited run's.

use super::{Compares, Metric, Over, Row};

pub(super) struct Top1Changed;

/// The first of the highest logits.
fn argmax(logits: &[f32]) -> usize {
    let higher = |best: usize, id: usize| if logits[id] > logits[best] { id } else { best };
    (0..logits.len()).fold(0, higher)
}

impl Metric for Top1Changed {
    fn name(&self) -> &'static str {
        "top1_changed"
    }
    fn title(&self) -> &'static str {
        "top-1 changed"
    }
    fn unit(&self) -> &'static str {
        "share"
    }
    fn describe(&self) -> &'static str {
        "share of positions whose most probable token differs from the original run's"
    }
    fn over(&self) -> Over {
        Over::Every
    }
    fn compares(&self) -> Compares {
        Compares::Original
    }
    fn row(&self, row: &Row) -> f64 {
        f64::from(argmax(row.logits) != argmax(row.original))
    }
    fn gradient(&self, _: &Row) -> Option<Vec<f64>> {
        None
    }
}
