//! The operations that changed a disk, in order, and their replay.
//!
//! Never records reads, locks or operations that changed nothing.
//!
//! Invariants:
//! 1. Replaying all events on the base gives the state that the disk had after the last.
//! 2. An event is what truly happened, faults included; what the caller was told is beside it.

use std::fmt;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use super::volume::{NodeId, Synced, Volume};

/// What a disk passes on to its images.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) now_ms: u64,
    pub(super) monotonic_ms: u64,
    pub(super) reserve_bytes_max: usize,
    pub(super) capacity: Option<u64>,
}

/// Bytes of one write.
#[derive(Clone)]
pub struct Written(Arc<[u8]>);

impl Deref for Written {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Written {
    fn from(bytes: &[u8]) -> Written {
        Written(Arc::from(bytes))
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A failed assertion prints whole traces; nobody reads pages in them.
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// What an operation did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Created a directory.
    CreateDir,
    /// Created a file.
    CreateFile,
    /// Wrote to a file.
    Write {
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Written,
        /// Whether it is durable as soon as it is done.
        durable: bool,
    },
    /// Reported a write that went nowhere, or elsewhere; the file grew as if it had been done.
    LostWrite {
        /// Where it was meant to go, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// Cut or extended a file to this length.
    SetLen(u64),
    /// Extended a file to this length, with its blocks allocated.
    Allocate(u64),
    /// Synced a file.
    Sync(Synced),
    /// Synced a directory.
    SyncDir(Synced),
    /// Renamed a file or directory.
    Rename {
        /// Its new path.
        to: Arc<Path>,
    },
    /// Removed a file.
    RemoveFile,
    /// Removed a directory.
    RemoveDir,
    /// Dropped what was cached of a file's first bytes, after a sync that failed.
    Forget {
        /// How many.
        bytes: u64,
    },
    /// Flipped bits, in the cache and on the device.
    Corrupt {
        /// Which byte.
        offset: u64,
        /// Which bits of it.
        mask: u8,
    },
    /// A note of the test.
    Mark(u64),
}

/// One operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Its place in the trace, from zero.
    pub index: usize,
    /// What it was done to: absolute, before a rename; `/` for a mark.
    pub path: Arc<Path>,
    /// What it did.
    pub action: Action,
    /// The error that was returned, though the action was done.
    pub errno: Option<i32>,
    /// The disk's clock.
    pub now_ms: u64,
    pub(super) node: NodeId,
}

impl Event {
    /// The range of the file that was written, for writes.
    #[must_use]
    pub fn written(&self) -> Option<Range<u64>> {
        match &self.action {
            Action::Write { offset, bytes, .. } => Some(*offset..*offset + bytes.len() as u64),
            _ => None,
        }
    }

    /// The tag, for marks.
    #[must_use]
    pub fn mark(&self) -> Option<u64> {
        match self.action {
            Action::Mark(tag) => Some(tag),
            _ => None,
        }
    }
}

/// All that changed a disk since its trace was started.
#[derive(Clone)]
pub struct Trace {
    /// The disk when the trace was started.
    pub(super) base: Volume,
    pub(super) settings: Settings,
    pub(super) events: Vec<Event>,
}

impl Trace {
    /// The operations, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.events).finish()
    }
}

impl Volume {
    /// Does what an operation has done before it returns, all of it unsynced.
    pub(super) fn begin(&mut self, event: &Event) {
        let node = event.node;
        let done = match &event.action {
            Action::CreateDir => self.create(&event.path, node, true),
            Action::CreateFile => self.create(&event.path, node, false),
            Action::Rename { to } => self.rename(&event.path, to),
            Action::RemoveFile => self.remove(&event.path, false),
            Action::RemoveDir => self.remove(&event.path, true),
            Action::Sync(_) | Action::SyncDir(_) | Action::Mark(_) => Ok(()),
            action => {
                let content = self.content_mut(node);
                match action {
                    Action::Write { offset, bytes, .. } => content.write(*offset, bytes),
                    Action::LostWrite { offset, len } => content.extend(offset + len),
                    Action::SetLen(len) => content.set_len(*len),
                    Action::Allocate(len) => content.allocate(*len),
                    Action::Forget { bytes } => drop(content.forget_cached(*bytes)),
                    Action::Corrupt { offset, mask } => content.corrupt(*offset, *mask),
                    _ => unreachable!("all others were matched above"),
                }
                Ok(())
            }
        };
        done.expect("invariant: what was recorded can be repeated");
    }

    /// Does what an operation has done once it has returned.
    pub(super) fn finish(&mut self, event: &Event) {
        match &event.action {
            Action::Write { offset, bytes, durable: true } => {
                self.content_mut(event.node).sync_range(*offset, bytes.len());
            }
            Action::Sync(synced) => self.sync_file(event.node, *synced),
            Action::SyncDir(synced) => {
                self.sync_dir(event.node, *synced);
            }
            _ => {}
        }
    }
}
