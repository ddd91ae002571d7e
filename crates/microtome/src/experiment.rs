//! The one vocabulary: an [`Experiment`] is data, running it gives a [`Record`](crate::Record).
//!
//! Command-line flags, REST bodies and the web page all build this; what it means stands here and in
//! the method files alone.

use std::sync::atomic::AtomicBool;

use microtome_model::{Config, Precision, Preparation, Processing};
use serde::{Deserialize, Serialize};

use crate::circuit::curve::CircuitCurve;
use crate::circuit::edge_attribution::EdgeAttribution;
use crate::circuit::factual_recall::FactualRecall;
use crate::circuit::induction::InductionCircuit;
use crate::circuit::judge::CircuitJudgement;
use crate::circuit::path_patch::PathPatch;
use crate::circuit::search::CircuitSearch;
use crate::error::{Error, Result};
use crate::measure::Subject;
use crate::method::generate::GeneratedToken;
use crate::method::{
    ablate::Ablate,
    attention_stats::AttentionStats,
    attribution::Attribution,
    attribution_patching::AttributionPatching,
    composition::Composition,
    edit::EditRun,
    feature_attribution::FeatureAttribution,
    feature_edit::FeatureEdits,
    feature_profile::FeatureProfile,
    feature_sweep::FeatureSweep,
    features::FeatureReading,
    generate::Generate,
    head_circuit::HeadCircuit,
    head_scores::HeadScoring,
    importance::{Importance, Measure},
    logit_lens::LogitLens,
    measure,
    neuron::{self, NeuronProfile},
    pairs::Pairs,
    patch::Patch,
    promoted_tokens::PromotedTokens,
    steering::Steering,
    strongest_neurons::StrongestNeurons,
    text_scan::TextScan,
};
use crate::metric::{MetricId, Needs};
use crate::record::{Record, Results, Table};
use crate::sae::SaeChoice;
use crate::text_model::{Answer, Bos, Text, TextModel, Tokens};

/// A question about a model, complete enough to be asked again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// A path or a Hugging Face id.
    pub model: String,
    /// How the weights are processed.
    #[serde(default)]
    pub weights: Processing,
    /// How the numbers of its matrices are kept; f32 where left out.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Whether BOS is prepended to text.
    #[serde(default)]
    pub bos: Bos,
    /// The prompts asked about.
    pub prompts: Vec<Prompt>,
    /// What is done with them.
    pub method: Method,
    /// What is measured. Empty: what the prompts' answers allow, see [`Experiment::metrics`].
    #[serde(default)]
    pub metrics: Vec<MetricId>,
    /// The position metrics are read at; the last where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<usize>,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
}

/// A prompt with what should, and should not, follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The prompt; of a pair, the clean one.
    pub clean: Text,
    /// The other prompt of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Text>,
    /// Right answers, one token each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// Wrong answers, one token each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrong_answers: Vec<Answer>,
}

