//! The file that a backup is in: a header, blocks that are counted and checksummed, an end block.
//!
//! ```text
//! header   0   8  magic: 89 42 43 42 0d 0a 1a 0a
//!          8   4  format version
//!         12   4  checksum of bytes 0 to 11 and 16 to 63
//!         16  16  database id
//!         32   4  kind: 1 full, 2 changes
//!         36   4  page size of the database
//!         40   8  first transaction
//!         48   8  last transaction
//!         56   8  time, milliseconds since 1970
//! block    0   4  kind
//!          4   4  payload length
//!          8   8  number, from 1
//!         16      payload, then u32 checksum of all that is before it in the block
//! end      0   8  blocks before it
//!          8  24  three counts, by the kind of the backup
//!         32   4  checksum of the checksums of the header and of the blocks before it
//! ```
//!
//! Knows no bucket and no key: whoever reads or writes a kind of backup does. Never holds more than
//! one block. Invariants:
//! 1. What is handed out of a block has matched its checksum, its number and its kind.
//! 2. A backup is whole when its end block was read, and nothing follows: without it, whatever the
//!    length at which it was cut, reading fails.
//! 3. A block that is lost, repeated or exchanged with another fails by its number; one that is
//!    from another backup at the latest by the checksum in the end block.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::codec::{get_u32, get_u64, put_u32, put_u64};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TxnId;
use crate::limits::{BACKUP_BLOCK_BYTES_MAX, COUNTER_MAX, PAGE_BYTES_MAX, PAGE_BYTES_MIN};

pub(super) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = [0x89, b'B', b'C', b'B', 0x0d, 0x0a, 0x1a, 0x0a];
const VERSION: u32 = 1;
const CRC_AT: usize = 12;
const BLOCK_HEAD_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
const END_BYTES: usize = 36;

/// A full backup: the content of a database at one moment.
pub(super) const FULL: u32 = 1;
/// A backup of changes: transactions, one after the other.
pub(super) const CHANGES: u32 = 2;

/// Block of a full backup: operations.
pub(super) const CONTENT: u32 = 1;
/// Block: a piece of a long value, or of a long transaction.
pub(super) const PIECE: u32 = 2;
/// The last block of every backup.
const END: u32 = 3;
/// Block of a backup of changes: whole transactions.
pub(super) const TRANSACTIONS: u32 = 4;
/// Block of a backup of changes: the length of a transaction whose pieces follow.
pub(super) const LONG: u32 = 5;

/// What a backup says of itself before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) database_id: [u8; 16],
    pub(super) page_bytes: usize,
    pub(super) first: TxnId,
    pub(super) last: TxnId,
    pub(super) time_ms: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        put_u32(&mut bytes, 8, VERSION);
        bytes[16..32].copy_from_slice(&self.database_id);
        put_u32(&mut bytes, 32, self.kind);
        put_u32(&mut bytes, 36, u32::try_from(self.page_bytes).expect("invariant: at most 32 KiB"));
        put_u64(&mut bytes, 40, self.first.0);
        put_u64(&mut bytes, 48, self.last.0);
        put_u64(&mut bytes, 56, self.time_ms);
        let crc = header_crc(&bytes);
        put_u32(&mut bytes, CRC_AT, crc);
        bytes
    }

    fn decode(bytes: &[u8], file: &Path) -> Result<Header> {
        let wrong =
            |expected: String, found: String| Err(Error::corrupt_block(file, 0, expected, found));
        if bytes[..8] != MAGIC {
            return wrong("the magic of a backup".to_owned(), "other bytes".to_owned());
        }
        let (expected, found) = (get_u32(bytes, CRC_AT), header_crc(bytes));
        if expected != found {
            return wrong(format!("a header of checksum {expected:08x}"), format!("{found:08x}"));
        }
        let version = get_u32(bytes, 8);
        if version != VERSION {
            return Err(unsupported(file, "backup format version", VERSION, version));
        }
        let page_bytes = get_u32(bytes, 36) as usize;
        let sizes = PAGE_BYTES_MIN..=PAGE_BYTES_MAX;
        if !page_bytes.is_power_of_two() || !sizes.contains(&page_bytes) {
            return wrong(format!("a page size of {sizes:?} bytes"), page_bytes.to_string());
        }
        let (first, last) = (get_u64(bytes, 40), get_u64(bytes, 48));
        if first > last || last >= COUNTER_MAX {
            let expected = format!("transactions in order, below {COUNTER_MAX}");
            return wrong(expected, format!("{first} to {last}"));
        }
        Ok(Header {
            kind: get_u32(bytes, 32),
            database_id: bytes[16..32].try_into().expect("invariant: 16 bytes"),
            page_bytes,
            first: TxnId(first),
            last: TxnId(last),
            time_ms: get_u64(bytes, 56),
        })
    }
}

