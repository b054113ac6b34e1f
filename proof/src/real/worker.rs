//! The process that uses the database until it is killed, or its disk is.
//!
//! It tells each thing it does in a line of its own on its standard output, written at once, so
//! that a kill loses nothing that it acknowledged:
//!
//! ```text
//! opened <revision> <checksum of all content>
//! begun <thread> <number> <revision>
//! acknowledged <revision>        by its commit, or by a sync, a checkpoint or a close after it
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
/// What a worker that stopped by itself says it met, and its exit codes.
pub(crate) const KINDS: [(&str, u8); 10] = [
    ("full", 20),
    ("outcome-unknown", 21),
    ("poisoned", 22),
    ("read-only", 23),
    ("locked", 24),
    ("corrupt", 25),
    ("io", 26),
    ("not-a-database", 27),
    ("other", 28),
    // It committed after a failure which must stop all writing.
    (WENT_ON, 30),
];
const WENT_ON: &str = "went-on";

/// The kind of an error.
pub(crate) fn kind_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Full { .. } => "full",
        ErrorKind::OutcomeUnknown { .. } => "outcome-unknown",
        ErrorKind::Poisoned { .. } => "poisoned",
        ErrorKind::ReadOnly { .. } => "read-only",
        ErrorKind::Locked { .. } => "locked",
        ErrorKind::Corrupt(_) => "corrupt",
        ErrorKind::Io { .. } => "io",
        ErrorKind::NotADatabase { .. } => "not-a-database",
        _ => "other",
    }
}

/// The exit code of a kind.
pub(crate) fn code_of(kind: &str) -> Option<u8> {
    KINDS.into_iter().find_map(|(name, code)| (name == kind).then_some(code))
}

/// Runs a worker.
#[must_use]
pub fn run(orders: &Orders) -> ExitCode {
    // A worker never outlives the process that judges it.
    let _best_effort = set_parent_process_death_signal(Some(Signal::KILL));
    if let Err(error) = bristlecone::exit_on_map_failure() {
        return fail("other", &format!("no handler for maps: {error}")).into();
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
        Err(error) => fail(kind_of(&error), &error.to_string()).into(),
    }
}

/// Tells of a failure; the exit code that goes with it.
fn fail(kind: &str, why: &str) -> u8 {
    tell(&format!("failed {kind} {why}"));
    code_of(kind).expect("every kind has a code")
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
                    std::process::exit(fail(kind_of(&error), &error.to_string()).into());
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
    /// Of its last commit, durable or not.
    revision: TxnId,
}

impl<'a> Thread<'a> {
    fn new(orders: &'a Orders, thread: usize, db: &Db) -> Result<Thread<'a>> {
        let number = last_number(&db.begin_read()?, thread)?;
        Ok(Thread { orders, thread, number, revision: db.stats().revision })
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
                Then::Sync => {
                    db.sync().map_err(|error| stopped(&db, error))?;
                    self.acknowledge();
                }
                Then::Checkpoint => match db.checkpoint() {
                    Ok(()) => self.acknowledge(),
                    Err(error) if changed_nothing(&error) => tell(&format!("refused {error}")),
                    Err(error) => return Err(stopped(&db, error)),
                },
                Then::Reopen if alone => {
                    db.close()?;
                    self.acknowledge();
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

    /// All that it committed so far is durable.
    fn acknowledge(&self) {
        tell(&format!("acknowledged {}", self.revision.0));
    }

    fn commit(&mut self, db: &Db, transaction: &Transaction) -> Result<()> {
        for left in (0..TRIES).rev() {
            match self.try_to_commit(db, transaction) {
                Ok(revision) => {
                    self.revision = revision;
                    if transaction.durability == Durability::Sync {
                        self.acknowledge();
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
            std::process::exit(fail(WENT_ON, &error.to_string()).into());
        }
    }
    error
}
