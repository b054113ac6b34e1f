//! Is `docs/format.md` true? Databases made through the public API are read by a reader of their
//! files that knows nothing but that page.
//!
//! Goal: the page and the engine cannot drift apart in silence. A change of a layout fails here
//! until the page tells it, and a change of the page fails here until the files have it.
//!
//! Method: `format/layout.rs` states the page's numbers and tables as constants, the first test
//! holds them against the page, and the readers beside it use nothing else. What the page says of
//! coverage and versions is tried out by changing bytes and asking the engine.

#[path = "format/backup.rs"]
mod backup;
#[path = "format/commits.rs"]
mod commits;
#[path = "format/data_file.rs"]
mod data_file;
#[path = "format/document.rs"]
mod document;
#[path = "support/killed.rs"]
mod killed;
#[path = "format/layout.rs"]
mod layout;
#[path = "format/log.rs"]
mod log;
#[path = "format/outcome.rs"]
mod outcome;
#[path = "format/pages.rs"]
mod pages;

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bristlecone::{BackupOptions, Db, ErrorKind, Options, Result};

use backup::{Backup, Operation as Content};
use commits::{expected_operations, expiry, log_everything};
use data_file::{DataFile, Reached, whole_meta};
use document::Document;
use killed::copy_dir;
use layout::{
    BLOCK_BYTES, KINDS, META_BYTES, NUMBERS, PAGE_BYTES_DEFAULT, TABLES, group, meta, segment,
};
use log::{Log, header_crc};
use outcome::{Outcome, outcome, outcome_with};
use pages::{Entry, Payload, read_leaf};

const PAGE_SIZES: [usize; 4] = [4096, 8192, 16384, 32768];

fn open(path: &Path, page_bytes: usize) -> Result<Db> {
    Options::new().page_bytes(page_bytes).threads(false).open(path)
}

fn value(index: u32) -> Vec<u8> {
    vec![index as u8; 20 + index as usize % 200]
}

/// Something of everything that the format has.
fn fill(db: &Db, page_bytes: usize) -> Result<()> {
    db.update(|txn| {
        let mut many = txn.create_bucket("many")?;
        for index in 0..9000 {
            many.put(format!("key-{index:06}"), value(index))?;
        }
        many.set_sequence(77)?;
        drop(many);
        let mut mixed = txn.create_bucket("mixed")?;
        for index in 0..600u32 {
            // Many in a row differ at the end alone, and few rows share a page.
            let mut key = vec![0; page_bytes / 8];
            key[..4].copy_from_slice(&(index / 50).to_be_bytes());
            key[page_bytes / 8 - 4..].copy_from_slice(&index.to_be_bytes());
            mixed.put(&key, "long keys need long separators")?;
            mixed.put(index.to_le_bytes(), "")?;
        }
        mixed.put("large", vec![b'L'; 5 * page_bytes])?;
        mixed.put_until("passing", "soon gone", expiry())?;
        drop(mixed);
        let mut small = txn.create_bucket("small")?;
        small.put("a", "1")?;
        small.put("large", vec![b'S'; page_bytes])?;
        small.create_bucket("nested")?.put("deep", "inline in an inline bucket")?;
        small.create_bucket("empty")?.expire_at(expiry())
    })?;
    db.update(|txn| {
        let mut many = txn.bucket_mut("many")?;
        (0..500).try_for_each(|index| many.delete(format!("key-{:06}", index * 7)).map(|_| ()))
    })
}

/// A closed database of a page size, with two checkpoints behind it and one before.
fn closed(page_bytes: usize) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path(), page_bytes)?;
    fill(&db, page_bytes)?;
    db.checkpoint()?;
    db.update(|txn| txn.bucket_mut("small")?.put("b", "2"))?;
    db.close()?;
    Ok(dir)
}

