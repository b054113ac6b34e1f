//! Archives: backups of changes after a full one, and any point between them restored.

#[path = "backup/tree.rs"]
mod tree;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bristlecone::io::sim::errno::ENOSPC;
use bristlecone::io::sim::{CrashImages, Fault, FaultPlan, OpKind, SimDisk};
use bristlecone::{
    Archive, ArchiveReport, Backup, BackupKind, BackupOptions, BackupProgress, BackupReport, Db,
    Error, ErrorKind, Options, RestoreOptions, RestorePoint, RestoreReport, Result, TxnId,
};

use tree::{Tree, disk};

fn go_on() -> impl FnMut(BackupProgress) -> ControlFlow<()> {
    |_| ControlFlow::Continue(())
}

fn options() -> Options {
    tree::options().log_bytes_kept(1 << 40)
}

fn open(disk: &SimDisk, path: &str) -> Db {
    Db::open_on(Arc::new(disk.clone()), path, options()).expect("no fault")
}

fn archive(db: &Db) -> Result<ArchiveReport> {
    db.archive("/archive", &BackupOptions::new(), &mut go_on())
}

fn restore(disk: &SimDisk, point: RestorePoint, into: &str) -> Result<RestoreReport> {
    let archive = Archive::open_on(Arc::new(disk.clone()), "/archive")?;
    let options = RestoreOptions::new();
    archive.restore_with(point, Path::new(into), &options, tree::options(), &mut go_on())
}

fn changes_after(db: &Db, after: u64) -> Result<(Vec<u8>, BackupReport)> {
    let mut bytes = Vec::new();
    let report =
        db.backup_changes(TxnId(after), &mut bytes, &BackupOptions::new(), &mut go_on())?;
    Ok((bytes, report.expect("something was committed")))
}

fn full(db: &Db) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    db.backup(&mut bytes, &BackupOptions::new(), &mut go_on())?;
    Ok(bytes)
}

/// One commit, whose content is unlike that of any other.
fn commit(db: &Db, number: u64) -> Result<()> {
    db.update(|txn| {
        let mut bucket = txn.create_bucket_if_missing("b")?;
        bucket.next_sequence()?;
        bucket.put((number % 30).to_be_bytes(), number.to_be_bytes())?;
        match number % 17 {
            3 => bucket.put("long", vec![number as u8; 20_000])?,
            5 => drop(bucket.delete("long")?),
            7 => {
                let ttl = std::time::Duration::from_millis(3000);
                bucket.create_bucket_if_missing("job")?.expire_after(ttl)?;
            }
            9 => bucket.put_with_ttl("lease", "held", std::time::Duration::from_millis(900))?,
            _ => {}
        }
        Ok(())
    })
}

/// What a database shows at a clock that shows everything.
fn content_of(disk: &SimDisk, path: &str) -> Tree {
    Tree::of_db(&open(disk, path))
}

