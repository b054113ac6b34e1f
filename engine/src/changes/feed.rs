//! Reading changes from the log of the open database.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::TxnId;
use crate::txn::{RecordReader, Store};
use crate::wal::{Position, Read, Reader};

use super::transaction::Transaction;

/// Commits in order, one after the other. Keeps the database open, as a
/// [`Snapshot`](crate::Snapshot) does, but pins nothing in it.
pub struct Changes {
    store: Arc<Store>,
    reader: Reader,
    after: TxnId,
    /// False until the reader has come behind `after`.
    is_there: bool,
    /// The record of the next transaction, if that was read on the way.
    next: Option<Vec<u8>>,
    /// The oldest transaction that there was when this reader was found to have come too late.
    lost: Option<TxnId>,
}

impl Changes {
    /// Of what is committed after `after`.
    pub(crate) fn new(store: &Arc<Store>, after: TxnId) -> Result<Changes> {
        let wal = store.wal()?;
        let (newest, mark, end) = {
            let queue = store.queue.lock();
            (queue.published.txn, queue.marks.before(after), queue.position)
        };
        if after > newest {
            let reason = format!("expected a transaction up to {newest}, found {after}");
            return Err(Error::invalid(reason));
        }
        let from = if after == newest { Some(end) } else { mark };
        // The log may go on while this looks for a place in it: what the place behind the last
        // transaction is in is never recycled, but the start may be, again and again.
        let reader = loop {
            let from_mark = from.and_then(|from| wal.reader(from));
            if let Some(reader) = from_mark.or_else(|| wal.reader(wal.start())) {
                break reader;
            }
        };
        let store = Arc::clone(store);
        let mut changes = Changes { store, reader, after, is_there: false, next: None, lost: None };
        changes.find()?;
        Ok(changes)
    }

    /// The last transaction that was told, or the one after which this began.
    #[must_use]
    pub fn position(&self) -> TxnId {
        self.after
    }

    /// The next transaction; `None` when there is none yet. It is in memory as a whole.
    ///
    /// # Errors
    /// `Compacted` when the log has been given up meanwhile: this reader has come too late, and
    /// every later call says the same. `Corrupt` when the log is damaged, `Io` when it cannot be
    /// read.
    pub fn try_next(&mut self) -> Result<Option<Transaction>> {
        if let Some(oldest) = self.lost {
            return Err(compacted(self.after, oldest));
        }
        self.find()?;
        let found = match self.next.take() {
            Some(record) => Found::Record(record),
            None => self.read()?,
        };
        match found {
            Found::Record(record) => {
                let next = Transaction::of_record(record).map_err(|found| self.damaged(found))?;
                if next.id() <= self.after {
                    return Err(self.damaged(format!("transaction {}", next.id())));
                }
                if next.id() > self.after.next() {
                    return Err(self.lose(next.id()));
                }
                self.after = next.id();
                Ok(Some(next))
            }
            Found::Nothing => Ok(None),
            Found::Recycled => Err(self.lose_all()),
        }
    }

    /// The next transaction; waits for it, but no longer than `timeout`.
    ///
    /// # Errors
    /// As [`try_next`](Changes::try_next), and `Closed` when the database was closed and all was
    /// told.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Transaction>> {
        let until = Instant::now().checked_add(timeout);
        loop {
            if let Some(next) = self.try_next()? {
                return Ok(Some(next));
            }
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            if is_over || !self.wait(until) {
                let last = self.try_next()?;
                let is_at_end = self.store.signals.is_at_end.load(Ordering::Relaxed);
                return match last {
                    None if is_at_end => {
                        Err(Error::from(ErrorKind::Closed { path: self.store.dir.clone() }))
                    }
                    last => Ok(last),
                };
            }
        }
    }

    /// Waits for a commit after the last one told; false when the time is over.
    fn wait(&self, until: Option<Instant>) -> bool {
        let signals = &self.store.signals;
        // Counted before it is looked for: see `Signals::wake_followers`.
        signals.followers.fetch_add(1, Ordering::SeqCst);
        let mut state = signals.state.lock();
        let mut in_time = true;
        let is_at_end = || signals.is_at_end.load(Ordering::Relaxed);
        while self.newest().0 <= self.after && in_time && !is_at_end() {
            match until {
                Some(until) => {
                    in_time = !signals.published.wait_until(&mut state, until).timed_out();
                }
                None => signals.published.wait(&mut state),
            }
        }
        drop(state);
        signals.followers.fetch_sub(1, Ordering::SeqCst);
        in_time && !is_at_end()
    }

    /// The newest transaction that may be told, and the position behind it.
    fn newest(&self) -> (TxnId, Position) {
        let queue = self.store.queue.lock();
        (queue.published.txn, queue.position)
    }

    /// Goes on behind `after`, from a place somewhere before that.
    fn find(&mut self) -> Result<()> {
        while !self.is_there {
            match self.read()? {
                Found::Record(record) => {
                    let header = RecordReader::new(&record).map(|reader| reader.txn);
                    let txn = header.map_err(|found| self.damaged(found))?;
                    if txn > self.after.next() {
                        return Err(self.lose(txn));
                    }
                    self.is_there = txn >= self.after;
                    self.next = (txn > self.after).then_some(record);
                }
                // Nothing comes after it.
                Found::Nothing => self.is_there = true,
                Found::Recycled => return Err(self.lose_all()),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Found> {
        let (newest, end) = self.newest();
        if self.after >= newest {
            return Ok(Found::Nothing);
        }
        Ok(match self.reader.next(end)? {
            Read::Record(record) => Found::Record(record),
            // What was published up to there is not in the log: it is in a checkpoint, and the
            // segments that had it are gone; or it came out of a backup.
            Read::End | Read::Recycled => Found::Recycled,
        })
    }

    /// What to say, now and always, when what comes next is gone.
    fn lose(&mut self, oldest: TxnId) -> Error {
        self.lost = Some(oldest);
        compacted(self.after, oldest)
    }

    fn lose_all(&mut self) -> Error {
        let oldest = oldest(&self.store).unwrap_or_else(|_| self.newest().0.next());
        // It may have come meanwhile that nothing is missing any more: not for this reader.
        self.lose(oldest.max(self.after.next().next()))
    }

    fn damaged(&self, found: String) -> Error {
        let log = self.store.dir.join("wal");
        Error::corrupt(&log, 0, format!("transaction {}", self.after.next()), found)
    }
}

/// The oldest transaction that the log has; the next one when it has none.
fn oldest(store: &Store) -> Result<TxnId> {
    let wal = store.wal()?;
    let (newest, end) = {
        let queue = store.queue.lock();
        (queue.published.txn, queue.position)
    };
    let Some(mut reader) = wal.reader(wal.start()) else { return Ok(newest.next()) };
    match reader.next(end)? {
        Read::Record(record) => Ok(RecordReader::new(&record).map_or(newest, |reader| reader.txn)),
        Read::End | Read::Recycled => Ok(newest.next()),
    }
}

fn compacted(after: TxnId, oldest: TxnId) -> Error {
    Error::from(ErrorKind::Compacted { after, oldest })
}

enum Found {
    Record(Vec<u8>),
    Nothing,
    Recycled,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("position", &self.after).finish_non_exhaustive()
    }
}

/// It may be sent to the thread that follows.
const _: () = {
    const fn is_sent<T: Send>() {}
    is_sent::<Changes>();
};
