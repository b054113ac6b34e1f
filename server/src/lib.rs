//! The Bristlecone server: a namespaced API over the embedded engine, and the command line.
//!
//! From the lowest: [`limits`] and [`names`], [`bolt`] reads bbolt files, [`storage`] is all that
//! the API asks of the engine, [`import`] brings bbolt files in, [`api`] answers requests,
//! [`serve`](mod@serve) listens, and [`cli`] is the program `bristlecone`.

#![forbid(unsafe_code)]

pub mod api;
pub mod bolt;
pub mod cli;
pub mod import;
pub mod limits;
pub mod names;
pub mod serve;
pub mod storage;
