//! The change feed: every commit, in order, whole, and once; and followers that repeat them.

#[path = "support/simulated.rs"]
mod simulated;

use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bristlecone::io::sim::SimDisk;
use bristlecone::{
    Bucket, Change, Changes, Db, Durability, ErrorKind, Options, Result, Transaction, TxnId,
};

use simulated::{open, reopen};

fn options() -> Options {
    let small = Options::new().page_bytes(4096).wal_segment_bytes_max(16 << 10);
    small.wal_piece_bytes(5000).log_bytes_kept(1 << 20).threads(false)
}

/// One commit of some size.
fn commit(db: &Db, number: u64) -> Result<()> {
    db.update(|txn| {
        assert_eq!(txn.id(), TxnId(number));
        let mut bucket = txn.create_bucket_if_missing("bucket")?;
        let len = if number % 10 == 7 { 12_000 } else { number as usize % 3000 };
        bucket.put((number % 20).to_be_bytes(), vec![number as u8; len])
    })
}

fn all(changes: &mut Changes) -> Result<Vec<Transaction>> {
    std::iter::from_fn(|| changes.try_next().transpose()).collect()
}

fn ids(transactions: &[Transaction]) -> Vec<u64> {
    transactions.iter().map(|transaction| transaction.id().0).collect()
}

/// What a transaction changed, for people.
fn told(transaction: &Transaction) -> Result<Vec<String>> {
    let mut told = Vec::new();
    let lives = |expires_at: Option<SystemTime>| {
        expires_at.map(|at| at.duration_since(transaction.time()).expect("a time to come"))
    };
    transaction.visit(|path, change| {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let path: Vec<String> = path.iter().map(|name| text(name)).collect();
        let change = match change {
            Change::Put { key, value, expires_at } => {
                format!("put {} {} {:?}", text(key), text(value), lives(expires_at))
            }
            Change::Delete { key } => format!("delete {}", text(key)),
            Change::CreateBucket { name } => format!("create {}", text(name)),
            Change::DropBucket { name } => format!("drop {}", text(name)),
            Change::SetSequence { number } => format!("sequence {number}"),
            Change::SetExpiry { expires_at } => {
                format!("expiry {:?}", lives(expires_at))
            }
            other => panic!("expected a change that is known, found {other:?}"),
        };
        told.push(format!("/{}: {change}", path.join("/")));
        Ok(())
    })?;
    Ok(told)
}

/// All that a bucket holds, for people.
fn dump(bucket: &Bucket<'_>, path: &str, into: &mut Vec<String>) -> Result<()> {
    into.push(format!("{path} {} {}", bucket.len(), bucket.sequence()));
    for pair in bucket.iter()? {
        let (key, value) = pair?;
        let expires_at = bucket.get_value(key)?.expect("it is there").expires_at;
        into.push(format!("{path}/{} {} {expires_at:?}", key.escape_ascii(), value.escape_ascii()));
    }
    for name in bucket.buckets()? {
        let name = name?;
        let expires_at = bucket.bucket_expiry(name)?;
        let path = format!("{path}/{} {expires_at:?}", name.escape_ascii());
        dump(&bucket.bucket(name)?, &path, into)?;
    }
    Ok(())
}

fn content(db: &Db) -> Result<Vec<String>> {
    let (txn, mut content) = (db.begin_read()?, Vec::new());
    for name in txn.buckets()? {
        let name = name?;
        let expires_at = txn.bucket_expiry(name)?;
        let path = format!("{} {expires_at:?}", name.escape_ascii());
        dump(&txn.bucket(name)?, &path, &mut content)?;
    }
    Ok(content)
}

