//! Where a tree page refers to other pages, and how to make it refer elsewhere.
//!
//! An interior page refers to its children; a leaf to overflow runs and to the roots of buckets,
//! its own and those of buckets nested inline, at any depth. Never follows a reference.
//! Invariants:
//! 1. The references of a page come in a fixed order, lowest key first.
//! 2. Patching one moves no other, so references collected before a patch stay good after it.

use super::bucket::{self, BucketRecord, RECORD_BYTES, ROOT_AT};
use super::entry::{KIND_BUCKET, KIND_RUN, Payload};
use super::header::tree_level;
use super::interior::Interior;
use super::leaf::Leaf;
use crate::codec::put_u32;
use crate::ids::PageRef;
use crate::limits::BUCKET_DEPTH_MAX;

/// What is referred to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A page of the same tree, one level down.
    Child,
    /// A run with a value of this length.
    Run {
        /// Length of the value.
        value_len: u32,
    },
    /// The root of a nested bucket's tree.
    Bucket,
}

/// One reference, and where in the page it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reference {
    pub(crate) page: PageRef,
    pub(crate) target: Target,
    id_at: usize,
    crc_at: usize,
}

impl Reference {
    /// Makes `bytes` refer to `page` here instead. REQUIRES: `bytes` are those of the page the
    /// reference was read from, or a copy of them.
    pub(crate) fn patch(&self, bytes: &mut [u8], page: PageRef) {
        put_u32(bytes, self.id_at, page.id.0);
        put_u32(bytes, self.crc_at, page.crc);
    }
}

/// The references of a tree page; none for bytes that are no tree page.
pub(crate) fn references(bytes: &[u8]) -> References<'_> {
    match tree_level(bytes) {
        Some(0) => References::Leaf { open: LeafSteps::new(bytes, 0), outer: Vec::new() },
        Some(_) => References::Interior { page: Interior::new(bytes), next: 0 },
        None => References::Leaf { open: LeafSteps::new(&[], 0), outer: Vec::new() },
    }
}

/// Iterator over the references of a page.
#[derive(Debug)]
pub(crate) enum References<'a> {
    Interior {
        page: Interior<'a>,
        next: usize,
    },
    /// The leaf or image at hand, and those it is nested in.
    Leaf {
        open: LeafSteps<'a>,
        outer: Vec<LeafSteps<'a>>,
    },
}

/// How far a leaf or leaf image has been read.
#[derive(Debug)]
pub(crate) struct LeafSteps<'a> {
    leaf: Leaf<'a>,
    /// Where the leaf starts within the page.
    base: usize,
    next: usize,
}

/// What an entry of a leaf leads to.
enum Found<'a> {
    Reference(Reference),
    Image(LeafSteps<'a>),
}

impl<'a> LeafSteps<'a> {
    fn new(bytes: &'a [u8], base: usize) -> LeafSteps<'a> {
        let leaf = Leaf::new(bytes);
        let next = if leaf.may_have_references() { 0 } else { leaf.count() };
        LeafSteps { leaf, base, next }
    }

    fn step(&mut self) -> Option<Found<'a>> {
        while self.next < self.leaf.count() {
            let index = self.next;
            self.next += 1;
            if !matches!(self.leaf.stored_kind(index), KIND_RUN | KIND_BUCKET) {
                continue;
            }
            let at = self.base + self.leaf.payload_range(index).start;
            let (page, target) = match self.leaf.entry(index).payload {
                Payload::Value(_) => continue,
                Payload::Overflow { run, len } => (run, Target::Run { value_len: len }),
                Payload::Bucket(record) => match bucket::image(record) {
                    Some(image) => {
                        return Some(Found::Image(LeafSteps::new(image, at + RECORD_BYTES)));
                    }
                    None => (BucketRecord::decode(record).root, Target::Bucket),
                },
            };
            if !page.id.is_none() {
                let (id_at, crc_at) = (at + ROOT_AT, at + ROOT_AT + 4);
                return Some(Found::Reference(Reference { page, target, id_at, crc_at }));
            }
        }
        None
    }
}

