//! Path patching: what a sender's output is worth to chosen receivers alone.
//!
//! Two runs of the base prompt. In the first, pass A, the senders write what they write in the other run, and every other
//! head keeps what it writes in the base run (its `z`). MLPs keep theirs too (frozen: the change goes straight from sender to
//! receiver) or are computed anew (recomputed: it also goes through MLPs). LayerNorms are always computed anew. In the
//! second, pass B, only the receivers take over what they got in pass A: a head's queries, keys or values, an
//! MLP's input; to the logits the change of the last residual stream is added. Everything above them is free.
//!
//! Of one sender and one receiver with frozen MLPs that is the exact patch of one edge. Several receivers together each keep
//! what pass A gave them, so what one of them passes on does not reach another.
//!
//! Noise patches the clean run with the corrupt one's values, as the method was published; denoise the other way round.
//! Senders are the lanes of pass A, pairs of sender and receiver those of pass B, so that a whole matrix of them is
//! a few walks of the model.
//!
//! Wang et al. 2022, section 3; Goldowsky-Dill, MacLeod, Sato and Arora 2023. Left out: paths through named heads in between.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use microtome_model::{
    Cache, Change, Config, Edit, Hook, Lane, LaneEvent, LaneOptions, LaneRun, Positions, RunOptions, Site,
    Tensor, Value,
};
use serde::{Deserialize, Serialize};

use super::graph::{Edge, Graph, Node, Port};
use super::receiver::Receiver;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Partial, Watch};
use crate::measure::{KeepTop, Measured, Meter, Reading, Subject};
use crate::method::patch::Direction;
use crate::method::sweep::{self, Captions, Swept};
use crate::record::{Axis, Results, Table};
use crate::text_model::{TextModel, Tokens};

/// A patch of the paths from senders to receivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PathPatch {
    /// Whose output is the other run's.
    #[serde(default)]
    pub from: Senders,
    /// What sees it.
    #[serde(default)]
    pub to: Receivers,
    /// Whether MLPs in between pass the change on.
    #[serde(default)]
    pub mlps: MlpsBetween,
    /// Which run is patched; `noise`, the clean one with corrupt values, where left out.
    #[serde(default = "noise")]
    pub direction: Direction,
    /// At which positions the senders' output is the other run's.
    #[serde(default)]
    pub at: Positions,
}

fn noise() -> Direction {
    Direction::Noise
}

/// Whose output is the other run's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Senders {
    /// Every head by itself.
    #[default]
    Heads,
    /// The input, every head and every MLP by itself.
    Every,
    /// These, each by itself.
    Each(Vec<Node>),
    /// These together.
    Together(Vec<Node>),
}

/// What sees the senders' change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Receivers {
    /// Every input by itself: of all heads the query, key and value, every MLP, the logits.
    Every,
    /// These, each by itself.
    Each(Vec<Receiver>),
    /// These together.
    Together(Vec<Receiver>),
}

impl Default for Receivers {
    /// The logits.
    fn default() -> Receivers {
        Receivers::Together(vec![Receiver::LOGITS])
    }
}

/// Whether MLPs between sender and receiver pass the change on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MlpsBetween {
    /// They write what they write in the base run: the direct path alone.
    #[default]
    Frozen,
    /// They respond to it.
    Recomputed,
}

/// What is run: sets of senders, sets of receivers, and which pairs of them are connected.
pub(crate) struct Plan {
    rows: Vec<Vec<Node>>,
    columns: Vec<Vec<Receiver>>,
    axes: Vec<Axis>,
}

impl Plan {
    /// Whether a sender of the row is below a receiver of the column.
    fn connected(&self, row: usize, column: usize) -> bool {
        self.columns[column].iter().any(|receiver| self.rows[row].iter().any(|&node| receiver.sees(node)))
    }

