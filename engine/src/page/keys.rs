//! Keys as the pages compare them: heads, common prefixes, separators.
//!
//! A *head* is the four key bytes after a page's prefix, zero padded, as a big-endian number, so
//! that numbers order as the bytes do. Two different keys can share a head, also through the
//! padding ("a" and "a\0"); then the whole keys decide. Never looks at a page. Invariants:
//! 1. `head(a) < head(b)` implies `a < b`; `a <= b` implies `head(a) <= head(b)`.

/// The head of what follows a page's prefix in a key.
#[inline]
pub(crate) fn head(suffix: &[u8]) -> u32 {
    match suffix.first_chunk() {
        Some(bytes) => u32::from_be_bytes(*bytes),
        None => short_head(suffix),
    }
}

/// Not rare: where a page has one key, its prefix is all of it.
#[inline]
fn short_head(suffix: &[u8]) -> u32 {
    u32::from_be_bytes(match *suffix {
        [a, b, c, ..] => [a, b, c, 0],
        [a, b] => [a, b, 0, 0],
        [a] => [a, 0, 0, 0],
        [] => [0; 4],
    })
}

/// What follows a page's prefix in a key; `None` for a key without the prefix.
#[inline]
pub(crate) fn suffix<'k>(key: &'k [u8], prefix: &[u8]) -> Option<&'k [u8]> {
    // Random keys share nothing: spare them the comparison.
    if prefix.is_empty() { Some(key) } else { key.strip_prefix(prefix) }
}

/// One stored head.
#[inline]
pub(crate) fn stored_head(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes)
}

/// How many of the ascending `heads` are below `head`.
#[inline]
pub(crate) fn lower_bound(heads: &[[u8; 4]], head: u32) -> usize {
    // The library's search is branchless and free of bounds checks.
    heads.partition_point(|&bytes| stored_head(bytes) < head)
}

/// How many of the ascending `heads` are not above `head`.
#[inline]
pub(crate) fn upper_bound(heads: &[[u8; 4]], head: u32) -> usize {
    heads.partition_point(|&bytes| stored_head(bytes) <= head)
}

/// The suffix that a lone head stands for: its bytes without the zeros at the end.
///
/// Returns the bytes and how many of them count.
#[inline]
pub(crate) fn suffix_of_head(head: u32) -> ([u8; 4], usize) {
    (head.to_be_bytes(), 4 - head.trailing_zeros() as usize / 8)
}

/// True when a head says all there is to say about a separator's suffix.
#[inline]
pub(crate) fn head_is_whole(suffix: &[u8]) -> bool {
    suffix.len() <= 4 && suffix.last() != Some(&0)
}

/// How many leading bytes two keys share.
#[inline]
pub(crate) fn common_prefix_len(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

/// The shortest key that is above `left` and not above `right`: a prefix of `right`.
///
/// REQUIRES: `left < right`.
#[inline]
pub(crate) fn shortest_separator<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    &right[..common_prefix_len(left, right) + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_order_as_keys_do() {
        let mut keys: Vec<&[u8]> =
            vec![b"", b"\0", b"\0\0\0\0\0", b"a", b"a\0", b"ab", b"abcd", b"abcde", b"b", b"\xff"];
        keys.sort();
        assert!(keys.iter().zip(&keys[1..]).all(|(a, b)| head(a) <= head(b)));
    }

    #[test]
    fn a_whole_head_gives_its_suffix_back() {
        for suffix in [&b""[..], b"a", b"a\0b", b"abcd", b"\0\0\0\x01"] {
            assert!(head_is_whole(suffix));
            let (bytes, len) = suffix_of_head(head(suffix));
            assert_eq!(&bytes[..len], suffix);
        }
        assert!(!head_is_whole(b"abcde"));
        assert!(!head_is_whole(b"a\0"));
    }

    #[test]
    fn separators_are_shortest() {
        assert_eq!(shortest_separator(b"abc", b"abd"), b"abd");
        assert_eq!(shortest_separator(b"abc", b"b123"), b"b");
        assert_eq!(shortest_separator(b"ab", b"ab\0\0"), b"ab\0");
        assert_eq!(shortest_separator(b"", b"x1"), b"x");
    }
}
