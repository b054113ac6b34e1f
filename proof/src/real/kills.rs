//! Kills at random moments, of workers that recover what the killed ones before them left.
//!
//! Goal: a process that dies at any moment loses nothing that it acknowledged, and leaves no lock.
//!
//! Method: stores live on through many kills. Some kills hit the opening, some a creation. Most
//! times the store is only read between two workers, so that what is recovered was never closed.
//! An engine with a bug that loses commits must be found out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bristlecone::mutation::Mutation;

use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::session::Session;
use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};
use crate::simulation::random::Random;

/// Kills of one store.
const KILLS: u64 = 40;
/// One of so many stores is on the disk of the rig's directory, the others are in memory.
const ON_DISK: u64 = 8;
/// So often a new store is begun, so that some kills hit its making.
pub(crate) const NEW_PERCENT: usize = 10;
/// What the rig must see in an engine that has it.
const BUG: Mutation = Mutation::AcknowledgedBeforeSync;
const KILLS_WITH_BUG: u64 = 400;
/// A worker lives at most so long.
const LIFE_US: usize = 30_000;

pub(crate) fn run(plan: &Plan) -> Evidence {
    let mut evidence = kills(plan);
    if evidence.is_clean() {
        match kills_until_a_loss(plan) {
            Some(kills) => evidence.counts.insert(format!("kills until {BUG:?} was seen"), kills),
            None => {
                evidence.failures.push(format!("{BUG:?} was not seen in {KILLS_WITH_BUG} kills"));
                None
            }
        };
    }
    evidence
}

/// How many kills show a bug that loses commits when a process dies.
fn kills_until_a_loss(plan: &Plan) -> Option<u64> {
    let dir = places::in_memory(plan).ok()?;
    let orders = Orders { bug: Some(format!("{BUG:?}")), ..Orders::new(dir.path().join("db"), 1) };
    let mut oracle = Oracle::new(&orders);
    let mut random = Random::new(plan.seed);
    (1..=KILLS_WITH_BUG).find(|_| {
        let counts = Counts::default();
        let once = || kill_once(plan, &orders, &mut oracle, &mut random, &counts);
        match catch_unwind(AssertUnwindSafe(once)) {
            Ok(done) => done.is_err_and(|how| how.contains("LOST")),
            Err(_) => false,
        }
    })
}

fn kills(plan: &Plan) -> Evidence {
    seeds(plan, |seed, counts| {
        let dir = match seed % ON_DISK {
            0 => places::on_disk(plan)?,
            _ => places::in_memory(plan)?,
        };
        let mut orders = Orders::varied(dir.path().join("db"), seed);
        let mut oracle = Oracle::new(&orders);
        let mut random = Random::new(seed);
        for life in 0..KILLS.min(plan.cases) {
            if random.percent(NEW_PERCENT) {
                orders.dir = dir.path().join(format!("db {life}"));
                oracle = Oracle::new(&orders);
            }
            kill_once(plan, &orders, &mut oracle, &mut random, counts)
                .map_err(|error| format!("kill {life}: {error}"))?;
            counts.cases(1);
        }
        Ok(())
    })
}

fn kill_once(
    plan: &Plan,
    orders: &Orders,
    oracle: &mut Oracle,
    random: &mut Random,
    counts: &Counts,
) -> Result<(), String> {
    let mut session = Session::start(&plan.worker, orders)?;
    std::thread::sleep(short_time(random, LIFE_US));
    session.kill()?;
    let told = session.finish()?;
    told.check_end()?;
    oracle.hear(&told)?;
    counts.add("acknowledged", told.acknowledged());
    if !told.has_opened() {
        counts.add("kills while opening", 1);
    }
    // What never came to be cannot be looked at, only made.
    let looking = random.percent(60) && orders.dir.join("data").exists();
    oracle.examine(&orders.dir, looking)
}

/// A time that is more often short than long.
pub(crate) fn short_time(random: &mut Random, us_max: usize) -> Duration {
    let longest = 1 + random.below(us_max);
    Duration::from_micros(random.below(longest) as u64)
}
