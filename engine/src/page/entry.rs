//! One entry as it lies in the heap of a leaf.
//!
//! ```text
//!  0 u16 key_len     low 14 bits; the top 2 bits say what the payload is:
//!                    0 the value; 1 a value in an overflow run; 2 a bucket
//!  2 u16 payload_len low 15 bits; top bit: an expiry follows
//!  4 u64 expires_at  only if the top bit above is set: unix time in milliseconds
//!    key             whole, so that a scan lends keys without a copy
//!    payload         value | run (below) | bucket record (see `bucket`)
//!
//!  Payload of a value in an overflow run, 12 bytes:
//!  0 u32 first page of the run
//!  4 u32 CRC-32 of all bytes of the run
//!  8 u32 length of the value
//! ```
//!
//! Never decides what goes inline. Invariants:
//! 1. Decoding never panics: a length beyond the bytes gives an empty key or payload.
//! 2. An entry without an expiry has `expires_at == 0` and stores none.

use std::ops::Range;

use super::header::narrow;
use crate::codec::{get_u32, get_u64, put_u16, put_u32, put_u64};
use crate::ids::{PageId, PageRef};
use crate::limits;

/// Bytes before the expiry or the key.
pub(crate) const ENTRY_FIXED_BYTES: usize = 4;
/// Bytes of the payload that refers to an overflow run.
pub(crate) const RUN_PAYLOAD_BYTES: usize = 12;

pub(crate) const KIND_VALUE: u8 = 0;
pub(crate) const KIND_RUN: u8 = 1;
pub(crate) const KIND_BUCKET: u8 = 2;

/// What bytes that are no entry read as.
const EMPTY: Entry<'static> = Entry { key: &[], payload: Payload::Value(&[]), expires_at: 0 };

const KEY_LEN_BITS: u32 = 14;
const PAYLOAD_LEN_BITS: u32 = 15;
const EXPIRY_BYTES: usize = 8;

const _: () = assert!(limits::key_bytes_max(limits::PAGE_BYTES_MAX) < 1 << KEY_LEN_BITS);
const _: () = assert!(payload_bytes_max(limits::PAGE_BYTES_MAX) < 1 << PAYLOAD_LEN_BITS);

/// Largest payload of a leaf entry at a page size: a bucket record with the largest inline bucket.
pub(crate) const fn payload_bytes_max(page_bytes: usize) -> usize {
    let bucket = super::bucket::RECORD_BYTES + limits::inline_bucket_bytes_max(page_bytes);
    let value = limits::inline_bytes_max(page_bytes);
    if bucket > value { bucket } else { value }
}

/// What an entry holds beside its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Payload<'a> {
    /// The value itself.
    Value(&'a [u8]),
    /// A value in pages of its own.
    Overflow {
        /// First page of the run, and the checksum of all its bytes.
        run: PageRef,
        /// Length of the value.
        len: u32,
    },
    /// A nested bucket: its record, see [`super::BucketRecord`].
    Bucket(&'a [u8]),
}

/// One entry of a leaf, borrowed from it or about to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) payload: Payload<'a>,
    /// Unix time in milliseconds; 0 for never.
    pub(crate) expires_at: u64,
}

impl Payload<'_> {
    /// Bytes of the payload in a leaf.
    #[inline]
    pub(crate) fn stored_bytes(&self) -> usize {
        match self {
            Payload::Value(bytes) | Payload::Bucket(bytes) => bytes.len(),
            Payload::Overflow { .. } => RUN_PAYLOAD_BYTES,
        }
    }

    /// The kind as it is stored.
    #[inline]
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Payload::Value(_) => KIND_VALUE,
            Payload::Overflow { .. } => KIND_RUN,
            Payload::Bucket(_) => KIND_BUCKET,
        }
    }

    /// Writes the payload over `out`. REQUIRES: `out` is `stored_bytes` long.
    #[inline]
    pub(crate) fn write(&self, out: &mut [u8]) {
        match *self {
            Payload::Value(bytes) | Payload::Bucket(bytes) => out.copy_from_slice(bytes),
            Payload::Overflow { run, len } => {
                put_u32(out, 0, run.id.0);
                put_u32(out, 4, run.crc);
                put_u32(out, 8, len);
            }
        }
    }

    /// True when the payload refers to pages, itself or through an inline bucket.
    #[inline]
    pub(crate) fn has_references(&self) -> bool {
        match self {
            Payload::Value(_) => false,
            Payload::Overflow { .. } => true,
            Payload::Bucket(record) => super::bucket::has_references(record),
        }
    }
}

impl Entry<'_> {
    /// Bytes of the entry in the heap.
    #[inline]
    pub(crate) fn stored_bytes(&self) -> usize {
        let expiry = if self.expires_at == 0 { 0 } else { EXPIRY_BYTES };
        ENTRY_FIXED_BYTES + expiry + self.key.len() + self.payload.stored_bytes()
    }

    /// Writes the entry over `out`.
    ///
    /// REQUIRES: `out` is `stored_bytes` long, and key and payload are within their limits.
    pub(crate) fn write(&self, out: &mut [u8]) {
        let has_expiry = self.expires_at != 0;
        let payload_bytes = self.payload.stored_bytes();
        put_u16(out, 0, narrow(self.key.len()) | u16::from(self.payload.kind()) << KEY_LEN_BITS);
        put_u16(out, 2, narrow(payload_bytes) | u16::from(has_expiry) << PAYLOAD_LEN_BITS);
        let mut at = ENTRY_FIXED_BYTES;
        if has_expiry {
            put_u64(out, at, self.expires_at);
            at += EXPIRY_BYTES;
        }
        let (key, payload) = out[at..].split_at_mut(self.key.len());
        key.copy_from_slice(self.key);
        self.payload.write(payload);
    }
}

