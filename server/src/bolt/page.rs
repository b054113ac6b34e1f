//! Decodes page headers, and checks and reads the elements of branch and leaf pages.
//!
//! It works on bytes alone: it never reads a file, and never says which page a reason is about.
//!
//! ```text
//! header   0 id u64    8 flags u16    10 count u16    12 overflow u32
//! branch   0 pos u32   4 key u32       8 child u64            one of the two, of 16 bytes,
//! leaf     0 flags u32 4 pos u32       8 key u32       12 value u32   `count` times
//! ```
//!
//! All fields are little-endian. `pos` is the distance of the key from its element; the value
//! follows the key. A page runs on over the `overflow` pages behind it, which have no header.
//!
//! Invariants:
//! 1. Keys and values are packed as bbolt packs them: the first key right behind the last element,
//!    each next one right behind the value before. So a damaged count, position or length shows
//!    even where it stays within the page; only the last value's length has no witness.
//! 2. `Elements` exist only over bytes that were checked, so reading them cannot go out of bounds:
//!    `Shape` knows the header, `Packed` the lengths and `Elements` the keys, each made from the
//!    one before.
//! 3. Within a page keys ascend strictly and none is empty.

use super::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// What is wrong with some bytes: what was expected and what was found.
pub(super) type Reason = String;

pub(super) const HEADER_BYTES: usize = 16;
const ELEMENT_BYTES: usize = 16;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;

const PAIR_ELEMENT: u32 = 0x00;
const BUCKET_ELEMENT: u32 = 0x01;

const _: () = assert!(HEADER_BYTES == 8 + 2 + 2 + 4);
const _: () = assert!(ELEMENT_BYTES == 4 + 4 + 8 && ELEMENT_BYTES == HEADER_BYTES);

/// The number of a page; its bytes begin at this number times the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageId(pub(super) u64);

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("invariant: fields lie within the bytes")
}

/// The first 16 bytes of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) id: PageId,
    flags: u16,
    pub(super) count: u16,
    pub(super) overflow: u32,
}

impl Header {
    pub(super) fn decode(bytes: &[u8]) -> Header {
        Header {
            id: PageId(u64_at(bytes, 0)),
            flags: u16_at(bytes, 8),
            count: u16_at(bytes, 10),
            overflow: u32_at(bytes, 12),
        }
    }

    pub(super) fn check_id(&self, expected: PageId) -> Result<(), Reason> {
        if self.id != expected {
            return Err(format!("its header names page {}, expected {}", self.id.0, expected.0));
        }
        Ok(())
    }

    pub(super) fn check_meta(&self) -> Result<(), Reason> {
        self.check_flags(META)
    }

    pub(super) fn check_leaf(&self) -> Result<(), Reason> {
        self.check_flags(LEAF)
    }

    pub(super) fn check_freelist(&self) -> Result<(), Reason> {
        self.check_flags(FREELIST)
    }

    fn check_flags(&self, expected: u16) -> Result<(), Reason> {
        if self.flags != expected {
            let (found, expected) = (flags_named(self.flags), flags_named(expected));
            return Err(format!("its flags are {found}, expected {expected}"));
        }
        Ok(())
    }

    /// The number of pages of the run that begins here, all of them below the high-water mark.
    pub(super) fn check_run(&self, high_water: u64) -> Result<u64, Reason> {
        let run_pages = u64::from(self.overflow) + 1;
        let left = high_water.saturating_sub(self.id.0);
        if run_pages > left {
            return Err(format!("a run of {run_pages} pages, expected at most {left}"));
        }
        Ok(run_pages)
    }
}

fn flags_named(flags: u16) -> String {
    let name = match flags {
        BRANCH => "branch",
        LEAF => "leaf",
        META => "meta",
        FREELIST => "freelist",
        _ => "unknown",
    };
    format!("{flags:#04x} ({name})")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Branch,
    Leaf,
}

/// Kind and number of the elements of a page, from its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    kind: Kind,
    count: u16,
}

impl Shape {
    pub(super) fn of(header: &Header) -> Result<Shape, Reason> {
        let kind = match header.flags {
            BRANCH => Kind::Branch,
            LEAF => Kind::Leaf,
            other => {
                let found = flags_named(other);
                return Err(format!("its flags are {found}, expected a branch or leaf page"));
            }
        };
        if kind == Kind::Branch && header.count == 0 {
            return Err("a branch page of 0 elements, expected at least 1".to_owned());
        }
        Ok(Shape { kind, count: header.count })
    }

