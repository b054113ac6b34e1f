//! What a user does with buckets: create, nest, read, write, walk, drop, reopen.

use std::collections::VecDeque;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, ErrorKind, Options, Result};

fn open() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path().join("db")).expect("a new database");
    (dir, db)
}

/// Writes a checkpoint and verifies the whole file.
fn checkpoint(db: &Db) -> Result<()> {
    db.checkpoint()?;
    let report = db.check(&mut |_| ControlFlow::Continue(()))?;
    assert!(report.is_sound(), "{:#?}", report.problems);
    Ok(())
}

fn key(index: u32) -> Vec<u8> {
    format!("key-{index:06}").into_bytes()
}

#[test]
fn values_are_read_back_before_and_after_reopening() -> Result<()> {
    let (dir, db) = open();
    let path = dir.path().join("db");
    db.update(|txn| {
        let mut bucket = txn.create_bucket("things")?;
        for index in 0..5000 {
            bucket.put(key(index), vec![b'x'; index as usize % 300])?;
        }
        assert_eq!(bucket.get(key(77))?.map(<[u8]>::len), Some(77));
        Ok(())
    })?;
    let check = |db: &Db| {
        db.view(|txn| {
            let bucket = txn.bucket("things")?;
            assert_eq!(bucket.len(), 5000);
            for index in 0..5000 {
                let value = bucket.get(key(index))?.expect("a value");
                assert_eq!(value.len(), index as usize % 300);
            }
            assert_eq!(bucket.get("missing")?, None);
            assert_eq!(bucket.iter()?.count(), 5000);
            assert_eq!(bucket.iter()?.rev().count(), 5000);
            Ok(())
        })
    };
    check(&db)?;
    checkpoint(&db)?;
    check(&db)?;
    db.close()?;
    let db = Db::open(&path)?;
    check(&db)?;
    db.update(|txn| txn.bucket_mut("things")?.delete(key(5)).map(|_| ()))?;
    db.checkpoint()?;
    drop(db);
    let db = Db::open(&path)?;
    db.view(|txn| {
        assert_eq!(txn.bucket("things")?.len(), 4999);
        Ok(())
    })
}

#[test]
fn buckets_nest_and_small_ones_cost_no_page() -> Result<()> {
    let (_dir, db) = open();
    db.update(|txn| {
        for outer in 0..100 {
            let mut outer = txn.create_bucket(key(outer))?;
            outer.put("plain", "value")?;
            let mut inner = outer.create_bucket("inner")?;
            inner.put("a", "1")?;
            assert_eq!(inner.next_sequence()?, 1);
            assert_eq!(inner.next_sequence()?, 2);
            inner.create_bucket("innermost")?.put("b", "2")?;
        }
        Ok(())
    })?;
    for _ in 0..2 {
        db.view(|txn| {
            assert_eq!(txn.buckets()?.count(), 100);
            let outer = txn.bucket(key(42))?;
            assert_eq!(outer.get("plain")?, Some(&b"value"[..]));
            assert_eq!(outer.iter()?.count(), 1, "nested buckets are not pairs");
            let inner = outer.bucket("inner")?;
            assert_eq!((inner.sequence(), inner.len()), (2, 2));
            assert_eq!(inner.bucket("innermost")?.get("b")?, Some(&b"2"[..]));
            Ok(())
        })?;
        checkpoint(&db)?;
    }
    let stats = db.stats();
    assert!(stats.file_bytes - stats.free_bytes <= 64 * 8192, "{stats:?}");
    Ok(())
}

