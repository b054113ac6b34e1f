//! The two meta pages: what a checkpoint made durable, and where the log continues.
//!
//! ```text
//!    0   8  magic: 89 42 43 4e 0d 0a 1a 0a
//!    8   4  format version
//!   12   4  page size in bytes
//!   16  16  database id
//!   32   8  checkpoint number; its lowest bit says which meta page it lies in
//!   40   8  epoch of the root
//!   48   8  transaction of the root
//!   56   8  clock, milliseconds since 1970: never runs backwards across opens
//!   64   8  log segment where replay starts
//!   72   8  offset in it
//!   80   8  sequence number of the first frame to replay
//!   88   4  flags: bit 0, closed cleanly: the log ends where replay starts
//!   92   4  pages in the file
//!   96  32  bucket record of the root bucket
//!  128  32  bucket record of the system bucket
//!  160   4  space directories
//!  164   4  zero
//!  168      for each directory: u32 checksum, u32 copy
//! 4092   4  CRC-32 of the 4092 bytes before
//! ```
//!
//! The first 4 KiB of the page hold all of it; the rest is zero. Invariants:
//! 1. A meta page is written only after everything it reaches is durable.
//! 2. The page that is written is never the one that holds the newest durable checkpoint.

use std::fmt;
use std::path::Path;

use crate::codec::{get_u32, get_u64, put_u32, put_u64};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Epoch, Lsn, TxnId};
use crate::io::File;
use crate::limits::{COUNTER_MAX, PAGE_BYTES_MAX, PAGE_BYTES_MIN};
use crate::mutation::{self, Mutation};
use crate::page::BucketRecord;
use crate::wal::Position;

use super::attached::Attached;
use super::space_pages::{COPIES, DirectoryRef, Geometry};

/// Bytes of a meta page that carry something.
pub(crate) const META_BYTES: usize = 4096;
/// The format this build reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = [0x89, b'B', b'C', b'N', 0x0d, 0x0a, 0x1a, 0x0a];
const DIRECTORIES_AT: usize = 168;
const CRC_AT: usize = META_BYTES - 4;
const DIRECTORIES_MAX: usize = (CRC_AT - DIRECTORIES_AT) / 8;
const CLEAN: u32 = 1;

const _: () = assert!(META_BYTES <= PAGE_BYTES_MIN);

/// The content of a meta page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: usize,
    pub(crate) database_id: [u8; 16],
    pub(crate) checkpoint: u64,
    pub(crate) epoch: Epoch,
    pub(crate) txn: TxnId,
    pub(crate) clock_ms: u64,
    pub(crate) log: Position,
    pub(crate) clean: bool,
    pub(crate) file_pages: u32,
    pub(crate) buckets: BucketRecord,
    pub(crate) system: BucketRecord,
    pub(crate) directories: Vec<DirectoryRef>,
}

impl Meta {
    /// Which of the two meta pages this checkpoint is written to.
    pub(crate) fn slot(&self) -> usize {
        usize::from(self.checkpoint & 1 == 1 || mutation::is(Mutation::NewestMetaOverwritten))
    }

    /// The page, without the zeros that follow in pages over 4 KiB.
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(self.directories.len() <= DIRECTORIES_MAX, "more directories than a meta names");
        let mut bytes = vec![0; META_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        put_u32(&mut bytes, 8, FORMAT_VERSION);
        put_u32(&mut bytes, 12, u32::try_from(self.page_bytes).expect("invariant: at most 32 KiB"));
        bytes[16..32].copy_from_slice(&self.database_id);
        put_u64(&mut bytes, 32, self.checkpoint);
        put_u64(&mut bytes, 40, self.epoch.0);
        put_u64(&mut bytes, 48, self.txn.0);
        put_u64(&mut bytes, 56, self.clock_ms);
        put_u64(&mut bytes, 64, self.log.segment);
        put_u64(&mut bytes, 72, self.log.offset);
        put_u64(&mut bytes, 80, self.log.lsn.0);
        put_u32(&mut bytes, 88, if self.clean { CLEAN } else { 0 });
        put_u32(&mut bytes, 92, self.file_pages);
        bytes[96..128].copy_from_slice(&self.buckets.encode());
        bytes[128..160].copy_from_slice(&self.system.encode());
        put_u32(&mut bytes, 160, u32::try_from(self.directories.len()).expect("invariant: < 500"));
        for (index, directory) in self.directories.iter().enumerate() {
            put_u32(&mut bytes, DIRECTORIES_AT + index * 8, directory.crc);
            put_u32(&mut bytes, DIRECTORIES_AT + index * 8 + 4, directory.copy);
        }
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        put_u32(&mut bytes, CRC_AT, crc);
        bytes
    }

