//! Measuring: the metrics of prompts as they are, nothing edited.

use super::sweep::{self, Captions, Cells, Swept};
use crate::error::Result;
use crate::experiment::{Experiment, Watch};
use crate::record::{Quantity, Results};
use crate::text_model::TextModel;

pub(crate) fn run(experiment: &Experiment, model: &TextModel, watch: &mut Watch) -> Result<Results> {
    let cases = experiment.cases(model)?;
    // One lane without edits: equal to its prompt.
    let subject = |prompt: usize| Ok(Cells::of(cases[prompt].subject(&cases[prompt].clean), vec![vec![]]));
    let captions = Captions { axes: vec![], done: "of the prompts as they are".to_owned() };
    let tables = |swept: &Swept| {
        let mut tables = sweep::change_tables(swept, &captions, experiment.seed);
        tables.retain(|table| table.quantity == Quantity::Value);
        tables
    };
    let swept = sweep::run(experiment, model, watch, 1, &tables, subject)?;
    let report = |(i, base)| sweep::report(model, &cases[i], None, &swept.metrics, &[("clean", Some(base))]);
    let prompts = swept.bases.iter().enumerate().map(report).collect();
    Ok(swept.results(experiment, prompts, tables(&swept), vec!["nothing is edited".to_owned()]))
}
