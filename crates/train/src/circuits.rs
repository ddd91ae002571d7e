//! The circuits of a model that has read the corpus: which heads play the known parts.
//!
//! - Previous-token, duplicate-token and induction heads: attention on random tokens that come twice
//!   ([`head_scores`](microtome::method::head_scores), Olsson et al. 2022).
//! - Heads that write the name of the receiver, and not the subject's, at the end of an indirect-object
//!   prompt: direct logit attribution of the logit difference, mean over prompts. Beside it stands their
//!   attention from the last position to the receiver and to the subject: the name movers of Wang et al. 2022
//!   are those that also attend to the receiver, and others pass on what was settled before. The three
//!   that write most are ablated together; heads that write more of the difference then than before are
//!   their backups.
//! - Components facts depend on: those whose ablation costs most of the difference between the answer and
//!   another of its kind.
//!
//! An ablated component is set to 0 at all positions, and the weights are folded.

use microtome::method::ablate::{Ablate, Targets, zeroed};
use microtome::method::attribution::direct_attribution;
use microtome::method::change::Replacement;
use microtome::method::head_scores::HeadScores;
use microtome::model::{Edit, Positions, RunOptions, Site};
use microtome::{Answer, Bos, Component, Experiment, Method, Prompt, Quantity, Text, TextModel};

use crate::corpus::{Task, TestPrompt, held_out};
use crate::error::Result;
use crate::telemetry::scores;

/// What plays which part.
#[derive(Debug, Clone, PartialEq)]
pub struct Circuits {
    /// Of every head.
    pub scores: HeadScores,
    /// All heads, the one that writes most of the difference first.
    pub name_movers: Vec<NameMover>,
    /// The strongest name movers, without them and one after the other.
    pub without: NameMoversAblated,
    /// All heads and MLPs, the one facts depend on most first.
    pub facts: Vec<(Component, f64)>,
    /// Mean logit difference of facts before.
    pub facts_logit_diff: f64,
}

/// A head and what it does at the end of an indirect-object prompt, mean over prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct NameMover {
    /// The head.
    pub head: Component,
    /// What it writes of the logit difference receiver - subject.
    pub writes: f64,
    /// Attention from the last position to the receiver's name.
    pub to_receiver: f64,
    /// Attention from the last position to the first mention of the subject.
    pub to_subject: f64,
}

/// What a strongest set of name movers is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct NameMoversAblated {
    /// The heads ablated together.
    pub heads: Vec<Component>,
    /// Mean logit difference before.
    pub before: f64,
    /// Mean logit difference after.
    pub after: f64,
    /// Share of the prompts answered right before and after.
    pub right: (f64, f64),
    /// Other heads that write more of the difference after, with how much they wrote before and after; the
    /// one that gains most first.
    pub backups: Vec<(Component, f64, f64)>,
}

/// Sequences that the scores of heads are the mean over.
const SEQUENCES: usize = 20;

/// Name movers that are ablated together.
const TOGETHER: usize = 3;

/// Finds them, on `n` held-out prompts of each task.
///
/// # Errors
/// Where the model's vocabulary lacks an answer as one token, or a prompt passes its context.
pub fn find_circuits(model: &TextModel, seed: u64, n: usize) -> Result<Circuits> {
    let scores = scores(model, SEQUENCES, seed)?;
    let prompts = held_out(Task::IndirectObject, seed, n);
    let prompts = prompts.iter().map(|prompt| Asked::new(model, prompt)).collect::<Result<Vec<_>>>()?;
    let whole = written(model, &prompts, &[])?;
    let name_movers = name_movers(model, &prompts, &whole)?;
    let heads: Vec<Component> = name_movers.iter().take(TOGETHER).map(|mover| mover.head).collect();
    let without = without(model, &prompts, &whole, heads)?;
    let (facts, facts_logit_diff) = facts(model, seed, n)?;
    Ok(Circuits { scores, name_movers, without, facts, facts_logit_diff })
}

/// A prompt in tokens.
struct Asked {
    ids: Vec<u32>,
    receiver: u32,
    subject: u32,
}

impl Asked {
    fn new(model: &TextModel, prompt: &TestPrompt) -> Result<Asked> {
        let token = |text: &str| model.answer(&Answer::Text(text.to_owned()), "answer");
        Ok(Asked {
            ids: model.tokens(&Text::Text(prompt.prompt.clone()), Bos::Prepend)?.ids,
            receiver: token(&prompt.answer)?,
            subject: token(&prompt.wrong[0])?,
        })
    }

    /// Where a name is first said, with a space before it or, at the start, without.
    fn first(&self, model: &TextModel, name: u32) -> Option<usize> {
        let text = model.text(&[name]);
        self.ids.iter().position(|&id| id == name || model.text(&[id]) == text.trim_start())
    }
}

/// Mean over prompts of what each head writes of the logit difference receiver - subject.
struct Written {
    /// Layer after layer.
    heads: Vec<f64>,
    /// The difference itself.
    logit_diff: f64,
    /// Share of the prompts in which it is above 0.
    right: f64,
}