#[test]
fn each_change_is_told_with_its_buckets() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = open(&disk, options())?;
    let mut changes = db.changes(TxnId(0))?;
    assert_eq!(changes.try_next()?, None);
    db.update(|txn| {
        let mut jobs = txn.create_bucket("jobs")?;
        jobs.put("a", "1")?;
        let mut job = jobs.create_bucket("job")?;
        job.put_with_ttl("lease", "held", Duration::from_secs(5))?;
        job.expire_after(Duration::from_secs(9))?;
        job.set_sequence(7)?;
        drop(job);
        jobs.delete("a").map(|_| ())
    })?;
    // One that changes nothing is none.
    db.update(|_| Ok(()))?;
    let mut txn = db.begin_write()?;
    txn.bucket_mut("jobs")?.bucket_mut("job")?.touch("lease", Duration::from_secs(6))?;
    txn.bucket_mut("jobs")?.bucket_mut("job")?.expire_never()?;
    txn.create_bucket("other")?;
    txn.drop_bucket("other")?;
    txn.set_durability(Durability::Buffered);
    txn.commit()?;
    let first = changes.try_next()?.expect("a transaction");
    assert_eq!((first.id(), changes.position()), (TxnId(1), TxnId(1)));
    assert_eq!(
        told(&first)?,
        [
            "/: create jobs",
            "/jobs: put a 1 None",
            "/jobs: create job",
            "/jobs/job: put lease held Some(5s)",
            "/jobs/job: expiry Some(9s)",
            "/jobs/job: sequence 7",
            "/jobs: delete a",
        ]
    );
    assert_eq!(changes.try_next()?, None, "what is not durable is not told");
    db.sync()?;
    let second = changes.try_next()?.expect("a transaction");
    assert_eq!(
        told(&second)?,
        [
            "/jobs/job: put lease held Some(6s)",
            "/jobs/job: expiry None",
            "/: create other",
            "/: drop other",
        ]
    );
    disk.advance_ms(6000);
    db.sweep(&mut |_| ControlFlow::Continue(()))?;
    db.sync()?;
    let third = changes.try_next()?.expect("the sweep");
    assert_eq!(told(&third)?, ["/jobs/job: delete lease"]);
    assert_eq!(changes.try_next()?, None);
    let bytes = third.as_bytes().to_vec();
    assert_eq!(Transaction::from_bytes(bytes.clone())?, third);
    for len in 0..bytes.len() {
        let Ok(cut) = Transaction::from_bytes(bytes[..len].to_vec()) else { continue };
        assert_ne!(cut, third, "{len} bytes");
    }
    Ok(())
}

#[test]
fn a_reader_goes_on_after_any_transaction_and_any_restart() -> Result<()> {
    let mut disk = SimDisk::new(2);
    let mut db = open(&disk, options())?;
    let mut next = 1;
    for restart in 0..4 {
        for _ in 0..40 {
            commit(&db, next)?;
            next += 1;
            if next % 15 == 0 {
                db.checkpoint()?;
            }
        }
        for after in (0..next).step_by(3) {
            let found = all(&mut db.changes(TxnId(after))?)?;
            assert_eq!(ids(&found), Vec::from_iter(after + 1..next), "after {after}");
        }
        let beyond = db.changes(TxnId(next)).unwrap_err();
        assert!(matches!(beyond.kind(), ErrorKind::InvalidArgument { .. }), "{beyond}");
        let mut follower = db.changes(TxnId(next - 5))?;
        assert_eq!(all(&mut follower)?.len(), 4);
        commit(&db, next)?;
        next += 1;
        assert_eq!(ids(&all(&mut follower)?), [next - 1]);
        drop(follower);
        db = match restart % 2 {
            0 => reopen(&mut disk, db, options())?,
            _ => {
                db.close()?;
                open(&disk, options())?
            }
        };
    }
    Ok(())
}