/// What is done with the prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Nothing: metrics of the prompts as they are.
    Measure,
    /// Components are cut out and what they were worth is measured.
    Ablate(Ablate),
    /// Components are cut two at a time, and what that does beyond each alone is measured.
    Pairs(Pairs),
    /// Activations of one prompt are put into the run of another.
    Patch(Patch),
    /// What patching each activation would change, estimated by derivatives.
    AttributionPatching(AttributionPatching),
    /// What components write reaches chosen others, and these alone, as it is in the run of another prompt.
    PathPatch(PathPatch),
    /// What every edge of the model's graph is worth, estimated by derivatives.
    EdgeAttribution(EdgeAttribution),
    /// Circuits are found that do what the model does.
    CircuitSearch(CircuitSearch),
    /// How faithful circuits of every size are, by score and at random.
    CircuitCurve(CircuitCurve),
    /// Whether circuits are faithful, complete and minimal.
    CircuitJudgement(CircuitJudgement),
    /// Named hooks are edited.
    Edit(EditRun),
    /// What each component writes, by itself, towards the answer.
    DirectAttribution(Attribution),
    /// Text is generated, with and without components.
    Generate(Generate),
    /// One neuron: when it is active, what it writes, what is lost without it.
    Neuron(NeuronProfile),
    /// The neurons most active at a position, or that write most towards the answer.
    StrongestNeurons(StrongestNeurons),
    /// Where in a text neurons are most active, and how often.
    TextScan(TextScan),
    /// Which tokens components promote at a position.
    PromotedTokens(PromotedTokens),
    /// A direction is added to the residual stream while prompts are read and text is written.
    Steering(Steering),
    /// The residual stream is read as logits at every layer and position.
    LogitLens(LogitLens),
    /// Every head gets one number: how much it matters for this prompt.
    Importance(Importance),
    /// Every head's attention on random tokens that come twice.
    HeadScores(HeadScoring),
    /// Statistics of every head's attention on the prompts, and detectors.
    Attention(AttentionStats),
    /// What one head's weights match and move, over all pairs of tokens.
    HeadCircuit(HeadCircuit),
    /// How much every head reads of what every earlier head writes, and how much each copies, by the weights.
    Composition(Composition),
    /// Which features of a sparse autoencoder are active, and how well it stands for the activations.
    Features(FeatureReading),
    /// Features are changed, each by itself or some together, and what that is worth is measured.
    FeatureSweep(FeatureSweep),
    /// Features are changed in one run, each in its own way.
    FeatureEdit(FeatureEdits),
    /// What each feature is worth, estimated, and measured beside it.
    FeatureAttribution(FeatureAttribution),
    /// One feature by the weights.
    FeatureProfile(FeatureProfile),
    /// Which heads feed the keys of the induction heads, on random tokens that come twice.
    InductionCircuit(InductionCircuit),
    /// Where along the layers a fact's subject is enriched, and which heads bring it to the last position.
    FactualRecall(FactualRecall),
}

impl Method {
    /// Its name, as JSON has it.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Measure => "measure",
            Method::Ablate(_) => "ablate",
            Method::Pairs(_) => "pairs",
            Method::Patch(_) => "patch",
            Method::AttributionPatching(_) => "attribution_patching",
            Method::PathPatch(_) => "path_patch",
            Method::EdgeAttribution(_) => "edge_attribution",
            Method::CircuitSearch(_) => "circuit_search",
            Method::CircuitCurve(_) => "circuit_curve",
            Method::CircuitJudgement(_) => "circuit_judgement",
            Method::Edit(_) => "edit",
            Method::DirectAttribution(_) => "direct_attribution",
            Method::Generate(_) => "generate",
            Method::Neuron(_) => "neuron",
            Method::StrongestNeurons(_) => "strongest_neurons",
            Method::TextScan(_) => "text_scan",
            Method::PromotedTokens(_) => "promoted_tokens",
            Method::Steering(_) => "steering",
            Method::LogitLens(_) => "logit_lens",
            Method::Importance(_) => "importance",
            Method::HeadScores(_) => "head_scores",
            Method::Attention(_) => "attention",
            Method::HeadCircuit(_) => "head_circuit",
            Method::Composition(_) => "composition",
            Method::Features(_) => "features",
            Method::FeatureSweep(_) => "feature_sweep",
            Method::FeatureEdit(_) => "feature_edit",
            Method::FeatureAttribution(_) => "feature_attribution",
            Method::FeatureProfile(_) => "feature_profile",
            Method::InductionCircuit(_) => "induction_circuit",
            Method::FactualRecall(_) => "factual_recall",
        }
    }

    /// The sparse autoencoder it needs beside the model.
    pub fn sae(&self) -> Option<&SaeChoice> {
        match self {
            Method::Features(features) => Some(&features.sae),
            Method::FeatureSweep(sweep) => Some(&sweep.sae),
            Method::FeatureEdit(edits) => Some(&edits.sae),
            Method::FeatureAttribution(attribution) => Some(&attribution.sae),
            Method::FeatureProfile(profile) => Some(&profile.sae),
            Method::TextScan(scan) => scan.sae.as_ref(),
            Method::Generate(generate) => generate.features.as_ref().map(|edits| &edits.sae),
            Method::Steering(steering) => steering.sae(),
            _ => None,
        }
    }

    /// The tuned lens it needs beside the model.
    pub fn tuned_lens(&self) -> Option<&str> {
        match self {
            Method::LogitLens(lens) => lens.tuned.as_deref(),
            _ => None,
        }
    }

    /// How many edited runs a prompt of `len` tokens takes, at most.
    pub fn runs_per_prompt(&self, config: &Config, len: usize) -> usize {
        match self {
            Method::Ablate(ablate) => ablate.targets.count(config),
            Method::Pairs(pairs) => pairs.count(config),
            Method::Patch(patch) => patch.by.count(config, len),
            Method::AttributionPatching(patching) => patching.count(config, len),
            Method::PathPatch(patch) => patch.count(config),
            Method::EdgeAttribution(attribution) => attribution.gradients.passes(config),
            Method::CircuitSearch(search) => search.count(config),
            Method::CircuitCurve(curve) => curve.count(config),
            Method::CircuitJudgement(judgement) => judgement.count(),
            Method::InductionCircuit(circuit) => circuit.count(config),
            Method::Steering(steering) => steering.strengths.len(),
            Method::FactualRecall(recall) => recall.count(config),
            Method::Neuron(_) => neuron::RUNS,
            Method::Features(features) => features.count(),
            Method::FeatureSweep(sweep) => sweep.count(),
            Method::FeatureEdit(edits) => edits.count(),
            Method::FeatureAttribution(attribution) => attribution.count(),
            Method::Importance(Importance { by: Measure::AblationKl, of }) => of.targets().count(config),
            _ => 1,
        }
    }
}

