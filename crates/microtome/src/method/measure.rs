//! Measuring: the metrics of prompts as they are, nothing edited.

use super::sweep::{self, Captions};
use crate::error::Result;
use crate::experiment::{Experiment, Watch};
use crate::measure::Subject;
use crate::record::{Quantity, Results};
use crate::text_model::TextModel;

pub(crate) fn run(experiment: &Experiment, model: &TextModel, watch: &mut Watch) -> Result<Results> {
    let cases = experiment.cases(model)?;
    // One lane without edits: equal to its prompt.
    let swept = sweep::run(experiment, model, watch, 1, |prompt| {
        let case = &cases[prompt];
        let (answers, wrong) = (case.answers.clone(), case.wrong.clone());
        Ok((Subject { tokens: case.clean.ids.clone(), answers, wrong }, vec![vec![]]))
    })?;
    let captions = Captions { axes: vec![], done: "of the prompts as they are".to_owned() };
    let report = |(i, base)| sweep::report(model, &cases[i], None, &swept.metrics, &[("clean", base)]);
    let mut tables = sweep::change_tables(&swept, &captions, experiment.seed);
    tables.retain(|table| table.quantity == Quantity::Value);
    let mut notes = vec!["nothing is edited".to_owned()];
    notes.extend(sweep::metric_notes(experiment, &swept));
    Ok(Results {
        prompts: swept.bases.iter().enumerate().map(report).collect(),
        tables,
        notes,
        runs: swept.runs,
        runs_wanted: swept.runs_wanted,
        ..Default::default()
    })
}
