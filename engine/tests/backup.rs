//! Backups and restores.
//!
//! Goal: what is restored is what was backed up, all of it; a backup that is cut short or damaged
//! is never taken for a whole one, and leaves nothing behind.
//!
//! Method: random content on the simulated disk is backed up, restored and compared. A small backup
//! is cut at every byte and flipped at every bit. What goes wrong meanwhile is in
//! `backup_faults.rs`.

#[path = "backup/content.rs"]
mod content;
#[path = "backup/tree.rs"]
mod tree;

use std::ops::ControlFlow;
use std::sync::Arc;

use bristlecone::io::Host;
use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::limits::BUCKET_DEPTH_MAX;
use bristlecone::{
    Backup, BackupOptions, BackupProgress, BackupReport, BucketMut, Db, ErrorKind, RestoreOptions,
    RestoreReport, Result,
};
use crc32fast::Hasher;

use content::{Random, at_ms, fill, open, small};
use tree::{Tree, disk, options};

/// What whoever tells progress is told.
fn go_on() -> impl FnMut(BackupProgress) -> ControlFlow<()> {
    |_| ControlFlow::Continue(())
}

fn backup(db: &Db) -> Result<(Vec<u8>, BackupReport)> {
    let mut bytes = Vec::new();
    let report = db.backup(&mut bytes, &BackupOptions::new(), &mut go_on())?;
    Ok((bytes, report))
}

fn verify(bytes: &[u8]) -> Result<BackupReport> {
    Backup::from_reader(bytes).verify(&mut go_on())
}

fn restore(disk: &SimDisk, bytes: &[u8], options_: &RestoreOptions) -> Result<RestoreReport> {
    let host = Arc::new(disk.clone());
    Backup::from_reader(bytes).restore_on(host, "/new", options_, options(), &mut go_on())
}

/// Opens what was restored, which must be sound.
fn open_new(disk: &SimDisk) -> Db {
    let db = open(disk, "/new");
    let report = db.check(&mut |_| ControlFlow::Continue(())).expect("no fault");
    assert!(report.is_sound(), "{:?}", report.problems);
    db
}

fn is_gone(disk: &SimDisk) -> bool {
    !disk.list_all().keys().any(|path| path.to_string_lossy().contains("new"))
}

impl Tree {
    /// Buckets within it, pairs that show, and bytes of their keys and values.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let bytes = |(key, (value, _)): (&Vec<u8>, &(Vec<u8>, _))| key.len() + value.len();
        let own = self.pairs.iter().map(bytes).sum::<usize>() as u64;
        let mut counts = [self.buckets.len() as u64, self.pairs.len() as u64, own];
        for nested in self.buckets.values() {
            counts.iter_mut().zip(nested.counts()).for_each(|(sum, count)| *sum += count);
        }
        counts
    }
}

#[test]
fn what_is_restored_is_what_was_backed_up() -> Result<()> {
    for seed in 0..12 {
        let (disk, mut random) = (disk(seed), Random(seed));
        let db = open(&disk, "/db");
        fill(&db, &mut random)?;
        let tree = Tree::of_db(&db);
        let (bytes, report) = backup(&db)?;
        assert_eq!([report.buckets, report.pairs], tree.stored(), "seed {seed}");
        assert!(report.content_bytes >= tree.counts()[2], "seed {seed}");
        assert_eq!((report.revision, report.bytes), (db.stats().revision, bytes.len() as u64));
        assert_eq!((report.time, report.page_bytes), (at_ms(START_MS), 4096));
        assert_eq!(verify(&bytes)?, report, "seed {seed}");

        let page_bytes = [4096, 8192, 32768][seed as usize % 3];
        let options = RestoreOptions::new().page_bytes(page_bytes).verify(seed % 2 == 0);
        let restored = restore(&disk, &bytes, &options)?;
        assert_eq!((restored.backup, restored.revision), (report, report.revision));
        assert_eq!([restored.buckets, restored.pairs], tree.stored());
        assert_eq!(restored.content_bytes, report.content_bytes);
        let new = open_new(&disk);
        assert_eq!(Tree::of_db(&new), tree, "seed {seed}");
        assert_eq!(new.stats().page_bytes, page_bytes as u64);
        assert_eq!(new.stats().revision, report.revision);
        // A backup of it says the same, but for the number of the database.
        let (again, _) = backup(&new)?;
        assert_eq!(again.len(), bytes.len());
        assert!(again[16..32] != bytes[16..32], "a number of its own");
        // It is a database as any other: it goes on from there.
        let next = new.begin_write()?.id();
        assert_eq!(next.0, report.revision.0 + 1);
        fill(&new, &mut random)?;
        let more = Tree::of_db(&new);
        drop(new);
        assert_eq!(Tree::of_db(&open_new(&disk)), more, "seed {seed}");
    }
    Ok(())
}

