//! Ablation: replace a component's output or attention pattern and see what the answer loses.
//!
//! A sweep cuts every head (or layer, or neuron) by itself; [`Targets::Together`] cuts several in one
//! run. The effect is `edited - original`, so a component the answer needs has a negative effect on
//! the answer's probability.

use microtome_model::{Change, Config, Edit, Hook, Positions, Site};
use serde::{Deserialize, Serialize};

use super::change::{Replacement, Sources};
use super::sweep::{self, Captions, Cells, Swept};
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::measure::Subject;
use crate::record::{Axis, Results};
use crate::text_model::{Answer, TextModel};

/// An ablation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Ablate {
    /// What is cut.
    pub targets: Targets,
    /// What takes its place.
    pub with: Replacement,
    /// At which positions (queries, for a pattern).
    #[serde(default)]
    pub at: Positions,
    /// A token whose logit is set back to its value in the unedited run before anything is measured: what
    /// the other tokens lost or won, this one aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamp: Option<Answer>,
}

/// What an ablation cuts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// Every head by itself.
    Heads,
    /// Every attention layer by itself.
    AttentionLayers,
    /// Every MLP by itself.
    Mlps,
    /// Every neuron of these layers by itself; of all layers where the list is empty.
    Neurons(Vec<usize>),
    /// These, all in one run.
    Together(Vec<Component>),
}

impl Targets {
    /// How many runs of a prompt they take.
    pub fn count(&self, config: &Config) -> usize {
        match self {
            Targets::Heads => config.n_layers * config.n_heads,
            Targets::AttentionLayers | Targets::Mlps => config.n_layers,
            Targets::Neurons(layers) if layers.is_empty() => config.n_layers * config.d_mlp(),
            Targets::Neurons(layers) => layers.len() * config.d_mlp(),
            Targets::Together(_) => 1,
        }
    }
}

impl Ablate {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let (cells, axes) = self.cells(model)?;
        let hooks = self.hooks(&cells)?;
        let cases = experiment.cases(model)?;
        let clamp = self.clamp.as_ref().map(|clamp| model.answer(clamp, "clamp token")).transpose()?;
        let shared = Sources::shared(&self.with, experiment, model, &hooks)?;
        let captions = Captions { axes, done: format!("when {} at {}", self.done(experiment), self.at) };
        let tables = |swept: &Swept| sweep::change_tables(swept, &captions, experiment.seed);
        let swept = sweep::run(experiment, model, watch, cells.len(), &tables, |prompt| {
            let case = &cases[prompt];
            let sources = shared.for_prompt(&self.with, experiment, model, (prompt, case), &hooks)?;
            let edits = cells
                .iter()
                .map(|parts| {
                    parts
                        .iter()
                        .map(|part| self.edit(*part, &sources, experiment.seed))
                        .collect::<Result<_>>()
                })
                .collect::<Result<_>>()?;
            Ok(Cells::of(Subject { clamp, ..case.subject(&case.clean) }, edits))
        })?;
        let together = matches!(self.targets, Targets::Together(_));
        let prompts = swept
            .bases
            .iter()
            .enumerate()
            .map(|(i, base)| {
                let edited = swept.cells[i].first().and_then(Option::as_ref).filter(|_| together);
                let runs = [("clean", Some(base)), ("ablated", edited)];
                sweep::report(model, &cases[i], None, &swept.metrics, &runs)
            })
            .collect();
        let mut notes = vec![format!("{} at {}", self.done(experiment), self.at)];
        if let Some(id) = clamp {
            let token = model.label(id);
            notes.push(format!(
                "the logit of `{token}` is set back to its value in the unedited run before measuring"
            ));
        }
        let tables = tables(&swept);
        Ok(swept.results(experiment, prompts, tables, notes))
    }

    /// The components each run cuts, and the axes they lie along.
    fn cells(&self, model: &TextModel) -> Result<(Vec<Vec<Component>>, Vec<Axis>)> {
        let config = model.config();
        let n_layers = config.n_layers;
        let one = |part: Component| vec![part];
        let (cells, axes): (Vec<Vec<Component>>, Vec<Axis>) = match &self.targets {
            Targets::Heads => {
                let axes = vec![sweep::layer_axis("L", 0..n_layers), sweep::head_axis(config.n_heads)];
                (Component::heads(config).map(one).collect(), axes)
            }
            Targets::AttentionLayers => {
                let cells = (0..n_layers).map(|layer| one(Component::Attention { layer })).collect();
                (cells, vec![sweep::layer_axis("a", 0..n_layers)])
            }
            Targets::Mlps => {
                let cells = (0..n_layers).map(|layer| one(Component::Mlp { layer })).collect();
                (cells, vec![sweep::layer_axis("m", 0..n_layers)])
            }
            Targets::Neurons(layers) => {
                let layers: Vec<usize> =
                    if layers.is_empty() { (0..n_layers).collect() } else { layers.clone() };
                let d_mlp = config.d_mlp();
                let neurons =
                    |&layer: &usize| (0..d_mlp).map(move |neuron| one(Component::Neuron { layer, neuron }));
                let labels = (0..d_mlp).map(|neuron| format!("N{neuron}")).collect();
                let axes = vec![
                    sweep::layer_axis("L", layers.iter().copied()),
                    Axis { name: "neuron".to_owned(), labels },
                ];
                (layers.iter().flat_map(neurons).collect(), axes)
            }
            Targets::Together(parts) => (vec![parts.clone()], vec![]),
        };
        if cells.iter().all(Vec::is_empty) {
            let hint = match config.mlp {
                None => "this model has no MLPs; ablate heads",
                Some(_) => "name at least one, for example 8.11",
            };
            return Err(Error::Missing { what: "a component to ablate", hint });
        }
        cells.iter().flatten().try_for_each(|part| part.check(config))?;
        Ok((cells, axes))
    }

    fn hooks(&self, cells: &[Vec<Component>]) -> Result<Vec<Hook>> {
        let mut hooks: Vec<Hook> = Vec::new();
        for part in cells.iter().flatten() {
            let hook = hook_of(*part, &self.with)?;
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
        Ok(hooks)
    }

    fn edit(&self, part: Component, sources: &Sources, seed: u64) -> Result<Edit> {
        let hook = hook_of(part, &self.with)?;
        Ok(edit_of(part, hook, sources, &self.with, seed).positions(self.at.clone()))
    }

    /// What was done, without where: `one head is set to 0`.
    fn done(&self, experiment: &Experiment) -> String {
        let what = match &self.targets {
            Targets::Heads => "one head is".to_owned(),
            Targets::AttentionLayers => "one attention layer is".to_owned(),
            Targets::Mlps => "one MLP is".to_owned(),
            Targets::Neurons(_) => "one neuron is".to_owned(),
            Targets::Together(parts) => {
                let names: Vec<String> = parts.iter().map(Component::to_string).collect();
                format!("{} {}", names.join(", "), if parts.len() == 1 { "is" } else { "are" })
            }
        };
        match self.with.is_pattern() {
            true => {
                let whose = what.trim_end_matches(" is").trim_end_matches(" are");
                format!("{whose}: {}", self.with.describe(experiment))
            }
            false => format!("{what} {}", self.with.describe(experiment)),
        }
    }
}

