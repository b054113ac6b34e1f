//! What a commit says in the log: its operations, as bytes.
//!
//! ```text
//! record     u8 version = 1, u64 transaction, u64 time in milliseconds, then operations
//! operation  u8 kind, then by kind; n is a LEB128 number, s is n and that many bytes
//!            1 enter      s bucket name: the operations that follow are in that bucket
//!            2 leave      n how many levels up
//!            3 put        s key, s value
//!            4 put until  s key, u64 expiry in milliseconds, s value
//!            5 delete     s key
//!            6 create     s bucket name
//!            7 drop       s bucket name
//!            8 sequence   n the bucket's new sequence number
//!            9 expire     u64 the bucket's new expiry
//! ```
//!
//! Numbers are little-endian. A record starts at the root, outside any bucket. The operations are
//! logical: replayed on the tree of the checkpoint they give the same content, whatever pages it
//! takes. The change feed reads the same bytes.
//!
//! Never interprets names or keys. Bytes that do not decode are an error that says where.

use crate::codec::{get_leb128, put_leb128};
use crate::error::Result;
use crate::ids::TxnId;
use crate::limits::COUNTER_MAX;
use crate::wal::LongRecord;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 17;
/// A kind, an expiry and a length of ten bytes.
const HEAD_BYTES_MAX: usize = 1 + 8 + 10;
/// Memory of a record that is kept for the next one.
const MEMORY_KEPT: usize = 1 << 20;

/// One operation of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// Descend into a bucket of the present one.
    Enter { name: &'a [u8] },
    /// Return to an outer bucket.
    Leave { levels: u64 },
    /// Write a value; `expires_at` is zero for a value that stays.
    Put { key: &'a [u8], value: &'a [u8], expires_at: u64 },
    /// Remove a value.
    Delete { key: &'a [u8] },
    /// Create a bucket in the present one.
    Create { name: &'a [u8] },
    /// Drop a bucket of the present one.
    Drop { name: &'a [u8] },
    /// Set the present bucket's sequence number.
    Sequence { number: u64 },
    /// Set when the present bucket expires; 0 for never.
    Expire { expires_at: u64 },
}

impl<'a> Operation<'a> {
    /// The key of a value that is written or removed.
    #[inline]
    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Operation::Put { key, .. } | Operation::Delete { key } => Some(key),
            _ => None,
        }
    }
}

/// Where a record goes that becomes too long to wait in memory.
pub(super) trait LongRecords {
    /// Begins to write one.
    fn begin_long(&self) -> Result<LongRecord>;
    /// Takes the last piece of one.
    fn end_long(&self, record: &mut LongRecord, last_piece: Vec<u8>) -> Result<()>;
}

/// Collects the operations of one transaction.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    /// What was not written yet: the whole record, or the rest of a long one.
    bytes: Vec<u8>,
    /// A record longer than this is a long one.
    piece_bytes: usize,
    /// In a box: every transaction is moved with its writer, and few are long.
    long: Option<Box<LongRecord>>,
    /// True once an operation was added that does not remove something.
    adds: bool,
}

/// A record with all its operations.
#[derive(Debug)]
pub(super) enum Finished {
    Whole(Vec<u8>),
    Long(Box<LongRecord>),
}

impl RecordWriter {
    /// An empty record in the memory of an earlier one; what a large one needed is given back.
    pub(super) fn new(
        mut memory: Vec<u8>,
        piece_bytes: usize,
        txn: TxnId,
        time_ms: u64,
    ) -> RecordWriter {
        memory.clear();
        memory.shrink_to(MEMORY_KEPT);
        memory.push(VERSION);
        memory.extend_from_slice(&txn.0.to_le_bytes());
        memory.extend_from_slice(&time_ms.to_le_bytes());
        let piece_bytes = piece_bytes.max(memory.len());
        RecordWriter { bytes: memory, piece_bytes, long: None, adds: false }
    }

