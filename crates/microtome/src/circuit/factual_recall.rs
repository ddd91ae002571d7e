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

use microtome_model::{Config, Hook, Positions, RunOptions, Site, as_f64};
use serde::{Deserialize, Serialize};

use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::method::patch::{Direction, Place, PromptPairs};
use crate::method::sweep::{self, Captions, Swept};
use crate::metric::{Compares, MetricId};
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
const PLACES: [(&str, Site, Position); 6] = [
    ("stream at subject", Site::ResidPre, Position::Subject),
    ("attention at subject", Site::AttnOut, Position::Subject),
    ("MLP at subject", Site::MlpOut, Position::Subject),
    ("stream at last", Site::ResidPre, Position::Last),
    ("attention at last", Site::AttnOut, Position::Last),
    ("MLP at last", Site::MlpOut, Position::Last),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
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

        let cells: Vec<(usize, Site, Position)> = (0..config.n_layers)
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
            sweep::recovery_tables(swept, &captions, asked.seed, &Direction::Denoise.ends(swept))
        };
        let last = |prompt: usize| pairs.cases[prompt].clean.ids.len() - 1;
        let by_layer = |prompt: usize| -> Vec<Vec<Place>> {
            let at = |place: Position| match place {
                Position::Subject => subjects[prompt].last().copied().unwrap_or_default(),
                Position::Last => last(prompt),
            };
            let of = |&(layer, site, place): &_| around(site, layer, window, at(place), config);
            cells.iter().map(of).collect()
        };
        let by_head = |prompt: usize| -> Vec<Vec<Place>> {
            let at = Positions::At(vec![last(prompt)]);
            let head = |cell: usize| {
                let (layer, head) = (cell / config.n_heads, cell % config.n_heads);
                vec![Place { hook: Site::Z.at(layer), head: Some(head), at: at.clone() }]
            };
            (0..headed).map(head).collect()
        };
        let denoised = watch.part(0, total, |watch| {
            pairs.sweep(&asked, model, watch, Direction::Denoise, (cells.len(), &by_layer), &tables)
        })?;
        let noised = watch.part(denoised.runs, total, |watch| {
            pairs.sweep(&asked, model, watch, Direction::Noise, (headed, &by_head), &|_| vec![])
        })?;
        // Both halves over the same prompts: a stop in the second leaves fewer.
        let counted = denoised.bases.len().min(noised.bases.len());
        let captions = Captions { axes: head_axes(config), done: String::new() };
        let kept = sweep::recovery_tables(&noised, &captions, asked.seed, &Direction::Noise.ends(&noised));
        let kept = kept.into_iter().find(|table| table.quantity == Quantity::Recovery);
        let lost = lost_table(kept.expect("a metric that compares with nothing is measured"));
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
        let ends = Direction::Denoise.ends(&denoised);
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
        if asked.metrics.iter().all(|metric| metric.compares() == Compares::Original) {
            let hint = "of one that compares with the unedited run there is no recovery; add logit_diff, prob or another";
            return Err(Error::Missing { what: "a metric whose recovery can be told", hint });
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

/// The stream at a layer, or the outputs of so many layers around it.
fn around(site: Site, layer: usize, window: usize, pos: usize, config: &Config) -> Vec<Place> {
    let layers = match site {
        Site::ResidPre => layer..layer + 1,
        _ => (layer + window / 2 + 1).saturating_sub(window)..(layer + window / 2 + 1).min(config.n_layers),
    };
    layers.map(|layer| Place { hook: site.at(layer), head: None, at: Positions::At(vec![pos]) }).collect()
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