    /// Reads a meta page. `Err` says what was expected and what was found.
    fn decode(bytes: &[u8], slot: usize) -> Result<Meta, Damage> {
        if bytes[..8] != MAGIC {
            return Err(Damage::Magic);
        }
        let (expected, found) = (get_u32(bytes, CRC_AT), crc32fast::hash(&bytes[..CRC_AT]));
        if expected != found {
            return Err(Damage::Content(
                format!("checksum {expected:08x}"),
                format!("{found:08x}"),
            ));
        }
        let version = get_u32(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(Damage::Version(version));
        }
        let page_bytes = get_u32(bytes, 12) as usize;
        let sizes = PAGE_BYTES_MIN..=PAGE_BYTES_MAX;
        if !page_bytes.is_power_of_two() || !sizes.contains(&page_bytes) {
            let expected = format!("a page size of {sizes:?} bytes");
            return Err(Damage::Content(expected, page_bytes.to_string()));
        }
        let directories = get_u32(bytes, 160) as usize;
        if directories > DIRECTORIES_MAX {
            let expected = format!("at most {DIRECTORIES_MAX} space directories");
            return Err(Damage::Content(expected, directories.to_string()));
        }
        let flags = get_u32(bytes, 88);
        if flags & !CLEAN != 0 {
            return Err(Damage::Content("known flags".to_owned(), format!("{flags:#x}")));
        }
        let meta = Meta {
            page_bytes,
            database_id: bytes[16..32].try_into().expect("invariant: 16 bytes"),
            checkpoint: get_u64(bytes, 32),
            epoch: Epoch(get_u64(bytes, 40)),
            txn: TxnId(get_u64(bytes, 48)),
            clock_ms: get_u64(bytes, 56),
            log: Position {
                segment: get_u64(bytes, 64),
                offset: get_u64(bytes, 72),
                lsn: Lsn(get_u64(bytes, 80)),
            },
            clean: flags & CLEAN != 0,
            file_pages: get_u32(bytes, 92),
            buckets: BucketRecord::decode(&bytes[96..128]),
            system: BucketRecord::decode(&bytes[128..160]),
            directories: (0..directories)
                .map(|index| DirectoryRef {
                    crc: get_u32(bytes, DIRECTORIES_AT + index * 8),
                    copy: get_u32(bytes, DIRECTORIES_AT + index * 8 + 4),
                })
                .collect(),
        };
        meta.validate(slot).map(|()| meta)
    }

    /// Refuses what no checkpoint writes, whatever the checksum says.
    fn validate(&self, slot: usize) -> Result<(), Damage> {
        let wrong =
            |expected: &str, found: String| Err(Damage::Content(expected.to_owned(), found));
        let counters =
            [self.checkpoint, self.epoch.0, self.txn.0, self.log.segment, self.log.lsn.0];
        if let Some(counter) = counters.into_iter().find(|counter| *counter >= COUNTER_MAX) {
            return wrong("numbers that can be counted up", counter.to_string());
        }
        if self.slot() != slot {
            let found = format!("checkpoint {} in meta page {slot}", self.checkpoint);
            return wrong("a meta page in its place", found);
        }
        if self.file_pages < Geometry::new(self.page_bytes).first_pages() {
            return wrong("a file with its fixed pages", format!("{} pages", self.file_pages));
        }
        for root in [self.buckets.root.id, self.system.root.id] {
            if root.0 >= self.file_pages {
                return wrong("a root page within the file", root.to_string());
            }
        }
        match self.directories.iter().find(|directory| directory.copy >= COPIES) {
            Some(directory) => wrong("copy 0, 1 or 2 of a directory", directory.copy.to_string()),
            None => Ok(()),
        }
    }
}

impl Meta {
    /// What an attached database in `dir` has to know of this checkpoint.
    pub(crate) fn attached(&self, dir: &Path, bytes_max: u64) -> Attached {
        let at = self.slot() as u64 * self.page_bytes as u64;
        Attached::new(dir, self.checkpoint, at, self.encode(), bytes_max)
    }

