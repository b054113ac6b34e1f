//! What the micro benches and the side-by-side run share: the data, and where it is put.

pub mod data;
pub mod random;
pub mod scratch;
