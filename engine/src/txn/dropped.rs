//! Freeing what was dropped, in bounded steps.
//!
//! A dropped bucket's record moves to the system bucket, under a number of its own. A step takes
//! the newest record and frees one page of it; what that page referred to becomes records again.
//! Taking the newest first keeps the list as short as a descent is deep.
//!
//! Steps are not logged: replay drops the same buckets again, and frees them again.

use crate::error::Result;
use crate::ids::PageRef;
use crate::page::{self, BucketRecord, Entry, Interior, Leaf, Payload};
use crate::tree::{self, Cursor, Pages, PagesMut};

use super::root::DUE;
use super::write::WriteTxn;

/// Pages freed at once within the transaction that drops a bucket.
const PAGES_AT_ONCE: u32 = 32;

impl WriteTxn {
    /// Puts a bucket's record among those to be freed, and frees a little.
    pub(super) fn detach(&mut self, record: &[u8]) -> Result<()> {
        self.push_dropped(record)?;
        self.free_dropped(PAGES_AT_ONCE)?;
        Ok(())
    }

    /// Frees up to about `pages` pages of dropped buckets; true when more are left.
    pub(crate) fn free_dropped(&mut self, pages: u32) -> Result<bool> {
        for _ in 0..pages {
            if !self.free_one_dropped()? {
                return Ok(false);
            }
        }
        self.has_dropped()
    }

    fn has_dropped(&self) -> Result<bool> {
        let mut cursor = Cursor::new(&self.pages, self.system.tree.root());
        Ok(cursor.seek_to_last()?.is_some_and(|entry| entry.key != DUE))
    }

    fn push_dropped(&mut self, record: &[u8]) -> Result<()> {
        if !page::bucket::has_references(record) {
            return Ok(());
        }
        self.system.sequence += 1;
        let key = self.system.sequence.to_be_bytes();
        let entry = Entry { key: &key, payload: Payload::Bucket(record), expires_at: 0 };
        tree::insert(&mut self.pages, &mut self.system.tree, &entry)?;
        Ok(())
    }

    fn free_one_dropped(&mut self) -> Result<bool> {
        let mut cursor = Cursor::new(&self.pages, self.system.tree.root());
        let last = cursor.seek_to_last()?.filter(|entry| entry.key != DUE);
        let Some(entry) = last else { return Ok(false) };
        let key = entry.key.to_vec();
        let Payload::Bucket(bytes) = entry.payload else {
            let root = self.system.tree.root;
            return Err(self.pages.damaged(root, "a dropped bucket", "a value".to_owned()));
        };
        let bytes = bytes.to_vec();
        tree::remove(&mut self.pages, &mut self.system.tree, &key)?;
        let root = BucketRecord::decode(&bytes).root;
        match page::bucket::image(&bytes) {
            Some(image) => self.drop_entries(image)?,
            None if root.id.is_none() => {}
            None => self.free_tree_page(root)?,
        }
        Ok(true)
    }

    /// Frees one page of a tree after noting what it refers to.
    fn free_tree_page(&mut self, root: PageRef) -> Result<()> {
        let content = self.pages.page(root)?;
        if page::header::tree_level(content) == Some(0) {
            if Leaf::new(content).may_have_references() {
                let content = content.to_vec();
                self.drop_entries(&content)?;
            }
        } else {
            let interior = Interior::new(content);
            let children: Vec<PageRef> =
                (0..=interior.count()).map(|index| interior.child(index)).collect();
            for root in children {
                let record = BucketRecord { root, entries: 1, sequence: 0 };
                self.push_dropped(&record.encode())?;
            }
        }
        self.pages.retire(root, 1)
    }

    /// Frees or notes what the entries of a leaf refer to.
    fn drop_entries(&mut self, leaf: &[u8]) -> Result<()> {
        let leaf = Leaf::new(leaf);
        for index in 0..leaf.count() {
            match leaf.entry(index).payload {
                Payload::Value(_) => {}
                Payload::Overflow { run, len } => self.retire_run(run, len)?,
                Payload::Bucket(record) => self.push_dropped(record)?,
            }
        }
        Ok(())
    }
}
