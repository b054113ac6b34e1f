//! The manifests beside the bolt fixtures: what an independent reader found in each bucket.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

const MANIFEST: &str = ".manifest.jsonl";

/// The names of the buckets from the root down to one.
pub(crate) type BucketPath = Vec<Vec<u8>>;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) sequence: u64,
    pub(crate) keys: u64,
    pub(crate) buckets: u64,
    pub(crate) sha256: String,
}

#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) sequence: u64,
    pub(crate) keys: u64,
    pub(crate) buckets: u64,
    pub(crate) sha256: Sha256,
}

impl Gathered {
    pub(crate) fn absorb(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("bolt bounds keys and values");
        self.sha256.update(length.to_le_bytes());
        self.sha256.update(bytes);
    }

    pub(crate) fn finish(self) -> Facts {
        let sha256 = self.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Facts { sequence: self.sequence, keys: self.keys, buckets: self.buckets, sha256 }
    }
}

pub(crate) fn fixtures() -> Vec<(PathBuf, PathBuf)> {
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

pub(crate) fn read_manifest(path: &Path) -> BTreeMap<BucketPath, Facts> {
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
