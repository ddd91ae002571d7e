//! x

pub mod plot;
