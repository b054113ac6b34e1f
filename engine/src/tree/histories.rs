//! Random histories against a `BTreeMap`.
//!
//! Method: apply random inserts, replacements, overwritings and removals to a tree and to a model,
//! sealing all pages now and then as a commit would; after each batch audit the whole tree, look
//! for lost pages and compare every entry, in both directions and from random places. A run is
//! named by its seed: `BRISTLECONE_SEED=7 cargo test histories` replays it.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::audit::audit;
use super::page_store::PageStore;
use super::pages::Pages;
use super::{Cursor, Replaced, Seen, Tree, get, insert, overwrite, remove};
use crate::ids::{PageId, PageRef};
use crate::limits::{inline_bucket_bytes_max, inline_bytes_max, key_bytes_max};
use crate::page::header::tree_level;
use crate::page::{BucketRecord, Entry, Interior, InteriorMut, LeafBuilder, Payload};

/// A generator good enough for tests, and the same everywhere (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.number() as u8).collect()
    }
}

/// What keys look like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Random24,
    Counter,
    Url,
    /// Few different bytes, so that keys are prefixes of each other and end in zeros.
    ZerosAndOnes,
    AnyLength,
    /// As long as keys can be, alike but for the end.
    LongAlike,
}

pub(super) const SHAPES: [Shape; 6] = [
    Shape::Random24,
    Shape::Counter,
    Shape::Url,
    Shape::ZerosAndOnes,
    Shape::AnyLength,
    Shape::LongAlike,
];

