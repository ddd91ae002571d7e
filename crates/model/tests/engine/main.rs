//! The engine against itself: lanes against the loop, edits against what they promise, derivatives
//! against differences, the cache against rerunning. Models are random toys in f64, so that anything
//! but rounding shows; those of `packing` and the lanes also as users run them, in f32 with packed weights, those of `devices`
//! as a GPU computes.

mod devices;
mod edits;
mod gradients;
mod lanes;
mod learning;
mod packing;
mod rows;
mod runs;
mod streams;
mod toy;
mod wiring;
