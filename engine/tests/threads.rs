//! Many threads at once: what readers see while writers commit, and commits that share flushes.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use bristlecone::{Db, Durability, Options, Result};

fn open(options: Options) -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = options.open(dir.path().join("db")).expect("a new database");
    (dir, db)
}

/// Small triggers, so that checkpoints run all the time.
fn busy() -> Options {
    Options::new().checkpoint_log_bytes(64 << 10).checkpoint_memory_bytes(1 << 20)
}

fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

#[test]
fn a_reader_never_sees_half_a_transaction() -> Result<()> {
    for map in [true, false] {
        let (_dir, db) = open(busy().map(map));
        let accounts = 500;
        db.update(|txn| {
            let mut bucket = txn.create_bucket("accounts")?;
            (0..accounts).try_for_each(|index| bucket.put(key(index), 100u64.to_le_bytes()))
        })?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for reader in 0..2 {
                let (db, stop) = (&db, &stop);
                scope.spawn(move || {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let snapshot = db.snapshot().unwrap();
                        assert!(snapshot.id().0 >= last, "time runs forward");
                        last = snapshot.id().0;
                        for _ in 0..=reader * 2 {
                            let bucket = snapshot.bucket("accounts").unwrap();
                            let total: u64 = bucket
                                .iter()
                                .unwrap()
                                .map(|pair| u64::from_le_bytes(pair.unwrap().1.try_into().unwrap()))
                                .sum();
                            assert_eq!(total, accounts * 100);
                        }
                    }
                });
            }
            let mut seed = 7u64;
            for step in 0..4000 {
                let mut next = |below: u64| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (seed >> 33) % below
                };
                let (from, to) = (next(accounts), next(accounts));
                let mut txn = db.begin_write().unwrap();
                txn.set_durability(match step % 50 {
                    0 => Durability::Sync,
                    _ => Durability::Buffered,
                });
                let mut bucket = txn.bucket_mut("accounts").unwrap();
                let balance = |bucket: &bristlecone::BucketMut<'_>, index| {
                    let value = bucket.get(key(index)).unwrap().unwrap();
                    u64::from_le_bytes(value.try_into().unwrap())
                };
                let (have, had) = (balance(&bucket, from), balance(&bucket, to));
                if from != to && have > 0 {
                    bucket.put(key(from), (have - 1).to_le_bytes()).unwrap();
                    bucket.put(key(to), (had + 1).to_le_bytes()).unwrap();
                }
                drop(bucket);
                txn.commit().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        db.checkpoint()?;
        let report = db.check(&mut |_| ControlFlow::Continue(()))?;
        assert!(report.is_sound(), "{:#?}", report.problems);
    }
    Ok(())
}

#[test]
fn commits_of_many_threads_share_flushes_and_are_all_there() -> Result<()> {
    let (dir, db) = open(Options::new());
    db.update(|txn| txn.create_bucket("b").map(|_| ()))?;
    let (threads, each) = (16u64, 50u64);
    thread::scope(|scope| {
        for thread in 0..threads {
            let db = &db;
            scope.spawn(move || {
                for index in 0..each {
                    let name = key(thread << 32 | index);
                    db.update(|txn| txn.bucket_mut("b")?.put(name, name)).unwrap();
                    let seen = db.view(|txn| Ok(txn.bucket("b")?.get(name)? == Some(&name[..])));
                    assert!(seen.unwrap(), "what is acknowledged is visible");
                }
            });
        }
    });
    let stats = db.stats();
    assert_eq!(stats.revision.0, 1 + threads * each);
    assert!(stats.flushes < stats.commits, "{stats:?}");
    drop(db);
    let db = Db::open(dir.path().join("db"))?;
    db.view(|txn| {
        assert_eq!(txn.bucket("b")?.len(), threads * each);
        Ok(())
    })
}