    /// Where the elements end and the first key begins.
    pub(super) fn array_end(&self) -> u64 {
        (HEADER_BYTES + usize::from(self.count) * ELEMENT_BYTES) as u64
    }

    pub(super) fn check_array_end(&self, run_bytes: u64) -> Result<(), Reason> {
        let (count, end) = (self.count, self.array_end());
        if end > run_bytes {
            return Err(format!(
                "its {count} elements end at byte {end}, expected at most {run_bytes}"
            ));
        }
        Ok(())
    }

    /// Refuses a page whose count says 0 while bytes stand where its first element was: bbolt
    /// writes pages from cleared memory, so there the count was lost.
    pub(super) fn check_empty(&self, bytes: &[u8]) -> Result<(), Reason> {
        let mut behind = bytes.iter().skip(HEADER_BYTES).take(ELEMENT_BYTES);
        if self.count == 0 && behind.any(|byte| *byte != 0) {
            return Err("a page of 0 elements holds bytes, expected zeros".to_owned());
        }
        Ok(())
    }

    /// Checks the elements of a run of `run_bytes`, of which `bytes` holds at least `array_end`.
    pub(super) fn check_array(self, bytes: &[u8], run_bytes: u64) -> Result<Packed, Reason> {
        self.check_array_end(run_bytes)?;
        let mut end = self.array_end();
        for index in 0..self.count {
            let element = self.element(bytes, index);
            element.check().map_err(|reason| format!("element {index}: {reason}"))?;
            if element.start != end {
                let start = element.start;
                return Err(format!(
                    "element {index}: its key begins at byte {start}, expected {end}"
                ));
            }
            end += element.key_bytes + element.value_bytes;
            if end > run_bytes {
                return Err(format!(
                    "element {index}: ends at byte {end}, expected at most {run_bytes}"
                ));
            }
        }
        Ok(Packed { shape: self, end })
    }

    fn element(&self, bytes: &[u8], index: u16) -> Element {
        let at = HEADER_BYTES + usize::from(index) * ELEMENT_BYTES;
        let start = |pos: u32| at as u64 + u64::from(pos);
        match self.kind {
            Kind::Branch => Element {
                role: Role::Child(PageId(u64_at(bytes, at + 8))),
                start: start(u32_at(bytes, at)),
                key_bytes: u64::from(u32_at(bytes, at + 4)),
                value_bytes: 0,
            },
            Kind::Leaf => Element {
                role: match u32_at(bytes, at) {
                    PAIR_ELEMENT => Role::Pair,
                    BUCKET_ELEMENT => Role::Bucket,
                    other => Role::Unknown(other),
                },
                start: start(u32_at(bytes, at + 4)),
                key_bytes: u64::from(u32_at(bytes, at + 8)),
                value_bytes: u64::from(u32_at(bytes, at + 12)),
            },
        }
    }
}

enum Role {
    Child(PageId),
    Pair,
    Bucket,
    Unknown(u32),
}

/// One decoded element. The widths are u64, so that sums of damaged fields cannot overflow.
struct Element {
    role: Role,
    start: u64,
    key_bytes: u64,
    value_bytes: u64,
}

impl Element {
    fn check(&self) -> Result<(), Reason> {
        let Element { role, key_bytes, value_bytes, .. } = self;
        if let Role::Unknown(flags) = role {
            return Err(format!("its flags are {flags:#04x}, expected 0x00 or 0x01 (bucket)"));
        }
        if *key_bytes == 0 {
            return Err("its key is empty, expected at least 1 byte".to_owned());
        }
        // bbolt bounds neither the names of buckets nor, therefore, the keys of branches.
        if matches!(role, Role::Pair) && *key_bytes > KEY_BYTES_MAX {
            return Err(format!("a key of {key_bytes} bytes, expected at most {KEY_BYTES_MAX}"));
        }
        if *value_bytes > VALUE_BYTES_MAX {
            return Err(format!(
                "a value of {value_bytes} bytes, expected at most {VALUE_BYTES_MAX}"
            ));
        }
        Ok(())
    }
}

/// The proof that all elements of a page lie packed within it, and where the last one ends.
#[derive(Debug)]
pub(super) struct Packed {
    shape: Shape,
    pub(super) end: u64,
}