#[test]
fn an_empty_database_is_restored_as_one() -> Result<()> {
    let disk = disk(1);
    let (bytes, report) = backup(&open(&disk, "/db"))?;
    assert_eq!((report.revision.0, report.pairs, report.blocks), (0, 0, 0));
    restore(&disk, &bytes, &RestoreOptions::new())?;
    let new = open_new(&disk);
    assert_eq!(Tree::of_db(&new), Tree::default());
    new.update(|txn| txn.create_bucket("b")?.put("k", "v"))?;
    assert_eq!(new.stats().revision.0, 1);
    Ok(())
}

#[test]
fn buckets_of_every_depth_go_through() -> Result<()> {
    fn nest(bucket: &mut BucketMut<'_>, depth: usize) -> Result<()> {
        bucket.put("k", depth.to_string().repeat(depth * 3))?;
        bucket.set_sequence(depth as u64)?;
        match depth {
            BUCKET_DEPTH_MAX => Ok(()),
            _ => nest(&mut bucket.create_bucket(format!("b{depth}"))?, depth + 1),
        }
    }
    let disk = disk(1);
    let db = open(&disk, "/db");
    db.update(|txn| nest(&mut txn.create_bucket("b")?, 1))?;
    let (bytes, report) = backup(&db)?;
    assert_eq!(report.buckets, BUCKET_DEPTH_MAX as u64);
    restore(&disk, &bytes, &RestoreOptions::new().verify(true))?;
    assert_eq!(Tree::of_db(&open_new(&disk)), Tree::of_db(&db));
    Ok(())
}

/// Within a transaction of the thread that calls it too: no lock of a writer's is needed.
#[test]
fn a_backup_may_be_written_beside_an_open_transaction() -> Result<()> {
    let db = small(&disk(1))?;
    let (before, _) = backup(&db)?;
    db.update(|txn| {
        txn.bucket_mut("a")?.put("k", "not yet")?;
        assert!(backup(&db)?.0 == before);
        Ok(())
    })
}

#[test]
fn long_values_go_through_in_pieces() -> Result<()> {
    let disk = disk(1);
    let db = open(&disk, "/db");
    let value: Vec<u8> = (0..5 << 20).map(|index: u32| (index ^ index >> 9) as u8).collect();
    let lens = [65536, 65537, 1 << 20, (1 << 20) + 1, 3_333_333, 5 << 20];
    db.update(|txn| {
        let mut bucket = txn.create_bucket("b")?;
        for (index, len) in lens.iter().enumerate() {
            bucket.put([index as u8], &value[..*len])?;
            bucket.put([index as u8, 0], "between")?;
        }
        Ok(())
    })?;
    let (bytes, report) = backup(&db)?;
    // One for what is before each long value, one or more for the value.
    assert_eq!(report.blocks, 6 + 1 + 1 + 2 + 4 + 5);
    restore(&disk, &bytes, &RestoreOptions::new())?;
    assert_eq!(Tree::of_db(&open_new(&disk)), Tree::of_db(&db));
    Ok(())
}

