//! Makes the checksums of a data file right again, so that a changed page is believed.
//!
//! It follows the file as it is now by `docs/format.md`, leniently: what makes no sense is left
//! alone. Never calls the engine.
//!
//! Invariants:
//! 1. Children come before those who refer to them, so one pass is enough. What refers in a circle
//!    cannot be made right, and stays wrong.
//! 2. The work is bounded, whatever the bytes.

use std::collections::BTreeMap;

use crate::patch::{number, put_checksum};

/// Bytes of a page in every image.
pub(crate) const PAGE_BYTES: usize = 4096;

pub(crate) const META_CHECKSUM_AT: usize = 4092;
pub(crate) const ROOT_BUCKET_AT: usize = 96;
pub(crate) const SYSTEM_BUCKET_AT: usize = 128;
const DIRECTORIES_AT: usize = 160;
const DIRECTORY_REFERENCES_AT: usize = 168;

const SPACE_CONTENT_AT: usize = 64;
const PAGE_HEADER_BYTES: usize = 24;
const BUCKET_RECORD_BYTES: usize = 32;

const LEAF: u8 = 1;
const INTERIOR: u8 = 2;
const KIND_RUN: usize = 1;
const KIND_BUCKET: usize = 2;

const DEPTH_MAX: usize = 48;
/// Pages and images to look into, and bytes to take checksums of.
const VISITS_MAX: usize = 2000;
const BYTES_MAX: usize = 8 << 20;

/// What came up on the way.
#[derive(Debug)]
pub(crate) struct Mender<'a> {
    bytes: &'a mut [u8],
    /// Pages and the bytes that belong to each: more than a page for runs.
    pub(crate) reached: BTreeMap<usize, usize>,
    visits: usize,
    bytes_left: usize,
}

/// Mends the whole file; returns the pages that it reached, with the bytes of each.
pub(crate) fn mend(bytes: &mut [u8]) -> BTreeMap<usize, usize> {
    let reached = BTreeMap::new();
    let mut mender = Mender { bytes, reached, visits: VISITS_MAX, bytes_left: BYTES_MAX };
    for meta in [0, 1] {
        mender.meta(meta * PAGE_BYTES);
    }
    mender.reached
}

