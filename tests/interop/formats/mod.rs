//! The same pages for both: the same verdicts and the same samples.

mod fidelity;
mod metadata;
mod protobuf;
mod text;
