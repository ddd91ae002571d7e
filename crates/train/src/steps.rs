//! The loop of what is trained on a model that is there: updates, evaluations, checkpoints, up to the end or until somebody
//! stops it.

use crate::error::Result;

/// Something that learns step by step.
pub(crate) trait Steps {
    /// Updates made.
    fn step(&self) -> u64;

    /// The last evaluation's step.
    fn evaluated(&self) -> Option<u64>;

    /// Whether to make a checkpoint and stop.
    fn should_stop(&mut self) -> bool;

    /// Makes an update, or none where it is to stop before.
    fn update(&mut self) -> Result<()>;

    /// Measures what was learnt, if there is something already.
    fn evaluate(&mut self) -> Result<()>;

    /// Makes a checkpoint, if there is something to keep.
    fn keep(&mut self) -> Result<()>;
}

/// How often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Every {
    /// Updates of the whole run.
    pub steps: u64,
    /// Updates from one evaluation to the next.
    pub evaluation: u64,
    /// Updates from one checkpoint to the next.
    pub checkpoint: u64,
}

/// Goes on to the end, or until it is stopped, which is then `true`. There is an evaluation and a checkpoint after the last update,
/// and a checkpoint where it is stopped; `kept` is the step of the checkpoint that is there.
///
/// # Errors
/// What the steps say; the last checkpoint stays.
pub(crate) fn go(run: &mut dyn Steps, every: Every, mut kept: Option<u64>) -> Result<bool> {
    loop {
        let step = run.step();
        let stopped = step < every.steps && run.should_stop();
        let is_due = |often: u64| step.is_multiple_of(often) || step >= every.steps;
        if is_due(every.evaluation) && !stopped && run.evaluated() != Some(step) {
            run.evaluate().map_err(|error| error.with_checkpoint(kept))?;
        }
        if ((is_due(every.checkpoint) && step > 0) || stopped) && kept != Some(step) {
            run.keep()?;
            kept = Some(step);
        }
        if stopped || step >= every.steps {
            return Ok(stopped);
        }
        run.update().map_err(|error| error.with_checkpoint(kept))?;
    }
}