#[test]
fn every_number_and_field_of_the_page_is_the_one_used_here() {
    let document = Document::read();
    let stated = document.rows("Numbers");
    let used = NUMBERS.iter().map(|(name, number)| vec![name.to_string(), number.to_string()]);
    assert_eq!(stated[1..], used.collect::<Vec<_>>());
    for table in TABLES {
        let used = table.fields.iter().map(|field| (field.at, field.bytes, field.name.to_owned()));
        assert_eq!(document.fields(table.heading), used.collect::<Vec<_>>(), "{}", table.heading);
    }
    let kinds: Vec<_> = KINDS.iter().map(|(number, name)| format!("{number} {name}")).collect();
    assert_eq!(document.rows("Page header")[1][2], format!("kind: {}", kinds.join(", ")));
    let sizes = PAGE_SIZES.map(|size| [size, (size - 64) * 8, (size - 64) / 8]);
    let sizes = sizes.iter().map(|row| row.map(|number| number.to_string()).to_vec());
    assert_eq!(document.rows("Space map")[1..], sizes.collect::<Vec<_>>());
}

#[test]
fn the_example_of_the_page_is_what_the_engine_writes() -> Result<()> {
    let page = Document::read().example("Example", 4096);
    let shown = read_leaf(&page, false);
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), 4096)?;
    db.update(|txn| {
        let mut fruit = txn.create_bucket("fruit")?;
        fruit.put("apple", "red")?;
        fruit.put("plum", "blue")?;
        fruit.set_sequence(7)
    })?;
    db.close()?;
    let file = DataFile::read(dir.path());
    let written = read_leaf(file.pages(file.root().root.page as usize, 1), false);
    // Dead bytes and the place of entries may differ: what they say may not.
    assert_eq!(shown, written);
    Ok(())
}

#[test]
fn a_closed_database_is_read_by_the_page_alone() -> Result<()> {
    for page_bytes in PAGE_SIZES {
        let dir = closed(page_bytes)?;
        let file = DataFile::read(dir.path());
        assert_eq!(file.page_bytes, page_bytes);
        let newest = file.meta();
        assert_eq!((meta::CHECKPOINT.number(newest), meta::TXN.number(newest)), (2, 3));
        assert_eq!(meta::FLAGS.number(newest), 1, "closed cleanly");
        meta::ZERO.assert_zero(newest);
        let named = meta::DIRECTORIES.size(newest) * 8;
        assert!(meta::REFERENCES.slice(newest)[named..].iter().all(|byte| *byte == 0));
        let other = whole_meta(file.pages(1 - file.newest, 1)).expect("the other meta page");
        assert_eq!((meta::CHECKPOINT.number(other), meta::FLAGS.number(other)), (1, 0));
        for page in 0..2 {
            assert!(file.pages(page, 1)[META_BYTES..].iter().all(|byte| *byte == 0));
        }

        let mut reached = Reached::default();
        file.walk(&file.root(), &mut reached);
        assert_eq!((reached.buckets, reached.images, reached.runs), (5, 2, 2));
        assert_eq!((reached.values, reached.expiries), (8500 + 1202 + 3 + 1, 2));
        assert!(reached.levels_max >= 2 && reached.longest_prefix > 4 && reached.kept_suffixes > 0);
        assert_eq!(file.system().entries, 1, "nothing waits to be freed");
        let place = |names: [&str; 2]| names.map(|name| name.as_bytes().to_vec()).to_vec();
        let (record, bucket) = (place(["mixed", "passing"]), place(["small", "empty"]));
        let time = 4_102_444_800_000;
        assert_eq!(file.hints(), [(time, 0, record), (time, 1, bucket)]);
        file.walk(&file.system(), &mut reached);
        let (used, _) = file.used_pages();
        let mut expected = vec![false; used.len()];
        expected[..8].fill(true);
        reached.pages.iter().for_each(|page| {
            assert!(!std::mem::replace(&mut expected[*page], true), "page {page} reached twice");
        });
        assert!(used == expected, "the space map marks what is reached");

        let many = file.bucket(&file.root(), b"many");
        assert_eq!((many.entries, many.sequence), (8500, 77));
        assert_eq!(file.value(&many, b"key-004567"), Some(value(4567)));
        assert_eq!(file.value(&many, b"key-000007"), None, "deleted");
        let mixed = file.bucket(&file.root(), b"mixed");
        assert_eq!(file.value(&mixed, b"large"), Some(vec![b'L'; 5 * page_bytes]));
        let passing = file.find(&mixed, b"passing").expect("an entry");
        assert_eq!(passing.expires_at, Some(4_102_444_800_000));
        let small = file.bucket(&file.root(), b"small");
        assert!(small.image.is_some() && file.bucket(&small, b"empty").image.is_none());
        assert_eq!(file.value(&small, b"b"), Some(b"2".to_vec()));
        let deep = file.value(&file.bucket(&small, b"nested"), b"deep");
        assert_eq!(deep, Some(b"inline in an inline bucket".to_vec()));
    }
    Ok(())
}

