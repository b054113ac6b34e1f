//! Commits in the middle of a checkpoint, without threads, so that a seed replays them.
//!
//! A checkpoint holds no lock that a commit needs while it does I/O on the data file. So a disk
//! that calls back before each such operation lets the one thread of a simulation do what other
//! threads may do at that moment. The callback must not ask for a checkpoint, nor for what waits
//! for one: run it on a database whose checkpoints start only when asked for.

use std::cell::RefCell;
use std::io::Result;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::io::{File, Host, Lock, OpenMode, Region};

type Callback = Box<dyn FnMut()>;

thread_local! {
    static CALLBACK: RefCell<Option<Callback>> = const { RefCell::new(None) };
}

/// Runs `act`, with `callback` on the owner before each I/O on a data file. The owner is moved out
/// meanwhile, and `stand_in` takes its place.
pub(crate) fn during<T: 'static, R>(
    owner: &mut T,
    stand_in: T,
    mut callback: impl FnMut(&mut T) + 'static,
    act: impl FnOnce() -> R,
) -> R {
    let moved = Rc::new(RefCell::new(std::mem::replace(owner, stand_in)));
    let shared = Rc::clone(&moved);
    CALLBACK.set(Some(Box::new(move || callback(&mut shared.borrow_mut()))));
    let outcome = act();
    drop(CALLBACK.take());
    *owner = Rc::into_inner(moved).expect("the callback is gone").into_inner();
    outcome
}

/// Calls back, unless a callback is under way.
fn call() {
    if let Some(mut callback) = CALLBACK.take() {
        callback();
        CALLBACK.set(Some(callback));
    }
}

/// A simulated disk that calls back.
#[derive(Debug)]
pub(crate) struct Interleaved(pub(crate) SimDisk);

#[derive(Debug)]
struct DataFile(Arc<dyn File>);

impl Host for Interleaved {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.0.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.0.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        let file = self.0.open(path, mode)?;
        // A long record is written by whoever sits in the writer's seat, or leads: a commit in the
        // middle of that would wait for itself.
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("wal"));
        Ok(if is_log { file } else { Arc::new(DataFile(file)) })
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.0.open_log(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.0.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        self.0.lock(path)
    }

    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }

    fn monotonic_tick_ns(&self) -> u64 {
        self.0.monotonic_tick_ns()
    }

    fn sleep_ms(&self, ms: u64) {
        self.0.sleep_ms(ms);
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn reserve(&self, bytes: usize) -> Result<Region> {
        self.0.reserve(bytes)
    }

    fn may_spawn(&self) -> bool {
        false
    }
}

impl File for DataFile {
    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        // Reads come from everywhere, so nothing may be called back here.
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        call();
        self.0.write_at(buf, offset)
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        call();
        self.0.write_durable_at(buf, offset)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        call();
        self.0.allocate(len)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        call();
        self.0.set_len(len)
    }

    fn sync(&self) -> Result<()> {
        call();
        self.0.sync()
    }

    fn forget_cached(&self, bytes: u64) -> Result<()> {
        self.0.forget_cached(bytes)
    }

    fn map(&self, reserve: usize) -> Result<Option<Region>> {
        self.0.map(reserve)
    }
}
