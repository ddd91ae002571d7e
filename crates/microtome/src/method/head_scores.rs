//! Head scores: how much of each head's attention goes one token back, to the same token's earlier
//! occurrence, to the token after it, and wherever it goes whatever the tokens are.
//!
//! Measured on BOS followed by a random sequence twice, so that nothing but position and repetition can
//! be attended to. With `period` the length of the sequence and `n` that of the whole, the mean over queries that
//! have the key: previous-token `pattern[q, q - 1]`; duplicate-token `pattern[q, q - period]`; induction
//! `pattern[q, q - period + 1]` (Olsson et al. 2022). Two conventions are published for the last two: the whole
//! diagonal, as TransformerLens's demos take it, whose first entries (one, of induction two) stand before the
//! sequence comes again; and the second half alone, queries from `n - period`.
//!
//! Positional is the attention that does not depend on tokens. Two texts that have nothing in common share it
//! still, so it is measured as what they share: on two unrelated random sequences said once,
//! the mean over queries from 1 of `sum_k min(P_a[q, k], P_b[q, k])`, which is 1 minus the total variation
//! distance of the two patterns' rows. It is 1 for a head that looks at the same positions in every text, evenly spread
//! attention among them, and near 0 for one that follows tokens. Unlike the overlap with a mean over texts
//! it needs no correction for how many texts there are.
//!
//! Every sequence gives one number a head; the mean over sequences has their standard error and bootstrap interval.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use serde::{Deserialize, Serialize};

use super::attention::patterns;
use super::attention_stats::{mean_over, rows_of, spread};
use super::detect::{Back, Score, Target};
use super::head_roles::RoleTable;
use super::sweep;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::record::{Basis, Quantity, Results, Table};
use crate::stats::{Bootstrap, mean};
use crate::text_model::TextModel;

/// Scores of every head, asked as an experiment. It needs no prompt; the random tokens come from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeadScoring {
    /// Tokens of a sequence before it is said again; 50, or as many as the context holds, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<usize>,
    /// Sequences averaged over; 10 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences: Option<usize>,
    /// Score from which a head has a role; each role's own where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}

/// Scores of every head, `[layer][head]`, each a share of attention between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadScores {
    /// Attention to the token before.
    pub previous: Vec<Vec<f64>>,
    /// Attention to the same token in the first half. Every query that has the key counts, so that with BOS
    /// the last query of the first half, which has BOS there, does too.
    pub duplicate: Vec<Vec<f64>>,
    /// Attention to the token after the same token in the first half.
    pub induction: Vec<Vec<f64>>,
}

/// A score of one pattern on a sequence said twice.
struct Scored {
    metric: &'static str,
    title: &'static str,
    baseline: &'static str,
}

const SHARE: &str = "0 = none of a head's attention, 1 = all of it";

/// What is scored, in the order of the tables.
const SCORED: [Scored; 8] = [
    Scored { metric: "previous_token", title: "Attention to the previous token", baseline: SHARE },
    Scored { metric: "duplicate_token", title: "Attention to the same token earlier on", baseline: SHARE },
    Scored {
        metric: "induction",
        title: "Attention to what followed the same token earlier on",
        baseline: SHARE,
    },
    Scored {
        metric: "duplicate_token_second_half",
        title: "Attention to the same token earlier on, second half",
        baseline: "0 = none of a head's attention, 1 = all of it; only queries of the second half count",
    },
    Scored {
        metric: "induction_second_half",
        title: "Attention to what followed the same token earlier on, second half",
        baseline: "0 = none of a head's attention, 1 = all of it; only queries of the second half count",
    },
    Scored {
        metric: "positional",
        title: "Attention that two unrelated texts share",
        baseline: "0 = none of a head's attention, 1 = all of it; 1 - total variation distance of the two patterns",
    },
    Scored { metric: "bos_share", title: "Attention to the first position", baseline: SHARE },
    Scored { metric: "self_share", title: "Attention to the query itself", baseline: SHARE },
];

/// The random sequences of a measurement.
struct Sequences<'a> {
    model: &'a TextModel,
    period: usize,
    count: usize,
    seed: u64,
}

/// Scores on `n_sequences` random sequences of `period` tokens, each repeated once, averaged.
///
/// # Errors
/// [`Error::OutOfRange`] for a period below 2 or no sequence; [`Error::Model`] where twice the period
/// passes the model's context.
pub fn head_scores(model: &TextModel, period: usize, n_sequences: usize, seed: u64) -> Result<HeadScores> {
    let sequences = Sequences { model, period, count: n_sequences, seed };
    let read = sequences.scores(Wanted::Three, &mut |_| ControlFlow::Continue(()))?;
    let n_heads = model.config().n_heads;
    let of = |index: usize| -> Vec<Vec<f64>> {
        let cells = (0..model.config().n_layers * n_heads).map(|cell| read.mean(index, cell));
        cells.collect::<Vec<f64>>().chunks(n_heads).map(<[f64]>::to_vec).collect()
    };
    Ok(HeadScores { previous: of(0), duplicate: of(1), induction: of(2) })
}

/// Which scores are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The first three, which need one run a sequence.
    Three,
    /// All.
    All,
}

/// Of every sequence finished, the scores of every head: `[sequence][cell][score]`.
struct Read(Vec<Vec<Vec<f64>>>);

impl Read {
    fn values(&self, score: usize, cell: usize) -> Vec<f64> {
        self.0.iter().map(|sequence| sequence[cell][score]).collect()
    }

    fn mean(&self, score: usize, cell: usize) -> f64 {
        mean(&self.values(score, cell))
    }
}

