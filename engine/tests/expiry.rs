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
