//! A database written by format version 1, kept as text, opened by this build.
//!
//! `golden/v1` holds its files as a kill left them: the data file with two checkpoints, and a log
//! with commits that no checkpoint has. Each file is text: its length, then a line for every 32
//! bytes that are not all zero.
//!
//! They were written by `cargo test -p bristlecone-proof --test golden -- --ignored`, which writes
//! them anew. They must stay as they are for as long as this build claims to read version 1.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bristlecone::io::Host;
use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::{BucketMut, Db, Options, Result};
use bristlecone_proof::simulation::compare::{assert_same, assert_sound};
use bristlecone_proof::simulation::reference::{Entry, Now, Tree};

const ROW_BYTES: usize = 32;

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// The files' paths within the database, with their bytes.
fn golden_files() -> Vec<(String, Vec<u8>)> {
    let listing = std::fs::read_dir(golden_dir()).expect("the golden files");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("a directory entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("plain names");
        let text = std::fs::read_to_string(&path).expect("a golden file");
        (name.replace('-', "/"), to_bytes(&text))
    };
    listing.map(read).collect()
}

fn to_text(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes\n", bytes.len());
    for (row, bytes) in bytes.chunks(ROW_BYTES).enumerate() {
        if bytes.iter().any(|&byte| byte != 0) {
            write!(text, "{:08x} ", row * ROW_BYTES).expect("a string takes text");
            for byte in bytes {
                write!(text, "{byte:02x}").expect("a string takes text");
            }
            text.push('\n');
        }
    }
    text
}

fn to_bytes(text: &str) -> Vec<u8> {
    let number = |digits: &str| usize::from_str_radix(digits, 16).expect("hexadecimal digits");
    let mut lines = text.lines();
    let len = lines.next().and_then(|line| line.strip_suffix(" bytes")).expect("a length");
    let mut bytes = vec![0; len.parse().expect("a number of bytes")];
    for line in lines {
        let (offset, row) = line.split_once(' ').expect("an offset and a row");
        for (index, at) in (0..row.len()).step_by(2).enumerate() {
            bytes[number(offset) + index] = number(&row[at..at + 2]) as u8;
        }
    }
    bytes
}

/// One transaction of the history: it is written to a bucket, and to the reference.
struct Part<'a> {
    bucket: BucketMut<'a>,
    tree: &'a mut Tree,
}

impl Part<'_> {
    fn put(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        match expires_at {
            0 => self.bucket.put(key, value)?,
            _ => {
                self.bucket.put_until(key, value, UNIX_EPOCH + Duration::from_millis(expires_at))?
            }
        }
        let entry = Entry::Value { bytes: value.into(), expires_at };
        self.tree.entries.insert(key.to_vec(), entry);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        assert!(self.bucket.delete(key)?);
        self.tree.entries.remove(key);
        Ok(())
    }

    fn count(&mut self) -> Result<()> {
        self.tree.sequence = self.bucket.next_sequence()?;
        Ok(())
    }
}

