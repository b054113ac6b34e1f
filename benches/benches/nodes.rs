//! The search of a node: gets in trees so small that the processor's caches hold them.
//!
//! A tree of one leaf costs one search, a tree of two levels two: what is left of a get when
//! nothing waits for memory.

use std::ops::ControlFlow;

use bristlecone::{Db, Result};
use bristlecone_benches::data::{sorted, touch};
use bristlecone_benches::random::Random;
use bristlecone_benches::scratch::Scratch;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Pairs that one leaf of 8,192 bytes holds, and pairs of some dozens of leaves.
const LEAF_PAIRS: usize = 100;
const TREE_PAIRS: usize = 5000;
/// Gets of one iteration, so that their order cannot be learnt.
const BATCH: usize = 1024;
const VALUE: &[u8] = b"8 bytes.";

type MakeKey = fn(&mut Random) -> Vec<u8>;

fn random_key(random: &mut Random) -> Vec<u8> {
    let mut key = vec![0; 24];
    random.fill(&mut key);
    key
}

fn prefixed_key(random: &mut Random) -> Vec<u8> {
    format!("container-{:016x}{:016x}", random.number(), random.number()).into_bytes()
}

/// A database with one bucket of these keys, all in the data file.
fn open_with(keys: &[Vec<u8>]) -> (Db, Scratch) {
    let scratch = Scratch::new().expect("a directory");
    let db = Db::open(scratch.path().join("db")).expect("a database");
    // The page of the buckets' records is there before and after.
    db.update(|txn| txn.create_bucket("empty").map(|_| ())).expect("a bucket");
    let pages_before = pages(&db);
    let pairs: Vec<_> = keys.iter().map(|key| (&key[..], VALUE)).collect();
    db.update(|txn| txn.create_bucket("pairs")?.build(sorted(&pairs)).map(|_| ()))
        .expect("pairs in the database");
    db.checkpoint().expect("pairs in the data file");
    // Else it would not be the search of as many nodes as its name says.
    let pages = pages(&db) - pages_before;
    assert!(if keys.len() == LEAF_PAIRS { pages == 1 } else { pages > 10 }, "{pages} pages");
    (db, scratch)
}

/// Pages of all trees.
fn pages(db: &Db) -> u64 {
    db.checkpoint().expect("a checkpoint");
    db.check(&mut |_| ControlFlow::Continue(())).expect("a sound database").pages_reachable
}

fn searches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("node search");
    group.throughput(Throughput::Elements(BATCH as u64));
    let kinds: [(&str, MakeKey); 2] = [("random", random_key), ("prefixed", prefixed_key)];
    for (kind, make) in kinds {
        for (levels, count) in [("a leaf", LEAF_PAIRS), ("two levels", TREE_PAIRS)] {
            let mut random = Random::new(1);
            let keys: Vec<Vec<u8>> = (0..count).map(|_| make(&mut random)).collect();
            let (db, _scratch) = open_with(&keys);
            let txn = db.begin_read().expect("a transaction");
            let bucket = txn.bucket("pairs").expect("a bucket");
            let get =
                |key: &Vec<u8>| -> Result<u64> { Ok(touch(bucket.get(key)?.expect("a value"))) };
            group.bench_function(format!("{levels}, {kind} keys"), |bencher| {
                let pick = || -> Vec<&Vec<u8>> {
                    (0..BATCH).map(|_| &keys[random.below(count)]).collect()
                };
                let get_all = |picked: Vec<&Vec<u8>>| {
                    let sums = picked.into_iter().map(|key| get(key).expect("a read"));
                    sums.fold(0, u64::wrapping_add)
                };
                bencher.iter_batched(pick, get_all, BatchSize::SmallInput);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, searches);
criterion_main!(benches);
