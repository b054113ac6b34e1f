//! Hostile bytes on a connection: see the module of the same name in `hostile/`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bristlecone_hostile::http_request::run(bytes));
