//! Two processes by turns.
//!
//! The speed of a machine that others share changes from minute to minute. Where one process works a few seconds while the
//! other is paused, both meet the same machine.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::python::ran;

/// Whether processes can be paused here; elsewhere each runs to its end before the next begins.
const CAN_PAUSE: bool = cfg!(unix);

/// A process that ran to its end.
pub struct Finished {
    /// Without the turns of the other.
    pub worked: Duration,
    /// What it printed.
    pub output: String,
}

/// Runs both to their ends, of which one works while the other is paused.
pub fn in_turns(commands: [Command; 2], turn: Duration) -> Result<[Finished; 2]> {
    let [mut first, mut second] = commands;
    let mut sides = [Side::start(&mut first, turn)?, Side::start(&mut second, turn)?];
    while !(sides[0].is_done()? && sides[1].is_done()?) {
        for side in &mut sides {
            side.work(turn)?;
        }
    }
    let [first, second] = sides;
    Ok([first.finished()?, second.finished()?])
}

/// A process that is paused between its turns, and killed where it is let go before its end.
struct Side {
    child: Child,
    worked: Duration,
}

impl Side {
    /// Starts it with its first turn.
    fn start(command: &mut Command, turn: Duration) -> Result<Side> {
        let child = command.stdout(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut side = Side { child, worked: Duration::ZERO };
        side.work(turn)?;
        Ok(side)
    }

    fn is_done(&mut self) -> Result<bool> {
        let status = self.child.try_wait()?;
        if let Some(status) = status {
            ensure!(status.success(), "one of the two ended with {status}");
        }
        Ok(status.is_some())
    }

    /// Works for a turn, or to its end.
    fn work(&mut self, turn: Duration) -> Result<()> {
        if self.is_done()? {
            return Ok(());
        }
        let begun = Instant::now();
        self.signal("-CONT")?;
        while !self.is_done()? {
            if CAN_PAUSE && begun.elapsed() >= turn {
                self.signal("-STOP")?;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.worked += begun.elapsed();
        Ok(())
    }

    fn signal(&self, signal: &str) -> Result<()> {
        match CAN_PAUSE {
            true => ran(Command::new("kill").arg(signal).arg(self.child.id().to_string())),
            false => Ok(()),
        }
    }

    fn finished(mut self) -> Result<Finished> {
        let mut output = String::new();
        self.child.stdout.take().context("a process without output")?.read_to_string(&mut output)?;
        Ok(Finished { worked: self.worked, output })
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // One that has ended is no process any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_run_to_their_ends_through_many_turns_and_a_failure_is_told() {
        let slow = "for i in 1 2 3 4 5; do sleep 0.05; done; echo slow";
        let turn = Duration::from_millis(20);
        let finished = in_turns([shell(slow), shell("echo quick")], turn).unwrap();
        assert_eq!(finished.map(|finished| finished.output), ["slow\n", "quick\n"]);
        let failed = in_turns([shell(slow), shell("exit 3")], turn).err().unwrap().to_string();
        assert!(failed.contains("exit status: 3"), "{failed}");
    }
}