/// The checksum of a header, its own field left out.
fn header_crc(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..CRC_AT]);
    crc.update(&bytes[CRC_AT + 4..HEADER_BYTES]);
    crc.finalize()
}

pub(super) fn unsupported(file: &Path, what: &'static str, expected: u32, found: u32) -> Error {
    let (expected, found) = (u64::from(expected), u64::from(found));
    Error::from(ErrorKind::Unsupported { file: file.to_path_buf(), what, expected, found })
}

/// Three counts that the end block tells; what they count is up to the kind of backup.
pub(super) type Counts = [u64; 3];

/// Writes a backup, block by block.
pub(super) struct BlockWriter<'a> {
    out: &'a mut dyn Write,
    /// What the backup is called in errors.
    name: PathBuf,
    /// The block in the making, with room for its header.
    block: Vec<u8>,
    number: u64,
    digest: crc32fast::Hasher,
    /// Bytes written so far.
    pub(super) bytes: u64,
}

impl<'a> BlockWriter<'a> {
    /// Writes the header.
    pub(super) fn begin(
        out: &'a mut dyn Write,
        name: &Path,
        header: &Header,
    ) -> Result<BlockWriter<'a>> {
        let (name, block) = (name.to_path_buf(), vec![0; BLOCK_HEAD_BYTES]);
        let digest = crc32fast::Hasher::new();
        let mut writer = BlockWriter { out, name, block, number: 1, digest, bytes: 0 };
        let header = header.encode();
        writer.digest.update(&header[CRC_AT..CRC_AT + 4]);
        writer.write(&header)?;
        Ok(writer)
    }

    /// The payload of the block in the making.
    pub(super) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.block
    }

    /// Its length.
    pub(super) fn payload_bytes(&self) -> usize {
        self.block.len() - BLOCK_HEAD_BYTES
    }

    /// Bytes that a block of the present payload takes.
    pub(super) fn block_bytes(&self) -> u64 {
        (self.block.len() + CRC_BYTES) as u64
    }

    /// Writes the block and begins the next.
    pub(super) fn finish_block(&mut self, kind: u32) -> Result<()> {
        let payload_bytes = self.payload_bytes();
        assert!(payload_bytes <= BACKUP_BLOCK_BYTES_MAX, "a block is bounded");
        let mut block = std::mem::take(&mut self.block);
        put_u32(&mut block, 0, kind);
        put_u32(&mut block, 4, payload_bytes as u32);
        put_u64(&mut block, 8, self.number);
        let crc = crc32fast::hash(&block).to_le_bytes();
        block.extend_from_slice(&crc);
        let written = self.write(&block);
        self.digest.update(&crc);
        self.number += 1;
        block.truncate(BLOCK_HEAD_BYTES);
        self.block = block;
        written
    }

    /// Writes the end block. REQUIRES: the payload is empty. Returns how many blocks are before it.
    pub(super) fn finish(mut self, counts: Counts) -> Result<Written> {
        assert_eq!(self.payload_bytes(), 0, "the last block is written");
        let blocks = self.number - 1;
        let digest = self.digest.clone().finalize();
        let payload = self.payload();
        payload.extend_from_slice(&blocks.to_le_bytes());
        counts.iter().for_each(|count| payload.extend_from_slice(&count.to_le_bytes()));
        payload.extend_from_slice(&digest.to_le_bytes());
        self.finish_block(END)?;
        self.out.flush().map_err(|error| Error::io("write", &self.name, error))?;
        Ok(Written { blocks, bytes: self.bytes })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| Error::io("write", &self.name, error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Sizes of a backup that was written or read to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Blocks before the end block.
    pub(super) blocks: u64,
    pub(super) bytes: u64,
}

/// Reads a backup, block by block.
pub(super) struct BlockReader<'a> {
    input: Box<dyn Read + 'a>,
    /// What the backup is called in errors.
    pub(super) name: PathBuf,
    /// The block at hand, all of it.
    block: Vec<u8>,
    /// Number of the block at hand; 0 before the first.
    number: u64,
    digest: crc32fast::Hasher,
    /// Bytes read so far.
    pub(super) bytes: u64,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A payload of this kind.
    Payload(u32),
    /// The end of the backup, and what it counts.
    End(Counts),
}