#[test]
fn what_the_log_has_given_up_is_told() -> Result<()> {
    let mut disk = SimDisk::new(3);
    let kept = |bytes| options().log_bytes_kept(bytes);
    let mut db = open(&disk, kept(200 << 10))?;
    let mut slow = db.changes(TxnId(0))?;
    let mut following = db.changes(TxnId(0))?;
    for number in 1..=400 {
        commit(&db, number)?;
        assert_eq!(ids(&all(&mut following)?), [number]);
        if number % 10 == 0 {
            db.checkpoint()?;
        }
    }
    let compacted = |error: bristlecone::Error| match *error.kind() {
        ErrorKind::Compacted { after, oldest } => (after.0, oldest.0),
        _ => panic!("expected that it was compacted, found {error}"),
    };
    let mut oldest = 0;
    for _ in 0..2 {
        // It is told again and again.
        let (after, found) = compacted(slow.try_next().unwrap_err());
        assert_eq!((after, slow.position()), (0, TxnId(0)));
        oldest = found;
    }
    assert!((300..385).contains(&oldest), "{oldest}");
    drop((slow, following));
    for _ in 0..2 {
        assert_eq!(compacted(db.changes(TxnId(oldest - 2)).unwrap_err()), (oldest - 2, oldest));
        let found = all(&mut db.changes(TxnId(oldest - 1))?)?;
        assert_eq!(ids(&found), Vec::from_iter(oldest..=400));
        db = reopen(&mut disk, db, kept(200 << 10))?;
    }
    // Kept no more.
    db.close()?;
    let db = open(&disk, kept(0))?;
    let (after, oldest) = compacted(db.changes(TxnId(300)).unwrap_err());
    assert!(after == 300 && oldest > 380, "{oldest}");
    assert_eq!(all(&mut db.changes(TxnId(400))?)?, []);
    Ok(())
}

#[test]
fn the_log_that_is_kept_makes_room_on_a_full_disk() -> Result<()> {
    let disk = SimDisk::new(4);
    let db = open(&disk, options().log_bytes_kept(1 << 30))?;
    for number in 1..=300 {
        commit(&db, number)?;
        if number % 30 == 0 {
            db.checkpoint()?;
        }
    }
    assert!(db.stats().log_file_bytes > 600_000);
    disk.set_capacity(Some(disk.space_bytes() + 20_000));
    let mut number = 301;
    let refused = loop {
        match commit(&db, number) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(refused.is_full(), "{refused}");
    db.checkpoint()?;
    assert!(db.stats().log_file_bytes < 400_000, "{:?}", db.stats());
    (number..number + 30).try_for_each(|number| commit(&db, number))?;
    assert!(db.changes(TxnId(1)).unwrap_err().is_compacted());
    Ok(())
}

#[test]
fn a_follower_has_the_same_content_after_each_transaction() -> Result<()> {
    let (leader_disk, mut follower_disk) = (SimDisk::new(5), SimDisk::new(6));
    let leader = open(&leader_disk, options())?;
    let mut follower = open(&follower_disk, options().sweep(false))?;
    for step in 0..60_u64 {
        leader.update(|txn| {
            let mut jobs = txn.create_bucket_if_missing("jobs")?;
            jobs.next_sequence()?;
            jobs.put_with_ttl(step.to_be_bytes(), "x", Duration::from_secs(1 + step % 7))?;
            if step % 5 == 0 {
                let mut job = jobs.create_bucket(format!("job-{step}"))?;
                job.expire_after(Duration::from_secs(3 + step % 11))?;
                job.put("large", vec![step as u8; 9000])?;
            }
            Ok(())
        })?;
        leader_disk.advance_ms(500);
        // The clocks of the two are not the same, and need not be.
        follower_disk.advance_ms(if step == 30 { -100_000 } else { 400 });
        if step % 8 == 3 {
            leader.sweep(&mut |_| ControlFlow::Continue(()))?;
            leader.sync()?;
        }
        let mut changes = leader.changes(follower.begin_read()?.id())?;
        while let Some(transaction) = changes.try_next()? {
            follower.repeat(&transaction, Durability::Buffered)?;
        }
        follower.sync()?;
        let now = leader.begin_write()?.now().duration_since(UNIX_EPOCH);
        let now_ms = now.expect("after 1970").as_millis() as u64;
        follower_disk.set_now_ms(now_ms);
        assert_eq!(content(&follower)?, content(&leader)?, "step {step}");
        if step % 17 == 0 {
            follower = reopen(&mut follower_disk, follower, options().sweep(false))?;
        }
    }
    assert_eq!(follower.begin_read()?.id(), leader.begin_read()?.id());
    Ok(())
}

#[test]
fn a_follower_refuses_what_does_not_follow() -> Result<()> {
    let leader = open(&SimDisk::new(7), options())?;
    let follower = open(&SimDisk::new(8), options())?;
    leader.update(|txn| txn.create_bucket("a").map(|_| ()))?;
    leader.update(|txn| txn.bucket_mut("a")?.put("k", "v"))?;
    let transactions = all(&mut leader.changes(TxnId(0))?)?;
    let refused = |found: Result<TxnId>| {
        let error = found.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
        error.to_string()
    };
    let gap = refused(follower.repeat(&transactions[1], Durability::Sync));
    assert!(gap.contains("expected transaction 1, found 2"), "{gap}");
    follower.update(|txn| txn.create_bucket("b").map(|_| ()))?;
    let other = refused(follower.repeat(&transactions[1], Durability::Sync));
    assert!(other.contains("expected the content"), "{other}");
    refused(follower.repeat(&transactions[0], Durability::Sync));
    assert_eq!(content(&follower)?, ["b None 0 0"]);
    // Nothing can be put beside buckets, whatever the bytes say.
    let mut forged = transactions[0].as_bytes()[..17].to_vec();
    forged.extend([3, 1, b'k', 1, b'v']);
    let error = Transaction::from_bytes(forged).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
    Ok(())
}

#[test]
fn who_waits_is_woken_by_a_commit() -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path().join("db"))?;
    let mut changes = db.changes(TxnId(0))?;
    let waited = Instant::now();
    assert_eq!(changes.next_timeout(Duration::from_millis(20))?, None);
    assert!(waited.elapsed() >= Duration::from_millis(20));
    let follower = std::thread::spawn(move || -> Result<u64> {
        let mut last = 0;
        while last < 200 {
            let next = changes.next_timeout(Duration::from_secs(60))?.expect("a commit in time");
            assert_eq!(next.id().0, last + 1);
            last += 1;
        }
        Ok(last)
    });
    for number in 1..=200 {
        commit(&db, number)?;
        if number % 50 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(follower.join().expect("no panic")?, 200);
    Ok(())
}

