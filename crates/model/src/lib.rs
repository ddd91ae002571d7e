//! GPT-2-family transformers, opened up.
pub mod config;
pub mod error;
pub mod weights;