    fn cells(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    fn cells_connected(&self) -> usize {
        let of_row = |row| (0..self.columns.len()).filter(|&column| self.connected(row, column)).count();
        (0..self.rows.len()).map(of_row).sum()
    }

    /// Where pass A is looked at.
    fn hooks(&self, config: &Config) -> Vec<Hook> {
        let mut hooks: Vec<Hook> = Vec::new();
        for receiver in self.columns.iter().flatten() {
            let hook = receiver.hook(config);
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
        hooks
    }
}

/// One prompt: its two runs.
struct Runs {
    base: Subject,
    base_reading: Reading,
    base_cache: Cache,
    other_cache: Cache,
    other_reading: Reading,
}

/// What the passes of one prompt work on.
struct Asked<'a> {
    plan: &'a Plan,
    model: &'a TextModel,
    meter: &'a Meter,
    runs: &'a Runs,
    /// Where pass A is looked at.
    hooks: Vec<Hook>,
}

/// What a lane of pass A gave at a hook, from a position on.
type Got = HashMap<Hook, (usize, Tensor)>;

/// Partial tables are drawn up at most this often.
const PARTIAL_EVERY: Duration = Duration::from_millis(80);

impl PathPatch {
    /// How many runs of a prompt it takes, at most.
    pub fn count(&self, config: &Config) -> usize {
        let heads = config.n_layers * config.n_heads;
        let mlps = if config.mlp.is_some() { config.n_layers } else { 0 };
        let senders = match &self.from {
            Senders::Heads => heads,
            Senders::Every => 1 + heads + mlps,
            Senders::Each(list) => list.len(),
            Senders::Together(_) => 1,
        };
        let receivers = match &self.to {
            Receivers::Every => 3 * heads + mlps + 1,
            Receivers::Each(list) => list.len(),
            Receivers::Together(_) => 1,
        };
        senders.saturating_mul(receivers)
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let plan = self.plan(model.config())?;
        let meter = sweep::meter(experiment)?;
        let cases = experiment.cases(model)?;
        let corrupts = (0..cases.len())
            .map(|i| experiment.corrupt(i, &cases[i].clean, model))
            .collect::<Result<Vec<Tokens>>>()?;
        let captions = Captions { axes: plan.axes.clone(), done: format!("when {}", self.done()) };
        let tables = |swept: &Swept| {
            sweep::recovery_tables(swept, &captions, experiment.seed, &self.direction.ends(swept))
        };
        let mut swept = Swept {
            metrics: meter.metrics.clone(),
            bases: vec![],
            others: vec![],
            cells: vec![],
            runs: 0,
            runs_wanted: cases.len() * plan.cells_connected(),
        };
        (watch.progress)(0, swept.runs_wanted);
        for (case, corrupt) in cases.iter().zip(&corrupts) {
            let (base, other) = match self.direction {
                Direction::Denoise => (corrupt, &case.clean),
                Direction::Noise => (&case.clean, corrupt),
            };
            let runs = self.both(model, &meter, case.subject(base), case.subject(other))?;
            let hooks = plan.hooks(model.config());
            let asked = Asked { plan: &plan, model, meter: &meter, runs: &runs, hooks };
            if !self.patch(&asked, &mut swept, watch, &tables)? {
                break;
            }
        }
        // Of several prompts, keep those that are whole, so that means are over the same prompts everywhere.
        let connected = plan.cells_connected();
        let is_whole = |cells: &&Vec<Option<Reading>>| cells.iter().flatten().count() == connected;
        let whole = swept.cells.iter().take_while(is_whole).count().max(1);
        swept.bases.truncate(whole);
        swept.others.truncate(whole);
        swept.cells.truncate(whole);
        swept.runs = swept.cells.iter().flatten().flatten().count();
        if swept.runs == 0 {
            return Err(Error::StoppedEarly);
        }

        let ends = self.direction.ends(&swept);
        let report = |(i, (corrupt, clean)): (usize, &(Reading, Reading))| {
            let patched = swept.cells[i].first().and_then(Option::as_ref).filter(|_| plan.cells() == 1);
            let runs = [("clean", Some(clean)), ("corrupt", Some(corrupt)), ("patched", patched)];
            sweep::report(model, &cases[i], Some(corrupts[i].clone()), &swept.metrics, &runs)
        };
        let prompts = ends.iter().enumerate().map(report).collect();
        let mut notes = vec![self.done()];
        if connected < plan.cells() {
            notes.push("no number where the receiver does not stand above the sender".to_owned());
        }
        notes.extend(sweep::nothing_to_recover(&swept, &ends));
        Ok(swept.results(experiment, prompts, tables(&swept), notes))
    }

