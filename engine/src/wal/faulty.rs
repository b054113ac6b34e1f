//! A disk in memory for the tests of the log: forgets what was not synced, fails when told, runs
//! out of space.
//!
//! Written for these tests alone; the engine's crash tests use `io::sim`. A write that fails leaves
//! some of its sectors, as a power cut does. Reads and writes must be aligned as direct I/O is.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Position, Sequence, Wal, WalOptions};
use crate::io::{File, Host, Lock, OpenMode, Region};
use crate::limits::WAL_SEGMENT_BYTES_MIN;

const SECTOR: usize = 512;

/// The database that the tests' logs belong to.
pub(super) const ID: [u8; 16] = *b"0123456789abcdef";
/// The smallest segments: three blocks for frames in each.
pub(super) const SMALL: WalOptions =
    WalOptions { segment_bytes_max: WAL_SEGMENT_BYTES_MIN, spares_max: 2 };

/// Where the tests' logs live.
pub(super) fn dir() -> &'static Path {
    Path::new("db/wal")
}

/// Publishes to nobody.
pub(super) fn nothing(_: Sequence, _: Position) {}

/// A new log of small segments.
pub(super) fn create(disk: &Disk) -> Wal {
    Wal::create(Arc::new(disk.clone()), dir(), ID, SMALL).unwrap()
}

/// Opens the log and returns what was replayed.
pub(super) fn open(disk: &Disk, from: Position) -> crate::error::Result<(Wal, Vec<Vec<u8>>)> {
    let mut records = Vec::new();
    let mut replay = |_, record: &[u8]| {
        records.push(record.to_vec());
        Ok(())
    };
    let wal = Wal::open(Arc::new(disk.clone()), dir(), ID, from, false, SMALL, &mut replay)?;
    Ok((wal, records))
}

/// Makes one record durable, alone.
pub(super) fn commit(wal: &Wal, record: &[u8]) {
    wal.reserve(record.len(), &nothing).unwrap();
    let sequence = wal.append(record).unwrap();
    wal.wait(sequence, &nothing).unwrap();
}

/// What a file holds, in the cache and on the device.
#[derive(Clone, Debug, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

/// Everything; guarded by the mutex of [`Disk`].
#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Operations that change something, counted from 1.
    operations: u64,
    /// The operation that fails, and whether all later ones fail as well.
    fail_at: Option<(u64, bool)>,
    /// Bytes that all files together may have.
    space: Option<u64>,
    seed: u64,
    reads: u64,
}

/// The disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// A disk whose random numbers follow from `seed`.
    pub(super) fn new(seed: u64) -> Disk {
        let disk = Disk::default();
        disk.0.lock().seed = seed;
        disk
    }

    /// Another disk with the same content, as it is after a power cut, without faults.
    pub(super) fn after_power_cut(&self) -> Disk {
        let mut state = self.0.lock().clone();
        state.names = state.durable_names.clone();
        for inode in &mut state.inodes {
            inode.cached.clone_from(&inode.durable);
        }
        (state.fail_at, state.space) = (None, None);
        state.seed += 1;
        Disk(Arc::new(Mutex::new(state)))
    }

    /// Another disk with the same content, as it is after the process died, without faults.
    pub(super) fn after_kill(&self) -> Disk {
        let mut state = self.0.lock().clone();
        (state.fail_at, state.space) = (None, None);
        state.seed += 1;
        Disk(Arc::new(Mutex::new(state)))
    }

    /// Makes the operation `number` from now fail, and all later ones if `forever`.
    pub(super) fn fail_at(&self, number: u64, forever: bool) {
        let mut state = self.0.lock();
        state.fail_at = Some((state.operations + number, forever));
    }

    /// Makes every operation succeed again.
    pub(super) fn heal(&self) {
        self.0.lock().fail_at = None;
    }

    /// True when the operation that shall fail was reached.
    pub(super) fn has_failed(&self) -> bool {
        let state = self.0.lock();
        state.fail_at.is_some_and(|(at, _)| state.operations >= at)
    }

    /// Operations until now.
    pub(super) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Bytes read until now.
    pub(super) fn bytes_read(&self) -> u64 {
        self.0.lock().reads
    }

    /// Limits the space to `bytes` more than what is used.
    pub(super) fn limit_space(&self, bytes: Option<u64>) {
        let mut state = self.0.lock();
        state.space = bytes.map(|bytes| state.used() + bytes);
    }

    /// Names of the files whose name ends with `suffix`, in order.
    pub(super) fn names(&self, suffix: &str) -> Vec<PathBuf> {
        let state = self.0.lock();
        let ends = |path: &&PathBuf| path.to_string_lossy().ends_with(suffix);
        state.names.keys().filter(ends).cloned().collect()
    }

    /// Changes a file behind everybody's back.
    pub(super) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let inode = state.names[path];
        let inode = &mut state.inodes[inode];
        change(&mut inode.cached);
        inode.durable = inode.cached.clone();
    }

    /// The content of a file.
    pub(super) fn content(&self, path: &Path) -> Vec<u8> {
        let state = self.0.lock();
        state.inodes[state.names[path]].cached.clone()
    }

    fn check(&self) -> Result<()> {
        self.0.lock().count()
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].cached.len() as u64).sum()
    }

    fn count(&mut self) -> Result<()> {
        self.operations += 1;
        match self.fail_at {
            Some((at, forever)) if self.operations == at || forever && self.operations > at => {
                Err(Error::other("injected failure"))
            }
            _ => Ok(()),
        }
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn grow(&mut self, inode: usize, len: usize) -> Result<()> {
        let more = len.saturating_sub(self.inodes[inode].cached.len()) as u64;
        if self.space.is_some_and(|space| self.used() + more > space) {
            return Err(ErrorKind::StorageFull.into());
        }
        if more > 0 {
            self.inodes[inode].cached.resize(len, 0);
        }
        Ok(())
    }
}

