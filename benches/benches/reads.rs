//! Reads of 1,000,000 pairs: gets, scans, and what a transaction adds to them.

use std::hint::black_box;

use bristlecone::{Bucket, Db, Result};
use bristlecone_benches::data::{Data, sorted, touch, touch_pair};
use bristlecone_benches::random::Random;
use bristlecone_benches::scratch::Scratch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const PAIRS: usize = 1_000_000;
/// Reads of one iteration, so that keys are not the same each time and fetched beforehand.
const BATCH: usize = 1024;
const WIDTH: usize = 16;
const SCAN_PAIRS: usize = 10;

struct Fixture {
    db: Db,
    data: Data,
    /// Removed after the database is closed.
    _scratch: Scratch,
}

fn fixture() -> Fixture {
    let scratch = Scratch::new().expect("a directory");
    let data = Data::random(PAIRS, 1);
    let db = Db::open(scratch.path().join("db")).expect("a database");
    let build = |txn: &mut bristlecone::WriteTxn| {
        txn.create_bucket("pairs")?.build(sorted(&data.pairs())).map(|_| ())
    };
    db.update(build).expect("pairs in the database");
    db.checkpoint().expect("pairs in the data file");
    Fixture { db, data, _scratch: scratch }
}

/// Random keys, new ones at each call.
fn keys<'a>(data: &'a Data, random: &mut Random) -> Vec<&'a [u8]> {
    (0..BATCH).map(|_| data.key(random.below(PAIRS))).collect()
}

fn gets(criterion: &mut Criterion, Fixture { db, data, .. }: &Fixture) {
    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut random = Random::new(2);
    group.bench_function("one transaction", |bencher| {
        let txn = db.begin_read().expect("a transaction");
        let bucket = txn.bucket("pairs").expect("a bucket");
        let get = |keys: Vec<&[u8]>| {
            let value = |key: &[u8]| bucket.get(key).expect("a read").expect("a value");
            keys.into_iter().map(|key| touch(value(key))).fold(0, u64::wrapping_add)
        };
        bencher.iter_batched(|| keys(data, &mut random), get, criterion::BatchSize::SmallInput);
    });
    group.bench_function("a transaction each", |bencher| {
        let get = |key: &[u8]| -> Result<u64> {
            let txn = db.begin_read()?;
            let value = txn.bucket("pairs")?.get(key)?;
            Ok(touch(value.expect("a value")))
        };
        let get_each = |keys: Vec<&[u8]>| {
            keys.into_iter().map(|key| get(key).expect("a read")).fold(0, u64::wrapping_add)
        };
        bencher.iter_batched(
            || keys(data, &mut random),
            get_each,
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("many, 16 at once", |bencher| {
        let txn = db.begin_read().expect("a transaction");
        let bucket = txn.bucket("pairs").expect("a bucket");
        let get = |keys: Vec<&[u8]>| {
            let values = |keys: &[&[u8]]| bucket.get_many(keys).expect("a read");
            let sum = |keys: &[&[u8]]| -> u64 {
                let values = values(keys);
                assert_eq!(values.len(), keys.len());
                let touched = values.into_iter().map(|value| touch(value.expect("a value")));
                touched.fold(0, u64::wrapping_add)
            };
            keys.chunks(WIDTH).map(sum).fold(0, u64::wrapping_add)
        };
        bencher.iter_batched(|| keys(data, &mut random), get, criterion::BatchSize::SmallInput);
    });
    group.bench_function("begin and end alone", |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                black_box(db.begin_read().expect("a transaction").id());
            }
        });
    });
    group.finish();
}

fn scan_range(bucket: Bucket<'_>, start: &[u8]) -> Result<u64> {
    let mut sum = 0_u64;
    for pair in bucket.range::<&[u8]>(start..)?.take(SCAN_PAIRS) {
        sum = sum.wrapping_add(touch_pair(pair?));
    }
    Ok(sum)
}

fn scan_forward(bucket: Bucket<'_>, start: &[u8]) -> Result<u64> {
    let mut cursor = bucket.cursor();
    let mut pair = cursor.seek(start)?;
    let mut sum = 0_u64;
    for _ in 1..SCAN_PAIRS {
        let Some(found) = pair else { break };
        sum = sum.wrapping_add(touch_pair(found));
        pair = cursor.next()?;
    }
    Ok(sum.wrapping_add(pair.map_or(0, touch_pair)))
}

fn scan_reverse(bucket: Bucket<'_>, start: &[u8]) -> Result<u64> {
    let mut cursor = bucket.cursor();
    let mut pair = cursor.seek_back(start)?;
    let mut sum = 0_u64;
    for _ in 1..SCAN_PAIRS {
        let Some(found) = pair else { break };
        sum = sum.wrapping_add(touch_pair(found));
        pair = cursor.prev()?;
    }
    Ok(sum.wrapping_add(pair.map_or(0, touch_pair)))
}

fn scans(criterion: &mut Criterion, Fixture { db, data, .. }: &Fixture) {
    let mut group = criterion.benchmark_group("scan");
    let mut random = Random::new(3);
    let txn = db.begin_read().expect("a transaction");
    let bucket = txn.bucket("pairs").expect("a bucket");
    type Scan = fn(Bucket<'_>, &[u8]) -> Result<u64>;
    let scans: [(&str, Scan); 3] = [
        ("10 forward, cursor", scan_forward),
        ("10 forward, range", scan_range),
        ("10 reverse, cursor", scan_reverse),
    ];
    for (name, scan) in scans {
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(name, |bencher| {
            let each = |keys: Vec<&[u8]>| {
                let sums = keys.into_iter().map(|key| scan(bucket, key).expect("a read"));
                sums.fold(0, u64::wrapping_add)
            };
            bencher.iter_batched(
                || keys(data, &mut random),
                each,
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.throughput(Throughput::Elements(PAIRS as u64)).sample_size(20);
    group.bench_function("all forward", |bencher| {
        let all = || bucket.iter().expect("a range").map(|pair| touch_pair(pair.expect("a pair")));
        bencher.iter(|| all().fold(0, u64::wrapping_add));
    });
    group.bench_function("all reverse", |bencher| {
        let all = || bucket.iter().expect("a range").rev();
        bencher.iter(|| {
            all().map(|pair| touch_pair(pair.expect("a pair"))).fold(0, u64::wrapping_add)
        });
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let fixture = fixture();
    gets(criterion, &fixture);
    scans(criterion, &fixture);
}

criterion_group!(benches, reads);
criterion_main!(benches);
