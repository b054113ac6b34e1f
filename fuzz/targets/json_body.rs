//! Hostile bodies of requests: see the module of the same name in `hostile/`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bristlecone_hostile::json_body::run(bytes));
