//! Backups that are cut short, damaged, or made to say what none would.

use bristlecone::io::Host;
use bristlecone::{Backup, ErrorKind, RestoreOptions, Result};
use crc32fast::Hasher;

use crate::content::{Random, open, small};
use crate::golden::golden_database;
use crate::tree::disk;
use crate::{backup, go_on, is_gone, open_new, restore, verify};

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