/// How a run is watched and bounded.
pub struct Watch<'a> {
    /// Set to true by anyone, stops the run; what is finished is kept.
    pub cancel: &'a AtomicBool,
    /// Told how many runs are done, of how many.
    pub progress: &'a mut dyn FnMut(usize, usize),
    /// Told what is known before the end; `None` where nobody looks.
    pub partial: Option<&'a mut dyn FnMut(Partial)>,
    /// About how many bytes of activations may be held at once.
    pub memory_budget: usize,
}

impl Watch<'_> {
    /// A part of what is watched, whose progress counts from `done` of `total` and of which nothing partial is told.
    pub(crate) fn part<R>(&mut self, done: usize, total: usize, run: impl FnOnce(&mut Watch) -> R) -> R {
        let Watch { cancel, progress, partial: _, memory_budget } = self;
        let mut part = Watch {
            cancel,
            progress: &mut |runs, _| progress(done + runs, total),
            partial: None,
            memory_budget: *memory_budget,
        };
        run(&mut part)
    }
}

/// What is known before an experiment has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Partial {
    /// The tables of a single prompt so far, `None` where a cell is not finished.
    Tables(Vec<Table>),
    /// The next token of a text; those of the prompt come together at first.
    Token {
        /// Which text.
        stream: TextStream,
        /// Its place in the text, counted from 0.
        index: usize,
        /// The token.
        token: GeneratedToken,
    },
}

/// One of the texts of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TextStream {
    /// Without any change.
    Control,
    /// With components cut.
    Ablated,
}

impl Experiment {
    /// How the model must be prepared.
    pub fn preparation(&self) -> Preparation {
        Preparation { processing: self.weights, precision: self.precision }
    }

    /// Runs the experiment on a model already loaded.
    ///
    /// # Errors
    /// Anything in it that does not exist or fit. Stopped by `watch`, it returns what was finished.
    pub fn run(&self, model: &TextModel, watch: &mut Watch) -> Result<Record> {
        let started = std::time::Instant::now();
        let results = self.results(model, watch)?;
        Ok(Record::new(self.clone(), results, model, started.elapsed()))
    }

    /// The same to the end, without being watched.
    ///
    /// # Errors
    /// As [`Experiment::run`].
    pub fn run_quietly(&self, model: &TextModel) -> Result<Record> {
        let never = AtomicBool::new(false);
        self.run(
            model,
            &mut Watch {
                cancel: &never,
                progress: &mut |_, _| {},
                partial: None,
                memory_budget: DEFAULT_BUDGET,
            },
        )
    }

