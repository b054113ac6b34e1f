//! Removing what has expired, a few hints at a time: see [`super::due`].
//!
//! Removals are logged as any other, so that whoever reads the log sees them. What only moves hints
//! is not: its transaction takes the place of the one before. Invariants:
//! 1. A record is looked at again before it is removed: a hint alone removes nothing.

use crate::error::{Error, ErrorKind, Result};
use crate::mutation::{self, Mutation};
use crate::page::Payload;
use crate::tree::{self, Pages};

use super::due::names;
use super::write::{Durability, WriteTxn};

/// What a step of a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Hints that were due.
    pub(crate) hints: usize,
    /// Records and buckets that were removed.
    pub(crate) removed: u64,
}

impl WriteTxn {
    /// Removes what has expired by `until_ms`, as far as so many hints tell of it.
    pub(crate) fn sweep(&mut self, until_ms: u64, hints_max: usize) -> Result<Swept> {
        // What this transaction still sees is not removed.
        let until_ms = until_ms.min(self.time_ms);
        let mut hints = self.hints_by(until_ms, hints_max)?;
        // Records of one bucket one behind the other.
        hints.sort_unstable_by(|a, b| a.place.cmp(&b.place));
        let mut swept = Swept { hints: hints.len(), removed: 0 };
        for hint in &hints {
            let done = self.follow(&hint.key, &hint.place, until_ms);
            swept.removed += u64::from(self.note_failure(done)?);
        }
        Ok(swept)
    }

    /// Removes the record that a hint leads to, if it has expired, and the hint.
    fn follow(&mut self, hint: &[u8], place: &[u8], until_ms: u64) -> Result<bool> {
        self.remove_hint(hint)?;
        let names = names(place);
        let Some((key, buckets)) = names.as_deref().and_then(<[&[u8]]>::split_last) else {
            let (root, found) = (self.due()?.root, place.escape_ascii().to_string());
            return Err(self.pages.damaged(root, "the place of a record", found));
        };
        if !self.go_to(buckets)? {
            return Ok(false);
        }
        let level = self.level().tree.root();
        let Some(entry) = tree::get(&self.pages, level, key)? else { return Ok(false) };
        match (entry.payload, entry.expires_at) {
            (_, 0) => Ok(false),
            (_, expires_at) if expires_at > until_ms && !mutation::is(Mutation::HintBelieved) => {
                self.add_hint(expires_at, place).map(|()| false)
            }
            (Payload::Bucket(_), _) => self.drop_entry(key).map(|()| true),
            _ => self.delete(key).map(|_| true),
        }
    }

    /// Opens these buckets within each other, and no others; false where one of them is gone.
    fn go_to(&mut self, buckets: &[&[u8]]) -> Result<bool> {
        let open = self.levels[1..].iter().zip(buckets);
        let same = open.take_while(|(level, name)| level.name == **name).count();
        self.return_to(1 + same)?;
        for name in &buckets[same..] {
            match self.enter(name) {
                Err(error) if is_gone(&error) => return Ok(false),
                entered => entered?,
            }
        }
        Ok(true)
    }

    /// Commits a sweep, to be flushed with what comes next.
    pub(crate) fn commit_sweep(mut self, swept: Swept) -> Result<()> {
        if swept.removed > 0 {
            self.set_durability(Durability::Buffered);
            return self.commit().map(|_| ());
        }
        if swept.hints == 0 {
            return Ok(());
        }
        if let Some(record) = self.record.take() {
            self.pages.writer.record = record.into_memory();
        }
        self.id = self.pages.writer.tip.txn;
        self.replace_tip()
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::BucketNotFound { .. } | ErrorKind::NotABucket { .. })
}
