//! A meta page that a power cut left torn, and what a second cut may make of it.

use std::ops::ControlFlow;
use std::sync::Arc;

use bristlecone::io::sim::{CrashImages, SimDisk};
use bristlecone::{Db, Options, Result};

const DATA: &str = "/db/data";
/// A byte of a sector that is zero in every meta page of a small database.
const IN_THE_MIDDLE: u64 = 1000;

fn open(disk: &SimDisk) -> Result<Db> {
    Db::open_on(Arc::new(disk.clone()), "/db", Options::new())
}

fn put(db: &Db, value: &str) -> Result<()> {
    db.update(|txn| {
        let mut bucket = txn.create_bucket_if_missing("b")?;
        for key in 0..100_u8 {
            bucket.put([key], value.repeat(10))?;
        }
        Ok(())
    })
}

/// The disk that is left when the meta page of the second checkpoint was written, one sector of it
/// spoiled.
fn torn() -> Result<SimDisk> {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(1 << 20);
    let db = open(&disk)?;
    put(&db, "first")?;
    db.checkpoint()?;
    put(&db, "second")?;
    disk.start_trace();
    db.checkpoint()?;
    let trace = disk.take_trace().expect("started above");
    let mut images = CrashImages::new(&trace);
    while let Some(event) = images.advance() {
        if event.path.ends_with("data") && event.written().is_some_and(|range| range.start == 0) {
            let left = images.killed();
            left.corrupt(DATA, IN_THE_MIDDLE, 0xff).expect("the file is longer");
            return Ok(left);
        }
    }
    panic!("expected a write of meta page 0, found none");
}

/// The next checkpoint writes the same meta page. When only the spoiled sector of it gets there,
/// the torn page is whole again; the pages it refers to must not have been written meanwhile.
#[test]
fn a_torn_meta_page_does_not_come_back() -> Result<()> {
    let disk = torn()?;
    disk.start_trace();
    let db = open(&disk)?;
    put(&db, "third")?;
    db.checkpoint()?;
    let trace = disk.take_trace().expect("started above");
    let mut images = CrashImages::new(&trace);
    let mut meta_writes = 0;
    while let Some(event) = images.advance() {
        let left: Vec<SimDisk> = match images.all(8) {
            Some(all) => all.collect(),
            None => (0..64).map(|seed| images.image(seed)).collect(),
        };
        meta_writes += usize::from(left.len() == 1 << 8 && event.path.ends_with("data"));
        for left in left {
            let db = open(&left)?;
            let report = db.check(&mut |_| ControlFlow::Continue(()))?;
            assert!(report.is_sound(), "{:?} then {:#?}", event, report.problems);
            let txn = db.begin_read()?;
            let value = txn.bucket("b")?.get([7])?.map(<[u8]>::to_vec);
            let expected = if txn.id().0 == 2 { "second" } else { "third" };
            assert_eq!(value, Some(expected.repeat(10).into_bytes()), "{event:?}");
        }
    }
    assert!(meta_writes > 0, "no cut in the middle of a meta page");
    Ok(())
}
