//! The writer's seat: who sits there is the one writer.
//!
//! Invariants:
//! 1. One writer sits there at a time, and owns the [`Writer`] while it does.
//! 2. Whoever sleeps for the seat is woken when it becomes free.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ids::Epoch;
use crate::pager::{Arena, Retired, Waiting};
use crate::sync::{Condvar, Mutex};
use crate::wal::{Room, Sequence};

use super::lent::Lent;
use super::level::Stack;
use super::root::Root;

/// Looks at a taken seat before a thread goes to sleep: a small transaction takes some
/// microseconds, and so does falling asleep.
const LOOKS: u32 = if cfg!(loom) { 0 } else { 100 };

/// Pages that a transaction took and gave up.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// First unit of the arena and count of all that was allocated and not given back.
    pub(super) allocated: Vec<(u32, u32)>,
    /// Single pages of `allocated` that the transaction dropped again: used first.
    pub(super) spare: Vec<u32>,
    /// The memory of overlays likewise.
    pub(super) spare_units: Vec<u32>,
    /// Runs likewise; freed when the transaction ends.
    pub(super) spare_runs: Vec<(u32, u32)>,
    /// Pages of earlier transactions that this one no longer reaches.
    pub(super) retired: Vec<Retired>,
}

impl Lists {
    /// Forgets everything, and keeps the memory of the lists.
    pub(super) fn clear(&mut self) {
        self.allocated.clear();
        self.spare.clear();
        self.spare_units.clear();
        self.spare_runs.clear();
        self.retired.clear();
    }
}

/// What the one writer owns while it sits on the [`WriterSeat`].
#[derive(Debug)]
pub(crate) struct Writer {
    /// The root that the next transaction starts from: appended, perhaps not yet durable.
    pub(crate) tip: Root,
    pub(crate) arena: Arena,
    /// File pages that were dropped since the seat was taken. Like those of the arena they stay at
    /// the seat when it is left.
    pub(crate) freed: Vec<Retired>,
    /// File pages that transactions wrote to since then, or may.
    pub(crate) lent: Lent,
    /// Room in the log for the records that follow.
    pub(crate) log_room: Room,
    /// The number that the log gives to the record appended last.
    pub(crate) sequence: Sequence,
    /// The last epoch before those of the flush group that this record is in.
    pub(crate) group_floor: Epoch,
    /// The lists of the open transaction; empty, and kept for their memory, when there is none.
    pub(crate) lists: Lists,
    /// Memory for the next transaction: its record, its open buckets.
    pub(crate) record: Vec<u8>,
    pub(crate) stack: Stack,
    /// Set when the database is closed: what is appended after the last checkpoint, which says
    /// that the log ends there, would be lost.
    pub(crate) closed: bool,
}

/// The place of the one writer. Who takes it owns the [`Writer`] until the guard is dropped; an
/// owned guard, unlike a lock's, needs no lifetime in the transaction that holds it.
#[derive(Debug)]
pub(crate) struct WriterSeat {
    seat: Mutex<Seat>,
    /// Signalled when the seat becomes free and somebody sleeps for it.
    free: Condvar,
    /// A hint for those who look before they sleep.
    is_taken: AtomicBool,
}

#[derive(Debug)]
struct Seat {
    /// `None` while somebody sits there.
    writer: Option<Box<Writer>>,
    /// Here and not with the writer, so that it can be looked at while somebody sits there.
    waiting: Waiting,
    /// Threads that sleep until it is free. Waking nobody is a system call too.
    sleepers: usize,
}

impl WriterSeat {
    /// A free seat.
    pub(crate) fn new(writer: Writer) -> WriterSeat {
        WriterSeat {
            seat: Mutex::new(Seat {
                writer: Some(Box::new(writer)),
                waiting: Waiting::default(),
                sleepers: 0,
            }),
            free: Condvar::new(),
            is_taken: AtomicBool::new(false),
        }
    }

    /// Waits until the seat is free and takes it.
    pub(super) fn take(&self) -> Box<Writer> {
        for _ in 0..LOOKS {
            if !self.is_taken.load(Ordering::Relaxed) {
                break;
            }
            spin_loop();
        }
        let mut seat = self.seat.lock();
        loop {
            if let Some(writer) = seat.writer.take() {
                self.is_taken.store(true, Ordering::Relaxed);
                return writer;
            }
            seat.sleepers += 1;
            self.free.wait(&mut seat);
            seat.sleepers -= 1;
        }
    }

    /// Does something with the pages that wait, whoever sits there: those that the transaction
    /// under way has retired are not among them. Takes no lock while it does.
    pub(crate) fn with_waiting<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.seat.lock().waiting)
    }

    /// Gives the seat back.
    pub(super) fn leave(&self, mut writer: Option<Box<Writer>>) {
        let mut seat = self.seat.lock();
        if let Some(writer) = &mut writer {
            writer.arena.leave_retired(&mut seat.waiting.units);
            seat.waiting.pages.append(&mut writer.freed);
        }
        seat.writer = writer;
        self.is_taken.store(false, Ordering::Relaxed);
        let sleepers = seat.sleepers;
        drop(seat);
        if sleepers > 0 {
            self.free.notify_one();
        }
    }
}
