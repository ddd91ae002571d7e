//! How much circuits have in common.

use std::collections::BTreeSet;

use super::graph::Edge;

/// Edges that two circuits share over those that either has; 1 of two empty ones.
pub fn jaccard(one: &BTreeSet<Edge>, other: &BTreeSet<Edge>) -> f64 {
    let shared = one.intersection(other).count();
    let either = one.len() + other.len() - shared;
    if either == 0 { 1.0 } else { shared as f64 / either as f64 }
}

/// Of a circuit found, the share that is in the true one; `None` of an empty one.
pub fn precision(found: &BTreeSet<Edge>, truth: &BTreeSet<Edge>) -> Option<f64> {
    share(found, truth)
}

/// Of the true circuit, the share that was found; `None` of an empty one.
pub fn recall(found: &BTreeSet<Edge>, truth: &BTreeSet<Edge>) -> Option<f64> {
    share(truth, found)
}

fn share(of: &BTreeSet<Edge>, within: &BTreeSet<Edge>) -> Option<f64> {
    (!of.is_empty()).then(|| of.intersection(within).count() as f64 / of.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(names: &[&str]) -> BTreeSet<Edge> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn shares_of_two_circuits_with_one_edge_in_common() {
        let found = edges(&["m0->logits", "m1->logits", "m0->m1"]);
        let truth = edges(&["m0->logits", "input->logits"]);
        assert_eq!(jaccard(&found, &truth), 0.25);
        assert_eq!(precision(&found, &truth), Some(1.0 / 3.0));
        assert_eq!(recall(&found, &truth), Some(0.5));
        let none = edges(&[]);
        assert_eq!((jaccard(&none, &none), precision(&none, &truth)), (1.0, None));
        assert_eq!((jaccard(&none, &truth), recall(&none, &truth)), (0.0, Some(0.0)));
    }
}
