//! Pairs: components cut two at a time, and what that does beyond cutting each alone.
//!
//! With `e(S)` the effect of cutting the set `S` (edited - original; of a metric that compares with the unedited run by
//! itself, its value), the interaction of `a` and `b` is `e(a, b) - e(a) - e(b)`. It is 0 where the two work apart.
//! The later one of a pair is a *backup* of the earlier one where cutting it hurts once the earlier one is cut, and
//! hurts more than by itself: it can respond to what is missing below it (Wang et al. 2022, section 3.4; McGrath et al.
//! 2023 call it self-repair). Two heads of one layer do not see each other; an interaction between them comes from what
//! is above both.
//!
//! Every pair is a lane, so that 10,296 pairs of GPT-2 small's heads are one sweep. Each stands once, in the row of
//! the component named first.

use std::collections::HashMap;

use microtome_model::{Config, Edit, Hook, Positions};
use serde::{Deserialize, Serialize};

use super::ablate::{edit_of, hook_of};
use super::change::{Replacement, Sources};
use super::sweep::{self, Captions, Cells, Linear, Swept};
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::metric::{Better, Compares};
use crate::record::{Axis, Quantity, Results, Table};
use crate::stats::{Bootstrap, Spread, mean};
use crate::text_model::TextModel;

/// An ablation of pairs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// The components that are paired; every head where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub among: Vec<Component>,
    /// What each of them is paired with. Where left out, each other; a single one with every head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<Component>,
    /// What takes the place of what is cut.
    #[serde(default)]
    pub with: Replacement,
    /// At which positions (queries, for a pattern).
    #[serde(default)]
    pub at: Positions,
}

/// A component that stands in for another when that is cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Backup {
    /// The component that stands in.
    pub backup: Component,
    /// The earlier one it stands in for.
    pub of: Component,
    /// The metric.
    pub metric: String,
    /// Effect of cutting the backup alone.
    pub alone: f64,
    /// Its effect where the other is cut already.
    pub without: f64,
    /// The interaction, `without - alone`.
    pub interaction: f64,
    /// How sure the interaction is; left out for a single prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

/// Backups listed, at most.
const LISTED: usize = 20;

/// What is run: every component by itself, then every pair.
struct Plan {
    rows: Vec<Component>,
    columns: Vec<Component>,
    /// Cells of the sweep.
    sets: Vec<Vec<Component>>,
    index: HashMap<Vec<Component>, usize>,
}

impl Plan {
    fn new(rows: Vec<Component>, columns: Vec<Component>) -> Plan {
        let mut plan = Plan { rows, columns, sets: vec![], index: HashMap::new() };
        let alone: Vec<Component> = plan.rows.iter().chain(&plan.columns).copied().collect();
        alone.into_iter().for_each(|part| plan.add(vec![part]));
        for &a in &plan.rows.clone() {
            for &b in &plan.columns.clone() {
                if a != b {
                    plan.add(pair(a, b));
                }
            }
        }
        plan
    }

    fn add(&mut self, set: Vec<Component>) {
        if !self.index.contains_key(&set) {
            self.index.insert(set.clone(), self.sets.len());
            self.sets.push(set);
        }
    }

    fn alone(&self, part: Component) -> usize {
        self.index[&vec![part]]
    }

    /// The cell of a pair where it stands in this row and column: once in the table, `None` elsewhere.
    fn pair_at(&self, row: usize, column: usize) -> Option<usize> {
        let (a, b) = (self.rows[row], self.columns[column]);
        if a == b {
            return None;
        }
        // The same pair turned round stands above.
        let turned = self.rows.iter().position(|&part| part == b);
        let stands_above = turned.is_some_and(|other| other < row && self.columns.contains(&a));
        (!stands_above).then(|| self.index[&pair(a, b)])
    }

    fn axes(&self) -> Vec<Axis> {
        let axis = |name: &str, parts: &[Component]| Axis {
            name: name.to_owned(),
            labels: parts.iter().map(Component::to_string).collect(),
        };
        vec![axis("component", &self.rows), axis("with component", &self.columns)]
    }
}

/// A pair by its name: the component of the lower layer first.
fn pair(a: Component, b: Component) -> Vec<Component> {
    if order(a) <= order(b) { vec![a, b] } else { vec![b, a] }
}

