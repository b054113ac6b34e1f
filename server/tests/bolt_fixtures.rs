//! Bolt files written by etcd and containerd read back as their manifests say.
//!
//! Each `*.manifest.jsonl`, made by an independent reader, has one line for each bucket of the
//! `.db` file beside it. They lie in `tests/fixtures/`, or where `BRISTLECONE_BOLT_FIXTURES` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bristlecone_server::bolt::{BoltError, BoltFile, Event};
use serde_json::Value;
use sha2::{Digest, Sha256};

const MANIFEST: &str = ".manifest.jsonl";

/// The names of the buckets from the root down to one.
type BucketPath = Vec<Vec<u8>>;

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    sequence: u64,
    keys: u64,
    buckets: u64,
    sha256: String,
}

#[derive(Default)]
struct Gathered {
    sequence: u64,
    keys: u64,
    buckets: u64,
    sha256: Sha256,
}

impl Gathered {
    fn absorb(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("bolt bounds keys and values");
        self.sha256.update(length.to_le_bytes());
        self.sha256.update(bytes);
    }

    fn finish(self) -> Facts {
        let sha256 = self.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Facts { sequence: self.sequence, keys: self.keys, buckets: self.buckets, sha256 }
    }
}

fn fixtures() -> Vec<(PathBuf, PathBuf)> {
    let folder = std::env::var_os("BRISTLECONE_BOLT_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"),
        PathBuf::from,
    );
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).expect("the folder of fixtures") {
        let manifest = entry.expect("an entry").path();
        let name = manifest.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(stem) = name.strip_suffix(MANIFEST) {
            found.push((folder.join(format!("{stem}.db")), manifest));
        }
    }
    found.sort();
    found
}

fn read_manifest(path: &Path) -> BTreeMap<BucketPath, Facts> {
    let text = fs::read_to_string(path).expect("a manifest");
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            let names = line["bucket"].as_array().expect("a path of hex names");
            let bucket = names.iter().map(|name| from_hex(name.as_str().expect("hex"))).collect();
            let number = |field: &str| line[field].as_u64().expect("a number");
            let facts = Facts {
                sequence: number("sequence"),
                keys: number("keys"),
                buckets: number("buckets"),
                sha256: line["sha256"].as_str().expect("a hash").to_owned(),
            };
            (bucket, facts)
        })
        .collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn read_database(file: &BoltFile) -> BTreeMap<BucketPath, Facts> {
    let mut told = BTreeMap::new();
    let mut path: BucketPath = Vec::new();
    let mut open = vec![Gathered { sequence: file.root_sequence(), ..Gathered::default() }];
    let mut pages_before = 0;
    let summary = file
        .walk(&mut |event| {
            let here = open.last_mut().expect("a bucket is open");
            match event {
                Event::EnterBucket { name, sequence } => {
                    here.buckets += 1;
                    path.push(name.to_vec());
                    open.push(Gathered { sequence, ..Gathered::default() });
                }
                Event::Pair { key, value } => {
                    here.keys += 1;
                    here.absorb(key);
                    here.absorb(value);
                }
                Event::LeaveBucket => {
                    let facts = open.pop().expect("a bucket is open").finish();
                    assert!(told.insert(path.clone(), facts).is_none(), "a bucket told twice");
                    path.pop();
                }
                Event::Progress { pages_read } => {
                    assert!(pages_read > pages_before, "progress goes on");
                    pages_before = pages_read;
                }
            }
            Ok::<(), BoltError>(())
        })
        .expect("a sound file");
    assert_eq!(open.len(), 1, "every bucket was left");
    told.insert(path, open.pop().expect("the root").finish());

    assert_eq!(summary.pages_read, pages_before);
    assert_eq!(summary.buckets, told.len() as u64 - 1);
    assert_eq!(summary.pairs, told.values().map(|facts| facts.keys).sum::<u64>());
    match summary.pages_leaked {
        Some(leaked) => assert_eq!(summary.pages_read + leaked, file.pages_total()),
        None => assert!(summary.pages_read <= file.pages_total()),
    }
    assert_eq!(file.verify().expect("a sound file"), summary);
    told
}

#[test]
fn every_fixture_reads_back_as_its_manifest_says() {
    let fixtures = fixtures();
    assert!(!fixtures.is_empty(), "expected fixtures, found none");
    for (database, manifest) in fixtures {
        let expected = read_manifest(&manifest);
        let file = BoltFile::open(&database).expect("a bolt file");
        assert_eq!(file.meta_damage(), None, "{}", database.display());
        let found = read_database(&file);
        for (path, facts) in &expected {
            assert_eq!(found.get(path), Some(facts), "{}, bucket {path:x?}", database.display());
        }
        for path in found.keys() {
            assert!(expected.contains_key(path), "{}, bucket {path:x?}", database.display());
        }
    }
}