#[test]
fn what_is_no_bucket_or_no_value_is_told_apart() -> Result<()> {
    let (_dir, db) = open();
    db.update(|txn| {
        assert!(matches!(
            txn.bucket("missing").unwrap_err().kind(),
            ErrorKind::BucketNotFound { .. }
        ));
        let mut bucket = txn.create_bucket("bucket")?;
        bucket.put("value", "v")?;
        bucket.create_bucket("nested")?;
        let value_as_bucket = bucket.bucket_mut("value").unwrap_err();
        assert!(matches!(value_as_bucket.kind(), ErrorKind::NotABucket { .. }));
        let created = bucket.create_bucket("value").unwrap_err();
        assert!(matches!(created.kind(), ErrorKind::NotABucket { .. }));
        let again = bucket.create_bucket("nested").unwrap_err();
        assert!(matches!(again.kind(), ErrorKind::BucketExists { .. }));
        let read = bucket.get("nested").unwrap_err();
        assert!(matches!(read.kind(), ErrorKind::IsABucket { .. }));
        for large in [10, 100_000] {
            let written = bucket.put("nested", vec![1; large]).unwrap_err();
            assert!(matches!(written.kind(), ErrorKind::IsABucket { .. }));
        }
        let deleted = bucket.delete("nested").unwrap_err();
        assert!(matches!(deleted.kind(), ErrorKind::IsABucket { .. }));
        assert!(bucket.put("", "v").is_err());
        let long = bucket.put(vec![b'k'; 2049], "v").unwrap_err();
        assert!(matches!(long.kind(), ErrorKind::TooLarge { what: "key", max: 2048, .. }));
        bucket.put(vec![b'k'; 2048], "v")?;
        assert_eq!(bucket.len(), 3);
        Ok(())
    })
}

#[test]
fn large_values_are_read_in_place() -> Result<()> {
    let (_dir, db) = open();
    let sizes = [0, 2000, 2100, 8168, 8169, 100_000, 3_000_000];
    db.update(|txn| {
        let mut bucket = txn.create_bucket("large")?;
        for size in sizes {
            bucket.put(format!("{size}"), vec![b'v'; size])?;
        }
        bucket.put("3000000", vec![b'w'; 3_000_001])
    })?;
    for _ in 0..2 {
        db.view(|txn| {
            let bucket = txn.bucket("large")?;
            for size in &sizes[..6] {
                let value = bucket.get(format!("{size}"))?.expect("a value");
                assert_eq!(value, vec![b'v'; *size]);
            }
            assert_eq!(bucket.get("3000000")?, Some(&vec![b'w'; 3_000_001][..]));
            Ok(())
        })?;
        checkpoint(&db)?;
    }
    db.update(|txn| txn.bucket_mut("large")?.delete("3000000").map(|_| ()))?;
    checkpoint(&db)?;
    checkpoint(&db)?;
    assert!(db.stats().free_bytes >= 3_000_000, "{:?}", db.stats());
    Ok(())
}

#[test]
fn ranges_go_both_ways_and_meet() -> Result<()> {
    let (_dir, db) = open();
    db.update(|txn| {
        let mut bucket = txn.create_bucket("b")?;
        (0..1000).try_for_each(|index| bucket.put(key(index), "v"))
    })?;
    db.view(|txn| {
        let bucket = txn.bucket("b")?;
        let keys = |range: bristlecone::Range<'_>| -> Vec<Vec<u8>> {
            range.map(|pair| pair.unwrap().0.to_vec()).collect()
        };
        assert_eq!(keys(bucket.range(key(10)..key(13))?), [key(10), key(11), key(12)]);
        assert_eq!(keys(bucket.range(key(997)..)?), [key(997), key(998), key(999)]);
        assert_eq!(keys(bucket.range(..=key(1))?), [key(0), key(1)]);
        let open_ended = (Bound::Excluded(key(5)), Bound::Included(key(7)));
        assert_eq!(keys(bucket.range(open_ended)?), [key(6), key(7)]);
        assert_eq!(keys(bucket.range(key(7)..key(3))?), Vec::<Vec<u8>>::new());
        assert_eq!(bucket.prefix("key-0001")?.count(), 100);
        assert_eq!(bucket.prefix("")?.count(), 1000);
        assert_eq!(bucket.prefix("nothing")?.count(), 0);
        let mut range = bucket.range(key(100)..key(104))?;
        let mut next = |back: bool| {
            let pair = if back { range.next_back() } else { range.next() };
            pair.map(|pair| pair.unwrap().0.to_vec())
        };
        assert_eq!(next(false), Some(key(100)));
        assert_eq!(next(true), Some(key(103)));
        assert_eq!(next(true), Some(key(102)));
        assert_eq!(next(false), Some(key(101)));
        assert_eq!(next(false), None);
        assert_eq!(next(true), None);
        let mut cursor = bucket.cursor();
        assert_eq!(cursor.seek("key-0005")?.map(|pair| pair.0), Some(&key(500)[..]));
        assert_eq!(cursor.prev()?.map(|pair| pair.0), Some(&key(499)[..]));
        assert_eq!(cursor.seek_back("key-0005")?.map(|pair| pair.0), Some(&key(499)[..]));
        assert_eq!(cursor.seek_to_last()?.map(|pair| pair.0), Some(&key(999)[..]));
        assert_eq!(cursor.next()?, None);
        let wanted: Vec<Vec<u8>> = (0..50).map(|index| key(index * 40)).collect();
        let found = bucket.get_many(&wanted)?;
        assert_eq!(found.iter().filter(|value| value.is_some()).count(), 25);
        Ok(())
    })
}

