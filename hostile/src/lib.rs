//! What is done with hostile bytes, one module for each fuzz target.
//!
//! Each target is a function `run(bytes)` that panics when it has found a bug. The fuzzers in
//! `fuzz/` call it with bytes of their choice, the tests beside this crate with those that are
//! kept in `fuzz/corpus`. Never part of what ships.

#![forbid(unsafe_code)]

mod answers;
mod api;
pub mod bolt_file;
mod bolt_image;
mod content;
pub mod data_file;
pub mod http_request;
mod images;
mod input;
mod json;
pub mod json_body;
pub mod log;
mod mend;
pub mod operations;
mod patch;
mod wire;
