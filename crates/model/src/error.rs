//! What can go wrong in this crate, each with what was expected and what to do.

use std::path::PathBuf;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a file and a number.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tensor library refused an operation: a shape or dtype this crate should have checked.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A file could not be read or written.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A word that names no device.
    #[error("device `{name}` not found; expected auto, cpu, cuda, cuda:1 or metal")]
    UnknownDevice {
        /// The word.
        name: String,
    },
    /// A device that this build cannot use or this machine does not have.
    #[error("device `{asked}` cannot be used: {problem}; auto or cpu computes on the processor")]
    NoDevice {
        /// The device.
        asked: String,
        /// Why.
        problem: String,
    },

    /// A prompt without tokens.
    #[error("the prompt has no tokens; give at least one")]
    EmptyPrompt,
    /// A prompt longer than the model's context.
    #[error("the prompt is {len} tokens long, this model takes at most {n_ctx}; shorten it by {}", len - n_ctx)]
    PromptTooLong {
        /// Its length.
        len: usize,
        /// The longest there is.
        n_ctx: usize,
    },
    /// A token id past the end of the vocabulary.
    #[error("token id {id} does not exist: this model's vocabulary has {d_vocab} tokens, ids 0 to {}", d_vocab - 1)]
    UnknownToken {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        d_vocab: usize,
    },

    /// A name that is no hook.
    #[error("hook `{name}` not found; did you mean `{nearest}`?")]
    UnknownHook {
        /// The name.
        name: String,
        /// The nearest there is.
        nearest: String,
    },
    /// A short name that is no site.
    #[error("site `{name}` not found; did you mean `{nearest}`? There are: {known}")]
    UnknownSite {
        /// The name.
        name: String,
        /// The nearest there is.
        nearest: String,
        /// All there are.
        known: String,
    },
    /// A name filter that is no glob.
    #[error("`{glob}` is not a valid name filter: {source}; write for example `blocks.*.attn.hook_z`")]
    BadGlob {
        /// The filter.
        glob: String,
        /// Why.
        source: glob::PatternError,
    },
    /// A hook of a part this model lacks.
    #[error("hook `{hook}` does not exist here: this model has no {lacks}")]
    HookNotInModel {
        /// The hook.
        hook: String,
        /// The missing part.
        lacks: &'static str,
    },
    /// A layer the model does not have.
    #[error("layer {layer} does not exist: this model has layers 0 to {}", n_layers - 1)]
    LayerOutOfRange {
        /// The layer.
        layer: usize,
        /// How many there are.
        n_layers: usize,
    },
    /// A position past the end of the prompt.
    #[error("position {pos} does not exist: the prompt has {len} tokens, positions 0 to {}", len.saturating_sub(1))]
    PositionOutOfRange {
        /// The position.
        pos: usize,
        /// Length of the prompt.
        len: usize,
    },
    /// A head, neuron or dimension that does not exist.
    #[error("{unit} does not exist among the {of}: there are {count}, counted 0 to {}", count.saturating_sub(1))]
    UnitOutOfRange {
        /// What was selected from.
        of: &'static str,
        /// Which.
        unit: usize,
        /// How many there are.
        count: usize,
    },
    /// A selection of nothing.
    #[error("an empty list of {of} would change nothing; name at least one, or all")]
    EmptySelection {
        /// What was selected from.
        of: &'static str,
    },
    /// A change that makes sense on attention only, asked for elsewhere.
    #[error(
        "`{change}` changes an attention pattern, and `{hook}` is none; use `blocks.{{layer}}.attn.hook_pattern`{}",
        if *change == "knock-out" { " or `hook_attn_scores`" } else { "" }
    )]
    NotAPattern {
        /// The hook.
        hook: String,
        /// The change.
        change: &'static str,
    },
    /// The pattern of the layer below layer 0.
    #[error(
        "layer 0 has no layer below it to take a pattern from; use another change there, for example uniform"
    )]
    NoPreviousLayer,
    /// An edge from a query to a key in its future.
    #[error("query {query} never sees key {key}, which comes later; a knock-out there would change nothing")]
    FutureKey {
        /// The query's position.
        query: usize,
        /// The key's.
        key: usize,
    },
    /// An edge whose query is not among the selected positions.
    #[error(
        "the edge from query {query} to key {key} stands outside the selected positions; select all, or leave it out"
    )]
    EdgeNotSelected {
        /// The query's position.
        query: usize,
        /// The key's.
        key: usize,
    },
    /// A knock-out that leaves a query nothing to attend to.
    #[error(
        "knocking out every key of query {query} leaves its softmax nothing; leave one, or cut at `hook_pattern`"
    )]
    NoKeyLeft {
        /// The query's position.
        query: usize,
    },
    /// A value whose shape is not the hook's.
    #[error("the value for `{hook}` has shape {found:?}; expected {expected:?}, or {:?} for every position alike", &expected[1..])]
    ValueShape {
        /// The hook.
        hook: String,
        /// The hook's shape.
        expected: Vec<usize>,
        /// The value's.
        found: Vec<usize>,
    },
    /// An edit to NaN or infinity.
    #[error("`{hook}` cannot be changed by {value}; give a finite number")]
    NotFiniteEdit {
        /// The hook.
        hook: String,
        /// The number.
        value: f64,
    },
    /// A LayerNorm scale of 0, which would be divided by.
    #[error("`{hook}` is what LayerNorm divides by; 0 there gives no number. Zero `hook_normalized` instead")]
    ZeroScale {
        /// The hook.
        hook: String,
    },
    /// An edit or a read above the layer where the run stops.
    #[error("`{hook}` never fires: the run stops before layer {stop}")]
    HookAfterStop {
        /// The hook.
        hook: String,
        /// Where it stops.
        stop: usize,
    },
    /// A rewiring where no receiver reads the residual stream.
    #[error(
        "`{hook}` is no input of a receiver; rewire at hook_q_input, hook_k_input, hook_v_input, hook_mlp_in or the last hook_resid_post"
    )]
    NotAnInput {
        /// The hook.
        hook: String,
    },
    /// Rewirings of one lane that take their values from two runs.
    #[error("one run is rewired to two others; give all its rewirings the same outputs")]
    TwoRewirings,
    /// A derivative through a run that is rewired.
    #[error("no derivatives are taken through a rewired run; measure it instead")]
    RewiredGradient,
    /// A derivative through a run in which a function changes an activation.
    #[error("no derivatives are taken through a function of an activation; measure it instead")]
    OpaqueGradient,
    /// A function that failed.
    #[error("what is to take the place of `{hook}` cannot be computed: {reason}")]
    RowMap {
        /// Where.
        hook: String,
        /// Why.
        reason: String,
    },
    /// A function of rows where rows are not positions.
    #[error("`{hook}` has no row for each position; use a hook whose activations have positions first")]
    RowsOfAttention {
        /// Where.
        hook: String,
    },
    /// A function of rows that are not there yet.
    #[error(
        "what is to take the place of `{hook}` looks at `{from}`, which fires later; look at an earlier one"
    )]
    RowsFromLater {
        /// Where it is put.
        hook: String,
        /// Where it looks.
        from: String,
    },
    /// Inputs split by head and an edited norm in one layer.
    #[error(
        "layer {layer}: an edit of a split input (hook_attn_in, hook_q_input, ..) gives every head its own LayerNorm, so hook_scale and hook_normalized of ln1 cannot be edited with it"
    )]
    SplitInputWithNorm {
        /// The layer.
        layer: usize,
    },
    /// `last` in a generation, where the last position moves.
    #[error("`last` is ambiguous while text is generated; say `all`, or the position from which on to edit")]
    LastInGeneration,

    /// A lane of a prompt that was not given.
    #[error("a lane varies prompt {prompt}, and there are {count}, counted from 0")]
    NoSuchPrompt {
        /// The prompt's index.
        prompt: usize,
        /// How many there are.
        count: usize,
    },
    /// A layer to stop at that is past the end.
    #[error(
        "a run cannot stop before layer {stop}: this model has {n_layers} layers, and stopping before layer {n_layers} runs all of them"
    )]
    StopOutOfRange {
        /// Where it should have stopped.
        stop: usize,
        /// How many layers there are.
        n_layers: usize,
    },
    /// An activation the run did not keep.
    #[error("`{hook}` was not kept by this run{}", nearest.as_ref().map(|n| format!("; it kept `{n}`")).unwrap_or_default())]
    NotCached {
        /// The hook.
        hook: String,
        /// The nearest that was.
        nearest: Option<String>,
    },
    /// Logits of a run that stopped at a layer.
    #[error("the run stopped at a layer, so it has no logits")]
    StoppedBeforeLogits,

    /// A tensor whose shape does not fit the configuration.
    #[error("weight `{name}` has shape {found:?}; the configuration asks for {expected:?}")]
    WeightShape {
        /// TransformerLens's name.
        name: String,
        /// The shape that fits.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },

    /// A configuration file is not the JSON it should be.
    #[error("`{}` is not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A pickle inside a file cannot be followed.
    #[error("`{}` holds a pickle that {source}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: crate::pickle::PickleError,
    },
    /// A file is none of the containers weights come in.
    #[error("`{}` is {found}; expected {expected}", path.display())]
    Container {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        found: String,
        /// What it should be, or what to do.
        expected: &'static str,
    },
    /// A file ends before the data its header promises.
    #[error(
        "`{}` is truncated: {expected} bytes are needed for its {part}, the file has {found}; fetch it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The header, a tensor's name, or `tensors`.
        part: String,
        /// Bytes needed from the start of the file.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The header or index of a weight file contradicts itself.
    #[error("`{}` has a damaged {part}: {problem}; fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        part: String,
        /// What does not fit.
        problem: String,
    },
    /// A checkpoint in PyTorch's format from before version 1.6.
    #[error(
        "`{}` is in PyTorch's format from before 1.6; re-save it in Python with \
         torch.save(torch.load(path), path)",
        path.display()
    )]
    LegacyTorch {
        /// The file.
        path: PathBuf,
    },
    /// A file of a given name has no tensor of a given name.
    #[error(
        "tensor `{tensor}` not found in `{}`{}",
        path.display(),
        did_you_mean(suggestion.as_deref())
    )]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The name looked for.
        tensor: String,
        /// The nearest name there is.
        suggestion: Option<String>,
    },
    /// A tensor in a file has another shape than the configuration asks for.
    #[error("tensor `{tensor}` in `{}` has shape {found:?}; expected {expected:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape the configuration asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor in a file is of a type weights are not read from.
    #[error(
        "tensor `{tensor}` in `{}` has dtype {found}; expected F32, F16, BF16 or F64",
        path.display()
    )]
    TensorDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// Weights were asked for in a type they are not computed in.
    #[error("weights cannot be loaded as {found}; expected F32 or F64")]
    TargetDtype {
        /// The type asked for.
        found: String,
    },
    /// A model was to be written in a type that its file cannot hold.
    #[error("weights cannot be saved as {found}; expected F32, F16, BF16 or F64")]
    SaveDtype {
        /// The type asked for.
        found: String,
    },
    /// A number is too large for the type of a file.
    #[error("tensor `{tensor}` has numbers too large for {dtype}; write it as BF16 or F32")]
    SaveOverflow {
        /// The tensor.
        tensor: String,
        /// The type asked for.
        dtype: &'static str,
    },
    /// A tensor in a file holds NaN or an infinity.
    #[error(
        "tensor `{tensor}` in `{}` has {count} values that are NaN or infinite, the first at index \
         {first:?}",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How many values.
        count: usize,
        /// Index of the first in the tensor's shape.
        first: Vec<usize>,
    },
    /// A file has tensors that this architecture has no place for.
    #[error(
        "`{}` has tensors that {family} has no place for: {}; ignoring them would give other \
         numbers",
        path.display(),
        name_list(tensors)
    )]
    LeftoverTensors {
        /// The file.
        path: PathBuf,
        /// The architecture it was read as.
        family: &'static str,
        /// Their names.
        tensors: Vec<String>,
    },
    /// A configuration lacks a key that cannot be done without.
    #[error("`{}` has no `{key}`; expected {expected}", path.display())]
    ConfigMissing {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it should say.
        expected: String,
    },
    /// A configuration asks for something this crate does not compute.
    #[error("`{key}` is {found} in `{}`; expected {expected}", path.display())]
    ConfigValue {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What is supported.
        expected: String,
    },
    /// A directory holds no model, or more than one.
    #[error("no model to load in `{}`: {found}; expected {expected}", path.display())]
    NoModel {
        /// The directory or file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// Neither a file of that name nor a possible model id.
    #[error("model `{spec}` not found; tried {}", name_list(tried))]
    SpecNotFound {
        /// What was asked for.
        spec: String,
        /// What was looked at.
        tried: Vec<String>,
    },
    /// A tokenizer's files cannot be read.
    #[error("cannot read the tokenizer in `{}`: {problem}", path.display())]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The tokenizer could not turn a text into tokens.
    #[error("cannot tokenize `{text}`: {problem}")]
    Tokenize {
        /// The text.
        text: String,
        /// Why.
        problem: String,
    },
    /// A text has a character that a character vocabulary lacks.
    #[error(
        "character `{}` at position {position} is not in this model's vocabulary of {vocab} \
         characters",
        character.escape_debug()
    )]
    UnknownCharacter {
        /// The character.
        character: char,
        /// How many characters stand before it.
        position: usize,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A text that should be one token is none or several.
    #[error(
        "{role} `{text}` is {} tokens{}; give one token{}",
        pieces.len(),
        in_parentheses(pieces),
        suggestion.as_ref().map(|s| format!(", for example `{s}`")).unwrap_or_default()
    )]
    NotOneToken {
        /// What the text is for: `target`, `foil`, ...
        role: &'static str,
        /// The text.
        text: String,
        /// Its tokens.
        pieces: Vec<String>,
        /// A similar text that is one token.
        suggestion: Option<String>,
    },
    /// Fetching a model failed.
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|s| format!("; did you mean `{s}`?")).unwrap_or_default()
}

fn in_parentheses(pieces: &[String]) -> String {
    if pieces.is_empty() { String::new() } else { format!(" ({})", name_list(pieces)) }
}

/// Names in backticks, at most ten of them.
fn name_list(names: &[String]) -> String {
    const MOST: usize = 10;
    let mut list: Vec<String> = names.iter().take(MOST).map(|n| format!("`{n}`")).collect();
    if names.len() > MOST {
        list.push(format!("and {} more", names.len() - MOST));
    }
    list.join(", ")
}
