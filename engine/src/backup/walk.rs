//! Everything that a pinned root reaches, in the order of the tree, expired or not.
//!
//! Copies nothing. Without recursion: the open buckets are a stack of cursors. Invariants:
//! 1. Each bucket is entered once and left once, with what it holds in between.
//! 2. The stack is bounded by the depth that buckets may have.

use crate::error::Result;
use crate::limits::BUCKET_DEPTH_MAX;
use crate::page::{BucketRecord, Entry, Payload};
use crate::pager::PageMemory;
use crate::tree::{self, Pages, Root};
use crate::txn::{Pin, Store};

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
    open: Vec<tree::Cursor<'a, PageMemory>>,
}

impl<'a> Walk<'a> {
    /// Begins at the root of the pin.
    pub(super) fn new(store: &'a Store, pin: &'a Pin) -> Walk<'a> {
        let memory = &store.memory;
        let root = tree::Cursor::new(memory, Root::of_page(pin.buckets().root));
        Walk { memory, open: vec![root] }
    }

    /// The next step; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Step<'a>>> {
        let Some(innermost) = self.open.last_mut() else { return Ok(None) };
        if let Some(entry) = innermost.next()? {
            return self.step(&entry).map(Some);
        }
        self.open.pop();
        Ok((!self.open.is_empty()).then_some(Step::Leave))
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