/// The four bytes that open an entry, decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryHead {
    pub(crate) kind: u8,
    pub(crate) has_expiry: bool,
    key_len: usize,
    payload_len: usize,
}

impl EntryHead {
    #[inline]
    pub(crate) fn decode(fixed: [u8; ENTRY_FIXED_BYTES]) -> EntryHead {
        let lengths = u32::from_le_bytes(fixed) as usize;
        EntryHead {
            kind: (lengths >> KEY_LEN_BITS & 3) as u8,
            has_expiry: lengths >> (16 + PAYLOAD_LEN_BITS) != 0,
            key_len: lengths & ((1 << KEY_LEN_BITS) - 1),
            payload_len: lengths >> 16 & ((1 << PAYLOAD_LEN_BITS) - 1),
        }
    }

    /// The entry that starts with `bytes`, or `None` when they are too short to start one.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Option<EntryHead> {
        bytes.first_chunk().map(|fixed| EntryHead::decode(*fixed))
    }

    /// Where the key lies, from the start of the entry.
    #[inline]
    pub(crate) fn key(&self) -> Range<usize> {
        let start = ENTRY_FIXED_BYTES + usize::from(self.has_expiry) * EXPIRY_BYTES;
        start..start + self.key_len
    }

    /// Where the payload lies, from the start of the entry.
    #[inline]
    pub(crate) fn payload(&self) -> Range<usize> {
        let start = self.key().end;
        start..start + self.payload_len
    }

    /// Bytes of the whole entry.
    #[inline]
    pub(crate) fn stored_bytes(&self) -> usize {
        self.payload().end
    }
}

/// The key of the entry that starts with `bytes`.
#[inline]
pub(crate) fn key(bytes: &[u8]) -> &[u8] {
    EntryHead::read(bytes).and_then(|head| bytes.get(head.key())).unwrap_or(&[])
}

/// The key and the value of the entry that starts with `bytes`, if it is what most are: a value
/// within the leaf, for good. `None` says nothing; see [`entry`].
#[inline]
pub(crate) fn plain_pair(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    const OTHERWISE: u32 = 3 << KEY_LEN_BITS | 1 << (16 + PAYLOAD_LEN_BITS);
    let (fixed, rest) = bytes.split_first_chunk()?;
    let lengths = u32::from_le_bytes(*fixed);
    if lengths & OTHERWISE != 0 {
        return None;
    }
    let key_len = (lengths & 0xffff) as usize;
    rest.get(..key_len + (lengths >> 16) as usize)?.split_at_checked(key_len)
}

/// The entry that starts with `bytes`; an empty one when they end before it does.
#[inline(always)]
pub(crate) fn entry(bytes: &[u8]) -> Entry<'_> {
    let Some(head) = EntryHead::read(bytes) else {
        return EMPTY;
    };
    let (Some(key), Some(payload)) = (bytes.get(head.key()), bytes.get(head.payload())) else {
        return EMPTY;
    };
    let payload = match head.kind {
        KIND_VALUE => Payload::Value(payload),
        KIND_BUCKET => Payload::Bucket(payload),
        _ => run_payload(payload),
    };
    let expires_at = if head.has_expiry { get_u64(bytes, ENTRY_FIXED_BYTES) } else { 0 };
    Entry { key, payload, expires_at }
}

/// Decodes the reference to an overflow run.
// Inlined, or every payload travels through memory for its sake.
#[inline(always)]
fn run_payload(payload: &[u8]) -> Payload<'static> {
    if payload.len() < RUN_PAYLOAD_BYTES {
        return Payload::Overflow { run: PageRef::NONE, len: 0 };
    }
    let run = PageRef { id: PageId(get_u32(payload, 0)), crc: get_u32(payload, 4) };
    Payload::Overflow { run, len: get_u32(payload, 8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(written: Entry<'_>) {
        let mut bytes = vec![0u8; written.stored_bytes()];
        written.write(&mut bytes);
        assert_eq!(entry(&bytes), written);
        assert_eq!(key(&bytes), written.key);
        let plain = match written.payload {
            Payload::Value(value) if written.expires_at == 0 => Some((written.key, value)),
            _ => None,
        };
        assert_eq!(plain_pair(&bytes), plain);
        let head = EntryHead::read(&bytes).unwrap();
        assert_eq!(head.stored_bytes(), bytes.len());
        for len in 0..bytes.len() {
            entry(&bytes[..len]);
            key(&bytes[..len]);
            assert_eq!(plain_pair(&bytes[..len]), None);
        }
    }

    #[test]
    fn entries_read_back_as_written() {
        let run = PageRef { id: PageId(0x8000_0007), crc: 9 };
        for expires_at in [0, 1_700_000_000_000] {
            for payload in [
                Payload::Value(b""),
                Payload::Value(b"value"),
                Payload::Overflow { run, len: 70_000 },
                Payload::Bucket(&[1; 32]),
            ] {
                round_trip(Entry { key: b"", payload, expires_at });
                round_trip(Entry { key: &[0xff; 8192], payload, expires_at });
            }
        }
    }
}
