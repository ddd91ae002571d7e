//! What can go wrong between a question and its answer.

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in an experiment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model, its files or its tokenizer.
    #[error(transparent)]
    Model(#[from] microtome_model::Error),
    /// The tensor library refused an operation: a shape or dtype this crate should have checked.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] microtome_model::TensorError),
    /// A sparse autoencoder, or the model it is put into.
    #[error(transparent)]
    Sae(#[from] crate::sae::SaeError),
    /// A tuned lens, or the model it is to read.
    #[error(transparent)]
    TunedLens(#[from] crate::tuned_lens::TunedLensError),
    /// A picture could not be drawn.
    #[error(transparent)]
    Plot(#[from] crate::plot::PlotError),
    /// A name that is no metric.
    #[error("metric `{name}` not found; did you mean `{nearest}`? There are: {known}")]
    UnknownMetric {
        /// The name.
        name: String,
        /// The nearest there is.
        nearest: String,
        /// All there are.
        known: String,
    },
    /// Text for a model that has no tokenizer.
    #[error(
        "this model has no tokenizer, so it cannot read {text:?}; give token ids, for example [84, 55, 23]"
    )]
    NoTokenizer {
        /// The text.
        text: String,
    },
    /// A metric that needs tokens nobody gave.
    #[error("metric `{metric}` needs {what}; give {example}")]
    MissingTokens {
        /// The metric.
        metric: &'static str,
        /// What is missing.
        what: &'static str,
        /// How to give it.
        example: &'static str,
    },
    /// A method that needs something the experiment does not say.
    #[error("{what} is missing; {hint}")]
    Missing {
        /// What.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Prompts that must align and do not.
    #[error(
        "the two prompts must have the same number of tokens so that positions align; they have {} and {}:\n  {}\n  {}\nchange one until they do",
        first.len(), second.len(), show(first), show(second)
    )]
    LengthsDiffer {
        /// Tokens of the first.
        first: Vec<String>,
        /// Tokens of the second.
        second: Vec<String>,
    },
    /// Prompts of a sweep over positions that differ in length.
    #[error("what goes position by position needs prompts of one length; prompt {} has {found} tokens, expected {expected}", index + 1)]
    PositionsDiffer {
        /// Which prompt.
        index: usize,
        /// Its length.
        found: usize,
        /// Length of the first.
        expected: usize,
    },
    /// An error about one of several prompts.
    #[error("prompt {number}: {source}")]
    InPrompt {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A part that is no head where heads are patched.
    #[error(
        "`{component}` is no head; name heads, for example 8.11, or patch layers of site attn_out or mlp_out"
    )]
    NotAHead {
        /// What was named.
        component: String,
    },
    /// Something that is not one head where one is asked about.
    #[error("`{component}` is no head; name one, for example 8.11")]
    NotOneHead {
        /// What was named.
        component: String,
    },
    /// Something that is not one neuron where one is asked about.
    #[error("`{text}` is no neuron; name one, for example L2N17")]
    NotANeuron {
        /// What was named.
        text: String,
    },
    /// Text that does not say which neuron is held at what.
    #[error("`{text}` does not hold a neuron; write its name and a number, for example L2N17=5")]
    BadClamp {
        /// The text.
        text: String,
    },
    /// A neuron that is held while it, or the MLP it stands in, is cut.
    #[error(
        "`{neuron}` is held at a value and `{cut}` is cut, so that the value would reach nothing; leave one out"
    )]
    ClampOfCut {
        /// The neuron.
        neuron: String,
        /// What is cut.
        cut: String,
    },
    /// A mask over attention that does not fit the prompt.
    #[error("the mask does not fit: {reason}")]
    BadMask {
        /// Where, and what was expected.
        reason: String,
    },
    /// A prompt past the model's context, with its tokens.
    #[error(
        "the prompt is {} tokens long, this model takes at most {n_ctx}; it would have to end after {:?}",
        tokens.len(), tokens[..*n_ctx].iter().rev().take(8).rev().cloned().collect::<String>()
    )]
    PromptTooLong {
        /// All its tokens.
        tokens: Vec<String>,
        /// The longest prompt there is.
        n_ctx: usize,
    },
    /// A component written in a way that means none.
    #[error(
        "`{text}` is no component; write a head as 8.11 or L8H11, an MLP as m3, an attention layer as a3, a neuron as L3N120"
    )]
    BadComponent {
        /// What was written.
        text: String,
    },
    /// Text that names no node of a model's graph.
    #[error("`{text}` is no node; write input, a head as a5.h1 or L5H1, an MLP as m3, or logits")]
    BadNode {
        /// What was written.
        text: String,
    },
    /// A circuit of a model of another shape.
    #[error(
        "the circuit is of a model of {circuit}, this model has {model}; take a circuit found in this model"
    )]
    OtherGraph {
        /// The shape of the circuit's model.
        circuit: String,
        /// The shape of the model at hand.
        model: String,
    },

    /// A record that tells nothing of edges.
    #[error(
        "a record of `{method}` has no scores of edges; take one of edge_attribution, or of path_patch from every sender \
         to every receiver, one by one, with MLPs frozen"
    )]
    NoEdges {
        /// What was done.
        method: &'static str,
    },
    /// A file of scores of edges that cannot be read.
    #[error("this is no circuit file: {problem}")]
    BadCircuitFile {
        /// What is wrong with it.
        problem: String,
    },
    /// Several prompts, or none, where a file shows one.
    #[error("an attribution graph is of one prompt, and the record has {n_prompts}; ask about one pair")]
    NotOnePrompt {
        /// How many prompts the record has.
        n_prompts: usize,
    },
    /// Text that names no edge of a model's graph.
    #[error(
        "`{text}` is no edge; write one from what writes to what reads it higher up, into a head at <q>, <k> or <v>, for example a5.h1->a8.h6<v> or m3->logits"
    )]
    BadEdge {
        /// What was written.
        text: String,
    },
    /// Text that names no input of a receiver.
    #[error(
        "`{text}` is no input; write a head with what it reads for, a8.h6<q> or L8H6.q (q, k or v), an MLP as m3, or logits"
    )]
    BadReceiver {
        /// What was written.
        text: String,
    },
    /// A component that does not exist.
    #[error("{component} does not exist: {limit}")]
    NoSuchComponent {
        /// The component.
        component: String,
        /// What there is.
        limit: String,
    },
    /// A change that makes no sense for a component.
    #[error("`{change}` changes an attention pattern and {component} has none; use zero, mean or resample")]
    NotForComponent {
        /// The change.
        change: &'static str,
        /// The component.
        component: String,
    },
    /// A mean over positions of something that has no position axis.
    #[error(
        "the mean of `{hook}` over all positions is no pattern, since queries see different keys; take the mean per position, or uniform"
    )]
    MeanOfAttention {
        /// The hook.
        hook: String,
    },
    /// A model prepared in another way than the experiment says.
    #[error("the experiment asks for {asked} weights and the model was given {given} ones")]
    WeightsDiffer {
        /// As the experiment says.
        asked: &'static str,
        /// As the model has them.
        given: &'static str,
    },
    /// A component named twice in one list.
    #[error("component `{component}` is named twice, the second time in place {place}; name it once")]
    NamedTwice {
        /// The component.
        component: String,
        /// Where it stands again, counted from 1.
        place: usize,
    },
    /// A pair of which one holds the other.
    #[error("`{first}` and `{second}` overlap: cutting one cuts the other; pair parts that are apart")]
    Overlap {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// An experiment asks for weights of another precision.
    #[error(
        "the experiment asks for {asked} weights, the model has {given} ones; load it with the precision asked for \
         (`--precision {asked}`), or say `precision: {given}`"
    )]
    PrecisionDiffers {
        /// As the experiment says.
        asked: &'static str,
        /// As the model has them.
        given: &'static str,
    },
    /// A number that is to be a probability and is none.
    #[error("{what} is {value}; give a probability above 0 and at most 1")]
    NotAProbability {
        /// What it is.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// Curves of a table that has none.
    #[error("cannot draw curves of `{metric}`: {reason}")]
    NoCurves {
        /// The metric.
        metric: String,
        /// Why not, and what can be drawn.
        reason: String,
    },
    /// Something an experiment says and its method has no use for.
    #[error("{method} has no use for {what}; leave it out")]
    Unused {
        /// The method.
        method: &'static str,
        /// What was said.
        what: &'static str,
    },
    /// A site that cannot be swept this way.
    #[error("site `{site}` cannot be patched by {by}; {hint}")]
    SiteAndSweep {
        /// The site.
        site: &'static str,
        /// The sweep.
        by: &'static str,
        /// What can.
        hint: &'static str,
    },
    /// The model gave NaN or infinity.
    #[error(
        "{what} gave logits that are not finite; a value was changed to something the model cannot compute with"
    )]
    NotFinite {
        /// Which run.
        what: String,
    },
    /// A file that would be too large to open.
    #[error("{what} would hold {found} numbers, and at most {most} fit; take a shorter prompt")]
    TooLarge {
        /// Which file.
        what: &'static str,
        /// Numbers it would hold.
        found: usize,
        /// The most there may be.
        most: usize,
    },
    /// An iteration that did not end.
    #[error("{what} did not converge; this is a fault of the program or of very strange weights")]
    NoConvergence {
        /// Of what.
        what: &'static str,
    },
    /// A derivative of a metric that counts.
    #[error(
        "metric `{metric}` counts tokens and has no derivative; take logit_diff, prob or another that has"
    )]
    NoDerivative {
        /// The metric.
        metric: &'static str,
    },
    /// A derivative that is 0 wherever it is taken.
    #[error(
        "metric `{metric}` compares a run with itself where its derivative is taken, which is 0 there; take logit_diff, prob \
         or another that compares with nothing"
    )]
    FlatMetric {
        /// The metric.
        metric: &'static str,
    },
    /// An experiment that was stopped before anything was finished.
    #[error("stopped before the first result was finished; nothing to show")]
    StoppedEarly,
    /// A text that cannot be scanned.
    #[error("cannot read the text `{path}`: {reason}")]
    ScanText {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A saved scan that cannot be read or written.
    #[error("cannot use `{path}` as a scan: {reason}")]
    ScanFile {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A saved scan of something else than what is asked for.
    #[error(
        "the scan was begun with another {what}: {begun}, now {asked}; ask for the same, or begin another scan"
    )]
    ScanDiffers {
        /// What differs.
        what: &'static str,
        /// As the scan has it.
        begun: String,
        /// As it is asked for.
        asked: String,
    },
    /// A file of prompts that cannot be read.
    #[error("cannot read prompts from `{path}`: {reason}")]
    BadPairs {
        /// The file.
        path: String,
        /// Why, and what was expected.
        reason: String,
    },
    /// A name that is no task.
    #[error("task `{name}` not found; did you mean `{nearest}`? There are: {known}")]
    UnknownTask {
        /// The name.
        name: String,
        /// The nearest there is.
        nearest: String,
        /// All there are.
        known: String,
    },
    /// A way of corrupting prompts that a task does not have.
    #[error("task `{task}` has no corruption `{name}`; it has: {known}")]
    UnknownCorruption {
        /// The name.
        name: String,
        /// The task.
        task: &'static str,
        /// Those it has.
        known: String,
    },
    /// A vocabulary in which too few words of a task are one token.
    #[error(
        "task `{task}` needs at least {needed} {what} that are one token each, and this model's vocabulary has {kept}{example}"
    )]
    TooFewWords {
        /// The task.
        task: &'static str,
        /// Which words.
        what: &'static str,
        /// How many there are.
        kept: usize,
        /// How many it takes.
        needed: usize,
        /// A word that is not one token.
        example: String,
    },
    /// A task of which no further pair can be drawn.
    #[error(
        "task `{task}`: no pair {number} could be drawn ({reason}); ask for fewer pairs, or for any length"
    )]
    NoPair {
        /// The task.
        task: String,
        /// Which pair, counted from 1.
        number: usize,
        /// What was wrong with the last that was drawn.
        reason: String,
    },
    /// A prompt that a CSV file has no place for.
    #[error("prompt {number} is {what}, for which the CSV has no column; write JSON")]
    NotForCsv {
        /// Which, counted from 1.
        number: usize,
        /// What it is.
        what: &'static str,
    },
    /// A metric by which circuits cannot be told apart.
    #[error(
        "with every edge cut {metric} is {value:.4} as it is with none: a circuit has nothing to explain; take prompt pairs \
         between which it differs, or another metric"
    )]
    NothingToExplain {
        /// The metric.
        metric: &'static str,
        /// Its value at both ends.
        value: f64,
    },
    /// A sampling setting out of range.
    #[error("{name} is {value}; expected {expected}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What fits.
        expected: &'static str,
    },
}

impl Error {
    /// A text that cannot be read.
    pub(crate) fn scan_text(path: String, reason: &std::io::Error) -> Error {
        Error::ScanText { path, reason: reason.to_string() }
    }

    /// Refuses the first thing said that a method has no use for.
    pub(crate) fn refuse_unused(method: &'static str, said: &[(bool, &'static str)]) -> Result<()> {
        match said.iter().find(|(said, _)| *said) {
            Some(&(_, what)) => Err(Error::Unused { method, what }),
            None => Ok(()),
        }
    }
}

fn show(tokens: &[String]) -> String {
    tokens.iter().map(|token| format!("[{}]", token.replace('\n', "\\n"))).collect()
}
