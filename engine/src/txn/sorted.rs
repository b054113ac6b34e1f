//! Pairs in the order of their keys, out of a list in any order.
//!
//! Invariants:
//! 1. Every key of the list comes once, with its last value there.

use crate::codec::key_head;
use crate::io::prefetch_slice;
use crate::limits::GET_MANY_WIDTH;

/// Pairs that are looked up before the first of them is given: each look is a cache miss or two,
/// and together they take hardly longer than one.
const AHEAD: usize = GET_MANY_WIDTH;
/// Cache lines of a value that are asked for ahead.
pub(super) const VALUE_LINES: usize = 3;

type Pair<'a> = (&'a [u8], &'a [u8]);

/// An iterator over the pairs.
#[derive(Debug)]
pub(super) struct Sorted<'a, K, V> {
    pairs: &'a [(K, V)],
    /// The first bytes of each key, which nearly always decide, and where its pair is.
    order: Vec<(u64, usize)>,
    /// Pairs that were looked up, of which the first `given` are gone.
    ahead: [Pair<'a>; AHEAD],
    /// The place in `order` of the first pair that was looked up, and how many were.
    from: usize,
    count: usize,
    given: usize,
}

impl<'a, K: AsRef<[u8]>, V: AsRef<[u8]>> Sorted<'a, K, V> {
    pub(super) fn new(pairs: &'a [(K, V)]) -> Sorted<'a, K, V> {
        let key = |index: usize| pairs[index].0.as_ref();
        let mut order: Vec<(u64, usize)> =
            (0..pairs.len()).map(|index| (key_head(key(index)), index)).collect();
        order.sort_unstable_by(|(a, i), (b, j)| {
            a.cmp(b).then_with(|| key(*i).cmp(key(*j))).then(i.cmp(j))
        });
        let ahead = [(&[][..], &[][..]); AHEAD];
        Sorted { pairs, order, ahead, from: 0, count: 0, given: 0 }
    }

    fn look_ahead(&mut self) {
        self.from += self.count;
        let next = &self.order[self.from..];
        (self.count, self.given) = (next.len().min(AHEAD), 0);
        for ((_, index), ahead) in next.iter().zip(&mut self.ahead) {
            let (key, value) = &self.pairs[*index];
            *ahead = (key.as_ref(), value.as_ref());
            prefetch_slice(ahead.0, 1);
            prefetch_slice(ahead.1, VALUE_LINES);
        }
    }

    /// The keys that were looked up and not yet given; when there are none, the next ones.
    pub(super) fn keys_ahead(
        &mut self,
    ) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a, '_, K, V> {
        if self.given == self.count {
            self.look_ahead();
        }
        self.ahead[self.given..self.count].iter().map(|pair| pair.0)
    }

    /// True when the pair at this place of the order has the same key as the one behind it.
    fn is_replaced(&self, place: usize, key: &[u8]) -> bool {
        let Some((next_head, next)) = self.order.get(place + 1) else { return false };
        *next_head == self.order[place].0 && self.pairs[*next].0.as_ref() == key
    }
}

impl<'a, K: AsRef<[u8]>, V: AsRef<[u8]>> Iterator for Sorted<'a, K, V> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        loop {
            if self.given == self.count {
                self.look_ahead();
            }
            if self.count == 0 {
                return None;
            }
            let (place, pair) = (self.from + self.given, self.ahead[self.given]);
            self.given += 1;
            if !self.is_replaced(place, pair.0) {
                return Some(pair);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_comes_once_in_order_with_its_last_value() {
        let pairs: Vec<(String, String)> = (0..100_u32)
            .map(|n| (format!("a key of some length {}", n * 37 % 50), n.to_string()))
            .chain([("a".into(), "first".into()), ("a\0".into(), "other".into())])
            .chain([("a".into(), "last".into())])
            .collect();
        let sorted: Vec<Pair<'_>> = Sorted::new(&pairs).collect();
        assert_eq!(sorted.len(), 52);
        assert!(sorted.is_sorted_by(|a, b| a.0 < b.0));
        for (key, value) in sorted {
            let last = pairs.iter().rev().find(|pair| pair.0.as_bytes() == key);
            assert_eq!(last.map(|pair| pair.1.as_bytes()), Some(value));
        }
        let none: [(&str, &str); 0] = [];
        assert_eq!(Sorted::new(&none).next(), None);
    }
}
