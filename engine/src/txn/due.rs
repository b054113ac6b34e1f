//! When records expire: a list of hints in the order of time, so that what has expired is found
//! without a search.
//!
//! The record is the truth, or the entry of a bucket, which may expire as a whole. A hint only says
//! that it may have expired at its time; it is stale where the record is gone, stays for good or
//! expires later, or where a bucket around it has expired, which takes all it holds along. So a
//! put adds one only where no hint covers the new expiry: who renews a lease again and again pays
//! for the list once in its time to live, when the sweep moves the hint. The list is not logged:
//! replay puts the same records, and adds hints for them.
//!
//! ```text
//! system bucket   key 00, before the dropped buckets: the list, a bucket
//! list            key    u64 milliseconds since 1970, u64 number, both big-endian
//!                 value  for each bucket from the top: u16 length, name; for a record then u16
//!                        length, key
//! ```
//!
//! Invariants:
//! 1. Every record and every bucket with an expiry has a hint of its time or an earlier one, unless
//!    a bucket around it has expired.
//! 2. A list without hints has no entry in the system bucket.

use crate::codec::get_u16;
use crate::error::Result;
use crate::limits;
use crate::mutation::{self, Mutation};
use crate::page::{BucketRecord, Entry, Payload};
use crate::tree::{self, Cursor, Pages, ReplacedPayload, Tree};

use super::root::DUE;
use super::write::WriteTxn;

/// Time told for an empty list.
pub(crate) const NEVER_MS: u64 = u64::MAX;

const HINT_BYTES: usize = 16;

/// That a record may have expired.
#[derive(Debug)]
pub(super) struct Hint {
    pub(super) key: [u8; HINT_BYTES],
    pub(super) place: Vec<u8>,
}

/// The names that lead to a record: those of its buckets, then its key; or to a bucket. `None` when
/// the bytes are not a place.
pub(super) fn names(place: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut names, mut rest) = (Vec::new(), place);
    while !rest.is_empty() {
        let (len, behind) = rest.split_at_checked(2)?;
        let (name, behind) = behind.split_at_checked(usize::from(get_u16(len, 0)))?;
        names.push(name);
        rest = behind;
    }
    (!names.is_empty()).then_some(names)
}

pub(super) fn push_name(place: &mut Vec<u8>, name: &[u8]) {
    let len = u16::try_from(name.len()).expect("invariant: keys and names are short");
    place.extend_from_slice(&len.to_le_bytes());
    place.extend_from_slice(name);
}

impl WriteTxn {
    /// After a record of the innermost bucket was given an expiry, or the bucket itself, where the
    /// last one was `before`; zero stands for none.
    pub(super) fn note_expiry(
        &mut self,
        key: Option<&[u8]>,
        expires_at: u64,
        before: u64,
    ) -> Result<()> {
        let is_late = before <= expires_at || mutation::is(Mutation::ExpiryNotNoted);
        let is_covered = before != 0 && is_late;
        if expires_at == 0 || is_covered {
            return Ok(());
        }
        let mut place = Vec::new();
        let names = self.levels[1..].iter().map(|level| &level.name[..]);
        names.chain(key).for_each(|name| push_name(&mut place, name));
        let added = self.add_hint(expires_at, &place);
        self.note_failure(added)
    }

    /// Adds a hint.
    pub(super) fn add_hint(&mut self, time_ms: u64, place: &[u8]) -> Result<()> {
        let mut list = self.due()?;
        let mut key = [0; HINT_BYTES];
        key[..8].copy_from_slice(&time_ms.to_be_bytes());
        key[8..].copy_from_slice(&list.sequence.to_be_bytes());
        list.sequence += 1;
        let inline = Entry { key: &key, payload: Payload::Value(place), expires_at: 0 };
        let fits = inline.stored_bytes() <= limits::inline_bytes_max(self.pages.page_bytes());
        let run = if fits { None } else { Some(self.begin_run(place)?) };
        let payload = run.map_or(inline.payload, |(run, len)| Payload::Overflow { run, len });
        let mut tree = Tree { root: list.root, entries: list.entries };
        tree::insert(&mut self.pages, &mut tree, &Entry { payload, ..inline })?;
        if let Some(run) = run {
            self.fill_run(run, place);
            self.pages.finish_spilling()?;
        }
        self.set_due(tree, list.sequence);
        Ok(())
    }

