//! The handles of a simulated disk: the host that the engine runs on, and what tests do to it.
//!
//! Never blocks but on its own lock, and keeps no state outside of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Result;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::super::{File, Host, Lock, OpenMode, Region};
use super::errno::{EBADF, EINVAL, EIO, failure};
use super::fault::{FaultPlan, OpKind, Stats};
use super::pick::Dice;
use super::state::State;
use super::trace::{Action, Settings, Trace};
use super::volume::{NodeId, Volume};
use crate::limits::WAL_BLOCK_BYTES;

/// The clock of a new disk: the first millisecond of 2026.
pub const START_MS: u64 = 1_767_225_600_000;
/// The clock that only counts, of a new disk; and how often it ticks, as that of a slow kernel.
const MONOTONIC_START_MS: u64 = 1000;
const TICK_MS: u64 = 10;
/// Page memory of a new disk's host.
const RESERVE_BYTES_MAX: usize = 8 << 20;

/// A disk in memory. Clones are handles of the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk: the root directory `/` alone. The seed decides [`Host::random`] and what
    /// faults do.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        let settings = Settings {
            now_ms: START_MS,
            monotonic_ms: MONOTONIC_START_MS,
            reserve_bytes_max: RESERVE_BYTES_MAX,
            capacity: None,
        };
        SimDisk::with(Volume::new(), seed, settings)
    }

    pub(super) fn with(volume: Volume, seed: u64, settings: Settings) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(State::new(volume, seed, settings))) }
    }

    /// Sets the clock, in milliseconds since 1970.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.lock_state().settings.now_ms = now_ms;
    }

    /// Moves the clock, back if negative.
    pub fn advance_ms(&self, by_ms: i64) {
        let mut state = self.lock_state();
        state.settings.now_ms = state.settings.now_ms.saturating_add_signed(by_ms);
    }

    /// Moves the clock that only counts. The wall clock stays: each is moved by itself, so that
    /// tests can tell which of them is asked.
    pub fn advance_monotonic_ms(&self, by_ms: u64) {
        self.lock_state().settings.monotonic_ms += by_ms;
    }

    /// Bounds [`Host::reserve`], here and in later images. A small bound makes opening fast.
    pub fn set_reserve_bytes_max(&self, bytes: usize) {
        self.lock_state().settings.reserve_bytes_max = bytes;
    }

    /// Bounds the bytes that files can take together, here and in later images.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().settings.capacity = bytes;
    }

    /// Adds a fault. Each counts the operations for itself, from now; of several that hit one
    /// operation the oldest acts.
    pub fn fail(&self, plan: FaultPlan) {
        self.lock_state().faults.push(plan);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.lock_state().faults.clear();
    }

    /// Ends the run: from now on each call of the engine fails with `EIO` and changes nothing.
    pub fn power_off(&self) {
        self.lock_state().powered = false;
    }

    /// A disk as a power cut at this moment may leave it; the seed decides which of the possible
    /// ones. Nothing is pending, open or locked there.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimDisk {
        let state = self.lock_state();
        SimDisk::with(state.volume.outcome(&mut Dice::new(seed)), seed, state.settings.clone())
    }

    /// A disk as the death of the process leaves it: everything written is there, what was not
    /// synced is still pending, nothing is open or locked, no fault is planned.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        let state = self.lock_state();
        let seed = state.random.clone().next();
        SimDisk::with(state.volume.clone(), seed, state.settings.clone())
    }

    /// Records from now on, beginning with an empty trace.
    pub fn start_trace(&self) {
        let mut state = self.lock_state();
        state.trace = Some(Trace {
            base: state.volume.clone(),
            settings: state.settings.clone(),
            events: Vec::new(),
        });
    }

    /// What was recorded so far, if anything is being recorded.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        self.lock_state().trace.clone()
    }

    /// Ends the recording and returns it.
    #[must_use]
    pub fn take_trace(&self) -> Option<Trace> {
        self.lock_state().trace.take()
    }

    /// Notes in the trace that something happened, for example that a commit was acknowledged.
    pub fn mark(&self, tag: u64) {
        let root = Arc::from(Path::new("/"));
        self.lock_state().record(&root, 0, Action::Mark(tag), None);
    }

    /// Flips the bits of `mask` in the byte at `offset`, in the cache and on the device. The same
    /// call again repairs it.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, mask: u8) -> Result<()> {
        self.lock_state().corrupt(path.as_ref(), offset, mask)
    }

    /// Replaces bytes, in the cache and on the device.
    pub fn overwrite(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.lock_state();
        let node = state.volume.lookup_file(path.as_ref())?;
        state.put(node, offset, bytes, true, None);
        Ok(())
    }

    /// True when no power cut at this moment can change what is read of the range under this name.
    pub fn is_durable(&self, path: impl AsRef<Path>, range: Range<u64>) -> Result<bool> {
        self.lock_state().volume.is_durable(path.as_ref(), range)
    }

    /// True when no power cut at this moment can take this name from the file or directory.
    pub fn is_entry_durable(&self, path: impl AsRef<Path>) -> Result<bool> {
        self.lock_state().volume.is_entry_durable(path.as_ref())
    }

    /// The whole file, past all faults.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let state = self.lock_state();
        let node = state.volume.lookup_file(path.as_ref())?;
        Ok(state.volume.content(node).cached().to_vec())
    }

    /// Makes a file of these bytes, durable with its name, past all faults.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        self.lock_state().write_file(path.as_ref(), bytes)
    }

    /// All files and directories but the root, with the lengths of the files, by path.
    #[must_use]
    pub fn list_all(&self) -> BTreeMap<PathBuf, Option<u64>> {
        let state = self.lock_state();
        let len = |node| state.volume.content(node).cached().len();
        state.volume.walk().into_iter().map(|(path, node)| (path, node.map(len))).collect()
    }

    /// All files with their bytes, by path.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.lock_state();
        let bytes = |node| state.volume.content(node).cached().to_vec();
        let files = state.volume.walk().into_iter();
        files.filter_map(|(path, node)| Some((path, bytes(node?)))).collect()
    }

    /// The lengths of all files together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.list_all().values().flatten().sum()
    }

    /// Bytes of the disk that files take: holes take none, removed files do while they are open.
    #[must_use]
    pub fn space_bytes(&self) -> u64 {
        self.lock_state().space()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.lock_state().stats
    }

    /// Counts from zero again.
    pub fn reset_stats(&self) {
        self.lock_state().stats = Stats::default();
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn open_file(&self, path: &Path, mode: OpenMode, direct: bool) -> Result<Arc<dyn File>> {
        let mut state = self.lock_state();
        let node = if mode == OpenMode::CreateNew {
            state.create(path, false)?
        } else {
            state.enter(OpKind::Open, path)?;
            state.volume.lookup_file(path)?
        };
        state.hold(node);
        let writable = mode != OpenMode::Read;
        drop(state);
        Ok(Arc::new(SimFile { disk: self.clone(), node, writable, direct }))
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl Host for SimDisk {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.lock_state().create(dir, true).map(drop)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let mut state = self.lock_state();
        state.enter(OpKind::Open, dir)?;
        state.volume.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.open_file(path, mode, false)
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.open_file(path, mode, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.lock_state().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.lock_state().remove(path, false)
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.lock_state().remove(dir, true)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.lock_state().sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        let mut state = self.lock_state();
        state.enter(OpKind::Open, path)?;
        let node = match state.volume.lookup_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                state.create(path, false)?
            }
            found => found?,
        };
        if state.locks.contains(&node) {
            return Ok(None);
        }
        state.locks.push(node);
        state.hold(node);
        drop(state);
        Ok(Some(Box::new(SimLock { disk: self.clone(), node })))
    }

    fn now_ms(&self) -> u64 {
        self.lock_state().settings.now_ms
    }

    fn monotonic_ns(&self) -> u64 {
        self.lock_state().settings.monotonic_ms * 1_000_000
    }

    fn monotonic_tick_ns(&self) -> u64 {
        let now_ms = self.lock_state().settings.monotonic_ms;
        (now_ms - now_ms % TICK_MS) * 1_000_000
    }

    fn sleep_ms(&self, ms: u64) {
        let settings = &mut self.lock_state().settings;
        settings.monotonic_ms = settings.monotonic_ms.saturating_add(ms);
        settings.now_ms = settings.now_ms.saturating_add(ms);
    }

    fn random(&self) -> u64 {
        self.lock_state().random.next()
    }

    fn reserve(&self, bytes: usize) -> Result<Region> {
        let bytes_max = self.lock_state().settings.reserve_bytes_max;
        // Little of it is touched, and an allocator may zero all of it.
        match cfg!(miri) {
            true => Ok(Region::heap(bytes.min(bytes_max))),
            false => Region::anonymous(bytes.min(bytes_max)),
        }
    }

    fn may_spawn(&self) -> bool {
        false
    }
}

