//! The estimates of attribution patching for one pair of prompts: which runs are made, and what is summed.

use std::ops::Range;
use std::sync::atomic::Ordering;

use microtome_model::{Change, Config, Edit, Hook, RunOptions, Site, Tensor, Value, as_f64};

use super::attribution_patching::{AttributionPatching, Correction};
use super::gradient::{Of, metric_gradients, midpoint, moved};
use super::patch::Spot;
use super::pattern_change::{PatternChange, PatternScores, Side};
use crate::error::{Error, Result};
use crate::experiment::{Case, Watch};
use crate::measure::{Meter, Reading, Subject};
use crate::text_model::{TextModel, Tokens};

/// One pair of prompts under way.
pub(super) struct Estimate<'a> {
    asked: &'a AttributionPatching,
    model: &'a TextModel,
    cells: &'a [Vec<Spot>],
    of: Of<'a>,
    base: Subject,
    /// The run that is changed.
    pub base_reading: Reading,
    /// The run that values come from.
    pub other_reading: Reading,
    /// By layer: what replacing its activations means, where cells lie in it.
    layers: Vec<Option<Replacing>>,
    /// How the input differs between the two runs, `[pos, d_model]`.
    input: Tensor,
    budget: usize,
}

/// What of a layer is replaced, as far as it is known before derivatives are.
enum Replacing {
    /// The activation differs by so much; of the site's shape.
    Activation(Tensor),
    /// The queries or keys of its attention differ.
    Pattern(PatternChange),
}

/// What replacing parts of a layer changes, to first order.
enum LayerScores {
    /// By position (query) and unit.
    Activation(Vec<Vec<f64>>),
    Pattern(PatternScores),
}

/// Layers whose contributions to the residual stream GradDrop holds in turn; `None` is the plain derivative.
fn drops(asked: &AttributionPatching, config: &Config) -> Vec<Option<usize>> {
    match asked.has(Correction::GradDrop) {
        true => (0..config.n_layers).map(Some).collect(),
        false => vec![None],
    }
}

/// Backward passes of one prompt.
pub(super) fn passes(asked: &AttributionPatching, config: &Config) -> usize {
    asked.steps.unwrap_or(1).saturating_mul(drops(asked, config).len())
}

/// Whether what happens at a site reaches the residual stream as part of its layer's contribution, and in no other way.
fn within_contribution(site: Site) -> bool {
    !matches!(site, Site::ResidPre | Site::ResidMid | Site::ResidPost)
}

/// Where a layer writes to the residual stream.
fn written(layer: usize, config: &Config) -> Vec<Hook> {
    let mlp = config.mlp.is_some().then(|| Site::MlpOut.at(layer));
    std::iter::once(Site::AttnOut.at(layer)).chain(mlp).collect()
}