impl Mender<'_> {
    fn meta(&mut self, at: usize) {
        self.record(at + ROOT_BUCKET_AT, 0);
        self.record(at + SYSTEM_BUCKET_AT, 0);
        let directories = number(self.bytes, at + DIRECTORIES_AT, 4).unwrap_or(0).min(8);
        for directory in 0..directories {
            self.directory(directory, at + DIRECTORY_REFERENCES_AT + directory * 8);
        }
        self.checksum(at, META_CHECKSUM_AT, at + META_CHECKSUM_AT);
    }

    /// A directory of the space map, referred to at `at`, and its first bitmaps.
    fn directory(&mut self, directory: usize, at: usize) {
        let Some(copy) = number(self.bytes, at + 4, 4) else { return };
        // Images are small: all but the first group lie beyond their end.
        let page = if directory == 0 { 5 + copy % 4 } else { return };
        let entry = page * PAGE_BYTES + SPACE_CONTENT_AT;
        if let Some(word) = number(self.bytes, entry + 4, 4) {
            self.checksum((2 + (word >> 30)) * PAGE_BYTES, PAGE_BYTES, entry);
        }
        self.checksum(page * PAGE_BYTES, PAGE_BYTES, at);
    }

    /// The bucket record at `at`.
    fn record(&mut self, at: usize, depth: usize) {
        if let Some(page @ 1..) = number(self.bytes, at, 4) {
            self.page(page, depth);
            self.reference(page, PAGE_BYTES, at + 4);
        }
    }

    /// A page of a tree, once.
    fn page(&mut self, page: usize, depth: usize) {
        if depth > DEPTH_MAX || self.visits == 0 || self.reached.contains_key(&page) {
            return;
        }
        self.visits -= 1;
        self.reached.insert(page, PAGE_BYTES);
        let at = page.saturating_mul(PAGE_BYTES);
        match self.bytes.get(at) {
            Some(&LEAF) => self.leaf(at, PAGE_BYTES, depth + 1),
            Some(&INTERIOR) => self.interior(at, depth + 1),
            _ => {}
        }
    }

    fn interior(&mut self, at: usize, depth: usize) {
        let Some((count, heads_at)) = self.arrays(at) else { return };
        let pages_at = heads_at + count * 4;
        let end = at + PAGE_BYTES;
        for index in 0..=count {
            let (id_at, crc_at) = (pages_at + index * 4, pages_at + (count + 1 + index) * 4);
            if crc_at + 4 > end {
                return;
            }
            if let Some(page) = number(self.bytes, id_at, 4) {
                self.page(page, depth);
                self.reference(page, PAGE_BYTES, crc_at);
            }
        }
    }

    /// A leaf page or a leaf image.
    fn leaf(&mut self, at: usize, len: usize, depth: usize) {
        let Some((count, heads_at)) = self.arrays(at) else { return };
        let slots_at = heads_at + count * 4;
        let end = at + len;
        for index in 0..count {
            let slot_at = slots_at + index * 2;
            let Some(slot) = number(self.bytes, slot_at, 2).filter(|_| slot_at + 2 <= end) else {
                return;
            };
            if slot < len {
                self.entry(at + slot, end, depth);
            }
        }
    }

    fn entry(&mut self, at: usize, end: usize, depth: usize) {
        let Some(opening) = number(self.bytes, at, 2) else { return };
        let Some(lengths) = number(self.bytes, at + 2, 2) else { return };
        let expiry_bytes = if lengths >> 15 == 1 { 8 } else { 0 };
        let payload_at = at + 4 + expiry_bytes + (opening & 0x3fff);
        let payload_bytes = lengths & 0x7fff;
        if payload_at + payload_bytes > end {
            return;
        }
        match opening >> 14 {
            KIND_RUN if payload_bytes == 12 => {
                let first = number(self.bytes, payload_at, 4).unwrap_or(0);
                let value_bytes = number(self.bytes, payload_at + 8, 4).unwrap_or(0);
                let run_bytes = (PAGE_HEADER_BYTES + value_bytes).next_multiple_of(PAGE_BYTES);
                self.reached.insert(first, run_bytes);
                self.reference(first, run_bytes, payload_at + 4);
            }
            KIND_BUCKET if payload_bytes == BUCKET_RECORD_BYTES => self.record(payload_at, depth),
            KIND_BUCKET if payload_bytes > BUCKET_RECORD_BYTES => {
                self.image(payload_at + BUCKET_RECORD_BYTES, payload_at + payload_bytes, depth);
            }
            _ => {}
        }
    }

    /// The leaf image of a bucket, at the end of a payload.
    fn image(&mut self, at: usize, end: usize, depth: usize) {
        if self.visits > 0 && depth <= DEPTH_MAX {
            self.visits -= 1;
            self.leaf(at, end - at, depth);
        }
    }

    /// Entries or separators of a page, and where its heads start.
    fn arrays(&self, at: usize) -> Option<(usize, usize)> {
        let count = number(self.bytes, at + 2, 2)?;
        let prefix_bytes = number(self.bytes, at + 4, 2)?;
        Some((count, at + PAGE_HEADER_BYTES + prefix_bytes.next_multiple_of(4)))
    }

    /// Writes the checksum of what begins at a page to `at`.
    fn reference(&mut self, page: usize, len: usize, at: usize) {
        self.checksum(page.saturating_mul(PAGE_BYTES), len, at);
    }

    fn checksum(&mut self, from: usize, len: usize, at: usize) {
        let Some(covered) = self.bytes.get(from..from.saturating_add(len)) else { return };
        if let Some(left) = self.bytes_left.checked_sub(len) {
            self.bytes_left = left;
            let checksum = crc32fast::hash(covered);
            put_checksum(self.bytes, at, checksum);
        }
    }
}
