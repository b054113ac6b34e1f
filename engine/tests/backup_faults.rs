//! Backups and restores that are stopped, that fail, or that a power cut ends.
//!
//! Goal: what fails or is stopped leaves nothing under the name that was asked for, and the
//! database that is backed up goes on; after a power cut there is nothing of that name or all.
//!
//! Method: on the simulated disk, progress breaks at each of its calls, each operation of the disk
//! fails once, and a power cut ends a run after each operation.

#[path = "backup/content.rs"]
mod content;
#[path = "backup/tree.rs"]
mod tree;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bristlecone::io::Host;
use bristlecone::io::sim::errno::{EIO, ENOSPC};
use bristlecone::io::sim::{CrashImages, Fault, FaultPlan, OpKind, START_MS, SimDisk};
use bristlecone::{
    Backup, BackupOptions, BackupProgress, Db, ErrorKind, RestoreOptions, RestoreReport, Result,
};

use content::{Random, at_ms, fill, open, small};
use tree::{Tree, disk, options};

type Flow = ControlFlow<()>;

fn go_on() -> impl FnMut(BackupProgress) -> Flow {
    |_| Flow::Continue(())
}

/// Breaks at call `number`, and counts the calls.
fn stop_at(number: usize, calls: &mut usize) -> impl FnMut(BackupProgress) -> Flow {
    move |_| {
        *calls += 1;
        if *calls > number { Flow::Break(()) } else { Flow::Continue(()) }
    }
}

/// A database of several blocks, with records that expire, and its backup.
fn several_blocks(disk: &SimDisk) -> Result<(Db, Vec<u8>)> {
    let db = open(disk, "/db");
    fill(&db, &mut Random(5))?;
    db.update(|txn| {
        let mut b = txn.create_bucket_if_missing("b")?;
        b.put("long", vec![9; 2_500_000])?;
        b.put_until("leased", "until", at_ms(START_MS + 5000))
    })?;
    let mut bytes = Vec::new();
    db.backup(&mut bytes, &BackupOptions::new(), &mut go_on())?;
    Ok((db, bytes))
}

fn restore(
    disk: &SimDisk,
    bytes: &[u8],
    progress: &mut dyn FnMut(BackupProgress) -> Flow,
) -> Result<RestoreReport> {
    let host = Arc::new(disk.clone());
    Backup::from_reader(bytes).restore_on(host, "/new", &RestoreOptions::new(), options(), progress)
}

/// Nothing is there but the database that is backed up.
fn assert_nothing_left(disk: &SimDisk, what: &str) {
    let left = disk.list_all().into_keys().find(|path| !path.starts_with("/db"));
    assert_eq!(left, None, "{what}");
}

