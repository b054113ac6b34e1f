//! Decodes the value of a bucket's element: its sequence, and where or what its pairs are.
//!
//! It works on bytes alone, and never follows the page id that it reads.
//!
//! ```text
//! 0 root u64    8 sequence u64    16 a leaf page without overflow, when root is 0
//! ```
//!
//! Invariants:
//! 1. A value ends where its bucket does: with 16 bytes, or with its inline page's last element.
//! 2. An inline page holds pairs only: bbolt gives a bucket that holds buckets a page of its own.

use super::page::{Elements, Entry, HEADER_BYTES, Header, PageId, Reason, Shape, u64_at};

pub(super) const BUCKET_BYTES: usize = 16;

const _: () = assert!(BUCKET_BYTES == 8 + 8);

/// A decoded bucket.
#[derive(Debug)]
pub(super) struct Bucket<'a> {
    pub(super) sequence: u64,
    pub(super) body: Body<'a>,
}

/// Where the pairs of a bucket are.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// In a tree of pages.
    Tree(PageId),
    /// In the value itself.
    Inline(Elements<&'a [u8]>),
}

impl Bucket<'_> {
    pub(super) fn decode(value: &[u8]) -> Result<Bucket<'_>, Reason> {
        if value.len() < BUCKET_BYTES {
            let found = value.len();
            return Err(format!("a bucket of {found} bytes, expected at least {BUCKET_BYTES}"));
        }
        let (fields, inline) = value.split_at(BUCKET_BYTES);
        let sequence = u64_at(fields, 8);
        let body = match u64_at(fields, 0) {
            0 => Body::Inline(
                decode_inline(inline).map_err(|reason| format!("inline bucket: {reason}"))?,
            ),
            root if inline.is_empty() => Body::Tree(PageId(root)),
            root => {
                let found = value.len();
                return Err(format!(
                    "a bucket with root page {root} has {found} bytes, expected {BUCKET_BYTES}"
                ));
            }
        };
        Ok(Bucket { sequence, body })
    }
}

fn decode_inline(bytes: &[u8]) -> Result<Elements<&[u8]>, Reason> {
    if bytes.len() < HEADER_BYTES {
        let found = bytes.len();
        return Err(format!("a page of {found} bytes, expected at least {HEADER_BYTES}"));
    }
    let header = Header::decode(bytes);
    header.check_id(PageId(0))?;
    header.check_leaf()?;
    if header.overflow != 0 {
        return Err(format!("an overflow of {} pages, expected 0", header.overflow));
    }
    let shape = Shape::of(&header)?;
    let packed = shape.check_array(bytes, bytes.len() as u64)?;
    if packed.end != bytes.len() as u64 {
        let (end, found) = (packed.end, bytes.len());
        return Err(format!("its elements end at byte {end}, expected {found}"));
    }
    let elements = packed.check_keys(bytes)?;
    for index in 0..elements.count() {
        if let Some(Entry::Bucket { .. }) = elements.entry(index) {
            return Err(format!("element {index}: a bucket within, expected pairs only"));
        }
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bolt::image::{Item, inline_bucket, tree_bucket};

    fn refusal(value: &[u8]) -> Reason {
        Bucket::decode(value).expect_err("damaged")
    }

    fn damaged(at: usize, byte: u8) -> Reason {
        let mut value = inline_bucket(9, &[Item::pair("k", "v"), Item::pair("l", "w")]);
        value[at] = byte;
        refusal(&value)
    }

    #[test]
    fn both_forms_read_back() {
        let tree = tree_bucket(5, 9);
        let tree = Bucket::decode(&tree).expect("sound");
        assert!(matches!(tree, Bucket { sequence: 9, body: Body::Tree(PageId(5)) }), "{tree:?}");
        let inline = inline_bucket(8, &[Item::pair("k", "")]);
        let inline = Bucket::decode(&inline).expect("sound");
        assert_eq!(inline.sequence, 8);
        let Body::Inline(elements) = inline.body else { panic!("expected an inline page") };
        assert_eq!((elements.count(), elements.key(0)), (1, Some(&b"k"[..])));
    }

    #[test]
    fn a_value_of_another_length_is_refused() {
        let tree = tree_bucket(5, 0);
        assert_eq!(refusal(&tree[..15]), "a bucket of 15 bytes, expected at least 16");
        let longer = [&tree[..], b"x"].concat();
        assert_eq!(refusal(&longer), "a bucket with root page 5 has 17 bytes, expected 16");
        let inline = inline_bucket(0, &[Item::pair("k", "v")]);
        assert_eq!(
            refusal(&inline[..16]),
            "inline bucket: a page of 0 bytes, expected at least 16"
        );
        let longer = [&inline[..], b"x"].concat();
        assert_eq!(refusal(&longer), "inline bucket: its elements end at byte 34, expected 35");
        assert_eq!(
            refusal(&inline[..inline.len() - 1]),
            "inline bucket: element 0: ends at byte 34, expected at most 33"
        );
    }

    #[test]
    fn each_field_of_an_inline_page_is_checked() {
        let told = [
            damaged(0, 3),
            damaged(16, 1),
            damaged(24, 1),
            damaged(24, 4),
            damaged(26, 1),
            damaged(27, 1),
            damaged(28, 1),
            damaged(32, 1),
            damaged(36, 0),
            damaged(40, 0),
            damaged(60, 0),
        ];
        let expected = [
            "a bucket with root page 3 has 68 bytes, expected 16",
            "inline bucket: its header names page 1, expected 0",
            "inline bucket: its flags are 0x01 (branch), expected 0x02 (leaf)",
            "inline bucket: its flags are 0x04 (meta), expected 0x02 (leaf)",
            "inline bucket: element 0: its key begins at byte 48, expected 32",
            "inline bucket: its 258 elements end at byte 4144, expected at most 52",
            "inline bucket: an overflow of 1 pages, expected 0",
            "inline bucket: element 0: a bucket within, expected pairs only",
            "inline bucket: element 0: its key begins at byte 16, expected 48",
            "inline bucket: element 0: its key is empty, expected at least 1 byte",
            "inline bucket: its elements end at byte 51, expected 52",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn keys_of_an_inline_page_ascend() {
        let value = inline_bucket(0, &[Item::pair("b", ""), Item::pair("a", "")]);
        assert_eq!(
            refusal(&value),
            "inline bucket: element 1: its key is not above that of element 0"
        );
    }
}