/// Where a component stands in the forward pass.
fn order(part: Component) -> (usize, u8, usize) {
    match part {
        Component::Attention { layer } => (layer, 0, 0),
        Component::Head { layer, head } => (layer, 1, head),
        Component::Mlp { layer } => (layer, 2, 0),
        Component::Neuron { layer, neuron } => (layer, 3, neuron),
    }
}

/// One part may hold another: cutting both is cutting the larger.
fn overlap(a: Component, b: Component) -> bool {
    match (a, b) {
        (Component::Attention { layer }, Component::Head { layer: other, .. })
        | (Component::Mlp { layer }, Component::Neuron { layer: other, .. }) => layer == other,
        _ => false,
    }
}

impl Pairs {
    /// How many runs of a prompt it takes.
    pub fn count(&self, config: &Config) -> usize {
        let heads = config.n_layers * config.n_heads;
        let among = if self.among.is_empty() { heads } else { self.among.len() };
        match self.against.len() {
            0 if among == 1 => 2 * heads + 1,
            0 => among.saturating_mul(among + 1) / 2,
            against => among.saturating_mul(against).saturating_add(among + against),
        }
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let plan = self.plan(model)?;
        let mut hooks: Vec<Hook> = Vec::new();
        for set in &plan.sets {
            for &part in set {
                let hook = hook_of(part, &self.with)?;
                if !hooks.contains(&hook) {
                    hooks.push(hook);
                }
            }
        }
        let cases = experiment.cases(model)?;
        let shared = Sources::shared(&self.with, experiment, model, &hooks)?;
        let how = format!("{} at {}", self.with.describe(experiment), self.at);
        let tables = |swept: &Swept| tables(swept, &plan, &how, experiment.seed);
        let swept = sweep::run(experiment, model, watch, plan.sets.len(), &tables, |prompt| {
            let case = &cases[prompt];
            let sources = shared.for_prompt(&self.with, experiment, model, (prompt, case), &hooks)?;
            let edit = |&part: &Component| -> Result<Edit> {
                let hook = hook_of(part, &self.with)?;
                let edit = edit_of(part, hook, &sources, &self.with, experiment.seed);
                Ok(edit.positions(self.at.clone()))
            };
            let edits = plan
                .sets
                .iter()
                .map(|set| set.iter().map(edit).collect())
                .collect::<Result<Vec<Vec<_>>>>()?;
            Ok(Cells::of(case.subject(&case.clean), edits))
        })?;
        let report =
            |(i, base)| sweep::report(model, &cases[i], None, &swept.metrics, &[("clean", Some(base))]);
        let prompts = swept.bases.iter().enumerate().map(report).collect();
        let tables = tables(&swept);
        let backups = tables.first().map_or(vec![], |table| backups(&swept, &plan, table));
        let notes = vec![
            format!("two components together, each {how}"),
            "interaction: effect of both cut - effect of one - effect of the other; a backup hurts where the earlier \
             one is cut, more than by itself"
                .to_owned(),
        ];
        Ok(Results { backups, ..swept.results(experiment, prompts, tables, notes) })
    }

    fn plan(&self, model: &TextModel) -> Result<Plan> {
        let config = model.config();
        let named = [&self.among, &self.against];
        named.into_iter().flatten().try_for_each(|part| part.check(config))?;
        for list in named {
            if let Some((i, part)) = list.iter().enumerate().find(|(i, part)| list[..*i].contains(part)) {
                return Err(Error::NamedTwice { component: part.to_string(), place: i + 1 });
            }
        }
        let rows =
            if self.among.is_empty() { Component::heads(config).collect() } else { self.among.clone() };
        let columns = match (&self.against[..], rows.len()) {
            ([], 1) => Component::heads(config).collect(),
            ([], _) => rows.clone(),
            (named, _) => named.to_vec(),
        };
        let mut apart = false;
        for &a in &rows {
            for &b in &columns {
                if overlap(a, b) || overlap(b, a) {
                    return Err(Error::Overlap { first: a.to_string(), second: b.to_string() });
                }
                apart |= a != b;
            }
        }
        match apart {
            true => Ok(Plan::new(rows, columns)),
            false => Err(Error::Missing { what: "a second component", hint: "a pair takes two that differ" }),
        }
    }
}

