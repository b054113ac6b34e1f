//! Backups and restores.
//!
//! Goal: what is restored is what was backed up, all of it; a backup that is cut short or damaged
//! is never taken for a whole one, and leaves nothing behind.
//!
//! Method: random content on the simulated disk is backed up, restored and compared. A small backup
//! is cut at every byte and flipped at every bit. What goes wrong meanwhile is in
//! `backup_faults.rs`.

#[path = "backup/content.rs"]
mod content;
#[path = "backup/damage.rs"]
mod damage;
#[path = "backup/golden.rs"]
mod golden;
#[path = "backup/tree.rs"]
mod tree;

use std::ops::ControlFlow;
use std::sync::Arc;

use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::limits::BUCKET_DEPTH_MAX;
use bristlecone::{
    Backup, BackupOptions, BackupProgress, BackupReport, BucketMut, Db, ErrorKind, RestoreOptions,
    RestoreReport, Result,
};

use content::{Random, at_ms, fill, open, small};
use tree::{Tree, disk, options};

/// What whoever tells progress is told.
fn go_on() -> impl FnMut(BackupProgress) -> ControlFlow<()> {
    |_| ControlFlow::Continue(())
}

fn backup(db: &Db) -> Result<(Vec<u8>, BackupReport)> {
    let mut bytes = Vec::new();
    let report = db.backup(&mut bytes, &BackupOptions::new(), &mut go_on())?;
    Ok((bytes, report))
}

fn verify(bytes: &[u8]) -> Result<BackupReport> {
    Backup::from_reader(bytes).verify(&mut go_on())
}

fn restore(disk: &SimDisk, bytes: &[u8], options_: &RestoreOptions) -> Result<RestoreReport> {
    let host = Arc::new(disk.clone());
    Backup::from_reader(bytes).restore_on(host, "/new", options_, options(), &mut go_on())
}

/// Opens what was restored, which must be sound.
fn open_new(disk: &SimDisk) -> Db {
    let db = open(disk, "/new");
    let report = db.check(&mut |_| ControlFlow::Continue(())).expect("no fault");
    assert!(report.is_sound(), "{:?}", report.problems);
    db
}

fn is_gone(disk: &SimDisk) -> bool {
    !disk.list_all().keys().any(|path| path.to_string_lossy().contains("new"))
}

impl Tree {
    /// Buckets within it, pairs that show, and bytes of their keys and values.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let bytes = |(key, (value, _)): (&Vec<u8>, &(Vec<u8>, _))| key.len() + value.len();
        let own = self.pairs.iter().map(bytes).sum::<usize>() as u64;
        let mut counts = [self.buckets.len() as u64, self.pairs.len() as u64, own];
        for nested in self.buckets.values() {
            counts.iter_mut().zip(nested.counts()).for_each(|(sum, count)| *sum += count);
        }
        counts
    }
}

#[test]
fn what_is_restored_is_what_was_backed_up() -> Result<()> {
    for seed in 0..12 {
        let (disk, mut random) = (disk(seed), Random(seed));
        let db = open(&disk, "/db");
        fill(&db, &mut random)?;
        let tree = Tree::of_db(&db);
        let (bytes, report) = backup(&db)?;
        assert_eq!([report.buckets, report.pairs], tree.stored(), "seed {seed}");
        assert!(report.content_bytes >= tree.counts()[2], "seed {seed}");
        assert_eq!((report.revision, report.bytes), (db.stats().revision, bytes.len() as u64));
        assert_eq!((report.time, report.page_bytes), (at_ms(START_MS), 4096));
        assert_eq!(verify(&bytes)?, report, "seed {seed}");

        let page_bytes = [4096, 8192, 32768][seed as usize % 3];
        let options = RestoreOptions::new().page_bytes(page_bytes).verify(seed % 2 == 0);
        let restored = restore(&disk, &bytes, &options)?;
        assert_eq!((restored.backup, restored.revision), (report, report.revision));
        assert_eq!([restored.buckets, restored.pairs], tree.stored());
        assert_eq!(restored.content_bytes, report.content_bytes);
        let new = open_new(&disk);
        assert_eq!(Tree::of_db(&new), tree, "seed {seed}");
        assert_eq!(new.stats().page_bytes, page_bytes as u64);
        assert_eq!(new.stats().revision, report.revision);
        // A backup of it says the same, but for the number of the database.
        let (again, _) = backup(&new)?;
        assert_eq!(again.len(), bytes.len());
        assert!(again[16..32] != bytes[16..32], "a number of its own");
        // It is a database as any other: it goes on from there.
        let next = new.begin_write()?.id();
        assert_eq!(next.0, report.revision.0 + 1);
        fill(&new, &mut random)?;
        let more = Tree::of_db(&new);
        drop(new);
        assert_eq!(Tree::of_db(&open_new(&disk)), more, "seed {seed}");
    }
    Ok(())
}

