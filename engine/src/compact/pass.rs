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

/// A bucket that the pass is in.
#[derive(Debug, Default)]
pub(super) struct Frame {
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
    /// The buckets it is in, the root first; empty at the end.
    frames: Vec<Frame>,
    wish: Wish,
    /// Where new content is to lie below.
    pub(super) ceiling: u32,
    /// 0 for the pass that fills leaves, then that of those that move.
    pub(super) round: u32,
    /// Memory that may be used before a checkpoint writes it.
    memory_bytes: u64,
    pages_done: u64,
    pages_total: u64,
}

impl Pass {
    /// Makes leaves full.
    pub(super) fn to_fill(store: &Store) -> Pass {
        Pass::new(store, u32::MAX, 0)
    }

    /// Moves what lies beyond the length that the file needs.
    pub(super) fn to_move(store: &Store, round: u32) -> Pass {
        Pass::new(store, ceiling(store), round)
    }

    fn new(store: &Store, below: u32, round: u32) -> Pass {
        let step = store.options.compact_pages;
        let wish = Wish {
            leaves_max: step,
            pages_max: 2 * step as u64,
            full: round == 0,
            below,
            run_pages_max: step as u32 / 4,
            copied: None,
        };
        let ceiling = ceiling(store);
        Pass {
            frames: vec![Frame::new(Vec::new())],
            wish,
            ceiling,
            round,
            memory_bytes: 16 * step as u64 * store.memory.page_bytes() as u64,
            pages_done: 0,
            pages_total: u64::from(ceiling),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Of the length of the file it knows nothing.
    pub(super) fn progress(&self) -> CompactProgress {
        let before = u64::from(self.round.min(1)) * self.pages_total;
        CompactProgress {
            pages_done: before + self.pages_done.min(self.pages_total),
            pages_total: PASSES * self.pages_total,
            file_bytes: 0,
        }
    }

    /// Looks at some leaves; tells how many pages were written.
    pub(super) fn step(&mut self, store: &Arc<Store>) -> Result<u64> {
        // A hint: whoever needs a damaged page will tell of it.
        let _told_later = self.touch(store);
        let mut txn = begin(store)?;
        self.enter(&mut txn)?;
        let (mut written, mut looked_at, mut long_runs) = (0, 0, Vec::new());
        let is_short =
            |looked_at, written| looked_at < self.wish.leaves_max && written < self.wish.pages_max;
        while is_short(looked_at, written) && long_runs.is_empty() {
            let depth = self.frames.len();
            let Some(frame) = self.frames.last_mut() else { break };
            // To enter a bucket is worth a leaf.
            looked_at += 1;
            if let Some(name) = frame.buckets.pop() {
                if is_entered(txn.enter(&name))? {
                    self.frames.push(Frame::new(name));
                }
            } else if let Some(from) = frame.next.take() {
                let window = txn.compact_here(&from, &self.wish)?;
                (frame.next, frame.buckets) = (window.next, window.buckets);
                written += window.written;
                looked_at += window.leaves;
                self.pages_done += window.leaves as u64;
                long_runs = window.long_runs;
            } else {
                self.frames.pop();
                txn.return_to(depth.saturating_sub(1).max(1))?;
            }
        }
        match written {
            0 => drop(txn),
            _ => txn.replace_tip()?,
        }
        let bucket: Vec<&[u8]> = self.names().collect();
        for run in &long_runs {
            written += runs::move_run(store, &bucket, run, &self.wish)?;
        }
        Ok(written)
    }

    /// The names of the buckets it is in, the root left out.
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().skip(1).map(|frame| &frame.name[..])
    }

    /// Enters the buckets that the pass is in, as far as they are still there.
    fn enter(&mut self, txn: &mut WriteTxn) -> Result<()> {
        for depth in 1..self.frames.len() {
            if !is_entered(txn.enter(&self.frames[depth].name))? {
                self.frames.truncate(depth);
                break;
            }
        }
        Ok(())
    }

    /// Reads the leaves that the next step will look at, so that no writer waits for the device.
    fn touch(&self, store: &Store) -> Result<()> {
        let from = self.frames.last().and_then(|frame| frame.next.as_deref());
        let Some(from) = from else { return Ok(()) };
        let pin = Pin::new(store)?;
        let root = root_of(store, &pin, self.names());
        let touched = root.and_then(|root| tree::touch(&store.memory, root, from, &self.wish));
        pin.release(store);
        touched
    }
}
