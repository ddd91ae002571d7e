//! Detectors: how much of a head's attention falls where a head of some kind would look.
//!
//! A [`Target`] marks keys for every query of a prompt; it is a matrix `D[query, key]`. A [`Score`] compares a
//! pattern `P` with it:
//!
//! - `share`: the mean, over queries that have a marked key, of `sum_k P D`. For a target of one key a query this is
//!   the mean of a diagonal, the convention of TransformerLens's demos.
//! - `tl_mul`, `tl_mul_exbos`, `tl_mul_excur`, `tl_abs`: what `transformer_lens.head_detector` gives. `mul` is
//!   `sum(P D) / sum(P)`, so that queries without a marked key count as 0; `exbos` first sets the first column of `P`
//!   to 0, `excur` its diagonal. `abs` is `1 - mean_q sum_k |P - D|`, rounded to three decimals as there.
//!
//! Named targets are that module's head types: `previous_token_head` (the key before), `duplicate_token_head`
//! (every earlier key of the same token) and `induction_head` (every key after one of those).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which keys a head of a kind would look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The key before the query.
    PreviousTokenHead,
    /// Every earlier key that holds the query's token.
    DuplicateTokenHead,
    /// Every key after an earlier one that holds the query's token.
    InductionHead,
    /// One key for every query.
    Back(Back),
    /// These `(query, key)` pairs.
    Pairs(Vec<(usize, usize)>),
    /// A matrix, one row a query: 1 where the head would look, 0 elsewhere. Weights between may be given too.
    Matrix(Vec<Vec<f64>>),
}

/// The key some tokens before the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Back {
    /// How many tokens before.
    pub offset: usize,
    /// The first query that counts; the first that has the key where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<usize>,
}

/// How a pattern is compared with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Mean attention on the target, over queries that have one.
    #[default]
    Share,
    /// TransformerLens's `error_measure="mul"`.
    TlMul,
    /// The same with `exclude_bos=True`.
    TlMulExbos,
    /// The same with `exclude_current_token=True`.
    TlMulExcur,
    /// TransformerLens's `error_measure="abs"`.
    TlAbs,
}

impl Score {
    /// All of them.
    pub const ALL: [Score; 5] =
        [Score::Share, Score::TlMul, Score::TlMulExbos, Score::TlMulExcur, Score::TlAbs];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Score::Share => "share",
            Score::TlMul => "tl_mul",
            Score::TlMulExbos => "tl_mul_exbos",
            Score::TlMulExcur => "tl_mul_excur",
            Score::TlAbs => "tl_abs",
        }
    }

    /// What it is, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Score::Share => "mean attention on the target's keys, over queries that have one",
            Score::TlMul => "attention on the target's keys over all attention",
            Score::TlMulExbos => {
                "attention on the target's keys over all attention, that on position 0 left out"
            }
            Score::TlMulExcur => {
                "attention on the target's keys over all attention, that on the query itself left out"
            }
            Score::TlAbs => "1 - mean over queries of the sum of |pattern - target|, to three decimals",
        }
    }
}

/// One detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// Where a head of this kind would look.
    pub target: Target,
    /// How that is compared with where a head looks.
    #[serde(default)]
    pub score: Score,
}

impl Detector {
    /// What its table is called: `tl_mul/induction_head`, `share/back_9`, `share/mask`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.score.name(), self.target.name())
    }
}

impl Target {
    /// TransformerLens's head types by their names.
    pub const NAMED: [Target; 3] =
        [Target::PreviousTokenHead, Target::DuplicateTokenHead, Target::InductionHead];

    /// Its name; `mask` where it was given as such.
    pub fn name(&self) -> String {
        match self {
            Target::PreviousTokenHead => "previous_token_head".to_owned(),
            Target::DuplicateTokenHead => "duplicate_token_head".to_owned(),
            Target::InductionHead => "induction_head".to_owned(),
            Target::Back(Back { offset, from: None }) => format!("back_{offset}"),
            Target::Back(Back { offset, from: Some(from) }) => format!("back_{offset}_from_{from}"),
            Target::Pairs(_) | Target::Matrix(_) => "mask".to_owned(),
        }
    }

