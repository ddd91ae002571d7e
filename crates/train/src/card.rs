//! A model's card: what it was made of, what it can do, and which circuits do it, measured now.
//!
//! Markdown, for a `README.md` beside the model. Every number is computed when the card is written, from
//! held-out prompts of a seed that stands in the card.

use std::fmt::Write as _;

use microtome::{Component, TextModel};

use crate::circuits::{Circuits, find_circuits};
use crate::corpus::Task;
use crate::data::Data;
use crate::error::Result;
use crate::evaluate::RepeatLoss;
use crate::tasks::{TaskScore, score};
use crate::train::RunRecord;

/// A run that made a model, or went on with it.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The file it was trained by, as the card should call it.
    pub config: String,
    /// What the run says of itself.
    pub record: RunRecord,
}

/// What is measured for a card.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// Seed of the prompts.
    pub seed: u64,
    /// Prompts asked of a task.
    pub n: usize,
    /// By task; stories have no answers.
    pub scores: Vec<TaskScore>,
    /// On random tokens that come twice.
    pub repeats: RepeatLoss,
    /// Who does what.
    pub circuits: Circuits,
}

/// Measures a model on `n` prompts of each task, a quarter of them for the circuits.
///
/// # Errors
/// Where the model's vocabulary lacks an answer as one token, or a prompt passes its context.
pub fn measure(model: &TextModel, seed: u64, n: usize) -> Result<Card> {
    let tasks = Task::ALL.into_iter().filter(|task| *task != Task::Stories);
    let scores = tasks.map(|task| score(model, task, seed, n)).collect::<Result<Vec<_>>>()?;
    let sizes = model.config();
    let data = Data::random(sizes.d_vocab, model.bos(), sizes.n_ctx, seed);
    let repeats = RepeatLoss::measure(model.model(), &data)?;
    Ok(Card { seed, n, scores, repeats, circuits: find_circuits(model, seed, n.div_ceil(4))? })
}

impl Card {
    /// The card of a model called `spec`; `runs` say how it was trained, the first first.
    pub fn to_markdown(&self, model: &TextModel, spec: &str, runs: &[Trained]) -> String {
        let mut out = String::new();
        self.write(&mut out, model, spec, runs).unwrap_or_default(); // a String takes everything
        out
    }

    fn write(&self, out: &mut String, model: &TextModel, spec: &str, runs: &[Trained]) -> std::fmt::Result {
        writeln!(out, "# The model `{spec}`\n")?;
        writeln!(out, "Written by `{}`; no number in it was typed.\n", self.command(spec))?;
        made_of(out, model, runs)?;
        self.write_accuracy(out)?;
        self.write_circuits(out, model, spec)
    }

    /// What measures the same again.
    fn command(&self, spec: &str) -> String {
        format!("microtome card --model {spec} --prompts {} --seed {}", self.n, self.seed)
    }