    /// Refuses an order that no two checkpoints have: what counts them only goes up.
    fn follow(&self, older: &Meta, path: &Path) -> Result<()> {
        let counters = |meta: &Meta| [meta.epoch.0, meta.txn.0];
        let (found, before) = (counters(self), counters(older));
        if found.iter().zip(&before).all(|(found, before)| found >= before) {
            return Ok(());
        }
        let expected = format!("epoch and transaction of at least {before:?}");
        Err(Error::corrupt(path, self.slot() as u64, expected, format!("{found:?}")))
    }
}

enum Damage {
    Magic,
    Version(u32),
    Content(String, String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Magic => f.write_str("expected the magic of a meta page, found other bytes"),
            Damage::Version(found) => {
                write!(f, "expected format version {FORMAT_VERSION}, found {found}")
            }
            Damage::Content(expected, found) => write!(f, "expected {expected}, found {found}"),
        }
    }
}

/// What stands at an offset where the meta page of a slot may lie.
type ReadMeta<'a> = &'a dyn Fn(u64, usize) -> Result<Result<Meta, Damage>>;

/// The newest meta of a data file and, when it is whole too, the other one.
pub(crate) fn read_metas(file: &dyn File, path: &Path) -> Result<(Meta, Option<Meta>)> {
    let len = file.len().map_err(|e| Error::io("read", path, e))?;
    choose(path, &|at, slot| read_meta(file, path, len, at, slot))
}

/// As [`read_metas`], of a file that may be damaged: a meta page that the device does not return
/// counts as one that is not whole.
pub(crate) fn read_surviving_metas(file: &dyn File, path: &Path) -> Result<(Meta, Option<Meta>)> {
    let len = file.len().map_err(|e| Error::io("read", path, e))?;
    choose(path, &|at, slot| {
        Ok(read_meta(file, path, len, at, slot).unwrap_or_else(|error| {
            Err(Damage::Content("a page that can be read".to_owned(), error.to_string()))
        }))
    })
}

fn choose(path: &Path, read: ReadMeta<'_>) -> Result<(Meta, Option<Meta>)> {
    let first = read(0, 0)?;
    let second = match &first {
        Ok(meta) => read(meta.page_bytes as u64, 1)?,
        Err(_) => find_second(read)?,
    };
    match (first, second) {
        // A later version may have gone on from here: what this one knows may be out of date.
        (Err(Damage::Version(found)), _) | (_, Err(Damage::Version(found))) => {
            Err(other_version(path, found))
        }
        (Ok(first), Ok(second)) if first.database_id == second.database_id => {
            let (newer, older) = match first.checkpoint > second.checkpoint {
                true => (first, second),
                false => (second, first),
            };
            newer.follow(&older, path)?;
            Ok((newer, Some(older)))
        }
        (Ok(meta), Ok(_)) => Err(Error::corrupt(
            path,
            1,
            "two meta pages of one database",
            format!("another database id than {:02x?}", meta.database_id),
        )),
        (Ok(meta), Err(_)) | (Err(_), Ok(meta)) => Ok((meta, None)),
        (Err(first), Err(second)) => Err(no_meta(path, first, second)),
    }
}

/// Without the first meta page the page size is unknown: the second lies at one of few places.
fn find_second(read: ReadMeta<'_>) -> Result<Result<Meta, Damage>> {
    let mut page_bytes = PAGE_BYTES_MIN;
    let mut last = Err(Damage::Magic);
    while page_bytes <= PAGE_BYTES_MAX {
        match read(page_bytes as u64, 1)? {
            Ok(meta) if meta.page_bytes == page_bytes => return Ok(Ok(meta)),
            Ok(_) | Err(Damage::Magic) => {}
            Err(Damage::Version(found)) => return Ok(Err(Damage::Version(found))),
            Err(damage) => last = Err(damage),
        }
        page_bytes *= 2;
    }
    Ok(last)
}

fn read_meta(
    file: &dyn File,
    path: &Path,
    len: u64,
    at: u64,
    slot: usize,
) -> Result<Result<Meta, Damage>> {
    if len < at + META_BYTES as u64 {
        let expected = format!("a meta page of {META_BYTES} bytes");
        return Ok(Err(Damage::Content(expected, format!("a file of {len} bytes"))));
    }
    let mut bytes = vec![0; META_BYTES];
    file.read_at(&mut bytes, at).map_err(|e| Error::io("read", path, e))?;
    Ok(Meta::decode(&bytes, slot))
}