#[test]
fn a_file_has_its_name_when_it_is_whole_and_takes_it_from_nobody() -> Result<()> {
    let disk = disk(1);
    let (db, bytes) = several_blocks(&disk)?;
    let (path, unfinished) = (Path::new("/new.bcb"), Path::new("/new.bcb.unfinished"));
    // What a killed one has left.
    disk.write_file(unfinished, &[1; 10_000_000]).unwrap();
    for verify in [false, true] {
        let _absent_at_first = disk.remove_file(path);
        let backup_options = BackupOptions::new().verify(verify);
        let (mut told, mut before) = (0, BackupProgress::default());
        let report = db.backup_to(path, &backup_options, &mut |now| {
            assert!(!disk.list_all().contains_key(path));
            assert!(disk.list_all().contains_key(unfinished));
            assert!(verify || now.bytes >= before.bytes && now.pairs >= before.pairs);
            (told, before) = (told + 1, now);
            Flow::Continue(())
        })?;
        assert!(told > report.blocks, "{told} calls");
        assert_eq!([report.buckets, report.pairs], Tree::of_db(&db).stored());
        assert!(
            disk.read_file(path).unwrap() == bytes && !disk.list_all().contains_key(unfinished)
        );
        assert!(disk.is_durable(path, 0..report.bytes).unwrap());
        assert!(disk.is_entry_durable(path).unwrap());
        let read = Backup::open_on(&disk, path)?.verify(&mut |now| {
            assert_eq!(now.bytes_total, Some(report.bytes));
            Flow::Continue(())
        })?;
        assert_eq!(read, report);
    }
    for taken in ["/new.bcb", "/db"] {
        let told = &mut |_| unreachable!("nothing is written");
        let error = db.backup_to(taken, &BackupOptions::new(), told).unwrap_err();
        assert_eq!(error.to_string(), format!("expected a new file, found {taken}"));
    }
    // Taken while it was written.
    let late = Path::new("/late.bcb");
    let taking = &mut |_| {
        disk.write_file(late, b"of somebody else").unwrap();
        Flow::Continue(())
    };
    let error = db.backup_to(late, &BackupOptions::new(), taking).unwrap_err();
    assert_eq!(error.to_string(), "expected a new file, found /late.bcb");
    assert_eq!(disk.read_file(late).unwrap(), b"of somebody else");
    assert!(!disk.list_all().contains_key(Path::new("/late.bcb.unfinished")));
    assert!(disk.read_file(path).unwrap() == bytes);
    // Two at once, to one place.
    let mut inner = None;
    let again = Path::new("/again.bcb");
    db.backup_to(again, &BackupOptions::new(), &mut |_| {
        inner = Some(db.backup_to(again, &BackupOptions::new(), &mut go_on()));
        Flow::Continue(())
    })?;
    assert!(inner.expect("a call").unwrap_err().is_locked());
    assert!(disk.read_file(again).unwrap() == bytes);
    Ok(())
}

#[test]
fn options_that_cannot_be_are_refused() -> Result<()> {
    let db = small(&disk(1))?;
    for (backup_options, expected) in [
        (BackupOptions::new().bytes_per_second(0), "at least 1 byte a second"),
        (BackupOptions::new().verify(true), "expected a path"),
    ] {
        let mut bytes = Vec::new();
        let error = db.backup(&mut bytes, &backup_options, &mut go_on()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(bytes.is_empty());
    }
    Ok(())
}

#[test]
fn what_is_stopped_ends_with_an_error_and_leaves_nothing() -> Result<()> {
    let disk = disk(1);
    let (db, bytes) = several_blocks(&disk)?;
    let before = Tree::of_db(&db);
    type Run<'a> = &'a dyn Fn(&mut dyn FnMut(BackupProgress) -> Flow) -> Result<()>;
    let to_path: Run<'_> = &|progress| {
        let backup_options = BackupOptions::new().verify(true);
        db.backup_to("/new.bcb", &backup_options, progress).map(drop)
    };
    let to_stream: Run<'_> = &|progress| {
        let mut stream = Vec::new();
        let stopped = db.backup(&mut stream, &BackupOptions::new(), progress);
        let read = Backup::from_reader(&stream[..]).verify(&mut go_on());
        assert!(stopped.is_ok() || read.unwrap_err().is_cut_short());
        stopped.map(drop)
    };
    let verified: Run<'_> = &|progress| Backup::from_reader(&bytes[..]).verify(progress).map(drop);
    let restored: Run<'_> = &|progress| restore(&disk, &bytes, progress).map(drop);
    let bucket: Run<'_> = &|progress| {
        let none = Backup::from_reader(&bytes[..]).restore_bucket(&db, ["none"], progress);
        // The bucket is not there, and without a stop that is told at the end.
        match none {
            Err(error) if error.is_bucket_not_found() => Ok(()),
            other => other.map(drop),
        }
    };
    for (what, run) in [
        ("backup", to_path),
        ("backup", to_stream),
        ("verification", verified),
        ("restore", restored),
        ("restore", bucket),
    ] {
        for number in 0.. {
            let mut calls = 0;
            let stopped = run(&mut stop_at(number, &mut calls));
            let Err(error) = stopped else {
                assert!(number >= 5, "{what}: {number} calls");
                break;
            };
            let is_told = error.is_stopped() && calls == number + 1;
            let by_verification = error.to_string() == "verification stopped as asked";
            assert!(is_told, "{what} {number}: {error}");
            let expected = format!("{what} stopped as asked");
            assert!(by_verification || error.to_string() == expected, "{what}: {error}");
            assert_nothing_left(&disk, what);
        }
        for name in ["/new.bcb", "/new"] {
            let files = disk.contents().into_keys().filter(|path| path.starts_with(name));
            files.for_each(|path| disk.remove_file(&path).unwrap());
        }
        let _none = disk.remove_dir(Path::new("/new/wal"));
        let _none = disk.remove_dir(Path::new("/new"));
    }
    assert_eq!(Tree::of_db(&db), before);
    Ok(())
}