/// Whatever the turns that the two ends take, they give what a list gives.
#[test]
fn the_ends_of_a_range_may_take_any_turns() -> Result<()> {
    let (_dir, db) = open();
    db.update(|txn| {
        let mut bucket = txn.create_bucket("b")?;
        for key in ["a", "c", "f", "h"] {
            bucket.put(key, "v")?;
        }
        bucket.put("d", vec![7; 50_000])?;
        bucket.put_until("e", "late", SystemTime::UNIX_EPOCH + Duration::from_secs(9))?;
        bucket.create_bucket("b")?;
        bucket.create_bucket("g").map(|_| ())
    })?;
    let all: VecDeque<&[u8]> = [b"a", b"c", b"d", b"f", b"h"].iter().map(|key| &key[..]).collect();
    db.view(|txn| {
        for turns in 0_u32..1 << 7 {
            let (mut expected, mut range) = (all.clone(), txn.bucket("b")?.iter()?);
            for turn in 0..7 {
                let (found, expected) = match turns >> turn & 1 {
                    0 => (range.next(), expected.pop_front()),
                    _ => (range.next_back(), expected.pop_back()),
                };
                assert_eq!(found.transpose()?.map(|pair| pair.0), expected, "turns {turns:07b}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_dropped_bucket_is_gone_and_its_pages_come_back() -> Result<()> {
    let (_dir, db) = open();
    db.update(|txn| {
        let mut bucket = txn.create_bucket("big")?;
        for index in 0..20_000 {
            bucket.put(key(index), [7; 100])?;
        }
        let mut nested = bucket.create_bucket("nested")?;
        for index in 0..1000 {
            nested.put(key(index), [7; 3000])?;
        }
        Ok(())
    })?;
    db.checkpoint()?;
    let full = db.stats();
    db.update(|txn| txn.drop_bucket("big"))?;
    assert!(db.view(|txn| txn.bucket("big").map(|_| ())).unwrap_err().is_bucket_not_found());
    checkpoint(&db)?;
    let empty = db.stats();
    assert!(empty.free_bytes > full.file_bytes * 9 / 10, "{full:?} {empty:?}");
    Ok(())
}

#[test]
fn a_transaction_that_does_not_commit_leaves_no_trace() -> Result<()> {
    let (_dir, db) = open();
    db.update(|txn| txn.create_bucket("b")?.put("k", "before"))?;
    let revision = db.view(|txn| Ok(txn.id()))?;
    let failed: Result<()> = db.update(|txn| {
        txn.bucket_mut("b")?.put("k", "after")?;
        txn.bucket("missing").map(|_| ())
    });
    assert!(failed.is_err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.update(|txn| -> Result<()> {
            txn.bucket_mut("b")?.put("k", "after")?;
            panic!("in the closure")
        })
    }));
    assert!(panicked.is_err());
    let mut txn = db.begin_write()?;
    txn.bucket_mut("b")?.put("k", "after")?;
    txn.rollback();
    db.view(|txn| {
        assert_eq!(txn.id(), revision);
        assert_eq!(txn.bucket("b")?.get("k")?, Some(&b"before"[..]));
        Ok(())
    })?;
    let txn = db.begin_write()?;
    assert_eq!(txn.commit()?, revision, "nothing was changed");
    db.update(|txn| {
        assert_eq!(txn.id().0, revision.0 + 1);
        txn.bucket_mut("b")?.put("k", "after")
    })
}

#[test]
fn sorted_pairs_build_a_bucket_bottom_up() -> Result<()> {
    let (_dir, db) = open();
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = (0..10_000).map(|i| (key(i), vec![1; 100])).collect();
    db.update(|txn| {
        let mut bucket = txn.create_bucket("b")?;
        let built = bucket.build(pairs.iter().map(|(key, value)| (&key[..], &value[..])))?;
        assert_eq!(built, 10_000);
        assert_eq!(bucket.iter()?.count(), 10_000);
        Ok(())
    })?;
    let unordered = db.update(|txn| {
        let pairs = [(&b"b"[..], &b""[..]), (b"a", b"")];
        txn.create_bucket("c")?.build(pairs).map(|_| ())
    });
    assert!(unordered.is_err());
    db.view(|txn| {
        assert_eq!(txn.bucket("b")?.len(), 10_000);
        assert!(txn.bucket("c").is_err());
        Ok(())
    })
}

#[test]
fn many_pairs_are_put_in_any_order_and_the_last_of_a_key_counts() -> Result<()> {
    let (_dir, db) = open();
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> =
        (0..10_000_u32).map(|i| (key(i * 7919 % 10_000), i.to_le_bytes().to_vec())).collect();
    pairs.push((key(17), b"again".to_vec()));
    pairs.push((b"large".to_vec(), vec![3; 100_000]));
    for round in 1..3 {
        db.update(|txn| txn.create_bucket_if_missing("b")?.put_many(&pairs))?;
        db.view(|txn| {
            let bucket = txn.bucket("b")?;
            assert_eq!(bucket.len(), 10_001, "round {round}");
            assert_eq!(bucket.get(key(17))?, Some(&b"again"[..]));
            assert_eq!(bucket.get("large")?, Some(&[3; 100_000][..]));
            for (key, value) in pairs.iter().filter(|pair| pair.0 != key(17)) {
                assert_eq!(bucket.get(key)?, Some(&value[..]));
            }
            Ok(())
        })?;
    }
    let refused = db.update(|txn| {
        let mut bucket = txn.bucket_mut("b")?;
        bucket.put_many(&[("new", "value"), ("", "value")])?;
        Ok(())
    });
    assert!(matches!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument { .. }));
    db.update(|txn| {
        let mut bucket = txn.create_bucket("c")?;
        let none: [(&str, &str); 0] = [];
        bucket.put_many(&none)?;
        assert!(bucket.is_empty());
        drop(bucket.create_bucket("inner")?);
        let refused = bucket.put_many(&[("inner", "value")]).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::IsABucket { .. }));
        Ok(())
    })
}

