//! The role table: which heads of a model play which role, by scores that reach a threshold.
//!
//! A head has every role whose score reaches the role's threshold, 0.4 of its attention for the roles of one key (the
//! threshold of the detectors in ARENA's course on TransformerLens) and 0.8 for positional, which also
//! counts attention that is merely spread evenly. Heads stand by their strongest role, positional, BOS and self
//! after the others, for those say where a head rests rather than what it does.

use microtome_model::Config;
use serde::{Deserialize, Serialize};

use crate::component::Component;
use crate::error::{Error, Result};
use crate::record::Table;
use crate::stats::Spread;

/// Every head with its roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleTable {
    /// The roles there are, and from which score a head has one.
    pub roles: Vec<RoleThreshold>,
    /// All heads, those with the strongest roles first, those without one by how little they lack.
    pub heads: Vec<HeadRoles>,
}

/// From which score a head has a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleThreshold {
    /// The role in words.
    pub role: String,
    /// The metric whose table has its score.
    pub metric: String,
    /// The least score of a head that has the role.
    pub least: f64,
}

/// The roles of one head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadRoles {
    /// Which head.
    pub head: Component,
    /// The roles it has, the strongest first.
    pub has: Vec<HeadRole>,
    /// The role it is nearest to, whether or not it has it.
    pub nearest: HeadRole,
}

/// A role with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadRole {
    /// The role in words.
    pub role: String,
    /// The score, a share of attention.
    pub score: f64,
    /// How sure it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

/// Whether a role says what a head does, or where it rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rests,
    Does,
}

/// The roles by name, the metric of their scores, and their thresholds.
const ROLES: [(&str, &str, f64, Kind); 6] = [
    ("induction", "induction_second_half", 0.4, Kind::Does),
    ("previous token", "previous_token", 0.4, Kind::Does),
    ("duplicate token", "duplicate_token_second_half", 0.4, Kind::Does),
    ("first position", "bos_share", 0.4, Kind::Rests),
    ("self", "self_share", 0.4, Kind::Rests),
    ("positional", "positional", 0.8, Kind::Rests),
];

impl RoleTable {
    /// The roles that tables of head scores tell. `least` takes the place of every role's own threshold.
    pub(crate) fn of(tables: &[Table], config: &Config, least: Option<f64>) -> Result<RoleTable> {
        if let Some(value) = least.filter(|least| !(0.0..=1.0).contains(least)) {
            let expected = "a share of attention, 0 to 1";
            return Err(Error::OutOfRange { name: "the least score of a role", value, expected });
        }
        let roles: Vec<RoleThreshold> = ROLES
            .iter()
            .map(|&(role, metric, own, _)| RoleThreshold {
                role: role.to_owned(),
                metric: metric.to_owned(),
                least: least.unwrap_or(own),
            })
            .collect();
        let mut heads: Vec<((Kind, f64), HeadRoles)> = Component::heads(config)
            .enumerate()
            .filter_map(|(cell, head)| {
                let mut scored: Vec<(Kind, f64, HeadRole)> = Vec::new();
                for (&(role, metric, _, kind), threshold) in ROLES.iter().zip(&roles) {
                    let table = tables.iter().find(|table| table.metric == metric)?;
                    let score = table.values.get(cell).copied().flatten()?;
                    let spread = table.spread.get(cell).copied().flatten();
                    let found = HeadRole { role: role.to_owned(), score, spread };
                    scored.push((kind, score - threshold.least, found));
                }
                scored.sort_by(|a, b| b.0.cmp(&a.0).then(b.2.score.total_cmp(&a.2.score)));
                let (_, short, near) = scored.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
                let (short, near) = (*short, near.clone());
                let reaches = |found: &HeadRole| {
                    roles.iter().any(|role| role.role == found.role && found.score >= role.least)
                };
                let first = scored.iter().find(|(_, _, found)| reaches(found));
                let place = first.map_or((Kind::Rests, short - 1.0), |(kind, _, found)| (*kind, found.score));
                let has = scored.into_iter().map(|(_, _, found)| found).filter(reaches).collect();
                Some((place, HeadRoles { head, has, nearest: near }))
            })
            .collect();
        heads.sort_by(|(a, _), (b, _)| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        Ok(RoleTable { roles, heads: heads.into_iter().map(|(_, head)| head).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Basis, Quantity};

    /// Four heads with these scores: induction, previous, duplicate, first position, self, positional.
    const SCORES: [[f64; 6]; 4] = [
        [0.10, 0.20, 0.05, 0.95, 0.0, 0.9],
        [0.90, 0.05, 0.00, 0.10, 0.0, 0.1],
        [0.00, 0.45, 0.50, 0.00, 0.0, 0.0],
        [0.10, 0.30, 0.05, 0.35, 0.1, 0.5],
    ];

    fn table(least: Option<f64>) -> Result<RoleTable> {
        let tables: Vec<Table> = ROLES
            .iter()
            .enumerate()
            .map(|(i, &(_, metric, ..))| Table {
                metric: metric.to_owned(),
                quantity: Quantity::Value,
                title: String::new(),
                unit: String::new(),
                baseline: String::new(),
                basis: Basis::Exact,
                axes: vec![],
                values: SCORES.iter().map(|head| Some(head[i])).collect(),
                spread: vec![],
            })
            .collect();
        let config = Config {
            n_layers: 2,
            n_heads: 2,
            d_model: 4,
            d_head: 2,
            d_vocab: 3,
            n_ctx: 4,
            mlp: None,
            norm: None,
        };
        RoleTable::of(&tables, &config, least)
    }

    fn told(table: &RoleTable) -> Vec<(String, Vec<&'static str>)> {
        let roles = |head: &HeadRoles| {
            let has = |name: &&str| head.has.iter().any(|role| role.role == *name);
            (head.head.to_string(), ROLES.iter().map(|role| role.0).filter(has).collect())
        };
        table.heads.iter().map(roles).collect()
    }

    #[test]
    fn heads_stand_by_what_they_do_and_then_by_where_they_rest() {
        let table = table(None).unwrap();
        let expected = [
            ("L0H1", vec!["induction"]),
            ("L1H0", vec!["previous token", "duplicate token"]),
            ("L0H0", vec!["first position", "positional"]),
            ("L1H1", vec![]),
        ];
        assert_eq!(told(&table), expected.map(|(head, roles)| (head.to_owned(), roles)));
        // The stronger role first, and of a head without one what it lacks least.
        assert_eq!(table.heads[1].has[0].role, "duplicate token");
        assert_eq!(table.heads[3].nearest.role, "first position");
    }

    #[test]
    fn a_threshold_given_takes_the_place_of_all() {
        let table = table(Some(0.3)).unwrap();
        assert!(table.roles.iter().all(|role| role.least == 0.3));
        assert_eq!(
            told(&table)[2],
            ("L1H1".to_owned(), vec!["previous token", "first position", "positional"])
        );
        assert!(super::tests::table(Some(1.5)).is_err());
    }
}
