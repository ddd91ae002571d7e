//! The server over real HTTP.

mod cancelling;
mod contract;
mod document;
mod errors;
mod experiments;
mod features;
mod golden;
mod guarding;
mod lenses;
mod served;
mod surgery;
