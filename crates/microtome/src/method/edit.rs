//! Any edit at any hook, by name: all of them in one run, next to the unedited one.

use microtome_model::{Change, Edit, Hook, Positions, Units, Value};
use serde::{Deserialize, Serialize};

use super::change::{Replacement, Sources};
use super::sweep::{self, Captions, Cells, Swept};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::record::Results;
use crate::text_model::TextModel;

/// Several edits, made together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EditRun {
    /// The edits, applied in this order where several meet at one hook.
    pub edits: Vec<EditSpec>,
}

/// One edit as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EditSpec {
    /// A hook's name, or a glob that matches several: `blocks.*.attn.hook_z`.
    pub hook: String,
    /// Heads, neurons or dimensions; all where left out.
    #[serde(default)]
    pub units: Units,
    /// Positions; all where left out.
    #[serde(default)]
    pub at: Positions,
    /// What happens there.
    pub change: ChangeSpec,
}

/// What happens to the selected values, as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeSpec {
    /// They are replaced.
    Replace(Replacement),
    /// They become this number.
    Set(f64),
    /// This number is added.
    Add(f64),
    /// They are multiplied by this number.
    Scale(f64),
    /// These `(query, key)` edges carry nothing: renormalised at `attn_scores`, not at `pattern`.
    KnockOut(Vec<(usize, usize)>),
}

impl EditRun {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        if self.edits.is_empty() {
            let hint = "name at least one edit, or measure the prompts as they are";
            return Err(Error::Missing { what: "an edit", hint });
        }
        let cases = experiment.cases(model)?;
        let mut placed: Vec<(&EditSpec, Vec<Hook>, Sources)> = Vec::new();
        for spec in &self.edits {
            let hooks = Hook::matching(model.config(), &spec.hook)?;
            let sources = match &spec.change {
                ChangeSpec::Replace(with) => Sources::shared(with, experiment, model, &hooks)?,
                _ => Sources::default(),
            };
            placed.push((spec, hooks, sources));
        }
        let count = placed.iter().map(|(_, hooks, _)| hooks.len()).sum::<usize>();
        let done = format!("{count} edit{} made together", if count == 1 { "" } else { "s" });
        let captions = Captions { axes: vec![], done: format!("with {done}") };
        let tables = |swept: &Swept| sweep::change_tables(swept, &captions, experiment.seed);
        let swept = sweep::run(experiment, model, watch, 1, &tables, |prompt| {
            let case = &cases[prompt];
            let mut edits = Vec::new();
            for (spec, hooks, shared) in &placed {
                let sources = match &spec.change {
                    ChangeSpec::Replace(with) => {
                        shared.for_prompt(with, experiment, model, (prompt, case), hooks)?
                    }
                    _ => Sources::default(),
                };
                for &hook in hooks {
                    let change = spec.change.at(hook, &sources, experiment.seed);
                    edits.push(Edit { hook, units: spec.units.clone(), positions: spec.at.clone(), change });
                }
            }
            Ok(Cells::of(case.subject(&case.clean), vec![edits]))
        })?;
        let prompts = swept
            .bases
            .iter()
            .zip(&swept.cells)
            .enumerate()
            .map(|(i, (base, cells))| {
                let runs = [("clean", Some(base)), ("edited", cells[0].as_ref())];
                sweep::report(model, &cases[i], None, &swept.metrics, &runs)
            })
            .collect();
        let mut notes = vec![done.clone()];
        for (spec, hooks, _) in &placed {
            let names: Vec<String> = hooks.iter().map(Hook::to_string).collect();
            let units = match &spec.units {
                Units::All => String::new(),
                Units::At(list) => format!(" {list:?}"),
            };
            let done = spec.change.describe(experiment);
            notes.push(format!("{}{units}: {done} at {}", names.join(", "), spec.at));
        }
        Ok(swept.results(experiment, prompts, tables(&swept), notes))
    }
}

impl ChangeSpec {
    fn at(&self, hook: Hook, sources: &Sources, seed: u64) -> Change {
        match self {
            ChangeSpec::Replace(with) => sources.change(with, hook, seed),
            ChangeSpec::Set(value) => Change::Set(Value::Scalar(*value)),
            ChangeSpec::Add(value) => Change::Add(Value::Scalar(*value)),
            ChangeSpec::Scale(factor) => Change::Scale(*factor),
            ChangeSpec::KnockOut(edges) => Change::KnockOut(edges.clone()),
        }
    }

    fn describe(&self, experiment: &Experiment) -> String {
        match self {
            ChangeSpec::Replace(with) => with.describe(experiment),
            ChangeSpec::Set(value) => format!("set to {value}"),
            ChangeSpec::Add(value) => format!("{value} added"),
            ChangeSpec::Scale(factor) => format!("multiplied by {factor}"),
            ChangeSpec::KnockOut(edges) => format!("{} edges knocked out", edges.len()),
        }
    }
}
