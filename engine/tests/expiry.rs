//! What a user does with the expiry of values: set it, move it, keep it, take it away.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, ErrorKind, Options, Result};

#[test]
fn an_expiry_is_set_moved_kept_and_taken_away() -> Result<()> {
    let disk = SimDisk::new(1);
    let open = |disk: SimDisk| Db::open_on(Arc::new(disk), "/db", Options::new());
    let db = open(disk.clone())?;
    let seconds = Duration::from_secs;
    db.update(|txn| {
        let mut leases = txn.create_bucket("leases")?;
        leases.put_with_ttl("a", "1", seconds(10))?;
        leases.put_with_ttl("large", vec![7; 50_000], seconds(10))?;
        leases.put("stays", "2")?;
        leases.create_bucket("bucket").map(|_| ())
    })?;
    let begin = db.begin_read()?.now();
    let expiry = |db: &Db, key: &str| -> Result<Option<Option<Duration>>> {
        let txn = db.begin_read()?;
        let value = txn.bucket("leases")?.get_value(key)?;
        let until = |at: SystemTime| at.duration_since(begin).expect("a time to come");
        Ok(value.map(|value| value.expires_at.map(until)))
    };
    disk.advance_ms(4_000);
    db.update(|txn| {
        assert_eq!(txn.now(), begin + seconds(4));
        let mut leases = txn.bucket_mut("leases")?;
        assert!(leases.touch("a", seconds(20))?);
        assert!(leases.touch_until("large", begin + seconds(30))?);
        assert!(leases.touch("stays", seconds(5))?);
        leases.put_keeping_ttl("stays", "3")?;
        leases.put_keeping_ttl("new", "4")?;
        assert!(!leases.touch("missing", seconds(5))? && !leases.persist("missing")?);
        assert_eq!(leases.get("missing")?, None);
        for refused in [leases.touch("bucket", seconds(1)), leases.persist("bucket")] {
            assert!(matches!(refused.unwrap_err().kind(), ErrorKind::IsABucket { .. }));
        }
        let zero = leases.touch("a", Duration::ZERO).unwrap_err();
        assert!(matches!(zero.kind(), ErrorKind::InvalidArgument { .. }));
        Ok(())
    })?;
    let check = |db: &Db| -> Result<()> {
        assert_eq!(expiry(db, "a")?, Some(Some(seconds(24))));
        assert_eq!(expiry(db, "large")?, Some(Some(seconds(30))));
        assert_eq!(expiry(db, "stays")?, Some(Some(seconds(9))));
        assert_eq!(expiry(db, "new")?, Some(None));
        let txn = db.begin_read()?;
        let leases = txn.bucket("leases")?;
        assert_eq!(leases.get("large")?.map(<[u8]>::len), Some(50_000));
        assert_eq!((leases.get("stays")?, leases.len()), (Some(&b"3"[..]), 5));
        assert_eq!(txn.now(), begin + seconds(4));
        Ok(())
    };
    check(&db)?;
    // From the log, and then from the file.
    let db = open(disk.crash(1))?;
    check(&db)?;
    db.checkpoint()?;
    check(&db)
}

/// A bucket `leases` with a value that expires after five seconds and a long one that stays.
fn leases(disk: &SimDisk) -> Result<Db> {
    let options = Options::new().threads(false);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options)?;
    db.update(|txn| {
        let mut leases = txn.create_bucket_if_missing("leases")?;
        leases.put_with_ttl("short", "1", Duration::from_secs(5))?;
        leases.put("long", vec![7; 50_000])
    })?;
    Ok(db)
}

#[test]
fn a_value_that_stays_again_is_there_after_its_time() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = leases(&disk)?;
    db.update(|txn| {
        let mut leases = txn.bucket_mut("leases")?;
        assert!(leases.persist("short")? && leases.touch("long", Duration::from_secs(1))?);
        Ok(())
    })?;
    disk.advance_ms(5_000);
    db.view(|txn| {
        let leases = txn.bucket("leases")?;
        assert_eq!((leases.get("short")?, leases.get("long")?), (Some(&b"1"[..]), None));
        Ok(())
    })
}

