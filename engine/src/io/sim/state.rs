//! What one simulated disk holds behind its lock: the volume, the clock, faults, locks and trace.
//!
//! Each operation passes the faults first, then changes the volume, then is recorded.
//!
//! Invariants:
//! 1. A number of the volume is released only when nobody has it open or locked.
//! 2. The same seed and the same calls give the same results.

use std::io::Result;
use std::path::Path;
use std::sync::Arc;

use super::errno::{EFBIG, EIO, ENOSPC, failure};
use super::fault::{Fault, FaultPlan, OpKind, Stats};
use super::image::{CHUNK_BYTES, SECTOR_BYTES};
use super::random::Random;
use super::trace::{Action, Event, Settings, Trace, Written};
use super::volume::{NodeId, Synced, Volume};

/// Largest file: the simulation keeps a table of all chunks before the last one written.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// The disk behind the handles.
pub(super) struct State {
    pub(super) volume: Volume,
    pub(super) settings: Settings,
    /// What [`super::super::Host::random`] gives.
    pub(super) random: Random,
    /// Decides faults, apart from the numbers that the engine sees.
    chance: Random,
    pub(super) powered: bool,
    pub(super) locks: Vec<NodeId>,
    /// Handles of each number of the volume.
    open: Vec<u32>,
    pub(super) trace: Option<Trace>,
    pub(super) faults: Vec<FaultPlan>,
    pub(super) stats: Stats,
}

