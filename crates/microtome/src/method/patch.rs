//! Activation patching: put activations of one prompt's run into the run of the other.
//!
//! Denoising runs the corrupt prompt and puts clean activations in, asking what is enough to restore
//! the answer; noising runs the clean prompt and puts corrupt ones in, asking what is needed. Both are
//! scaled the same way: recovery `(patched - corrupt) / (clean - corrupt)`, 1 = as the clean run.
//!
//! Meng et al. 2022 (causal tracing), Wang et al. 2022 (head outputs), Heimersheim and Nanda 2024.

use std::collections::HashSet;

use microtome_model::{Change, Config, Edit, Hook, Positions, RunOptions, Site, Value};
use serde::{Deserialize, Serialize};

use super::sweep::{self, Captions, Cells, Swept};
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::measure::Reading;
use crate::record::{Axis, Results, Table};
use crate::text_model::{TextModel, Tokens};

/// An activation patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Which activation.
    pub site: Site,
    /// How the patches are laid out.
    pub by: By,
    /// Which run is patched from which.
    #[serde(default)]
    pub direction: Direction,
    /// Positions patched where the layout does not go through them.
    #[serde(default)]
    pub at: Positions,
}

/// How patches are laid out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Every head by itself; sites with heads.
    Head,
    /// Every head at every position (query, for a pattern) by itself.
    HeadPosition,
    /// Every layer by itself.
    Layer,
    /// Every layer at every position by itself.
    LayerPosition,
    /// These heads in one run; sites with heads.
    Heads(Vec<Component>),
    /// These layers in one run.
    Layers(Vec<usize>),
}

/// Which run is patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The corrupt run, with clean activations.
    #[default]
    Denoise,
    /// The clean run, with corrupt activations.
    Noise,
}

impl By {
    /// How many runs of a prompt of `len` tokens it takes.
    pub fn count(&self, config: &Config, len: usize) -> usize {
        match self {
            By::Head => config.n_layers * config.n_heads,
            By::HeadPosition => config.n_layers * config.n_heads * len,
            By::Layer => config.n_layers,
            By::LayerPosition => config.n_layers * len,
            By::Heads(_) | By::Layers(_) => 1,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            By::Head | By::Heads(_) => "head",
            By::HeadPosition => "head and position",
            By::Layer | By::Layers(_) => "layer",
            By::LayerPosition => "layer and position",
        }
    }
}

impl Direction {
    /// The run values come from and the one they are put into, in words.
    pub(crate) fn source_and_target(self) -> (&'static str, &'static str) {
        match self {
            Direction::Denoise => ("clean", "corrupt"),
            Direction::Noise => ("corrupt", "clean"),
        }
    }

    /// The corrupt and clean readings of every prompt of a sweep.
    pub(crate) fn ends(self, swept: &Swept) -> Vec<(Reading, Reading)> {
        let of = |(base, other): (&Reading, &Reading)| match self {
            Direction::Denoise => (base.clone(), other.clone()),
            Direction::Noise => (other.clone(), base.clone()),
        };
        swept.bases.iter().zip(&swept.others).map(of).collect()
    }

    /// What an edge or node contributes to the metric, from the change when its value is the other run's.
    pub(crate) fn contribution(self, change: f64) -> f64 {
        match self {
            Direction::Denoise => change,
            Direction::Noise => -change,
        }
    }

    /// The run that is changed and the one values come from.
    pub(crate) fn base_and_other<T>(self, clean: T, corrupt: T) -> (T, T) {
        match self {
            Direction::Denoise => (corrupt, clean),
            Direction::Noise => (clean, corrupt),
        }
    }
}

/// What one run patches: a layer, some heads of it or all of it, some positions.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub layer: usize,
    /// All of the layer where `None`.
    pub head: Option<usize>,
    pub at: Positions,
}

/// A value that a run takes from the other: a hook's, of one head or whole, at some positions.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub hook: Hook,
    /// All of the hook where `None`.
    pub head: Option<usize>,
    pub at: Positions,
}

/// Prompt pairs in tokens.
pub(crate) struct PromptPairs {
    pub cases: Vec<Case>,
    pub corrupts: Vec<Tokens>,
}

impl PromptPairs {
    pub(crate) fn of(experiment: &Experiment, model: &TextModel) -> Result<PromptPairs> {
        let cases = experiment.cases(model)?;
        let corrupt = |(i, case): (usize, &Case)| experiment.corrupt(i, &case.clean, model);
        let corrupts = cases.iter().enumerate().map(corrupt).collect::<Result<_>>()?;
        Ok(PromptPairs { cases, corrupts })
    }

