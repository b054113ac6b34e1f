//! The content of a full backup, as it comes, each part of it checked before it is told.
//!
//! Holds one block in memory. Invariants:
//! 1. What is told makes a tree: keys ascend within a bucket, buckets are left as often as they are
//!    entered, records are in buckets, and every name, key and value is within its limit.
//! 2. The end is told when the end block was read and counts what was told.

use crate::error::Result;
use crate::limits::{BUCKET_DEPTH_MAX, VALUE_BYTES_MAX, key_bytes_max};

use super::BackupReport;
use super::container::{Block, CONTENT, Counts, FULL, PIECE};
use super::content::{Operation, decode};
use super::source::Source;

/// What comes next in a backup.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// An operation. The value of a long put is read with [`Content::read_value`], or left out.
    Operation(Operation<'a>),
    /// All was told, and the backup is whole.
    End,
}

/// A full backup that is read.
pub(super) struct Content<'a> {
    pub(super) source: Source<'a>,
    /// Where in the payload of the block at hand the next operation begins.
    at: usize,
    /// The block at hand holds pieces of a value.
    is_piece: bool,
    shape: Shape,
}

/// What was told so far, as far as it bounds what may follow.
struct Shape {
    /// The last key of each open bucket; the first is for the top-level buckets.
    last: Vec<Vec<u8>>,
    key_bytes_max: usize,
    /// What is left of a long value.
    value_bytes_left: u64,
    counts: Counts,
}

impl<'a> Content<'a> {
    /// Begins to read a source whose header alone was read.
    pub(super) fn begin(source: Source<'a>) -> Result<Content<'a>> {
        source.check_kind(FULL)?;
        let shape = Shape {
            last: vec![Vec::new()],
            key_bytes_max: key_bytes_max(source.header.page_bytes),
            value_bytes_left: 0,
            counts: [0; 3],
        };
        Ok(Content { source, at: 0, is_piece: false, shape })
    }

    /// The next event. Behind the end there is none.
    pub(super) fn next(&mut self) -> Result<Event<'_>> {
        self.skip_value()?;
        while self.is_piece || self.at == self.source.payload().len() {
            if let Block::End(counts) = self.next_block(CONTENT)? {
                return self.end(counts);
            }
        }
        let payload = self.source.payload();
        let told = decode(payload, self.at).and_then(|(operation, next)| {
            self.shape.take(&operation)?;
            let is_last = next == payload.len();
            match self.shape.value_bytes_left > 0 && !is_last {
                true => Err(("pieces of a value".to_owned(), "an operation".to_owned())),
                false => Ok((operation, next)),
            }
        });
        let (operation, next) =
            told.map_err(|(expected, found)| self.source.damaged(expected, found))?;
        self.at = next;
        Ok(Event::Operation(operation))
    }

    /// Reads the next bytes of the value of the long put that was told last. REQUIRES: it has as
    /// many left.
    pub(super) fn read_value(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let bytes = self.piece()?;
            let now = bytes.len().min(out.len());
            let (to, later) = out.split_at_mut(now);
            to.copy_from_slice(&bytes[..now]);
            out = later;
            self.pass(now);
        }
        Ok(())
    }

    fn skip_value(&mut self) -> Result<()> {
        while self.shape.value_bytes_left > 0 {
            let bytes = self.piece()?.len();
            self.pass(bytes);
        }
        Ok(())
    }

    /// What is left of the piece at hand, or the next piece.
    fn piece(&mut self) -> Result<&[u8]> {
        if !self.is_piece || self.at == self.source.payload().len() {
            if let Block::End(_) = self.next_block(PIECE)? {
                let (expected, found) = ("pieces of a value", "the end block");
                return Err(self.source.damaged(expected.to_owned(), found.to_owned()));
            }
            let (found, left) = (self.source.payload().len(), self.shape.value_bytes_left);
            if found == 0 || found as u64 > left {
                let expected = format!("a piece of at most {left} bytes");
                return Err(self.source.damaged(expected, found.to_string()));
            }
        }
        Ok(&self.source.payload()[self.at..])
    }

    fn pass(&mut self, bytes: usize) {
        self.at += bytes;
        self.shape.value_bytes_left -= bytes as u64;
    }

    /// Reads a block, of this kind unless it is the end.
    fn next_block(&mut self, kind: u32) -> Result<Block> {
        self.source.told.pairs = self.shape.counts[1];
        self.at = 0;
        self.is_piece = kind == PIECE;
        match self.source.next_block()? {
            Block::Payload(found) if found != kind => {
                let expected = format!("a block of kind {kind}");
                Err(self.source.damaged(expected, found.to_string()))
            }
            block => Ok(block),
        }
    }

    fn end(&mut self, counts: Counts) -> Result<Event<'_>> {
        let found = self.shape.counts;
        if self.shape.last.len() != 1 {
            let found = format!("{} of them open", self.shape.last.len() - 1);
            return Err(self.source.damaged("all buckets left".to_owned(), found));
        }
        if counts != found {
            let expected = format!("{counts:?} buckets, pairs and bytes");
            return Err(self.source.damaged(expected, format!("{found:?}")));
        }
        Ok(Event::End)
    }

    /// What the backup is. REQUIRES: the end was told.
    pub(super) fn report(&self) -> BackupReport {
        BackupReport::new(&self.source.header, self.shape.counts, self.source.read_so_far())
    }
}

impl Shape {
    /// Takes an operation that may follow, or says what was expected and what was found.
    fn take(&mut self, operation: &Operation<'_>) -> Result<(), (String, String)> {
        match *operation {
            Operation::Enter { name, .. } => {
                self.take_key(name)?;
                if self.last.len() > BUCKET_DEPTH_MAX {
                    let expected = format!("at most {BUCKET_DEPTH_MAX} nested buckets");
                    return Err((expected, "more".to_owned()));
                }
                self.counts[0] += 1;
                self.last.push(Vec::new());
                Ok(())
            }
            Operation::Leave if self.last.len() == 1 => {
                Err(("a bucket".to_owned(), "a step out of none".to_owned()))
            }
            Operation::Leave => {
                self.last.pop();
                Ok(())
            }
            Operation::Put { key, value, .. } => self.take_pair(key, value.len() as u64),
            Operation::PutLong { key, len, .. } => {
                self.take_pair(key, len)?;
                self.value_bytes_left = len;
                Ok(())
            }
        }
    }

    fn take_pair(&mut self, key: &[u8], value_bytes: u64) -> Result<(), (String, String)> {
        if self.last.len() == 1 {
            return Err(("a bucket around each pair".to_owned(), "none".to_owned()));
        }
        if value_bytes > VALUE_BYTES_MAX as u64 {
            let expected = format!("a value of at most {VALUE_BYTES_MAX} bytes");
            return Err((expected, value_bytes.to_string()));
        }
        self.take_key(key)?;
        self.counts[1] += 1;
        // Of a file that says so: it need not have as many bytes.
        self.counts[2] = self.counts[2].saturating_add(key.len() as u64 + value_bytes);
        Ok(())
    }

    fn take_key(&mut self, key: &[u8]) -> Result<(), (String, String)> {
        let max = self.key_bytes_max;
        if key.is_empty() || key.len() > max {
            return Err((format!("a key of 1 to {max} bytes"), key.len().to_string()));
        }
        let last = self.last.last_mut().expect("invariant: the top-level buckets have a place");
        if !last.is_empty() && key <= &last[..] {
            let (last, key) = (last.escape_ascii(), key.escape_ascii());
            return Err((format!("a key above \"{last}\""), format!("\"{key}\"")));
        }
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }
}
