//! Random tokens said twice, cut off before the last one.
//!
//! Clean `BOS r r`, corrupt `BOS s r`, both without their last token; `r` and `s` share no token. The last token of `r` is right,
//! that of `s` wrong. Only what was said the first time differs, so what distinguishes the runs must be found there.
//! Elhage et al. 2021; Olsson et al. 2022. It needs no words, and works for models without a tokenizer.

use super::draw::Draw;
use crate::error::{Error, Result};
use crate::experiment::Prompt;
use crate::text_model::{Answer, Text, TextModel};

/// Tokens before they are said again, where context and vocabulary hold as many.
const PERIOD: usize = 20;

pub(super) struct Induction {
    bos: Option<u32>,
    vocabulary: Vec<u32>,
    period: usize,
}

impl Induction {
    pub fn new(model: &TextModel) -> Result<Induction> {
        let config = model.config();
        let bos = model.bos();
        let vocabulary: Vec<u32> = (0..config.d_vocab as u32).filter(|id| Some(*id) != bos).collect();
        let period = PERIOD.min(config.n_ctx / 2).min(vocabulary.len() / 2);
        if period < 2 {
            let expected = "room for 2 tokens said twice, and for as many others";
            return Err(Error::OutOfRange {
                name: "the model's context",
                value: config.n_ctx as f64,
                expected,
            });
        }
        Ok(Induction { bos, vocabulary, period })
    }

    pub fn pair(&self, draw: &mut Draw) -> Prompt {
        let tokens = draw.distinct(&self.vocabulary, 2 * self.period);
        let (said, other) = tokens.split_at(self.period);
        let last = self.period - 1;
        let text =
            |first: &[u32]| Text::Ids(self.bos.iter().chain(first).chain(&said[..last]).copied().collect());
        Prompt {
            clean: text(said),
            corrupt: Some(text(other)),
            answers: vec![Answer::Id(said[last])],
            wrong_answers: vec![Answer::Id(other[last])],
        }
    }
}
