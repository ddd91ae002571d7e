//! GPT-2-family transformers, opened up.
pub mod config;
pub mod error;
pub mod weights;

pub mod archive;
pub mod family;
pub mod hub;
pub mod load;
pub mod pickle;
pub mod tokenizer;
pub mod weight_hash;