#[test]
fn a_rate_makes_a_backup_take_its_time() -> Result<()> {
    let disk = disk(1);
    let (db, bytes) = several_blocks(&disk)?;
    let begun = disk.now_ms();
    let mut stream = Vec::new();
    let backup_options = BackupOptions::new().bytes_per_second(1 << 20);
    let mut calls = 0;
    db.backup(&mut stream, &backup_options, &mut |_| {
        calls += 1;
        Flow::Continue(())
    })?;
    let took = disk.now_ms() - begun;
    let expected = (bytes.len() as u64 * 1000) >> 20;
    assert!(took.abs_diff(expected) <= 2, "{took} ms, expected {expected}");
    assert!(calls > expected / 100, "{calls} calls: it can be stopped while it waits");
    // The time in its header is that of its snapshot, before all that.
    assert_eq!(stream.len(), bytes.len());
    assert!(stream == bytes);
    Ok(())
}

/// A writer that fails.
struct Failing {
    left: usize,
    error: io::ErrorKind,
}

impl Write for Failing {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match buf.len().min(self.left) {
            0 => Err(self.error.into()),
            count => {
                self.left -= count;
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_fails_is_told_and_the_database_goes_on() -> Result<()> {
    let disk = disk(1);
    let (db, bytes) = several_blocks(&disk)?;
    for left in [0, 10, 64, 200, 100_000, bytes.len() / 2, bytes.len() - 1] {
        for error in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
            let mut out = Failing { left, error };
            let failed = db.backup(&mut out, &BackupOptions::new(), &mut go_on()).unwrap_err();
            match failed.kind() {
                ErrorKind::Full { what: "disk", .. } if error == io::ErrorKind::StorageFull => {}
                ErrorKind::Io { operation: "write", source, .. } => {
                    assert_eq!(source.kind(), error);
                }
                _ => panic!("{left} {error}: {failed}"),
            }
            db.update(|txn| txn.create_bucket_if_missing("more")?.put("k", left.to_be_bytes()))?;
        }
    }
    let mut out = Failing { left: bytes.len() + 1000, error: io::ErrorKind::BrokenPipe };
    db.backup(&mut out, &BackupOptions::new(), &mut go_on())?;
    assert_eq!(db.stats().readers, 0, "no snapshot is left");
    Ok(())
}

#[test]
fn each_operation_of_the_disk_may_fail() -> Result<()> {
    let disk = disk(1);
    let (db, bytes) = several_blocks(&disk)?;
    drop(db);
    for (errno, kind) in [
        (ENOSPC, OpKind::Write),
        (ENOSPC, OpKind::Resize),
        (ENOSPC, OpKind::Create),
        (EIO, OpKind::Write),
        (EIO, OpKind::Sync),
        (EIO, OpKind::Open),
        (EIO, OpKind::Rename),
        (EIO, OpKind::SyncDir),
        (EIO, OpKind::Read),
    ] {
        let (mut backups, mut restores) = (0, 0);
        for number in 0.. {
            let what = format!("{kind:?} {number}");
            let plan = |on: &str| {
                let plan = FaultPlan::new(kind, Fault::Refuse(errno)).on(on).after(number);
                if errno == ENOSPC { plan.forever() } else { plan }
            };
            let failing = disk.fork();
            let db = open(&failing, "/db");
            failing.fail(plan("/new"));
            let written =
                db.backup_to("/new.bcb", &BackupOptions::new().verify(true), &mut go_on());
            let has_failed = failing.stats().faults > 0;
            failing.clear_faults();
            if written.is_err() {
                assert!(has_failed, "{what}");
                assert_nothing_left(&failing, &what);
                backups += 1;
            }
            db.update(|txn| txn.create_bucket_if_missing("more")?.put("k", "v"))?;

            let restoring = disk.fork();
            restoring.fail(plan("/new"));
            let restored = restore(&restoring, &bytes, &mut go_on());
            let is_done = restoring.stats().faults == 0 && !has_failed;
            restoring.clear_faults();
            if restored.is_err() {
                assert_nothing_left(&restoring, &what);
                restores += 1;
            } else {
                assert_eq!(
                    Tree::of_db(&open(&restoring, "/new")),
                    Tree::of_db(&open(&disk, "/db"))
                );
            }
            if is_done {
                break;
            }
        }
        let told = matches!(kind, OpKind::Open | OpKind::Read | OpKind::SyncDir) || restores > 0;
        assert!(told, "{kind:?}: {backups} backups, {restores} restores");
    }
    Ok(())
}

#[test]
fn after_a_power_cut_there_is_nothing_or_all_of_it() -> Result<()> {
    let disk = disk(1);
    let db = small(&disk)?;
    let tree = Tree::of_db(&db);
    disk.start_trace();
    db.backup_to("/new.bcb", &BackupOptions::new(), &mut go_on())?;
    disk.mark(1);
    let bytes = disk.read_file("/new.bcb").unwrap();
    restore(&disk, &bytes, &mut go_on())?;
    disk.mark(2);
    let trace = disk.take_trace().expect("started above");
    let mut images = CrashImages::new(&trace);
    let (mut acknowledged, mut files, mut databases, mut number) = (0, 0, 0, 0);
    while let Some(event) = images.advance() {
        acknowledged = event.mark().unwrap_or(acknowledged);
        for seed in 0..4 {
            number += 1;
            let image = images.image(number * 4 + seed);
            let names = image.list_all();
            let (file, dir) = (Path::new("/new.bcb"), Path::new("/new"));
            if names.contains_key(file) {
                Backup::open_on(&image, file)?.verify(&mut go_on())?;
                files += 1;
            }
            if names.contains_key(dir) {
                assert_eq!(Tree::of_db(&open(&image, "/new")), tree, "cut {number}");
                databases += 1;
            }
            assert!(acknowledged < 1 || names.contains_key(file), "cut {number}");
            assert!(acknowledged < 2 || names.contains_key(dir), "cut {number}");
        }
    }
    assert!(files > 40 && databases > 4 && files < number, "{files} {databases} of {number}");
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "uses files")]
fn files_of_the_operating_system_do_as_well() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let db = Db::open_with(path("db"), options().threads(true))?;
    fill(&db, &mut Random(8))?;
    db.update(|txn| txn.create_bucket("b")?.put("long", vec![3; 9_000_000]))?;
    let backup_options = BackupOptions::new().verify(true).bytes_per_second(1 << 40);
    let report = db.backup_to(path("file"), &backup_options, &mut go_on())?;
    let mode = |name: &str| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("file"), 0o600);
    assert_eq!(Backup::open(path("file"))?.verify(&mut go_on())?, report);
    let restore_options = RestoreOptions::new().verify(true);
    Backup::open(path("file"))?.restore(path("new"), &restore_options, &mut go_on())?;
    assert_eq!(mode("new"), 0o700);
    let new = Db::open(path("new"))?;
    assert_eq!(Tree::of_db(&new), Tree::of_db(&db));
    assert_eq!(Tree::of_db(&new).at(&["b"]).pairs.len(), 1);
    assert!(new.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
    let error = Backup::open(path("none")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io { operation: "open", .. }), "{error}");
    let again = Backup::open(path("file"))?.restore(path("new"), &restore_options, &mut go_on());
    assert!(again.unwrap_err().to_string().contains("with content"));
    Ok(())
}
