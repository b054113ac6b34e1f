//! What a database holds as plain maps, and what is tried on one that hostile bytes were put into.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Bucket, Db, Options, Result, WriteTxn, salvage_on};

/// Where the database lies on the simulated disk.
pub(crate) const DIR: &str = "/db";

/// The names on the way and the key, and the value; a bucket stands for itself with its sequence.
pub(crate) type Content = BTreeMap<Vec<Vec<u8>>, Vec<u8>>;

/// Pairs and buckets that one look reads: pages that are reached in many ways could tell of more
/// than anybody waits for.
const READS_MAX: usize = 5_000;
/// Memory for pages of a simulated host; opening clears it.
pub(crate) const RESERVE_BYTES: usize = 1 << 20;

/// Small pages and small log segments.
pub(crate) fn options() -> Options {
    Options::new().page_bytes(4096).wal_segment_bytes_max(16 << 10)
}

pub(crate) fn open(disk: &SimDisk) -> Result<Db> {
    Db::open_on(Arc::new(disk.clone()), DIR, options())
}

/// What was read, and whether that is all.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) content: Content,
    /// False when an error or the bound ended it.
    pub(crate) whole: bool,
    /// The number of the transaction that was read.
    pub(crate) txn: u64,
}

/// Reads all that can be read.
pub(crate) fn look(db: &Db) -> Look {
    let mut look = Look { whole: true, ..Look::default() };
    let Ok(txn) = db.begin_read() else { return Look::default() };
    look.txn = txn.id().0;
    let mut waiting: Vec<(Vec<Vec<u8>>, Bucket<'_>)> = Vec::new();
    match txn.buckets() {
        Ok(names) => {
            for name in names {
                let opened = name.and_then(|name| Ok((vec![name.to_vec()], txn.bucket(name)?)));
                look.keep(opened, &mut waiting);
            }
        }
        Err(_) => look.whole = false,
    }
    while let Some((path, bucket)) = waiting.pop() {
        look.content.insert(path.clone(), bucket.sequence().to_le_bytes().to_vec());
        look.read(&path, &bucket);
        let Ok(names) = bucket.buckets() else {
            look.whole = false;
            continue;
        };
        for name in names.take(READS_MAX) {
            let inner = |name: &[u8]| [&path[..], &[name.to_vec()]].concat();
            let opened = name.and_then(|name| Ok((inner(name), bucket.bucket(name)?)));
            look.keep(opened, &mut waiting);
        }
        if look.content.len() > READS_MAX {
            look.whole = false;
            break;
        }
    }
    look
}

impl Look {
    fn keep<T>(&mut self, opened: Result<T>, waiting: &mut Vec<T>) {
        match opened {
            Ok(opened) if waiting.len() < READS_MAX => waiting.push(opened),
            _ => self.whole = false,
        }
    }

    fn read(&mut self, path: &[Vec<u8>], bucket: &Bucket<'_>) {
        let Ok(pairs) = bucket.iter() else {
            self.whole = false;
            return;
        };
        for pair in pairs.take(READS_MAX) {
            match pair {
                Ok((key, value)) => {
                    self.content.insert([path, &[key.to_vec()]].concat(), value.to_vec());
                }
                Err(_) => self.whole = false,
            }
        }
        // The other ways to a value, each with its own descent.
        for key in [&b"k"[..], &[0, 0, 1, 0], &[0xff; 900]] {
            let _ = bucket.get(key);
            let _ = bucket.prefix(key).map(|pairs| pairs.rev().take(3).count());
        }
        let _ = bucket.get_many(&[&b"a"[..], b"large", &[0, 0, 0, 7]]);
    }

    /// Panics unless what was read is what was written.
    pub(crate) fn assert_within(&self, expected: &Content) {
        for (path, value) in &self.content {
            let written = expected.get(path);
            assert!(written == Some(value), "{path:?} is {value:?}, expected {written:?}");
        }
        if self.whole {
            assert_eq!(self.content.len(), expected.len(), "entries");
        }
    }
}

/// Writes here and there: what fits the content, so that pages change that hostile bytes are in.
/// An error may stop any part of it. Returns how many parts went through.
pub(crate) fn write(db: &Db, content: &Content) -> usize {
    let paths: Vec<&Vec<Vec<u8>>> = content.keys().collect();
    let some = |nth: usize| paths.get(paths.len() * nth / 7).map(|path| &path[..]);
    let mut done = 0;
    let mut part = |work: &mut dyn FnMut(&mut WriteTxn) -> Result<()>| {
        done += usize::from(db.update(|txn| work(txn)).is_ok());
    };
    part(&mut |txn| {
        let mut bucket = txn.create_bucket_if_missing("written")?;
        bucket.put("new", [9; 100])?;
        bucket.put_with_ttl("brief", [9; 10], Duration::from_secs(60))
    });
    for nth in 0..7 {
        let Some([top, key, ..]) = some(nth) else { continue };
        part(&mut |txn| {
            let mut bucket = txn.bucket_mut(top)?;
            bucket.put([&key[..], b"+"].concat(), vec![7; 50 << (nth % 7)])?;
            let _ = bucket.next_sequence();
            Ok(())
        });
        part(&mut |txn| {
            let mut bucket = txn.bucket_mut(top)?;
            bucket.delete(key).map(|_| ()).or_else(|_| bucket.drop_bucket(key))
        });
    }
    if let Some([top, ..]) = some(3) {
        part(&mut |txn| txn.bucket_mut(top)?.create_bucket("nested")?.put("k", [1; 3000]));
        part(&mut |txn| txn.drop_bucket(top));
    }
    done
}

/// Saves what is left. What comes of it is sound, whatever it was made from.
fn salvage(disk: &SimDisk) {
    let saved = salvage_on(Arc::new(disk.clone()), DIR, "/saved", options(), &mut |_| {});
    if saved.is_ok() {
        // It has the page size of the damaged one, which may be a lie too.
        let db = Db::open_on(Arc::new(disk.clone()), "/saved", Options::new());
        let db = db.expect("a new database");
        let report =
            db.check(&mut |_| ControlFlow::Continue(())).expect("a check of a new database");
        assert!(report.is_sound(), "{report:?}");
    }
}

/// Everything that is done with a database, opened on what hostile bytes have made of its files:
/// salvage, reads, a check, writes, checkpoints, and the same once more after a kill and after a
/// close.
/// `judge` sees what the first look finds.
pub(crate) fn exercise(disk: &SimDisk, judge: &mut dyn FnMut(&Look)) {
    salvage(&disk.fork());
    let Ok(db) = open(disk) else { return };
    let first = look(&db);
    judge(&first);
    let sound = db.check(&mut |_| ControlFlow::Continue(())).is_ok_and(|report| report.is_sound());
    write(&db, &first.content);
    let second = look(&db);
    let killed = disk.fork();
    let _ = db.checkpoint();
    write(&db, &second.content);
    let _ = db.checkpoint();
    let _ = db.check(&mut |_| ControlFlow::Continue(()));
    let _ = db.close();
    for disk in [&killed, disk] {
        if let Ok(db) = open(disk) {
            let again = look(&db);
            if sound && std::ptr::eq(disk, &killed) && first.whole && second.whole {
                assert!(again.content == second.content, "what was committed comes back");
            }
            let _ = db.checkpoint();
        }
    }
}
