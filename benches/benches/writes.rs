//! Puts and deletes in an open transaction, commits, bulk loads and checkpoints.

use std::time::{Duration, Instant};

use bristlecone::{Db, Durability, Result, WriteTxn};
use bristlecone_benches::data::{Data, Pair, sorted};
use bristlecone_benches::random::Random;
use bristlecone_benches::scratch::Scratch;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Pairs in the database that is written to, and of a load.
const PAIRS: usize = 100_000;
/// Puts between two checkpoints.
const PUTS: usize = 10_000;

fn open() -> (Db, Scratch) {
    let scratch = Scratch::new().expect("a directory");
    let db = Db::open(scratch.path().join("db")).expect("a database");
    (db, scratch)
}

fn open_filled(data: &Data) -> (Db, Scratch) {
    let (db, scratch) = open();
    build(&db, &sorted(&data.pairs())).expect("pairs in the database");
    db.checkpoint().expect("pairs in the data file");
    (db, scratch)
}

fn build(db: &Db, pairs: &[Pair<'_>]) -> Result<()> {
    db.update(|txn| txn.create_bucket("pairs")?.build(pairs.iter().copied()).map(|_| ()))
}

fn put_all(db: &Db, pairs: &[Pair<'_>]) -> Result<()> {
    db.update(|txn| {
        let mut bucket = txn.create_bucket_if_missing("pairs")?;
        pairs.iter().try_for_each(|(key, value)| bucket.put(key, value))
    })
}

/// Overwrites a random key in a transaction of its own.
fn commit(db: &Db, data: &Data, random: &mut Random, durability: Durability) -> Result<()> {
    let mut txn = db.begin_write()?;
    txn.set_durability(durability);
    let (key, value) = (random.below(PAIRS), random.below(PAIRS));
    txn.bucket_mut("pairs")?.put(data.key(key), data.value(value))?;
    txn.commit().map(|_| ())
}

/// What a put costs before its commit: a path copied the first time, a node edited each time.
fn puts(criterion: &mut Criterion) {
    let data = Data::random(2 * PAIRS, 1);
    let old: Vec<Pair<'_>> = (0..PAIRS).map(|index| data.pair(index)).collect();
    let mut random = Random::new(4);
    let overwrites: Vec<Pair<'_>> =
        (0..PUTS).map(|_| (old[random.below(PAIRS)].0, old[random.below(PAIRS)].1)).collect();
    let inserts: Vec<Pair<'_>> = (PAIRS..PAIRS + PUTS).map(|index| data.pair(index)).collect();
    let (db, _scratch) = open();
    build(&db, &sorted(&old)).expect("pairs in the database");
    db.checkpoint().expect("pairs in the data file");
    let mut group = criterion.benchmark_group("10,000 in an open transaction");
    group.throughput(Throughput::Elements(PUTS as u64)).sample_size(20);
    type Work = fn(&mut WriteTxn, &[Pair<'_>]) -> Result<()>;
    let works: [(&str, &[Pair<'_>], Work); 3] = [
        ("overwrites", &overwrites, put_in),
        ("inserts", &inserts, put_in),
        ("deletes", &old[..PUTS], delete_in),
    ];
    for (name, pairs, work) in works {
        group.bench_function(name, |bencher| {
            let begin = || db.begin_write().expect("a transaction");
            // What is returned is dropped, and so rolled back, outside of the time.
            let run = |mut txn: WriteTxn| {
                work(&mut txn, pairs).expect("writes");
                txn
            };
            bencher.iter_batched(begin, run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn put_in(txn: &mut WriteTxn, pairs: &[Pair<'_>]) -> Result<()> {
    let mut bucket = txn.bucket_mut("pairs")?;
    pairs.iter().try_for_each(|(key, value)| bucket.put(key, value))
}

fn delete_in(txn: &mut WriteTxn, pairs: &[Pair<'_>]) -> Result<()> {
    let mut bucket = txn.bucket_mut("pairs")?;
    for (key, _) in pairs {
        assert!(bucket.delete(key)?, "expected a pair to delete, found none");
    }
    Ok(())
}

fn commits(criterion: &mut Criterion) {
    let data = Data::random(PAIRS, 1);
    let mut random = Random::new(2);
    let mut group = criterion.benchmark_group("commit of one put");
    for (name, durability) in [("buffered", Durability::Buffered), ("durable", Durability::Sync)] {
        let (db, _scratch) = open_filled(&data);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| commit(&db, &data, &mut random, durability).expect("a commit"));
        });
    }
    group.finish();
}

fn loads(criterion: &mut Criterion) {
    let data = Data::random(PAIRS, 1);
    let mut group = criterion.benchmark_group("load of 100,000, durable");
    group.throughput(Throughput::Elements(PAIRS as u64)).sample_size(10);
    type Load = fn(&Db, &[Pair<'_>]) -> Result<()>;
    let random = data.pairs();
    let in_order = sorted(&random);
    let loads: [(&str, &[Pair<'_>], Load); 3] = [
        ("build, sorted", &in_order, build),
        ("puts, sorted", &in_order, put_all),
        ("puts, random order", &random, put_all),
    ];
    for (name, pairs, load) in loads {
        group.bench_function(name, |bencher| {
            let run = |(db, scratch): (Db, Scratch)| {
                load(&db, pairs).expect("a load");
                (db, scratch)
            };
            bencher.iter_batched(open, run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn checkpoints(criterion: &mut Criterion) {
    let data = Data::random(PAIRS, 1);
    let (db, _scratch) = open_filled(&data);
    let mut random = Random::new(3);
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(10);
    group.bench_function("after 10,000 random puts", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..iterations {
                let picks: Vec<Pair<'_>> =
                    (0..PUTS).map(|_| data.pair(random.below(PAIRS))).collect();
                put_all(&db, &picks).expect("a commit");
                let begin = Instant::now();
                db.checkpoint().expect("a checkpoint");
                elapsed += begin.elapsed();
            }
            elapsed
        });
    });
    group.finish();
}

criterion_group!(benches, puts, commits, loads, checkpoints);
criterion_main!(benches);
