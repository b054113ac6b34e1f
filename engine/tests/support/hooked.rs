//! A host on which a test does something of its own between any two operations of the engine, and
//! in the middle of each write: with one half of it there, and with all of it but not durable.

use std::fmt;
use std::io::Result;
use std::path::Path;
use std::sync::Arc;

use bristlecone::io::{File, Host, Lock, OpenMode, Region};

/// What the test does.
pub(crate) type Hook = Arc<dyn Fn() + Send + Sync>;

/// The host.
pub(crate) struct Hooked {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) hook: Hook,
}

struct HookedFile {
    file: Arc<dyn File>,
    hook: Hook,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookedFile")
    }
}

impl Hooked {
    fn host(&self) -> &dyn Host {
        (self.hook)();
        &*self.host
    }

    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(HookedFile { file, hook: Arc::clone(&self.hook) })
    }
}

impl Host for Hooked {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.host().create_dir(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.host().list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        Ok(self.file(self.host().open(path, mode)?))
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        Ok(self.file(self.host().open_log(path, mode)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.host().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.host().remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.host().remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.host().sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        self.host().lock(path)
    }

    fn now_ms(&self) -> u64 {
        self.host.now_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        self.host.monotonic_ns()
    }

    fn monotonic_tick_ns(&self) -> u64 {
        self.host.monotonic_tick_ns()
    }

    fn sleep_ms(&self, ms: u64) {
        self.host.sleep_ms(ms);
    }

    fn random(&self) -> u64 {
        self.host.random()
    }

    fn reserve(&self, bytes: usize) -> Result<Region> {
        self.host.reserve(bytes)
    }

    fn may_spawn(&self) -> bool {
        self.host.may_spawn()
    }
}

impl HookedFile {
    fn file(&self) -> &dyn File {
        (self.hook)();
        &*self.file
    }

    /// Two writes, of whole blocks where there is more than one.
    fn write_halves(&self, buf: &[u8], offset: u64) -> Result<()> {
        let half = (buf.len() / 2).next_multiple_of(4096).min(buf.len());
        self.file().write_at(&buf[..half], offset)?;
        if half == buf.len() {
            return Ok(());
        }
        self.file().write_at(&buf[half..], offset + half as u64)
    }
}

impl File for HookedFile {
    fn len(&self) -> Result<u64> {
        self.file().len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file().read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.write_halves(buf, offset)
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.write_halves(buf, offset)?;
        self.file().sync()
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.file().allocate(len)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file().set_len(len)
    }

    fn sync(&self) -> Result<()> {
        self.file().sync()
    }

    fn forget_cached(&self, bytes: u64) -> Result<()> {
        self.file().forget_cached(bytes)
    }

    fn map(&self, reserve: usize) -> Result<Option<Region>> {
        self.file().map(reserve)
    }
}
