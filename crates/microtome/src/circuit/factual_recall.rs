//! How a fact is recalled: where along the layers the subject is enriched, when it reaches the last position, and which heads
//! bring it there.
//!
//! In a pair of prompts that differ in their subject alone ("Paris is the capital of", "Rome is the capital of"), the subject is
//! the tokens that differ, `subject` the last of them, `last` the last position.
//!
//! 1. Clean into corrupt, layer by layer: the residual stream, the MLP's and the attention's output, at `subject` and at `last`, each
//!    alone. While the stream at the subject recovers the answer it is still there; when that at the last position does, it has come.
//! 2. Corrupt into clean: the output of each head at `last`. What is lost is what the head brings. Beside it stands how
//!    much of its attention from `last` goes to the subject.
//!
//! Meng et al. 2022 (causal tracing; theirs corrupts with noise, and takes windows of ten layers for MLPs and attention), Geva et
//! al. 2023 (extraction by attention at the last position).

use microtome_model::{Change, Config, Edit, Hook, Positions, RunOptions, Site, Value, as_f64};
use serde::{Deserialize, Serialize};

use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::method::patch::{Direction, Patch, PromptPairs};
use crate::method::sweep::{self, Captions, Cells, Swept};
use crate::metric::MetricId;
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::stats::{Spread, over_prompts};
use crate::task::{Lengths, Make};
use crate::text_model::TextModel;

/// A look at how facts are recalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FactualRecall {
    /// Without prompts: how many are made, 16 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Layers around each one whose MLPs, or attention, are patched with it; 1, itself alone, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
}

/// A head that brings the answer to the last position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Extraction {
    /// The head.
    pub head: Component,
    /// What is lost with its corrupt output at the last position: a share of the metric's distance from the corrupt run.
    pub lost: f64,
    /// How sure that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// How much of its attention from the last position goes to the subject.
    pub attention: f64,
}

/// A head with which less than this share is lost is not listed.
const LEAST_LOST: f64 = 0.02;
/// Heads listed, at most.
const LISTED: usize = 20;
/// Most prompts made.
const MOST: usize = 1000;

/// What is patched layer by layer, and where.
const PLACES: [(&str, Site, Place); 6] = [
    ("stream at subject", Site::ResidPre, Place::Subject),
    ("attention at subject", Site::AttnOut, Place::Subject),
    ("MLP at subject", Site::MlpOut, Place::Subject),
    ("stream at last", Site::ResidPre, Place::Last),
    ("attention at last", Site::AttnOut, Place::Last),
    ("MLP at last", Site::MlpOut, Place::Last),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Subject,
    Last,
}

impl FactualRecall {
    /// The metrics its tables are of, where none is named.
    pub fn metrics(experiment: &Experiment) -> Vec<String> {
        let named: Vec<String> = experiment.metrics.iter().map(|metric| metric.name().to_owned()).collect();
        let measured = if named.is_empty() { vec!["logit_diff".to_owned()] } else { named };
        measured.into_iter().chain(["lost", "subject_attention"].map(str::to_owned)).collect()
    }

