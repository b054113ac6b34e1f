//! Walks all buckets in key order, depth first, and tells what it meets as events.
//!
//! It never recurses, and holds only the pages on the way from the root to where it is.
//!
//! Invariants:
//! 1. Keys of a bucket come in strictly ascending order: those of a page do, and a child's lie from
//!    its parent's key on up to the next key of the nearest ancestor that has one.
//! 2. The stack is bounded: `TREE_HEIGHT_MAX` pages for a tree, `BUCKET_DEPTH_MAX` trees.
//! 3. Only the root page of a tree may be empty.
//! 4. `EnterBucket` and `LeaveBucket` pair up, and every `Pair` stands within such a pair.

use super::bucket::{Body, Bucket};
use super::error::BoltError;
use super::limits::{BUCKET_DEPTH_MAX, TREE_HEIGHT_MAX};
use super::load::{Loader, Page};
use super::meta::Meta;
use super::page::{Elements, Entry, PageId, Reason};

/// What a walk meets. A walk over everything tells each bucket and each pair once.
///
/// New kinds of events are a breaking change on purpose: who copies a database must not miss one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A bucket begins; what follows is in it, until its `LeaveBucket`.
    EnterBucket {
        /// Its key in the bucket around it. Never empty; its length has no bound of bbolt's.
        name: &'a [u8],
        /// The number that bbolt's `NextSequence` counted up to.
        sequence: u64,
    },
    /// A pair of the innermost bucket.
    Pair {
        /// 1 to 32,768 bytes.
        key: &'a [u8],
        /// 0 to 2^31 - 2 bytes.
        value: &'a [u8],
    },
    /// The innermost bucket ends.
    LeaveBucket,
    /// A page was read. [`BoltFile::pages_total`](super::BoltFile::pages_total) tells of how many.
    Progress {
        /// Pages read since the walk began, overflow pages counted one by one.
        pages_read: u64,
    },
}

/// What a walk has met, when it has met everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Buckets at all depths, without the nameless root.
    pub buckets: u64,
    /// Pairs in all buckets.
    pub pairs: u64,
    /// Bytes of all keys of pairs, without the names of buckets.
    pub key_bytes: u64,
    /// Bytes of all values of pairs.
    pub value_bytes: u64,
    /// Pages of all trees, overflow pages counted one by one.
    pub pages_read: u64,
    /// Pages that are neither in use nor free. bbolt leaks none in good health; here they cost
    /// nothing. `None` when the file persists no freelist, so that this is unknown.
    pub pages_leaked: Option<u64>,
}

/// A page on the way to where the walk is.
#[derive(Debug)]
struct Frame {
    page: Page,
    /// The element to be met next. On a branch, the one before it is where the way goes on.
    next: u16,
    /// Pages above this one in its tree.
    level: usize,
}

#[derive(Debug)]
pub(super) struct Walk<'f> {
    meta: &'f Meta,
    loader: Loader<'f>,
    stack: Vec<Frame>,
    /// Trees on the stack.
    trees: usize,
    summary: Summary,
}

