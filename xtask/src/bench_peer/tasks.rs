//! What is timed: the tasks, their inputs, and how far the answers of two engines may be apart.

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// A task with its size.
pub struct Task {
    /// Its name in the protocol.
    pub name: &'static str,
    /// Tokens of each prompt.
    pub tokens: usize,
    /// What is done, in a few words.
    pub what: &'static str,
    /// Times in a row that an engine does it in one turn.
    pub repeats: usize,
    /// Quantities its values go through in turn; each is compared on its own scale.
    columns: usize,
    /// How far values may be apart, as a share of the largest of their quantity; 0: they are to be equal.
    pub tolerance: f64,
    /// Whether ours has its weights as bf16. Its answers are then other numbers, and are not compared.
    pub bf16: bool,
}

/// f32 gives logits to about a millionth of their size, and a derivative or a logit difference to a hundred
/// thousandth.
const ROUNDING: f64 = 1e-4;

/// Ranks count tokens that all but tie, and a change of entropy is a small difference of two sums over the
/// vocabulary.
const ROUNDING_OF_METRICS: f64 = 1e-3;

/// Every task, in the order of the report.
pub const TASKS: &[Task] = &[
    head_sweep("zero_all", 6, "every head set to 0, all positions"),
    head_sweep("zero_all", 16, "every head set to 0, all positions"),
    head_sweep("zero_all", 64, "every head set to 0, all positions"),
    head_sweep("zero_last", 16, "every head set to 0, last position"),
    head_sweep("patch_all", 16, "every head patched, all positions"),
    head_sweep("patch_last", 16, "every head patched, last position"),
    Task { repeats: 1, ..quick("resid_patch", "resid_pre patched by layer and position") },
    quick("forward", "one forward pass, logits at the last position"),
    quick("atp", "attribution patching of z by head"),
    quick("lens", "logit lens, top 5 after every layer, all positions"),
    quick("cache", "all activations cached"),
    Task { tolerance: 0.0, ..quick("generate", "20 tokens, greedy, 5 heads set to 0") },
    Task {
        tolerance: f64::INFINITY,
        bf16: true,
        ..quick("generate", "the same, weights here as bf16 (other numbers, not compared)")
    },
];

const fn head_sweep(name: &'static str, tokens: usize, what: &'static str) -> Task {
    Task { name, tokens, what, repeats: 1, columns: 4, tolerance: ROUNDING_OF_METRICS, bf16: false }
}

const fn quick(name: &'static str, what: &'static str) -> Task {
    Task { name, tokens: 16, what, repeats: 3, columns: 1, tolerance: ROUNDING, bf16: false }
}

/// The tasks of these names, all of them where none is named. `load` may be named, too, though it is no task
/// of the protocol.
pub fn named(names: &[String]) -> Result<Vec<&'static Task>> {
    let known: Vec<&str> = TASKS.iter().map(|task| task.name).chain(["load"]).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let mut known = known;
        known.dedup();
        bail!("no task `{name}`; the tasks are {}", known.join(", "));
    }
    Ok(TASKS.iter().filter(|task| names.is_empty() || names.iter().any(|name| name == task.name)).collect())
}

impl Task {
    /// What an engine is asked.
    pub fn request(&self) -> Value {
        let ids =
            |step: usize| -> Vec<usize> { (0..self.tokens).map(|i| (i * step + 11) % 50_000).collect() };
        json!({
            "task": self.name,
            "clean": ids(7919),
            "corrupt": ids(7907),
            "answer": 1000,
            "wrong": 2000,
            "cut": [[0, 1], [3, 4], [5, 6], [8, 9], [11, 2]],
            "new_tokens": 20,
        })
    }

    /// The largest difference between the answers of two engines, as a share of the largest value of its
    /// quantity.
    ///
    /// # Errors
    /// Where it is past the tolerance, with both numbers.
    pub fn difference(&self, ours: (&str, &[f64]), theirs: (&str, &[f64])) -> Result<f64> {
        self.difference_within(self.tolerance, ours, theirs)
    }

    /// The same with another tolerance.
    ///
    /// # Errors
    /// As [`Task::difference`].
    pub fn difference_within(
        &self,
        tolerance: f64,
        (name, ours): (&str, &[f64]),
        (other, theirs): (&str, &[f64]),
    ) -> Result<f64> {
        let task = format!("`{}` at {} tokens", self.name, self.tokens);
        if ours.len() != theirs.len() {
            bail!("{task}: {name} gives {} values, {other} gives {}", ours.len(), theirs.len());
        }
        let mut largest = 0.0_f64;
        for column in 0..self.columns {
            let cells = || (column..ours.len()).step_by(self.columns);
            let scale = cells().map(|i| theirs[i].abs()).fold(f64::MIN_POSITIVE, f64::max);
            for i in cells() {
                let apart = (ours[i] - theirs[i]).abs() / scale;
                // What is not a number is never within it.
                if apart.is_nan() || apart > tolerance {
                    let (x, y) = (ours[i], theirs[i]);
                    let allowed = tolerance;
                    bail!(
                        "{task}: value {i} is {x} in {name} and {y} in {other}, apart by {apart:.1e} of the \
                         largest, {scale}; at most {allowed:.0e} is rounding"
                    );
                }
                largest = largest.max(apart);
            }
        }
        Ok(largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_compared_each_on_its_own_scale() {
        let task = Task { columns: 2, ..quick("forward", "") };
        let ours = [1e-6, 1000.0, 0.0, 3.0];
        let near = [1e-6, 1000.05, 5e-11, 3.0];
        let apart = task.difference(("a", &ours), ("b", &near)).unwrap();
        assert!((apart - 5e-5).abs() < 1e-9, "{apart}");
        let far = [1.001e-6, 1000.0, 0.0, 3.0];
        let message = task.difference(("a", &ours), ("b", &far)).unwrap_err().to_string();
        assert!(message.contains("0.000001 in a") && message.contains("0.000001001 in b"), "{message}");
    }

    #[test]
    fn values_that_are_missing_or_no_numbers_never_agree() {
        let task = quick("forward", "");
        assert!(task.difference(("a", &[1.0]), ("b", &[1.0, 2.0])).is_err());
        assert!(task.difference(("a", &[f64::NAN]), ("b", &[1.0])).is_err());
        assert!(task.difference(("a", &[0.0]), ("b", &[0.0])).is_ok());
    }

    #[test]
    fn a_task_that_does_not_exist_is_an_error_that_names_those_that_do() {
        assert_eq!(named(&[]).unwrap().len(), TASKS.len());
        assert_eq!(named(&["zero_all".to_owned()]).unwrap().len(), 3);
        assert_eq!(named(&["load".to_owned()]).unwrap().len(), 0);
        let message = named(&["zero".to_owned()]).err().unwrap().to_string();
        assert!(message.contains("`zero`") && message.contains("zero_last"), "{message}");
    }
}
