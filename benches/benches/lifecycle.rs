//! Opening databases, recovery of what a kill leaves, and 100,000 small buckets.

use std::path::Path;
use std::time::Duration;

use bristlecone::{Db, Options, Result};
use bristlecone_benches::data::{Data, touch};
use bristlecone_benches::random::Random;
use bristlecone_benches::scratch::{Scratch, copy_dir};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};

const BUCKETS: usize = 100_000;
const RECORDS: usize = 10;
/// Commits that make 1 MB of log: each takes a block of 4,096 bytes.
const COMMITS: usize = 256;
/// A longer log, about the longest of the defaults, and the puts of each of its transactions.
const LOG_BYTES: u64 = 64_000_000;
const PUTS: usize = 10_000;

fn put_each(db: &Db, data: &Data, count: usize) -> Result<()> {
    for index in 0..count {
        let (key, value) = data.pair(index);
        db.update(|txn| txn.create_bucket_if_missing("pairs")?.put(key, value))?;
    }
    Ok(())
}

fn opens(criterion: &mut Criterion) {
    let data = Data::random(10_000, 1);
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("db");
    let db = Db::open(&path).expect("a database");
    let put_all = |txn: &mut bristlecone::WriteTxn| {
        let mut bucket = txn.create_bucket_if_missing("pairs")?;
        data.pairs().into_iter().try_for_each(|(key, value)| bucket.put(key, value))
    };
    db.update(put_all).expect("pairs in the database");
    db.checkpoint().expect("a checkpoint");
    put_each(&db, &data, COMMITS).expect("commits");
    // Copied while it is open: what a kill would leave.
    let killed = scratch.path().join("killed");
    copy_dir(&path, &killed).expect("a copy");
    db.close().expect("a closed database");
    let mut group = criterion.benchmark_group("open");
    group.sample_size(20);
    for (name, original) in [("after a clean close", &path), ("with 1 MB of log", &killed)] {
        open_copies(&mut group, name, original);
    }
    group.finish();
}

/// Recovery of 64 MB of log.
fn recovery(criterion: &mut Criterion) {
    let data = Data::random(100_000, 1);
    let scratch = Scratch::new().expect("a directory");
    let never = Options::new()
        .checkpoint_log_bytes(u64::MAX)
        .checkpoint_memory_bytes(u64::MAX)
        .checkpoint_interval(Duration::from_secs(3600));
    let db = Db::open_with(scratch.path().join("db"), never).expect("a database");
    let mut random = Random::new(3);
    while db.stats().log_bytes < LOG_BYTES {
        let put = |txn: &mut bristlecone::WriteTxn| {
            let mut bucket = txn.create_bucket_if_missing("pairs")?;
            (0..PUTS).try_for_each(|_| {
                let (key, value) = data.pair(random.below(data.count()));
                bucket.put(key, value)
            })
        };
        db.update(put).expect("a commit");
    }
    let killed = scratch.path().join("killed");
    copy_dir(db.path(), &killed).expect("a copy");
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10);
    open_copies(&mut group, "with 64 MB of log", &killed);
    group.finish();
}

/// Times the opening of copies of a database.
fn open_copies(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, original: &Path) {
    group.bench_function(name, |bencher| {
        let copy = || {
            let scratch = Scratch::new().expect("a directory");
            let path = scratch.path().join("db");
            copy_dir(original, &path).expect("a copy");
            (path, scratch)
        };
        // What is returned is dropped, and so closed, outside of the time.
        let open = |(path, scratch)| (Db::open(path).expect("a database"), scratch);
        bencher.iter_batched(copy, open, BatchSize::PerIteration);
    });
}

fn name(number: usize) -> String {
    format!("container-{number:08}")
}

fn create_buckets(db: &Db) -> Result<()> {
    db.update(|txn| {
        for number in 0..BUCKETS {
            let mut bucket = txn.create_bucket(name(number))?;
            for record in 0..RECORDS {
                bucket.put(format!("field-{record}"), "the value of a field")?;
            }
        }
        Ok(())
    })
}

fn buckets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100,000 buckets of 10");
    group.sample_size(10);
    let open = || {
        let scratch = Scratch::new().expect("a directory");
        (Db::open(scratch.path().join("db")).expect("a database"), scratch)
    };
    group.bench_function("create all, durable", |bencher| {
        let create = |(db, scratch): (Db, Scratch)| {
            create_buckets(&db).expect("buckets");
            (db, scratch)
        };
        bencher.iter_batched(open, create, BatchSize::PerIteration);
    });
    let (db, _scratch) = open();
    create_buckets(&db).expect("buckets");
    db.checkpoint().expect("a checkpoint");
    let names: Vec<String> = (0..BUCKETS).map(name).collect();
    let mut random = Random::new(2);
    group.throughput(Throughput::Elements(1)).sample_size(50);
    group.bench_function("open one and get", |bencher| {
        let txn = db.begin_read().expect("a transaction");
        let get = |name: &String| -> Result<u64> {
            Ok(touch(txn.bucket(name)?.get("field-7")?.expect("a value")))
        };
        let pick = || &names[random.below(BUCKETS)];
        bencher.iter_batched(pick, |name| get(name).expect("a read"), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, opens, recovery, buckets);
criterion_main!(benches);