#[test]
fn what_has_expired_is_not_revived() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = leases(&disk)?;
    disk.advance_ms(5_000);
    db.update(|txn| {
        let until = txn.now() + Duration::from_secs(9);
        let mut leases = txn.bucket_mut("leases")?;
        assert!(!leases.touch("short", Duration::from_secs(9))?);
        assert!(!leases.touch_until("short", until)? && !leases.persist("short")?);
        assert_eq!((leases.get("short")?, leases.len()), (None, 2));
        leases.put_keeping_ttl("short", "2")?;
        let value = leases.get_value("short")?.expect("a new value");
        assert_eq!((value.bytes, value.expires_at), (&b"2"[..], None));
        Ok(())
    })
}

#[test]
fn times_that_cannot_be_are_refused_and_the_last_is_taken() -> Result<()> {
    let db = leases(&SimDisk::new(1))?;
    let (first, last) = (SystemTime::UNIX_EPOCH, Duration::from_millis(u64::MAX));
    let (last, step) = (first + last, Duration::from_millis(1));
    db.update(|txn| {
        let left = last.duration_since(txn.now()).expect("a time to come");
        let mut leases = txn.bucket_mut("leases")?;
        for ttl in [step / 2, left + step, Duration::MAX] {
            let refused = leases.touch("long", ttl).unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::InvalidArgument { .. }), "{ttl:?}");
        }
        for time in [first - step, first, last + step] {
            let refused = leases.touch_until("long", time).unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::InvalidArgument { .. }), "{time:?}");
        }
        assert_eq!(leases.get_value("long")?.expect("a value").expires_at, None);
        assert!(leases.touch("long", left)?);
        assert_eq!(leases.get_value("long")?.expect("a value").expires_at, Some(last));
        Ok(())
    })
}

#[test]
fn keys_that_cannot_be_are_refused_as_by_a_put() -> Result<()> {
    let db = leases(&SimDisk::new(1))?;
    let mut txn = db.begin_write()?;
    let mut leases = txn.bucket_mut("leases")?;
    let (second, until) = (Duration::from_secs(1), SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    for key in [vec![], vec![1; 9_000]] {
        let wanted = leases.put(&key, "").unwrap_err().to_string();
        for answer in [
            leases.touch(&key, second),
            leases.touch_until(&key, until),
            leases.persist(&key),
            leases.put_keeping_ttl(&key, "").map(|()| true),
        ] {
            assert_eq!(answer.unwrap_err().to_string(), wanted);
        }
    }
    Ok(())
}

#[test]
fn a_transaction_that_failed_tells_so() -> Result<()> {
    let db = leases(&SimDisk::new(1))?;
    let mut txn = db.begin_write()?;
    let mut bucket = txn.create_bucket("descending")?;
    bucket.build([(&b"b"[..], &b""[..]), (b"a", b"")]).unwrap_err();
    bucket.persist("missing").unwrap_err();
    bucket.touch_until("missing", SystemTime::now()).unwrap_err();
    Ok(())
}

#[test]
fn a_damaged_value_is_replaced_as_by_a_put() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = leases(&disk)?;
    db.checkpoint()?;
    drop(db);
    let data = disk.read_file("/db/data").expect("the data file");
    let place = data.windows(1_000).position(|bytes| bytes == [7; 1_000]).expect("the value");
    disk.corrupt("/db/data", place as u64, 1).expect("a byte of it");
    let options = Options::new().threads(false);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options)?;
    db.update(|txn| {
        let mut leases = txn.bucket_mut("leases")?;
        assert!(leases.get("long").unwrap_err().is_corrupt());
        let keys: Result<Vec<&[u8]>> = leases.as_bucket().iter()?.keys().collect();
        assert_eq!(keys?, [&b"long"[..], b"short"], "of a list of keys no value is read");
        assert!(leases.persist("long")?, "it stays already, so nothing is read");
        assert!(leases.touch("long", Duration::from_secs(1)).unwrap_err().is_corrupt());
        leases.put_keeping_ttl("long", "new")
    })
}