#[test]
fn an_empty_database_is_restored_as_one() -> Result<()> {
    let disk = disk(1);
    let (bytes, report) = backup(&open(&disk, "/db"))?;
    assert_eq!((report.revision.0, report.pairs, report.blocks), (0, 0, 0));
    restore(&disk, &bytes, &RestoreOptions::new())?;
    let new = open_new(&disk);
    assert_eq!(Tree::of_db(&new), Tree::default());
    new.update(|txn| txn.create_bucket("b")?.put("k", "v"))?;
    assert_eq!(new.stats().revision.0, 1);
    Ok(())
}

#[test]
fn buckets_of_every_depth_go_through() -> Result<()> {
    fn nest(bucket: &mut BucketMut<'_>, depth: usize) -> Result<()> {
        bucket.put("k", depth.to_string().repeat(depth * 3))?;
        bucket.set_sequence(depth as u64)?;
        match depth {
            BUCKET_DEPTH_MAX => Ok(()),
            _ => nest(&mut bucket.create_bucket(format!("b{depth}"))?, depth + 1),
        }
    }
    let disk = disk(1);
    let db = open(&disk, "/db");
    db.update(|txn| nest(&mut txn.create_bucket("b")?, 1))?;
    let (bytes, report) = backup(&db)?;
    assert_eq!(report.buckets, BUCKET_DEPTH_MAX as u64);
    restore(&disk, &bytes, &RestoreOptions::new().verify(true))?;
    assert_eq!(Tree::of_db(&open_new(&disk)), Tree::of_db(&db));
    Ok(())
}

/// Within a transaction of the thread that calls it too: no lock of a writer's is needed.
#[test]
fn a_backup_may_be_written_beside_an_open_transaction() -> Result<()> {
    let db = small(&disk(1))?;
    let (before, _) = backup(&db)?;
    db.update(|txn| {
        txn.bucket_mut("a")?.put("k", "not yet")?;
        assert!(backup(&db)?.0 == before);
        Ok(())
    })
}

#[test]
fn long_values_go_through_in_pieces() -> Result<()> {
    let disk = disk(1);
    let db = open(&disk, "/db");
    let value: Vec<u8> = (0..5 << 20).map(|index: u32| (index ^ index >> 9) as u8).collect();
    let lens = [65536, 65537, 1 << 20, (1 << 20) + 1, 3_333_333, 5 << 20];
    db.update(|txn| {
        let mut bucket = txn.create_bucket("b")?;
        for (index, len) in lens.iter().enumerate() {
            bucket.put([index as u8], &value[..*len])?;
            bucket.put([index as u8, 0], "between")?;
        }
        Ok(())
    })?;
    let (bytes, report) = backup(&db)?;
    // One for what is before each long value, one or more for the value.
    assert_eq!(report.blocks, 6 + 1 + 1 + 2 + 4 + 5);
    restore(&disk, &bytes, &RestoreOptions::new())?;
    assert_eq!(Tree::of_db(&open_new(&disk)), Tree::of_db(&db));
    Ok(())
}

#[test]
fn what_has_expired_stays_hidden_and_the_rest_expires_in_its_time() -> Result<()> {
    let disk = disk(1);
    let db = open(&disk, "/db");
    db.update(|txn| {
        let mut bucket = txn.create_bucket("b")?;
        bucket.put_until("past", "1", at_ms(START_MS + 1000))?;
        for number in 0..3000_u32 {
            bucket.put_until(number.to_be_bytes(), "2", at_ms(START_MS + 5000))?;
        }
        let mut nested = bucket.create_bucket("in")?;
        nested.put_until("later", "3", at_ms(START_MS + 9000))?;
        nested.put("stays", "4")
    })?;
    disk.advance_ms(2000);
    let (bytes, report) = backup(&db)?;
    assert_eq!((report.pairs, report.time), (3003, at_ms(START_MS + 2000)));
    // The clock of the machine it is restored on is behind: the database's is not.
    disk.advance_ms(-2000);
    restore(&disk, &bytes, &RestoreOptions::new())?;
    let new = open_new(&disk);
    assert_eq!(new.snapshot()?.now(), at_ms(START_MS + 2000));
    assert_eq!(Tree::of_db(&new).counts()[1], 3002, "what has expired stays so");
    disk.set_now_ms(START_MS + 6000);
    assert_eq!(Tree::of_db(&new).counts()[1], 2);
    // The sweep finds them: they are in the list of expiries.
    let swept = new.sweep(&mut |_| ControlFlow::Continue(()))?;
    assert_eq!(swept.removed, 3001);
    disk.set_now_ms(START_MS + 10_000);
    assert_eq!(new.sweep(&mut |_| ControlFlow::Continue(()))?.removed, 1);
    new.sync()?;
    let left = new.begin_read()?.bucket("b")?.bucket("in")?.len();
    assert_eq!(left, 1);
    Ok(())
}

