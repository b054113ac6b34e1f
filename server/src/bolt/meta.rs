//! Finds the meta page that is in force: the valid one of the two with the higher transaction id.
//!
//! It never falls back on the older meta page for what the newer, valid one says: only a page that
//! was torn or lost is passed over, as bbolt does after a crash, and what was wrong is kept.
//!
//! ```text
//! 0 page header   16 magic u32   20 version u32   24 page size u32   28 flags u32
//! 32 root u64     40 sequence u64                 48 freelist u64    56 high-water mark u64
//! 64 txn id u64   72 checksum u64: FNV-1a of bytes 16..72
//! ```
//!
//! Invariants:
//! 1. A `Meta` had the magic, the version and a fitting checksum.
//! 2. Below the high-water mark every page lies within the file, and so do root and freelist.

use super::error::BoltError;
use super::file::LockedFile;
use super::limits::{PAGE_BYTES_MAX, PAGE_BYTES_MIN};
use super::page::{HEADER_BYTES, Header, PageId, Reason, u32_at, u64_at};

const META_BYTES: usize = 80;
const CHECKSUM_AT: usize = 72;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// Stands in the place of the freelist's page when its owner does not persist one.
const NO_FREELIST: u64 = u64::MAX;

/// Pages 0 and 1 are the meta pages.
pub(super) const META_PAGES: u64 = 2;

const _: () = assert!(META_BYTES == HEADER_BYTES + 4 * 4 + 6 * 8);
const _: () = assert!(CHECKSUM_AT + 8 == META_BYTES && META_BYTES as u64 <= PAGE_BYTES_MIN);

/// The meta page in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    header: Header,
    /// The page it was read from: 0 or 1.
    page: PageId,
    pub(super) page_bytes: u64,
    pub(super) root: PageId,
    pub(super) root_sequence: u64,
    pub(super) freelist: Option<PageId>,
    /// All pages have ids below this one.
    pub(super) high_water: u64,
    pub(super) txn_id: u64,
}

impl Meta {
    /// The meta page in force, and what is wrong with the other one, if anything is.
    pub(super) fn read(file: &LockedFile) -> Result<(Meta, Option<Reason>), BoltError> {
        let (first, second) = read_both(file)?;
        let (meta, other) = match (first, second) {
            (Ok(first), Ok(second)) if second.txn_id > first.txn_id => (second, None),
            (Ok(first), Ok(_)) => (first, None),
            (Ok(first), Err(fault)) => (first, Some(format!("meta page 1: {}", fault.reason()))),
            (Err(fault), Ok(second)) => (second, Some(format!("meta page 0: {}", fault.reason()))),
            (Err(first), Err(second)) => return Err(refusal(file, first, second)),
        };
        meta.check(file.bytes_total()).map_err(|reason| BoltError::damaged(meta.page, reason))?;
        Ok((meta, other))
    }

    /// Whether a tree or the freelist may begin at this page.
    pub(super) fn allows(&self, id: PageId) -> bool {
        (META_PAGES..self.high_water).contains(&id.0)
    }

    /// Refuses a page id, read from the disk, where no tree or freelist may begin.
    pub(super) fn check_allowed(&self, what: &str, id: PageId) -> Result<(), Reason> {
        if !self.allows(id) {
            let (found, last) = (id.0, self.high_water - 1);
            return Err(format!(
                "{what} is page {found}, expected one from {META_PAGES} to {last}"
            ));
        }
        Ok(())
    }

    fn check(&self, bytes_total: u64) -> Result<(), Reason> {
        self.header.check_id(self.page)?;
        self.header.check_meta()?;
        if self.high_water <= META_PAGES {
            let found = self.high_water;
            return Err(format!("the high-water mark is page {found}, expected at least 3"));
        }
        let pages_total = bytes_total / self.page_bytes;
        if self.high_water > pages_total {
            let expected = self.high_water;
            return Err(format!("the file holds {pages_total} pages, expected {expected}"));
        }
        self.check_allowed("the root", self.root)?;
        match self.freelist {
            Some(freelist) => self.check_allowed("the freelist", freelist),
            None => Ok(()),
        }
    }
}

/// Why a place in the file does not hold a valid meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The file ends before the meta page does.
    Short {
        bytes: u64,
    },
    /// The search met no sign of a second meta page.
    Absent,
    Magic(u32),
    BigEndian,
    Version(u32),
    Checksum {
        stored: u64,
        computed: u64,
    },
    PageBytes {
        found: u64,
        expected: Option<u64>,
    },
}