    /// Takes a hint away.
    pub(super) fn remove_hint(&mut self, key: &[u8]) -> Result<()> {
        let list = self.due()?;
        let mut tree = Tree { root: list.root, entries: list.entries };
        let removed = tree::remove(&mut self.pages, &mut tree, key)?;
        if let Some(ReplacedPayload::Overflow { run, len }) = removed.map(|old| old.payload) {
            self.retire_run(run, len)?;
        }
        self.set_due(tree, list.sequence);
        Ok(())
    }

    /// The hints of times up to `until_ms`, in order, `count` at most.
    pub(super) fn hints_by(&self, until_ms: u64, count: usize) -> Result<Vec<Hint>> {
        let list = self.due()?;
        let mut cursor = Cursor::new(&self.pages, tree::Root::of_page(list.root));
        let mut hints = Vec::new();
        let mut next = cursor.seek_to_first()?;
        while let Some(entry) = next.filter(|entry| time_of(entry.key) <= until_ms) {
            if hints.len() == count {
                break;
            }
            let (Ok(key), Some(place)) = (entry.key.try_into(), self.place_of(&entry)?) else {
                let found = entry.key.escape_ascii().to_string();
                return Err(self.pages.damaged(list.root, "a hint of an expiry", found));
            };
            hints.push(Hint { key, place });
            next = cursor.next()?;
        }
        Ok(hints)
    }

    fn place_of(&self, entry: &Entry<'_>) -> Result<Option<Vec<u8>>> {
        Ok(match entry.payload {
            Payload::Value(place) => Some(place.to_vec()),
            Payload::Overflow { run, len } => Some(self.pages.run(run, len)?.to_vec()),
            Payload::Bucket(_) => None,
        })
    }

    /// The list as it is now.
    pub(super) fn due(&self) -> Result<BucketRecord> {
        if let Some(list) = self.due {
            return Ok(list);
        }
        let system = self.system.tree.root();
        match tree::get(&self.pages, system, DUE)?.map(|entry| entry.payload) {
            None => Ok(BucketRecord::EMPTY),
            Some(Payload::Bucket(record)) => Ok(BucketRecord::decode(record)),
            Some(_) => {
                let root = self.system.tree.root;
                Err(self.pages.damaged(root, "the list of expiries", "a value".to_owned()))
            }
        }
    }

    /// The earliest time in the list.
    pub(crate) fn next_due(&self) -> Result<u64> {
        let list = self.due()?;
        let mut cursor = Cursor::new(&self.pages, tree::Root::of_page(list.root));
        Ok(cursor.seek_to_first()?.map_or(NEVER_MS, |entry| time_of(entry.key)))
    }

    pub(super) fn set_due(&mut self, tree: Tree, sequence: u64) {
        self.due = Some(BucketRecord { root: tree.root, entries: tree.entries, sequence });
    }

    /// Writes the list back to the system bucket, if it has changed.
    pub(super) fn close_due(&mut self) -> Result<()> {
        let Some(list) = self.due else { return Ok(()) };
        self.next_due_ms = Some(self.next_due()?);
        self.due = None;
        let (pages, system) = (&mut self.pages, &mut self.system.tree);
        if list.entries == 0 {
            return tree::remove(pages, system, DUE).map(|_| ());
        }
        let record = list.encode();
        let payload = Payload::Bucket(&record);
        if !tree::overwrite(pages, system, DUE, &payload)? {
            tree::insert(pages, system, &Entry { key: DUE, payload, expires_at: 0 })?;
        }
        Ok(())
    }
}

/// The time of a hint.
fn time_of(key: &[u8]) -> u64 {
    key.first_chunk().map_or(NEVER_MS, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_one_that_is_cut_is_none() {
        let mut place = Vec::new();
        for name in [&b"jobs"[..], b"", &[7; 8000], b"key"] {
            push_name(&mut place, name);
        }
        assert_eq!(names(&place), Some(vec![&b"jobs"[..], b"", &[7; 8000], b"key"]));
        let whole = [6, 8, 8010].map(|len| names(&place[..len]).map(|names| names.len()));
        assert_eq!(whole, [Some(1), Some(2), Some(3)]);
        for len in (0..place.len()).filter(|len| ![6, 8, 8010].contains(len)) {
            assert_eq!(names(&place[..len]), None, "{len} bytes");
        }
    }
}