#[test]
fn what_has_expired_stays_hidden_and_the_rest_expires_in_its_time() -> Result<()> {
    let disk = disk(1);
    let db = open(&disk, "/db");
    db.update(|txn| {
        let mut bucket = txn.create_bucket("b")?;
        bucket.put_until("past", "1", at_ms(START_MS + 1000))?;
        for number in 0..3000_u32 {
            bucket.put_until(number.to_be_bytes(), "2", at_ms(START_MS + 5000))?;
        }
        let mut nested = bucket.create_bucket("in")?;
        nested.put_until("later", "3", at_ms(START_MS + 9000))?;
        nested.put("stays", "4")
    })?;
    disk.advance_ms(2000);
    let (bytes, report) = backup(&db)?;
    assert_eq!((report.pairs, report.time), (3003, at_ms(START_MS + 2000)));
    // The clock of the machine it is restored on is behind: the database's is not.
    disk.advance_ms(-2000);
    restore(&disk, &bytes, &RestoreOptions::new())?;
    let new = open_new(&disk);
    assert_eq!(new.snapshot()?.now(), at_ms(START_MS + 2000));
    assert_eq!(Tree::of_db(&new).counts()[1], 3002, "what has expired stays so");
    disk.set_now_ms(START_MS + 6000);
    assert_eq!(Tree::of_db(&new).counts()[1], 2);
    // The sweep finds them: they are in the list of expiries.
    let swept = new.sweep(&mut |_| ControlFlow::Continue(()))?;
    assert_eq!(swept.removed, 3001);
    disk.set_now_ms(START_MS + 10_000);
    assert_eq!(new.sweep(&mut |_| ControlFlow::Continue(()))?.removed, 1);
    new.sync()?;
    let left = new.begin_read()?.bucket("b")?.bucket("in")?.len();
    assert_eq!(left, 1);
    Ok(())
}

#[test]
fn a_backup_has_what_its_snapshot_had_while_a_writer_goes_on() -> Result<()> {
    let disk = disk(3);
    let db = open(&disk, "/db");
    fill(&db, &mut Random(3))?;
    let tree = Tree::of_db(&db);
    let revision = db.stats().revision;
    let (mut bytes, mut random, mut commits) = (Vec::new(), Random(4), 0);
    let report = db.backup(&mut bytes, &BackupOptions::new(), &mut |_| {
        let names: Vec<Vec<u8>> =
            db.snapshot().unwrap().buckets().unwrap().map(|name| name.unwrap().to_vec()).collect();
        db.update(|txn| names.iter().take(2).try_for_each(|name| txn.drop_bucket(name))).unwrap();
        fill(&db, &mut random).unwrap();
        db.checkpoint().unwrap();
        commits += 1;
        ControlFlow::Continue(())
    })?;
    assert!(commits > 2, "{commits} calls");
    assert_eq!(report.revision, revision);
    assert!(Tree::of_db(&db) != tree && db.stats().revision > revision);
    restore(&disk, &bytes, &RestoreOptions::new())?;
    assert_eq!(Tree::of_db(&open_new(&disk)), tree);
    Ok(())
}

#[test]
fn a_backup_cut_at_any_byte_is_no_backup() -> Result<()> {
    let disk = disk(1);
    let (bytes, _) = backup(&small(&disk)?)?;
    for len in 0..bytes.len() {
        let error = verify(&bytes[..len]).unwrap_err();
        assert!(error.is_cut_short(), "{len} bytes: {error}");
        let error = restore(&disk, &bytes[..len], &RestoreOptions::new()).unwrap_err();
        assert!(error.is_cut_short(), "{len} bytes: {error}");
        assert!(is_gone(&disk), "{len} bytes");
    }
    let error = verify(&[&bytes[..], &[0]].concat()).unwrap_err();
    assert!(error.to_string().contains("expected nothing behind the end block"), "{error}");
    let twice = [&bytes[..], &bytes].concat();
    assert!(restore(&disk, &twice, &RestoreOptions::new()).unwrap_err().is_corrupt());
    assert!(is_gone(&disk));
    assert!(verify(&bytes).is_ok());
    Ok(())
}