    /// Runs cells that take values of the other run: so many of every prompt, and which they are of each.
    pub(crate) fn sweep(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
        direction: Direction,
        (n_cells, cells): (usize, &dyn Fn(usize) -> Vec<Vec<Place>>),
        tables: &dyn Fn(&Swept) -> Vec<Table>,
    ) -> Result<Swept> {
        let meter = sweep::meter(experiment)?;
        sweep::run(experiment, model, watch, n_cells, tables, |prompt| {
            let case = &self.cases[prompt];
            let (base, other) = direction.base_and_other(&case.clean, &self.corrupts[prompt]);
            let cells = cells(prompt);
            let hooks: HashSet<Hook> = cells.iter().flatten().map(|place| place.hook).collect();
            let source = case.subject(other);
            let reads = hooks.into_iter().collect();
            let options = RunOptions { reads, logits: meter.read(), ..Default::default() };
            let run = model.model().run(&source.tokens, &options)?;
            let reading = meter.of_logits(&source, run.logits()?)?;
            let edit = |place: &Place| -> Result<Edit> {
                let value = Change::Set(Value::Tensor(run.cache.get(place.hook)?.clone()));
                let edit = Edit::new(place.hook, value).positions(place.at.clone());
                Ok(match place.head {
                    Some(head) => edit.units([head]),
                    None => edit,
                })
            };
            let edits =
                cells.iter().map(|places| places.iter().map(edit).collect()).collect::<Result<_>>()?;
            Ok(Cells { subject: case.subject(base), edits, other: Some(reading) })
        })
    }
}

impl Patch {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        self.check(model)?;
        let pairs = PromptPairs::of(experiment, model)?;
        let PromptPairs { cases, corrupts } = &pairs;
        let (cells, axes) = self.cells(model, cases)?;
        let captions = Captions { axes, done: format!("when {}", self.done()) };
        let tables = |swept: &Swept| {
            sweep::recovery_tables(swept, &captions, experiment.seed, &self.direction.ends(swept))
        };
        let swept = self.sweep(experiment, model, watch, &pairs, &cells, &tables)?;