#[test]
fn a_backup_has_what_its_snapshot_had_while_a_writer_goes_on() -> Result<()> {
    let disk = disk(3);
    let db = open(&disk, "/db");
    fill(&db, &mut Random(3))?;
    let tree = Tree::of_db(&db);
    let revision = db.stats().revision;
    let (mut bytes, mut random, mut commits) = (Vec::new(), Random(4), 0);
    let report = db.backup(&mut bytes, &BackupOptions::new(), &mut |_| {
        let names: Vec<Vec<u8>> =
            db.snapshot().unwrap().buckets().unwrap().map(|name| name.unwrap().to_vec()).collect();
        db.update(|txn| names.iter().take(2).try_for_each(|name| txn.drop_bucket(name))).unwrap();
        fill(&db, &mut random).unwrap();
        db.checkpoint().unwrap();
        commits += 1;
        ControlFlow::Continue(())
    })?;
    assert!(commits > 2, "{commits} calls");
    assert_eq!(report.revision, revision);
    assert!(Tree::of_db(&db) != tree && db.stats().revision > revision);
    restore(&disk, &bytes, &RestoreOptions::new())?;
    assert_eq!(Tree::of_db(&open_new(&disk)), tree);
    Ok(())
}

#[test]
fn one_bucket_is_restored_alone() -> Result<()> {
    let disk = disk(1);
    let db = open(&disk, "/db");
    fill(&db, &mut Random(9))?;
    db.update(|txn| {
        let mut jobs = txn.create_bucket("jobs")?;
        jobs.put("beside", "not wanted")?;
        jobs.put("long beside", vec![1; 100_000])?;
        jobs.set_sequence(3)?;
        jobs.create_bucket("a")?.create_bucket("b")?.put("k", "of a, not wanted")?;
        let mut wanted = jobs.create_bucket("b")?;
        wanted.put("k", "v")?;
        wanted.put("large", vec![2; 200_000])?;
        wanted.put_until("leased", "until", at_ms(START_MS + 5000))?;
        wanted.put_until("leased, large", vec![3; 80_000], at_ms(START_MS + 5000))?;
        wanted.set_sequence(7)?;
        wanted.create_bucket("b")?.put("deep", "er")
    })?;
    let (bytes, report) = backup(&db)?;
    let wanted = Tree::of_db(&db).at(&["jobs", "b"]).clone();

    let none = restore(&disk, &bytes, &RestoreOptions::new().bucket(["none"])).unwrap_err();
    assert!(none.is_bucket_not_found() && is_gone(&disk), "{none}");
    let restored = restore(&disk, &bytes, &RestoreOptions::new().bucket(["jobs", "b"]))?;
    let [buckets, pairs, content_bytes] = wanted.counts();
    assert_eq!((restored.buckets, restored.pairs), (buckets + 1, pairs));
    assert_eq!((restored.content_bytes, restored.revision), (content_bytes, report.revision));
    let new = open_new(&disk);
    let tree = Tree::of_db(&new);
    assert_eq!(tree.at(&["jobs", "b"]), &wanted);
    assert_eq!((tree.buckets.len(), tree.at(&["jobs"]).buckets.len()), (1, 1));
    assert_eq!((tree.at(&["jobs"]).pairs.len(), tree.at(&["jobs"]).sequence), (0, 0));

    // Into a database that has some of the buckets around it.
    let host = disk.fork();
    let other = open(&host, "/other");
    other.update(|txn| txn.create_bucket("jobs")?.put("own", "stays"))?;
    let into =
        |path: &[&str]| Backup::from_reader(&bytes[..]).restore_bucket(&other, path, &mut go_on());
    let restored = into(&["jobs", "b"])?;
    assert_eq!((restored.pairs, restored.revision.0, restored.backup), (pairs, 2, report));
    let before = Tree::of_db(&other);
    assert_eq!(before.at(&["jobs", "b"]), &wanted);
    assert_eq!(before.at(&["jobs"]).pairs.len(), 1);
    for (path, expected) in [
        (&["jobs", "b"][..], "bucket exists already: \"b\""),
        (&["jobs", "own"], "expected a bucket, found a value"),
        (&["jobs", "own", "x"], "expected a bucket, found a value"),
        (&["jobs", "none"], "bucket not found: \"jobs/none\""),
        (&["none", "b"], "bucket not found: \"none/b\""),
        (&[], "expected the path of a bucket"),
    ] {
        let error = into(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{path:?}: {error}");
    }
    assert_eq!(Tree::of_db(&other), before);
    // It is in the log, with what it needs to expire.
    let host = host.fork();
    let killed = open(&host, "/other");
    assert!(Tree::of_db(&killed) == before);
    assert!(killed.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
    host.set_now_ms(START_MS + 6000);
    assert_eq!(killed.sweep(&mut |_| ControlFlow::Continue(()))?.removed, 2);
    Ok(())
}

#[test]
fn a_key_that_the_page_size_does_not_allow_is_told() -> Result<()> {
    let disk = disk(1);
    let options_ = options().page_bytes(8192);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options_)?;
    db.update(|txn| txn.create_bucket("b")?.put([7; 2048], "v"))?;
    let (bytes, _) = backup(&db)?;
    let error = restore(&disk, &bytes, &RestoreOptions::new().page_bytes(4096)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TooLarge { max: 1024, found: 2048, .. }), "{error}");
    assert!(is_gone(&disk));
    restore(&disk, &bytes, &RestoreOptions::new())?;
    Ok(())
}