/// A log that has no record: that of transaction 2 was long, in a file of its own, and is gone.
fn without_records(disk: &SimDisk) -> Result<Db> {
    let db = open(disk, options().log_bytes_kept(0))?;
    commit(&db, 1)?;
    db.checkpoint()?;
    db.update(|txn| txn.bucket_mut("bucket")?.put("long", vec![7; 60_000]))?;
    db.checkpoint()?;
    db.close()?;
    open(disk, options().log_bytes_kept(0))
}

#[test]
fn what_is_in_no_record_of_the_log_is_compacted() -> Result<()> {
    let disk = SimDisk::new(9);
    let db = without_records(&disk)?;
    for after in 0..2 {
        assert!(db.changes(TxnId(after)).unwrap_err().is_compacted(), "after {after}");
    }
    let mut changes = db.changes(TxnId(2))?;
    assert_eq!(changes.try_next()?, None);
    commit(&db, 3)?;
    assert_eq!(ids(&all(&mut changes)?), [3]);
    // A reader that was there before, and one that waits: told at once, and each time.
    let disk = SimDisk::new(10);
    let db = open(&disk, options().log_bytes_kept(0))?;
    commit(&db, 1)?;
    let mut before = db.changes(TxnId(0))?;
    db.checkpoint()?;
    for number in 2..40 {
        commit(&db, number)?;
        db.checkpoint()?;
    }
    let begun = Instant::now();
    // It has looked at the first one already.
    assert_eq!(before.try_next()?.map(|next| next.id()), Some(TxnId(1)));
    for _ in 0..3 {
        assert!(before.next_timeout(Duration::from_secs(60)).unwrap_err().is_compacted());
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
    Ok(())
}

#[test]
fn who_has_seen_everything_misses_nothing_when_its_segment_is_recycled() -> Result<()> {
    let mut told = 0;
    for kept in (0..300_000).step_by(4096) {
        let disk = SimDisk::new(11);
        let db = open(&disk, options().log_bytes_kept(kept))?;
        commit(&db, 1)?;
        let mut changes = db.changes(TxnId(0))?;
        assert_eq!(ids(&all(&mut changes)?), [1]);
        db.checkpoint()?;
        db.update(|txn| txn.bucket_mut("bucket")?.put("long", vec![7; 70_000]))?;
        db.checkpoint()?;
        commit(&db, 3)?;
        db.checkpoint()?;
        if db.changes(TxnId(1)).is_ok() {
            assert_eq!(ids(&all(&mut changes)?), [2, 3], "{kept} bytes are kept");
            told += 1;
        }
    }
    assert!(told > 10, "{told}");
    Ok(())
}

#[test]
fn a_closed_database_has_no_more_changes() -> Result<()> {
    let db = open(&SimDisk::new(12), options())?;
    let mut changes = db.changes(TxnId(0))?;
    let follower = std::thread::spawn(move || -> Result<Vec<u64>> {
        let mut told = Vec::new();
        loop {
            match changes.next_timeout(Duration::MAX) {
                Ok(next) => told.push(next.expect("nobody waits for so long").id().0),
                Err(error) if matches!(error.kind(), ErrorKind::Closed { .. }) => return Ok(told),
                Err(error) => return Err(error),
            }
        }
    });
    commit(&db, 1)?;
    let mut txn = db.begin_write()?;
    txn.bucket_mut("bucket")?.put("buffered", "1")?;
    txn.set_durability(Durability::Buffered);
    txn.commit()?;
    db.close()?;
    assert_eq!(follower.join().expect("no panic")?, [1, 2]);
    Ok(())
}

#[test]
fn a_data_file_that_must_grow_on_a_full_disk_takes_the_room_of_the_kept_log() -> Result<()> {
    let disk = SimDisk::new(13);
    let db = open(&disk, options().log_bytes_kept(1 << 30))?;
    let commit = |number: u64| {
        let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        db.update(|txn| txn.create_bucket_if_missing("b")?.put(key, vec![number as u8; 1000]))
    };
    for number in 1..=600 {
        commit(number)?;
        if number % 30 == 0 {
            db.checkpoint()?;
        }
    }
    (601..=2000).try_for_each(commit)?;
    disk.set_capacity(Some(disk.space_bytes() + 60_000));
    let refused = (2001..9000).find(|number| commit(*number).is_err()).expect("it is full");
    db.checkpoint()?;
    commit(refused)?;
    assert!(db.changes(TxnId(1)).unwrap_err().is_compacted());
    Ok(())
}

#[test]
fn a_repeat_that_is_refused_does_not_move_the_clock() -> Result<()> {
    let (leader_disk, disk) = (SimDisk::new(14), SimDisk::new(15));
    let leader = open(&leader_disk, options())?;
    let follower = open(&disk, options().sweep(false))?;
    leader_disk.advance_ms(10_000_000_000);
    leader.update(|txn| txn.create_bucket("a").map(|_| ()))?;
    leader.update(|txn| txn.bucket_mut("a")?.put("k", "v"))?;
    let transactions = all(&mut leader.changes(TxnId(0))?)?;
    let before = follower.begin_read()?.now();
    follower.repeat(&transactions[1], Durability::Sync).unwrap_err();
    follower.update(|txn| txn.create_bucket("b").map(|_| ()))?;
    follower.repeat(&transactions[1], Durability::Sync).unwrap_err();
    assert_eq!(follower.begin_read()?.now(), before);
    Ok(())
}
