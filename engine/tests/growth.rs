//! A data file that outgrows what one page of the space map describes.

use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Options, Result};

/// Pages that one bitmap page describes, at 4 KiB a page.
const GROUP_BYTES: u64 = (4096 - 64) * 8 * 4096;

#[test]
fn pages_behind_the_first_group_are_handed_out_once() -> Result<()> {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(512 << 20);
    let options = Options::new().page_bytes(4096);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options.clone())?;
    db.update(|txn| txn.create_bucket("b").map(|_| ()))?;
    let mut number = 0_u32;
    let mut rounds_behind = 0;
    while rounds_behind < 6 {
        db.update(|txn| {
            let mut bucket = txn.bucket_mut("b")?;
            // Before the boundary large runs, to be there soon; then runs that leave remainders.
            let (count, len) = if rounds_behind == 0 { (8, 2 << 20) } else { (40, 700_000) };
            for _ in 0..count {
                number += 1;
                bucket.put(number.to_be_bytes(), vec![number as u8; len])?;
                bucket.put(format!("small {number}"), vec![number as u8; 900])?;
            }
            Ok(())
        })?;
        db.checkpoint()?;
        rounds_behind += usize::from(db.stats().file_bytes > GROUP_BYTES);
    }
    let report = db.check(&mut |_| {})?;
    assert!(report.is_sound(), "{:#?}", report.problems);
    db.close()?;
    let db = Db::open_on(Arc::new(disk), "/db", options)?;
    db.view(|txn| {
        for number in 1..=number {
            let value = txn.bucket("b")?.get(number.to_be_bytes())?.expect("a value");
            assert!(value.iter().all(|&byte| byte == number as u8));
        }
        Ok(())
    })
}
