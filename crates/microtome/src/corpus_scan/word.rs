//! Tokens as they are shown, each once in memory however many passages it stands in.
//!
//! A scan of a wide autoencoder keeps hundreds of thousands of passages; with a text of its own for every token they would take three
//! times the memory.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::FeatureSummary;

/// What a token is shown as; copies share it.
// Not `Arc<str>`: that would be two machine words instead of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Word(Arc<String>);

impl From<String> for Word {
    fn from(text: String) -> Word {
        Word(Arc::new(text))
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Word {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        Ok(Word::from(String::deserialize(deserializer)?))
    }
}

/// Reads summaries so that equal words are one, and no list has room to spare.
pub(crate) fn sharing_words<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<FeatureSummary>, D::Error> {
    deserializer.deserialize_seq(Summaries)
}

struct Summaries;

impl<'de> Visitor<'de> for Summaries {
    type Value = Vec<FeatureSummary>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of features")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Vec<FeatureSummary>, A::Error> {
        let (mut found, mut known) = (vec![], HashSet::new());
        while let Some(mut summary) = all.next_element::<FeatureSummary>()? {
            for passage in &mut summary.passages {
                passage.tokens.iter_mut().for_each(|word| share(word, &mut known));
                passage.tokens.shrink_to_fit();
                passage.activations.shrink_to_fit();
            }
            summary.passages.shrink_to_fit();
            summary.histogram.counts.shrink_to_fit();
            found.push(summary);
        }
        Ok(found)
    }
}

fn share(word: &mut Word, known: &mut HashSet<Word>) {
    if let Some(same) = known.get(&**word) {
        *word = same.clone();
    } else {
        known.insert(word.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Saved {
        #[serde(deserialize_with = "sharing_words")]
        features: Vec<FeatureSummary>,
    }

    #[test]
    fn equal_words_are_one_once_read_and_are_written_as_they_were() {
        let passage = r#"{"activation":1.5,"token":{"id":3,"token":" of"},"window":0,"position":2,
            "tokens":["the"," of"," of","the"],"activations":[0.0,1.5,0.5,0.0],"at":1}"#;
        let summary = |feature: &str| {
            let passage: serde_json::Value = serde_json::from_str(passage).unwrap();
            let mut summary = serde_json::to_value(FeatureSummary::new(feature.to_owned())).unwrap();
            summary["passages"] = serde_json::json!([passage, passage]);
            summary
        };
        let json = serde_json::json!({ "features": [summary("3"), summary("5")] });
        let saved: Saved = serde_json::from_value(json.clone()).unwrap();
        let words: Vec<&Word> = saved
            .features
            .iter()
            .flat_map(|summary| &summary.passages)
            .flat_map(|passage| &passage.tokens)
            .collect();
        let texts: Vec<&str> = words.iter().map(|word| &***word).collect();
        assert_eq!(texts, ["the", " of", " of", "the"].repeat(4));
        for word in &words {
            let same = if &***word == "the" { words[0] } else { words[1] };
            assert!(Arc::ptr_eq(&word.0, &same.0), "{word}");
        }
        assert_eq!(serde_json::to_value(&saved).unwrap(), json);
    }
}