impl Fault {
    fn reason(self) -> Reason {
        match self {
            Fault::Short { bytes } => format!("{bytes} bytes, expected at least {META_BYTES}"),
            Fault::Absent => "not found, expected behind a page of any size".to_owned(),
            Fault::Magic(found) => format!("magic {found:#010x}, expected {MAGIC:#010x}"),
            Fault::BigEndian => "big-endian, expected little-endian".to_owned(),
            Fault::Version(found) => format!("version {found}, expected {VERSION}"),
            Fault::Checksum { stored, computed } => {
                format!("checksum {stored:#018x}, expected {computed:#018x}")
            }
            Fault::PageBytes { found, expected: Some(expected) } => {
                format!("page size {found}, expected {expected}")
            }
            Fault::PageBytes { found, expected: None } => {
                format!("page size {found}, expected {PAGE_BYTES_MIN} to {PAGE_BYTES_MAX}")
            }
        }
    }

    /// Whether there is a sign that a bolt meta page was meant to be here.
    fn is_bolt(self) -> bool {
        !matches!(self, Fault::Short { .. } | Fault::Absent | Fault::Magic(_))
    }
}

type Probe = Result<Meta, Fault>;

fn read_both(file: &LockedFile) -> Result<(Probe, Probe), BoltError> {
    let first = probe(file, PageId(0), 0)?;
    let second = match first {
        Ok(first) => probe(file, PageId(1), first.page_bytes)?,
        Err(_) => search_second(file)?,
    };
    Ok((first, second))
}

/// Without the first meta page the page size is unknown, so every possible one is tried.
fn search_second(file: &LockedFile) -> Result<Probe, BoltError> {
    let mut fault = Fault::Absent;
    let mut page_bytes = PAGE_BYTES_MIN;
    while page_bytes <= PAGE_BYTES_MAX {
        match probe(file, PageId(1), page_bytes)? {
            Ok(meta) => return Ok(Ok(meta)),
            Err(other) if other.is_bolt() && !fault.is_bolt() => fault = other,
            Err(_) => {}
        }
        page_bytes *= 2;
    }
    Ok(Err(fault))
}

fn probe(file: &LockedFile, page: PageId, offset: u64) -> Result<Probe, BoltError> {
    let bytes = file.bytes_total().saturating_sub(offset);
    if bytes < META_BYTES as u64 {
        return Ok(Err(Fault::Short { bytes }));
    }
    let mut bytes = [0; META_BYTES];
    file.read(offset, &mut bytes)?;
    let meta = decode(page, &bytes);
    Ok(match meta {
        // The second meta page begins where the first page ends, or it is not what it looks like.
        Ok(meta) if page == PageId(1) && meta.page_bytes != offset => {
            Err(Fault::PageBytes { found: meta.page_bytes, expected: Some(offset) })
        }
        other => other,
    })
}

fn decode(page: PageId, bytes: &[u8; META_BYTES]) -> Probe {
    let magic = u32_at(bytes, 16);
    if magic == MAGIC.swap_bytes() {
        return Err(Fault::BigEndian);
    }
    if magic != MAGIC {
        return Err(Fault::Magic(magic));
    }
    let version = u32_at(bytes, 20);
    if version != VERSION {
        return Err(Fault::Version(version));
    }
    let stored = u64_at(bytes, CHECKSUM_AT);
    let computed = fnv1a(&bytes[HEADER_BYTES..CHECKSUM_AT]);
    if stored != computed {
        return Err(Fault::Checksum { stored, computed });
    }
    let page_bytes = u64::from(u32_at(bytes, 24));
    if !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes) {
        return Err(Fault::PageBytes { found: page_bytes, expected: None });
    }
    let freelist = u64_at(bytes, 48);
    Ok(Meta {
        header: Header::decode(bytes),
        page,
        page_bytes,
        root: PageId(u64_at(bytes, 32)),
        root_sequence: u64_at(bytes, 40),
        freelist: (freelist != NO_FREELIST).then_some(PageId(freelist)),
        high_water: u64_at(bytes, 56),
        txn_id: u64_at(bytes, 64),
    })
}

/// FNV-1a of 64 bits, as published by Fowler, Noll and Vo.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

