//! An engine: a child process that loads the model once and answers one JSON line with another.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How an engine is started.
#[derive(Clone)]
pub struct Launch {
    /// What it is called in the report.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it finds in its environment.
    pub variables: Vec<(&'static str, String)>,
    /// Where its standard error goes.
    pub log: PathBuf,
}

/// A running engine, stopped when dropped.
pub struct Engine<'a> {
    launch: &'a Launch,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it said when it was ready, after a first forward pass.
    pub ready: Value,
    /// Seconds from the start of the process until then.
    pub ready_secs: f64,
}

/// What an engine answers to a task it has.
pub struct Answer {
    /// How long the task took.
    pub secs: f64,
    /// What it found.
    pub values: Vec<f64>,
    /// The most memory the process has held, where the system says.
    pub peak_mib: Option<u64>,
    /// Floating-point operations, where they were to be counted and are.
    pub flop: Option<u64>,
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Launch {
    /// Starts the engine and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not start, or ends, with the last lines of its standard error.
    pub fn start(&self) -> Result<Engine<'_>> {
        let name = self.name;
        let log =
            File::create(&self.log).with_context(|| format!("cannot write `{}`", self.log.display()))?;
        let begun = Instant::now();
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}: `{}`", self.program.display()))?;
        let requests = child.stdin.take().context("the engine has no input")?;
        let answers = BufReader::new(child.stdout.take().context("the engine has no output")?);
        let (ready, ready_secs) = (Value::Null, 0.0);
        let mut engine = Engine { launch: self, child, requests, answers, ready, ready_secs };
        engine.ready = engine.read()?;
        engine.ready_secs = begun.elapsed().as_secs_f64();
        Ok(engine)
    }
}

impl Engine<'_> {
    /// Its name in the report.
    pub fn name(&self) -> &'static str {
        self.launch.name
    }

    /// Does a task once; `None` where it does not have it.
    ///
    /// # Errors
    /// Where it ends, with the last lines of its standard error, or answers what is no answer.
    pub fn ask(&mut self, request: &Value) -> Result<Option<Answer>> {
        // Where it has ended, reading says why.
        let _ = writeln!(self.requests, "{request}").and_then(|()| self.requests.flush());
        let answer = self.read().with_context(|| format!("task {}", request["task"]))?;
        if answer.get("missing").is_some() {
            return Ok(None);
        }
        let name = self.name();
        let secs = answer["seconds"].as_f64().with_context(|| format!("{name} answers without a time"))?;
        let values = answer["values"].as_array().map(|values| values.iter().map(Value::as_f64).collect());
        let values = values.flatten().with_context(|| format!("{name} answers without finite values"))?;
        let (peak_mib, flop) = (answer["peak_mib"].as_u64(), answer["flop"].as_u64());
        Ok(Some(Answer { secs, values, peak_mib, flop }))
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            bail!("{} ended with {status}:\n{}", self.name(), self.last_words());
        }
        serde_json::from_str(&line).with_context(|| format!("{} says `{}`", self.name(), line.trim_end()))
    }

    /// The last lines of its standard error.
    fn last_words(&self) -> String {
        let log = std::fs::read(&self.launch.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

#[cfg(all(test, unix))]
mod tests {
    use serde_json::json;

    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Launch) {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        (home, Launch { name: "shell", program: "sh".into(), arguments, variables: vec![], log })
    }

    #[test]
    fn an_engine_answers_line_by_line() {
        let answers = r#"echo '{"versions": {}}'; read line; echo '{"seconds": 0.5, "values": [1, 2]}';
                         read line; echo '{"missing": "x"}'; read line"#;
        let (_home, launch) = shell(answers);
        let mut engine = launch.start().unwrap();
        let answer = engine.ask(&json!({"task": "x"})).unwrap().unwrap();
        assert_eq!((answer.secs, answer.values, answer.flop), (0.5, vec![1.0, 2.0], None));
        assert!(engine.ask(&json!({"task": "x"})).unwrap().is_none());
    }

    #[test]
    fn an_engine_that_ends_is_an_error_with_its_last_words() {
        let (_home, launch) = shell("echo '{}'; read line; echo no memory >&2; exit 3");
        let message = format!("{:#}", launch.start().unwrap().ask(&json!({"task": "x"})).err().unwrap());
        assert!(message.contains("no memory") && message.contains('3'), "{message}");
        let (_home, launch) = shell("echo no module >&2");
        let message = format!("{:#}", launch.start().err().unwrap());
        assert!(message.contains("no module"), "{message}");
    }
}
