//! The host that is the operating system: Linux files, `flock`, direct writes, syncs.
//!
//! Never retries a failed sync: the kernel marks the pages clean whether they reached the device
//! or not, so a second sync that succeeds proves nothing.

use std::fs;
use std::io::{self, IoSlice, Result};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{File, Host, Lock, OpenMode, Region};

/// Bytes that are read ahead with one call: every device takes so much at once.
const AHEAD_BYTES: u64 = 128 << 10;

/// The operating system.
#[derive(Debug, Default)]
pub(crate) struct RealHost {
    /// False reads the data file by `pread` into memory of its own instead of mapping it.
    pub(crate) map: bool,
}

impl Host for RealHost {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        fs::DirBuilder::new().mode(0o700).create(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        let file = options(mode).open(path)?;
        Ok(Arc::new(RealFile { file, path: path.to_path_buf(), map: self.map }))
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        let direct = OFlags::DIRECT.bits() as i32;
        let file = match options(mode).custom_flags(direct).open(path) {
            // File systems without direct writes say so at open.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                let again = if mode == OpenMode::CreateNew { OpenMode::ReadWrite } else { mode };
                match options(again).open(path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => options(mode).open(path)?,
                    other => other?,
                }
            }
            other => other?,
        };
        Ok(Arc::new(RealFile { file, path: path.to_path_buf(), map: false }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        let file = options(OpenMode::ReadWrite).create(true).open(path)?;
        // `flock` belongs to the open file description: a second open in this process fails too,
        // and the kernel releases it when the process dies, however it dies.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(RealLock { file }))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn now_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic_ns(&self) -> u64 {
        nanoseconds(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    fn monotonic_tick_ns(&self) -> u64 {
        nanoseconds(clock_gettime(ClockId::MonotonicCoarse))
    }

    fn sleep_ms(&self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    fn random(&self) -> u64 {
        // The standard library seeds its hasher from the operating system's randomness.
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }

    fn reserve(&self, bytes: usize) -> Result<Region> {
        Region::anonymous(bytes)
    }

    fn may_spawn(&self) -> bool {
        true
    }
}

/// A time of a clock that only counts: it is never negative, and 64 bits last for centuries.
fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn options(mode: OpenMode) -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).mode(0o600);
    match mode {
        OpenMode::Read => {}
        OpenMode::ReadWrite => {
            options.write(true);
        }
        OpenMode::CreateNew => {
            options.write(true).create_new(true);
        }
    }
    options
}

#[derive(Debug)]
struct RealLock {
    file: fs::File,
}

impl Lock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread has just forked holds a copy
        // of the descriptor until it runs its own program. A failure leaves it to the closing.
        let _left_to_the_closing = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    path: PathBuf,
    map: bool,
}

impl File for RealFile {
    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        // One call takes some 5 us less than two, of 90. See docs/design.md.
        let (mut rest, mut offset) = (buf, offset);
        while !rest.is_empty() {
            let write =
                || pwritev2(&self.file, &[IoSlice::new(rest)], offset, ReadWriteFlags::DSYNC);
            match rustix::io::retry_on_intr(write) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    offset += written as u64;
                }
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    self.file.write_all_at(rest, offset)?;
                    return self.file.sync_data();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> Result<()> {
        if len <= self.len()? {
            return Ok(());
        }
        // The kernel gives up a long allocation when a signal comes; what it has allocated stays.
        let allocate = || rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len);
        match rustix::io::retry_on_intr(allocate) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(len),
            Err(error) => Err(error.into()),
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data()
    }

    fn read_ahead(&self, ranges: &[Range<u64>]) {
        for range in ranges {
            // Of one request the system reads no more than the device takes at once.
            for at in range.clone().step_by(AHEAD_BYTES as usize) {
                let len = NonZeroU64::new(AHEAD_BYTES.min(range.end - at));
                let _unread = rustix::fs::fadvise(&self.file, at, len, Advice::WillNeed);
            }
        }
    }

