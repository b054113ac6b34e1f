//! A zero-filled log with pwrite, fdatasync and group commit: how fast commits can be durable.
//!
//! ```text
//! record: key length u32 | value length u32 | key | value
//! ```
//!
//! It starts over at its end, and nobody reads it. Invariants:
//! 1. One thread writes at a time; who commits meanwhile joins the pending group.
//! 2. There are at most two groups: the one being written and the pending one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bristlecone_benches::data::Pair;

use super::Mode;

const LOG_BYTES: u64 = 64 << 20;
const FILL_BYTES: usize = 1 << 20;

pub(super) struct LimitLog {
    file: File,
    mode: Mode,
    state: Mutex<State>,
    /// Where the threads of the even and of the odd groups sleep.
    changed: [Condvar; 2],
}

/// Guarded by the mutex of [`LimitLog`], which is not held across a write.
#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// The last group's memory, for the next one.
    spare: Vec<u8>,
    /// Number of the pending group.
    group: u64,
    /// Groups below this are durable.
    durable: u64,
    writing: bool,
    failed: bool,
    offset: u64,
}

impl LimitLog {
    pub(super) fn create(path: &Path, mode: Mode) -> io::Result<LimitLog> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
        let zeros = vec![0; FILL_BYTES];
        for offset in (0..LOG_BYTES).step_by(FILL_BYTES) {
            file.write_all_at(&zeros, offset)?;
        }
        file.sync_all()?;
        Ok(LimitLog { file, mode, state: Mutex::default(), changed: Default::default() })
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Appends the pairs; on return they are written, and durable unless the mode is buffered.
    pub(super) fn commit(&self, pairs: &[Pair<'_>]) -> io::Result<()> {
        let mut state = self.lock();
        for (key, value) in pairs {
            for bytes in [key, value] {
                let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
                state.pending.extend_from_slice(&len.to_le_bytes());
            }
            state.pending.extend_from_slice(key);
            state.pending.extend_from_slice(value);
        }
        let group = state.group;
        while state.durable <= group && !state.failed {
            if !state.writing {
                return self.write(state);
            }
            let changed = &self.changed[(group % 2) as usize];
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed { Err(io::Error::other("the log failed")) } else { Ok(()) }
    }

    /// Writes the pending group.
    fn write(&self, mut state: MutexGuard<'_, State>) -> io::Result<()> {
        state.writing = true;
        let mut bytes = std::mem::take(&mut state.spare);
        std::mem::swap(&mut bytes, &mut state.pending);
        let group = state.group;
        state.group += 1;
        if state.offset + bytes.len() as u64 > LOG_BYTES {
            state.offset = 0;
        }
        let offset = state.offset;
        state.offset += bytes.len() as u64;
        drop(state);
        let written = self.file.write_all_at(&bytes, offset).and_then(|()| match self.mode {
            Mode::Durable => self.file.sync_data(),
            Mode::Buffered => Ok(()),
        });
        let mut state = self.lock();
        bytes.clear();
        state.spare = bytes;
        state.durable = group + 1;
        state.writing = false;
        state.failed |= written.is_err();
        drop(state);
        self.changed[(group % 2) as usize].notify_all();
        // One of the group that has formed meanwhile writes it; after a failure all of it gives up.
        let next = &self.changed[((group + 1) % 2) as usize];
        if written.is_ok() {
            next.notify_one()
        } else {
            next.notify_all()
        }
        written
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
