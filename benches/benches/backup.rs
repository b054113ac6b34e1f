//! A full backup of a million pairs, what reads it, and the same pages copied as files.

use std::io;
use std::ops::ControlFlow;

use bristlecone::{Backup, BackupOptions, BackupProgress, Db, RestoreOptions, Result};
use bristlecone_benches::data::Data;
use bristlecone_benches::scratch::{Scratch, copy_dir};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const PAIRS: usize = 1_000_000;
const TXN_PAIRS: usize = 10_000;
/// A lease in so many pairs.
const LEASES: usize = 10;

fn go_on() -> impl FnMut(BackupProgress) -> ControlFlow<()> {
    |_| ControlFlow::Continue(())
}

/// A database as many transactions leave it, in pages that are not full.
fn database(scratch: &Scratch, name: &str, leases: usize) -> Result<Db> {
    let data = Data::random(PAIRS, 1);
    let db = Db::open(scratch.path().join(name))?;
    for first in (0..PAIRS).step_by(TXN_PAIRS) {
        db.update(|txn| {
            let mut bucket = txn.create_bucket_if_missing("pairs")?;
            let until = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 20);
            (first..first + TXN_PAIRS).try_for_each(|index| {
                let (key, value) = data.pair(index);
                match leases > 0 && index % leases == 0 {
                    true => bucket.put_until(key, value, until),
                    false => bucket.put(key, value),
                }
            })
        })?;
    }
    db.checkpoint()?;
    Ok(db)
}

fn backup(criterion: &mut Criterion) {
    let scratch = Scratch::new().expect("a directory");
    let db = database(&scratch, "db", 0).expect("a database");
    let leases = database(&scratch, "leases", LEASES).expect("a database");
    let at = |name: &str| scratch.path().join(name);
    let as_it_goes = BackupOptions::new();
    let write = |db: &Db, name: &str| {
        let _absent = std::fs::remove_file(at(name));
        db.backup_to(at(name), &as_it_goes, &mut go_on()).expect("a backup")
    };
    let report = write(&db, "backup");
    write(&leases, "backup of leases");

    let mut group = criterion.benchmark_group("backup of 1,000,000 pairs");
    group.sample_size(10).throughput(Throughput::Bytes(report.content_bytes));
    group.bench_function("to nowhere", |bencher| {
        bencher.iter(|| db.backup(&mut io::sink(), &as_it_goes, &mut go_on()).expect("a backup"));
    });
    group.bench_function("to a file", |bencher| bencher.iter(|| write(&db, "again")));
    group.bench_function("verify", |bencher| {
        let open = || Backup::open(at("backup")).expect("a backup");
        bencher.iter(|| open().verify(&mut go_on()).expect("a whole backup"));
    });
    for (name, file) in [("restore", "backup"), ("restore, a lease in ten", "backup of leases")] {
        group.bench_function(name, |bencher| {
            let new = || Scratch::new().expect("a directory");
            let restore = |new: Scratch| {
                let (from, into) = (Backup::open(at(file)), new.path().join("db"));
                let restored =
                    from.and_then(|from| from.restore(into, &RestoreOptions::new(), &mut go_on()));
                restored.expect("a database");
                new
            };
            bencher.iter_batched(new, restore, BatchSize::PerIteration);
        });
    }
    db.close().expect("a closed database");
    group.bench_function("files copied, closed and not synced", |bencher| {
        let new = || Scratch::new().expect("a directory");
        let copy = |new: Scratch| {
            copy_dir(&at("db"), &new.path().join("db")).expect("a copy");
            new
        };
        bencher.iter_batched(new, copy, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, backup);
criterion_main!(benches);
