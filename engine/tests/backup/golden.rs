//! Backups of format version 1 that were kept, as text.

use std::ops::ControlFlow;
use std::sync::Arc;

use bristlecone::io::Host;
use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::{Backup, BackupOptions, Db, RestoreOptions, Result};

use crate::content::{at_ms, open, small};
use crate::tree::{Tree, disk, options};
use crate::{backup, go_on, open_new, restore, verify};

fn golden(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backup").join(name)
}

/// The bytes of a golden backup. A row is so many times the bytes behind.
fn read_golden(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(golden(name)).expect("the golden backup");
    let mut bytes = Vec::new();
    for line in text.lines() {
        let (count, row) = line.split_once(' ').expect("a count and a row");
        let byte = |at| u8::from_str_radix(&row[at..at + 2], 16).expect("two digits");
        let row: Vec<u8> = (0..row.len()).step_by(2).map(byte).collect();
        (0..count.parse().expect("a count")).for_each(|_: u32| bytes.extend(&row));
    }
    bytes
}

fn write_golden(name: &str, bytes: &[u8]) {
    let (mut text, mut rows) = (String::new(), bytes.chunks(32).peekable());
    while let Some(row) = rows.next() {
        let mut count = 1;
        while rows.next_if(|next| *next == row).is_some() {
            count += 1;
        }
        let digits: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{count} {digits}\n"));
    }
    std::fs::write(golden(name), text).expect("written");
}

/// What the golden backup holds, and the database that wrote it.
pub(crate) fn golden_database(disk: &SimDisk) -> Result<Db> {
    let db = small(disk)?;
    db.update(|txn| {
        let mut jobs = txn.create_bucket("jobs")?;
        for number in 0..40_u32 {
            jobs.put(number.to_be_bytes(), format!("the value of job {number}"))?;
        }
        jobs.put_until("leased", "until then", at_ms(START_MS + 86_400_000))?;
        jobs.put_until("over", "by then", at_ms(START_MS + 1))?;
        jobs.put("long", vec![b'L'; 70_000])?;
        let mut nested = jobs.create_bucket("nested")?;
        nested.expire_at(at_ms(START_MS + 86_400_000))?;
        nested.create_bucket("deeper")?.set_sequence(u64::MAX)
    })?;
    disk.advance_ms(1000);
    Ok(db)
}

/// What the golden backup of changes makes of it.
fn golden_changes(disk: &SimDisk, db: &Db) -> Result<Vec<u8>> {
    db.update(|txn| {
        txn.drop_bucket("b")?;
        let mut jobs = txn.bucket_mut("jobs")?;
        jobs.delete("leased")?;
        jobs.put("longer", vec![b'M'; 300_000])?;
        jobs.bucket_mut("nested")?.expire_never()
    })?;
    disk.advance_ms(1000);
    db.sweep(&mut |_| ControlFlow::Continue(()))?;
    db.sync()?;
    let (mut bytes, after) = (Vec::new(), bristlecone::TxnId(2));
    let report = db.backup_changes(after, &mut bytes, &BackupOptions::new(), &mut go_on())?;
    assert_eq!(report.map(|report| report.revision.0), Some(4));
    Ok(bytes)
}

#[test]
fn backups_of_version_1_are_restored() -> Result<()> {
    let disk = disk(1);
    let db = golden_database(&disk)?;
    let (full, later) = (read_golden("golden-1.txt"), read_golden("golden-changes-1.txt"));
    let report = verify(&full)?;
    assert_eq!((report.revision.0, report.time), (2, at_ms(START_MS + 1000)));
    restore(&disk, &full, &RestoreOptions::new())?;
    assert!(Tree::of_db(&open_new(&disk)) == Tree::of_db(&db));
    golden_changes(&disk, &db)?;
    let host: Arc<dyn Host> = Arc::new(disk.clone());
    let report = Backup::from_reader(&full[..]).restore_to_on(
        &host,
        bristlecone::RestorePoint::Newest,
        &mut [Ok(Backup::from_reader(&later[..]))].into_iter(),
        "/forward",
        &RestoreOptions::new(),
        options(),
        &mut go_on(),
    )?;
    assert_eq!((report.revision.0, report.transactions), (4, 2));
    assert!(Tree::of_db(&open(&disk, "/forward")) == Tree::of_db(&db));
    Ok(())
}

#[test]
#[ignore = "writes the golden backups anew"]
fn write_the_golden_backups() -> Result<()> {
    let disk = disk(1);
    let db = golden_database(&disk)?;
    write_golden("golden-1.txt", &backup(&db)?.0);
    write_golden("golden-changes-1.txt", &golden_changes(&disk, &db)?);
    Ok(())
}