#[test]
fn a_second_group_has_its_own_bitmap_behind_the_first() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), 4096)?;
    for index in 0..34u32 {
        db.update(|txn| {
            let mut large = txn.create_bucket_if_missing("large")?;
            large.put(index.to_be_bytes(), vec![b'L'; 4 << 20])
        })?;
    }
    db.close()?;
    let file = DataFile::read(dir.path());
    let (used, _) = file.used_pages();
    assert!(used.len() > file.group_pages() + 1000, "{} pages", used.len());
    let mut reached = Reached::default();
    file.walk(&file.root(), &mut reached);
    assert_eq!(reached.runs, 34);
    let fixed = 8 + 48;
    assert_eq!(used.iter().filter(|used| **used).count(), fixed + reached.pages.len());
    assert!(used[file.group_pages()..][..48].iter().all(|used| *used));
    assert!(reached.pages.iter().all(|page| used[*page]));
    Ok(())
}

#[test]
fn what_was_dropped_waits_in_the_system_bucket() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), 4096)?;
    db.update(|txn| {
        let mut large = txn.create_bucket("large")?;
        (0..24_000u32).try_for_each(|index| large.put(index.to_be_bytes(), [1; 900]))
    })?;
    db.checkpoint()?;
    db.update(|txn| txn.drop_bucket("large"))?;
    db.checkpoint()?;
    let file = DataFile::read(dir.path());
    assert_eq!(file.root().entries, 0);
    let system = file.system();
    assert!(system.entries > 0 && system.sequence >= system.entries);
    let mut reached = Reached { is_dropped: true, ..Reached::default() };
    file.walk(&system, &mut reached);
    let (used, _) = file.used_pages();
    assert_eq!(used.iter().filter(|used| **used).count(), 8 + reached.pages.len());
    let entries = file.entries(&system);
    assert_eq!(entries.len() as u64, system.entries);
    assert!(entries.iter().all(|entry| matches!(entry.payload, Payload::Bucket(_))));
    let number = |entry: &Entry| u64::from_be_bytes(entry.key[..].try_into().unwrap());
    assert!(entries.iter().all(|entry| number(entry) <= system.sequence));
    db.close()
}

#[test]
fn the_log_of_a_database_that_was_not_closed_is_read_by_the_page_alone() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), PAGE_BYTES_DEFAULT)?;
    log_everything(&db)?;
    let killed = copy_dir(dir.path());
    drop(db);
    let file = DataFile::read(killed.path());
    assert_eq!((meta::CHECKPOINT.number(file.meta()), file.root().entries), (0, 0));
    let log = Log::read(killed.path(), file.meta());
    let operations: Vec<_> = log.records.iter().map(|record| record.operations.clone()).collect();
    assert!(operations == expected_operations(), "the operations that were committed");
    let txns: Vec<u64> = log.records.iter().map(|record| record.txn).collect();
    assert_eq!(txns, [1, 2, 3, 4]);
    let clock = meta::CLOCK.number(file.meta());
    assert!(log.records.iter().all(|record| record.time >= clock));
    let pieces: Vec<_> = log.frames.iter().map(|frame| frame.chunks.clone()).collect();
    let whole = vec![(true, true)];
    assert_eq!([&pieces[0], &pieces[1], &pieces[pieces.len() - 1]], [&whole, &whole, &whole]);
    assert_eq!(pieces[2], [(true, false)], "the first piece of the large record");
    assert!(pieces.len() >= 6 && pieces[pieces.len() - 2] == [(false, true)]);

    // The next session goes on in a segment of its own.
    let db = open(killed.path(), PAGE_BYTES_DEFAULT)?;
    db.update(|txn| txn.bucket_mut("fruit")?.put("again", "2"))?;
    let again = copy_dir(killed.path());
    drop(db);
    let next = Log::read(again.path(), file.meta());
    assert_eq!((next.records.len(), next.segments.len()), (5, log.segments.len() + 1));
    let opened = next.segments.last().unwrap();
    assert_eq!(opened.number, log.segments.last().unwrap().number + 1);
    assert_eq!(opened.first_lsn, log.frames.len() as u64 + 1);
    Ok(())
}