impl<'a> BlockReader<'a> {
    /// Reads the header.
    pub(super) fn begin(input: Box<dyn Read + 'a>, name: &Path) -> Result<(Header, Self)> {
        let (name, digest) = (name.to_path_buf(), crc32fast::Hasher::new());
        let (block, number, bytes) = (Vec::new(), 0, 0);
        let mut reader = BlockReader { input, name, block, number, digest, bytes };
        reader.read(HEADER_BYTES, "a header")?;
        let header = Header::decode(&reader.block, &reader.name)?;
        reader.digest.update(&reader.block[CRC_AT..CRC_AT + 4]);
        reader.block.clear();
        Ok((header, reader))
    }

    /// The payload of the block at hand; empty before the first.
    pub(super) fn payload(&self) -> &[u8] {
        let end = self.block.len().saturating_sub(CRC_BYTES);
        self.block.get(BLOCK_HEAD_BYTES..end).unwrap_or(&[])
    }

    /// Reads the next block. Behind the end block there is none.
    pub(super) fn next(&mut self) -> Result<Block> {
        self.number += 1;
        self.block.clear();
        self.read(BLOCK_HEAD_BYTES, "a block or the end block")?;
        let (kind, payload_bytes) = (get_u32(&self.block, 0), get_u32(&self.block, 4) as usize);
        let number = get_u64(&self.block, 8);
        if payload_bytes > BACKUP_BLOCK_BYTES_MAX {
            let expected = format!("a block of at most {BACKUP_BLOCK_BYTES_MAX} bytes");
            return Err(self.damaged(expected, payload_bytes.to_string()));
        }
        self.read(payload_bytes + CRC_BYTES, "the rest of a block")?;
        let (covered, crc) = self.block.split_at(BLOCK_HEAD_BYTES + payload_bytes);
        let (expected, found) = (get_u32(crc, 0), crc32fast::hash(covered));
        if expected != found {
            let expected = format!("a block of checksum {expected:08x}");
            return Err(self.damaged(expected, format!("{found:08x}")));
        }
        if number != self.number {
            let expected = format!("block number {}", self.number);
            return Err(self.damaged(expected, number.to_string()));
        }
        if kind == END {
            return self.end();
        }
        self.digest.update(&self.block[BLOCK_HEAD_BYTES + payload_bytes..]);
        Ok(Block::Payload(kind))
    }

    /// Blocks read, the end block left out, and bytes.
    pub(super) fn read_so_far(&self) -> Written {
        Written { blocks: self.number.saturating_sub(1), bytes: self.bytes }
    }

    fn end(&mut self) -> Result<Block> {
        let payload = self.payload();
        if payload.len() != END_BYTES {
            let expected = format!("an end block of {END_BYTES} bytes");
            return Err(self.damaged(expected, payload.len().to_string()));
        }
        let field = |index: usize| get_u64(payload, index * 8);
        let (blocks, counts) = (field(0), [field(1), field(2), field(3)]);
        if blocks != self.number - 1 {
            let expected = format!("{blocks} blocks before the end block");
            return Err(self.damaged(expected, (self.number - 1).to_string()));
        }
        let (expected, found) = (get_u32(payload, 32), self.digest.clone().finalize());
        if expected != found {
            let expected = format!("blocks whose checksums have the checksum {expected:08x}");
            return Err(self.damaged(expected, format!("{found:08x}")));
        }
        let mut behind = [0];
        match self.read_some(&mut behind)? {
            0 => Ok(Block::End(counts)),
            _ => Err(self.damaged("nothing behind the end block".into(), "more".into())),
        }
    }

    /// Appends so many bytes to the block at hand.
    fn read(&mut self, count: usize, expected: &str) -> Result<()> {
        let mut block = std::mem::take(&mut self.block);
        let mut at = block.len();
        block.resize(at + count, 0);
        while at < block.len() {
            let read = self.read_some(&mut block[at..])?;
            if read == 0 {
                return Err(Error::from(ErrorKind::CutShort {
                    file: self.name.clone(),
                    bytes: self.bytes,
                    expected: expected.to_owned(),
                }));
            }
            at += read;
        }
        self.block = block;
        Ok(())
    }

    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize> {
        loop {
            match self.input.read(buf) {
                Ok(read) => {
                    self.bytes += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.name, error)),
            }
        }
    }

    /// Damage in the block at hand.
    #[cold]
    pub(super) fn damaged(&self, expected: String, found: String) -> Error {
        Error::corrupt_block(&self.name, self.number, expected, found)
    }
}