impl<'f> Walk<'f> {
    pub(super) fn new(meta: &'f Meta, loader: Loader<'f>) -> Walk<'f> {
        Walk { meta, loader, stack: Vec::new(), trees: 0, summary: Summary::default() }
    }

    pub(super) fn run<E: From<BoltError>>(
        mut self,
        visit: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<Summary, E> {
        self.open_tree(self.meta.root)?;
        visit(self.progress())?;
        while let Some(frame) = self.stack.last_mut() {
            let (page, index) = (frame.page.id, frame.next);
            let damaged =
                |reason: Reason| BoltError::damaged(page, format!("element {index}: {reason}"));
            let Some(entry) = frame.page.elements.entry(index) else {
                if self.leave_page() {
                    visit(Event::LeaveBucket)?;
                }
                continue;
            };
            frame.next += 1;
            match entry {
                Entry::Child(id) => {
                    self.meta.check_allowed("its child", id).map_err(damaged)?;
                    self.open_child(id)?;
                    visit(self.progress())?;
                }
                Entry::Pair { .. } if self.trees == 1 => {
                    return Err(BoltError::RootPair { page: page.0, element: index }.into());
                }
                Entry::Pair { key, value } => self.summary.meet_pair(key, value, visit)?,
                Entry::Bucket { name, value } => {
                    if self.trees > BUCKET_DEPTH_MAX {
                        let depth_max = BUCKET_DEPTH_MAX;
                        return Err(BoltError::TooDeep { page: page.0, depth_max }.into());
                    }
                    let Bucket { sequence, body } = Bucket::decode(value).map_err(damaged)?;
                    self.summary.buckets += 1;
                    visit(Event::EnterBucket { name, sequence })?;
                    match body {
                        Body::Inline(elements) => {
                            self.summary.meet_inline(&elements, visit)?;
                            visit(Event::LeaveBucket)?;
                        }
                        Body::Tree(root) => {
                            self.meta.check_allowed("its root", root).map_err(damaged)?;
                            self.open_tree(root)?;
                            visit(self.progress())?;
                        }
                    }
                }
            }
        }
        self.summary.pages_leaked = self.loader.pages_leaked();
        Ok(self.summary)
    }

    fn progress(&mut self) -> Event<'static> {
        self.summary.pages_read = self.loader.pages_read;
        Event::Progress { pages_read: self.loader.pages_read }
    }

    fn open_tree(&mut self, root: PageId) -> Result<(), BoltError> {
        let page = self.loader.load(root)?;
        self.stack.push(Frame { page, next: 0, level: 0 });
        self.trees += 1;
        Ok(())
    }

    /// Opens the child that the page on top of the stack points to.
    fn open_child(&mut self, id: PageId) -> Result<(), BoltError> {
        let page = self.loader.load(id)?;
        self.check_bounds(&page).map_err(|reason| BoltError::damaged(id, reason))?;
        let level = self.stack.last().map_or(0, |parent| parent.level + 1);
        if level >= TREE_HEIGHT_MAX {
            let reason = format!("a tree of more levels than expected, at most {TREE_HEIGHT_MAX}");
            return Err(BoltError::damaged(id, reason));
        }
        self.stack.push(Frame { page, next: 0, level });
        Ok(())
    }

    fn check_bounds(&self, child: &Page) -> Result<(), Reason> {
        let parent = self.stack.last().expect("invariant: a child has a parent on the stack");
        let index = parent.next - 1;
        let (Some(first), Some(last)) = (child.elements.key(0), child.elements.last_key()) else {
            return Err("a page of 0 elements, expected at least 1 below a branch".to_owned());
        };
        if parent.page.elements.key(index).is_some_and(|low| first < low) {
            let above = parent.page.id.0;
            return Err(format!("its first key is below that of element {index} of page {above}"));
        }
        for ancestor in self.stack.iter().rev() {
            if let Some(high) = ancestor.page.elements.key(ancestor.next) {
                if last >= high {
                    let (index, above) = (ancestor.next, ancestor.page.id.0);
                    return Err(format!(
                        "its last key is not below that of element {index} of page {above}"
                    ));
                }
                break;
            }
            if ancestor.level == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Leaves the page on top of the stack, and tells whether its bucket, not the root, ends.
    fn leave_page(&mut self) -> bool {
        let left = self.stack.pop().expect("invariant: the walk is on a page");
        self.trees -= usize::from(left.level == 0);
        left.level == 0 && self.trees > 0
    }
}

impl Summary {
    fn meet_inline<E>(
        &mut self,
        elements: &Elements<&[u8]>,
        visit: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for index in 0..elements.count() {
            if let Some(Entry::Pair { key, value }) = elements.entry(index) {
                self.meet_pair(key, value, visit)?;
            }
        }
        Ok(())
    }

    fn meet_pair<E>(
        &mut self,
        key: &[u8],
        value: &[u8],
        visit: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pairs += 1;
        self.key_bytes += key.len() as u64;
        self.value_bytes += value.len() as u64;
        visit(Event::Pair { key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bolt::image::{
        Image, Item, Model, NO_FREELIST, Random, Told, inline_bucket, tell, tree_bucket,
    };

    #[test]
    fn a_sound_file_is_told_in_key_order() {
        let file = Image::sample().open().expect("sound");
        let enter = |name: &str, sequence| Told::Enter(name.into(), sequence);
        let pair = |key: &str, value: &str| Told::Pair(key.into(), value.into());
        let expected = vec![
            enter("a", 7),
            pair("k1", "v1"),
            pair("k2", ""),
            Told::Leave,
            enter("b", 0),
            pair("big", &"v".repeat(1500)),
            pair("small", "x"),
            Told::Leave,
            enter("m", 3),
            pair("p", "1"),
            enter("q", 0),
            pair("z", "26"),
            Told::Leave,
            pair("r", "3"),
            Told::Leave,
            enter("n", 0),
            Told::Leave,
        ];
        assert_eq!(tell(&file).expect("sound"), expected);
        let summary = Summary {
            buckets: 5,
            pairs: 7,
            key_bytes: 15,
            value_bytes: 1507,
            pages_read: 6,
            pages_leaked: Some(0),
        };
        assert_eq!(file.verify().expect("sound"), summary);
        assert_eq!(file.pages_total(), 6);
    }

    #[test]
    fn random_databases_read_back() {
        for seed in 0..300 {
            let mut random = Random(seed);
            let model = Model::random(&mut random);
            let file = model.image(&mut random).open().expect("sound");
            assert_eq!(tell(&file).expect("sound"), model.told(), "seed {seed}");
            let summary = file.verify().expect("sound");
            assert!(matches!(summary.pages_leaked, None | Some(0)), "seed {seed}: {summary:?}");
            assert!(summary.pages_read <= file.pages_total(), "seed {seed}: {summary:?}");
        }
    }

    #[test]
    fn pages_pointed_to_lie_below_the_high_water_mark() {
        let mut image = Image::sample();
        image.poke(3, 40, &[10]);
        image.assert_damaged(3, "element 1: its child is page 10, expected one from 2 to 9");
        image.poke(3, 40, &[0]);
        image.assert_damaged(3, "element 1: its child is page 0, expected one from 2 to 9");
        let mut image = Image::sample();
        image.leaf(8, &[Item::bucket("far", tree_bucket(10, 0))]);
        image.assert_damaged(8, "element 0: its root is page 10, expected one from 2 to 9");
        image.leaf(8, &[Item::bucket("torn", b"torn".to_vec())]);
        image.assert_damaged(8, "element 0: a bucket of 4 bytes, expected at least 16");
    }

    /// Branch 3 over branches 4 and 5, over leaves 6 and 7, and 8 and 9: keys b, d, and f, h.
    fn two_levels() -> Image {
        let mut image = Image::new(1024);
        image.leaf(2, &[Item::bucket("tree", tree_bucket(3, 0))]);
        image.branch(3, &[("b", 4), ("f", 5)]);
        image.branch(4, &[("b", 6), ("d", 7)]);
        image.branch(5, &[("f", 8), ("h", 9)]);
        for (id, key) in [(6, "b"), (7, "d"), (8, "f"), (9, "h")] {
            image.leaf(id, &[Item::pair(key, "")]);
        }
        image.metas(2, NO_FREELIST, 10, 1);
        image
    }

    #[test]
    fn a_child_keeps_within_its_parents_keys() {
        two_levels().open().and_then(|file| file.verify()).expect("sound");
        let damaged = |id, key: &str, reason: &str| {
            let mut image = two_levels();
            image.leaf(id, &[Item::pair(key, "")]);
            image.assert_damaged(id, reason);
        };
        damaged(6, "a", "its first key is below that of element 0 of page 4");
        damaged(6, "d", "its last key is not below that of element 1 of page 4");
        damaged(7, "c", "its first key is below that of element 1 of page 4");
        damaged(7, "f", "its last key is not below that of element 1 of page 3");
        damaged(8, "e", "its first key is below that of element 0 of page 5");
        let mut image = two_levels();
        image.branch(4, &[("a", 6), ("d", 7)]);
        image.assert_damaged(4, "its first key is below that of element 0 of page 3");
        image.branch(4, &[("b", 6), ("g", 7)]);
        image.assert_damaged(4, "its last key is not below that of element 1 of page 3");
        let mut image = two_levels();
        image.leaf(9, &[Item::pair("zz", "")]);
        image.open().and_then(|file| file.verify()).expect("nothing bounds the last key");
    }

    #[test]
    fn only_a_root_page_may_be_empty() {
        let mut image = two_levels();
        image.bytes[7 * 1024 + 10..8 * 1024].fill(0);
        image.assert_damaged(7, "a page of 0 elements, expected at least 1 below a branch");
        let mut image = Image::new(1024);
        image.leaf(2, &[]);
        image.metas(2, NO_FREELIST, 3, 1);
        let summary = image.open().and_then(|file| file.verify()).expect("an empty database");
        assert_eq!((summary.buckets, summary.pages_read), (0, 1));
    }

    #[test]
    fn a_pair_in_the_root_bucket_is_refused() {
        let mut image = Image::sample();
        image.leaf(5, &[Item::bucket("m", tree_bucket(8, 3)), Item::pair("n", "stray")]);
        let refused = image.refusal();
        assert!(matches!(refused, BoltError::RootPair { page: 5, element: 1 }), "{refused}");
    }

    /// Buckets within buckets: `depth` with pages of their own, and an inline one within.
    fn nested(depth: u64) -> Image {
        let mut image = Image::new(1024);
        for id in 2..2 + depth {
            image.leaf(id, &[Item::bucket("within", tree_bucket(id + 1, 0))]);
        }
        image.leaf(2 + depth, &[Item::bucket("last", inline_bucket(0, &[]))]);
        image.metas(2, NO_FREELIST, 3 + depth, 1);
        image
    }

    #[test]
    fn buckets_nest_up_to_a_bound() {
        let bound = BUCKET_DEPTH_MAX as u64;
        let summary = nested(bound - 1).open().and_then(|file| file.verify()).expect("sound");
        assert_eq!(summary.buckets, bound);
        let refused = nested(bound).refusal();
        assert!(matches!(refused, BoltError::TooDeep { .. }), "{refused}");
    }

    /// A chain of branches with one child each, `height` pages in all.
    fn tall(height: u64) -> Image {
        let mut image = Image::new(1024);
        image.leaf(2, &[Item::bucket("tall", tree_bucket(3, 0))]);
        for id in 3..2 + height {
            image.branch(id, &[("a", id + 1)]);
        }
        image.leaf(2 + height, &[Item::pair("a", "")]);
        image.metas(2, NO_FREELIST, 3 + height, 1);
        image
    }

    #[test]
    fn trees_grow_up_to_a_bound() {
        let bound = TREE_HEIGHT_MAX as u64;
        tall(bound).open().and_then(|file| file.verify()).expect("sound");
        let expected = "a tree of more levels than expected, at most 64";
        tall(bound + 1).assert_damaged(3 + bound, expected);
    }

    #[test]
    fn an_error_of_the_visitor_ends_the_walk() {
        #[derive(Debug)]
        enum Stop {
            Enough,
            Bolt(BoltError),
        }
        impl From<BoltError> for Stop {
            fn from(error: BoltError) -> Stop {
                Stop::Bolt(error)
            }
        }
        let file = Image::sample().open().expect("sound");
        let mut pairs = 0;
        let stopped = file.walk(&mut |event| {
            pairs += u32::from(matches!(event, Event::Pair { .. }));
            if pairs == 3 { Err(Stop::Enough) } else { Ok(()) }
        });
        assert!(matches!(stopped, Err(Stop::Enough)), "{stopped:?}");
        let mut image = Image::sample();
        image.poke(8, 8, &[0]);
        let file = image.open().expect("the damage lies deeper");
        let stopped = file.walk(&mut |_| Ok::<(), Stop>(()));
        let Err(Stop::Bolt(refused)) = stopped else { panic!("{stopped:?}") };
        assert!(matches!(refused, BoltError::Damaged { page: 8, .. }), "{refused}");
    }
}
