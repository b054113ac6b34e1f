//! Kills at random moments, of workers that recover what the killed ones before them left.
//!
//! Goal: a process that dies at any moment loses nothing that it acknowledged, and leaves no lock.
//!
//! Method: stores live on through many kills. Some kills hit the opening, some a creation; most
//! lives begin to count when the store is open, so that a slow start does not use them up. Most
//! times the store is only read between two workers, so that what is recovered was never closed.
//! An engine with a bug that loses commits must be found out.

use std::time::Duration;

use bristlecone::mutation::Mutation;

use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::session::{Ends, Line, Session, Told};
use super::wrong::{Why, Wrong};
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
/// So many lives begin to count at the start, and so many when something is acknowledged; the
/// others when the store is open.
const FROM_START_PERCENT: usize = 20;
const FROM_COMMIT_PERCENT: usize = 20;
/// Opening takes such a share of the longest life, more or less.
const OPENING_SHARE: usize = 8;
/// So many lives in which nothing is acknowledged show nothing.
const LIVES: u64 = 20;
/// What is counted of them.
const ACKNOWLEDGING: &str = "lives that acknowledged";

pub(crate) fn run(plan: &Plan) -> Evidence {
    let mut evidence = kills(plan);
    if evidence.is_clean() {
        match kills_until_a_loss(plan) {
            Ok(kills) => {
                evidence.counts.insert(format!("kills until {BUG:?} was seen"), kills);
            }
            Err(why) => evidence.failures.push(format!("{BUG:?}: {why}")),
        }
    }
    evidence
}

/// How many kills show a bug that loses commits when a process dies.
fn kills_until_a_loss(plan: &Plan) -> Result<u64, String> {
    let dir = places::in_memory(plan)?;
    let orders = Orders { bug: Some(format!("{BUG:?}")), ..Orders::new(dir.path().join("db"), 1) };
    let mut oracle = Oracle::new(&orders);
    let mut random = Random::new(plan.seed);
    for kill in 1..=KILLS_WITH_BUG {
        match kill_once(plan, &orders, &mut oracle, &mut random, &Counts::default()) {
            Ok(()) => {}
            Err(wrong) if wrong.why == Why::Lost => return Ok(kill),
            Err(wrong) => return Err(wrong.into()),
        }
    }
    Err(format!("not seen in {KILLS_WITH_BUG} kills"))
}

fn kills(plan: &Plan) -> Evidence {
    let evidence = seeds(plan, |seed, counts| {
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
    });
    require_commits(evidence)
}

/// Fails where nothing was ever acknowledged: then there was nothing to lose.
pub(crate) fn require_commits(mut evidence: Evidence) -> Evidence {
    if evidence.cases >= LIVES && evidence.counts.get(ACKNOWLEDGING).is_none_or(|&lives| lives == 0)
    {
        evidence.failures.push(format!("{} lives acknowledged nothing", evidence.cases));
    }
    evidence
}

fn kill_once(
    plan: &Plan,
    orders: &Orders,
    oracle: &mut Oracle,
    random: &mut Random,
    counts: &Counts,
) -> Result<(), Wrong> {
    let mut session = Session::start(&[], &plan.worker, orders)?;
    let_live(&mut session, random, LIFE_US)?;
    session.kill()?;
    let told = session.finish()?;
    told.check_end(Ends::KILLED)?;
    oracle.hear(&told)?;
    count(&told, counts);
    // What never came to be cannot be looked at, only made.
    let looking = random.percent(60) && orders.dir.join("data").exists();
    oracle.examine(&orders.dir, looking)
}

/// Waits until a worker has lived long enough.
pub(crate) fn let_live(
    session: &mut Session,
    random: &mut Random,
    us_max: usize,
) -> Result<(), String> {
    let percent = random.below(100);
    let mut longest = us_max;
    // One that ends before that is judged by its end.
    if percent < FROM_START_PERCENT {
        longest = us_max / OPENING_SHARE;
    } else if percent < FROM_START_PERCENT + FROM_COMMIT_PERCENT {
        let _acknowledged = session.await_that(|line| matches!(line, Line::Acknowledged(_)))?;
    } else {
        let _opened = session.await_that(|line| matches!(line, Line::Opened { .. }))?;
    }
    std::thread::sleep(short_time(random, longest));
    Ok(())
}

/// Counts what a worker did until it was killed.
pub(crate) fn count(told: &Told, counts: &Counts) {
    counts.add("acknowledged", told.acknowledged());
    counts.add(ACKNOWLEDGING, u64::from(told.acknowledged() > 0));
    counts.add("kills while opening", u64::from(!told.has_opened()));
}

/// A time that is more often short than long.
pub(crate) fn short_time(random: &mut Random, us_max: usize) -> Duration {
    let longest = 1 + random.below(us_max);
    Duration::from_micros(random.below(longest) as u64)
}