    /// True when no operation was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES && self.long.is_none()
    }

    /// True when all operations remove something.
    pub(crate) fn only_removes(&self) -> bool {
        !self.adds
    }

    /// Adds an operation. An error leaves part of it behind: the record is then of no use.
    pub(super) fn push(&mut self, operation: Operation<'_>, log: &dyn LongRecords) -> Result<()> {
        use Operation::{Create, Delete, Drop, Enter, Expire, Leave, Put, Sequence};
        self.adds |=
            matches!(operation, Put { .. } | Create { .. } | Sequence { .. } | Expire { .. });
        let head = &mut Head::default();
        match operation {
            Enter { name } => self.write(head.byte(1).number(name.len() as u64), name, log),
            Leave { levels } => self.write(head.byte(2).number(levels), &[], log),
            Put { key, value, expires_at } => {
                let kind = if expires_at == 0 { 3 } else { 4 };
                self.write(head.byte(kind).number(key.len() as u64), key, log)?;
                let head = &mut Head::default();
                let head = if expires_at == 0 { head } else { head.word(expires_at) };
                self.write(head.number(value.len() as u64), value, log)
            }
            Delete { key } => self.write(head.byte(5).number(key.len() as u64), key, log),
            Create { name } => self.write(head.byte(6).number(name.len() as u64), name, log),
            Drop { name } => self.write(head.byte(7).number(name.len() as u64), name, log),
            Sequence { number } => self.write(head.byte(8).number(number), &[], log),
            Expire { expires_at } => self.write(head.byte(9).word(expires_at), &[], log),
        }
    }

    /// Adds a put whose value follows in pieces.
    pub(super) fn push_put(
        &mut self,
        key: &[u8],
        value_len: u32,
        expires_at: u64,
        log: &dyn LongRecords,
    ) -> Result<()> {
        self.adds = true;
        let kind = if expires_at == 0 { 3 } else { 4 };
        self.write(Head::default().byte(kind).number(key.len() as u64), key, log)?;
        let head = &mut Head::default();
        let head = if expires_at == 0 { head } else { head.word(expires_at) };
        self.write(head.number(value_len.into()), &[], log)
    }

    /// Adds the next piece of that value.
    pub(super) fn push_piece(&mut self, piece: &[u8], log: &dyn LongRecords) -> Result<()> {
        self.write(&Head::default(), piece, log)
    }

    #[inline]
    fn write(&mut self, head: &Head, content: &[u8], log: &dyn LongRecords) -> Result<()> {
        let head = &head.bytes[..head.len];
        if head.len() + content.len() > self.piece_bytes - self.bytes.len() {
            self.write_pieces(head, log)?;
            return self.write_pieces(content, log);
        }
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(content);
        Ok(())
    }

    /// Adds bytes that may not fit into the present piece. A piece is written when more follows,
    /// so that the last one is never empty.
    #[cold]
    fn write_pieces(&mut self, content: &[u8], log: &dyn LongRecords) -> Result<()> {
        let mut content = content;
        loop {
            let room = self.piece_bytes - self.bytes.len();
            if content.len() <= room {
                self.bytes.extend_from_slice(content);
                return Ok(());
            }
            let long = match &mut self.long {
                Some(long) => long,
                None => self.long.insert(Box::new(log.begin_long()?)),
            };
            let (now, later) = content.split_at(room);
            if self.bytes.is_empty() {
                long.write(now)?;
            } else {
                self.bytes.extend_from_slice(now);
                long.write(&self.bytes)?;
                self.bytes.clear();
            }
            content = later;
        }
    }

    /// The finished record. Fails with `Full` when there is no room for the last piece.
    pub(super) fn finish(self, log: &dyn LongRecords) -> Result<Finished> {
        let Some(mut long) = self.long else { return Ok(Finished::Whole(self.bytes)) };
        log.end_long(&mut long, self.bytes)?;
        Ok(Finished::Long(long))
    }

    /// How long a record may be in memory.
    pub(super) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    /// The memory, for the next transaction.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }
}

/// What stands in front of a name, key or value: a kind, an expiry, a length.
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Default for Head {
    #[inline]
    fn default() -> Head {
        Head { bytes: [0; HEAD_BYTES_MAX], len: 0 }
    }
}

impl Head {
    #[inline]
    fn byte(&mut self, byte: u8) -> &mut Head {
        self.bytes[self.len] = byte;
        self.len += 1;
        self
    }

    fn word(&mut self, word: u64) -> &mut Head {
        self.bytes[self.len..self.len + 8].copy_from_slice(&word.to_le_bytes());
        self.len += 8;
        self
    }

    #[inline]
    fn number(&mut self, number: u64) -> &mut Head {
        put_leb128(number, |byte| {
            self.byte(byte);
        });
        self
    }
}

/// What was decoded, or what was expected and what was found.
type Decoded<T> = std::result::Result<T, String>;