impl<'a> Estimate<'a> {
    pub fn new(
        asked: &'a AttributionPatching,
        model: &'a TextModel,
        cells: &'a [Vec<Spot>],
        of: Of<'a>,
        (case, base, other): (&Case, &Tokens, &Tokens),
        budget: usize,
    ) -> Result<Estimate<'a>> {
        let config = model.config();
        let hooks = asked.patch().hooks(cells);
        let side = match asked.site {
            Site::Q if asked.has(Correction::QkFix) => Some((Side::Queries, Site::K)),
            Site::K if asked.has(Correction::QkFix) => Some((Side::Keys, Site::Q)),
            _ => None,
        };
        let input = Site::ResidPre.at(0);
        let mut reads = hooks.clone();
        reads.push(input);
        if let Some((_, against)) = side {
            reads.extend(hooks.iter().map(|hook| against.at(hook.layer)));
        }
        let meter = Meter { metrics: vec![of.metric], read_at: of.read_at };
        let run = |subject: &Subject| -> Result<_> {
            let options = RunOptions { reads: reads.clone(), logits: meter.read(), ..Default::default() };
            let run = model.model().run(&subject.tokens, &options)?;
            let reading = meter.of_logits(subject, run.logits()?)?;
            Ok((run.cache, reading))
        };
        let (base, other) = (case.subject(base), case.subject(other));
        let (base_values, base_reading) = run(&base)?;
        let (other_values, other_reading) = run(&other)?;
        let difference =
            |hook: Hook| -> Result<Tensor> { Ok((other_values.get(hook)? - base_values.get(hook)?)?) };
        let mut layers: Vec<Option<Replacing>> = (0..config.n_layers).map(|_| None).collect();
        for &hook in &hooks {
            layers[hook.layer] = Some(match side {
                None => Replacing::Activation(difference(hook)?),
                Some((side, _)) => {
                    let of = |site: Site| base_values.get(site.at(hook.layer));
                    Replacing::Pattern(PatternChange::new(
                        side,
                        of(Site::Q)?,
                        of(Site::K)?,
                        difference(hook)?,
                    ))
                }
            });
        }
        let input = difference(input)?;
        Ok(Estimate { asked, model, cells, of, base, base_reading, other_reading, layers, input, budget })
    }

    /// The estimate of every cell; `None` where it was stopped. `passed` is told after each backward pass.
    pub fn run(&self, watch: &mut Watch, mut passed: impl FnMut(&mut Watch)) -> Result<Option<Vec<f64>>> {
        let config = self.model.config();
        let drops = drops(self.asked, config);
        let steps = self.asked.steps.unwrap_or(1);
        // [drop, cell]
        let mut scores = vec![vec![0.0; self.cells.len()]; drops.len()];
        for step in 0..steps {
            let mut edits = vec![];
            if self.asked.steps.is_some() {
                edits.push(moved(Site::ResidPre.at(0), &self.input, midpoint(step, steps))?);
            }
            for (&drop, scores) in drops.iter().zip(&mut scores) {
                if watch.cancel.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let held = drop.map_or(Ok(vec![]), |layer| self.held(layer, &edits))?;
                let edits: Vec<Edit> = edits.iter().cloned().chain(held).collect();
                for layers in self.chunks() {
                    self.add(&edits, drop, layers, 1.0 / steps as f64, scores)?;
                }
                passed(watch);
            }
        }
        let scores =
            if self.asked.has(Correction::GradDrop) { self.mean_size(&scores) } else { scores.remove(0) };
        match scores.iter().all(|score| score.is_finite()) {
            true => Ok(Some(scores)),
            false => Err(Error::NotFinite { what: "the derivative of a run".to_owned() }),
        }
    }

    /// Edits that hold what a layer writes at what it is in a run with these edits, so that derivatives end there.
    fn held(&self, layer: usize, edits: &[Edit]) -> Result<Vec<Edit>> {
        let reads = written(layer, self.model.config());
        let (edits, reads_here, stop_at_layer) = (edits.to_vec(), reads.clone(), Some(layer + 1));
        let options = RunOptions { edits, reads: reads_here, stop_at_layer, ..Default::default() };
        let run = self.model.model().run(&self.base.tokens, &options)?;
        let hold = |hook| Ok(Edit::new(hook, Change::Set(Value::Tensor(run.cache.get(hook)?.clone()))));
        reads.into_iter().map(hold).collect()
    }

    /// The mean size over the layers dropped that leave the cell something.
    fn mean_size(&self, scores: &[Vec<f64>]) -> Vec<f64> {
        let counted = scores.len() - usize::from(within_contribution(self.asked.site));
        let of_cell = |cell: usize| scores.iter().map(|of| of[cell].abs()).sum::<f64>() / counted as f64;
        (0..self.cells.len()).map(of_cell).collect()
    }

    /// The site whose derivatives are needed.
    fn probed(&self) -> Site {
        match self.layers.iter().flatten().next() {
            Some(Replacing::Pattern(_)) => Site::Pattern,
            _ => self.asked.site,
        }
    }

    /// Layers in lots whose derivatives fit the budget, one at least.
    fn chunks(&self) -> Vec<Range<usize>> {
        // Held as value, as variable, as derivative, and in between; as f64 for the sums.
        let copies = 10;
        let config = self.model.config();
        let size: usize = self.probed().shape(config, self.base.tokens.len()).iter().product();
        let at_once = (self.budget / (size * copies * size_of::<f32>()).max(1)).max(1);
        let n_layers = config.n_layers;
        (0..n_layers).step_by(at_once).map(|first| first..(first + at_once).min(n_layers)).collect()
    }

    /// Adds what one backward pass says of the cells in these layers.
    fn add(
        &self,
        edits: &[Edit],
        drop: Option<usize>,
        layers: Range<usize>,
        weight: f64,
        scores: &mut [f64],
    ) -> Result<()> {
        // What a dropped layer writes is held behind the hook, where a derivative would still be found.
        let counts = |&layer: &usize| {
            self.layers[layer].is_some() && !(drop == Some(layer) && within_contribution(self.asked.site))
        };
        let site = self.probed();
        let hooks: Vec<Hook> = layers.filter(counts).map(|layer| site.at(layer)).collect();
        if hooks.is_empty() {
            return Ok(());
        }
        let found = metric_gradients(self.model, &self.base.tokens, edits, &hooks, self.of)?;
        let mut by_layer: Vec<Option<LayerScores>> = self.layers.iter().map(|_| None).collect();
        for &hook in &hooks {
            let slopes = found.at.gradients.get(hook)?;
            by_layer[hook.layer] = match &self.layers[hook.layer] {
                None => None,
                Some(Replacing::Pattern(change)) => Some(LayerScores::Pattern(change.scores(slopes)?)),
                Some(Replacing::Activation(difference)) => {
                    Some(LayerScores::Activation(products(site, difference, slopes)?))
                }
            };
        }
        let n_units = if self.asked.site.has_heads() { self.model.config().n_heads } else { 1 };
        for (spots, score) in self.cells.iter().zip(scores) {
            for spot in spots {
                let Some(of_layer) = &by_layer[spot.layer] else { continue };
                let units = spot.head.map_or(0..n_units, |head| head..head + 1);
                let positions = spot.at.resolve(self.base.tokens.len())?;
                *score += weight
                    * match of_layer {
                        LayerScores::Pattern(scores) => scores.of(units, &positions),
                        LayerScores::Activation(rows) => {
                            positions.iter().flat_map(|&pos| &rows[pos][units.clone()]).sum::<f64>()
                        }
                    };
            }
        }
        Ok(())
    }
}