    /// How many edited runs it takes of a prompt, at most.
    pub fn count(&self, config: &Config) -> usize {
        let prompts = self.count.unwrap_or(16);
        prompts.saturating_mul(config.n_layers.saturating_mul(PLACES.len() + config.n_heads))
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let config = model.config();
        let window = self.window.unwrap_or(1);
        if window == 0 || window > config.n_layers {
            let expected = "1 to as many as the model has layers";
            return Err(Error::OutOfRange { name: "the window", value: window as f64, expected });
        }
        let asked = self.asked(experiment, model)?;
        let pairs = PromptPairs::of(&asked, model)?;
        let subjects: Vec<Vec<usize>> = pairs
            .cases
            .iter()
            .zip(&pairs.corrupts)
            .enumerate()
            .map(|(i, (case, corrupt))| {
                subject(case, &corrupt.ids).map_err(|source| asked.in_prompt(i, source))
            })
            .collect::<Result<_>>()?;
        let places: Vec<_> =
            PLACES.iter().filter(|place| config.mlp.is_some() || place.1 != Site::MlpOut).collect();
        let (layered, headed) = (config.n_layers * places.len(), config.n_layers * config.n_heads);
        let total = asked.prompts.len() * (layered + headed);

        let cells: Vec<(usize, Site, Place)> = (0..config.n_layers)
            .flat_map(|layer| places.iter().map(move |&&(_, site, place)| (layer, site, place)))
            .collect();
        let captions = Captions {
            axes: vec![
                sweep::layer_axis("L", 0..config.n_layers),
                Axis {
                    name: "place".to_owned(),
                    labels: places.iter().map(|place| place.0.to_owned()).collect(),
                },
            ],
            done: "when it is the clean run's at one layer and place".to_owned(),
        };
        let tables = |swept: &Swept| {
            sweep::recovery_tables(swept, &captions, asked.seed, &ends(swept, Direction::Denoise))
        };
        let denoised = {
            let mut first = within(watch, 0, total);
            let edits = |prompt: usize| {
                let at = |place: Place| match place {
                    Place::Subject => subjects[prompt].last().copied().unwrap_or_default(),
                    Place::Last => pairs.cases[prompt].clean.ids.len() - 1,
                };
                cells
                    .iter()
                    .map(|&(layer, site, place)| around(site, layer, window, at(place), config))
                    .collect()
            };
            patched(
                &asked,
                model,
                &mut first.watch(),
                &pairs,
                Direction::Denoise,
                &tables,
                cells.len(),
                &edits,
            )?
        };

        let captions = Captions { axes: head_axes(config), done: String::new() };
        let no_tables = |_: &Swept| vec![];
        let noised = {
            let mut second = within(watch, denoised.runs, total);
            let edits = |prompt: usize| {
                let last = pairs.cases[prompt].clean.ids.len() - 1;
                let head = |cell: usize| {
                    vec![(Site::Z.at(cell / config.n_heads), Some(cell % config.n_heads), last)]
                };
                (0..headed).map(head).collect()
            };
            patched(&asked, model, &mut second.watch(), &pairs, Direction::Noise, &no_tables, headed, &edits)?
        };
        // Both halves over the same prompts: a stop in the second leaves fewer.
        let counted = denoised.bases.len().min(noised.bases.len());
        let recovered =
            sweep::recovery_tables(&noised, &captions, asked.seed, &ends(&noised, Direction::Noise));
        let lost = recovered.into_iter().find(|table| table.quantity == Quantity::Recovery);
        let lost = lost_table(lost.ok_or(Error::NothingToExplain { metric: "the metric", value: 0.0 })?);
        let by_prompt = (0..counted)
            .map(|i| attention(model, &pairs.cases[i], &subjects[i]))
            .collect::<Result<Vec<Vec<f64>>>>()?;
        let (means, spreads) = over_prompts(&by_prompt, asked.seed);
        let looking = Table {
            metric: "subject_attention".to_owned(),
            quantity: Quantity::Value,
            title: "Attention from the last position to the subject".to_owned(),
            unit: "share of attention".to_owned(),
            baseline: "0 = none of a head's attention, 1 = all of it".to_owned(),
            basis: Basis::Exact,
            axes: head_axes(config),
            values: means.iter().map(|&mean| Some(mean)).collect(),
            spread: spreads.into_iter().map(Some).collect(),
        };
        let extractions = extractions(&lost, &means, config.n_heads);
        let ends = ends(&denoised, Direction::Denoise);
        let report = |(i, (corrupt, clean)): (usize, &(_, _))| {
            let runs = [("clean", Some(clean)), ("corrupt", Some(corrupt))];
            sweep::report(model, &pairs.cases[i], Some(pairs.corrupts[i].clone()), &denoised.metrics, &runs)
        };
        let prompts = ends.iter().enumerate().map(report).collect();
        let (mut drawn, runs) = (tables(&denoised), denoised.runs + noised.runs);
        drawn.extend([lost, looking]);
        let mut notes = self.notes(window, experiment, asked.prompts.len());
        notes.extend(sweep::nothing_to_recover(&denoised, &ends));
        let results = denoised.results(&asked, prompts, drawn, notes);
        Ok(Results { extractions, runs, runs_wanted: total, ..results })
    }

