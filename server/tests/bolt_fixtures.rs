//! Bolt files written by etcd and containerd read back as their manifests say.
//!
//! Each `*.manifest.jsonl`, made by an independent reader, has one line for each bucket of the
//! `.db` file beside it. They lie in `tests/fixtures/`, or where `BRISTLECONE_BOLT_FIXTURES` says.

mod support;

use std::collections::BTreeMap;

use bristlecone_server::bolt::{BoltError, BoltFile, Event};

use support::manifest::{BucketPath, Facts, Gathered, fixtures, read_manifest};

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
