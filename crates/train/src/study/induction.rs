//! An induction head forms: attention alone, two layers, random tokens that repeat.
//!
//! Every window is a random sequence said again and again, its length drawn anew, so that nothing but the
//! tokens themselves tells what comes next: after `A B ... A` a model has to find the earlier `A` and say
//! what stood behind it. Two layers of attention can do that (Elhage et al. 2021): a head of the first
//! writes the token before into every position, and a head of the second looks for it. Olsson et al. 2022
//! saw such heads form within a short stretch of training in which the loss drops.
//!
//! The claims, each taken from the run and each able to fail:
//!
//! 1. A head forms whose induction score is above [`FORMED`].
//! 2. It forms where the loss drops: in the fifth of the steps around the one at which the score passes half
//!    of its final value the loss falls fastest, and makes more than half of its whole fall.
//! 3. Without the induction heads, `(ablated - final) / (untrained - final)` of the gain is undone, more
//!    than half. They are the heads with at least half of the strongest one's score, set to 0 together.
//! 4. Each head that is none of them, and no previous-token head, undoes less than half as much by itself.
//!
//! The loss is that on the tokens of a sequence said for the second time, half a context long.

use std::ops::Range;
use std::path::Path;

use microtome::Component;
use microtome::plot::{LinePlot, Series, YScale, stack};
use microtome_model::Config as Sizes;
use serde::{Deserialize, Serialize};

use super::heads::{HeadRow, Role, losses_without, rows};
use super::{Ended, write};
use crate::config::{Batches, Config};
use crate::data::Data;
use crate::draw::{by_head, lines};
use crate::error::{Error, Result};
use crate::evaluate::{REPEATS, mean, second_saying};
use crate::parameters::InitPositions;
use crate::telemetry::Telemetry;
use crate::train::{Observer, Start, train};

/// Score above which a head is an induction head.
pub const FORMED: f64 = 0.8;

/// Share of the steps that counts as the time at which a head formed.
const AROUND: f64 = 0.2;

/// Updates of the study.
pub const STEPS: u64 = 1500;

/// What came out of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Seed of the run.
    pub seed: u64,
    /// Updates made.
    pub steps: u64,
    /// Time they took.
    pub elapsed_secs: f64,
    /// Sizes of the model.
    pub model: Sizes,
    /// Fingerprint of its weights.
    pub weight_hash: String,
    /// Loss on a sequence's first saying, in nats: before training and after.
    pub first_loss: [f64; 2],
    /// Loss on its second saying, in nats: before training and after.
    pub second_loss: [f64; 2],
    /// Every head, with the loss on the second saying.
    pub heads: Vec<HeadRow>,
    /// The head with the highest induction score.
    pub strongest: Component,
    /// Its score.
    pub score: f64,
    /// When it formed; `None` where it did not rise.
    pub formation: Option<Formation>,
    /// The induction heads, set to 0 together.
    pub ablated: Ablated,
    /// Each head that is none of them and no previous-token head.
    pub controls: Vec<Ablated>,
    /// What was measured on the way.
    pub timeline: Vec<Telemetry>,
}

/// Heads set to 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablated {
    /// Which.
    pub heads: Vec<Component>,
    /// The loss on the second saying without them, in nats.
    pub loss: f64,
    /// `(loss - final) / (untrained - final)`.
    pub undone: f64,
}

/// When the strongest head formed, and when the loss fell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Formation {
    /// Step at which the score passes half of its final value.
    pub half: f64,
    /// The fifth of the steps around it, as far as the run has them.
    pub around: Range<f64>,
    /// The two evaluations between which the loss falls fastest.
    pub steepest: Range<u64>,
    /// Share of the loss's whole fall that lies in that fifth.
    pub share_of_fall: f64,
}

/// A claim of the study, and whether the run bears it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Holds,
    /// It does not.
    Fails,
    /// The run has nothing to say to it.
    Open,
}