#[test]
fn a_backup_with_any_bit_flipped_is_no_backup() -> Result<()> {
    let disk = disk(1);
    let db = small(&disk)?;
    let (mut bytes, _) = backup(&db)?;
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = verify(&bytes).unwrap_err();
        assert!(error.is_corrupt() || error.is_cut_short(), "bit {bit}: {error}");
        if bit % 8 == bit / 8 % 8 {
            let error = restore(&disk, &bytes, &RestoreOptions::new()).unwrap_err();
            assert!(error.is_corrupt() || error.is_cut_short(), "bit {bit}: {error}");
            assert!(is_gone(&disk), "bit {bit}");
            let error = Backup::from_reader(&bytes[..]).restore_bucket(&db, ["n"], &mut go_on());
            assert!(error.is_err(), "bit {bit}");
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(db.stats().revision.0, 1, "nothing was committed");
    assert!(verify(&bytes).is_ok());
    Ok(())
}

/// Where the blocks of a backup begin and end, the header left out.
fn blocks(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut blocks) = (64, Vec::new());
    while at < bytes.len() {
        let len = bytes[at + 4..at + 8].try_into().expect("4 bytes");
        let len = u32::from_le_bytes(len) as usize;
        blocks.push(at..at + 16 + len + 4);
        at += 16 + len + 4;
    }
    blocks
}

#[test]
fn blocks_that_are_lost_repeated_or_exchanged_are_noticed() -> Result<()> {
    let make = |value: u8| {
        let disk = disk(1);
        let db = open(&disk, "/db");
        let put = |key: &str| {
            db.update(|txn| txn.create_bucket_if_missing("b")?.put(key, vec![value; 70_000]))
        };
        ["x", "y", "z"].into_iter().try_for_each(put)?;
        backup(&db).map(|(bytes, _)| (disk, bytes))
    };
    let ((disk, bytes), (_, other)) = (make(1)?, make(2)?);
    let blocks = blocks(&bytes);
    assert_eq!((blocks.len(), bytes.len()), (8, other.len()));
    let joined = |order: &[usize]| {
        let mut joined = bytes[..64].to_vec();
        order.iter().for_each(|block| joined.extend(&bytes[blocks[*block].clone()]));
        joined
    };
    let refused = |bytes: &[u8], expected: &str| {
        for error in [verify(bytes).unwrap_err(), {
            restore(&disk, bytes, &RestoreOptions::new()).unwrap_err()
        }] {
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(is_gone(&disk));
    };
    assert!(verify(&joined(&[0, 1, 2, 3, 4, 5, 6, 7])).is_ok());
    refused(&joined(&[0, 1, 4, 5, 6, 7]), "expected block number 3, found 5");
    refused(&joined(&[0, 1, 0, 1, 2, 3, 4, 5, 6, 7]), "expected block number 3, found 1");
    refused(&joined(&[0, 3, 2, 1, 4, 5, 6, 7]), "expected block number 2, found 4");
    refused(&joined(&[0, 1, 2, 3, 4, 5, 7]), "expected block number 7, found 8");
    // A block of another backup, in its place there.
    let mut mixed = bytes.clone();
    mixed[blocks[3].clone()].copy_from_slice(&other[blocks[3].clone()]);
    refused(&mixed, "whose checksums have the checksum");
    // The header of another backup.
    let header = [&other[..64], &bytes[64..]].concat();
    assert!(bytes[..64] == other[..64] || verify(&header).is_err());
    Ok(())
}

/// The kind of a block and what it holds.
type Payload<'a> = (u32, &'a [u8]);