    /// The question with its prompts, made where none are given, and its metric.
    fn asked(&self, experiment: &Experiment, model: &TextModel) -> Result<Experiment> {
        let mut asked = experiment.clone();
        if asked.metrics.is_empty() {
            asked.metrics = vec![MetricId::named("logit_diff")?];
        }
        if asked.prompts.is_empty() {
            let count = self.count.unwrap_or(16);
            if !(1..=MOST).contains(&count) {
                let expected = "1 to 1000";
                return Err(Error::OutOfRange {
                    name: "the number of prompts",
                    value: count as f64,
                    expected,
                });
            }
            let make = Make {
                task: "facts".to_owned(),
                count,
                corruption: None,
                lengths: Lengths::Any,
                seed: experiment.seed,
            };
            asked.prompts = make.run(model, experiment.bos)?.prompts;
        } else if self.count.is_some() {
            return Err(Error::Unused {
                method: "factual recall of given prompts",
                what: "a number of prompts",
            });
        }
        Ok(asked)
    }

    fn notes(&self, window: usize, experiment: &Experiment, count: usize) -> Vec<String> {
        let around = match window {
            1 => String::new(),
            n => format!("; attention and MLPs of the {n} layers around it together"),
        };
        let prompts = match experiment.prompts.is_empty() {
            true => format!("{count} prompts of the task facts, seed {}", experiment.seed),
            false => "the prompts given".to_owned(),
        };
        vec![
            format!(
                "clean into corrupt, one layer and place at a time{around}; subject = the last token in which both prompts differ; \
                 {prompts}"
            ),
            "lost: corrupt into clean, one head's output at the last position; 1 = the answer is that of the corrupt run"
                .to_owned(),
        ]
    }
}

/// The positions in which both prompts differ.
fn subject(case: &Case, corrupt: &[u32]) -> Result<Vec<usize>> {
    let clean = &case.clean.ids;
    let differ: Vec<usize> = (0..clean.len()).filter(|&pos| clean[pos] != corrupt[pos]).collect();
    if differ.is_empty() {
        let hint = "clean and corrupt prompt are the same; name another subject in the corrupt one";
        return Err(Error::Missing { what: "a subject", hint });
    }
    Ok(differ)
}

/// Hook, head of it, position.
type Spot = (Hook, Option<usize>, usize);

/// The stream at a layer, or the outputs of so many layers around it.
fn around(site: Site, layer: usize, window: usize, pos: usize, config: &Config) -> Vec<Spot> {
    if site == Site::ResidPre {
        return vec![(site.at(layer), None, pos)];
    }
    let first = (layer + window / 2 + 1).saturating_sub(window);
    let end = (layer + window / 2 + 1).min(config.n_layers);
    (first..end).map(|layer| (site.at(layer), None, pos)).collect()
}

/// Runs cells that take values of the other run.
#[expect(clippy::too_many_arguments, reason = "the halves of one question, nowhere else")]
fn patched(
    asked: &Experiment,
    model: &TextModel,
    watch: &mut Watch,
    pairs: &PromptPairs,
    direction: Direction,
    tables: &dyn Fn(&Swept) -> Vec<Table>,
    n_cells: usize,
    spots: &dyn Fn(usize) -> Vec<Vec<Spot>>,
) -> Result<Swept> {
    let meter = sweep::meter(asked)?;
    sweep::run(asked, model, watch, n_cells, tables, |prompt| {
        let case = &pairs.cases[prompt];
        let (base, other) = direction.base_and_other(&case.clean, &pairs.corrupts[prompt]);
        let spots = spots(prompt);
        let mut reads: Vec<Hook> = spots.iter().flatten().map(|spot| spot.0).collect();
        reads.sort_by_key(|hook| (hook.layer, hook.to_string()));
        reads.dedup();
        let source = case.subject(other);
        let options = RunOptions { reads, logits: meter.read(), ..Default::default() };
        let run = model.model().run(&source.tokens, &options)?;
        let edit = |&(hook, head, pos): &Spot| -> Result<Edit> {
            let value = Change::Set(Value::Tensor(run.cache.get(hook)?.clone()));
            let edit = Edit::new(hook, value).positions(Positions::At(vec![pos]));
            Ok(match head {
                Some(head) => edit.units([head]),
                None => edit,
            })
        };
        let edits =
            spots.iter().map(|spots| spots.iter().map(edit).collect()).collect::<Result<Vec<Vec<Edit>>>>()?;
        let reading = meter.of_logits(&source, run.logits()?)?;
        Ok(Cells { subject: case.subject(base), edits, other: Some(reading) })
    })
}

