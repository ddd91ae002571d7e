//! What can be wrong with a tuned lens, or with the model it is to read.

/// Everything that keeps a tuned lens from being read or used.
#[derive(Debug, thiserror::Error)]
pub enum TunedLensError {
    /// A file that is not there or cannot be read.
    #[error(
        "cannot read `{path}`: {reason}; a tuned lens is a folder with config.json and params.pt, or `demo`, the demo model's own"
    )]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
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
        expected: &'static str,
    },
    /// A tensor that is not there, not expected, or of another shape.
    #[error("`{path}`: tensor `{tensor}` {problem}")]
    Weights {
        /// The file.
        path: String,
        /// The tensor.
        tensor: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A model of another size.
    #[error(
        "this tuned lens is for a model of {layers} layers, {width} wide, and the model has {found_layers}, {found_width} wide; take \
         the model it was trained for"
    )]
    Shape {
        /// The lens's layers.
        layers: usize,
        /// Its width.
        width: usize,
        /// The model's layers.
        found_layers: usize,
        /// Its width.
        found_width: usize,
    },
    /// Another model.
    #[error(
        "this tuned lens was trained for `{trained}` and the model is `{given}`; take the model it was trained for"
    )]
    WrongModel {
        /// As its configuration says.
        trained: String,
        /// What was loaded.
        given: String,
    },
    /// The model of that name, or one called otherwise, with other weights.
    #[error(
        "this tuned lens was trained on weights of `{trained}` that are not those of `{given}`; train one on these with \
         `microtome train lens`"
    )]
    OtherWeights {
        /// As its configuration says.
        trained: String,
        /// What was loaded.
        given: String,
    },
    /// One that an experiment names and nobody opened beside its model.
    #[error("tuned lens `{name}` is not open beside this model; open: {open}")]
    NotOpen {
        /// The name.
        name: String,
        /// Those that are.
        open: String,
    },
    /// A lens that reads what folded weights take away.
    #[error(
        "this tuned lens reads the mean over dimensions of the residual stream, which folded weights make 0 (translator {layer}); \
         load the model with raw weights"
    )]
    Centred {
        /// The first translator that does.
        layer: usize,
    },
}