/// A backup of these blocks, with right numbers and checksums, whatever they say.
fn made(header: &[u8], payloads: &[Payload<'_>], counts: [u64; 3]) -> Vec<u8> {
    let (mut bytes, mut digest) = (header.to_vec(), Hasher::new());
    digest.update(&header[12..16]);
    let push = |kind: u32, number: u64, payload: &[u8], bytes: &mut Vec<u8>| {
        let start = bytes.len();
        bytes.extend(kind.to_le_bytes());
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(payload);
        let crc = crc32fast::hash(&bytes[start..]).to_le_bytes();
        bytes.extend(crc);
        crc
    };
    let mut number = 0;
    for (kind, payload) in payloads {
        number += 1;
        digest.update(&push(*kind, number, payload, &mut bytes));
    }
    let numbers = [number, counts[0], counts[1], counts[2]];
    let mut end: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    end.extend(digest.finalize().to_le_bytes());
    push(3, number + 1, &end, &mut bytes);
    bytes
}

#[test]
fn content_that_is_no_tree_is_refused_whatever_its_checksums() -> Result<()> {
    let disk = disk(1);
    let (bytes, _) = backup(&open(&disk, "/db"))?;
    let header = &bytes[..64];
    let deep: Vec<u8> = [1, 1, b'd', 0, 0].repeat(65);
    let long_key = [&[1, 1, b'a', 0, 0, 3, 0x81, 8][..], &[b'k'; 1025], &[0, 2]].concat();
    let (enter_a, put_k) = ([1, 1, b'a', 0, 0], [3, 1, b'k', 1, b'v']);
    let in_a = |ops: &[u8]| [&enter_a[..], ops, &[2]].concat();
    let long = |len: u8| [&enter_a[..], &[5, 1, b'k', 0, len]].concat();
    let in_b = [1, 1, b'b', 9, 0, 2];
    let ok = made(header, &[(1, &in_a(&put_k)), (1, &[]), (1, &in_b)], [2, 1, 2]);
    assert!(verify(&ok).is_ok());
    let whole = made(header, &[(1, &long(3)), (2, b"ab"), (2, b"c"), (1, &[2])], [1, 1, 4]);
    assert!(restore(&disk, &whole, &RestoreOptions::new()).is_ok());
    let value = open_new(&disk).begin_read()?.bucket("a")?.get("k")?.map(<[u8]>::to_vec);
    assert_eq!(value, Some(b"abc".to_vec()), "a short value in pieces is one as any other");
    let disk = self::disk(2);
    type Refused<'a> = (&'a str, &'a [Payload<'a>], [u64; 3]);
    let refused: [Refused<'_>; 18] = [
        ("a key above", &[(1, &in_a(&[put_k, put_k].concat()))], [1, 2, 4]),
        ("a key above", &[(1, &[in_a(&[]), in_a(&[])].concat())], [2, 0, 0]),
        ("a bucket around each pair", &[(1, &put_k)], [0, 1, 2]),
        ("expected a bucket, found a step", &[(1, &[&in_a(&[])[..], &[2]].concat())], [1, 0, 0]),
        ("all buckets left", &[(1, &enter_a)], [1, 0, 0]),
        ("at most 64 nested", &[(1, &deep)], [65, 0, 0]),
        ("a key of 1 to 1024 bytes, found 1025", &[(1, &long_key)], [1, 1, 1025]),
        ("a key of 1 to 1024 bytes, found 0", &[(1, &in_a(&[3, 0, 1, b'v']))], [1, 1, 1]),
        ("an operation kind", &[(1, &[9])], [0, 0, 0]),
        ("[1, 1, 3] buckets, pairs", &[(1, &in_a(&put_k))], [1, 1, 3]),
        ("[2, 1, 2] buckets, pairs", &[(1, &in_a(&put_k))], [2, 1, 2]),
        ("[1, 0, 2] buckets, pairs", &[(1, &in_a(&put_k))], [1, 0, 2]),
        ("a block of kind 1", &[(2, b"ab")], [0, 0, 0]),
        ("a block of kind 1", &[(4, b"ab")], [0, 0, 0]),
        ("a block of kind 2", &[(1, &long(3)), (2, b"ab"), (1, &[2])], [1, 1, 4]),
        ("found the end block", &[(1, &long(3)), (2, b"ab")], [1, 1, 4]),
        ("a piece of at most 3", &[(1, &long(3)), (2, b"abcd"), (1, &[2])], [1, 1, 4]),
        ("pieces of a value", &[(1, &[&long(3)[..], &[2]].concat()), (2, b"abc")], [1, 1, 4]),
    ];
    for (expected, payloads, counts) in refused {
        let bytes = made(header, payloads, counts);
        for error in [
            verify(&bytes).unwrap_err(),
            restore(&disk, &bytes, &RestoreOptions::new()).unwrap_err(),
        ] {
            assert!(error.is_corrupt(), "{expected}: {error}");
            assert!(error.to_string().contains(expected), "{expected}: {error}");
        }
        assert!(is_gone(&disk), "{expected}");
    }
    Ok(())
}