    /// The keys as a matrix over these tokens, `[query][key]`.
    ///
    /// # Errors
    /// [`Error::BadMask`] where it does not fit the prompt or marks a key after its query.
    pub fn matrix(&self, tokens: &[u32]) -> Result<Vec<Vec<f64>>> {
        let n = tokens.len();
        let marked = |holds: &dyn Fn(usize, usize) -> bool| {
            let row = |q: usize| (0..n).map(|k| f64::from(u8::from(k <= q && holds(q, k)))).collect();
            (0..n).map(row).collect::<Vec<Vec<f64>>>()
        };
        Ok(match self {
            Target::PreviousTokenHead => marked(&|q, k| k + 1 == q),
            Target::DuplicateTokenHead => marked(&|q, k| k < q && tokens[k] == tokens[q]),
            // The key after a duplicate; a query is its own duplicate nowhere.
            Target::InductionHead => marked(&|q, k| k > 0 && k - 1 < q && tokens[k - 1] == tokens[q]),
            Target::Back(Back { offset, from }) => {
                let first = from.unwrap_or(0).max(*offset);
                if first >= n {
                    return Err(Error::BadMask {
                        reason: format!(
                            "no query of {n} tokens has a key {offset} before it, from query {first} on"
                        ),
                    });
                }
                marked(&|q, k| q >= first && k + offset == q)
            }
            Target::Pairs(pairs) => {
                if pairs.is_empty() {
                    return Err(Error::BadMask { reason: "it marks no key".to_owned() });
                }
                let mut matrix = vec![vec![0.0; n]; n];
                for &(query, key) in pairs {
                    if query >= n || key > query {
                        let reason = format!(
                            "({query}, {key}) is no query with a key it sees; of {n} tokens queries are 0 to {}, and a key is \
                             at most its query",
                            n - 1
                        );
                        return Err(Error::BadMask { reason });
                    }
                    matrix[query][key] = 1.0;
                }
                matrix
            }
            Target::Matrix(rows) => {
                check_matrix(rows, n)?;
                rows.clone()
            }
        })
    }
}

fn check_matrix(rows: &[Vec<f64>], n: usize) -> Result<()> {
    let bad = |reason: String| Err(Error::BadMask { reason });
    if rows.len() != n {
        return bad(format!("it has {} rows and the prompt {n} tokens", rows.len()));
    }
    let mut marked = false;
    for (query, row) in rows.iter().enumerate() {
        if row.len() != n {
            return bad(format!("row {query} has {} columns and the prompt {n} tokens", row.len()));
        }
        for (key, &weight) in row.iter().enumerate() {
            if !weight.is_finite() {
                return bad(format!("({query}, {key}) is {weight}; expected a finite number"));
            }
            if weight != 0.0 && key > query {
                return bad(format!("it marks ({query}, {key}), a key after its query, which no head sees"));
            }
            marked |= weight != 0.0;
        }
    }
    if marked { Ok(()) } else { bad("it marks no key".to_owned()) }
}