impl Host for Disk {
    fn create_dir(&self, _dir: &Path) -> Result<()> {
        self.check()
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let state = self.0.lock();
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        // Backwards, because no order is promised.
        Ok(here.rev().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.open_log(path, mode)
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        let inode = match (mode, state.names.get(path).copied()) {
            (OpenMode::CreateNew, Some(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, None) => {
                state.count()?;
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.names.insert(path.to_path_buf(), inode);
                inode
            }
            (_, Some(inode)) => inode,
            (_, None) => return Err(ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(DiskFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.count()?;
        let inode = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_path_buf(), inode);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.count()?;
        state.names.remove(path).ok_or(ErrorKind::NotFound)?;
        Ok(())
    }

    fn remove_dir(&self, _dir: &Path) -> Result<()> {
        self.check()
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.count()?;
        let here = |path: &PathBuf| path.parent() == Some(dir);
        let mut durable = std::mem::take(&mut state.durable_names);
        durable.retain(|path, _| !here(path));
        durable.extend(
            state.names.iter().filter(|(path, _)| here(path)).map(|(p, i)| (p.clone(), *i)),
        );
        state.durable_names = durable;
        Ok(())
    }

    fn lock(&self, _path: &Path) -> Result<Option<Box<dyn Lock>>> {
        Err(ErrorKind::Unsupported.into())
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn random(&self) -> u64 {
        self.0.lock().random()
    }

    fn reserve(&self, bytes: usize) -> Result<Region> {
        Ok(Region::heap(bytes))
    }

    fn may_spawn(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct DiskFile {
    disk: Disk,
    inode: usize,
}

fn check_aligned(buf: &[u8], offset: u64) {
    assert!(offset.is_multiple_of(4096) && buf.len().is_multiple_of(4096));
    assert!(buf.as_ptr().addr().is_multiple_of(4096), "direct writes need aligned memory");
}

impl File for DiskFile {
    fn len(&self) -> Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].cached.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_aligned(buf, offset);
        let mut state = self.disk.0.lock();
        state.reads += buf.len() as u64;
        let from = offset as usize;
        let content = &state.inodes[self.inode].cached;
        let bytes = content.get(from..from + buf.len()).ok_or(ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_aligned(buf, offset);
        let mut state = self.disk.0.lock();
        state.count()?;
        let from = offset as usize;
        state.grow(self.inode, from + buf.len())?;
        state.inodes[self.inode].cached[from..from + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_aligned(buf, offset);
        let mut state = self.disk.0.lock();
        let outcome = state.count();
        let from = offset as usize;
        state.grow(self.inode, from + buf.len())?;
        let keep = if outcome.is_ok() { u64::MAX } else { state.random() };
        let inode = &mut state.inodes[self.inode];
        let len = inode.durable.len().max(from + buf.len());
        inode.durable.resize(len, 0);
        for (index, sector) in buf.chunks(SECTOR).enumerate() {
            if keep >> (index % 64) & 1 == 1 {
                let at = from + index * SECTOR;
                inode.cached[at..at + SECTOR].copy_from_slice(sector);
                inode.durable[at..at + SECTOR].copy_from_slice(sector);
            }
        }
        outcome
    }

    fn allocate(&self, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.count()?;
        state.grow(self.inode, len as usize)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.count()?;
        state.inodes[self.inode].cached.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.count()?;
        let inode = &mut state.inodes[self.inode];
        inode.durable.clone_from(&inode.cached);
        Ok(())
    }

    fn forget_cached(&self) -> Result<()> {
        Ok(())
    }

    fn map(&self, _reserve: usize) -> Result<Option<Region>> {
        Ok(None)
    }
}