/// The run of the study: two layers of two heads, 64 wide, 64 tokens, context 64.
pub fn config(out: &Path, seed: u64, steps: u64) -> Config {
    let mut config = Config { seed, out: out.to_owned(), ..Config::default() };
    let (model, training) = (&mut config.model, &mut config.training);
    (model.n_layers, model.n_heads, model.d_model, model.n_ctx) = (Some(2), Some(2), Some(64), Some(64));
    model.attention_only = Some(true);
    // With the embedding for an unembedding, and from nanoGPT's small weights, copying takes thousands of
    // steps to learn.
    (model.tied, model.init_std) = (Some(false), Some(0.1));
    model.init_positions = Some(InitPositions::Sinusoidal);
    config.data.vocab = Some(64);
    (training.steps, training.batch, training.warmup) = (steps, 32, 100);
    (training.learning_rate, training.weight_decay) = (5e-3, 0.0);
    (config.evaluation.every, config.evaluation.batches) = (25, Batches::Count(1));
    config
}

/// Trains the model and measures what formed. A run in the folder is gone on with.
///
/// # Errors
/// Those of [`train`]; [`Error::Setting`] for a run that is not of random tokens, or without telemetry.
pub fn run(config: &Config, start: Start, observer: &mut dyn Observer) -> Result<Ended<Report>> {
    let Some(vocab) = config.data.vocab.filter(|_| config.model.init_from.is_none()) else {
        return Err(Error::setting(
            "data.vocab",
            "not given",
            "a number, since the study is of random tokens",
        ));
    };
    if !config.evaluation.telemetry {
        return Err(Error::setting("evaluation.telemetry", "false", "true, since the study is made of it"));
    }
    let summary = train(config, start, observer)?;
    if summary.stopped {
        return Ok(Ended::Stopped(summary.step));
    }
    let timeline: Vec<Telemetry> = lines(&config.out.join("telemetry.jsonl"))?;
    let (Some(first), Some(last)) = (timeline.first(), timeline.last()) else {
        let problem = "has no line".to_owned();
        return Err(Error::Damaged { path: config.out.join("telemetry.jsonl"), problem });
    };
    let model = &summary.model;
    let data = Data::random(vocab, None, model.config().n_ctx, config.seed);
    let windows = data.fixed_repeats(REPEATS);
    let second = second_saying(&data);
    let loss = |losses: &[f64]| mean(&losses[second..]);
    let heads = rows(model, last, &windows, loss)?;
    let highest = heads.iter().max_by(|a, b| a.induction.total_cmp(&b.induction));
    let Some((strongest, score)) = highest.map(|row| (row.head, row.induction)) else {
        return Err(Error::setting("model.n_heads", 0, "1 or more"));
    };
    let second_loss = [first.second_loss, last.second_loss];
    let ablate = |heads: Vec<Component>| -> Result<Ablated> {
        let loss = loss(&losses_without(model, &windows, &heads)?);
        Ok(Ablated { heads, loss, undone: undone(loss, second_loss) })
    };
    let (induction, others): (Vec<&HeadRow>, Vec<&HeadRow>) =
        heads.iter().partition(|row| row.induction >= score / 2.0);
    let controls = others
        .into_iter()
        .filter(|row| row.role != Role::Previous)
        .map(|row| ablate(vec![row.head]))
        .collect::<Result<_>>()?;
    let ablated = ablate(induction.iter().map(|row| row.head).collect())?;
    let report = Report {
        seed: config.seed,
        steps: summary.step,
        elapsed_secs: summary.record.elapsed_secs,
        model: model.config().clone(),
        weight_hash: summary.record.weight_hash,
        first_loss: [first.first_loss, last.first_loss],
        second_loss,
        formation: formation(&timeline, strongest),
        heads,
        strongest,
        score,
        ablated,
        controls,
        timeline,
    };
    write(&config.out, &report, &report.to_svg())?;
    Ok(Ended::Whole(report))
}

/// Share of the gain that is undone at a loss.
fn undone(loss: f64, [before, after]: [f64; 2]) -> f64 {
    (loss - after) / (before - after)
}

