//! The record of a nested bucket, which is the payload of its entry in the parent.
//!
//! ```text
//!  0 u32 root      page of the bucket's tree, 0 for none
//!  4 u32 crc       checksum of the root page
//!  8 u64 entries   entries in the bucket
//! 16 u64 sequence  the bucket's counter
//! 24 u64 zero
//! 32 image         only without a root and with entries: a leaf of exactly its content
//! ```
//!
//! A small bucket costs no page: its entries form a *leaf image* within the record, laid out as a
//! leaf is, compact and with its heap in key order. An image can hold bucket records in turn.
//! Never follows the root. Invariants:
//! 1. Decoding never panics: a record cut short reads as an empty bucket.

use super::header::{FLAG_REFERENCES, Header};
use crate::codec::{get_u32, get_u64, put_u32, put_u64};
use crate::ids::{PageId, PageRef};

/// Bytes of a record before its image.
pub(crate) const RECORD_BYTES: usize = 32;

/// Where the root's page id is within the record; its checksum follows.
pub(crate) const ROOT_AT: usize = 0;
const CRC_AT: usize = 4;
const ENTRIES_AT: usize = 8;
const SEQUENCE_AT: usize = 16;
pub(crate) const RESERVED_AT: usize = 24;

const _: () = assert!(RESERVED_AT + 8 == RECORD_BYTES);

/// What a parent knows of a nested bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BucketRecord {
    /// Root of the bucket's tree; `NONE` when it is empty or lies inline.
    pub(crate) root: PageRef,
    /// Entries in the bucket, wherever they are.
    pub(crate) entries: u64,
    /// The bucket's counter.
    pub(crate) sequence: u64,
}

impl BucketRecord {
    /// A bucket that was just created.
    pub(crate) const EMPTY: BucketRecord =
        BucketRecord { root: PageRef::NONE, entries: 0, sequence: 0 };

    #[inline]
    pub(crate) fn decode(record: &[u8]) -> BucketRecord {
        let Some(fixed) = record.first_chunk::<RECORD_BYTES>() else {
            return BucketRecord::EMPTY;
        };
        let root = PageRef { id: PageId(get_u32(fixed, ROOT_AT)), crc: get_u32(fixed, CRC_AT) };
        let (entries, sequence) = (get_u64(fixed, ENTRIES_AT), get_u64(fixed, SEQUENCE_AT));
        BucketRecord { root, entries, sequence }
    }

    /// The leaf image of the bucket of which this is the fixed part of `record`.
    #[inline]
    pub(crate) fn image<'a>(&self, record: &'a [u8]) -> Option<&'a [u8]> {
        let is_inline = self.root.id.is_none() && self.entries > 0;
        if is_inline { record.get(RECORD_BYTES..) } else { None }
    }

    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut record = [0u8; RECORD_BYTES];
        put_u32(&mut record, ROOT_AT, self.root.id.0);
        put_u32(&mut record, CRC_AT, self.root.crc);
        put_u64(&mut record, ENTRIES_AT, self.entries);
        put_u64(&mut record, SEQUENCE_AT, self.sequence);
        record
    }
}

/// The leaf image of a bucket that lies inline; `None` for one that is empty or has a tree.
#[inline]
pub(crate) fn image(record: &[u8]) -> Option<&[u8]> {
    BucketRecord::decode(record).image(record)
}

/// True when the record refers to pages, itself or from within its image.
#[inline]
pub(crate) fn has_references(record: &[u8]) -> bool {
    !BucketRecord::decode(record).root.id.is_none()
        || image(record).is_some_and(|image| Header::read(image).flags & FLAG_REFERENCES != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written() {
        let root = PageRef { id: PageId(0x8000_0003), crc: 0xdead_beef };
        let bucket = BucketRecord { root, entries: 1 << 33, sequence: 7 };
        assert_eq!(BucketRecord::decode(&bucket.encode()), bucket);
        assert!(has_references(&bucket.encode()));
        assert_eq!(image(&bucket.encode()), None);
    }

    #[test]
    fn only_a_bucket_with_entries_and_no_root_has_an_image() {
        let mut record = BucketRecord { entries: 2, ..BucketRecord::EMPTY }.encode().to_vec();
        record.extend_from_slice(b"image");
        assert_eq!(image(&record), Some(&b"image"[..]));
        assert_eq!(image(&BucketRecord::EMPTY.encode()), None);
        assert_eq!(BucketRecord::decode(b"short"), BucketRecord::EMPTY);
    }
}
