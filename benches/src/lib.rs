//! What the benches share: the data, where it is put, what the machine does meanwhile, the record
//! of it all, and what is published of records.

pub mod circumstances;
pub mod data;
pub mod device;
pub mod histogram;
pub mod machine;
pub mod published;
pub mod random;
pub mod record;
pub mod scratch;
