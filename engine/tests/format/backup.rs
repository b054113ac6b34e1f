//! A full backup, read by the rules of `docs/format.md`.
//!
//! Never writes, and asserts what it is told to expect: whatever is wrong is a panic.

use crate::layout::{
    BACKUP_BLOCK_HEAD_BYTES, BACKUP_HEADER_BYTES, BACKUP_PAYLOAD_BYTES_MAX, BACKUP_VERSION, backup,
    backup_block, backup_end,
};

const OPERATIONS: usize = 1;
const PIECE: usize = 2;
const END: usize = 3;
const CRC_BYTES: usize = 4;

/// One operation; a long put with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Enter(Vec<u8>, u64, u64),
    Leave,
    Put(Vec<u8>, Vec<u8>, u64),
}

/// A backup with all it holds.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) kind: u64,
    pub(crate) database_id: [u8; 16],
    pub(crate) page_bytes: usize,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) time: u64,
    pub(crate) operations: Vec<Operation>,
    /// Lengths of the pieces of values.
    pub(crate) pieces: Vec<usize>,
    /// Blocks before the end block.
    pub(crate) blocks: u64,
}

impl Backup {
    pub(crate) fn read(bytes: &[u8]) -> Backup {
        let (header, mut rest) = bytes.split_at(BACKUP_HEADER_BYTES);
        assert_eq!(backup::MAGIC.slice(header), b"\x89BCB\r\n\x1a\n");
        assert_eq!(backup::VERSION.size(header), BACKUP_VERSION);
        let covered = [&header[..backup::CRC.at], &header[backup::DATABASE_ID.at..]].concat();
        assert_eq!(backup::CRC.word(header), crc32fast::hash(&covered));
        let mut found = Backup {
            kind: backup::KIND.number(header),
            database_id: backup::DATABASE_ID.slice(header).try_into().expect("16 bytes"),
            page_bytes: backup::PAGE_BYTES.size(header),
            first: backup::FIRST_TXN.number(header),
            last: backup::LAST_TXN.number(header),
            time: backup::TIME.number(header),
            operations: Vec::new(),
            pieces: Vec::new(),
            blocks: 0,
        };
        let (mut checksums, mut value_bytes_left) = (backup::CRC.slice(header).to_vec(), 0);
        loop {
            let (kind, payload) = found.block(&mut rest, &mut checksums);
            match kind {
                OPERATIONS => {
                    assert_eq!(value_bytes_left, 0, "all pieces have come");
                    value_bytes_left = found.take_operations(payload);
                }
                PIECE => {
                    assert!((1..=value_bytes_left).contains(&payload.len()));
                    value_bytes_left -= payload.len();
                    found.pieces.push(payload.len());
                    let Some(Operation::Put(_, value, _)) = found.operations.last_mut() else {
                        panic!("expected a long put before its pieces")
                    };
                    value.extend_from_slice(payload);
                }
                END => break found.check_end(payload, &checksums),
                _ => panic!("expected a kind of 1 to 3, found {kind}"),
            }
        }
        assert!(value_bytes_left == 0 && rest.is_empty());
        found
    }

    /// The kind and payload of the next block. Its checksum is added, unless it is the last.
    fn block<'a>(&mut self, rest: &mut &'a [u8], checksums: &mut Vec<u8>) -> (usize, &'a [u8]) {
        let head = &rest[..BACKUP_BLOCK_HEAD_BYTES];
        let len = backup_block::PAYLOAD_BYTES.size(head);
        assert!(len <= BACKUP_PAYLOAD_BYTES_MAX);
        let (covered, behind) = rest.split_at(BACKUP_BLOCK_HEAD_BYTES + len);
        let (crc, behind) = behind.split_at(CRC_BYTES);
        assert_eq!(crc, crc32fast::hash(covered).to_le_bytes());
        assert_eq!(backup_block::NUMBER.number(head), self.blocks + 1);
        *rest = behind;
        let kind = backup_block::KIND.size(head);
        if kind != END {
            self.blocks += 1;
            checksums.extend_from_slice(crc);
        }
        (kind, &covered[BACKUP_BLOCK_HEAD_BYTES..])
    }

    /// Reads operations; returns how many bytes of a value follow.
    fn take_operations(&mut self, mut rest: &[u8]) -> usize {
        while let Some((kind, behind)) = rest.split_first() {
            rest = behind;
            self.operations.push(match kind {
                1 => Operation::Enter(string(&mut rest), number(&mut rest), number(&mut rest)),
                2 => Operation::Leave,
                3 => Operation::Put(string(&mut rest), string(&mut rest), 0),
                4 => {
                    let (key, until) = (string(&mut rest), number(&mut rest));
                    assert!(until > 0);
                    Operation::Put(key, string(&mut rest), until)
                }
                5 => {
                    let (key, until) = (string(&mut rest), number(&mut rest));
                    let len = number(&mut rest) as usize;
                    self.operations.push(Operation::Put(key, Vec::new(), until));
                    if len > 0 {
                        assert!(rest.is_empty(), "the last of its block");
                        return len;
                    }
                    continue;
                }
                _ => panic!("expected an operation of 1 to 5, found {kind}"),
            });
        }
        0
    }

    fn check_end(&self, payload: &[u8], checksums: &[u8]) {
        let (mut buckets, mut pairs, mut bytes) = (0, 0, 0);
        for operation in &self.operations {
            match operation {
                Operation::Enter(..) => buckets += 1,
                Operation::Leave => {}
                Operation::Put(key, value, _) => {
                    pairs += 1;
                    bytes += (key.len() + value.len()) as u64;
                }
            }
        }
        assert_eq!(payload.len(), backup_end::CRC.at + backup_end::CRC.bytes);
        assert_eq!(backup_end::BLOCKS.number(payload), self.blocks);
        assert_eq!(backup_end::BUCKETS.number(payload), buckets);
        assert_eq!(backup_end::PAIRS.number(payload), pairs);
        assert_eq!(backup_end::BYTES.number(payload), bytes);
        assert_eq!(backup_end::CRC.word(payload), crc32fast::hash(checksums));
    }
}

/// A number in LEB128.
fn number(rest: &mut &[u8]) -> u64 {
    let len = 1 + rest.iter().position(|byte| byte & 0x80 == 0).expect("a last byte");
    let (bytes, behind) = rest.split_at(len);
    *rest = behind;
    bytes.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f))
}

/// A number and that many bytes.
fn string(rest: &mut &[u8]) -> Vec<u8> {
    let len = number(rest) as usize;
    let (bytes, behind) = rest.split_at(len);
    *rest = behind;
    bytes.to_vec()
}