    fn write_accuracy(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## What it can do\n")?;
        writeln!(
            out,
            "On {} prompts of each task that its corpus does not contain (seed {}):\n",
            self.n, self.seed
        )?;
        writeln!(
            out,
            "| task | right | probability of what is right | what counts as right |\n|---|---|---|---|"
        )?;
        for score in &self.scores {
            let rule = match score.task {
                Task::Agreement => "the right form of the verb is more probable than every wrong one",
                Task::GreaterThan => "the most probable token is a later year",
                Task::Facts => "the answer is the most probable token; the facts are those of the corpus",
                _ => "the answer is the most probable token",
            };
            let (accuracy, probability) = (100.0 * score.accuracy(), score.probability);
            writeln!(out, "| {} | {accuracy:.1} % | {probability:.3} | {rule} |", score.task.name())?;
        }
        let RepeatLoss { first, second } = self.repeats;
        writeln!(
            out,
            "\nRandom tokens that fill half of a context and come twice: {first:.2} nats the first time, \
             {second:.2} the second ({:.2} of it).\n",
            second / first
        )?;
        let mistakes: Vec<_> = self.scores.iter().flat_map(|score| score.mistakes.iter().take(1)).collect();
        if !mistakes.is_empty() {
            writeln!(out, "Some of what it gets wrong:\n")?;
            for mistake in mistakes {
                writeln!(
                    out,
                    "- `{}` -> `{}`, expected `{}`",
                    mistake.prompt, mistake.said, mistake.expected
                )?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_circuits(&self, out: &mut String, model: &TextModel, spec: &str) -> std::fmt::Result {
        let Circuits { scores, name_movers, without, facts, facts_logit_diff } = &self.circuits;
        writeln!(out, "## Circuits\n")?;
        writeln!(
            out,
            "On {} prompts of a task; L2H5 is head 5 of layer 2, both counted from 0.\n",
            self.n.div_ceil(4)
        )?;
        writeln!(out, "### Heads that look back\n")?;
        writeln!(out, "Share of attention on BOS and random tokens that come twice:\n")?;
        writeln!(out, "| kind | attends to | strongest heads |\n|---|---|---|")?;
        let kinds = [
            ("previous-token", "the token before", &scores.previous),
            ("duplicate-token", "the same token's first occurrence", &scores.duplicate),
            ("induction", "the token after that", &scores.induction),
        ];
        for (kind, to, scores) in kinds {
            writeln!(out, "| {kind} | {to} | {} |", strongest(model, scores))?;
        }
        writeln!(out, "\n### Heads that write the name\n")?;
        writeln!(
            out,
            "What a head writes of the logit difference receiver - subject at the last position (direct logit \
             attribution), and its attention from there. A name mover does both; a head that writes without attending \
             to a name has what it writes from elsewhere:\n"
        )?;
        writeln!(out, "| head | writes | attention to the receiver | to the subject |\n|---|---|---|---|")?;
        for mover in name_movers.iter().take(6).chain(name_movers.iter().rev().take(2).rev()) {
            let (head, writes) = (mover.head, mover.writes);
            writeln!(out, "| {head} | {writes:+.2} | {:.2} | {:.2} |", mover.to_receiver, mover.to_subject)?;
        }
        let heads: Vec<String> = without.heads.iter().map(Component::to_string).collect();
        writeln!(
            out,
            "\nThe first {} set to 0 together: logit difference {:.2} -> {:.2} ({:.0} % of it left), right in \
             {:.0} % -> {:.0} % of the prompts.\n",
            heads.len(),
            without.before,
            without.after,
            100.0 * without.after / without.before,
            100.0 * without.right.0,
            100.0 * without.right.1
        )?;
        let backups: Vec<String> = without
            .backups
            .iter()
            .take(4)
            .map(|(head, before, after)| format!("{head} ({before:+.2} -> {after:+.2})"))
            .collect();
        if !backups.is_empty() {
            writeln!(out, "Heads that then write more, their backups: {}.\n", backups.join(", "))?;
        }
        writeln!(out, "### Facts\n")?;
        writeln!(
            out,
            "Logit difference between the answer and another of its kind: {facts_logit_diff:.2}. What it loses when \
             one head or MLP is set to 0:\n"
        )?;
        writeln!(out, "| component | change |\n|---|---|")?;
        for (component, change) in facts.iter().take(6) {
            writeln!(out, "| {component} | {change:+.2} |")?;
        }
        writeln!(out, "\n## See it\n")?;
        let ioi = "\"When Mary and John went to the store, John gave a drink to\" --target \" Mary\" --foil \" John\"";
        writeln!(out, "```sh\nmicrotome ablate --model {spec} {ioi}")?;
        writeln!(out, "microtome ablate --model {spec} {ioi} --heads {}", heads.join(","))?;
        writeln!(
            out,
            "microtome ablate --model {spec} \"Paris is the capital of\" --target \" France\" --sweep mlps"
        )?;
        writeln!(out, "{}\n```", self.command(spec))
    }
}

fn made_of(out: &mut String, model: &TextModel, runs: &[Trained]) -> std::fmt::Result {
    let sizes = model.config();
    writeln!(
        out,
        "GPT-2's architecture: {} layers of {} heads, {} wide, {} neurons a layer, context {}, {} tokens.",
        sizes.n_layers,
        sizes.n_heads,
        sizes.d_model,
        sizes.d_mlp(),
        sizes.n_ctx,
        sizes.d_vocab
    )?;
    writeln!(out, "Weights {} (`{}`).\n", model.about().dtype, model.about().weight_hash)?;
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(out, "## How it was made\n")?;
    writeln!(
        out,
        "| | updates | minutes | validation loss, nats | tokens to learn from |\n|---|---|---|---|---|"
    )?;
    for Trained { config, record } in runs {
        let (updates, minutes, tokens) = (record.step, record.elapsed_secs / 60.0, record.training_tokens);
        let loss = record
            .best
            .map_or_else(String::new, |best| format!("{:.4} at update {}", best.validation_loss, best.step));
        writeln!(out, "| `microtome train {config}` | {updates} | {minutes:.0} | {loss} | {tokens} |")?;
    }
    writeln!(
        out,
        "\nEach begins from the last checkpoint of the one above it. What they read (BLAKE3 of the text):\n"
    )?;
    for Trained { config, record } in runs {
        if let Some(hash) = &record.data_hash {
            writeln!(out, "- `{config}`: `{hash}`")?;
        }
    }
    let versions: std::collections::BTreeSet<&str> =
        runs.iter().map(|run| run.record.version.as_str()).collect();
    let versions: Vec<&str> = versions.into_iter().collect();
    writeln!(
        out,
        "\n{} parameters; version {}.\n",
        runs[runs.len() - 1].record.n_parameters,
        versions.join(", ")
    )
}

/// The three highest scores: `L3H1 (0.92), L2H7 (0.55), ..`.
fn strongest(model: &TextModel, scores: &[Vec<f64>]) -> String {
    let scores = scores.iter().flatten().copied();
    let mut all: Vec<(Component, f64)> = Component::heads(model.config()).zip(scores).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let named: Vec<String> = all.iter().take(3).map(|(head, score)| format!("{head} ({score:.2})")).collect();
    named.join(", ")
}
