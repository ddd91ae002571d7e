//! The trainer: optimiser, data, runs that stop and go on.

mod configuration;
mod data;
mod demo;
mod demo_lens;
mod demo_sae;
mod documents;
mod learning;
mod lens;
mod optimiser;
mod runs;
mod sae;
mod sae_runs;
mod studies;
mod toy;