/// A held lock; the path's number is kept from being given away.
#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    node: NodeId,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        state.locks.retain(|&node| node != self.node);
        state.let_go(self.node);
    }
}

/// An open file.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    node: NodeId,
    writable: bool,
    /// True for logs: buffers and offsets are checked as strictly as devices may.
    direct: bool,
}

impl SimFile {
    fn check(&self, buf: &[u8], offset: u64, write: bool) -> Result<()> {
        if write && !self.writable {
            return failure(EBADF);
        }
        let aligned = buf.as_ptr().addr().is_multiple_of(WAL_BLOCK_BYTES)
            && buf.len().is_multiple_of(WAL_BLOCK_BYTES)
            && offset.is_multiple_of(WAL_BLOCK_BYTES as u64);
        if self.direct && !aligned { failure(EINVAL) } else { Ok(()) }
    }

    fn resize(&self, len: u64, allocate: bool) -> Result<()> {
        if !self.writable {
            return failure(EBADF);
        }
        self.disk.lock_state().resize(self.node, len, allocate)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.lock_state().let_go(self.node);
    }
}

impl File for SimFile {
    fn len(&self) -> Result<u64> {
        let state = self.disk.lock_state();
        if !state.powered {
            return failure(EIO);
        }
        Ok(state.volume.content(self.node).cached().len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.check(buf, offset, false)?;
        self.disk.lock_state().read(self.node, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.check(buf, offset, true)?;
        self.disk.lock_state().write(self.node, buf, offset, false)
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.check(buf, offset, true)?;
        self.disk.lock_state().write(self.node, buf, offset, true)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.resize(len, true)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.resize(len, false)
    }

    fn sync(&self) -> Result<()> {
        self.disk.lock_state().sync(self.node)
    }

    fn forget_cached(&self, bytes: u64) -> Result<()> {
        self.disk.lock_state().forget_cached(self.node, bytes)
    }

    fn map(&self, _reserve: usize) -> Result<Option<Region>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::errno::ENOSPC;
    use super::super::fault::Fault;
    use super::*;

    fn path(name: &str) -> &Path {
        Path::new(name)
    }

    fn create(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn File> {
        let file = disk.open(path(name), OpenMode::CreateNew).unwrap();
        file.write_at(bytes, 0).unwrap();
        file
    }

    fn kind<T>(result: Result<T>) -> ErrorKind {
        result.map(drop).unwrap_err().kind()
    }

    #[test]
    fn calls_fail_as_those_of_the_operating_system_do() {
        let disk = SimDisk::new(1);
        assert_eq!(kind(disk.open(path("/a"), OpenMode::Read)), ErrorKind::NotFound);
        assert_eq!(kind(disk.create_dir(path("/d/e"))), ErrorKind::NotFound);
        disk.create_dir(path("/d")).unwrap();
        assert_eq!(kind(disk.create_dir(path("/d"))), ErrorKind::AlreadyExists);
        let file = create(&disk, "/d/a", &[1; 100]);
        assert_eq!(kind(disk.open(path("/d/a"), OpenMode::CreateNew)), ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.remove_dir(path("/d"))), ErrorKind::DirectoryNotEmpty);
        assert_eq!(kind(disk.remove_file(path("/d"))), ErrorKind::IsADirectory);
        assert_eq!(kind(disk.list(path("/d/a"))), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.sync_dir(path("/d/a"))), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.rename(path("/d"), path("/d/x"))), ErrorKind::InvalidInput);
        let mut buf = [0; 100];
        assert_eq!(kind(file.read_at(&mut buf, 1)), ErrorKind::UnexpectedEof);
        file.read_at(&mut buf, 0).unwrap();
        assert_eq!(buf, [1; 100]);
        let reader = disk.open(path("d/a"), OpenMode::Read).unwrap();
        assert!(reader.write_at(&buf, 0).is_err());
        assert_eq!(disk.list(path("/d")).unwrap(), ["a"]);
        disk.remove_file(path("/d/a")).unwrap();
        disk.remove_dir(path("/d")).unwrap();
        assert!(disk.list_all().is_empty());
        assert_eq!(file.len().unwrap(), 100, "an open file outlives its name");
    }

