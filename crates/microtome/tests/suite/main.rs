//! Experiments against references: TransformerLens's numbers on the golden models, nanoGPT's on its
//! own checkpoint, and laws that hold for any model.

mod attribution;
mod attribution_patching;
mod circuit_files;
mod circuit_search;
mod circuits;
mod corpus_scan;
mod documents;
mod factual_recall;
mod feature_changes;
mod feature_scan;
mod features;
mod golden;
mod golden_attention;
mod golden_data;
mod head_circuits;
mod laws;
mod lens;
mod made_transcoders;
mod neurons;
mod pairs;
mod promoted;
mod sae;
mod shakespeare;
mod steering;
mod tasks;
mod transcoder_files;
mod transcoders;
mod tuned_lens;