    fn results(&self, model: &TextModel, watch: &mut Watch) -> Result<Results> {
        let needs_none = matches!(
            self.method,
            Method::HeadScores(_)
                | Method::HeadCircuit(_)
                | Method::Composition(_)
                | Method::TextScan(_)
                | Method::InductionCircuit(_)
                | Method::FactualRecall(_)
                | Method::FeatureProfile(_)
        );
        if self.prompts.is_empty() && !needs_none {
            return Err(Error::Missing { what: "a prompt", hint: "give at least one" });
        }
        let (asked, given) = (self.weights.name(), model.model().processing().name());
        if asked != given {
            return Err(Error::WeightsDiffer { asked, given });
        }
        let (asked, given) = (self.precision.name(), model.model().precision().name());
        if asked != given {
            return Err(Error::PrecisionDiffers { asked, given });
        }
        match &self.method {
            Method::Measure => measure::run(self, model, watch),
            Method::Ablate(ablate) => ablate.run(self, model, watch),
            Method::Pairs(pairs) => pairs.run(self, model, watch),
            Method::Patch(patch) => patch.run(self, model, watch),
            Method::AttributionPatching(patching) => patching.run(self, model, watch),
            Method::PathPatch(patch) => patch.run(self, model, watch),
            Method::EdgeAttribution(attribution) => attribution.run(self, model, watch),
            Method::CircuitSearch(search) => search.run(self, model, watch),
            Method::CircuitCurve(curve) => curve.run(self, model, watch),
            Method::CircuitJudgement(judgement) => judgement.run(self, model, watch),
            Method::Edit(edit) => edit.run(self, model, watch),
            Method::DirectAttribution(attribution) => attribution.run(self, model, watch),
            Method::Generate(generate) => generate.run(self, model, watch),
            Method::Neuron(profile) => profile.run(self, model, watch),
            Method::StrongestNeurons(strongest) => strongest.run(self, model, watch),
            Method::TextScan(scan) => scan.run(self, model, watch),
            Method::PromotedTokens(asked) => asked.run(self, model, watch),
            Method::Steering(steering) => steering.run(self, model, watch),
            Method::LogitLens(lens) => lens.run(self, model, watch),
            Method::Importance(importance) => importance.run(self, model, watch),
            Method::HeadScores(scoring) => scoring.run(self, model, watch),
            Method::Attention(attention) => attention.run(self, model, watch),
            Method::HeadCircuit(circuit) => circuit.run(self, model, watch),
            Method::Composition(composition) => composition.run(self, model, watch),
            Method::Features(features) => features.run(self, model, watch),
            Method::FeatureSweep(sweep) => sweep.run(self, model, watch),
            Method::FeatureEdit(edits) => edits.run(self, model, watch),
            Method::FeatureAttribution(attribution) => attribution.run(self, model, watch),
            Method::FeatureProfile(profile) => profile.run(self, model, watch),
            Method::InductionCircuit(circuit) => circuit.run(self, model, watch),
            Method::FactualRecall(recall) => recall.run(self, model, watch),
        }
    }

    /// The metrics to measure: those named, or else the logit difference where every prompt has wrong
    /// answers, and probability, rank and margin where it has answers, and entropy and (with something edited) KL
    /// always.
    ///
    /// # Errors
    /// [`Error::MissingTokens`] for a named metric whose tokens are not given.
    pub fn metrics(&self) -> Result<Vec<MetricId>> {
        let answers = self.prompts.iter().all(|prompt| !prompt.answers.is_empty());
        let wrong = self.prompts.iter().all(|prompt| !prompt.wrong_answers.is_empty());
        if wrong && !answers {
            let (what, example) =
                ("an answer beside every wrong answer", "a target, for example --target \" Paris\"");
            return Err(Error::MissingTokens { metric: "logit_diff", what, example });
        }
        if self.metrics.is_empty() {
            let mut names = vec![];
            if answers && wrong {
                names.push("logit_diff");
            }
            if answers {
                names.extend(["prob", "rank", "margin"]);
            }
            names.push("entropy");
            if self.method != Method::Measure {
                names.push("kl");
            }
            return names.into_iter().map(MetricId::named).collect();
        }
        for metric in &self.metrics {
            let missing = |what, example| Err(Error::MissingTokens { metric: metric.name(), what, example });
            match metric.needs() {
                Needs::Answers | Needs::Both if !answers => {
                    return missing(
                        "an answer for every prompt",
                        "a target, for example --target \" Paris\"",
                    );
                }
                Needs::Both if !wrong => {
                    return missing("a wrong answer for every prompt", "one, for example --foil \" Rome\"");
                }
                _ => {}
            }
        }
        Ok(self.metrics.clone())
    }