/// Where a component is cut.
pub(crate) fn hook_of(part: Component, with: &Replacement) -> Result<Hook> {
    match (part, with.is_pattern()) {
        (part, false) => Ok(output_of(part)),
        (Component::Head { layer, .. } | Component::Attention { layer }, true) => Ok(Site::Pattern.at(layer)),
        (part, true) => Err(Error::NotForComponent { change: with.name(), component: part.to_string() }),
    }
}

/// Where a component's output stands.
fn output_of(part: Component) -> Hook {
    match part {
        Component::Head { layer, .. } => Site::Z.at(layer),
        Component::Attention { layer } => Site::AttnOut.at(layer),
        Component::Mlp { layer } => Site::MlpOut.at(layer),
        Component::Neuron { layer, .. } => Site::MlpPost.at(layer),
    }
}

/// The edit that sets a component's output to 0 at every position: a head's `z`, a layer's attention or MLP
/// output, a neuron's activation.
pub fn zeroed(part: Component) -> Edit {
    only(part, Edit::new(output_of(part), Change::Zero))
}

/// The edit that cuts a component at `hook`.
pub(crate) fn edit_of(part: Component, hook: Hook, sources: &Sources, with: &Replacement, seed: u64) -> Edit {
    only(part, Edit::new(hook, sources.change(with, hook, seed)))
}

/// The edits that cut components, all in one run of a prompt.
pub(crate) fn cut_together(
    parts: &[Component],
    with: &Replacement,
    experiment: &Experiment,
    model: &TextModel,
    case: &Case,
) -> Result<Vec<Edit>> {
    parts.iter().try_for_each(|part| part.check(model.config()))?;
    let hooks = parts.iter().map(|part| hook_of(*part, with)).collect::<Result<Vec<_>>>()?;
    let sources = Sources::shared(with, experiment, model, &hooks)?;
    let sources = sources.for_prompt(with, experiment, model, (0, case), &hooks)?;
    let edit = |(part, hook)| edit_of(part, hook, &sources, with, experiment.seed);
    Ok(parts.iter().copied().zip(hooks).map(edit).collect())
}

/// An edit of a component's hook, kept to the component.
fn only(part: Component, edit: Edit) -> Edit {
    match part {
        Component::Head { head, .. } => edit.units([head]),
        Component::Neuron { neuron, .. } => edit.units([neuron]),
        Component::Attention { .. } | Component::Mlp { .. } => edit,
    }
}