impl Iterator for References<'_> {
    type Item = Reference;

    fn next(&mut self) -> Option<Reference> {
        match self {
            References::Interior { page, next } => {
                let index = *next;
                *next += 1;
                let (id_at, crc_at) = page.child_at(index);
                (index <= page.count()).then(|| Reference {
                    page: page.child(index),
                    target: Target::Child,
                    id_at,
                    crc_at,
                })
            }
            References::Leaf { open, outer } => loop {
                match open.step() {
                    Some(Found::Reference(reference)) => return Some(reference),
                    Some(Found::Image(image)) if outer.len() < BUCKET_DEPTH_MAX => {
                        outer.push(std::mem::replace(open, image));
                    }
                    Some(Found::Image(_)) => {}
                    None => *open = outer.pop()?,
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::super::validate::validate;
    use super::super::{InteriorBuilder, LeafBuilder};
    use super::*;
    use crate::ids::{Epoch, PageId};

    fn page_ref(number: u32) -> PageRef {
        PageRef { id: PageId(number), crc: 0 }
    }

    fn entry<'a>(key: &'a [u8], payload: Payload<'a>) -> Entry<'a> {
        Entry { key, payload, expires_at: 0 }
    }

    /// A bucket record whose image holds the entries.
    fn inline_bucket(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut builder = LeafBuilder::new();
        entries.iter().for_each(|entry| builder.push(entry));
        let bucket = BucketRecord { entries: entries.len() as u64, ..BucketRecord::EMPTY };
        [&bucket.encode()[..], &builder.image()].concat()
    }

    fn patch_all(bytes: &mut [u8]) {
        let found: Vec<Reference> = references(bytes).collect();
        for reference in &found {
            let moved = PageRef { id: PageId(reference.page.id.0 + 1000), crc: 7 };
            reference.patch(bytes, moved);
        }
        let moved: Vec<Reference> = references(bytes).collect();
        assert_eq!(found.len(), moved.len());
        for (before, after) in found.iter().zip(&moved) {
            assert_eq!(after.page, PageRef { id: PageId(before.page.id.0 + 1000), crc: 7 });
            assert_eq!(after.target, before.target);
        }
        validate(bytes).unwrap();
    }

    #[test]
    fn references_in_inline_buckets_are_found_at_any_depth() {
        let run = |number| Payload::Overflow { run: page_ref(number), len: 10_000 };
        let rooted =
            |number| BucketRecord { root: page_ref(number), entries: 3, sequence: 0 }.encode();
        let (b1, b2) = (rooted(12), rooted(14));
        let inner = inline_bucket(&[
            entry(b"a", run(11)),
            entry(b"b", Payload::Bucket(&b1)),
            entry(b"c", Payload::Value(b"v")),
        ]);
        let middle = inline_bucket(&[entry(b"in", Payload::Bucket(&inner)), entry(b"z", run(13))]);
        let plain = inline_bucket(&[entry(b"v", Payload::Value(b"v"))]);
        let empty = BucketRecord::EMPTY.encode();
        let mut builder = LeafBuilder::new();
        builder.push(&entry(b"0", run(10)));
        builder.push(&entry(b"1", Payload::Bucket(&middle)));
        builder.push(&entry(b"2", Payload::Bucket(&b2)));
        builder.push(&entry(b"3", Payload::Bucket(&plain)));
        builder.push(&entry(b"4", Payload::Bucket(&empty)));
        let mut bytes = vec![0; 4096];
        assert!(builder.write(&mut bytes, Epoch(1)));
        validate(&bytes).unwrap();
        let ids: Vec<u32> = references(&bytes).map(|r| r.page.id.0).collect();
        assert_eq!(ids, [10, 11, 12, 13, 14]);
        patch_all(&mut bytes);
    }

    #[test]
    fn children_are_references() {
        let mut builder = InteriorBuilder::new();
        builder.push_first(page_ref(1));
        builder.push(b"k", page_ref(2));
        builder.push(b"long-separator", page_ref(3));
        let mut bytes = vec![0; 4096];
        assert!(builder.write(0..2, &mut bytes, 1, Epoch(1)));
        let ids: Vec<u32> = references(&bytes).map(|r| r.page.id.0).collect();
        assert_eq!(ids, [1, 2, 3]);
        patch_all(&mut bytes);
    }
}