#[test]
fn buffered_commits_become_visible_when_they_are_durable() -> Result<()> {
    for threads in [true, false] {
        let (_dir, db) = open(Options::new().threads(threads));
        for index in 0..100 {
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Buffered);
            txn.create_bucket_if_missing("b")?.put(key(index), "v")?;
            txn.commit()?;
        }
        db.sync()?;
        db.view(|txn| {
            assert_eq!(txn.bucket("b")?.len(), 100);
            Ok(())
        })?;
        if threads {
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Buffered);
            txn.bucket_mut("b")?.put("last", "v")?;
            let id = txn.commit()?;
            while db.view(|txn| Ok(txn.id()))? < id {
                thread::yield_now();
            }
        }
    }
    Ok(())
}

/// Wakes a thread that blocks on a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_commit_can_be_awaited_without_a_runtime() -> Result<()> {
    for threads in [true, false] {
        let (_dir, db) = open(Options::new().threads(threads));
        let mut commits = Vec::new();
        for index in 0..20 {
            let mut txn = db.begin_write()?;
            txn.create_bucket_if_missing("b")?.put(key(index), "v")?;
            commits.push(txn.commit_async()?);
        }
        for commit in commits {
            let id = commit.id();
            assert_eq!(block_on(commit)?, id);
            assert!(db.view(|txn| Ok(txn.id()))? >= id);
        }
    }
    Ok(())
}

#[test]
fn a_snapshot_stays_as_it_was_whatever_happens_after() -> Result<()> {
    let (_dir, db) = open(busy());
    let fill = |round: u64| {
        db.update(|txn| {
            let mut bucket = txn.create_bucket_if_missing("b")?;
            bucket.put("large", vec![b'0' + (round % 10) as u8; 50_000])?;
            (0..200).try_for_each(|index| bucket.put(key(index), round.to_le_bytes()))
        })
    };
    let mut snapshots = Vec::new();
    for round in 0..60 {
        fill(round)?;
        if round % 7 == 0 {
            snapshots.push((round, db.snapshot()?));
        }
        if round % 5 == 0 {
            db.checkpoint()?;
        }
    }
    db.update(|txn| txn.drop_bucket("b"))?;
    db.checkpoint()?;
    db.checkpoint()?;
    drop(db);
    for (round, snapshot) in &snapshots {
        let bucket = snapshot.bucket("b")?;
        for index in 0..200 {
            assert_eq!(bucket.get(key(index))?, Some(&round.to_le_bytes()[..]));
        }
        let large = bucket.get("large")?.expect("a value");
        assert!(
            large.len() == 50_000 && large.iter().all(|&byte| byte == b'0' + (round % 10) as u8)
        );
    }
    Ok(())
}

#[test]
fn closing_waits_for_the_writer_and_refuses_the_next() -> Result<()> {
    let (dir, db) = open(Options::new());
    let mut txn = db.begin_write()?;
    txn.create_bucket("b")?.put("k", "v")?;
    let closer = db.clone();
    let closing = thread::spawn(move || closer.close());
    let waiter = db.clone();
    let waiting =
        thread::spawn(move || waiter.update(|txn| txn.bucket_mut("b")?.put("waited", "v")));
    thread::sleep(std::time::Duration::from_millis(50));
    assert!(!closing.is_finished());
    txn.commit()?;
    closing.join().unwrap()?;
    // Either it got the seat before the database was closed, or it was refused.
    let waited = waiting.join().unwrap().is_ok();
    let refused = db.begin_write().unwrap_err();
    assert!(matches!(refused.kind(), bristlecone::ErrorKind::Closed { .. }), "{refused}");
    drop(db);
    let db = Db::open(dir.path().join("db"))?;
    db.view(|txn| {
        let bucket = txn.bucket("b")?;
        assert_eq!(bucket.get("k")?, Some(&b"v"[..]));
        assert_eq!(bucket.contains("waited")?, waited);
        Ok(())
    })
}