    /// Both passes for one prompt, its cells into `swept`; whether all of them were finished.
    fn patch(
        &self,
        asked: &Asked,
        swept: &mut Swept,
        watch: &mut Watch,
        tables: &dyn Fn(&Swept) -> Vec<Table>,
    ) -> Result<bool> {
        let Asked { plan, model, meter, runs, hooks } = asked;
        let config = model.config();
        let n_columns = plan.columns.len();
        let keep = if plan.cells() == 1 { KeepTop::OfAll } else { KeepTop::OfBases };
        let options = LaneOptions { memory_budget: watch.memory_budget, cancel: Some(watch.cancel) };
        let len = runs.base.tokens.len();
        let width: usize = hooks.iter().map(|hook| hook.shape(config, 1).iter().product::<usize>()).sum();
        // Half for what pass A gave; the runs themselves share the other.
        let at_once = (watch.memory_budget / 2 / (len * width * size_of::<f32>()).max(1)).max(1);
        let mut cells: Vec<Option<Reading>> = vec![None; plan.cells()];
        let mut drawn = Instant::now();
        let rows: Vec<usize> = (0..plan.rows.len()).collect();
        for rows in rows.chunks(at_once) {
            let Some(got) = self.pass_a(rows, asked, &options)? else { break };
            let mut places = Vec::new();
            let mut lanes = Vec::new();
            for (&row, got) in rows.iter().zip(&got) {
                for column in (0..n_columns).filter(|&column| plan.connected(row, column)) {
                    places.push(row * n_columns + column);
                    let edits = self.pass_b(&plan.columns[column], config, got, runs)?;
                    lanes.push(Lane { prompt: 0, edits });
                }
            }
            let done = swept.runs;
            let runs_wanted = swept.runs_wanted;
            let mut finished = |measured: &Measured, count: usize| {
                (watch.progress)(done + count, runs_wanted);
                let Some(partial) = watch.partial.as_mut() else { return };
                let (Some(Some(base)), true) = (measured.bases.first(), drawn.elapsed() >= PARTIAL_EVERY)
                else {
                    return;
                };
                if swept.bases.is_empty() && count > 0 && done + count < runs_wanted {
                    let mut so_far = cells.clone();
                    for (&place, reading) in places.iter().zip(&measured.lanes) {
                        so_far[place].clone_from(reading);
                    }
                    partial(Partial::Tables(tables(&Swept {
                        metrics: swept.metrics.clone(),
                        bases: vec![base.clone()],
                        others: vec![runs.other_reading.clone()],
                        cells: vec![so_far],
                        runs: 0,
                        runs_wanted,
                    })));
                    drawn = Instant::now();
                }
            };
            let subjects = std::slice::from_ref(&runs.base);
            let (measured, _) = meter.run(model.model(), subjects, &lanes, keep, &options, &mut finished)?;
            for (place, reading) in places.into_iter().zip(measured.lanes) {
                swept.runs += usize::from(reading.is_some());
                cells[place] = reading;
            }
        }
        let finished = cells.iter().flatten().count() == plan.cells_connected();
        swept.bases.push(runs.base_reading.clone());
        swept.others.push(runs.other_reading.clone());
        swept.cells.push(cells);
        Ok(finished)
    }

