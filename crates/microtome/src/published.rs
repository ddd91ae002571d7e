//! Figures published for GPT-2 small, and how to see them again.
//!
//! Outputs of TransformerLens's demo notebooks, with folded weights and BOS prepended, on eight
//! indirect-object prompts (Wang et al. 2022). [`verify`] computes every one with this crate's own
//! methods; random sequences differ between programs, so head scores agree to a few hundredths.

use microtome_model::{Positions, Site};

use crate::component::Component;
use crate::error::Result;
use crate::experiment::{Experiment, Method, Prompt, Watch};
use crate::method::ablate::{Ablate, Targets};
use crate::method::attribution::direct_attribution;
use crate::method::change::Replacement;
use crate::method::head_scores::head_scores;
use crate::method::patch::{By, Direction, Patch};
use crate::metric::MetricId;
use crate::record::{Quantity, Record, Table};
use crate::stats::mean;
use crate::text_model::{Answer, Bos, Text, TextModel};

/// One figure, published and found.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Which experiment it belongs to.
    pub experiment: &'static str,
    /// What it is.
    pub what: String,
    /// As published.
    pub published: f64,
    /// As found here.
    pub found: f64,
    /// How far apart the two may be: half the last digit published, or what random sequences allow.
    pub tolerance: f64,
}

impl Figure {
    /// Whether the two agree.
    pub fn agrees(&self) -> bool {
        (self.published - self.found).abs() <= self.tolerance
    }
}

/// The four sentences of the eight prompts; `{}` is the name said twice.
const SENTENCES: [(&str, [&str; 2]); 4] = [
    ("When John and Mary went to the shops,{} gave the bag to", [" Mary", " John"]),
    ("When Tom and James went to the park,{} gave the ball to", [" Tom", " James"]),
    ("When Dan and Sid went to the shops,{} gave an apple to", [" Dan", " Sid"]),
    ("After Martin and Amy went to the park,{} gave a drink to", [" Martin", " Amy"]),
];

/// The eight indirect-object prompts: each sentence with either name said twice, corrupted by saying
/// the other one.
pub fn indirect_object_prompts() -> Vec<Prompt> {
    let prompt = |sentence: &str, answer: &str, wrong: &str| Prompt {
        clean: Text::Text(sentence.replace("{}", wrong)),
        corrupt: Some(Text::Text(sentence.replace("{}", answer))),
        answers: vec![Answer::Text(answer.to_owned())],
        wrong_answers: vec![Answer::Text(wrong.to_owned())],
    };
    SENTENCES.iter().flat_map(|(sentence, [a, b])| [prompt(sentence, a, b), prompt(sentence, b, a)]).collect()
}

/// Where the name said twice stands for the second time, and the end, BOS counted.
const S2: usize = 10;
const END: usize = 14;

/// Computes every figure with a model that should be GPT-2 small, folded, with GPT-2's tokenizer.
///
/// # Errors
/// What the experiments refuse, for a model of another shape or vocabulary.
pub fn verify(model: &TextModel, watch: &mut Watch) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    loss(model, watch, &mut figures)?;
    logit_differences(model, watch, &mut figures)?;
    direct(model, &mut figures)?;
    patches(model, watch, &mut figures)?;
    scores(model, &mut figures)?;
    ablation(model, watch, &mut figures)?;
    Ok(figures)
}

fn experiment(model: &TextModel, prompts: Vec<Prompt>, method: Method, metric: &str) -> Result<Experiment> {
    Ok(Experiment {
        model: model.about().model.clone(),
        weights: model.model().processing(),
        precision: model.model().precision(),
        bos: Bos::Prepend,
        prompts,
        method,
        metrics: vec![MetricId::named(metric)?],
        read_at: None,
        seed: 0,
    })
}

fn loss(model: &TextModel, watch: &mut Watch, figures: &mut Vec<Figure>) -> Result<()> {
    let prompt = Prompt {
        clean: Text::Text("Hello world!".to_owned()),
        corrupt: None,
        answers: vec![],
        wrong_answers: vec![],
    };
    let record = experiment(model, vec![prompt], Method::Measure, "loss")?.run(model, watch)?;
    figures.push(Figure {
        experiment: "loss",
        what: "loss on \"Hello world!\", nats".to_owned(),
        published: 5.331_855_8,
        found: record.results.prompts[0].runs[0].metrics[0].value,
        tolerance: 1e-4,
    });
    Ok(())
}

