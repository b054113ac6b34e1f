//! Buckets that are created: their entry in the parent is written when they are left.

use std::ops::ControlFlow;
use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{BucketMut, Db, Error, ErrorKind, Options, Result, WriteTxn};

fn open(disk: &SimDisk) -> Result<Db> {
    Db::open_on(Arc::new(disk.clone()), "/db", Options::new().page_bytes(4096).threads(false))
}

/// Buckets that nest to this depth can be created.
const DEPTH_MAX: usize = 64;

/// Creates buckets within each other; returns at the first that is refused, and how many there are.
fn nest(mut bucket: BucketMut<'_>, depth: usize) -> (usize, Error) {
    match bucket.create_bucket("within") {
        Ok(inner) => nest(inner, depth + 1),
        Err(error) => (depth, error),
    }
}

#[test]
fn buckets_nest_to_the_limit_and_one_more_leaves_nothing() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = open(&disk)?;
    db.update(|txn| {
        let (depth, refused) = nest(txn.create_bucket("within")?, 1);
        assert_eq!(depth, DEPTH_MAX);
        assert!(matches!(refused.kind(), ErrorKind::TooLarge { .. }), "{refused}");
        Ok(())
    })?;
    let check = |db: &Db| {
        db.view(|txn| {
            let mut bucket = txn.bucket("within")?;
            for depth in 1..DEPTH_MAX {
                assert_eq!(bucket.len(), 1, "at depth {depth}");
                bucket = bucket.bucket("within")?;
            }
            assert_eq!(bucket.len(), 0, "the innermost one is empty");
            Ok(())
        })
    };
    check(&db)?;
    // Without a checkpoint: the log has it all.
    drop(db);
    check(&open(&disk)?)
}

#[test]
fn a_new_bucket_is_there_whatever_was_done_in_it() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = open(&disk)?;
    db.update(|txn| {
        txn.create_bucket("empty")?;
        txn.create_bucket("counting")?.set_sequence(7)?;
        let mut outer = txn.create_bucket("outer")?;
        outer.create_bucket("inner")?;
        assert_eq!(outer.len(), 1, "the parent knows of it once its handle is gone");
        drop(outer);
        txn.create_bucket("dropped")?.put("key", "value")?;
        txn.drop_bucket("dropped")?;
        let twice = txn.create_bucket("outer").expect_err("it exists");
        assert!(matches!(twice.kind(), ErrorKind::BucketExists { .. }));
        Ok(())
    })?;
    let check = |db: &Db| {
        db.view(|txn| {
            let names: Result<Vec<&[u8]>> = txn.buckets()?.collect();
            assert_eq!(names?, [&b"counting"[..], b"empty", b"outer"]);
            assert_eq!(txn.bucket("counting")?.sequence(), 7);
            assert!(txn.bucket("outer")?.bucket("inner")?.is_empty());
            Ok(())
        })
    };
    check(&db)?;
    drop(db);
    let db = open(&disk)?;
    check(&db)?;
    db.checkpoint()?;
    assert!(db.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
    check(&db)
}

#[test]
fn a_handle_that_is_forgotten_loses_nothing() -> Result<()> {
    let db = open(&SimDisk::new(1))?;
    db.update(|txn| {
        let mut first = txn.create_bucket("first")?;
        first.put("key", "value")?;
        std::mem::forget(first);
        txn.create_bucket("second")?;
        assert_eq!(txn.bucket("first")?.get("key")?, Some(&b"value"[..]));
        std::mem::forget(txn.create_bucket("third")?);
        Ok(())
    })?;
    db.view(|txn| {
        let names: Result<Vec<&[u8]>> = txn.buckets()?.collect();
        assert_eq!(names?, [&b"first"[..], b"second", b"third"]);
        Ok(())
    })
}

#[test]
fn a_new_bucket_that_finds_no_memory_when_it_is_left_fails_its_transaction() -> Result<()> {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(256 << 10);
    let db = open(&disk)?;
    db.update(|txn| txn.create_bucket("before").map(|_| ()))?;
    db.checkpoint()?;
    // As many as memory holds: the last of them meets the end when it is put into, or left.
    let fill = |txn: &mut WriteTxn| -> Result<()> {
        for number in 0..10_000 {
            txn.create_bucket(format!("bucket {number:05}"))?.put("key", vec![1; 900])?;
        }
        Ok(())
    };
    let mut txn = db.begin_write()?;
    let filled = fill(&mut txn).and_then(|()| txn.commit().map(|_| ()));
    let error = filled.expect_err("there is not so much memory");
    assert!(matches!(error.kind(), ErrorKind::Full { .. }), "{error}");
    db.view(|txn| {
        let names: Result<Vec<&[u8]>> = txn.buckets()?.collect();
        assert_eq!(names?, [&b"before"[..]]);
        Ok(())
    })?;
    db.update(|txn| txn.create_bucket("behind").map(|_| ()))?;
    assert!(db.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
    Ok(())
}