fn assert_invalid(error: &Error, part: &str) {
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn every_point_of_a_history_is_restored() -> Result<()> {
    let disk = disk(1);
    let mut db = open(&disk, "/db");
    // The content after each transaction, and when it began.
    let mut points: Vec<(Tree, SystemTime)> = vec![(Tree::of_db(&db), SystemTime::UNIX_EPOCH)];
    for number in 1..=150 {
        if number % 7 == 0 {
            disk.advance_ms(500);
        }
        match number % 40 {
            13 => {
                db.sweep(&mut go_on_sweeping)?;
                db.sync()?;
            }
            _ => commit(&db, number)?,
        }
        let revision = db.begin_read()?.id().0 as usize;
        let time = db.changes(TxnId(revision as u64 - 1))?.try_next()?.expect("one").time();
        assert!(revision == points.len() || revision == points.len() - 1);
        points.truncate(revision);
        points.push((Tree::of_db(&db), time));
        match number % 50 {
            4 | 20 | 33 => {
                let report = archive(&db)?;
                assert!(!report.has_gap && report.revision.0 == revision as u64);
            }
            25 => db.checkpoint()?,
            40 => {
                archive(&db)?;
                db.archive_full("/archive", &BackupOptions::new(), &mut go_on())?;
            }
            45 => {
                db.close()?;
                db = open(&disk, "/db");
            }
            _ => {}
        }
    }
    archive(&db)?;
    assert_eq!(archive(&db)?.added, None, "nothing was committed since");
    let newest = points.len() - 1;
    let archived = Archive::open_on(Arc::new(disk.clone()), "/archive")?;
    assert_eq!(archived.newest(), Some(TxnId(newest as u64)));
    let oldest = archived.full_backups()[0].0 as usize;
    assert_eq!((oldest, archived.full_backups().len()), (4, 4));
    for point in oldest..=newest {
        let (tree, time) = &points[point];
        let fork = disk.fork();
        // What time it is there, the transactions tell: nothing else has expired.
        fork.set_now_ms(1);
        let report = restore(&fork, RestorePoint::Transaction(TxnId(point as u64)), "/new")?;
        assert_eq!(report.revision.0 as usize, point);
        assert!(report.time == *time || report.transactions == 0);
        let restored = open(&fork, "/new");
        assert!(Tree::of_db(&restored) == *tree, "point {point}");
        assert!(restored.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
        let last_at_time = points.iter().rposition(|(_, other)| other <= time).expect("there is");
        let report = restore(&fork, RestorePoint::Time(*time), "/at-time")?;
        assert_eq!(report.revision.0 as usize, last_at_time, "point {point}");
    }
    let fork = disk.fork();
    assert_eq!(restore(&fork, RestorePoint::Newest, "/new")?.revision.0 as usize, newest);
    let before = restore(&fork, RestorePoint::Transaction(TxnId(3)), "/no").unwrap_err();
    assert_invalid(&before, "expected a backup up to");
    let beyond = RestorePoint::Transaction(TxnId(newest as u64 + 1));
    assert_invalid(&restore(&fork, beyond, "/no").unwrap_err(), "expected a transaction up to");
    assert!(!fork.list_all().keys().any(|path| path.starts_with("/no")));
    Ok(())
}

fn go_on_sweeping(_: bristlecone::SweepProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_restored_database_goes_on_and_has_an_archive_of_its_own() -> Result<()> {
    let disk = disk(2);
    let db = open(&disk, "/db");
    (1..=20).try_for_each(|number| commit(&db, number))?;
    archive(&db)?;
    (21..=40).try_for_each(|number| commit(&db, number))?;
    archive(&db)?;
    restore(&disk, RestorePoint::Transaction(TxnId(30)), "/new")?;
    let restored = open(&disk, "/new");
    commit(&restored, 31)?;
    assert_eq!(restored.begin_read()?.id(), TxnId(31));
    // It has a past of its own from there on.
    assert_invalid(&archive(&restored).unwrap_err(), "expected an archive of database");
    let full = restored.archive_full("/archive", &BackupOptions::new(), &mut go_on());
    assert_invalid(&full.unwrap_err(), "expected an archive of database");
    drop(db);
    disk.set_now_ms(1);
    let again = open(&disk, "/db");
    assert_eq!(archive(&again)?.added, None);
    Ok(())
}

#[test]
fn a_log_that_was_given_up_leaves_a_gap_and_says_so() -> Result<()> {
    let disk = disk(3);
    let small = tree::options().wal_segment_bytes_max(16 << 10);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", small)?;
    commit(&db, 1)?;
    assert!(!archive(&db)?.has_gap);
    for number in 2..100 {
        commit(&db, number)?;
        db.checkpoint()?;
    }
    let report = archive(&db)?;
    assert!(report.has_gap && report.revision.0 == 99);
    assert_eq!(report.added.map(|added| added.kind), Some(BackupKind::Full));
    let lost = restore(&disk, RestorePoint::Transaction(TxnId(50)), "/no").unwrap_err();
    assert_invalid(&lost, "expected a transaction up to 1, found 50");
    restore(&disk, RestorePoint::Newest, "/new")?;
    assert!(content_of(&disk, "/new") == Tree::of_db(&db));
    Ok(())
}

#[test]
fn backups_of_changes_are_applied_in_order_and_none_is_missing() -> Result<()> {
    let disk = disk(4);
    let db = open(&disk, "/db");
    commit(&db, 1)?;
    let full = full(&db)?;
    (2..=10).try_for_each(|number| commit(&db, number))?;
    let (first, report) = changes_after(&db, 1)?;
    assert_eq!(report.kind, BackupKind::Changes { first: TxnId(2), transactions: 9 });
    assert_eq!((report.revision, report.bytes), (TxnId(10), first.len() as u64));
    assert_eq!(Backup::from_reader(&first[..]).verify(&mut go_on())?, report);
    // One transaction that takes several blocks.
    db.update(|txn| txn.bucket_mut("b")?.put("huge", vec![7; 3_000_000]))?;
    (12..=20).try_for_each(|number| commit(&db, number))?;
    let (second, _) = changes_after(&db, 8)?;
    let none = db.backup_changes(TxnId(20), &mut Vec::new(), &BackupOptions::new(), &mut go_on());
    assert_eq!(none?, None);
    let restore = |later: &[&[u8]], point| {
        let dir = tempfile::tempdir().expect("a directory");
        let later = later.iter().map(|bytes| Ok(Backup::from_reader(*bytes)));
        let into = dir.path().join("new");
        let backup = Backup::from_reader(&full[..]);
        let done = backup.restore_to(point, later, &into, &RestoreOptions::new(), &mut go_on());
        assert_eq!(into.exists(), done.is_ok());
        done
    };
    assert_eq!(restore(&[&first, &second], RestorePoint::Newest)?.revision, TxnId(20));
    assert_eq!(restore(&[&first], RestorePoint::Newest)?.revision, TxnId(10));
    assert_eq!(restore(&[], RestorePoint::Newest)?.revision, TxnId(1));
    let point = RestorePoint::Transaction(TxnId(9));
    assert_eq!(restore(&[&first, &second], point)?.revision, TxnId(9));
    assert_invalid(&restore(&[&second], RestorePoint::Newest).unwrap_err(), "changes from 2 on");
    let before = restore(&[&first], RestorePoint::Transaction(TxnId(0))).unwrap_err();
    assert_invalid(&before, "from transaction 1 on");
    // Not a full backup, and not one of changes.
    let wrong = restore(&[&full], RestorePoint::Newest).unwrap_err();
    assert!(matches!(wrong.kind(), ErrorKind::Unsupported { .. }), "{wrong}");
    let alone = Backup::from_reader(&first[..]);
    let wrong = alone.restore("/no", &RestoreOptions::new(), &mut go_on()).unwrap_err();
    assert!(matches!(wrong.kind(), ErrorKind::Unsupported { .. }), "{wrong}");
    // Those of another database.
    let other = open(&disk, "/other");
    (1..=5).try_for_each(|number| commit(&other, number))?;
    let (others, _) = changes_after(&other, 1)?;
    assert_invalid(
        &restore(&[&others], RestorePoint::Newest).unwrap_err(),
        "expected changes of database",
    );
    Ok(())
}

#[test]
fn changes_that_are_cut_or_changed_anywhere_are_refused() -> Result<()> {
    let disk = disk(5);
    let db = open(&disk, "/db");
    (1..=4).try_for_each(|number| commit(&db, number))?;
    db.update(|txn| txn.bucket_mut("b")?.put("long", vec![5; 300_000]))?;
    let (bytes, _) = changes_after(&db, 0)?;
    let verify = |bytes: &[u8]| Backup::from_reader(bytes).verify(&mut go_on());
    verify(&bytes)?;
    let step = |at: usize| at < 3000 || at + 3000 > bytes.len() || at.is_multiple_of(997);
    for len in (0..bytes.len()).filter(|len| step(*len)) {
        let error = verify(&bytes[..len]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::CutShort { .. }), "{len} bytes: {error}");
    }
    for at in (0..bytes.len()).filter(|at| step(*at)) {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 1 << (at % 8);
        let error = verify(&spoilt).unwrap_err();
        let is_told = error.is_corrupt()
            || matches!(error.kind(), ErrorKind::CutShort { .. } | ErrorKind::Unsupported { .. });
        assert!(is_told, "byte {at}: {error}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(verify(&longer).unwrap_err().is_corrupt());
    Ok(())
}

#[test]
fn after_a_power_cut_an_archive_has_whole_files_and_goes_on() -> Result<()> {
    let disk = disk(6);
    let db = open(&disk, "/db");
    (1..=10).try_for_each(|number| commit(&db, number))?;
    disk.start_trace();
    archive(&db)?;
    disk.mark(10);
    (11..=25).try_for_each(|number| commit(&db, number))?;
    archive(&db)?;
    disk.mark(25);
    let trace = disk.take_trace().expect("started above");
    let mut images = CrashImages::new(&trace);
    let (mut acknowledged, mut restored, mut number) = (0, 0, 0);
    while let Some(event) = images.advance() {
        acknowledged = event.mark().unwrap_or(acknowledged);
        for seed in 0..3 {
            number += 1;
            let image = images.image(number * 3 + seed);
            let archived = Archive::open_on(Arc::new(image.clone()), "/archive")?;
            let newest = archived.newest().map_or(0, |newest| newest.0);
            assert!(newest >= acknowledged, "cut {number}");
            if newest > 0 {
                let report = restore(&image, RestorePoint::Newest, "/new")?;
                assert_eq!(report.revision.0, newest, "cut {number}");
                restored += 1;
            }
            // What was archived is durable, so the database is not behind it.
            let db = open(&image, "/db");
            assert!(db.begin_read()?.id().0 >= newest, "cut {number}");
            assert!(!archive(&db)?.has_gap);
        }
    }
    assert!(restored > 20 && restored < number, "{restored} of {number}");
    Ok(())
}

#[test]
fn a_full_disk_stops_an_archive_and_a_restore_and_nothing_is_lost() -> Result<()> {
    let disk = disk(7);
    let db = open(&disk, "/db");
    (1..=10).try_for_each(|number| commit(&db, number))?;
    archive(&db)?;
    (11..=25).try_for_each(|number| commit(&db, number))?;
    let (mut archives, mut restores) = (0, 0);
    for kind in [OpKind::Write, OpKind::Resize, OpKind::Create] {
        for at in 0..6 {
            let failing = disk.fork();
            let copy = open(&failing, "/db");
            let plan = |path: &str| FaultPlan::new(kind, Fault::Refuse(ENOSPC)).on(path).after(at);
            failing.fail(plan("/archive"));
            let outcome = archive(&copy);
            let failed = failing.stats().faults > 0;
            failing.clear_faults();
            assert_eq!(outcome.is_err(), failed, "{kind:?} {at}");
            if let Err(error) = outcome {
                assert!(error.is_full(), "{error}");
                archives += 1;
            }
            commit(&copy, 26)?;
            assert_eq!(archive(&copy)?.revision, TxnId(26));
            failing.fail(plan("/new"));
            let outcome = restore(&failing, RestorePoint::Newest, "/new");
            failing.clear_faults();
            if let Err(error) = outcome {
                assert!(error.is_full(), "{error}");
                restores += 1;
                assert!(!failing.list_all().keys().any(|path| path.starts_with("/new")));
                restore(&failing, RestorePoint::Newest, "/new")?;
            }
            assert!(content_of(&failing, "/new") == Tree::of_db(&copy));
        }
    }
    assert!(archives > 0 && restores > 3, "{archives} {restores}");
    Ok(())
}

#[test]
fn what_an_archive_is_said_to_have_is_durable_whatever_was_cut_short_before() -> Result<()> {
    let mut cut_short = 0;
    for path in ["/", "/archive"] {
        for after in 0..6 {
            let disk = disk(8);
            let db = open(&disk, "/db");
            (1..=5).try_for_each(|number| commit(&db, number))?;
            let plan = FaultPlan::new(OpKind::SyncDir, Fault::Refuse(ENOSPC)).on(path);
            disk.fail(plan.after(after));
            let first = archive(&db);
            disk.clear_faults();
            cut_short += usize::from(first.is_err());
            let second = archive(&db)?;
            assert_eq!(second.revision, TxnId(5));
            for seed in 0..20 {
                let left = disk.crash(seed);
                let found = Archive::open_on(Arc::new(left), "/archive")?.newest();
                assert_eq!(found, Some(TxnId(5)), "sync {after} of {path}");
            }
        }
    }
    assert!(cut_short > 2, "{cut_short}");
    Ok(())
}

#[test]
fn a_hole_is_told_where_it_may_matter() -> Result<()> {
    let disk = disk(9);
    let db = open(&disk, "/db");
    let mut times = Vec::new();
    for number in 1..=6 {
        disk.advance_ms(1000);
        commit(&db, number)?;
        times.push(db.begin_write()?.now());
        archive(&db)?;
    }
    let file = |first: u64| {
        let names = disk.list_all();
        let name = format!("/archive/changes-{first:020}");
        let found = names.keys().find(|path| path.to_string_lossy().starts_with(&name));
        found.expect("a file of changes").clone()
    };
    bristlecone::io::Host::remove_file(&disk, &file(3)).expect("it is there");
    let restored = |point| restore(&disk.fork(), point, "/new").map(|report| report.revision.0);
    assert_eq!(restored(RestorePoint::Transaction(TxnId(2)))?, 2);
    for point in
        [RestorePoint::Newest, RestorePoint::Time(times[4]), RestorePoint::Transaction(TxnId(5))]
    {
        assert_invalid(&restored(point).unwrap_err(), "expected");
    }
    // What the log still has fills it.
    assert!(!archive(&db)?.has_gap);
    for (index, time) in times.iter().enumerate() {
        assert_eq!(restored(RestorePoint::Time(*time))?, index as u64 + 1);
    }
    Ok(())
}

#[test]
fn a_damaged_file_does_not_keep_what_is_before_it() -> Result<()> {
    let disk = disk(10);
    let db = open(&disk, "/db");
    for round in 0..3 {
        (round * 5 + 1..=round * 5 + 5).try_for_each(|number| commit(&db, number))?;
        archive(&db)?;
    }
    let path = "/archive/changes-00000000000000000011-00000000000000000015.bcb";
    disk.overwrite(path, 100, &[0xff; 8]).expect("it is there");
    for point in [5, 7, 10] {
        let into = format!("/new-{point}");
        restore(&disk, RestorePoint::Transaction(TxnId(point)), &into)?;
    }
    assert!(restore(&disk, RestorePoint::Newest, "/newest").unwrap_err().is_corrupt());
    Ok(())
}
