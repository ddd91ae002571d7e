//! Several features changed in one run, each in its own way, next to the unedited run.
//!
//! As [`super::feature_sweep`], whose changes these are; the error term is kept or dropped at all positions that are changed.

use microtome_model::{Change, Edit, Positions, RowMap, Tensor};
use serde::{Deserialize, Serialize};

use super::features::counted;
use super::sweep::{self, Captions, Cells, Swept};
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::record::{Axis, Results};
use crate::sae::{Activations, Cell, ErrorTerm, FeatureChange, Sae, SaeChoice, edits_of};
use crate::text_model::{TextModel, Tokens};

/// Features changed together, asked as an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FeatureEdits {
    /// The autoencoder.
    pub sae: SaeChoice,
    /// What is changed; several changes of one feature must be at different positions.
    pub edits: Vec<FeatureEdit>,
    /// What happens to what the features do not explain, at the positions of these changes.
    #[serde(default)]
    pub error: ErrorTerm,
}

/// One feature and what happens to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FeatureEdit {
    /// Which.
    pub feature: usize,
    /// What happens to it; a patch is a sweep's.
    #[serde(default)]
    pub change: FeatureChange,
    /// Where; at all positions but a BOS in front where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Positions>,
}

/// The tables' axis where the error is dropped.
const RUNS: [&str; 2] = ["reconstruction", "edited"];

impl FeatureEdits {
    pub(crate) fn check(&self, sae: &Sae) -> Result<()> {
        if self.edits.is_empty() {
            let hint = "name at least one feature and what happens to it";
            return Err(Error::Missing { what: "a change of a feature", hint });
        }
        for edit in &self.edits {
            sae.check_feature(edit.feature)?;
            edit.change.check()?;
            if edit.change.direction().is_some() {
                let what = "a patch: it gives recoveries; ask for a sweep over features, together";
                return Err(Error::Unused { method: "a change of features", what });
            }
        }
        Ok(())
    }

    /// Runs of each prompt.
    pub(crate) fn count(&self) -> usize {
        match self.error {
            ErrorTerm::Keep => 1,
            ErrorTerm::Drop => RUNS.len(),
        }
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let sae = model.sae(&self.sae)?;
        self.check(sae)?;
        let cases = experiment.cases(model)?;
        let axes = match self.error {
            ErrorTerm::Keep => vec![],
            ErrorTerm::Drop => {
                vec![Axis { name: "run".to_owned(), labels: RUNS.map(str::to_owned).to_vec() }]
            }
        };
        let n = self.edits.len();
        let done = format!("with {n} feature{} changed", if n == 1 { "" } else { "s" });
        let captions = Captions { axes, done };
        let tables = |swept: &Swept| sweep::change_tables(swept, &captions, experiment.seed);
        let swept = sweep::run(experiment, model, watch, self.count(), &tables, |prompt| {
            let case = &cases[prompt];
            let own = sae.features(&sae.read(model, &case.clean.ids)?)?;
            let cells = self.cells(case, model).map_err(|error| experiment.in_prompt(prompt, error))?;
            let mut at: Vec<usize> = cells.iter().flat_map(|cell| cell.at.clone()).collect();
            at.sort_unstable();
            at.dedup();
            let edits = |cells: &[Cell], dropped| edits_of(sae, model, (&own, None), cells, dropped);
            let runs = match self.error {
                ErrorTerm::Keep => vec![edits(&cells, None)?],
                ErrorTerm::Drop => vec![edits(&[], Some(&at))?, edits(&cells, Some(&at))?],
            };
            Ok(Cells::of(case.subject(&case.clean), runs))
        })?;
        let names: &[&str] = match self.error {
            ErrorTerm::Keep => &RUNS[1..],
            ErrorTerm::Drop => &RUNS,
        };
        let report = |(i, base): (usize, _)| {
            let changed = names.iter().zip(&swept.cells[i]).map(|(name, reading)| (*name, reading.as_ref()));
            let runs: Vec<_> = std::iter::once(("clean", Some(base))).chain(changed).collect();
            sweep::report(model, &cases[i], None, &swept.metrics, &runs)
        };
        let prompts = swept.bases.iter().enumerate().map(report).collect();
        Ok(swept.results(experiment, prompts, tables(&swept), self.notes(sae)))
    }

    /// The edit that makes these changes on every token as it comes, of the features as they are in that very run.
    ///
    /// # Errors
    /// [`Error::Unused`] where changes are at different positions.
    pub(crate) fn in_generation(&self, model: &TextModel, prompt: &Tokens) -> Result<Edit> {
        let sae = model.sae(&self.sae)?;
        self.check(sae)?;
        let at = &self.edits[0].at;
        if self.edits.iter().any(|edit| edit.at != *at) {
            let what = "positions of their own for changes of features: text that is written has none yet";
            return Err(Error::Unused { method: "generation", what });
        }
        for (i, edit) in self.edits.iter().enumerate() {
            if self.edits[..i].iter().any(|earlier| earlier.feature == edit.feature) {
                let component = format!("feature {}", edit.feature);
                return Err(Error::NamedTwice { component, place: i + 1 });
            }
        }
        let changes = self.edits.iter().map(|edit| (edit.feature, edit.change)).collect::<Vec<_>>();
        let (changed, error) = (sae.clone(), self.error);
        let map = move |input: &Tensor, target: &Tensor| {
            let activations = Activations { input: input.clone(), target: target.clone() };
            changed.changed(&activations, &changes, error).map_err(|e| e.to_string())
        };
        let edit = Edit::new(sae.writes_at(), Change::Rows(RowMap::reading(sae.hook(), map)));
        Ok(edit.positions(counted(at, prompt, model)))
    }

    /// The changes of one prompt, with their positions.
    fn cells(&self, case: &Case, model: &TextModel) -> Result<Vec<Cell>> {
        let mut cells: Vec<Cell> = Vec::with_capacity(self.edits.len());
        for (i, edit) in self.edits.iter().enumerate() {
            let at = counted(&edit.at, &case.clean, model).resolve(case.clean.ids.len())?;
            let meets =
                |other: &Cell| other.feature == edit.feature && other.at.iter().any(|pos| at.contains(pos));
            if cells.iter().any(meets) {
                let component = format!("feature {}", edit.feature);
                return Err(Error::NamedTwice { component, place: i + 1 });
            }
            cells.push(Cell { feature: edit.feature, change: edit.change, at });
        }
        Ok(cells)
    }

    pub(crate) fn notes(&self, sae: &Sae) -> Vec<String> {
        let error = match self.error {
            ErrorTerm::Keep => "what they do not explain stays as it is",
            ErrorTerm::Drop => "what they do not explain is dropped at the positions of the changes",
        };
        let mut notes = vec![format!("features of {} at {}; {error}", self.sae, sae.place())];
        for FeatureEdit { feature, change, at } in &self.edits {
            let at = at.as_ref().map_or_else(|| "all positions but BOS".to_owned(), Positions::to_string);
            notes.push(format!("feature {feature}: {} at {at}", change.describe()));
        }
        notes
    }
}