fn logit_differences(model: &TextModel, watch: &mut Watch, figures: &mut Vec<Figure>) -> Result<()> {
    const PUBLISHED: [f64; 8] = [3.337, 3.202, 2.709, 3.797, 1.720, 5.281, 2.601, 5.767];
    let of = |prompts: Vec<Prompt>, watch: &mut Watch| -> Result<Vec<f64>> {
        let record = experiment(model, prompts, Method::Measure, "logit_diff")?.run(model, watch)?;
        Ok(record.results.prompts.iter().map(|prompt| prompt.runs[0].metrics[0].value).collect())
    };
    let clean = of(indirect_object_prompts(), watch)?;
    let swap =
        |prompt: Prompt| Prompt { clean: prompt.corrupt.unwrap_or(prompt.clean), corrupt: None, ..prompt };
    let corrupt = of(indirect_object_prompts().into_iter().map(swap).collect(), watch)?;
    let mut push = |what: String, published: f64, found: f64| {
        let experiment = "indirect object: logit difference";
        figures.push(Figure { experiment, what, published, found, tolerance: 2e-3 });
    };
    for (i, (published, found)) in PUBLISHED.into_iter().zip(&clean).enumerate() {
        push(format!("prompt {}", i + 1), published, *found);
    }
    push("mean".to_owned(), 3.552, mean(&clean));
    push("mean, corrupted".to_owned(), -3.552, mean(&corrupt));
    Ok(())
}

fn direct(model: &TextModel, figures: &mut Vec<Figure>) -> Result<()> {
    const HEADS: [(usize, usize, f64); 8] = [
        (9, 9, 2.985),
        (10, 7, -1.899),
        (9, 6, 1.384),
        (11, 10, -0.970),
        (10, 0, 0.561),
        (10, 10, 0.480),
        (11, 2, -0.388),
        (8, 10, 0.290),
    ];
    const ACCUMULATED: [(&str, f64); 8] = [
        ("8_mid", 0.45),
        ("9_pre", 0.46),
        ("9_mid", 5.025),
        ("10_pre", 5.143),
        ("10_mid", 4.731),
        ("11_pre", 4.887),
        ("11_mid", 3.445),
        ("final_post", 3.552),
    ];
    let mut all = Vec::new();
    for prompt in indirect_object_prompts() {
        let tokens = model.tokens(&prompt.clean, Bos::Prepend)?.ids;
        let answer = model.answer(&prompt.answers[0], "target")?;
        let wrong = model.answer(&prompt.wrong_answers[0], "wrong answer")?;
        all.push(direct_attribution(model, &tokens, tokens.len() - 1, &[answer], &[wrong], &[])?);
    }
    for (layer, head, published) in HEADS {
        let found = mean(&all.iter().map(|of| of.heads[layer][head]).collect::<Vec<_>>());
        let experiment = "indirect object: direct attribution by head";
        let what = Component::Head { layer, head }.to_string();
        figures.push(Figure { experiment, what, published, found, tolerance: 2e-3 });
    }
    for (label, published) in ACCUMULATED {
        let at = |of: &crate::method::attribution::DirectAttribution| {
            of.accumulated.iter().find(|(name, _)| name == label).map_or(f64::NAN, |(_, share)| *share)
        };
        let found = mean(&all.iter().map(at).collect::<Vec<_>>());
        let experiment = "indirect object: logit lens, accumulated";
        let tolerance = if published < 1.0 { 1e-2 } else { 2e-3 };
        figures.push(Figure { experiment, what: label.to_owned(), published, found, tolerance });
    }
    Ok(())
}

fn patches(model: &TextModel, watch: &mut Watch, figures: &mut Vec<Figure>) -> Result<()> {
    const HEADS: [(usize, usize, f64); 8] = [
        (10, 7, -0.480),
        (5, 5, 0.343),
        (8, 6, 0.319),
        (11, 10, -0.278),
        (8, 10, 0.278),
        (9, 9, 0.264),
        (7, 9, 0.192),
        (6, 9, 0.130),
    ];
    const AT_S2: [f64; 12] = [1.0, 1.0, 1.0, 1.0, 0.99, 0.97, 0.97, 0.92, 0.66, 0.03, -0.03, -0.01];
    const AT_END: [(usize, f64); 4] = [(7, 0.02), (8, 0.32), (9, 0.94), (10, 1.0)];
    let mut sweep = |site: Site, by: By| -> Result<Record> {
        let patch = Patch { site, by, direction: Direction::Denoise, at: Positions::All };
        let method = Method::Patch(patch);
        experiment(model, indirect_object_prompts(), method, "logit_diff")?.run(model, watch)
    };
    let recovery = |record: &Record, row: usize, column: usize| {
        let table: Option<&Table> = record.table("logit_diff", Quantity::Recovery);
        let value =
            table.and_then(|t| t.values.get(row * t.axes[1].labels.len() + column).copied().flatten());
        value.unwrap_or(f64::NAN)
    };
    let heads = sweep(Site::Z, By::Head)?;
    for (layer, head, published) in HEADS {
        let experiment = "indirect object: head outputs patched, recovery";
        let what = Component::Head { layer, head }.to_string();
        let found = recovery(&heads, layer, head);
        figures.push(Figure { experiment, what, published, found, tolerance: 2e-3 });
    }
    let resid = sweep(Site::ResidPre, By::LayerPosition)?;
    let at_s2 =
        AT_S2.into_iter().enumerate().map(|(layer, published)| (layer, published, S2, "second subject"));
    let at_end = AT_END.into_iter().map(|(layer, published)| (layer, published, END, "end"));
    for (layer, published, pos, name) in at_s2.chain(at_end) {
        let experiment = "indirect object: resid_pre patched, recovery";
        let what = format!("layer {layer} at the {name}");
        let found = recovery(&resid, layer, pos);
        figures.push(Figure { experiment, what, published, found, tolerance: 1e-2 });
    }
    Ok(())
}