impl Shape {
    pub(super) fn key(self, random: &mut Random, page_bytes: usize) -> Vec<u8> {
        let max = key_bytes_max(page_bytes);
        match self {
            Shape::Random24 => random.bytes(24),
            Shape::Counter => format!("user:{:019}", random.below(5000)).into_bytes(),
            Shape::Url => {
                let (site, page) = (random.below(5), random.below(1000));
                let path = "department/products/catalogue".repeat(1 + site);
                format!("https://www.site-{site}.example.com/{path}/item-{page}").into_bytes()
            }
            Shape::ZerosAndOnes => {
                let len = random.below(14);
                (0..len).map(|_| [0, 0, 0xff, 1][random.below(4)]).collect()
            }
            Shape::AnyLength => {
                let len = (1 + random.below(max)) >> random.below(9);
                let first = random.number() as u8;
                let mut key = vec![first & 0x0f; len.max(1)];
                let at = random.below(key.len());
                key[at] = random.number() as u8;
                key
            }
            Shape::LongAlike => {
                let mut key = vec![b'k'; max];
                // Now near the front, now near the end: separators of every length.
                let at = [0, 1, 3, 30, 400, max - 2][random.below(6)];
                key[at] = random.number() as u8;
                key[max - 1] = random.number() as u8;
                key
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    Value(Vec<u8>),
    Run(u32, u32),
    Bucket(Vec<u8>),
}

impl Content {
    fn payload(&self) -> Payload<'_> {
        match self {
            Content::Value(value) => Payload::Value(value),
            Content::Run(page, len) => {
                Payload::Overflow { run: PageRef { id: PageId(*page), crc: 5 }, len: *len }
            }
            Content::Bucket(record) => Payload::Bucket(record),
        }
    }

    fn random(random: &mut Random, page_bytes: usize, key_len: usize) -> Content {
        match random.below(20) {
            0 => Content::Run(1 + random.below(1000) as u32, random.number() as u32 >> 2),
            1 => Content::Bucket(inline_bucket(random, page_bytes)),
            _ => {
                let room = inline_bytes_max(page_bytes).saturating_sub(key_len);
                let len = random.below(room + 1) >> random.below(7);
                Content::Value(vec![random.number() as u8; len])
            }
        }
    }
}

/// The record of a bucket with one entry, which fills up to as much as an inline bucket may.
fn inline_bucket(random: &mut Random, page_bytes: usize) -> Vec<u8> {
    let len = random.below(inline_bucket_bytes_max(page_bytes) - 40);
    let mut builder = LeafBuilder::new();
    let value = vec![7; len];
    builder.push(&Entry { key: b"k", payload: Payload::Value(&value), expires_at: 0 });
    let record = BucketRecord { entries: 1, ..BucketRecord::EMPTY };
    [&record.encode()[..], &builder.image()].concat()
}

type Model = BTreeMap<Vec<u8>, (Content, u64)>;

struct History {
    random: Random,
    store: PageStore,
    tree: Tree,
    model: Model,
    shape: Shape,
    page_bytes: usize,
}

impl History {
    fn new(seed: u64, shape: Shape, page_bytes: usize) -> History {
        println!("seed {seed} shape {shape:?} page {page_bytes}");
        let (random, store) = (Random(seed), PageStore::new(page_bytes));
        History { random, store, tree: Tree::EMPTY, model: Model::new(), shape, page_bytes }
    }

    /// A key that is there, or near one, or just any.
    fn some_key(&mut self) -> Vec<u8> {
        let fresh = self.shape.key(&mut self.random, self.page_bytes);
        if self.random.below(3) == 0 {
            return fresh;
        }
        let from = (Bound::Included(fresh.clone()), Bound::Unbounded);
        let near = self.model.range::<Vec<u8>, _>(from).next();
        near.map_or(fresh, |(key, _)| key.clone())
    }

    fn put(&mut self) {
        let key = match self.random.below(3) {
            0 => self.some_key(),
            _ => self.shape.key(&mut self.random, self.page_bytes),
        };
        let content = Content::random(&mut self.random, self.page_bytes, key.len());
        let expires_at = if self.random.below(4) == 0 { self.random.number() | 1 } else { 0 };
        let entry = Entry { key: &key, payload: content.payload(), expires_at };
        let replaced = insert(&mut self.store, &mut self.tree, &entry).unwrap();
        let old = self.model.insert(key.clone(), (content, expires_at));
        assert_eq!(replaced, replaced_of(&key, old));
    }

    fn take(&mut self) {
        let key = self.some_key();
        let removed = remove(&mut self.store, &mut self.tree, &key).unwrap();
        let old = self.model.remove(&key);
        assert_eq!(removed, replaced_of(&key, old));
    }

    /// Offers another payload, most often one that is like the old.
    fn overwrite(&mut self) {
        let key = self.some_key();
        let old = self.model.get(&key).map(|(content, _)| content.clone());
        let fill = self.random.number() as u8;
        let content = match &old {
            Some(Content::Value(value)) if fill > 20 => Content::Value(vec![fill; value.len()]),
            Some(Content::Run(page, len)) if fill > 20 => Content::Run(page ^ 1, *len),
            Some(Content::Bucket(record)) if fill > 20 => {
                let mut record = record.clone();
                record[16] = fill;
                Content::Bucket(record)
            }
            _ => Content::random(&mut self.random, self.page_bytes, key.len()),
        };
        let (store, tree) = (&mut self.store, &mut self.tree);
        if overwrite(store, tree, &key, &content.payload()).unwrap() {
            let (old, _) = self.model.get_mut(&key).expect("only what is there is overwritten");
            let (before, after) = (old.payload(), content.payload());
            assert_eq!(
                (before.kind(), before.stored_bytes()),
                (after.kind(), after.stored_bytes())
            );
            *old = content;
        }
    }

    fn run(&mut self, operations: usize, put_in_ten: usize) {
        for _ in 0..operations {
            match self.random.below(20) {
                0 => self.put(),
                10 => self.overwrite(),
                n if n % 10 < put_in_ten => self.put(),
                _ => self.take(),
            }
        }
    }

    fn check(&mut self) {
        let counts = self.store.audit(self.tree.root()).unwrap();
        assert_eq!(counts.entries, self.tree.entries);
        assert_eq!(self.tree.entries, self.model.len() as u64);
        let mut cursor = Cursor::new(&self.store, self.tree.root());
        for expected in &self.model {
            let entry = cursor.next().unwrap().expect("invariant: an entry per model entry");
            assert_same(&entry, expected);
            assert_eq!(cursor.current(), Some(entry));
            assert_eq!(get(&self.store, self.tree.root(), expected.0).unwrap(), Some(entry));
        }
        assert_eq!(cursor.next().unwrap(), None);
        assert_eq!(cursor.current(), None);
        for expected in self.model.iter().rev() {
            assert_same(&cursor.prev().unwrap().expect("invariant: an entry"), expected);
        }
        assert_eq!(cursor.prev().unwrap(), None);
    }

    fn check_seeks(&mut self) {
        for _ in 0..if cfg!(miri) { 2 } else { 40 } {
            let key = self.some_key();
            let found = get(&self.store, self.tree.root(), &key).unwrap().is_some();
            assert_eq!(found, self.model.contains_key(&key));
            let mut cursor = Cursor::new(&self.store, self.tree.root());
            let mut at = cursor.seek(&key).unwrap();
            let mut up = self.model.range(key.clone()..);
            for _ in 0..5 {
                let expected = up.next();
                assert_eq!(at.is_some(), expected.is_some());
                at.iter().zip(expected).for_each(|(at, expected)| assert_same(at, expected));
                at = cursor.next().unwrap();
            }
            cursor.seek(&key).unwrap();
            let mut down = self.model.range(..key).rev();
            for _ in 0..5 {
                let (at, expected) = (cursor.prev().unwrap(), down.next());
                assert_eq!(at.is_some(), expected.is_some());
                at.iter().zip(expected).for_each(|(at, expected)| assert_same(at, expected));
            }
        }
    }

    fn empty_it(&mut self) {
        let mut keys: Vec<Vec<u8>> = self.model.keys().cloned().collect();
        while !keys.is_empty() {
            let key = keys.swap_remove(self.random.below(keys.len()));
            assert!(remove(&mut self.store, &mut self.tree, &key).unwrap().is_some());
            self.model.remove(&key);
        }
        assert_eq!(self.tree, Tree::EMPTY);
        assert_eq!(self.store.pages_in_use(), 0);
    }
}

fn assert_same(entry: &Entry<'_>, (key, (content, expires_at)): (&Vec<u8>, &(Content, u64))) {
    assert_eq!(entry.key, key);
    assert_eq!(entry.payload, content.payload());
    assert_eq!(entry.expires_at, *expires_at);
}

fn replaced_of(key: &[u8], old: Option<(Content, u64)>) -> Option<Replaced> {
    let (content, expires_at) = old?;
    Some(Replaced::of(&Entry { key, payload: content.payload(), expires_at }))
}

/// The seeds to run: one given from outside, or these many.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("BRISTLECONE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    }
}

fn histories(page_bytes: usize, seed_count: u64, operations: usize) {
    for seed in seeds(seed_count) {
        for shape in SHAPES {
            let mut history = History::new(seed, shape, page_bytes);
            let batches = if cfg!(miri) { 2 } else { 10 };
            for batch in 0..batches {
                // Grows, then shrinks.
                history.run(operations, if batch * 10 < batches * 6 { 8 } else { 2 });
                history.check();
                history.check_seeks();
                if history.random.below(3) > 0 {
                    history.store.seal();
                }
                if history.random.below(2) > 0 {
                    history.store.collect();
                }
            }
            history.empty_it();
        }
    }
}

#[test]
fn histories_at_4_kib_pages() {
    let (seeds, operations) = if cfg!(miri) { (1, 8) } else { (6, 400) };
    histories(4 << 10, seeds, operations);
}

#[test]
#[cfg_attr(miri, ignore = "the smallest pages stand for all")]
fn histories_at_8_kib_pages() {
    histories(8 << 10, 3, 600);
}

#[test]
#[cfg_attr(miri, ignore = "the smallest pages stand for all")]
fn histories_at_32_kib_pages() {
    histories(32 << 10, 1, 800);
}

/// Pages that are valid by themselves, in places where they do not belong: whatever comes of it, it
/// is not a panic and not an endless loop.
#[test]
fn misplaced_pages_never_panic() {
    for seed in seeds(if cfg!(miri) { 1 } else { 40 }) {
        for shape in SHAPES {
            let mut history = History::new(seed, shape, 4096);
            history.run(if cfg!(miri) { 10 } else { 300 }, 9);
            for round in 0..6 {
                swap_children(&mut history);
                for _ in 0..if cfg!(miri) { 3 } else { 100 } {
                    let key = history.some_key();
                    // Rounds that split pages, and rounds that join them.
                    history.model.remove(&key);
                    let value = vec![1; history.random.below(900)];
                    let entry = Entry { key: &key, payload: Payload::Value(&value), expires_at: 0 };
                    let (store, tree) = (&mut history.store, &mut history.tree);
                    let _ = match history.random.below(8) < if round < 3 { 6 } else { 1 } {
                        true => insert(store, tree, &entry),
                        false => remove(store, tree, &key),
                    };
                    let mut cursor = Cursor::new(store, tree.root());
                    let _ = (cursor.seek(&key), cursor.next(), cursor.prev(), cursor.prev());
                }
            }
        }
    }
}

/// Lets two interior pages of one level, or one page twice over, exchange a child.
fn swap_children(history: &mut History) {
    let mut interiors: Vec<(PageRef, u8)> = Vec::new();
    let mut collect = |seen: Seen<'_>| {
        if let Seen::Page(page) = seen {
            let level = tree_level(history.store.page(page)?).unwrap_or(0);
            interiors.extend((level > 0).then_some((page, level)));
        }
        Ok(())
    };
    // A tree that was damaged before shows what comes before the damage.
    let _ = audit(&history.store, history.tree.root(), true, &mut collect);
    if interiors.is_empty() {
        return;
    }
    let (one, level) = interiors[history.random.below(interiors.len())];
    let peers = interiors.iter().filter(|(_, other)| *other == level);
    let peers: Vec<PageRef> = peers.map(|(page, _)| *page).collect();
    let other = peers[history.random.below(peers.len())];
    let mut pick = |page: PageRef| {
        let view = Interior::new(history.store.page(page).unwrap());
        let index = history.random.below(view.count() + 1);
        (index, view.child(index))
    };
    let ((at_one, from_one), (at_other, from_other)) = (pick(one), pick(other));
    InteriorMut::new(history.store.raw(one.id)).set_child(at_one, from_other);
    InteriorMut::new(history.store.raw(other.id)).set_child(at_other, from_one);
}
