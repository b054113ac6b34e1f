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
//! ```
//!
//! Numbers are little-endian. A record starts at the root, outside any bucket. The operations are
//! logical: replayed on the tree of the checkpoint they give the same content, whatever pages it
//! takes. The change feed reads the same bytes.
//!
//! Never interprets names or keys. Bytes that do not decode are an error that says where.

use crate::ids::TxnId;
use crate::io::prefer_large_pages;
use crate::limits::COUNTER_MAX;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 17;
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
}

/// Collects the operations of one transaction.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    bytes: Vec<u8>,
    /// True once an operation was added that does not remove something.
    adds: bool,
}

impl RecordWriter {
    /// An empty record in the memory of an earlier one; what a large one needed is given back.
    pub(crate) fn new(mut memory: Vec<u8>) -> RecordWriter {
        memory.clear();
        memory.shrink_to(MEMORY_KEPT);
        memory.resize(HEADER_BYTES, 0);
        RecordWriter { bytes: memory, adds: false }
    }

    /// True when no operation was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// True when all operations remove something.
    pub(crate) fn only_removes(&self) -> bool {
        !self.adds
    }

    /// Adds an operation.
    pub(crate) fn push(&mut self, operation: Operation<'_>) {
        let capacity = self.bytes.capacity();
        self.write(operation);
        if self.bytes.capacity() > capacity.max(MEMORY_KEPT) {
            prefer_large_pages(&self.bytes);
        }
    }

    fn write(&mut self, operation: Operation<'_>) {
        use Operation::{Create, Put, Sequence};
        self.adds |= matches!(operation, Put { .. } | Create { .. } | Sequence { .. });
        let bytes = &mut self.bytes;
        match operation {
            Operation::Enter { name } => put_named(bytes, 1, name),
            Operation::Leave { levels } => {
                bytes.push(2);
                put_number(bytes, levels);
            }
            Operation::Put { key, value, expires_at: 0 } => {
                put_named(bytes, 3, key);
                put_bytes(bytes, value);
            }
            Operation::Put { key, value, expires_at } => {
                put_named(bytes, 4, key);
                bytes.extend_from_slice(&expires_at.to_le_bytes());
                put_bytes(bytes, value);
            }
            Operation::Delete { key } => put_named(bytes, 5, key),
            Operation::Create { name } => put_named(bytes, 6, name),
            Operation::Drop { name } => put_named(bytes, 7, name),
            Operation::Sequence { number } => {
                bytes.push(8);
                put_number(bytes, number);
            }
        }
    }

    /// The finished record.
    pub(crate) fn finish(mut self, txn: TxnId, time_ms: u64) -> Vec<u8> {
        self.bytes[0] = VERSION;
        self.bytes[1..9].copy_from_slice(&txn.0.to_le_bytes());
        self.bytes[9..17].copy_from_slice(&time_ms.to_le_bytes());
        self.bytes
    }

    /// The memory, for the next transaction.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }
}

fn put_named(bytes: &mut Vec<u8>, kind: u8, name: &[u8]) {
    bytes.push(kind);
    put_bytes(bytes, name);
}

fn put_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    put_number(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("invariant: 7 bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("invariant: 7 bits"));
}

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
    pub(crate) fn new(bytes: &'a [u8]) -> Result<RecordReader<'a>, String> {
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
    pub(crate) fn next(&mut self) -> Result<Option<Operation<'a>>, String> {
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
            kind => return Err(format!("expected an operation kind of 1 to 8, found {kind}")),
        };
        Ok(Some(operation))
    }

    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).ok_or_else(|| self.too_short(1))?;
        self.at += 1;
        Ok(*byte)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).ok_or_else(|| self.too_short(count))?;
        let content = self.bytes.get(self.at..end).ok_or_else(|| self.too_short(count))?;
        self.at = end;
        Ok(content)
    }

    fn u64(&mut self) -> Result<u64, String> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("invariant: 8 bytes")))
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(format!("expected a number below 2^64 at byte {}, found a larger one", self.at))
    }

    fn content(&mut self) -> Result<&'a [u8], String> {
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
            Operation::Leave { levels: 1 },
            Operation::Drop { name: b"old" },
        ]
    }

    fn record() -> Vec<u8> {
        let mut writer = RecordWriter::new(Vec::new());
        assert!(writer.is_empty());
        operations().into_iter().for_each(|operation| writer.push(operation));
        writer.finish(TxnId(77), 1234)
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
        let record = |txn| RecordWriter::new(Vec::new()).finish(TxnId(txn), 0);
        assert!(RecordReader::new(&record(COUNTER_MAX - 1)).is_ok());
        assert!(RecordReader::new(&record(COUNTER_MAX)).is_err());
        assert!(RecordReader::new(&record(u64::MAX)).is_err());
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        let mut bytes = RecordWriter::new(Vec::new()).finish(TxnId(1), 0);
        bytes.push(8);
        bytes.extend([0xff; 10]);
        let mut reader = RecordReader::new(&bytes).unwrap();
        assert!(reader.next().unwrap_err().contains("below 2^64"));
    }
}