    /// Names of the metrics its tables will be of; none where it has no tables.
    ///
    /// # Errors
    /// As [`Experiment::metrics`].
    pub fn tables_of(&self) -> Result<Vec<String>> {
        let measured = || -> Result<Vec<&'static str>> {
            Ok(self.metrics()?.iter().map(|metric| metric.name()).collect())
        };
        let names = match &self.method {
            Method::Attention(attention) => return Ok(attention.metrics(self.prompts.len())),
            Method::AttributionPatching(_) => measured()?.into_iter().take(1).collect(),
            Method::CircuitSearch(search) => search.metrics(),
            Method::CircuitCurve(_) => CircuitCurve::metrics(self.prompts.len()),
            Method::CircuitJudgement(judgement) => judgement.metrics(),
            Method::Composition(_) => Composition::METRICS.to_vec(),
            Method::DirectAttribution(attribution) => attribution.metrics(),
            Method::Generate(_) | Method::PromotedTokens(_) | Method::FeatureProfile(_) => vec![],
            Method::HeadCircuit(_) => HeadCircuit::METRICS.to_vec(),
            Method::HeadScores(_) => HeadScoring::METRICS.to_vec(),
            Method::FactualRecall(_) => return Ok(FactualRecall::metrics(self)),
            Method::InductionCircuit(_) => InductionCircuit::METRICS.to_vec(),
            Method::Importance(importance) => vec![importance.by.metric()],
            Method::LogitLens(lens) => return lens.metrics(self),
            Method::Neuron(_) => NeuronProfile::metrics(self.prompts.len(), measured()?),
            Method::StrongestNeurons(strongest) => strongest.metrics(self),
            Method::TextScan(scan) => scan.metrics(),
            Method::Features(features) => features.metrics(self)?,
            Method::FeatureAttribution(attribution) => attribution.metrics(self)?,
            _ => measured()?,
        };
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// Every prompt in tokens.
    pub(crate) fn cases(&self, model: &TextModel) -> Result<Vec<Case>> {
        let case = |prompt: &Prompt| -> Result<Case> {
            let clean = model.tokens(&prompt.clean, self.bos)?;
            let ids = |answers: &[Answer], role| {
                answers.iter().map(|answer| model.answer(answer, role)).collect::<Result<Vec<u32>>>()
            };
            Ok(Case {
                clean,
                answers: ids(&prompt.answers, "target")?,
                wrong: ids(&prompt.wrong_answers, "wrong answer")?,
            })
        };
        let numbered = |(index, prompt)| case(prompt).map_err(|source| self.in_prompt(index, source));
        self.prompts.iter().enumerate().map(numbered).collect()
    }

    /// Says which of several prompts an error is about.
    pub(crate) fn in_prompt(&self, index: usize, source: Error) -> Error {
        match self.prompts.len() {
            1 => source,
            _ => Error::InPrompt { number: index + 1, source: Box::new(source) },
        }
    }

    /// The corrupt prompt of a pair in tokens, as long as the clean one.
    pub(crate) fn corrupt(&self, index: usize, clean: &Tokens, model: &TextModel) -> Result<Tokens> {
        let corrupt = self.prompts[index].corrupt.as_ref().ok_or(Error::Missing {
            what: "the corrupt prompt",
            hint: "give each prompt a corrupt one of the same number of tokens, for example with --corrupt",
        })?;
        let corrupt = model.tokens(corrupt, self.bos).map_err(|source| self.in_prompt(index, source))?;
        if corrupt.ids.len() != clean.ids.len() {
            let differ = Error::LengthsDiffer { first: clean.labels.clone(), second: corrupt.labels };
            return Err(self.in_prompt(index, differ));
        }
        Ok(corrupt)
    }
}

/// The memory budget where nobody names one.
pub const DEFAULT_BUDGET: usize = 512 << 20;

/// One prompt in tokens.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub clean: Tokens,
    pub answers: Vec<u32>,
    pub wrong: Vec<u32>,
}

impl Case {
    /// These tokens (the prompt's, or its corrupt one's) with the prompt's answers.
    pub fn subject(&self, tokens: &Tokens) -> Subject {
        Subject {
            tokens: tokens.ids.clone(),
            answers: self.answers.clone(),
            wrong: self.wrong.clone(),
            clamp: None,
        }
    }
}