/// The score of a head at an evaluation.
fn score_of(line: &Telemetry, head: Component) -> f64 {
    let Component::Head { layer, head } = head else { return f64::NAN };
    line.induction.get(layer).and_then(|row| row.get(head)).copied().unwrap_or(f64::NAN)
}

/// When a head's score rose, and when the loss fell.
fn formation(timeline: &[Telemetry], head: Component) -> Option<Formation> {
    let (first, last) = (timeline.first()?, timeline.last()?);
    let scores: Vec<(f64, f64)> = timeline.iter().map(|l| (l.step as f64, score_of(l, head))).collect();
    let losses: Vec<(f64, f64)> = timeline.iter().map(|l| (l.step as f64, l.second_loss)).collect();
    let half = crossing(&scores, score_of(last, head) / 2.0)?;
    let (begin, end) = (first.step as f64, last.step as f64);
    let reach = AROUND / 2.0 * (end - begin);
    let around = (half - reach).max(begin)..(half + reach).min(end);
    let slope = |pair: &[Telemetry]| {
        (pair[0].second_loss - pair[1].second_loss) / (pair[1].step - pair[0].step).max(1) as f64
    };
    let steepest = timeline.windows(2).max_by(|a, b| slope(a).total_cmp(&slope(b)))?;
    let fall = first.second_loss - last.second_loss;
    let fall_around = value_at(&losses, around.start) - value_at(&losses, around.end);
    Some(Formation {
        half,
        steepest: steepest[0].step..steepest[1].step,
        share_of_fall: fall_around / fall,
        around,
    })
}

/// Where a curve, straight between its points, first rises past a value; `None` where it begins above it.
fn crossing(points: &[(f64, f64)], value: f64) -> Option<f64> {
    points.windows(2).find(|pair| pair[0].1 < value && pair[1].1 >= value).map(|pair| {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        x0 + (x1 - x0) * (value - y0) / (y1 - y0)
    })
}

/// A curve, straight between its points, at `x`.
fn value_at(points: &[(f64, f64)], x: f64) -> f64 {
    let pair = points.windows(2).find(|pair| (pair[0].0..=pair[1].0).contains(&x));
    pair.map_or(f64::NAN, |pair| {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    })
}

impl Formation {
    /// Whether the loss falls where the score rises.
    fn coincides(&self) -> bool {
        let Range { start, end } = self.steepest;
        self.around.contains(&((start + end) as f64 / 2.0)) && self.share_of_fall > 0.5
    }
}

impl Report {
    /// The four claims in the order of the module's list, each with whether it holds.
    pub fn verdicts(&self) -> [Verdict; 4] {
        let of = |holds: bool| if holds { Verdict::Holds } else { Verdict::Fails };
        let has_formed = self.score > FORMED;
        // Where no head formed there is nothing whose formation or absence could be looked at.
        let if_formed = |verdict: Verdict| if has_formed { verdict } else { Verdict::Open };
        let coincides = self.formation.as_ref().is_some_and(Formation::coincides);
        let below = |control: &Ablated| control.undone < self.ablated.undone / 2.0;
        let controls = match self.controls.is_empty() {
            true => Verdict::Open,
            false => of(self.controls.iter().all(below)),
        };
        [
            of(has_formed),
            if_formed(of(coincides)),
            if_formed(of(self.ablated.undone > 0.5)),
            if_formed(controls),
        ]
    }

    /// Share of the gain that is undone without one head.
    pub fn undone_without(&self, row: &HeadRow) -> f64 {
        undone(row.loss_without, self.second_loss)
    }

