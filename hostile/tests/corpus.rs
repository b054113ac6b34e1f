//! Replays the corpus of every fuzz target, and cases near it, without a fuzzer.
//!
//! Goal: what a fuzzer once found stays found, in an ordinary run of the tests. The readable seeds
//! of a target stand in its module, and their files in `fuzz/corpus/<target>/`;
//! `BRISTLECONE_WRITE_SEEDS=1` writes those that are missing.
//!
//! Method: each file is one input. Then a few thousand inputs are made from the seeds by random
//! changes. A panic of a target is the failure; the input is in its message.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bristlecone_hostile::{bolt_file, data_file, http_request, json_body, log, operations};

type Seeds = Vec<(&'static str, Vec<u8>)>;

struct Target {
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Seeds,
    /// Files in the corpus, at least.
    files_min: usize,
}

macro_rules! targets {
    ($($name:ident $files_min:literal)*) => {
        const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name::run,
            seeds: $name::seeds,
            files_min: $files_min,
        }),*];
    };
}

targets! {
    data_file 31
    log 32
    bolt_file 32
    http_request 36
    json_body 29
    operations 20
}

/// Of one file, and of all of them.
const FILE_BYTES_MAX: usize = 64 << 10;
const CORPUS_BYTES_MAX: usize = 3 << 20;
/// Cases that are made from the seeds, and how long that may take.
const CASES: u64 = 3000;
const CASES_TIME_MAX: Duration = Duration::from_secs(4);
/// Fewer would be as good as none.
const CASES_MIN: u64 = 20;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let listing = fs::read_dir(corpus(target)).expect("a corpus");
    let files = listing.map(|entry| {
        let entry = entry.expect("an entry of the corpus");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        (name, fs::read(entry.path()).expect("a file of the corpus"))
    });
    files.collect()
}

fn try_one(target: &str, run: fn(&[u8]), name: &str, bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(bytes)));
    assert!(outcome.is_ok(), "{target}: {name} fails, with the bytes {bytes:?}");
}

#[test]
fn every_seed_has_its_file() {
    for target in TARGETS {
        for (name, bytes) in (target.seeds)() {
            let path = corpus(target.name).join(name);
            if std::env::var_os("BRISTLECONE_WRITE_SEEDS").is_some() {
                fs::create_dir_all(corpus(target.name)).expect("a folder");
                fs::write(&path, &bytes).expect("a seed");
            }
            let found = fs::read(&path).ok();
            assert!(found == Some(bytes), "expected the seed in {}", path.display());
        }
    }
}

#[test]
fn the_corpus_is_replayed() {
    let mut total = 0;
    for Target { name: target, run, files_min, .. } in TARGETS {
        let files = files(target);
        let found = files.len();
        assert!(found >= *files_min, "{target}: expected {files_min} files, found {found}");
        for (name, bytes) in &files {
            assert!(bytes.len() <= FILE_BYTES_MAX, "{target}: {name} is too large");
            total += bytes.len();
            try_one(target, *run, name, bytes);
        }
    }
    assert!(total <= CORPUS_BYTES_MAX, "the corpus has {total} bytes");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below the bound")
    }

    /// One input with a few changes, among them parts of another.
    fn changed(&mut self, one: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = one.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below(bytes.len() - at + 1).min(16);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => drop(bytes.drain(at..end)),
                3 => bytes.insert(at, u8::try_from(self.below(256)).expect("a byte")),
                4 => {
                    let from = self.below(other.len() + 1);
                    bytes.splice(at..end, other[from..].iter().copied());
                }
                _ => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        bytes
    }
}

fn cases_near_the_corpus(target: &str) {
    let run = TARGETS.iter().find(|one| one.name == target).expect("a target").run;
    let files: Vec<Vec<u8>> = files(target).into_values().collect();
    let began = Instant::now();
    let mut tried = 0;
    for seed in 0..CASES {
        if began.elapsed() > CASES_TIME_MAX {
            break;
        }
        let mut random = Random(seed);
        let (one, other) = (random.below(files.len()), random.below(files.len()));
        let bytes = random.changed(&files[one], &files[other]);
        try_one(target, run, &format!("the case of seed {seed}"), &bytes);
        tried += 1;
    }
    println!("{target}: {tried} cases near the corpus, no failure");
    assert!(tried >= CASES_MIN, "{target}: expected {CASES_MIN} cases in time, found {tried}");
}

macro_rules! cases {
    ($($test:ident $target:literal)*) => {
        $(#[test]
        fn $test() {
            cases_near_the_corpus($target);
        })*
    };
}

cases! {
    data_files_near_the_corpus "data_file"
    logs_near_the_corpus "log"
    bolt_files_near_the_corpus "bolt_file"
    requests_near_the_corpus "http_request"
    bodies_near_the_corpus "json_body"
    operations_near_the_corpus "operations"
}
