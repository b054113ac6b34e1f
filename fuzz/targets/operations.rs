//! Hostile orders of operations, cuts and faults: see the module of the same name in `hostile/`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bristlecone_hostile::operations::run(bytes));