        let ends = self.direction.ends(&swept);
        let prompts = ends
            .iter()
            .enumerate()
            .map(|(i, (corrupt, clean))| {
                let one = cells.len() == 1;
                let patched = swept.cells[i].first().and_then(Option::as_ref).filter(|_| one);
                let runs = [("clean", Some(clean)), ("corrupt", Some(corrupt)), ("patched", patched)];
                sweep::report(model, &cases[i], Some(corrupts[i].clone()), &swept.metrics, &runs)
            })
            .collect();
        let mut notes = vec![self.done()];
        notes.extend(sweep::nothing_to_recover(&swept, &ends));
        Ok(swept.results(experiment, prompts, tables(&swept), notes))
    }

    /// Runs these cells of every pair.
    pub(crate) fn sweep(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
        pairs: &PromptPairs,
        cells: &[Vec<Spot>],
        tables: &dyn Fn(&Swept) -> Vec<Table>,
    ) -> Result<Swept> {
        let place =
            |spot: &Spot| Place { hook: self.site.at(spot.layer), head: spot.head, at: spot.at.clone() };
        let places: Vec<Vec<Place>> = cells.iter().map(|spots| spots.iter().map(place).collect()).collect();
        let of_prompt = |_| places.clone();
        pairs.sweep(experiment, model, watch, self.direction, (cells.len(), &of_prompt), tables)
    }

    /// The hooks these cells lie at, in firing order.
    pub(crate) fn hooks(&self, cells: &[Vec<Spot>]) -> Vec<Hook> {
        let mut hooks: Vec<Hook> = cells.iter().flatten().map(|spot| self.site.at(spot.layer)).collect();
        hooks.sort_by_key(|hook| hook.layer);
        hooks.dedup();
        hooks
    }

    pub(crate) fn check(&self, model: &TextModel) -> Result<()> {
        if matches!(&self.by, By::Heads(list) if list.is_empty())
            || matches!(&self.by, By::Layers(list) if list.is_empty())
        {
            return Err(Error::Missing {
                what: "something to patch",
                hint: "name at least one head or layer",
            });
        }
        self.site.at(0).check(model.config())?;
        if !self.site.in_block() {
            return Err(Error::SiteAndSweep {
                site: self.site.short_name(),
                by: self.by.name(),
                hint: "there is only one of it; take a site inside the blocks, for example resid_pre",
            });
        }
        let by_head = matches!(self.by, By::Head | By::HeadPosition | By::Heads(_));
        if by_head && !self.site.has_heads() {
            return Err(Error::SiteAndSweep {
                site: self.site.short_name(),
                by: self.by.name(),
                hint: "it has no heads; patch by layer or layer-position, or take site z, q, k, v or pattern",
            });
        }
        let through_positions = matches!(self.by, By::HeadPosition | By::LayerPosition);
        if through_positions && self.at != Positions::All {
            return Err(Error::Unused { method: "a patch at every position", what: "positions" });
        }
        Ok(())
    }

    /// What each run patches, and the axes the runs lie along.
    pub(crate) fn cells(&self, model: &TextModel, cases: &[Case]) -> Result<(Vec<Vec<Spot>>, Vec<Axis>)> {
        let config = model.config();
        let (n_layers, n_heads) = (config.n_layers, config.n_heads);
        let first = &cases[0].clean;
        let positions = || sweep::one_length(cases.iter().map(|case| case.clean.ids.len()));
        let layers = || sweep::layer_axis("L", 0..n_layers);
        let spot = |layer, head, at: Positions| vec![Spot { layer, head, at }];
        Ok(match &self.by {
            By::Head => {
                let heads = |layer| (0..n_heads).map(move |head| (layer, head));
                let cells = (0..n_layers).flat_map(heads);
                let cells = cells.map(|(layer, head)| spot(layer, Some(head), self.at.clone())).collect();
                (cells, vec![layers(), sweep::head_axis(n_heads)])
            }
            By::HeadPosition => {
                let len = positions()?;
                let mut cells = Vec::new();
                for layer in 0..n_layers {
                    for pos in 0..len {
                        let at = |head| spot(layer, Some(head), Positions::At(vec![pos]));
                        cells.extend((0..n_heads).map(at));
                    }
                }
                (cells, vec![layers(), sweep::position_axis(first), sweep::head_axis(n_heads)])
            }
            By::Layer => {
                let cells = (0..n_layers).map(|layer| spot(layer, None, self.at.clone())).collect();
                (cells, vec![layers()])
            }
            By::LayerPosition => {
                let len = positions()?;
                let at = |layer| (0..len).map(move |pos| (layer, pos));
                let cells = (0..n_layers).flat_map(at);
                let cells = cells.map(|(layer, pos)| spot(layer, None, Positions::At(vec![pos]))).collect();
                (cells, vec![layers(), sweep::position_axis(first)])
            }
            By::Heads(heads) => {
                let mut spots = Vec::new();
                for part in heads {
                    part.check(config)?;
                    let Component::Head { layer, head } = *part else {
                        return Err(Error::NotAHead { component: part.to_string() });
                    };
                    spots.push(Spot { layer, head: Some(head), at: self.at.clone() });
                }
                (vec![spots], vec![])
            }
            By::Layers(list) => {
                let spot = |&layer: &usize| Spot { layer, head: None, at: self.at.clone() };
                for &layer in list {
                    self.site.at(layer).check(config)?;
                }
                (vec![list.iter().map(spot).collect()], vec![])
            }
        })
    }

    /// What was done, in words: `clean z of one head replaces the corrupt one at all positions`.
    pub(crate) fn done(&self) -> String {
        let (from, to) = self.direction.source_and_target();
        let site = self.site.short_name();
        let list = |names: Vec<String>| names.join(", ");
        let (of, at) = match &self.by {
            By::Head => ("of one head".to_owned(), self.at.to_string()),
            By::HeadPosition => ("of one head".to_owned(), "one position".to_owned()),
            By::Layer => ("of one layer".to_owned(), self.at.to_string()),
            By::LayerPosition => ("of one layer".to_owned(), "one position".to_owned()),
            By::Heads(heads) => (
                format!("of {}", list(heads.iter().map(Component::to_string).collect())),
                self.at.to_string(),
            ),
            By::Layers(layers) => {
                let names = layers.iter().map(|layer| format!("L{layer}")).collect();
                (format!("of {}", list(names)), self.at.to_string())
            }
        };
        format!("the {from} {site} {of} replaces that of the {to} run at {at}")
    }
}
