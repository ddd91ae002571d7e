//! What can be wrong with a sparse autoencoder, or with the model it is put into.

/// Everything that keeps a sparse autoencoder from being read or run.
#[derive(Debug, thiserror::Error)]
pub enum SaeError {
    /// A file that is not there or cannot be read.
    #[error(
        "cannot read `{path}`: {reason}; a sparse autoencoder is a folder with cfg.json and sae_weights.safetensors"
    )]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A name that means no autoencoder.
    #[error(
        "`{name}` names no sparse autoencoder: {problem}; give a folder, release/id as SAELens has it, for example \
         gpt2-small-res-jb/blocks.8.hook_resid_pre, or org/repo/folder of the Hugging Face hub"
    )]
    UnknownName {
        /// The name.
        name: String,
        /// Why it means nothing.
        problem: String,
    },
    /// Files that cannot be fetched.
    #[error("cannot fetch the autoencoder `{name}`: {source}")]
    Hub {
        /// The autoencoder.
        name: String,
        /// Why.
        source: Box<microtome_model::HubError>,
    },
    /// One that an experiment names and nobody opened beside its model.
    #[error("autoencoder `{name}` is not open beside this model; open: {open}")]
    NotOpen {
        /// The name.
        name: String,
        /// Those that are.
        open: String,
    },
    /// Features that are not written into the residual stream.
    #[error(
        "what features stand for at `{hook}` is not written into the residual stream; take the gradient instead"
    )]
    NoDirectPath {
        /// Where they are.
        hook: String,
    },
    /// A feature that does not exist.
    #[error("feature {feature} does not exist: this autoencoder has {d_sae}, counted 0 to {}", d_sae - 1)]
    NoSuchFeature {
        /// The feature.
        feature: usize,
        /// How many there are.
        d_sae: usize,
    },
    /// A file or folder that cannot be written.
    #[error("cannot write `{path}`: {reason}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A configuration that lacks something, or says something impossible.
    #[error("`{path}`: `{key}` is {found}; expected {expected}")]
    Config {
        /// The file.
        path: String,
        /// The key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A tensor that is not there, not expected, of another shape, or not finite.
    #[error("`{path}`: tensor `{tensor}` {problem}")]
    Weights {
        /// The file.
        path: String,
        /// The tensor.
        tensor: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// An activation of another width.
    #[error(
        "this autoencoder {does} {width} numbers at each position and `{hook}` has {found} in this model; \
         take the model it was trained on"
    )]
    Width {
        /// Where.
        hook: String,
        /// Whether it `reads` or `writes` there.
        does: &'static str,
        /// Its width there.
        width: usize,
        /// The activation's.
        found: usize,
    },
    /// Another model.
    #[error(
        "this autoencoder was trained on `{trained}` and the model is `{given}`; take the model it was trained on"
    )]
    WrongModel {
        /// As its configuration says.
        trained: String,
        /// What was loaded.
        given: String,
    },
    /// The same model with its weights prepared in another way.
    #[error(
        "this autoencoder was trained on activations of {trained} weights, and the model has {given} ones, which \
         give other numbers at `{hook}`; load the model with {trained} weights"
    )]
    Processing {
        /// As trained.
        trained: &'static str,
        /// As loaded.
        given: &'static str,
        /// Where.
        hook: String,
    },
}
