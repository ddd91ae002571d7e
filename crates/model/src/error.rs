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

    // ---- prompts ----
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

    // ---- hooks, selections, edits ----
    /// A name that is no hook.
    #[error("hook `{name}` not found; did you mean `{nearest}`?")]
    UnknownHook {
        /// The name.
        name: String,
        /// The nearest there is.
        nearest: String,
    },
    /// A short name that is no site.
    #[error("site `{name}` not found; did you mean `{nearest}`?")]
    UnknownSite {
        /// The name.
        name: String,
        /// The nearest there is.
        nearest: String,
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
    NotFinite {
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

    // ---- results ----
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
    /// A derivative of something the metric does not depend on.
    #[error("the metric does not depend on `{hook}`")]
    NoGradient {
        /// The hook.
        hook: String,
    },

    // ---- weights ----
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
}
