//! A rig puts the engine through one kind of fault, so and so many times, and counts.
//!
//! Invariant: a rig that could not run says that it was skipped; one that ran and found something
//! wrong, or ran nothing, lists that as a failure. Nothing passes in silence.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::record::Evidence;

/// Threads of a rig that may use several. The machines that this is meant for have few cores.
pub(crate) const THREADS: usize = 2;
/// Failures that are written down; the rest are like them.
const FAILURES_MAX: usize = 8;

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// With every change: at most five minutes.
    Push,
    /// Every night: about an hour.
    Nightly,
    /// Before a release: hours.
    Release,
}

impl Tier {
    /// All tiers, the shortest first.
    pub const ALL: [Tier; 3] = [Tier::Push, Tier::Nightly, Tier::Release];

    /// Its name, as on the command line and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tier::Push => "push",
            Tier::Nightly => "nightly",
            Tier::Release => "release",
        }
    }
}

/// One kind of fault, and how the engine is put through it.
#[derive(Clone, Copy, Debug)]
pub struct Rig {
    /// Its name on the command line, in records and in the documents.
    pub name: &'static str,
    /// What goes wrong.
    pub fault: &'static str,
    /// What the engine must do then.
    pub behaviour: &'static str,
    /// What is counted as a case.
    pub unit: &'static str,
    /// Cases for each tier, the shortest first; zero where the tier leaves it out.
    pub cases: [u64; 3],
    /// Runs it.
    pub run: fn(&Plan) -> Evidence,
}

/// What a rig is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Cases to run; a few more are no harm.
    pub cases: u64,
    /// The first seed; cases count up from it.
    pub seed: u64,
    /// An empty directory of the rig's own.
    pub scratch: PathBuf,
    /// The `proof` binary, whose hidden command `worker` is what gets killed.
    pub worker: PathBuf,
}

/// Runs a rig.
#[must_use]
pub fn run(rig: &Rig, plan: &Plan) -> Evidence {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (rig.run)(plan)));
    let mut evidence = outcome.unwrap_or_else(|panic| {
        let mut evidence = Evidence::default();
        evidence.failures.push(format!("the rig itself failed: {}", message(&*panic)));
        evidence
    });
    if evidence.skipped.is_none() && evidence.cases == 0 && evidence.is_clean() {
        evidence.failures.push("nothing was run".to_owned());
    }
    rig.name.clone_into(&mut evidence.rig);
    rig.unit.clone_into(&mut evidence.unit);
    evidence.seconds = (start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    evidence
}

/// What threads count together while a rig runs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    cases: AtomicU64,
    others: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<Vec<String>>,
    failed: AtomicBool,
}

impl Counts {
    pub(crate) fn cases(&self, more: u64) {
        self.cases.fetch_add(more, Ordering::Relaxed);
    }

    /// Cases so far.
    pub(crate) fn total(&self) -> u64 {
        self.cases.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, name: &str, more: u64) {
        let mut others = self.others.lock().expect("no panic while held");
        *others.entry(name.to_owned()).or_default() += more;
    }

    pub(crate) fn fail(&self, failure: String) {
        self.failed.store(true, Ordering::Relaxed);
        eprintln!("FAILED: {failure}");
        let mut failures = self.failures.lock().expect("no panic while held");
        if failures.len() < FAILURES_MAX {
            failures.push(failure);
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The sum of it all.
    pub(crate) fn into_evidence(self) -> Evidence {
        Evidence {
            cases: self.cases.into_inner(),
            counts: self.others.into_inner().expect("no panic while held"),
            failures: self.failures.into_inner().expect("no panic while held"),
            ..Evidence::default()
        }
    }
}

/// Runs `work` for one seed after the other, on all threads, until enough cases are counted or one
/// failed, by an error or by a panic.
pub(crate) fn seeds(
    plan: &Plan,
    work: impl Fn(u64, &Counts) -> Result<(), String> + Sync,
) -> Evidence {
    let (counts, next) = (Counts::default(), AtomicU64::new(plan.seed));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while counts.cases.load(Ordering::Relaxed) < plan.cases && !counts.has_failed() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    attempt(&counts, || format!("seed {seed}"), || work(seed, &counts));
                }
            });
        }
    });
    let last = next.into_inner() - 1;
    Evidence { seeds: Some((plan.seed, last)), ..counts.into_evidence() }
}

/// Runs `work` for each of the items, on all threads, until one failed.
pub(crate) fn each<T: Sync>(
    items: &[T],
    name: impl Fn(&T) -> String + Sync,
    work: impl Fn(&T, &Counts) -> Result<(), String> + Sync,
) -> Evidence {
    let (counts, next) = (Counts::default(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !counts.has_failed() {
                    let index = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(item) = items.get(index) else { break };
                    attempt(&counts, || name(item), || work(item, &counts));
                }
            });
        }
    });
    counts.into_evidence()
}

fn attempt(counts: &Counts, name: impl Fn() -> String, work: impl FnOnce() -> Result<(), String>) {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => counts.fail(format!("{}: {error}", name())),
        Err(panic) => counts.fail(format!("{}: {}", name(), message(&*panic))),
    }
}

/// What a panic said, on one line.
pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").replace('\n', " ")
}