/// Runs one transaction in the bucket `name`.
fn within(
    db: &Db,
    root: &mut Tree,
    name: &str,
    act: impl FnOnce(&mut Part<'_>) -> Result<()>,
) -> Result<()> {
    let empty = || Entry::Bucket(Arc::default());
    root.entries.entry(name.as_bytes().to_vec()).or_insert_with(empty);
    db.update(|txn| {
        let bucket = txn.create_bucket_if_missing(name)?;
        act(&mut Part { bucket, tree: root.bucket_mut(name.as_bytes()) })
    })
}

/// The history that wrote the files; what it leads to is compared with them.
fn write(db: &Db) -> Result<Tree> {
    let mut root = Tree::default();
    within(db, &mut root, "services", |services| {
        for number in 0..150_u32 {
            let key = format!("service/{number:04}");
            services.put(key.as_bytes(), &number.to_be_bytes(), 0)?;
        }
        services.put(&[b'k'; 1024], b"the longest key of a page of 4 KiB", 0)?;
        services.put(b"empty", b"", 0)?;
        services.count()
    })?;
    within(db, &mut root, "blobs", |blobs| {
        blobs.put(b"two pages", &[0x5a; 5000], 0)?;
        blobs.put(b"goes", &[0x11; 1200], 0)
    })?;
    within(db, &mut root, "dropped", |part| part.put(b"key", b"value", 0))?;
    db.checkpoint()?;
    within(db, &mut root, "leases", |leases| {
        leases.put(b"held", b"1", START_MS + 3_600_000)?;
        leases.put(b"over", b"2", START_MS - 1)?;
        leases.count()?;
        leases.count()
    })?;
    within(db, &mut root, "blobs", |blobs| blobs.delete(b"goes"))?;
    db.checkpoint()?;
    db.update(|txn| txn.drop_bucket("dropped"))?;
    root.entries.remove(&b"dropped"[..]);
    within(db, &mut root, "services", |services| {
        services.delete(b"service/0007")?;
        services.put(b"large", &[0x33; 9000], 0)?;
        let mut inner = Tree::default();
        let mut nested = services.bucket.create_bucket("nested")?;
        let mut part = Part { bucket: nested.create_bucket("deeper")?, tree: &mut inner };
        part.put(b"key", b"value", 0)?;
        part.count()?;
        drop(part);
        let mut outer = Tree::default();
        outer.entries.insert(b"deeper".to_vec(), Entry::Bucket(Arc::new(inner)));
        services.tree.entries.insert(b"nested".to_vec(), Entry::Bucket(Arc::new(outer)));
        Ok(())
    })?;
    Ok(root)
}

fn written() -> Result<(SimDisk, Tree)> {
    let disk = SimDisk::new(1);
    let options = Options::new().page_bytes(4 << 10).wal_segment_bytes_max(16 << 10);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options)?;
    let root = write(&db)?;
    let left = disk.fork();
    disk.power_off();
    Ok((left, root))
}

/// Opens a copy, compares it, closes it, opens it again.
fn assert_golden(open: impl Fn() -> Result<Db>, root: &Tree, now: Now) -> Result<()> {
    for round in 0..2 {
        let db = open()?;
        assert_same(&db.begin_read()?, root, now)?;
        assert_eq!(db.begin_read()?.id().0, 7, "round {round}");
        assert_sound(&db)?;
        db.close()?;
    }
    Ok(())
}

#[test]
fn a_database_of_version_1_is_opened() -> Result<()> {
    let (_, root) = written()?;
    let disk = SimDisk::new(2);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    for new in ["/db", "/db/wal"] {
        disk.create_dir(Path::new(new)).expect("a new disk");
    }
    std::fs::create_dir_all(path.join("wal")).expect("a new directory");
    for (file, bytes) in golden_files() {
        disk.write_file(Path::new("/db").join(&file), &bytes).expect("a new disk");
        std::fs::write(path.join(&file), &bytes).expect("a new directory");
    }
    let simulated = || Db::open_on(Arc::new(disk.clone()), "/db", Options::new());
    assert_golden(simulated, &root, Now::at(START_MS))?;
    // By the real clock the lease is over.
    assert_golden(|| Db::open(&path), &root, Now::at(START_MS + 3_600_000))
}

#[test]
#[ignore = "writes the golden files anew"]
fn write_the_golden_files() -> Result<()> {
    let (disk, _) = written()?;
    std::fs::create_dir_all(golden_dir()).expect("a directory for the golden files");
    for (path, bytes) in disk.contents() {
        let file = path.strip_prefix("/db").expect("all is in one directory");
        let file = file.to_str().expect("plain names").replace('/', "-");
        if file != "lock" {
            let path = golden_dir().join(format!("{file}.txt"));
            std::fs::write(path, to_text(&bytes)).expect("a golden file");
        }
    }
    Ok(())
}