/// Difference times derivative, summed over features (keys a query sees), by position (query) and unit.
fn products(site: Site, difference: &Tensor, slopes: &Tensor) -> Result<Vec<Vec<f64>>> {
    // [pos, unit, feature]
    let by_unit = |x: &Tensor| -> Result<Vec<Vec<Vec<f64>>>> {
        let x = as_f64(x)?;
        let x = match (site.is_attention(), site.has_heads()) {
            (true, _) => x.transpose(0, 1)?,
            (false, true) => x,
            (false, false) => x.unsqueeze(1)?,
        };
        Ok(x.to_vec3()?)
    };
    let row = |pos: usize, differences: &[Vec<f64>], slopes: &[Vec<f64>]| {
        let unit = |(difference, slope): (&Vec<f64>, &Vec<f64>)| {
            // Scores ahead of a query are -inf in both runs.
            let seen = if site.is_attention() { pos + 1 } else { difference.len() };
            difference.iter().zip(slope).take(seen).map(|(d, s)| d * s).sum::<f64>()
        };
        differences.iter().zip(slopes).map(unit).collect()
    };
    let both = by_unit(difference)?.into_iter().zip(by_unit(slopes)?).enumerate();
    Ok(both.map(|(pos, (differences, slopes))| row(pos, &differences, &slopes)).collect())
}