/// Of every metric the interaction, and the effect of both together; on the diagonal that of one alone.
fn tables(swept: &Swept, plan: &Plan, how: &str, seed: u64) -> Vec<Table> {
    let bootstrap = Bootstrap::new(swept.bases.len(), seed);
    let grid: Vec<(usize, usize)> = (0..plan.rows.len())
        .flat_map(|row| (0..plan.columns.len()).map(move |column| (row, column)))
        .collect();
    let mut tables = Vec::new();
    for (m, metric) in swept.metrics.iter().enumerate() {
        let effects = |cell: usize| effects(swept, m, cell);
        let captions = |done: String| Captions { axes: plan.axes(), done };
        let compares = metric.compares() == Compares::Original;
        let joint = if compares { Quantity::Value } else { Quantity::Change };
        let interaction = |index: usize| -> Option<Linear> {
            let (row, column) = grid[index];
            let both = effects(plan.pair_at(row, column)?)?;
            let (a, b) = (effects(plan.alone(plan.rows[row]))?, effects(plan.alone(plan.columns[column]))?);
            Some(Linear(both.iter().zip(a.iter().zip(&b)).map(|(both, (a, b))| both - a - b).collect()))
        };
        let together = |index: usize| -> Option<Linear> {
            let (row, column) = grid[index];
            let same = plan.rows[row] == plan.columns[column];
            let cell = if same { Some(plan.alone(plan.rows[row])) } else { plan.pair_at(row, column) };
            effects(cell?).map(Linear)
        };
        let title = format!("Interaction of two components in {}", metric.title());
        let baseline =
            "both cut - one cut - the other cut, each against the unedited run; 0 = they work apart";
        tables.push(sweep::table_of(
            swept,
            (m, Quantity::Interaction),
            &captions(how.to_owned()),
            (title, baseline.to_owned()),
            &bootstrap,
            (grid.len(), &interaction),
        ));
        let title = match compares {
            true => format!("{} when two components are cut", sweep::capitalised(metric.title())),
            false => format!("Change in {} when two components are cut", metric.title()),
        };
        let baseline =
            "both cut - original; where a row meets its own column, that one alone; 0 = the unedited run";
        tables.push(sweep::table_of(
            swept,
            (m, joint),
            &captions(how.to_owned()),
            (title, baseline.to_owned()),
            &bootstrap,
            (grid.len(), &together),
        ));
    }
    tables
}

/// The effect of a cell on every prompt, `None` where it is not finished.
fn effects(swept: &Swept, metric: usize, cell: usize) -> Option<Vec<f64>> {
    let values = swept.values(metric, cell)?;
    Some(match swept.metrics[metric].compares() {
        Compares::Original => values,
        Compares::Nothing => {
            values.iter().zip(swept.base_values(metric)).map(|(edited, base)| edited - base).collect()
        }
    })
}

/// The pairs of which the later one hurts by the first metric where the earlier one is cut, more than by itself.
fn backups(swept: &Swept, plan: &Plan, interactions: &Table) -> Vec<Backup> {
    let Some(metric) = swept.metrics.first() else { return vec![] };
    let harm = match metric.better() {
        Better::Higher => -1.0,
        Better::Lower => 1.0,
    };
    let columns = plan.columns.len();
    let mean_effect = |cell: usize| Some(mean(&effects(swept, 0, cell)?));
    let backup = |(cell, interaction): (usize, &Option<f64>)| -> Option<Backup> {
        let interaction = (*interaction)?;
        let set = pair(plan.rows[cell / columns], plan.columns[cell % columns]);
        let (of, backup) = (set[0], set[1]);
        let alone = mean_effect(plan.alone(backup))?;
        let without = mean_effect(plan.index[&set])? - mean_effect(plan.alone(of))?;
        (harm * interaction > 0.0 && harm * without > 0.0).then(|| Backup {
            backup,
            of,
            metric: metric.name().to_owned(),
            alone,
            without,
            interaction,
            spread: interactions.spread.get(cell).copied().flatten(),
        })
    };
    let mut found: Vec<Backup> = interactions.values.iter().enumerate().filter_map(backup).collect();
    found.sort_by(|a, b| (harm * b.interaction).total_cmp(&(harm * a.interaction)));
    found.truncate(LISTED);
    found
}
