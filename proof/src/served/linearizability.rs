//! Clients that read and write registers over HTTP while the server is killed and started again.
//!
//! Goal: what they see could have happened one operation after the other, each between its request
//! and its answer; and an answered write is never lost. A request without an answer may have been
//! done or not, but not first one and then the other.
//!
//! Method: rounds of a few thousand operations by some clients on a few keys, with kills at random
//! moments; after each round the history of each key is checked by itself. Linearizability is
//! local: if each key's history is linearizable, the whole is (Herlihy and Wing, 1990).

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use super::client::Client;
use super::register::{self, NEVER, Operation, UNKNOWN};
use super::server::Server;
use crate::record::Evidence;
use crate::rig::{Counts, Plan};
use crate::simulation::random::Random;

const CLIENTS: u64 = 8;
const KEYS: usize = 6;
const OPERATIONS_PER_ROUND: u64 = 8000;
/// Attempts to connect, a millisecond apart.
const CONNECTS_MAX: usize = 10_000;
/// Kills come after a random time up to this.
const KILL_AFTER_MS: usize = 400;

pub(crate) fn run(plan: &Plan) -> Evidence {
    let counts = Counts::default();
    let dir = plan.scratch.join("db");
    let mut round = 0;
    while counts.total() < plan.cases && !counts.has_failed() {
        round += 1;
        let operations = OPERATIONS_PER_ROUND.min(plan.cases);
        let outcome = Round::new(plan.seed, round, operations).play(&plan.worker, &dir, &counts);
        if let Err(failure) = outcome {
            counts.fail(format!("round {round}: {failure}"));
        }
    }
    counts.into_evidence()
}

/// True for what a client sees when the server is killed.
fn is_cut_off(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// One round, as its clients share it.
struct Round {
    seed: u64,
    number: u64,
    start: Instant,
    /// Operations that are still to be begun.
    left: AtomicU64,
    /// Each write writes another value.
    next_value: AtomicU64,
    server: RwLock<Option<Server>>,
    histories: Mutex<HashMap<usize, Vec<Operation>>>,
    failure: Mutex<Option<String>>,
    over: AtomicBool,
    kills: AtomicU64,
}

impl Round {
    fn new(seed: u64, number: u64, operations: u64) -> Round {
        Round {
            seed,
            number,
            start: Instant::now(),
            left: AtomicU64::new(operations),
            next_value: AtomicU64::new(NEVER + 1),
            server: RwLock::new(None),
            histories: Mutex::new(HashMap::new()),
            failure: Mutex::new(None),
            over: AtomicBool::new(false),
            kills: AtomicU64::new(0),
        }
    }

    fn play(self, program: &Path, dir: &Path, counts: &Counts) -> Result<(), String> {
        *self.server.write().expect("no panic while held") = Some(Server::start(program, dir)?);
        let mut random = Random::new(self.seed ^ self.number << 32);
        std::thread::scope(|scope| {
            let round = &self;
            let clients: Vec<_> =
                (0..CLIENTS).map(|number| scope.spawn(move || round.client(number))).collect();
            let working = || clients.iter().any(|client| !client.is_finished());
            while working() {
                let pause = Duration::from_millis(1 + random.below(KILL_AFTER_MS) as u64);
                let until = Instant::now() + pause;
                while working() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if working() {
                    counts.add("kills", 1);
                    if let Err(failure) = self.restart(program, dir) {
                        self.fail(failure);
                    }
                }
            }
        });
        // What is on the device after the last kill is part of every key's history.
        self.restart(program, dir)?;
        self.read_all();
        if let Some(server) = self.server.into_inner().expect("no panic while held") {
            server.kill()?;
        }
        if let Some(failure) = self.failure.into_inner().expect("no panic while held") {
            return Err(failure);
        }
        for (key, history) in self.histories.into_inner().expect("no panic while held") {
            counts.cases(history.len() as u64);
            let unknown = history.iter().filter(|operation| operation.end == UNKNOWN).count();
            counts.add("writes without an answer", unknown as u64);
            register::check(&history).map_err(|error| format!("key {key}: {error}"))?;
        }
        Ok(())
    }

    /// Kills the server and starts it again. Clients wait meanwhile.
    fn restart(&self, program: &Path, dir: &Path) -> Result<(), String> {
        let mut server = self.server.write().expect("no panic while held");
        self.kills.fetch_add(1, Ordering::SeqCst);
        if let Some(server) = server.take() {
            server.kill()?;
        }
        *server = Some(Server::start(program, dir)?);
        Ok(())
    }

    /// Reads and writes until the round is over.
    fn client(&self, number: u64) {
        let mut random = Random::new(self.seed ^ self.number << 32 ^ (number + 1) << 56);
        let mut seen: Vec<(usize, Operation)> = Vec::new();
        let mut connection = None;
        while !self.over.load(Ordering::Relaxed) && self.begin_one() {
            let Some((mut client, kills)) = connection.take().or_else(|| self.connect()) else {
                break;
            };
            let key = random.below(KEYS);
            let name = format!("{}-{key}", self.number);
            let start = self.now();
            let write = random.percent(40);
            let done = if write {
                let value = self.next_value.fetch_add(1, Ordering::Relaxed);
                client.put(&name, value).map_err(|error| (Some(value), error)).map(|()| value)
            } else {
                client.get(&name).map_err(|error| (None, error))
            };
            match done {
                Ok(value) => {
                    let end = self.now();
                    seen.push((key, Operation { write, value, start, end }));
                    connection = Some((client, kills));
                }
                // Killed: a write was done or not, a read tells nothing.
                Err((value, error)) if is_cut_off(&error) && self.kills() > kills => {
                    let unknown = |value| Operation { write, value, start, end: UNKNOWN };
                    seen.extend(value.map(|value| (key, unknown(value))));
                }
                Err((_, error)) => self.fail(format!("client {number}: {error}")),
            }
        }
        let mut histories = self.histories.lock().expect("no panic while held");
        for (key, operation) in seen {
            histories.entry(key).or_default().push(operation);
        }
    }

    /// Reads every key once more.
    fn read_all(&self) {
        let Some((mut client, _)) = self.connect() else { return };
        let mut histories = self.histories.lock().expect("no panic while held");
        for (key, history) in histories.iter_mut() {
            let start = self.now();
            match client.get(&format!("{}-{key}", self.number)) {
                Ok(value) => {
                    history.push(Operation { write: false, value, start, end: self.now() });
                }
                Err(error) => self.fail(format!("the last read of key {key}: {error}")),
            }
        }
    }

    /// Kills that were begun.
    fn kills(&self) -> u64 {
        self.kills.load(Ordering::SeqCst)
    }

    fn begin_one(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Connects to the server, the next one if this one is being killed; tells the kills before.
    fn connect(&self) -> Option<(Client, u64)> {
        for _ in 0..CONNECTS_MAX {
            let (address, kills) = {
                let server = self.server.read().expect("no panic while held");
                (server.as_ref().map(|server| server.address), self.kills())
            };
            match address.map(Client::connect) {
                Some(Ok(client)) => return Some((client, kills)),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        self.fail("the server does not accept connections".to_owned());
        None
    }

    fn now(&self) -> u64 {
        1 + self.start.elapsed().as_nanos() as u64
    }

    fn fail(&self, failure: String) {
        *self.failure.lock().expect("no panic while held") = Some(failure);
        self.over.store(true, Ordering::Relaxed);
    }
}