    /// What the receivers' hooks get from each of these rows' senders; `None` where the run was stopped.
    fn pass_a(&self, rows: &[usize], asked: &Asked, options: &LaneOptions) -> Result<Option<Vec<Got>>> {
        let Asked { plan, model, meter, runs, hooks } = asked;
        let lane = |&row: &usize| -> Result<Lane> {
            Ok(Lane { prompt: 0, edits: self.sending(&plan.rows[row], model.config(), runs)? })
        };
        let lanes = rows.iter().map(lane).collect::<Result<Vec<_>>>()?;
        let tokens = [&runs.base.tokens];
        let run = LaneRun::new(model.model(), &tokens, &lanes, &meter.read())?.keeping(hooks.clone())?;
        let mut got: Vec<Got> = vec![HashMap::new(); rows.len()];
        let mut finished = 0;
        run.run(options, |event| -> Result<ControlFlow<()>> {
            match event {
                LaneEvent::Kept { lane, hook, start, value } => {
                    // Before its first own position a lane is its base; those rows are never put in place.
                    let value = value.pad_with_zeros(0, start, 0)?;
                    got[lane].insert(hook, (start, value));
                }
                LaneEvent::Finished { lanes } => finished = lanes.end,
                LaneEvent::Base { .. } | LaneEvent::Rows { .. } => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let stopped = options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
        Ok((finished == rows.len() && !stopped).then_some(got))
    }

    /// The edits of a lane of pass A.
    fn sending(&self, senders: &[Node], config: &Config, runs: &Runs) -> Result<Vec<Edit>> {
        let set = |hook: Hook, cache: &Cache| -> Result<Edit> {
            Ok(Edit::new(hook, Change::Set(Value::Tensor(cache.get(hook)?.clone()))))
        };
        let from_first = Positions::From(self.at.resolve(runs.base.tokens.len())?[0]);
        let mut edits = Vec::new();
        if senders.contains(&Node::Input) {
            edits.push(set(Site::ResidPre.at(0), &runs.other_cache)?.positions(self.at.clone()));
        }
        let changed_from = |node: &Node| match *node {
            Node::Input | Node::Logits => 0,
            Node::Head { layer, .. } | Node::Mlp { layer } => layer,
        };
        let lowest = senders.iter().map(changed_from).min().unwrap_or(0);
        let heads_from = match senders.iter().all(|node| matches!(node, Node::Mlp { .. })) {
            true => lowest + 1,
            false => lowest,
        };
        for layer in lowest..config.n_layers {
            let z = Site::Z.at(layer);
            if layer >= heads_from {
                edits.push(set(z, &runs.base_cache)?.positions(from_first.clone()));
            }
            let mine = |node: &Node| match *node {
                Node::Head { layer: of, head } if of == layer => Some(head),
                _ => None,
            };
            let heads: Vec<usize> = senders.iter().filter_map(mine).collect();
            if !heads.is_empty() {
                edits.push(set(z, &runs.other_cache)?.units(heads).positions(self.at.clone()));
            }
            if config.mlp.is_none() {
                continue;
            }
            let out = Site::MlpOut.at(layer);
            if self.mlps == MlpsBetween::Frozen {
                edits.push(set(out, &runs.base_cache)?.positions(from_first.clone()));
            }
            if senders.contains(&Node::Mlp { layer }) {
                edits.push(set(out, &runs.other_cache)?.positions(self.at.clone()));
            }
        }
        Ok(edits)
    }

    /// The edits of a lane of pass B.
    fn pass_b(&self, receivers: &[Receiver], config: &Config, got: &Got, runs: &Runs) -> Result<Vec<Edit>> {
        let mut edits = Vec::new();
        for receiver in receivers {
            let hook = receiver.hook(config);
            // Nothing was reported where pass A is the base run.
            let Some((start, value)) = got.get(&hook) else { continue };
            let edit = match receiver.node {
                Node::Logits | Node::Input => {
                    let change = (value - runs.base_cache.get(hook)?)?;
                    Edit::new(hook, Change::Add(Value::Tensor(change)))
                }
                Node::Head { head, .. } => {
                    Edit::new(hook, Change::Set(Value::Tensor(value.clone()))).units([head])
                }
                Node::Mlp { .. } => Edit::new(hook, Change::Set(Value::Tensor(value.clone()))),
            };
            edits.push(edit.positions(Positions::From(*start)));
        }
        Ok(edits)
    }

    /// Runs both prompts.
    fn both(&self, model: &TextModel, meter: &Meter, base: Subject, other: Subject) -> Result<Runs> {
        let config = model.config();
        let mut reads = vec![Site::ResidPre.at(0)];
        for layer in 0..config.n_layers {
            reads.push(Site::Z.at(layer));
            if config.mlp.is_some() {
                reads.push(Site::MlpOut.at(layer));
            }
        }
        reads.push(Site::ResidPost.at(config.n_layers.saturating_sub(1)));
        let options = RunOptions { reads, logits: meter.read(), ..Default::default() };
        let run_of = |subject: &Subject| -> Result<(Reading, Cache)> {
            let run = model.model().run(&subject.tokens, &options)?;
            Ok((meter.of_logits(subject, run.logits()?)?, run.cache))
        };
        let (base_reading, base_cache) = run_of(&base)?;
        let (other_reading, other_cache) = run_of(&other)?;
        Ok(Runs { base, base_reading, base_cache, other_cache, other_reading })
    }

    /// Senders, receivers and axes, everything checked.
    pub(crate) fn plan(&self, config: &Config) -> Result<Plan> {
        let graph = Graph::of(config);
        let heads = || {
            graph.senders().into_iter().filter(|node| matches!(node, Node::Head { .. })).collect::<Vec<_>>()
        };
        let (rows, one_row) = match &self.from {
            Senders::Heads => (heads().into_iter().map(|node| vec![node]).collect(), false),
            Senders::Every => (graph.senders().into_iter().map(|node| vec![node]).collect(), false),
            Senders::Each(list) => (list.iter().map(|&node| vec![node]).collect(), false),
            Senders::Together(list) => (vec![list.clone()], true),
        };
        let (columns, one_column) = match &self.to {
            Receivers::Every => (Receiver::all(config).into_iter().map(|to| vec![to]).collect(), false),
            Receivers::Each(list) => (list.iter().map(|&to| vec![to]).collect(), false),
            Receivers::Together(list) => (vec![list.clone()], true),
        };
        let mut axes = Vec::new();
        let axis = |name: &str, labels: Vec<String>| Axis { name: name.to_owned(), labels };
        let plan = Plan { rows, columns, axes: vec![] };
        check_list(
            plan.rows.iter().flatten().map(Node::to_string),
            "a sender",
            "name at least one head, MLP or input",
        )?;
        check_list(
            plan.columns.iter().flatten().map(Receiver::to_string),
            "a receiver",
            "name at least one input",
        )?;
        for &node in plan.rows.iter().flatten() {
            graph.check(Edge::new(node, Node::Logits, Port::Whole))?;
        }
        plan.columns.iter().flatten().try_for_each(|receiver| receiver.check(&graph))?;
        if plan.cells_connected() == 0 {
            let hint = "every receiver named stands below every sender; a change only goes up";
            return Err(Error::Missing { what: "a receiver above a sender", hint });
        }
        if !one_row {
            match (&self.from, one_column) {
                (Senders::Heads, true) => {
                    axes.push(sweep::layer_axis("L", 0..config.n_layers));
                    axes.push(sweep::head_axis(config.n_heads));
                }
                _ => axes.push(axis("sender", plan.rows.iter().flatten().map(Node::to_string).collect())),
            }
        }
        if !one_column {
            axes.push(axis("receiver", plan.columns.iter().flatten().map(Receiver::to_string).collect()));
        }
        Ok(Plan { axes, ..plan })
    }

    /// What was done, in words.
    fn done(&self) -> String {
        let (from, to) = match self.direction {
            Direction::Denoise => ("clean", "corrupt"),
            Direction::Noise => ("corrupt", "clean"),
        };
        let names = |list: Vec<String>| list.join(", ");
        let sender = match &self.from {
            Senders::Heads => "one head".to_owned(),
            Senders::Every | Senders::Each(_) => "one sender".to_owned(),
            Senders::Together(list) => names(list.iter().map(Node::to_string).collect()),
        };
        let receiver = match &self.to {
            Receivers::Every | Receivers::Each(_) => "one receiver".to_owned(),
            Receivers::Together(list) => names(list.iter().map(Receiver::to_string).collect()),
        };
        let between = match self.mlps {
            MlpsBetween::Frozen => "directly, other heads and MLPs frozen",
            MlpsBetween::Recomputed => "directly and through MLPs, other heads frozen",
        };
        let at = &self.at;
        format!("the {from} output of {sender} at {at} reaches {receiver} in the {to} run ({between})")
    }
}

/// Whether a list names something, and nothing twice.
fn check_list(names: impl Iterator<Item = String>, what: &'static str, hint: &'static str) -> Result<()> {
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(Error::NamedTwice { component: name, place: seen.len() + 1 });
        }
        seen.push(name);
    }
    if seen.is_empty() { Err(Error::Missing { what, hint }) } else { Ok(()) }
}
