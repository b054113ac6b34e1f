//! Processes that are killed again and again, each soon after it was started.

use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Options, Result};

const LIVES: u64 = 300;
/// The log may take this much, whatever the number of lives.
const LOG_BYTES_MAX: u64 = 20 << 20;

/// No life is long enough for a checkpoint by size or by age, and each begins a segment of its
/// own. Together they once took as many of the largest segments as there were lives, and every
/// open had to read them all.
#[test]
fn lives_without_a_checkpoint_do_not_fill_the_disk() -> Result<()> {
    let mut disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(1 << 20);
    for life in 0..LIVES {
        let db = Db::open_on(Arc::new(disk.clone()), "/db", Options::new())?;
        assert_eq!(db.begin_read()?.id().0, life);
        db.update(|txn| txn.create_bucket_if_missing("b")?.put("key", life.to_be_bytes()))?;
        let left = disk.fork();
        disk.power_off();
        drop(db);
        disk = left;
        let log = |path: &std::path::Path| path.extension().is_some_and(|suffix| suffix == "wal");
        let contents = disk.contents();
        let bytes = contents.iter().filter(|(path, _)| log(path)).map(|file| file.1.len() as u64);
        let (bytes, files) = (bytes.sum::<u64>(), contents.len());
        assert!(bytes <= LOG_BYTES_MAX, "life {life}: {bytes} bytes of log in {files} files");
    }
    let db = Db::open_on(Arc::new(disk), "/db", Options::new())?;
    assert_eq!(db.view(|txn| Ok(txn.bucket("b")?.get("key")?.map(<[u8]>::len)))?, Some(8));
    Ok(())
}
