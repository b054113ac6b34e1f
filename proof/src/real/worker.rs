//! The process that uses the database until it is killed, or its disk is.
//!
//! It tells each thing it does in a line of its own on its standard output, written at once, so
//! that a kill loses nothing that it acknowledged:
//!
//! ```text
//! opened <revision> <checksum of all content>
//! begun <thread> <number> <revision>
//! acknowledged <revision>
//! refused <why>                  the commit changed nothing; it is tried again
//! failed <kind> <why>            the last line
//! ```
//!
//! Invariant: "begun" is told while the transaction is open, so these lines are in the order of
//! their revisions.

use std::process::ExitCode;

use bristlecone::mutation::{self, Mutation};
use bristlecone::{Db, Durability, Error, ErrorKind, Result, TxnId};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};

use super::allocator;
use super::orders::Orders;
use super::transaction::{Then, Transaction, digest, last_number};

/// How often a commit is tried that changes nothing.
const TRIES: usize = 3;
/// The exit code of a worker that committed after a failure which must stop all writing.
pub(crate) const WENT_ON: u8 = 30;

/// What a worker that stopped by itself says it met, and its exit code.
pub(crate) fn kind_of(error: &Error) -> (&'static str, u8) {
    match error.kind() {
        ErrorKind::Full { .. } => ("full", 20),
        ErrorKind::OutcomeUnknown { .. } => ("outcome-unknown", 21),
        ErrorKind::Poisoned { .. } => ("poisoned", 22),
        ErrorKind::ReadOnly { .. } => ("read-only", 23),
        ErrorKind::Locked { .. } => ("locked", 24),
        ErrorKind::Corrupt(_) => ("corrupt", 25),
        ErrorKind::Io { .. } => ("io", 26),
        _ => ("other", 27),
    }
}

/// Runs a worker.
#[must_use]
pub fn run(orders: &Orders) -> ExitCode {
    // A worker never outlives the process that judges it.
    let _best_effort = set_parent_process_death_signal(Some(Signal::KILL));
    if let Err(error) = bristlecone::exit_on_map_failure() {
        tell(&format!("failed other no handler for maps: {error}"));
        return ExitCode::FAILURE;
    }
    let named =
        |bug: &Mutation| orders.bug.as_ref().is_some_and(|name| *name == format!("{bug:?}"));
    mutation::set(Mutation::ALL.into_iter().find(named));
    allocator::fail(orders.failing_allocation);
    let done = match (orders.hold, orders.read) {
        (true, _) => hold(orders),
        (_, true) => open(orders).map(drop),
        _ => work(orders),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &Error) -> ExitCode {
    let (kind, code) = kind_of(error);
    tell(&format!("failed {kind} {error}"));
    ExitCode::from(code)
}

/// Writes a line, whole. Nobody being there to read it is the end.
fn tell(line: &str) {
    let line = format!("{}\n", line.replace('\n', " "));
    let written = rustix::io::write(std::io::stdout(), line.as_bytes());
    if written != Ok(line.len()) {
        std::process::exit(1);
    }
}

fn open(orders: &Orders) -> Result<Db> {
    let db = Db::open_with(&orders.dir, orders.options().read_only(orders.look))?;
    tell_content(&db)?;
    Ok(db)
}

fn tell_content(db: &Db) -> Result<()> {
    tell(&format!("opened {} {}", db.stats().revision.0, digest(db)?));
    Ok(())
}

fn hold(orders: &Orders) -> Result<()> {
    let db = open(orders)?;
    let _ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    tell_content(&db)?;
    if orders.look { Ok(()) } else { db.close() }
}

fn work(orders: &Orders) -> Result<()> {
    let db = open(orders)?;
    if orders.threads == 1 {
        return Thread::new(orders, 0, &db)?.run(db);
    }
    std::thread::scope(|scope| {
        for thread in 0..orders.threads {
            let db = db.clone();
            scope.spawn(move || {
                let done = Thread::new(orders, thread, &db).and_then(|thread| thread.run(db));
                // The others must not go on and hide it.
                if let Err(error) = done {
                    let (_, code) = kind_of(&error);
                    fail(&error);
                    std::process::exit(code.into());
                }
            });
        }
    });
    db.close()
}

/// One thread that commits.
struct Thread<'a> {
    orders: &'a Orders,
    thread: usize,
    number: u64,
}

impl<'a> Thread<'a> {
    fn new(orders: &'a Orders, thread: usize, db: &Db) -> Result<Thread<'a>> {
        let number = last_number(&db.begin_read()?, thread)?;
        Ok(Thread { orders, thread, number })
    }

    fn run(mut self, mut db: Db) -> Result<()> {
        let until = self.orders.commits.map_or(u64::MAX, |commits| self.number + commits);
        let alone = self.orders.threads == 1;
        while self.number < until {
            let Orders { seed, scale, .. } = *self.orders;
            let transaction = Transaction::new(seed, self.thread, self.number + 1, scale);
            self.commit(&db, &transaction)?;
            match transaction.then {
                Then::Nothing => {}
                Then::Sync => db.sync().map_err(|error| stopped(&db, error))?,
                Then::Checkpoint => match db.checkpoint() {
                    Err(error) if changed_nothing(&error) => tell(&format!("refused {error}")),
                    done => done.map_err(|error| stopped(&db, error))?,
                },
                Then::Reopen if alone => {
                    db.close()?;
                    db = open(self.orders)?;
                }
                Then::Reopen => {}
            }
        }
        if self.orders.killed {
            let _never = kill_process(getpid(), Signal::KILL);
        }
        if alone { db.close() } else { Ok(()) }
    }

    fn commit(&mut self, db: &Db, transaction: &Transaction) -> Result<()> {
        for left in (0..TRIES).rev() {
            match self.try_to_commit(db, transaction) {
                Ok(revision) => {
                    if transaction.durability == Durability::Sync {
                        tell(&format!("acknowledged {}", revision.0));
                    }
                    self.number += 1;
                    return Ok(());
                }
                Err(error) if changed_nothing(&error) && left > 0 => {
                    tell(&format!("refused {error}"));
                }
                Err(error) => return Err(stopped(db, error)),
            }
        }
        unreachable!("the last try returns")
    }

    fn try_to_commit(&self, db: &Db, transaction: &Transaction) -> Result<TxnId> {
        let mut txn = db.begin_write()?;
        transaction.write(&mut txn)?;
        txn.set_durability(transaction.durability);
        tell(&format!("begun {} {} {}", self.thread, self.number + 1, txn.id().0));
        txn.commit()
    }
}

/// An error that says nothing of a commit's fate has changed nothing: what was tried can be tried
/// again, and whatever must stop all writing says so then.
fn changed_nothing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Full { .. } | ErrorKind::Io { .. })
}

/// After a failure that leaves a commit's fate open, the engine must take no more.
fn stopped(db: &Db, error: Error) -> Error {
    if error.is_outcome_unknown() || error.is_poisoned() {
        let next = db.begin_write().and_then(|mut txn| {
            txn.create_bucket_if_missing("after a failure")?;
            txn.commit()
        });
        if !next.is_err_and(|error| error.is_poisoned()) {
            tell(&format!("failed went-on {error}"));
            std::process::exit(WENT_ON.into());
        }
    }
    error
}