#[test]
fn bytes_of_the_data_file_are_covered_as_the_page_says() -> Result<()> {
    let dir = closed(PAGE_BYTES_DEFAULT)?;
    let file = DataFile::read(dir.path());
    let page = |number: usize| number * PAGE_BYTES_DEFAULT;
    let (used, bitmap) = file.used_pages();
    let other_copy = if bitmap == 2 { 3 } else { 2 };
    let directory =
        file.directory_page(0, group::COPY_AND_FREE.size(meta::REFERENCES.slice(file.meta())));
    let mixed = file.bucket(&file.root(), b"mixed");
    let Payload::Run { first, value_bytes } = file.find(&mixed, b"large").unwrap().payload else {
        panic!("expected a run")
    };
    let run = page(first.page as usize);
    let many = page(file.bucket(&file.root(), b"many").root.page as usize);
    let root = page(file.root().root.page as usize);
    let heap_start = layout::header::HEAP_START.size(&file.bytes[root..]);
    let free = used.iter().position(|used| !used).expect("a free page");
    for (what, at, expected) in [
        ("newest meta page: the older one and the log do", page(file.newest) + 40, Outcome::Sound),
        ("behind a meta page", page(file.newest) + META_BYTES, Outcome::Sound),
        ("space directory", page(directory) + 9000 % PAGE_BYTES_DEFAULT, Outcome::Damaged),
        ("zeros of a space directory", page(directory) + 30, Outcome::Damaged),
        ("bitmap", page(bitmap) + 64, Outcome::Damaged),
        ("zeros of a bitmap page", page(bitmap) + 30, Outcome::Damaged),
        ("another copy of the bitmap", page(other_copy) + 64, Outcome::Sound),
        ("interior page", many + 40, Outcome::Damaged),
        ("free bytes of the root's leaf", root + heap_start - 1, Outcome::Damaged),
        ("value in a run", run + 24 + value_bytes / 2, Outcome::Damaged),
        ("zeros behind a value in a run", run + 24 + value_bytes, Outcome::Damaged),
        ("free page", page(free) + 100, Outcome::Sound),
    ] {
        assert_eq!(outcome_with(dir.path(), Path::new("data"), at), expected, "{what}");
    }
    let copy = copy_dir(dir.path());
    let mut bytes = file.bytes.clone();
    (0..2).for_each(|number| bytes[page(number) + 100] ^= 1);
    fs::write(copy.path().join("data"), bytes).unwrap();
    assert_eq!(outcome(copy.path()), Outcome::Damaged, "both meta pages");
    Ok(())
}

#[test]
fn bytes_of_the_log_are_covered_as_the_page_says() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), PAGE_BYTES_DEFAULT)?;
    db.update(|txn| txn.create_bucket("small")?.put("a", "1"))?;
    db.update(|txn| txn.bucket_mut("small")?.put("b", "2"))?;
    let killed = copy_dir(dir.path());
    drop(db);
    assert_eq!(outcome(killed.path()), Outcome::Sound);
    let log = Log::read(killed.path(), DataFile::read(killed.path()).meta());
    let [first, last] = &log.frames[..] else { panic!("expected two frames") };
    // The first segment was made with the database; a session writes to one of its own.
    let segment = log.segments.iter().find(|segment| segment.number == first.segment).unwrap();
    for (what, at, expected) in [
        ("segment header", 20, Outcome::Damaged),
        ("zeros of a segment header", 4000, Outcome::Damaged),
        ("magic of a frame", first.at, Outcome::Damaged),
        ("checksum of a frame", first.at + 5, Outcome::Damaged),
        ("payload of a frame", first.payload_end - 1, Outcome::Damaged),
        ("zeros behind a payload", first.payload_end, Outcome::Sound),
        ("last zero behind a payload", last.at - 1, Outcome::Sound),
        ("payload of the last frame", last.payload_end - 1, Outcome::Shortened),
        ("magic of the last frame", last.at, Outcome::Shortened),
        ("behind the last frame", last.at + last.bytes, Outcome::Sound),
    ] {
        assert_eq!(outcome_with(killed.path(), &segment.path, at), expected, "{what}");
    }
    Ok(())
}