    #[test]
    fn logs_take_only_aligned_buffers_and_offsets() {
        let disk = SimDisk::new(1);
        let log = disk.open_log(path("/log"), OpenMode::CreateNew).unwrap();
        let region = disk.reserve(1 << 40).unwrap();
        assert_eq!(region.len(), RESERVE_BYTES_MAX);
        log.write_durable_at(region.bytes(0, 4096), 4096).unwrap();
        assert!(log.write_durable_at(region.bytes(0, 512), 0).is_err());
        assert!(log.write_durable_at(region.bytes(512, 4096), 0).is_err());
        assert!(log.write_durable_at(region.bytes(0, 4096), 512).is_err());
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped_and_does_not_survive() {
        let disk = SimDisk::new(1);
        let lock = disk.lock(path("/lock")).unwrap();
        assert!(lock.is_some() && disk.lock(path("/lock")).unwrap().is_none());
        assert!(disk.fork().lock(path("/lock")).unwrap().is_some());
        assert!(disk.crash(0).lock(path("/lock")).unwrap().is_some());
        drop(lock);
        assert!(disk.lock(path("/lock")).unwrap().is_some());
    }

    #[test]
    fn clock_and_randomness_are_the_tests_own() {
        let (disk, same) = (SimDisk::new(9), SimDisk::new(9));
        assert_eq!(disk.now_ms(), START_MS);
        disk.advance_ms(-1000);
        assert_eq!(disk.now_ms(), START_MS - 1000);
        disk.set_now_ms(5);
        assert_eq!(disk.crash(1).now_ms(), 5);
        disk.advance_monotonic_ms(17);
        assert_eq!((disk.monotonic_ms(), disk.monotonic_tick_ns()), (1017, 1_010_000_000));
        assert_eq!((disk.crash(1).monotonic_ms(), disk.now_ms()), (1017, 5));
        let numbers: Vec<u64> = (0..10).map(|_| disk.random()).collect();
        assert!(numbers.iter().all(|&number| number == same.random()));
        assert!(!disk.may_spawn());
    }

    #[test]
    fn a_synced_file_is_found_only_if_its_directory_was_synced() {
        let disk = SimDisk::new(1);
        let file = create(&disk, "/a", &[1; 1000]);
        file.sync().unwrap();
        assert!(!disk.is_durable("/a", 0..1000).unwrap());
        let found = |seed| disk.crash(seed).read_file("/a").ok();
        let found: Vec<_> = (0..64).filter_map(found).collect();
        assert!(!found.is_empty() && found.len() < 64);
        assert!(found.iter().all(|bytes| *bytes == [1; 1000]));
        disk.sync_dir(path("/")).unwrap();
        assert!(disk.is_durable("/a", 0..1000).unwrap());
        assert!((0..64).all(|seed| disk.crash(seed).read_file("/a").is_ok()));
    }

    #[test]
    fn a_process_that_dies_loses_nothing_but_it_may_be_lost_later() {
        let disk = SimDisk::new(1);
        create(&disk, "/a", &[1; 5000]);
        let fork = disk.fork();
        assert_eq!(fork.contents(), disk.contents());
        disk.write_file("/b", &[2; 10]).unwrap();
        assert!(fork.read_file("/b").is_err());
        assert!((0..64).any(|seed| fork.crash(seed).list_all().is_empty()));
    }

    #[test]
    fn a_refused_operation_changes_nothing_and_the_next_one_passes() {
        let disk = SimDisk::new(1);
        let file = create(&disk, "/a", &[1; 1000]);
        disk.fail(FaultPlan::new(OpKind::Write, Fault::Refuse(ENOSPC)).after(1).on("a"));
        file.write_at(&[2; 10], 0).unwrap();
        assert_eq!(kind(file.write_at(&[3; 10], 0)), ErrorKind::StorageFull);
        assert_eq!(disk.read_file("/a").unwrap()[..10], [2; 10]);
        file.write_at(&[4; 10], 0).unwrap();
        disk.fail(FaultPlan::new(OpKind::Any, Fault::Refuse(EIO)).forever());
        assert!(file.sync().is_err() && file.read_at(&mut [0], 0).is_err());
        assert!(disk.list(path("/")).is_err() && disk.rename(path("/a"), path("/b")).is_err());
        disk.clear_faults();
        file.sync().unwrap();
        assert_eq!(disk.stats().faults, 5);
    }

    #[test]
    #[cfg_attr(miri, ignore = "tries two hundred seeds")]
    fn a_torn_write_applies_some_first_sectors() {
        let mut lens = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let file = create(&disk, "/a", &[1; 4096]);
            disk.fail(FaultPlan::new(OpKind::Write, Fault::Tear(EIO)));
            assert!(file.write_durable_at(&[2; 4096], 0).is_err());
            let bytes = disk.read_file("/a").unwrap();
            let applied = bytes.iter().take_while(|&&byte| byte == 2).count();
            assert!(bytes[applied..].iter().all(|&byte| byte == 1));
            assert!(applied == 0 || !disk.is_durable("/a", 0..1).unwrap());
            lens.insert(applied);
        }
        assert_eq!(lens.len(), 9);
    }