impl State {
    pub(super) fn new(volume: Volume, seed: u64, settings: Settings) -> State {
        State {
            volume,
            settings,
            random: Random::new(seed),
            chance: Random::new(!seed),
            powered: true,
            locks: Vec::new(),
            open: Vec::new(),
            trace: None,
            faults: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Counts an operation and finds the fault that hits it. Errors if that refuses it.
    pub(super) fn enter(&mut self, kind: OpKind, path: &Path) -> Result<Option<Fault>> {
        if !self.powered {
            return failure(EIO);
        }
        self.stats.count(kind);
        let mut hit = None;
        for plan in &mut self.faults {
            hit = hit.or(plan.strike(kind, path));
        }
        self.stats.faults += u64::from(hit.is_some());
        match hit {
            Some(Fault::Refuse(errno)) => failure(errno),
            Some(Fault::Tear(errno)) if matches!(kind, OpKind::Read | OpKind::Open) => {
                failure(errno)
            }
            hit => Ok(hit),
        }
    }

    pub(super) fn record(&mut self, path: &Arc<Path>, node: NodeId, action: Action, errno: Errno) {
        let now_ms = self.settings.now_ms;
        if let Some(trace) = &mut self.trace {
            let index = trace.events.len();
            trace.events.push(Event { index, path: Arc::clone(path), action, errno, now_ms, node });
        }
    }

    pub(super) fn create(&mut self, path: &Path, is_dir: bool) -> Result<NodeId> {
        let fault = self.enter(OpKind::Create, path)?;
        let errno = self.torn(fault)?;
        let node = self.volume.vacant();
        self.volume.create(path, node, is_dir)?;
        let action = if is_dir { Action::CreateDir } else { Action::CreateFile };
        let path = Arc::clone(self.volume.path(node));
        self.record(&path, node, action, errno);
        errno.map_or(Ok(node), failure)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let fault = self.enter(OpKind::Rename, from)?;
        let errno = self.torn(fault)?;
        let node = self.volume.lookup(from)?;
        let path = Arc::clone(self.volume.path(node));
        self.volume.rename(from, to)?;
        let to = Arc::clone(self.volume.path(node));
        self.record(&path, node, Action::Rename { to }, errno);
        errno.map_or(Ok(()), failure)
    }

    pub(super) fn remove(&mut self, path: &Path, is_dir: bool) -> Result<()> {
        let fault = self.enter(OpKind::Remove, path)?;
        let errno = self.torn(fault)?;
        let node = self.volume.lookup(path)?;
        self.volume.remove(path, is_dir)?;
        let action = if is_dir { Action::RemoveDir } else { Action::RemoveFile };
        let path = Arc::clone(self.volume.path(node));
        self.record(&path, node, action, errno);
        errno.map_or(Ok(()), failure)
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> Result<()> {
        let fault = self.enter(OpKind::SyncDir, path)?;
        self.volume.list(path)?;
        let dir = self.volume.lookup(path)?;
        let synced = self.synced(fault);
        self.settle_dir(dir, synced, fault.and_then(Fault::errno));
        fault.and_then(Fault::errno).map_or(Ok(()), failure)
    }

    fn settle_dir(&mut self, dir: NodeId, synced: Synced, errno: Errno) {
        let path = Arc::clone(self.volume.path(dir));
        for dead in self.volume.sync_dir(dir, synced) {
            self.release_if_dead(dead);
        }
        self.record(&path, dir, Action::SyncDir(synced), errno);
    }

    pub(super) fn read(&mut self, node: NodeId, buf: &mut [u8], offset: u64) -> Result<()> {
        let path = Arc::clone(self.volume.path(node));
        self.stats.bytes_read += buf.len() as u64;
        self.enter(OpKind::Read, &path)?;
        let image = self.volume.content(node).cached();
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > image.len()) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        image.read(buf, offset);
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        node: NodeId,
        bytes: &[u8],
        offset: u64,
        durable: bool,
    ) -> Result<()> {
        let path = Arc::clone(self.volume.path(node));
        self.stats.bytes_written += bytes.len() as u64;
        let kind = if durable { OpKind::WriteDurable } else { OpKind::Write };
        let fault = self.enter(kind, &path)?;
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > FILE_BYTES_MAX) {
            return failure(EFBIG);
        }
        let mut errno = fault.and_then(Fault::errno);
        let mut written = bytes;
        let mut offset = offset;
        match fault {
            Some(Fault::Tear(_)) => written = &bytes[..self.part(bytes.len())],
            Some(Fault::LoseWrite | Fault::Misdirect) => {
                let len = bytes.len() as u64;
                self.volume.content_mut(node).extend(offset + len);
                self.record(&path, node, Action::LostWrite { offset, len }, None);
                match self.elsewhere(node, offset, len) {
                    Some(other) if fault == Some(Fault::Misdirect) => offset = other,
                    _ => return Ok(()),
                }
            }
            _ => {}
        }
        let room = self.room();
        let fits = self.volume.content(node).writable(offset, written.len(), room);
        if fits < written.len() {
            written = &written[..fits];
            errno = errno.or(Some(ENOSPC));
        }
        let done = durable && fault != Some(Fault::Lie) && errno.is_none();
        self.put(node, offset, written, done, errno);
        // Where the cache was written and then failed to sync, it counts as clean all the same.
        if durable && matches!(fault, Some(Fault::Tear(_))) && self.chance.chance(128) {
            let synced = Synced::Torn(self.chance.next());
            self.volume.sync_file(node, synced);
            self.record(&path, node, Action::Sync(synced), errno);
        }
        errno.map_or(Ok(()), failure)
    }

    /// Writes and records, past all faults.
    pub(super) fn put(
        &mut self,
        node: NodeId,
        offset: u64,
        bytes: &[u8],
        durable: bool,
        errno: Errno,
    ) {
        if bytes.is_empty() {
            return;
        }
        let content = self.volume.content_mut(node);
        content.write(offset, bytes);
        if durable {
            content.sync_range(offset, bytes.len());
        }
        if self.trace.is_some() {
            let path = Arc::clone(self.volume.path(node));
            let action = Action::Write { offset, bytes: Written::from(bytes), durable };
            self.record(&path, node, action, errno);
        }
    }

    /// Cuts or extends; with `allocate` also takes the space.
    pub(super) fn resize(&mut self, node: NodeId, len: u64, allocate: bool) -> Result<()> {
        let path = Arc::clone(self.volume.path(node));
        let fault = self.enter(OpKind::Resize, &path)?;
        let errno = self.torn(fault)?;
        if len > FILE_BYTES_MAX {
            return failure(EFBIG);
        }
        if allocate && self.volume.content(node).allocation(len) > self.room() {
            return failure(ENOSPC);
        }
        let content = self.volume.content_mut(node);
        let action = if allocate {
            content.allocate(len);
            Action::Allocate(len)
        } else {
            content.set_len(len);
            Action::SetLen(len)
        };
        self.record(&path, node, action, errno);
        errno.map_or(Ok(()), failure)
    }

    pub(super) fn sync(&mut self, node: NodeId) -> Result<()> {
        let path = Arc::clone(self.volume.path(node));
        let fault = self.enter(OpKind::Sync, &path)?;
        let synced = self.synced(fault);
        let errno = fault.and_then(Fault::errno);
        self.volume.sync_file(node, synced);
        self.record(&path, node, Action::Sync(synced), errno);
        errno.map_or(Ok(()), failure)
    }

    pub(super) fn forget_cached(&mut self, node: NodeId, bytes: u64) -> Result<()> {
        if !self.powered {
            return failure(EIO);
        }
        if self.volume.content_mut(node).forget_cached(bytes) {
            let path = Arc::clone(self.volume.path(node));
            self.record(&path, node, Action::Forget { bytes }, None);
        }
        Ok(())
    }

    pub(super) fn corrupt(&mut self, path: &Path, offset: u64, mask: u8) -> Result<()> {
        let node = self.volume.lookup_file(path)?;
        if offset >= self.volume.content(node).cached().len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.volume.content_mut(node).corrupt(offset, mask);
        let path = Arc::clone(self.volume.path(node));
        self.record(&path, node, Action::Corrupt { offset, mask }, None);
        Ok(())
    }

    /// Makes a file of these bytes, durable with its name, past all faults.
    pub(super) fn write_file(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let found = self.volume.lookup_file(path);
        let node = found.as_ref().map_or_else(|_| self.volume.vacant(), |&node| node);
        if found.is_err() {
            self.volume.create(path, node, false)?;
        }
        let shared = Arc::clone(self.volume.path(node));
        if found.is_err() {
            self.record(&shared, node, Action::CreateFile, None);
        }
        self.volume.content_mut(node).set_len(0);
        self.record(&shared, node, Action::SetLen(0), None);
        self.put(node, 0, bytes, false, None);
        self.volume.sync_file(node, Synced::All);
        self.record(&shared, node, Action::Sync(Synced::All), None);
        let parent = path.parent().unwrap_or(Path::new("/"));
        let dir = self.volume.lookup(parent)?;
        self.settle_dir(dir, Synced::All, None);
        Ok(())
    }

    /// Counts a handle.
    pub(super) fn hold(&mut self, node: NodeId) {
        if self.open.len() <= node {
            self.open.resize(node + 1, 0);
        }
        self.open[node] += 1;
    }

    /// Counts a handle less.
    pub(super) fn let_go(&mut self, node: NodeId) {
        self.open[node] -= 1;
        self.release_if_dead(node);
    }

    /// Bytes of the disk that files take.
    pub(super) fn space(&self) -> u64 {
        self.volume.space(|node| self.is_closed(node))
    }

    fn is_closed(&self, node: NodeId) -> bool {
        self.open.get(node).is_none_or(|&handles| handles == 0)
    }

    fn release_if_dead(&mut self, node: NodeId) {
        if self.is_closed(node) && self.volume.is_dead(node) {
            self.volume.release(node);
        }
    }

    fn room(&self) -> u64 {
        match self.settings.capacity {
            Some(capacity) => capacity.saturating_sub(self.space()),
            None => u64::MAX,
        }
    }

    /// For an operation that is done or not: errors if a fault hit and it was not done.
    fn torn(&mut self, fault: Option<Fault>) -> Result<Errno> {
        match fault.and_then(Fault::errno) {
            Some(errno) if self.chance.chance(128) => failure(errno),
            errno => Ok(errno),
        }
    }

    fn synced(&mut self, fault: Option<Fault>) -> Synced {
        match fault {
            Some(Fault::Tear(_)) => Synced::Torn(self.chance.next()),
            Some(Fault::Lie) => Synced::Nothing,
            _ => Synced::All,
        }
    }

    /// How much of a failing write is applied: often nothing or all, else some first sectors.
    fn part(&mut self, len: usize) -> usize {
        match self.chance.below(4) {
            0 => 0,
            1 => len,
            _ => {
                let sectors = len.div_ceil(SECTOR_BYTES) as u64;
                (self.chance.below(sectors + 1) as usize * SECTOR_BYTES).min(len)
            }
        }
    }

    /// Another page of the file that a write can land on.
    fn elsewhere(&mut self, node: NodeId, offset: u64, len: u64) -> Option<u64> {
        let page = CHUNK_BYTES as u64;
        let pages = (self.volume.content(node).cached().len() - len) / page + 1;
        let drawn = self.chance.below(pages);
        let other = if drawn * page == offset { (drawn + 1) % pages } else { drawn };
        (other * page != offset).then_some(other * page)
    }
}

/// The error that an operation returned though it was done.
pub(super) type Errno = Option<i32>;