#[test]
fn another_version_is_unsupported() -> Result<()> {
    let dir = closed(PAGE_BYTES_DEFAULT)?;
    let found = |path: &Path| {
        let error = open(path, PAGE_BYTES_DEFAULT).unwrap_err();
        match error.kind() {
            ErrorKind::Unsupported { what, found: 2, .. } => *what,
            _ => panic!("{error}"),
        }
    };
    let copy = copy_dir(dir.path());
    let path = copy.path().join("data");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(PAGE_BYTES_DEFAULT).take(2) {
        page[meta::VERSION.at] = 2;
        let crc = crc32fast::hash(&page[..meta::CRC.at]);
        page[meta::CRC.at..][..4].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(found(copy.path()), "format version");
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is changed");

    let copy = copy_dir(dir.path());
    let log = Log::read(copy.path(), DataFile::read(copy.path()).meta());
    let path = &log.segments[0].path;
    let mut bytes = fs::read(path).unwrap();
    bytes[segment::VERSION.at] = 2;
    let crc = header_crc(&bytes[..BLOCK_BYTES]);
    bytes[segment::CRC.at..][..4].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, &bytes).unwrap();
    assert_eq!(found(copy.path()), "log format version");
    Ok(())
}

#[test]
fn files_have_the_names_and_modes_that_the_page_says() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("db");
    let db = open(&path, PAGE_BYTES_DEFAULT)?;
    db.update(|txn| txn.create_bucket("a").map(|_| ()))?;
    let document = Document::read();
    let stated = document.rows("Files");
    for (name, file) in [
        ("the directory", path.clone()),
        ("`data`", path.join("data")),
        ("`lock`", path.join("lock")),
        ("`wal/`", path.join("wal")),
        ("`wal/<16 hex digits>.wal`", path.join("wal/0000000000000001.wal")),
    ] {
        let row = stated.iter().find(|row| row[0] == name).expect("a row");
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(format!("{mode:04o}"), row[1], "{name}");
    }
    assert_eq!(fs::metadata(path.join("lock")).unwrap().len(), 0);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 3);
    db.close()
}

#[test]
fn a_backup_is_read_by_the_page_alone() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), 16384)?;
    db.update(|txn| {
        txn.create_bucket("empty")?;
        let mut full = txn.create_bucket("full")?;
        full.set_sequence(300)?;
        full.put("a", "1")?;
        full.put_until("b", "2", expiry())?;
        full.put("c", vec![b'C'; 65_536])?;
        full.put_until("d", vec![b'D'; 3_000_000], expiry())?;
        full.create_bucket("in")?.put("x", "")
    })?;
    db.update(|txn| txn.bucket_mut("full")?.put("e", vec![b'E'; 65_537]))?;
    let mut bytes = Vec::new();
    let goes_on = &mut |_| std::ops::ControlFlow::Continue(());
    let report = db.backup(&mut bytes, &BackupOptions::new(), goes_on)?;
    let backup = Backup::read(&bytes);
    assert_eq!((backup.kind, backup.page_bytes), (1, 16384));
    assert_eq!((backup.first, backup.last), (2, 2));
    let time = UNIX_EPOCH + Duration::from_millis(backup.time);
    assert_eq!((time, backup.database_id), (report.time, report.database_id));
    let file = DataFile::read(dir.path());
    assert_eq!(backup.database_id[..], *meta::DATABASE_ID.slice(file.meta()));
    let until = 4_102_444_800_000;
    let put = |key: &str, value: Vec<u8>, until| Content::Put(key.into(), value, until);
    let expected = [
        Content::Enter(b"empty".to_vec(), 0, 0),
        Content::Leave,
        Content::Enter(b"full".to_vec(), 300, 0),
        put("a", b"1".to_vec(), 0),
        put("b", b"2".to_vec(), until),
        put("c", vec![b'C'; 65_536], 0),
        put("d", vec![b'D'; 3_000_000], until),
        put("e", vec![b'E'; 65_537], 0),
        Content::Enter(b"in".to_vec(), 0, 0),
        put("x", Vec::new(), 0),
        Content::Leave,
        Content::Leave,
    ];
    assert!(backup.operations == expected);
    assert_eq!(backup.pieces, [1 << 20, 1 << 20, 3_000_000 - (2 << 20), 65_537]);
    assert_eq!((report.blocks, report.bytes), (backup.blocks, bytes.len() as u64));
    Ok(())
}
