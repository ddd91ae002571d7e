//! Prompts to begin with, each showing a circuit that the model `demo` has too.

use serde::Serialize;

/// A prompt that teaches something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Example {
    /// A short name for links.
    pub id: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What it shows.
    pub teaches: &'static str,
    /// The prompt; of a pair, the clean one.
    pub prompt: &'static str,
    /// The same prompt with one thing changed, of as many tokens.
    pub corrupt: Option<&'static str>,
    /// The right next token.
    pub target: &'static str,
    /// The token it is told from: right for the corrupt prompt.
    pub foil: Option<&'static str>,
}

/// All examples.
pub const EXAMPLES: &[Example] = &[
    Example {
        id: "fact",
        title: "A fact",
        teaches: "Where a model keeps what it knows: the country a capital belongs to",
        prompt: "Paris is the capital of",
        corrupt: Some("Rome is the capital of"),
        target: " France",
        foil: Some(" Italy"),
    },
    Example {
        id: "names",
        title: "Indirect object",
        teaches: "Heads that move a name to the end of the sentence, and heads that keep the other one back",
        prompt: "When Mary and John went to the store, John gave a drink to",
        corrupt: Some("When Mary and John went to the store, Mary gave a drink to"),
        target: " Mary",
        foil: Some(" John"),
    },
    Example {
        id: "induction",
        title: "Induction",
        teaches: "Heads that find what followed last time, and say it again",
        prompt: "The cat sat on the mat. The dog sat on the rug. The cat sat on the",
        corrupt: Some("The cat sat on the mat. The dog sat on the rug. The dog sat on the"),
        target: " mat",
        foil: Some(" rug"),
    },
    Example {
        id: "author",
        title: "Question and answer",
        teaches: "A fact asked for in other words: the author of a book",
        prompt: "Who wrote Pride and Prejudice?",
        corrupt: None,
        target: " Jane",
        foil: None,
    },
];