/// In runs with edits.
fn written(model: &TextModel, prompts: &[Asked], edits: &[Edit]) -> Result<Written> {
    let share = 1.0 / prompts.len() as f64;
    let n_heads = Component::heads(model.config()).count();
    let mut mean = Written { heads: vec![0.0; n_heads], logit_diff: 0.0, right: 0.0 };
    for Asked { ids, receiver, subject } in prompts {
        let parts = direct_attribution(model, ids, ids.len() - 1, &[*receiver], &[*subject], edits)?;
        let logit_diff = parts.total();
        mean.logit_diff += share * logit_diff;
        mean.right += share * f64::from(u8::from(logit_diff > 0.0));
        for (sum, writes) in mean.heads.iter_mut().zip(parts.heads.iter().flatten()) {
            *sum += share * writes;
        }
    }
    Ok(mean)
}

fn name_movers(model: &TextModel, prompts: &[Asked], whole: &Written) -> Result<Vec<NameMover>> {
    let heads = Component::heads(model.config()).zip(&whole.heads);
    let mut movers: Vec<NameMover> =
        heads.map(|(head, &writes)| NameMover { head, writes, to_receiver: 0.0, to_subject: 0.0 }).collect();
    let share = 1.0 / prompts.len() as f64;
    let reads: Vec<_> = (0..model.config().n_layers).map(|layer| Site::Pattern.at(layer)).collect();
    for asked in prompts {
        let options = RunOptions { reads: reads.clone(), logits: Positions::Last, ..Default::default() };
        let run = model.model().run(&asked.ids, &options)?;
        let last = asked.ids.len() - 1;
        let places = [asked.receiver, asked.subject].map(|name| asked.first(model, name));
        for (layer, hook) in reads.iter().enumerate() {
            let pattern = run.cache.get(*hook)?.to_vec3::<f32>()?; // [head, query, key]
            for (head, pattern) in pattern.iter().enumerate() {
                let mover = &mut movers[layer * model.config().n_heads + head];
                let paid = |place: Option<usize>| place.map_or(0.0, |key| f64::from(pattern[last][key]));
                mover.to_receiver += share * paid(places[0]);
                mover.to_subject += share * paid(places[1]);
            }
        }
    }
    movers.sort_by(|a, b| b.writes.total_cmp(&a.writes));
    Ok(movers)
}

fn without(
    model: &TextModel,
    prompts: &[Asked],
    whole: &Written,
    heads: Vec<Component>,
) -> Result<NameMoversAblated> {
    let edits: Vec<Edit> = heads.iter().copied().map(zeroed).collect();
    let cut = written(model, prompts, &edits)?;
    let wrote = whole.heads.iter().zip(&cut.heads);
    let mut backups: Vec<(Component, f64, f64)> = Component::heads(model.config())
        .zip(wrote)
        .filter(|(head, (before, after))| !heads.contains(head) && after > before)
        .map(|(head, (&before, &after))| (head, before, after))
        .collect();
    backups.sort_by(|a, b| (b.2 - b.1).total_cmp(&(a.2 - a.1)));
    let (before, after, right) = (whole.logit_diff, cut.logit_diff, (whole.right, cut.right));
    Ok(NameMoversAblated { heads, before, after, right, backups })
}

/// Mean change of the facts' logit difference when each head or MLP is ablated by itself; of the facts whose
/// answer is one token.
fn facts(model: &TextModel, seed: u64, n: usize) -> Result<(Vec<(Component, f64)>, f64)> {
    let text = |text: &str| Answer::Text(text.to_owned());
    let prompt = |test: TestPrompt| Prompt {
        clean: Text::Text(test.prompt),
        corrupt: None,
        answers: vec![text(&test.answer)],
        wrong_answers: test.wrong.first().map(|wrong| vec![text(wrong)]).unwrap_or_default(),
    };
    let is_one_token = |test: &TestPrompt| {
        let texts = [Some(&test.answer), test.wrong.first()];
        texts
            .iter()
            .all(|text| text.is_some_and(|text| model.answer(&Answer::Text(text.clone()), "answer").is_ok()))
    };
    let prompts: Vec<Prompt> =
        held_out(Task::Facts, seed, n).into_iter().filter(is_one_token).map(prompt).collect();
    let mut changes = Vec::new();
    let mut logit_diff = 0.0;
    for targets in [Targets::Heads, Targets::Mlps] {
        let parts: Vec<Component> = match targets {
            Targets::Mlps => (0..model.config().n_layers).map(|layer| Component::Mlp { layer }).collect(),
            _ => Component::heads(model.config()).collect(),
        };
        let experiment = Experiment {
            model: model.about().model.clone(),
            weights: model.model().processing(),
            precision: model.model().precision(),
            bos: Bos::Prepend,
            prompts: prompts.clone(),
            method: Method::Ablate(Ablate {
                clamp: None,
                targets,
                with: Replacement::Zero,
                at: Positions::All,
            }),
            metrics: vec!["logit_diff".parse()?],
            read_at: None,
            seed,
        };
        let record = experiment.run_quietly(model)?;
        let Some(table) = record.table("logit_diff", Quantity::Change) else { continue };
        changes
            .extend(parts.into_iter().zip(&table.values).filter_map(|(part, value)| Some((part, (*value)?))));
        let of_clean = |report: &microtome::PromptReport| Some(report.runs.first()?.metrics.first()?.value);
        let bases: Vec<f64> = record.results.prompts.iter().filter_map(of_clean).collect();
        logit_diff = bases.iter().sum::<f64>() / bases.len().max(1) as f64;
    }
    changes.sort_by(|a, b| a.1.total_cmp(&b.1));
    Ok((changes, logit_diff))
}
