//! One pass over all buckets, in steps that any other transaction may come between.
//!
//! Where it stands is told by names of buckets and a key, not by pages, which change. Whatever is
//! created behind it while it runs is not looked at; what is dropped is left out.

use crate::error::Result;
use crate::tree::{self, Wish};
use crate::txn::{Pin, Store, WriteTxn};
use std::sync::Arc;

use super::buckets::{is_entered, root_of};
use super::{CompactProgress, begin, ceiling, runs};

/// How many passes there are at least: for the progress.
const PASSES: u64 = 2;

/// Runs of up to so many parts of the leaves of a step are moved within it. A leaf may refer to
/// more than a hundred, and all of one leaf are moved at once.
const RUN_PART: u32 = 16;

/// A bucket that the pass is in.
#[derive(Debug)]
struct Frame {
    /// Its name in the one above; empty for the root.
    name: Vec<u8>,
    /// The first key not looked at; `None` when there is no more.
    next: Option<Vec<u8>>,
    /// Buckets of what was looked at, still to be entered.
    buckets: Vec<Vec<u8>>,
}

impl Frame {
    fn new(name: Vec<u8>) -> Frame {
        Frame { name, next: Some(Vec::new()), buckets: Vec::new() }
    }
}

/// A pass under way.
#[derive(Debug)]
pub(super) struct Pass {
    /// The buckets it is in, the root first; empty behind the last.
    frames: Vec<Frame>,
    /// The first of the expiries not looked at, which come last; `None` when there is no more.
    due: Option<Vec<u8>>,
    wish: Wish,
    /// Where new content is to lie below.
    pub(super) ceiling: u32,
    /// 0 for the pass that fills leaves, then that of those that move.
    pub(super) round: u32,
    /// Pages written.
    pub(super) written: u64,
    pages_done: u64,
    pages_total: u64,
}

impl Pass {
    /// Round 0 makes leaves full, the others move what lies beyond the length that the file needs.
    pub(super) fn new(store: &Store, round: u32) -> Pass {
        let step = store.options.compact_pages;
        let wish = Wish {
            leaves_max: step,
            pages_max: 2 * step as u64,
            full: round == 0,
            below: u32::MAX,
            run_pages_max: step as u32 / RUN_PART,
            copied: None,
        };
        let frames = vec![Frame::new(Vec::new())];
        let (written, pages_done, pages_total) = (0, 0, 0);
        let due = Some(Vec::new());
        let mut pass =
            Pass { frames, due, wish, ceiling: 0, round, written, pages_done, pages_total };
        pass.aim(store);
        pass.pages_total = u64::from(pass.ceiling);
        pass
    }

    /// The pass after this one.
    pub(super) fn next(&self, store: &Store) -> Pass {
        Pass { pages_total: self.pages_total, ..Pass::new(store, self.round + 1) }
    }

    /// Takes the length that the file needs now for the one to come to.
    pub(super) fn aim(&mut self, store: &Store) {
        self.ceiling = ceiling(store);
        if self.round > 0 {
            self.wish.below = self.ceiling;
        }
    }

    /// Of the length of the file it knows nothing.
    pub(super) fn progress(&self) -> CompactProgress {
        let before = u64::from(self.round) * self.pages_total;
        let pages_total = PASSES * self.pages_total;
        CompactProgress {
            pages_done: (before + self.pages_done.min(self.pages_total)).min(pages_total),
            pages_total,
            file_bytes: 0,
        }
    }

    /// Goes to what is to be looked at next; false at the end.
    pub(super) fn advance(&mut self) -> bool {
        while let Some(frame) = self.frames.last_mut() {
            if let Some(name) = frame.buckets.pop() {
                self.frames.push(Frame::new(name));
                return true;
            }
            if frame.next.is_some() {
                return true;
            }
            self.frames.pop();
        }
        self.due.is_some()
    }

    /// Looks at some leaves of the list of expiries.
    fn step_due(&mut self, store: &Arc<Store>) -> Result<()> {
        let Some(from) = self.due.take() else { return Ok(()) };
        let mut txn = begin(store)?;
        let window = txn.compact_due(&from, &self.wish)?;
        if window.written > 0 {
            txn.replace_tip()?;
        } else {
            txn.rollback();
        }
        self.due = window.next;
        self.written += window.written;
        self.pages_done += window.leaves as u64;
        Ok(())
    }

    /// Looks at some leaves of one bucket.
    pub(super) fn step(&mut self, store: &Arc<Store>) -> Result<()> {
        if self.frames.is_empty() {
            return self.step_due(store);
        }
        let next = self.frames.last_mut().and_then(|frame| frame.next.take());
        let Some(from) = next else { return Ok(()) };
        // A hint: whoever needs a damaged page will tell of it.
        let _told_later = self.touch(store, &from);
        let mut txn = begin(store)?;
        if !self.enter(&mut txn)? {
            return Ok(());
        }
        let window = txn.compact_here(&from, &self.wish)?;
        if window.written > 0 {
            txn.replace_tip()?;
        } else {
            txn.rollback();
        }
        if let Some(frame) = self.frames.last_mut() {
            (frame.next, frame.buckets) = (window.next, window.buckets);
        }
        self.written += window.written;
        self.pages_done += window.leaves as u64;
        for run in &window.long_runs {
            let bucket: Vec<&[u8]> = self.names().collect();
            self.written += runs::move_run(store, &bucket, run, &self.wish)?;
        }
        Ok(())
    }

    /// The names of the buckets it is in, the root left out.
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().skip(1).map(|frame| &frame.name[..])
    }

    /// Enters the buckets that the pass is in; false, and leaves the others, where one of them is
    /// not there any more.
    fn enter(&mut self, txn: &mut WriteTxn) -> Result<bool> {
        for depth in 1..self.frames.len() {
            if !is_entered(txn.enter(&self.frames[depth].name))? {
                self.frames.truncate(depth);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads what the step will look at, so that no writer waits for the device.
    fn touch(&self, store: &Store, from: &[u8]) -> Result<()> {
        let pin = Pin::labelled(store, "compaction")?;
        let root = root_of(store, &pin, self.names());
        let touched = root.and_then(|root| tree::touch(&store.memory, root, from, &self.wish));
        pin.release(store);
        touched
    }
}