fn refusal(file: &LockedFile, first: Fault, second: Fault) -> BoltError {
    let path = file.path().to_owned();
    match if first.is_bolt() { first } else { second } {
        Fault::BigEndian => BoltError::BigEndian { path },
        Fault::Version(found) => BoltError::Version { path, found },
        Fault::Short { .. } | Fault::Absent | Fault::Magic(_) => {
            BoltError::NotBolt { path, reason: first.reason() }
        }
        Fault::Checksum { .. } | Fault::PageBytes { .. } => {
            let (first, second) = (first.reason(), second.reason());
            let reason = format!("no valid meta page; page 0: {first}; page 1: {second}");
            BoltError::damaged(PageId(0), reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bolt::image::{Image, NO_FREELIST};

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_F739_67E8);
    }

    #[test]
    fn the_higher_transaction_of_two_valid_metas_is_in_force() {
        for txn_id in [5, 6] {
            let mut image = Image::sample();
            image.metas(3, 2, 10, txn_id);
            let file = image.open().expect("sound");
            assert_eq!((file.txn_id(), file.meta_damage()), (txn_id, None));
            assert_eq!((file.page_bytes(), file.pages_total()), (1024, 6));
        }
    }

    #[test]
    fn a_torn_meta_gives_way_to_the_other_and_is_told() {
        for (torn, left) in [(0, 5), (1, 4)] {
            let mut image = Image::sample();
            image.poke(torn, 64, &[0xEE]);
            let file = image.open().expect("the other meta is valid");
            assert_eq!(file.txn_id(), left);
            let told = file.meta_damage().expect("told");
            assert!(told.starts_with(&format!("meta page {torn}: checksum 0x")), "{told}");
            file.verify().expect("sound");
        }
    }

    #[test]
    fn every_page_size_is_found_without_the_first_meta() {
        for shift in 10..=24 {
            let mut image = Image::new(1 << shift);
            image.leaf(2, &[]);
            image.metas(2, NO_FREELIST, 3, 7);
            assert_eq!(image.open().expect("sound").page_bytes(), 1 << shift);
            image.poke(0, 16, &[0; 64]);
            let file = image.open().expect("the second meta is valid");
            assert_eq!((file.page_bytes(), file.txn_id()), (1 << shift, 7));
            assert_eq!(
                file.meta_damage(),
                Some("meta page 0: magic 0x00000000, expected 0xed0cdaed")
            );
        }
    }

    #[test]
    fn metas_that_disagree_on_the_page_size_are_told() {
        let mut image = Image::sample();
        image.poke(1, 24, &2048_u32.to_le_bytes());
        image.seal(1);
        let file = image.open().expect("the first meta is valid");
        assert_eq!(file.meta_damage(), Some("meta page 1: page size 2048, expected 1024"));
        image.poke(0, 16, &[0; 64]);
        let expected = "no valid meta page; page 0: magic 0x00000000, expected 0xed0cdaed; \
                        page 1: page size 2048, expected 1024";
        image.assert_damaged(0, expected);
    }

    /// The refusal of the sample with the same bytes put into both metas, with fitting checksums.
    fn both(at: usize, bytes: &[u8]) -> BoltError {
        let mut image = Image::sample();
        for page in [0, 1] {
            image.poke(page, at, bytes);
            image.seal(page);
        }
        image.refusal()
    }

    #[test]
    fn foreign_files_are_named_for_what_they_are() {
        let refused = both(16, &MAGIC.to_be_bytes());
        assert!(matches!(refused, BoltError::BigEndian { .. }), "{refused}");
        let refused = both(20, &[1]);
        assert!(matches!(refused, BoltError::Version { found: 1, .. }), "{refused}");
        let refused = both(16, b"SQLi").to_string();
        let expected = "is not a bolt file: magic 0x694c5153, expected 0xed0cdaed";
        assert!(refused.ends_with(expected), "{refused}");
        for length in [0, 79] {
            let mut image = Image::sample();
            image.bytes.truncate(length);
            let refused = image.refusal().to_string();
            let expected = format!("is not a bolt file: {length} bytes, expected at least 80");
            assert!(refused.ends_with(&expected), "{refused}");
        }
    }

    #[test]
    fn each_field_of_the_meta_in_force_is_checked() {
        let told = [
            (0, &[3][..]),
            (8, &[2]),
            (24, &[1, 0]),
            (32, &[1]),
            (32, &[10]),
            (48, &[0]),
            (48, &[10]),
            (56, &[2]),
            (56, &[11]),
            (56, &[0xFF; 8]),
        ]
        .map(|(at, bytes)| both(at, bytes).to_string());
        let expected = [
            "page 1 is damaged: its header names page 3, expected 1",
            "page 1 is damaged: its flags are 0x02 (leaf), expected 0x04 (meta)",
            "page 0 is damaged: no valid meta page; page 0: page size 1, expected 1024 to \
             16777216; page 1: page size 1, expected 1024 to 16777216",
            "page 1 is damaged: the root is page 1, expected one from 2 to 9",
            "page 1 is damaged: the root is page 10, expected one from 2 to 9",
            "page 1 is damaged: the freelist is page 0, expected one from 2 to 9",
            "page 1 is damaged: the freelist is page 10, expected one from 2 to 9",
            "page 1 is damaged: the high-water mark is page 2, expected at least 3",
            "page 1 is damaged: the file holds 10 pages, expected 11",
            "page 1 is damaged: the file holds 10 pages, expected 18446744073709551615",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn two_torn_metas_are_damage() {
        let mut image = Image::sample();
        image.poke(0, 72, &[0; 8]);
        image.poke(1, 72, &[0; 8]);
        let refused = image.refusal().to_string();
        let expected = "page 0 is damaged: no valid meta page; page 0: checksum 0x0000000000000000";
        assert!(refused.starts_with(expected), "{refused}");
    }

    #[test]
    fn a_shortened_file_is_refused_at_once() {
        let mut image = Image::sample();
        image.bytes.truncate(10 * 1024 - 1);
        image.assert_damaged(1, "the file holds 9 pages, expected 10");
    }
}
