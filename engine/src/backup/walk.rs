//! Everything that a pinned root reaches, in the order of the tree.
//!
//! Copies nothing. Without recursion: the open buckets are a stack of cursors. Invariants:
//! 1. Each bucket is entered once and left once, with what it holds in between.
//! 2. The stack is bounded by the depth that buckets may have.

use crate::error::Result;
use crate::limits::BUCKET_DEPTH_MAX;
use crate::page::{BucketRecord, Entry, Payload};
use crate::pager::PageMemory;
use crate::tree::{self, Pages, Root};
use crate::txn::{Pin, Store, View};

/// What a walk comes to next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// A bucket; what follows is in it.
    Enter { name: &'a [u8], sequence: u64, expires_at: u64 },
    /// A record of the present bucket.
    Pair { key: &'a [u8], value: Payload<'a>, expires_at: u64 },
    /// The end of the present bucket.
    Leave,
}

/// A walk under way.
pub(super) struct Walk<'a> {
    memory: &'a PageMemory,
    /// By whose clock what has expired is left out; `None` leaves nothing out.
    clock: Option<View<'a>>,
    open: Vec<tree::Cursor<'a, PageMemory>>,
}

impl<'a> Walk<'a> {
    /// Through what is visible at the clock of the pin.
    pub(super) fn visible(store: &'a Store, pin: &'a Pin) -> Walk<'a> {
        let clock = Some(pin.view(store));
        Walk { clock, ..Walk::all(store, pin) }
    }

    /// Through everything, whether it has expired or not.
    pub(super) fn all(store: &'a Store, pin: &'a Pin) -> Walk<'a> {
        let memory = &store.memory;
        let root = tree::Cursor::new(memory, Root::of_page(pin.buckets().root));
        Walk { memory, clock: None, open: vec![root] }
    }

    /// The next step; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Step<'a>>> {
        while let Some(innermost) = self.open.last_mut() {
            let Some(entry) = innermost.next()? else {
                self.open.pop();
                if self.open.is_empty() {
                    return Ok(None);
                }
                return Ok(Some(Step::Leave));
            };
            if self.clock.is_none_or(|clock| clock.is_visible(entry.expires_at)) {
                return self.step(&entry).map(Some);
            }
        }
        Ok(None)
    }

    fn step(&mut self, entry: &Entry<'a>) -> Result<Step<'a>> {
        let Entry { key, payload: value, expires_at } = *entry;
        let Payload::Bucket(record) = value else {
            return Ok(Step::Pair { key, value, expires_at });
        };
        let BucketRecord { root, sequence, .. } = BucketRecord::decode(record);
        if self.open.len() > BUCKET_DEPTH_MAX {
            let expected = format!("at most {BUCKET_DEPTH_MAX} nested buckets");
            return Err(self.memory.damaged(root, &expected, "more".to_owned()));
        }
        self.open.push(tree::Cursor::new(self.memory, Root::of_bucket(record)));
        Ok(Step::Enter { name: key, sequence, expires_at })
    }
}