/// Whatever the payloads say under right checksums, it is an error or a database, and no panic.
#[test]
fn payloads_that_were_changed_are_an_error_or_a_database() -> Result<()> {
    let disk = disk(1);
    let (bytes, report) = backup(&golden_database(&disk)?)?;
    let counts = [report.buckets, report.pairs, report.content_bytes];
    let mut random = Random(77);
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..1500 {
        let mut payloads: Vec<(u32, Vec<u8>)> = Vec::new();
        for block in blocks(&bytes) {
            let kind = u32::from(bytes[block.start]);
            payloads.push((kind, bytes[block.start + 16..block.end - 4].to_vec()));
        }
        payloads.pop();
        for _ in 0..1 + random.below(3) {
            let block = random.below(payloads.len() as u64) as usize;
            let payload = &mut payloads[block].1;
            let at = random.below(payload.len().min(400) as u64) as usize;
            match random.below(4) {
                0 => drop(payload.remove(at)),
                1 => payload.insert(at, random.below(256) as u8),
                2 => payload[at] = random.below(8) as u8,
                _ => payload[at] = random.below(256) as u8,
            }
        }
        let payloads: Vec<Payload<'_>> =
            payloads.iter().map(|(kind, payload)| (*kind, &payload[..])).collect();
        let changed = made(&bytes[..64], &payloads, counts);
        match (verify(&changed), restore(&disk, &changed, &RestoreOptions::new())) {
            (Ok(_), Ok(_)) => {
                drop(open_new(&disk));
                let files = disk.contents().into_keys().filter(|path| path.starts_with("/new"));
                files.for_each(|path| disk.remove_file(&path).expect("no fault"));
                disk.remove_dir("/new/wal".as_ref()).expect("no fault");
                disk.remove_dir("/new".as_ref()).expect("no fault");
                whole += 1;
            }
            (Err(one), Err(other)) => {
                assert!(one.is_corrupt() && other.to_string() == one.to_string(), "{one} {other}");
                assert!(is_gone(&disk));
                refused += 1;
            }
            (one, other) => panic!("{one:?} {other:?}"),
        }
    }
    assert!(whole > 50 && refused > 500, "{whole} and {refused}");
    Ok(())
}

#[test]
fn another_version_another_kind_and_other_files_are_told_apart() -> Result<()> {
    let disk = disk(1);
    let (bytes, _) = backup(&small(&disk)?)?;
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        let crc = crc32fast::hash(&[&bytes[..12], &bytes[16..64]].concat());
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        verify(&bytes).unwrap_err()
    };
    for (at, to, expected) in [
        (8, 2, "expected backup format version 1, found 2"),
        (32, 3, "expected kind of backup 1, found 3"),
    ] {
        let error = changed(at, to);
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().ends_with(expected), "{error}");
    }
    assert!(changed(37, 0x11).to_string().contains("a page size of"));
    assert!(changed(48, 0).to_string().contains("transactions in order"), "the last is 0");
    let error = verify(&[7; 100]).unwrap_err();
    assert!(error.to_string().contains("expected the magic of a backup"), "{error}");
    Ok(())
}

