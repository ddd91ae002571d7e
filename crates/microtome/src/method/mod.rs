//! Methods: one file each, every one a kind of data inside an [`Experiment`](crate::Experiment).

pub mod ablate;
pub mod attention;
pub mod attention_stats;
pub mod attribution;
pub mod change;
pub mod circuit_weights;
pub mod composition;
pub mod detect;
pub mod edit;
pub mod eigenvalues;
pub mod generate;
pub mod gradient;
pub mod head_circuit;
pub mod head_roles;
pub mod head_scores;
pub mod importance;
pub(crate) mod lens_rows;
pub(crate) mod lens_tables;
pub mod logit_lens;
pub(crate) mod measure;
pub mod pairs;
pub mod patch;
pub(crate) mod strongest_pairs;
pub(crate) mod sweep;
pub(crate) mod writing;