    fn forget_cached(&self, bytes: u64) -> Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, NonZeroU64::new(bytes), Advice::DontNeed)?)
    }

    fn map(&self, reserve: usize) -> Result<Option<Region>> {
        if !self.map {
            return Ok(None);
        }
        Region::file(&self.file, &self.path, reserve).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "uses system calls that Miri does not know")]
    fn a_lock_excludes_a_second_opener_of_the_same_process() {
        let dir = tempfile::tempdir().unwrap();
        let host = RealHost::default();
        let path = dir.path().join("lock");
        let first = host.lock(&path).unwrap();
        assert!(first.is_some());
        assert!(host.lock(&path).unwrap().is_none());
        drop(first);
        assert!(host.lock(&path).unwrap().is_some());
    }

    #[test]
    #[cfg_attr(miri, ignore = "uses system calls that Miri does not know")]
    fn a_dropped_lock_is_free_though_a_forked_child_still_has_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let host = RealHost::default();
        let path = dir.path().join("lock");
        let file = options(OpenMode::ReadWrite).create(true).open(&path).unwrap();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        // What a fork does: one open file, two descriptors.
        let copy = file.try_clone().unwrap();
        drop(RealLock { file });
        assert!(host.lock(&path).unwrap().is_some());
        drop(copy);
    }

    #[test]
    #[cfg_attr(miri, ignore = "uses system calls that Miri does not know")]
    fn log_files_take_direct_durable_writes() {
        let dir = tempfile::tempdir().unwrap();
        let host = RealHost::default();
        let file = host.open_log(&dir.path().join("log"), OpenMode::CreateNew).unwrap();
        let region = Region::heap(8192);
        region.bytes_mut(0, 8192).fill(3);
        file.write_durable_at(region.bytes(0, 8192), 4096).unwrap();
        assert_eq!(file.len().unwrap(), 12288);
        file.read_at(region.bytes_mut(0, 4096), 0).unwrap();
        assert_eq!(region.bytes(0, 4096), [0; 4096]);
    }

    /// Bytes that this thread has had read from a device so far. Always 0 where the kernel does not
    /// count.
    fn device_bytes() -> u64 {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
        let count = io.lines().find_map(|line| line.strip_prefix("read_bytes: "));
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// Goal: a read ahead asks for all of its range, however long, and for nothing that is in
    /// memory. Method: reads are counted where they are asked for, in this thread.
    #[test]
    #[cfg_attr(miri, ignore = "uses system calls that Miri does not know")]
    fn a_range_is_read_ahead_as_a_whole_and_once() {
        // Beside the build, not in the directory for temporary files: that may be memory.
        let test = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(test.parent().unwrap()).unwrap();
        let host = RealHost { map: true };
        let file = host.open(&dir.path().join("data"), OpenMode::CreateNew).unwrap();
        // More than a device takes at once, and a system by itself.
        let bytes = 32 << 20;
        file.write_at(&vec![5; bytes as usize], 0).unwrap();
        file.sync().unwrap();
        let read = |ranges: &[Range<u64>]| {
            let before = device_bytes();
            file.read_ahead(ranges);
            device_bytes() - before
        };
        let map = file.map(bytes as usize).unwrap().expect("a map");
        let in_memory = || [0, bytes - 1].map(|at| map.is_in_memory(at as usize));
        file.forget_cached(bytes).unwrap();
        let is_gone = in_memory() == [false; 2];
        let none = read(&[]);
        let nothing = read(&[4096..4096, 0..0]);
        let half = read(&[0..4096, 8192..bytes / 2]);
        let rest = read(&[bytes / 2..bytes, 0..4096]);
        let again = read(&[0..4096, bytes / 2..bytes]);
        if half == 0 && rest == 0 {
            // On a file system that is memory nothing is ever gone.
            let mut byte = [0];
            let before = device_bytes();
            file.forget_cached(bytes).unwrap();
            file.read_at(&mut byte, 0).unwrap();
            assert_eq!(device_bytes(), before, "reads come from a device, none was ahead");
        } else {
            assert!(is_gone, "what is cached was dropped");
            assert!(half >= bytes / 2 - 4096 && half + rest >= bytes - 4096, "{half} and {rest}");
        }
        assert_eq!((none, nothing, again), (0, 0, 0));
        // Read in the mean time: a touch waits for it.
        assert_eq!(map.bytes(0, bytes as usize).iter().filter(|byte| **byte != 5).count(), 0);
        assert_eq!(in_memory(), [true; 2]);
    }
}