#[test]
fn many_keys_are_deleted_in_any_order_and_each_counts_once() -> Result<()> {
    let (_dir, db) = open();
    let pairs: Vec<(Vec<u8>, [u8; 100])> = (0..5000).map(|n| (key(n), [1; 100])).collect();
    db.update(|txn| {
        let mut bucket = txn.create_bucket("b")?;
        bucket.put_many(&pairs)?;
        bucket.create_bucket("inner").map(|_| ())
    })?;
    db.update(|txn| {
        let mut bucket = txn.bucket_mut("b")?;
        // Every other key, backwards, each twice, and some that are not there.
        let odd = (0..2500).rev().map(|n| 2 * n + 1);
        let keys: Vec<Vec<u8>> = odd.flat_map(|n| [key(n), key(n), key(n + 10_000)]).collect();
        assert_eq!(bucket.delete_many(&keys)?, 2500);
        assert_eq!(bucket.delete_many(&keys)?, 0);
        let none: [&str; 0] = [];
        assert_eq!(bucket.delete_many(&none)?, 0);
        assert!(bucket.delete_many(&[&key(0)[..], b""]).is_err(), "an empty key");
        assert!(bucket.get(key(0))?.is_some(), "nothing is changed before all keys are checked");
        let refused = bucket.delete_many(&["inner"]).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::IsABucket { .. }), "{refused}");
        Ok(())
    })?;
    db.view(|txn| {
        let bucket = txn.bucket("b")?;
        assert_eq!(bucket.len(), 2501);
        for index in 0..5000 {
            assert_eq!(bucket.get(key(index))?.is_some(), index % 2 == 0, "key {index}");
        }
        Ok(())
    })
}