impl Sequences<'_> {
    /// Scores of each sequence; `done` is told before each how many are done, and may stop it.
    fn scores(&self, wanted: Wanted, done: &mut dyn FnMut(usize) -> ControlFlow<()>) -> Result<Read> {
        let Sequences { model, period, count, seed } = *self;
        let at_least = |name, value: usize, least: usize, expected| match value < least {
            true => Err(Error::OutOfRange { name, value: value as f64, expected }),
            false => Ok(()),
        };
        at_least("the period", period, 2, "2 tokens or more")?;
        at_least("the number of sequences", count, 1, "1 or more")?;
        let config = model.config();
        let len = period.saturating_mul(2).saturating_add(usize::from(model.bos().is_some()));
        if len > config.n_ctx {
            return Err(microtome_model::Error::PromptTooLong { len, n_ctx: config.n_ctx }.into());
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Sequences to compare with come from a stream of their own, so that they change nothing else.
        let mut others = ChaCha8Rng::seed_from_u64(seed);
        others.set_stream(1);
        let random = |rng: &mut ChaCha8Rng| -> Vec<u32> {
            (0..period).map(|_| ((u64::from(rng.next_u32()) * config.d_vocab as u64) >> 32) as u32).collect()
        };
        let mut read = Read(vec![]);
        for sequence in 0..count {
            if done(sequence).is_break() {
                break;
            }
            let tokens: Vec<u32> = model.bos().into_iter().chain(random(&mut rng).repeat(2)).collect();
            let back = |offset, from| Target::Back(Back { offset, from }).matrix(&tokens);
            let second = Some(len - period);
            let mut targets = vec![back(1, None)?, back(period, None)?, back(period - 1, None)?];
            let once = match wanted {
                Wanted::Three => None,
                Wanted::All => {
                    targets.extend([back(period, second)?, back(period - 1, second)?]);
                    let other: Vec<u32> = model.bos().into_iter().chain(random(&mut others)).collect();
                    Some(patterns(model, &other)?)
                }
            };
            let found = patterns(model, &tokens)?;
            let mut cells = Vec::with_capacity(config.n_layers * config.n_heads);
            for layer in 0..config.n_layers {
                let other = once.as_ref().map(|once| rows_of(once, layer)).transpose()?;
                for (head, pattern) in rows_of(&found, layer)?.iter().enumerate() {
                    let shares = targets.iter().map(|target| Score::Share.of(pattern, target));
                    let mut scores: Vec<Option<f64>> = shares.collect();
                    if let Some(other) = &other {
                        scores.push(shared(pattern, &other[head]));
                        scores.push(mean_over(pattern, 0, |_, row| row[0]));
                        scores.push(mean_over(pattern, 0, |q, row| row[q]));
                    }
                    cells.push(scores.into_iter().map(|score| score.unwrap_or(f64::NAN)).collect());
                }
            }
            read.0.push(cells);
        }
        if read.0.is_empty() {
            return Err(Error::StoppedEarly);
        }
        Ok(read)
    }
}

/// The attention two patterns share, over the queries that both have and that see more than one key.
fn shared(pattern: &[Vec<f64>], other: &[Vec<f64>]) -> Option<f64> {
    mean_over(other, 1, |q, row| row.iter().zip(&pattern[q]).map(|(a, b)| a.min(*b)).sum())
}

impl HeadScoring {
    /// The metrics its tables are of.
    pub const METRICS: [&'static str; 8] = {
        let mut names = [""; 8];
        let mut i = 0;
        while i < names.len() {
            names[i] = SCORED[i].metric;
            i += 1;
        }
        names
    };

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let unused = [
            (!experiment.prompts.is_empty(), "prompts: it runs random tokens"),
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at"),
        ];
        Error::refuse_unused("head scores", &unused)?;
        let config = model.config();
        let longest = (config.n_ctx - usize::from(model.bos().is_some())) / 2;
        let period = self.period.unwrap_or(longest.min(50));
        let count = self.sequences.unwrap_or(10);
        let mut done = |finished| {
            (watch.progress)(finished, count);
            match watch.cancel.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let seed = experiment.seed;
        let read = Sequences { model, period, count, seed }.scores(Wanted::All, &mut done)?;
        let finished = read.0.len();
        let axes = vec![sweep::layer_axis("L", 0..config.n_layers), sweep::head_axis(config.n_heads)];
        let bootstrap = (finished > 1).then(|| Bootstrap::new(finished, seed));
        let cells = config.n_layers * config.n_heads;
        let table = |(index, scored): (usize, &Scored)| Table {
            metric: scored.metric.to_owned(),
            quantity: Quantity::Value,
            title: scored.title.to_owned(),
            unit: "share of attention".to_owned(),
            baseline: scored.baseline.to_owned(),
            basis: Basis::Exact,
            axes: axes.clone(),
            values: (0..cells).map(|cell| Some(read.mean(index, cell))).collect(),
            spread: match &bootstrap {
                Some(bootstrap) => {
                    (0..cells).map(|cell| spread(&read.values(index, cell), bootstrap)).collect()
                }
                None => vec![],
            },
        };
        let tables: Vec<Table> = SCORED.iter().enumerate().map(table).collect();
        let roles = RoleTable::of(&tables, config, self.least)?;
        let mut notes = vec![format!(
            "mean over queries that have the key, on {finished} sequences of {period} random tokens, each said \
             twice; seed {seed}"
        )];
        if finished > 1 {
            notes.push(format!(
                "± is the standard error over the {finished} sequences, intervals are 95 % bootstrap, 1000 resamples"
            ));
        }
        Ok(Results {
            tables,
            roles: Some(roles),
            notes,
            runs: finished,
            runs_wanted: count,
            ..Default::default()
        })
    }
}