#[test]
fn one_bucket_is_restored_alone() -> Result<()> {
    let disk = disk(1);
    let db = open(&disk, "/db");
    fill(&db, &mut Random(9))?;
    db.update(|txn| {
        let mut jobs = txn.create_bucket("jobs")?;
        jobs.put("beside", "not wanted")?;
        jobs.put("long beside", vec![1; 100_000])?;
        jobs.set_sequence(3)?;
        jobs.create_bucket("a")?.create_bucket("b")?.put("k", "of a, not wanted")?;
        let mut wanted = jobs.create_bucket("b")?;
        wanted.put("k", "v")?;
        wanted.put("large", vec![2; 200_000])?;
        wanted.put_until("leased", "until", at_ms(START_MS + 5000))?;
        wanted.put_until("leased, large", vec![3; 80_000], at_ms(START_MS + 5000))?;
        wanted.set_sequence(7)?;
        wanted.create_bucket("b")?.put("deep", "er")
    })?;
    let (bytes, report) = backup(&db)?;
    let wanted = Tree::of_db(&db).at(&["jobs", "b"]).clone();

    let none = restore(&disk, &bytes, &RestoreOptions::new().bucket(["none"])).unwrap_err();
    assert!(none.is_bucket_not_found() && is_gone(&disk), "{none}");
    let restored = restore(&disk, &bytes, &RestoreOptions::new().bucket(["jobs", "b"]))?;
    let [buckets, pairs, content_bytes] = wanted.counts();
    assert_eq!((restored.buckets, restored.pairs), (buckets + 1, pairs));
    assert_eq!((restored.content_bytes, restored.revision), (content_bytes, report.revision));
    let new = open_new(&disk);
    let tree = Tree::of_db(&new);
    assert_eq!(tree.at(&["jobs", "b"]), &wanted);
    assert_eq!((tree.buckets.len(), tree.at(&["jobs"]).buckets.len()), (1, 1));
    assert_eq!((tree.at(&["jobs"]).pairs.len(), tree.at(&["jobs"]).sequence), (0, 0));

    // Into a database that has some of the buckets around it.
    let host = disk.fork();
    let other = open(&host, "/other");
    other.update(|txn| txn.create_bucket("jobs")?.put("own", "stays"))?;
    let into =
        |path: &[&str]| Backup::from_reader(&bytes[..]).restore_bucket(&other, path, &mut go_on());
    let restored = into(&["jobs", "b"])?;
    assert_eq!((restored.pairs, restored.revision.0, restored.backup), (pairs, 2, report));
    let before = Tree::of_db(&other);
    assert_eq!(before.at(&["jobs", "b"]), &wanted);
    assert_eq!(before.at(&["jobs"]).pairs.len(), 1);
    for (path, expected) in [
        (&["jobs", "b"][..], "bucket exists already: \"b\""),
        (&["jobs", "own"], "expected a bucket, found a value"),
        (&["jobs", "own", "x"], "expected a bucket, found a value"),
        (&["jobs", "none"], "bucket not found: \"jobs/none\""),
        (&["none", "b"], "bucket not found: \"none/b\""),
        (&[], "expected the path of a bucket"),
    ] {
        let error = into(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{path:?}: {error}");
    }
    assert_eq!(Tree::of_db(&other), before);
    // It is in the log, with what it needs to expire.
    let host = host.fork();
    let killed = open(&host, "/other");
    assert!(Tree::of_db(&killed) == before);
    assert!(killed.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
    host.set_now_ms(START_MS + 6000);
    assert_eq!(killed.sweep(&mut |_| ControlFlow::Continue(()))?.removed, 2);
    Ok(())
}

#[test]
fn a_key_that_the_page_size_does_not_allow_is_told() -> Result<()> {
    let disk = disk(1);
    let options_ = options().page_bytes(8192);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options_)?;
    db.update(|txn| txn.create_bucket("b")?.put([7; 2048], "v"))?;
    let (bytes, _) = backup(&db)?;
    let error = restore(&disk, &bytes, &RestoreOptions::new().page_bytes(4096)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TooLarge { max: 1024, found: 2048, .. }), "{error}");
    assert!(is_gone(&disk));
    restore(&disk, &bytes, &RestoreOptions::new())?;
    Ok(())
}

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
fn golden_database(disk: &SimDisk) -> Result<Db> {
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