#[test]
fn a_second_opener_and_a_foreign_directory_are_refused() -> Result<()> {
    let (dir, db) = open();
    assert!(Db::open(dir.path().join("db")).unwrap_err().is_locked());
    drop(db);
    assert!(Db::open(dir.path().join("db")).is_ok());
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), "hello").unwrap();
    let refused = Db::open(&foreign).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NotADatabase { .. }), "{refused}");
    std::fs::write(foreign.join("data"), vec![b'x'; 100_000]).unwrap();
    let refused = Db::open(&foreign).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NotADatabase { .. }), "{refused}");
    let other_size = Options::new().page_bytes(4096).open(dir.path().join("db")).unwrap_err();
    assert!(matches!(other_size.kind(), ErrorKind::Unsupported { .. }), "{other_size}");
    Ok(())
}

#[test]
fn many_keys_at_once_give_their_values_in_the_order_asked() -> Result<()> {
    let (_dir, db) = open();
    db.update(|txn| {
        let mut bucket = txn.create_bucket("bucket")?;
        for index in 0..1000 {
            bucket.put(key(index), index.to_be_bytes())?;
        }
        Ok(())
    })?;
    db.view(|txn| {
        let bucket = txn.bucket("bucket")?;
        let asked: Vec<u32> = (0..40).map(|step| step * 389 % 1100).collect();
        let keys: Vec<Vec<u8>> = asked.iter().copied().map(key).collect();
        let found = bucket.get_many(&keys)?;
        assert_eq!(found.len(), asked.len());
        for (asked, found) in asked.iter().zip(found) {
            let expected = (*asked < 1000).then(|| asked.to_be_bytes());
            assert_eq!(found, expected.as_ref().map(|bytes| &bytes[..]));
        }
        Ok(())
    })
}

#[test]
fn a_bucket_opened_again_and_not_written_keeps_its_page() -> Result<()> {
    let (_dir, db) = open();
    let fill = |mut bucket: bristlecone::BucketMut<'_>, byte: u8| -> Result<()> {
        (0..40).try_for_each(|index| bucket.put(key(index), [byte; 100]))
    };
    db.update(|txn| {
        // Too large for its parent's entry, so it has a page of its own, made here.
        fill(txn.create_bucket("first")?, 1)?;
        drop(txn.bucket_mut("first")?);
        fill(txn.create_bucket("second")?, 2)
    })?;
    db.view(|txn| {
        for (name, byte) in [("first", 1), ("second", 2)] {
            let bucket = txn.bucket(name)?;
            assert_eq!(bucket.iter()?.count(), 40, "{name}");
            assert_eq!(bucket.get(key(7))?, Some(&[byte; 100][..]));
        }
        Ok(())
    })
}

#[test]
fn many_changes_that_meet_damage_cannot_be_committed() -> Result<()> {
    let disk = SimDisk::new(1);
    let open = || Db::open_on(Arc::new(disk.clone()), "/db", Options::new().page_bytes(4096));
    let pairs = |value: u8| -> Vec<_> {
        (0..4000_u32).map(|number| (number.to_be_bytes(), [value; 100])).collect()
    };
    let db = open()?;
    db.update(|txn| txn.create_bucket("b")?.put_many(&pairs(1)))?;
    db.close()?;
    let pages = disk.read_file("/db/data").expect("a data file").len() as u64 / 4096;
    (pages / 2..pages * 3 / 4).for_each(|page| {
        disk.corrupt("/db/data", page * 4096 + 2000, 0x10).expect("a page");
    });
    let db = open()?;
    let mut txn = db.begin_write()?;
    assert!(txn.bucket_mut("b")?.put_many(&pairs(2)).is_err());
    assert!(txn.commit().is_err());
    let mut txn = db.begin_write()?;
    let keys: Vec<_> = pairs(1).into_iter().map(|pair| pair.0).collect();
    assert!(txn.bucket_mut("b")?.delete_many(&keys).is_err());
    assert!(txn.commit().is_err());
    db.view(|txn| {
        assert_eq!(txn.bucket("b")?.get(0_u32.to_be_bytes())?, Some(&[1; 100][..]));
        Ok(())
    })
}
