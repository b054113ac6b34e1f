//! Which parts of which buckets are lost: ranges of keys, by bucket path.
//!
//! A lost range holds keys with their values, and nested buckets with all they hold. Invariants:
//! 1. Ranges of one bucket lie apart, and none is empty.
//! 2. No range lies in a bucket that another range holds.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use crate::error::Error;

/// Names of nested buckets from the top; empty for the bucket of the top-level buckets.
pub(super) type Path = Vec<Vec<u8>>;

/// Keys from `start` to before `end`; without an end to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) start: Vec<u8>,
    pub(super) end: Option<Vec<u8>>,
}

impl KeyRange {
    pub(super) const ALL: KeyRange = KeyRange { start: Vec::new(), end: None };

    pub(super) fn of_key(key: &[u8]) -> KeyRange {
        KeyRange { start: key.to_vec(), end: Some(next_key(key)) }
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        key >= &*self.start && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// What two ranges share, if anything.
    pub(super) fn shared(&self, other: &KeyRange) -> Option<KeyRange> {
        let start = (&self.start).max(&other.start).clone();
        let end = match (&self.end, &other.end) {
            (Some(one), Some(another)) => Some(one.min(another).clone()),
            (one, another) => one.clone().or_else(|| another.clone()),
        };
        let some = end.as_ref().is_none_or(|end| start < *end);
        some.then_some(KeyRange { start, end })
    }
}

/// The first key above `key`.
fn next_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

#[derive(Clone, Debug)]
struct Lost {
    end: Option<Vec<u8>>,
    why: Error,
}

/// All that is lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    buckets: BTreeMap<Path, BTreeMap<Vec<u8>, Lost>>,
    count: u64,
}

impl Losses {
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// How many ranges were added, whatever became of them.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn add(&mut self, path: &[Vec<u8>], range: KeyRange, why: Error) {
        let KeyRange { start, end } = range;
        self.count += 1;
        self.buckets.entry(path.to_vec()).or_default().insert(start, Lost { end, why });
    }

    /// All ranges, in the order of paths and keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, KeyRange, &Error)> {
        self.buckets.iter().flat_map(|(path, ranges)| {
            ranges.iter().map(move |(start, lost)| {
                (path, KeyRange { start: start.clone(), end: lost.end.clone() }, &lost.why)
            })
        })
    }

    /// True when the entry `key` of the bucket is lost, or the whole bucket.
    pub(super) fn hold(&self, path: &[Vec<u8>], key: &[u8]) -> bool {
        self.hold_entry(path, key) || self.hold_bucket(path)
    }

    /// True when the bucket's own entry is lost, or that of a bucket around it.
    pub(super) fn hold_bucket(&self, path: &[Vec<u8>]) -> bool {
        !self.buckets.is_empty()
            && (0..path.len()).any(|depth| self.hold_entry(&path[..depth], &path[depth]))
    }

    fn hold_entry(&self, path: &[Vec<u8>], key: &[u8]) -> bool {
        let Some(ranges) = self.buckets.get(path) else { return false };
        let before = ranges.range::<[u8], _>((Unbounded, Included(key))).next_back();
        before.is_some_and(|(_, lost)| lost.end.as_deref().is_none_or(|end| key < end))
    }

    /// The ranges of a bucket and of those within it.
    pub(super) fn within(&self, path: &[Vec<u8>]) -> Vec<(Path, KeyRange)> {
        let from = self.buckets.range::<[Vec<u8>], _>((Included(path), Unbounded));
        let within = from.take_while(|(found, _)| found.starts_with(path));
        within
            .flat_map(|(path, ranges)| {
                ranges.iter().map(|(start, lost)| {
                    (path.clone(), KeyRange { start: start.clone(), end: lost.end.clone() })
                })
            })
            .collect()
    }

    /// Nothing of the bucket is lost any more: it is known to be new, or gone.
    pub(super) fn forget(&mut self, path: &[Vec<u8>]) {
        if self.buckets.is_empty() {
            return;
        }
        for (found, _) in self.within(path) {
            self.buckets.remove(&found);
        }
    }

    /// A key is known again: a range that is this key alone is lost no more.
    pub(super) fn forget_key(&mut self, path: &[Vec<u8>], key: &[u8]) {
        let Some(ranges) = self.buckets.get_mut(path) else { return };
        if ranges.get(key).is_some_and(|lost| lost.end == Some(next_key(key))) {
            ranges.remove(key);
            if ranges.is_empty() {
                self.buckets.remove(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[&str]) -> Path {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    fn losses(ranges: &[(&[&str], &str, Option<&str>)]) -> Losses {
        let mut losses = Losses::default();
        for (names, start, end) in ranges {
            let end = end.map(|end| end.as_bytes().to_vec());
            let range = KeyRange { start: start.as_bytes().to_vec(), end };
            losses.add(&path(names), range, Error::invalid("lost"));
        }
        losses
    }

    #[test]
    fn a_range_holds_its_keys_and_all_of_the_buckets_named_by_them() {
        let losses = losses(&[(&["a"], "c", Some("e")), (&["a"], "g", None)]);
        let a = path(&["a"]);
        for (key, held) in [("b", false), ("c", true), ("dz", true), ("e", false), ("g", true)] {
            assert_eq!(losses.hold(&a, key.as_bytes()), held, "{key}");
            assert_eq!(losses.hold(&path(&["a", key, "x"]), b"k"), held, "{key}");
            assert_eq!(losses.hold_bucket(&path(&["a", key])), held, "{key}");
        }
        assert!(!losses.hold_bucket(&a) && !losses.hold(&path(&["b"]), b"c"));
    }

    #[test]
    fn what_is_known_again_is_forgotten() {
        let mut losses = losses(&[
            (&["a", "b"], "", None),
            (&["a", "b", "c"], "k", Some("k\0")),
            (&["a", "bb"], "", None),
            (&["a"], "x", Some("y")),
        ]);
        assert_eq!(losses.within(&path(&["a", "b"])).len(), 2);
        losses.forget(&path(&["a", "b"]));
        assert_eq!(losses.iter().count(), 2);
        losses.forget_key(&path(&["a"]), b"x");
        assert_eq!(losses.iter().count(), 2, "other keys of the range are lost");
        let mut one = Losses::default();
        one.add(&path(&["a"]), KeyRange::of_key(b"x"), Error::invalid("lost"));
        one.forget_key(&path(&["a"]), b"x");
        assert!(one.is_empty());
    }

    #[test]
    fn ranges_share_what_is_in_both() {
        let range = |start: &str, end: Option<&str>| KeyRange {
            start: start.as_bytes().to_vec(),
            end: end.map(|end| end.as_bytes().to_vec()),
        };
        let one = range("c", Some("f"));
        assert_eq!(one.shared(&KeyRange::ALL), Some(one.clone()));
        assert_eq!(one.shared(&range("d", None)), Some(range("d", Some("f"))));
        assert_eq!(one.shared(&range("f", None)), None);
        assert_eq!(range("", Some("c")).shared(&one), None);
        assert!(one.contains(b"c") && !one.contains(b"f"));
    }
}
