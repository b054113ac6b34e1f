//! Pages of a damaged data file, each by itself.
//!
//! Reads by `pread` into memory of its own; never a map, and nothing is kept. Invariants:
//! 1. A page is returned only when it matches the checksum that its parent holds, is well formed
//!    and has the level that it must have.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ids::PageRef;
use crate::io::File;
use crate::page::header::Header;
use crate::page::{Interior, Leaf, Payload, header, overflow};
use crate::pager::validate_in_file;
use crate::tree::Root;

use super::losses::Path;

/// A data file to read from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) page_bytes: usize,
    /// Pages that the file has room for.
    pub(super) pages: u32,
}

impl Source {
    /// A page of a tree; without a level the root, of any level.
    pub(super) fn page(&self, page: PageRef, level: Option<u8>) -> Result<Vec<u8>> {
        let bytes = self.read(page, 1)?;
        let well_formed = validate_in_file(&bytes).and_then(|()| {
            let found = Header::read(&bytes);
            match level {
                Some(level) if !header::is_at_level(&bytes, level) => Err(format!(
                    "kind {} level {}, expected level {level}",
                    found.kind, found.level
                )),
                _ if found.count == 0 && found.level == 0 => Err("a leaf without entries".into()),
                _ => Ok(()),
            }
        });
        match well_formed {
            Ok(()) => Ok(bytes),
            Err(found) => Err(self.damaged(page, "a well-formed page", found)),
        }
    }

    /// The run of a large value, whole.
    pub(super) fn run(&self, run: PageRef, len: u32) -> Result<Vec<u8>> {
        let bytes = self.read(run, overflow::run_pages(len, self.page_bytes))?;
        match overflow::validate_run(&bytes, self.page_bytes, len) {
            Ok(()) => Ok(bytes),
            Err(found) => Err(self.damaged(run, "a well-formed run", found)),
        }
    }

    fn read(&self, page: PageRef, count: u32) -> Result<Vec<u8>> {
        let index = page.id.index();
        if page.id.is_none() || page.id.is_arena() || count > self.pages.saturating_sub(index) {
            let (expected, found) = (format!("a page below {}", self.pages), index.to_string());
            return Err(self.damaged(page, &expected, found));
        }
        let mut bytes = vec![0; count as usize * self.page_bytes];
        let offset = u64::from(index) * self.page_bytes as u64;
        let read = self.file.read_at(&mut bytes, offset);
        read.map_err(|error| self.damaged(page, "a page that can be read", error.to_string()))?;
        let found = crc32fast::hash(&bytes);
        if found != page.crc {
            let expected = format!("checksum {:08x}", page.crc);
            return Err(self.damaged(page, &expected, format!("{found:08x}")));
        }
        Ok(bytes)
    }

    pub(super) fn damaged(&self, page: PageRef, expected: &str, found: String) -> Error {
        Error::corrupt(&self.path, u64::from(page.id.index()), expected, found)
    }

    /// The record of the bucket at `path` below that of the root; `None` when there is none.
    pub(super) fn find(&self, root: &[u8], path: &Path) -> Result<Option<Vec<u8>>> {
        let mut record = root.to_vec();
        for name in path {
            let Some(found) = self.find_in(&record, name)? else { return Ok(None) };
            record = found;
        }
        Ok(Some(record))
    }

    fn find_in(&self, record: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>> {
        let bucket_of = |leaf: Leaf<'_>| match leaf.find(name).map(|entry| entry.payload) {
            Some(Payload::Bucket(record)) => Some(record.to_vec()),
            _ => None,
        };
        let root = match Root::of_bucket(record) {
            Root::Empty => return Ok(None),
            Root::Image(image) => return Ok(bucket_of(Leaf::new(image))),
            Root::Page(page) => page,
        };
        let mut bytes = self.page(root, None)?;
        while let Some(level @ 1..) = header::tree_level(&bytes) {
            let interior = Interior::new(&bytes);
            bytes = self.page(interior.child(interior.search(name)), Some(level - 1))?;
        }
        Ok(bucket_of(Leaf::new(&bytes)))
    }
}