/// A record of the log, and an iterator over its operations.
#[derive(Debug)]
pub(crate) struct RecordReader<'a> {
    /// The transaction that committed it.
    pub(crate) txn: TxnId,
    /// When, in milliseconds since 1970, by the database's clock.
    pub(crate) time_ms: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> RecordReader<'a> {
    /// Reads the header of a record. `Err` says what was expected and what was found.
    pub(crate) fn new(bytes: &'a [u8]) -> Decoded<RecordReader<'a>> {
        let mut reader = RecordReader { txn: TxnId(0), time_ms: 0, bytes, at: 0 };
        let version = reader.byte()?;
        if version != VERSION {
            return Err(format!("expected record version {VERSION}, found {version}"));
        }
        reader.txn = TxnId(reader.u64()?);
        if reader.txn.0 >= COUNTER_MAX {
            return Err(format!(
                "expected a transaction below {COUNTER_MAX}, found {}",
                reader.txn
            ));
        }
        reader.time_ms = reader.u64()?;
        Ok(reader)
    }

    /// The next operation, or `None` at the end.
    pub(crate) fn next(&mut self) -> Decoded<Option<Operation<'a>>> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let operation = match self.byte()? {
            1 => Operation::Enter { name: self.content()? },
            2 => Operation::Leave { levels: self.number()? },
            3 => Operation::Put { key: self.content()?, value: self.content()?, expires_at: 0 },
            4 => {
                let key = self.content()?;
                let expires_at = self.u64()?;
                Operation::Put { key, value: self.content()?, expires_at }
            }
            5 => Operation::Delete { key: self.content()? },
            6 => Operation::Create { name: self.content()? },
            7 => Operation::Drop { name: self.content()? },
            8 => Operation::Sequence { number: self.number()? },
            9 => Operation::Expire { expires_at: self.u64()? },
            kind => return Err(format!("expected an operation kind of 1 to 9, found {kind}")),
        };
        Ok(Some(operation))
    }

    fn byte(&mut self) -> Decoded<u8> {
        let byte = self.bytes.get(self.at).ok_or_else(|| self.too_short(1))?;
        self.at += 1;
        Ok(*byte)
    }

    fn take(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or_else(|| self.too_short(count))?;
        let content = self.bytes.get(self.at..end).ok_or_else(|| self.too_short(count))?;
        self.at = end;
        Ok(content)
    }

    fn u64(&mut self) -> Decoded<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("invariant: 8 bytes")))
    }

    fn number(&mut self) -> Decoded<u64> {
        get_leb128(|| self.byte())?.ok_or_else(|| {
            format!("expected a number below 2^64 at byte {}, found a larger one", self.at)
        })
    }

    fn content(&mut self) -> Decoded<&'a [u8]> {
        let count = self.number()?;
        let count = usize::try_from(count).map_err(|_| self.too_short(usize::MAX))?;
        self.take(count)
    }

    #[cold]
    fn too_short(&self, want: usize) -> String {
        let rest = self.bytes.len() - self.at;
        format!("expected {want} bytes at byte {} of the record, found {rest}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations() -> Vec<Operation<'static>> {
        vec![
            Operation::Create { name: b"nodes" },
            Operation::Enter { name: b"nodes" },
            Operation::Put { key: b"a", value: &[7; 300], expires_at: 0 },
            Operation::Put { key: b"b", value: b"", expires_at: u64::MAX },
            Operation::Delete { key: b"c" },
            Operation::Sequence { number: u64::MAX },
            Operation::Expire { expires_at: 77 },
            Operation::Leave { levels: 1 },
            Operation::Drop { name: b"old" },
        ]
    }

    /// No record of these tests is long.
    struct Nowhere;

    impl LongRecords for Nowhere {
        fn begin_long(&self) -> Result<LongRecord> {
            unreachable!("a short record")
        }

        fn end_long(&self, _: &mut LongRecord, _: Vec<u8>) -> Result<()> {
            unreachable!("a short record")
        }
    }

    fn new(txn: u64, time_ms: u64) -> RecordWriter {
        RecordWriter::new(Vec::new(), 1 << 20, TxnId(txn), time_ms)
    }

    fn finish(writer: RecordWriter) -> Vec<u8> {
        match writer.finish(&Nowhere).unwrap() {
            Finished::Whole(bytes) => bytes,
            Finished::Long(long) => panic!("expected a short record, found {long:?}"),
        }
    }

    fn record() -> Vec<u8> {
        let mut writer = new(77, 1234);
        assert!(writer.is_empty());
        for operation in operations() {
            writer.push(operation, &Nowhere).unwrap();
        }
        finish(writer)
    }

    #[test]
    fn operations_are_read_back_as_written() {
        let bytes = record();
        let mut reader = RecordReader::new(&bytes).unwrap();
        assert_eq!((reader.txn, reader.time_ms), (TxnId(77), 1234));
        let mut found = Vec::new();
        while let Some(operation) = reader.next().unwrap() {
            found.push(operation);
        }
        assert_eq!(found, operations());
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error_or_a_prefix() {
        let bytes = record();
        for len in 0..bytes.len() {
            let Ok(mut reader) = RecordReader::new(&bytes[..len]) else { continue };
            let mut found = Vec::new();
            while let Ok(Some(operation)) = reader.next() {
                found.push(operation);
            }
            assert!(operations().starts_with(&found));
        }
    }

    #[test]
    fn a_transaction_that_cannot_be_counted_up_is_refused() {
        let record = |txn| finish(new(txn, 0));
        assert!(RecordReader::new(&record(COUNTER_MAX - 1)).is_ok());
        assert!(RecordReader::new(&record(COUNTER_MAX)).is_err());
        assert!(RecordReader::new(&record(u64::MAX)).is_err());
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        let mut bytes = finish(new(1, 0));
        bytes.push(8);
        bytes.extend([0xff; 10]);
        let mut reader = RecordReader::new(&bytes).unwrap();
        assert!(reader.next().unwrap_err().contains("below 2^64"));
    }
}