/// The corrupt and clean readings of every prompt.
fn ends(swept: &Swept, direction: Direction) -> Vec<(crate::measure::Reading, crate::measure::Reading)> {
    let patch = Patch { site: Site::Z, by: crate::method::patch::By::Head, direction, at: Positions::Last };
    patch.ends(swept)
}

/// By head: how much of its attention from the last position goes to the subject.
fn attention(model: &TextModel, case: &Case, subject: &[usize]) -> Result<Vec<f64>> {
    let config = model.config();
    let reads: Vec<Hook> = (0..config.n_layers).map(|layer| Site::Pattern.at(layer)).collect();
    let options = RunOptions { reads: reads.clone(), logits: Positions::Last, ..Default::default() };
    let run = model.model().run(&case.clean.ids, &options)?;
    let last = case.clean.ids.len() - 1;
    let mut shares = Vec::with_capacity(config.n_layers * config.n_heads);
    for hook in reads {
        let pattern: Vec<Vec<Vec<f64>>> = as_f64(run.cache.get(hook)?)?.to_vec3()?; // [head, query, key]
        shares.extend(pattern.iter().map(|head| subject.iter().map(|&key| head[last][key]).sum::<f64>()));
    }
    Ok(shares)
}

fn head_axes(config: &Config) -> Vec<Axis> {
    vec![sweep::layer_axis("L", 0..config.n_layers), sweep::head_axis(config.n_heads)]
}

/// What a recovery leaves to 1.
fn lost_table(recovery: Table) -> Table {
    let spread = recovery.spread.iter().map(|spread| {
        spread.map(|Spread { stderr, low, high }| Spread { stderr, low: 1.0 - high, high: 1.0 - low })
    });
    Table {
        metric: "lost".to_owned(),
        quantity: Quantity::Value,
        title: format!("Lost of {} with one head's corrupt output at the last position", recovery.metric),
        unit: "share".to_owned(),
        baseline: "0 = as the clean run, 1 = as the corrupt run".to_owned(),
        spread: spread.collect(),
        values: recovery.values.iter().map(|value| value.map(|value| 1.0 - value)).collect(),
        ..recovery
    }
}

/// The heads with which most is lost, that with which most is lost first.
fn extractions(lost: &Table, attention: &[f64], n_heads: usize) -> Vec<Extraction> {
    let of = |(cell, value): (usize, &Option<f64>)| {
        let value = value.filter(|lost| *lost >= LEAST_LOST)?;
        Some(Extraction {
            head: Component::Head { layer: cell / n_heads, head: cell % n_heads },
            lost: value,
            spread: lost.spread.get(cell).copied().flatten(),
            attention: *attention.get(cell)?,
        })
    };
    let mut found: Vec<Extraction> = lost.values.iter().enumerate().filter_map(of).collect();
    found.sort_by(|a, b| b.lost.total_cmp(&a.lost));
    found.truncate(LISTED);
    found
}

/// A part of a watched run: its progress counts from `done`, to `total`.
struct Part<'a> {
    cancel: &'a std::sync::atomic::AtomicBool,
    progress: Box<dyn FnMut(usize, usize) + 'a>,
    memory_budget: usize,
}

fn within<'a>(watch: &'a mut Watch, done: usize, total: usize) -> Part<'a> {
    let Watch { cancel, progress, partial: _, memory_budget } = watch;
    Part {
        cancel,
        progress: Box::new(move |runs, _| progress(done + runs, total)),
        memory_budget: *memory_budget,
    }
}

impl Part<'_> {
    fn watch(&mut self) -> Watch<'_> {
        Watch {
            cancel: self.cancel,
            progress: &mut *self.progress,
            partial: None,
            memory_budget: self.memory_budget,
        }
    }
}