impl Score {
    /// The score of one pattern, `[query][key]`; `None` where nothing is left to divide by.
    pub fn of(self, pattern: &[Vec<f64>], target: &[Vec<f64>]) -> Option<f64> {
        let n = pattern.len();
        match self {
            Score::Share => {
                let rows =
                    pattern.iter().zip(target).filter(|(_, marks)| marks.iter().any(|&mark| mark != 0.0));
                let (sum, count) = rows.fold((0.0, 0), |(sum, count), (row, marks)| {
                    (sum + row.iter().zip(marks).map(|(p, d)| p * d).sum::<f64>(), count + 1)
                });
                (count > 0).then(|| sum / f64::from(count))
            }
            Score::TlMul | Score::TlMulExbos | Score::TlMulExcur => {
                let (mut on_target, mut all) = (0.0, 0.0);
                for (q, (row, marks)) in pattern.iter().zip(target).enumerate() {
                    for (k, (p, d)) in row.iter().zip(marks).enumerate() {
                        let left_out =
                            (self == Score::TlMulExbos && k == 0) || (self == Score::TlMulExcur && k == q);
                        if !left_out {
                            on_target += p * d;
                            all += p;
                        }
                    }
                }
                (all > 0.0).then(|| on_target / all)
            }
            Score::TlAbs => {
                let apart: f64 = pattern
                    .iter()
                    .zip(target)
                    .map(|(row, marks)| row.iter().zip(marks).map(|(p, d)| (p - d).abs()).sum::<f64>())
                    .sum();
                Some(1.0 - (1000.0 * apart / n as f64).round_ties_even() / 1000.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [u32; 5] = [7, 3, 7, 3, 3];

    fn ones(matrix: &[Vec<f64>]) -> Vec<(usize, usize)> {
        let row = |(q, row): (usize, &Vec<f64>)| {
            row.iter().enumerate().filter(|(_, d)| **d != 0.0).map(|(k, _)| (q, k)).collect::<Vec<_>>()
        };
        matrix.iter().enumerate().flat_map(row).collect()
    }

    #[test]
    fn named_targets_mark_what_their_names_say() {
        let of = |target: Target| ones(&target.matrix(&TOKENS).unwrap());
        assert_eq!(of(Target::PreviousTokenHead), [(1, 0), (2, 1), (3, 2), (4, 3)]);
        assert_eq!(of(Target::DuplicateTokenHead), [(2, 0), (3, 1), (4, 1), (4, 3)]);
        assert_eq!(of(Target::InductionHead), [(2, 1), (3, 2), (4, 2), (4, 4)]);
        assert_eq!(of(Target::Back(Back { offset: 2, from: None })), [(2, 0), (3, 1), (4, 2)]);
        assert_eq!(of(Target::Back(Back { offset: 2, from: Some(4) })), [(4, 2)]);
        assert_eq!(of(Target::Pairs(vec![(4, 0), (1, 1)])), [(1, 1), (4, 0)]);
    }

    #[test]
    fn masks_that_do_not_fit_are_errors_that_say_where() {
        let message = |target: Target| target.matrix(&TOKENS).unwrap_err().to_string();
        assert!(message(Target::Pairs(vec![(1, 2)])).contains("(1, 2)"));
        assert!(message(Target::Pairs(vec![(5, 2)])).contains("0 to 4"));
        assert!(message(Target::Pairs(vec![])).contains("no key"));
        assert!(message(Target::Back(Back { offset: 5, from: None })).contains("5 before"));
        assert!(message(Target::Matrix(vec![vec![0.0; 5]; 4])).contains("4 rows"));
        assert!(message(Target::Matrix(vec![vec![1.0; 5]; 5])).contains("(0, 1)"));
        assert!(message(Target::Matrix(vec![vec![0.0; 5]; 5])).contains("no key"));
    }

    #[test]
    fn a_head_that_looks_only_at_the_target_has_a_share_of_one() {
        let target = Target::DuplicateTokenHead.matrix(&TOKENS).unwrap();
        let rows = target.iter().enumerate().map(|(q, row)| {
            let sum: f64 = row.iter().sum();
            let alone = |k: usize| f64::from(u8::from(k == 0 && q < 5));
            (0..5).map(|k| if sum > 0.0 { row[k] / sum } else { alone(k) }).collect::<Vec<f64>>()
        });
        let pattern: Vec<Vec<f64>> = rows.collect();
        assert_eq!(Score::Share.of(&pattern, &target), Some(1.0));
        // The two queries without a duplicate count as 0.
        assert_eq!(Score::TlMul.of(&pattern, &target), Some(3.0 / 5.0));
        // Position 0 left out: rows 0 and 1 and 2 look there; row 2's target is there too.
        assert_eq!(Score::TlMulExbos.of(&pattern, &target), Some(1.0));
    }
}