fn other_version(path: &Path, found: u32) -> Error {
    Error::from(ErrorKind::Unsupported {
        file: path.to_path_buf(),
        what: "format version",
        expected: u64::from(FORMAT_VERSION),
        found: u64::from(found),
    })
}

fn no_meta(path: &Path, first: Damage, second: Damage) -> Error {
    match (first, second) {
        (Damage::Version(found), _) | (_, Damage::Version(found)) => other_version(path, found),
        (Damage::Magic, Damage::Magic) => Error::from(ErrorKind::NotADatabase {
            path: path.to_path_buf(),
            reason: "expected a bristlecone data file, found other bytes".to_owned(),
        }),
        (first, second) => {
            let found = format!("none: in page 0 {first}; in page 1 {second}");
            Error::corrupt(path, 0, "a whole meta page", found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PageId, PageRef};

    fn meta() -> Meta {
        Meta {
            page_bytes: 8192,
            database_id: *b"0123456789abcdef",
            checkpoint: 7,
            epoch: Epoch(12),
            txn: TxnId(9),
            clock_ms: 1_700_000_000_000,
            log: Position { segment: 3, offset: 8192, lsn: Lsn(44) },
            clean: true,
            file_pages: 100,
            buckets: BucketRecord {
                root: PageRef { id: PageId(9), crc: 77 },
                entries: 5,
                sequence: 6,
            },
            system: BucketRecord { root: PageRef::NONE, entries: 0, sequence: 1 },
            directories: vec![DirectoryRef { crc: 1, copy: 2 }, DirectoryRef { crc: 3, copy: 0 }],
        }
    }

    #[test]
    fn a_meta_page_is_read_back_as_written() {
        let meta = meta();
        let Ok(found) = Meta::decode(&meta.encode(), 1) else { panic!("expected a meta page") };
        assert_eq!(found, meta);
        assert_eq!(found.slot(), 1);
    }

    #[test]
    fn what_no_checkpoint_writes_is_refused_whatever_the_checksum() {
        let in_arena = PageRef { id: PageId(u32::MAX), crc: 0 };
        let beyond = PageRef { id: PageId(100), crc: 0 };
        let wrong: [fn(&mut Meta, PageRef); 9] = [
            |meta, _| meta.checkpoint = 8,
            |meta, _| meta.checkpoint = u64::MAX,
            |meta, _| meta.epoch = Epoch(u64::MAX),
            |meta, _| meta.txn = TxnId(COUNTER_MAX),
            |meta, _| meta.log.segment = u64::MAX,
            |meta, _| meta.log.lsn = Lsn(u64::MAX),
            |meta, _| meta.file_pages = 7,
            |meta, root| meta.buckets.root = root,
            |meta, _| meta.directories[0].copy = 3,
        ];
        for change in wrong {
            for root in [in_arena, beyond] {
                let mut meta = meta();
                change(&mut meta, root);
                assert!(Meta::decode(&meta.encode(), 1).is_err());
            }
        }
        assert!(Meta::decode(&meta().encode(), 0).is_err(), "it belongs in the other page");
    }

    #[test]
    fn two_meta_pages_follow_each_other() {
        let (older, path) = (meta(), Path::new("data"));
        let newer = Meta { checkpoint: 8, epoch: Epoch(13), file_pages: 101, ..meta() };
        assert!(newer.follow(&older, path).is_ok() && older.follow(&older, path).is_ok());
        let shorter = Meta { file_pages: 99, ..newer.clone() };
        assert!(shorter.follow(&older, path).is_ok(), "free pages at the end were given up");
        let wrong: [fn(&mut Meta); 2] = [|meta| meta.epoch = Epoch(11), |meta| meta.txn = TxnId(8)];
        for change in wrong {
            let mut meta = newer.clone();
            change(&mut meta);
            assert!(meta.follow(&older, path).is_err_and(|error| error.is_corrupt()));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = meta().encode();
        for bit in (0..META_BYTES * 8).step_by(if cfg!(miri) { 997 } else { 1 }) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&damaged, 1).is_err(), "bit {bit}");
        }
    }
}