    /// The picture: losses, the gain beside the scores, and induction by head, all by step.
    pub fn to_svg(&self) -> String {
        let line = |name: &str, value: &dyn Fn(&Telemetry) -> f64| Series {
            name: name.to_owned(),
            points: self.timeline.iter().map(|l| (l.step as f64, value(l))).collect(),
            ..Series::default()
        };
        let marks = match &self.formation {
            Some(formation) if self.score > FORMED => {
                vec![(formation.half, format!("{} has half of its final score", self.strongest))]
            }
            _ => vec![],
        };
        let plot = |title: String, subtitle: String, y: &str, series: Vec<Series>| LinePlot {
            title,
            subtitle,
            x: "step".to_owned(),
            y: y.to_owned(),
            series,
            y_scale: YScale::Linear,
            marks: marks.clone(),
        };
        let before = self.second_loss[0];
        let lowest = self.timeline.iter().map(|l| l.second_loss).fold(f64::INFINITY, f64::min);
        let gain = |l: &Telemetry| (before - l.second_loss) / (before - lowest);
        let previous = |l: &Telemetry| l.previous.iter().flatten().copied().fold(0.0, f64::max);
        let model = &self.model;
        let about = format!(
            "{} layers of {} heads, attention only, {} wide, seed {}",
            model.n_layers, model.n_heads, model.d_model, self.seed
        );
        let pictures = [
            plot(
                "Loss on a random sequence and on its repetition".to_owned(),
                about,
                "loss (nats)",
                vec![line("first time", &|l| l.first_loss), line("said again", &|l| l.second_loss)],
            ),
            plot(
                "The loss falls as the head forms".to_owned(),
                "gain: how far the loss, said again, has fallen, 1 at its lowest; previous token: best head's score".to_owned(),
                "share",
                vec![
                    line("gain", &gain),
                    line(&format!("induction {}", self.strongest), &|l| score_of(l, self.strongest)),
                    line("previous token", &previous),
                ],
            ),
            plot(
                "Induction score of every head".to_owned(),
                "attention from a token said again to the token that stood behind it".to_owned(),
                "share of attention",
                by_head(&self.timeline, |l| &l.induction),
            ),
        ];
        stack(&pictures.map(|plot| plot.to_svg()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of 1000 steps whose score rises past a half at `forms` and whose loss falls at `falls`.
    fn timeline(forms: f64, falls: f64) -> Vec<Telemetry> {
        let step = |x: f64| 1.0 / (1.0 + (-x / 20.0).exp());
        let line = |i: u64| {
            let x = (25 * i) as f64;
            Telemetry {
                step: 25 * i,
                in_context_score: 0.0,
                first_loss: 4.0,
                second_loss: 4.0 - 3.0 * step(x - falls),
                previous: vec![vec![0.0]],
                duplicate: vec![vec![0.0]],
                induction: vec![vec![step(x - forms)]],
            }
        };
        (0..=40).map(line).collect()
    }

    #[test]
    fn formation_and_fall_coincide_only_where_they_do() {
        let head = Component::Head { layer: 0, head: 0 };
        let formation = |forms, falls| formation(&timeline(forms, falls), head).unwrap();
        let together = formation(500.0, 510.0);
        assert!((together.half - 500.0).abs() < 1.0, "{together:?}");
        assert_eq!((together.around.start.round(), together.around.end.round()), (400.0, 600.0));
        assert_eq!(together.steepest, 500..525);
        // A fall this sharp is all but over after a tenth of the run.
        assert!(together.share_of_fall > 0.97 && together.share_of_fall < 1.0, "{together:?}");
        assert!(together.coincides());
        let apart = formation(500.0, 800.0);
        assert!(!apart.coincides() && apart.share_of_fall < 0.01, "{apart:?}");
        let early = formation(50.0, 60.0);
        assert_eq!(early.around.start, 0.0);
        assert!(early.coincides());
    }

    #[test]
    fn a_score_that_never_rises_has_no_formation() {
        let mut flat = timeline(500.0, 500.0);
        flat.iter_mut().for_each(|line| line.induction = vec![vec![0.04]]);
        assert_eq!(formation(&flat, Component::Head { layer: 0, head: 0 }), None);
        assert_eq!(formation(&[], Component::Head { layer: 0, head: 0 }), None);
    }

    #[test]
    fn curves_are_straight_between_their_points() {
        let points = [(0.0, 1.0), (10.0, 3.0), (20.0, 2.0)];
        assert_eq!(crossing(&points, 2.0), Some(5.0));
        assert_eq!(crossing(&points, 4.0), None);
        assert_eq!((value_at(&points, 2.5), value_at(&points, 15.0)), (1.5, 2.5));
    }
}
