//! The `microtome` command as people run it: a checkpoint on disk, arguments, output, exit status.

mod bench;
mod heads;
mod lens;
mod neurons;
mod outputs;
mod refusals;
mod results;
mod sae;
mod shakespeare;
mod stopping;
mod study;
mod task;
mod train;