    #[test]
    #[cfg_attr(miri, ignore = "tries two hundred seeds")]
    fn a_lying_sync_makes_nothing_durable() {
        let disk = SimDisk::new(1);
        disk.write_file("/a", &[1; 512]).unwrap();
        let file = disk.open(path("/a"), OpenMode::ReadWrite).unwrap();
        disk.fail(FaultPlan::new(OpKind::Any, Fault::Lie).forever());
        file.write_at(&[2; 512], 0).unwrap();
        file.sync().unwrap();
        assert!(!disk.is_durable("/a", 0..512).unwrap());
        file.write_durable_at(&[3; 512], 0).unwrap();
        let left: std::collections::BTreeSet<u8> =
            (0..200).map(|seed| disk.crash(seed).read_file("/a").unwrap()[0]).collect();
        assert!(left.is_superset(&[0, 1, 2, 3].into()));
    }

    #[test]
    fn lost_and_misdirected_writes_report_success() {
        let disk = SimDisk::new(1);
        disk.write_file("/a", &[1; 65536]).unwrap();
        let file = disk.open(path("/a"), OpenMode::ReadWrite).unwrap();
        disk.fail(FaultPlan::new(OpKind::Write, Fault::LoseWrite));
        file.write_durable_at(&[2; 4096], 8192).unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read_file("/a").unwrap(), [1; 65536]);
        disk.fail(FaultPlan::new(OpKind::Write, Fault::Misdirect));
        file.write_durable_at(&[2; 4096], 8192).unwrap();
        let bytes = disk.read_file("/a").unwrap();
        let landed = bytes.iter().position(|&byte| byte == 2).unwrap();
        assert!(landed != 8192 && landed.is_multiple_of(4096));
        assert_eq!(bytes.iter().filter(|&&byte| byte == 2).count(), 4096);
    }

    #[test]
    fn a_full_disk_refuses_growth_and_takes_what_fits() {
        let disk = SimDisk::new(1);
        disk.set_capacity(Some(16384));
        let file = create(&disk, "/a", &[1; 4096]);
        assert_eq!(kind(file.allocate(20000)), ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 4096);
        file.allocate(12288).unwrap();
        file.write_at(&[2; 12288], 0).unwrap();
        assert_eq!(kind(file.write_at(&[3; 8192], 12288)), ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 16384);
        disk.remove_file(path("/a")).unwrap();
        assert_eq!(disk.space_bytes(), 16384, "an open file keeps its space");
        drop(file);
        assert_eq!(disk.space_bytes(), 0);
    }

    #[test]
    fn corruption_is_seen_at_once_survives_and_can_be_repaired() {
        let disk = SimDisk::new(1);
        disk.write_file("/a", &[1; 5000]).unwrap();
        disk.corrupt("/a", 4500, 0x80).unwrap();
        assert_eq!(disk.read_file("/a").unwrap()[4500], 0x81);
        assert_eq!(disk.crash(3).read_file("/a").unwrap()[4500], 0x81);
        disk.corrupt("/a", 4500, 0x80).unwrap();
        assert_eq!(disk.read_file("/a").unwrap(), [1; 5000]);
        disk.overwrite("/a", 10, &[7; 3]).unwrap();
        assert_eq!(disk.crash(3).read_file("/a").unwrap()[9..14], [1, 7, 7, 7, 1]);
        assert!(disk.corrupt("/a", 5000, 1).is_err());
    }

    #[test]
    fn without_power_nothing_works_and_nothing_changes() {
        let disk = SimDisk::new(1);
        let file = create(&disk, "/a", &[1; 10]);
        disk.power_off();
        assert!(file.len().is_err() && file.sync().is_err() && file.write_at(&[2], 0).is_err());
        assert!(disk.open(path("/a"), OpenMode::Read).is_err() && disk.lock(path("/l")).is_err());
        assert!(disk.remove_file(path("/a")).is_err() && disk.list(path("/")).is_err());
        assert_eq!(disk.read_file("/a").unwrap(), [1; 10]);
    }

    #[test]
    fn numbers_of_removed_files_are_used_again() {
        let disk = SimDisk::new(1);
        for round in 0..100 {
            drop(create(&disk, "/a", &[round; 100]));
            assert_eq!(disk.read_file("/a").unwrap(), [round; 100]);
            disk.remove_file(path("/a")).unwrap();
            disk.sync_dir(path("/")).unwrap();
        }
        assert_eq!(disk.lock_state().volume.vacant(), 1);
    }
}