impl Packed {
    /// Checks the keys of the same page, of which `bytes` now holds exactly `end`.
    pub(super) fn check_keys<B: AsRef<[u8]>>(self, bytes: B) -> Result<Elements<B>, Reason> {
        assert_eq!(bytes.as_ref().len() as u64, self.end, "invariant: the page is held to its end");
        let elements = Elements { shape: self.shape, bytes };
        for index in 1..elements.count() {
            if elements.key(index - 1) >= elements.key(index) {
                let before = index - 1;
                return Err(format!(
                    "element {index}: its key is not above that of element {before}"
                ));
            }
        }
        Ok(elements)
    }
}

/// What an element of a page stands for.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// A branch's child.
    Child(PageId),
    Pair {
        key: &'a [u8],
        value: &'a [u8],
    },
    Bucket {
        name: &'a [u8],
        value: &'a [u8],
    },
}

/// The checked elements of one page, over bytes owned (a page) or borrowed (an inline bucket).
#[derive(Debug)]
pub(super) struct Elements<B> {
    shape: Shape,
    bytes: B,
}

impl<B: AsRef<[u8]>> Elements<B> {
    pub(super) fn count(&self) -> u16 {
        self.shape.count
    }

    pub(super) fn entry(&self, index: u16) -> Option<Entry<'_>> {
        let element = self.element(index)?;
        let (key, value) = self.key_and_value(&element);
        Some(match element.role {
            Role::Child(id) => Entry::Child(id),
            Role::Pair => Entry::Pair { key, value },
            Role::Bucket => Entry::Bucket { name: key, value },
            Role::Unknown(_) => unreachable!("invariant: unknown flags are refused"),
        })
    }

    pub(super) fn key(&self, index: u16) -> Option<&[u8]> {
        let element = self.element(index)?;
        Some(self.key_and_value(&element).0)
    }

    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.key(self.count().checked_sub(1)?)
    }

    fn element(&self, index: u16) -> Option<Element> {
        (index < self.count()).then(|| self.shape.element(self.bytes.as_ref(), index))
    }

    fn key_and_value(&self, element: &Element) -> (&[u8], &[u8]) {
        let offset = |at| usize::try_from(at).expect("invariant: the page is in memory");
        let key_end = element.start + element.key_bytes;
        let value_end = key_end + element.value_bytes;
        let data = &self.bytes.as_ref()[offset(element.start)..offset(value_end)];
        data.split_at(offset(element.key_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf page with the pairs `ab: 1` and `c: 23`, its last byte being byte 54.
    fn leaf() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + 2 * ELEMENT_BYTES];
        bytes[8] = 0x02;
        bytes[10] = 2;
        bytes.extend(b"ab1c23");
        for (at, field) in [(20, 32), (24, 2), (28, 1), (36, 19), (40, 1), (44, 2)] {
            bytes[at] = field;
        }
        bytes
    }

    fn check(bytes: &[u8], run_bytes: u64) -> Result<Elements<Vec<u8>>, Reason> {
        let shape = Shape::of(&Header::decode(bytes))?;
        let packed = shape.check_array(bytes, run_bytes)?;
        let end = usize::try_from(packed.end).expect("small");
        packed.check_keys(bytes[..end].to_vec())
    }

    fn refusal(at: usize, byte: u8) -> Reason {
        let mut bytes = leaf();
        bytes[at] = byte;
        bytes.resize(64, 0);
        check(&bytes, 64).expect_err("damaged")
    }

    #[test]
    fn a_leaf_reads_back() {
        let leaf = check(&leaf(), 54).expect("sound");
        assert_eq!(leaf.count(), 2);
        let told = [leaf.entry(0), leaf.entry(1), leaf.entry(2)].map(|entry| match entry {
            Some(Entry::Pair { key, value }) => Some((key.to_vec(), value.to_vec())),
            _ => None,
        });
        let expected = [(b"ab".to_vec(), b"1".to_vec()), (b"c".to_vec(), b"23".to_vec())];
        assert_eq!(told, [Some(expected[0].clone()), Some(expected[1].clone()), None]);
        assert_eq!((leaf.key(0), leaf.last_key()), (Some(&b"ab"[..]), Some(&b"c"[..])));
    }

    #[test]
    fn each_field_of_an_element_is_checked() {
        let told = [
            refusal(8, 0x03),
            refusal(10, 1),
            refusal(10, 3),
            refusal(16, 2),
            refusal(20, 31),
            refusal(24, 0),
            refusal(24, 3),
            refusal(26, 1),
            refusal(28, 2),
            refusal(31, 0x80),
            refusal(36, 20),
            refusal(44, 200),
        ];
        let expected = [
            "its flags are 0x03 (unknown), expected a branch or leaf page",
            "element 0: its key begins at byte 48, expected 32",
            "element 0: its key begins at byte 48, expected 64",
            "element 0: its flags are 0x02, expected 0x00 or 0x01 (bucket)",
            "element 0: its key begins at byte 47, expected 48",
            "element 0: its key is empty, expected at least 1 byte",
            "element 1: its key begins at byte 51, expected 52",
            "element 0: a key of 65538 bytes, expected at most 32768",
            "element 1: its key begins at byte 51, expected 52",
            "element 0: a value of 2147483649 bytes, expected at most 2147483646",
            "element 1: its key begins at byte 52, expected 51",
            "element 1: ends at byte 252, expected at most 64",
        ];
        assert_eq!(told, expected);
    }

    /// The refusal of a leaf whose first element claims these lengths.
    fn refusal_of_lengths(key_bytes: u32, value_bytes: u32) -> Reason {
        let mut bytes = leaf();
        bytes[24..28].copy_from_slice(&key_bytes.to_le_bytes());
        bytes[28..32].copy_from_slice(&value_bytes.to_le_bytes());
        check(&bytes, 54).expect_err("too long")
    }

    #[test]
    fn the_longest_key_and_value_of_bbolt_are_within_bounds() {
        let told = [
            refusal_of_lengths(32_768, 0),
            refusal_of_lengths(32_769, 0),
            refusal_of_lengths(1, 0x7FFF_FFFE),
            refusal_of_lengths(1, 0x7FFF_FFFF),
        ];
        let expected = [
            "element 0: ends at byte 32816, expected at most 54",
            "element 0: a key of 32769 bytes, expected at most 32768",
            "element 0: ends at byte 2147483695, expected at most 54",
            "element 0: a value of 2147483647 bytes, expected at most 2147483646",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn keys_ascend_strictly() {
        for key in [b"ab", b"zz"] {
            let mut bytes = leaf();
            bytes[48..50].copy_from_slice(key);
            bytes[51] = b'a';
            let refused = check(&bytes, 54).expect_err("out of order");
            assert_eq!(refused, "element 1: its key is not above that of element 0");
        }
        let mut bytes = leaf();
        bytes[40..48].copy_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0]);
        bytes[51..53].copy_from_slice(b"ab");
        let refused = check(&bytes, 54).expect_err("the same key twice");
        assert_eq!(refused, "element 1: its key is not above that of element 0");
    }

    #[test]
    fn a_branch_needs_a_child_and_a_leaf_does_not() {
        let mut bytes = [0; 32];
        bytes[8] = 0x01;
        let shape = Shape::of(&Header::decode(&bytes));
        assert_eq!(
            shape.expect_err("no child"),
            "a branch page of 0 elements, expected at least 1"
        );
        bytes[8] = 0x02;
        let shape = Shape::of(&Header::decode(&bytes)).expect("an empty leaf");
        assert_eq!(shape.check_empty(&bytes), Ok(()));
        bytes[28] = 1;
        let lost = shape.check_empty(&bytes).expect_err("an element is left");
        assert_eq!(lost, "a page of 0 elements holds bytes, expected zeros");
    }

    #[test]
    fn an_array_beyond_its_run_is_refused_before_it_is_read() {
        let mut bytes = leaf();
        bytes[10..12].copy_from_slice(&[0xFF, 0xFF]);
        let refused = check(&bytes, 1024).expect_err("too many");
        assert_eq!(refused, "its 65535 elements end at byte 1048576, expected at most 1024");
    }

    #[test]
    fn a_run_ends_below_the_high_water_mark() {
        let mut header = Header::decode(&[0; HEADER_BYTES]);
        header.id = PageId(7);
        header.overflow = 2;
        assert_eq!(header.check_run(10), Ok(3));
        assert_eq!(
            header.check_run(9).expect_err("too long"),
            "a run of 3 pages, expected at most 2"
        );
        header.overflow = u32::MAX;
        assert!(header.check_run(10).is_err());
    }
}