fn scores(model: &TextModel, figures: &mut Vec<Figure>) -> Result<()> {
    type Score = (usize, usize, f64);
    const PREVIOUS: [Score; 4] = [(4, 11, 0.992), (3, 7, 0.529), (6, 8, 0.499), (2, 2, 0.482)];
    const DUPLICATE: [Score; 2] = [(0, 5, 0.703), (3, 0, 0.678)];
    const INDUCTION: [Score; 6] =
        [(5, 1, 0.931), (6, 9, 0.926), (5, 5, 0.926), (7, 10, 0.904), (7, 2, 0.851), (10, 1, 0.482)];
    let found = head_scores(model, 50, 10, 0)?;
    let kinds = [
        ("previous token", &PREVIOUS[..], &found.previous),
        ("duplicate token", &DUPLICATE[..], &found.duplicate),
        ("induction", &INDUCTION[..], &found.induction),
    ];
    for (kind, published, found) in kinds {
        for &(layer, head, published) in published {
            let what = format!("{kind}, {}", Component::Head { layer, head });
            let experiment = "head scores on repeated random tokens";
            figures.push(Figure { experiment, what, published, found: found[layer][head], tolerance: 0.05 });
        }
    }
    Ok(())
}

fn ablation(model: &TextModel, watch: &mut Watch, figures: &mut Vec<Figure>) -> Result<()> {
    let ablate = Ablate {
        clamp: None,
        targets: Targets::Together(vec![Component::Head { layer: 9, head: 9 }]),
        with: Replacement::Zero,
        at: Positions::All,
    };
    let method = Method::Ablate(ablate);
    let record = experiment(model, indirect_object_prompts(), method, "logit_diff")?.run(model, watch)?;
    let value = record.table("logit_diff", Quantity::Value).and_then(|table| table.values[0]);
    figures.push(Figure {
        experiment: "indirect object: logit difference without L9H9",
        what: "mean".to_owned(),
        published: 2.92,
        found: value.unwrap_or(f64::NAN),
        tolerance: 2e-2,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompts_are_those_of_the_documentation() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ioi.json");
        assert_eq!(crate::read_pairs(&path).unwrap(), indirect_object_prompts());
    }

    #[test]
    fn the_prompts_have_one_length_and_answers_of_one_token() {
        let tokenizer = microtome_model::Tokenizer::gpt2();
        for prompt in indirect_object_prompts() {
            for text in [Some(prompt.clean), prompt.corrupt].into_iter().flatten() {
                let Text::Text(text) = text else { panic!("prompts are text") };
                let ids = tokenizer.encode(&text).unwrap();
                assert_eq!(ids.len(), END, "with BOS the end is position {END}: {text}");
                let names = prompt.answers.iter().chain(&prompt.wrong_answers);
                let second = tokenizer.display(ids[S2 - 1]);
                assert!(names.clone().any(|name| *name == Answer::Text(second.clone())), "{second}: {text}");
                for name in names {
                    let Answer::Text(name) = name else { panic!("answers are text") };
                    tokenizer.single_token(name).unwrap();
                }
            }
        }
    }

    /// The whole of `verify` on random weights of a small model with GPT-2's layers, heads and
    /// vocabulary: every experiment runs and gives a number. What the numbers should be only the
    /// trained weights can say.
    #[test]
    fn every_published_figure_can_be_computed() {
        use microtome_model::{
            Activation, Config, MlpConfig, Model, NormConfig, Processing, Tokenizer, Weights,
        };
        let config = Config {
            n_layers: 12,
            n_heads: 12,
            d_model: 24,
            d_head: 2,
            d_vocab: 50257,
            n_ctx: 128,
            mlp: Some(MlpConfig { d_mlp: 32, activation: Activation::GeluNew }),
            norm: Some(NormConfig { eps: 1e-5 }),
        };
        let weights = Weights::random(&config, 1, 1.0).unwrap();
        let model = Model::new(config, weights, Processing::Folded).unwrap();
        let tokenizer = Tokenizer::gpt2();
        let model = TextModel::from_model("random", model).unwrap().with_tokenizer(tokenizer);
        let never = std::sync::atomic::AtomicBool::new(false);
        let mut watch =
            Watch { cancel: &never, progress: &mut |_, _| {}, partial: None, memory_budget: 64 << 20 };
        let figures = verify(&model, &mut watch).unwrap();
        assert_eq!(figures.len(), 64);
        assert!(figures.iter().all(|figure| figure.found.is_finite()), "{figures:?}");
        assert!(figures.iter().any(|figure| !figure.agrees()), "random weights are not GPT-2");
    }
}
