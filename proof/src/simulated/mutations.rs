//! The crash simulation proves itself: with each of the engine's seeded bugs it must fail.
//!
//! Method: the random histories of `crashes` run with one bug at a time until one of them fails;
//! how many crash images that took is counted. A bug that the first of them miss is hunted on
//! disks that lie, then where writes often fail to become durable, then in more of them.
//! The engine without a bug passes the same histories, which is what `crashes` and `lies` show, and
//! passes at once the one in which a bug was caught.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bristlecone::mutation::{self, Mutation};

use crate::record::Evidence;
use crate::rig::{Plan, each, message};
use crate::simulation::crash::CrashHistory;

/// Histories given to each bug first, and in all.
const HISTORIES_FIRST: u64 = 25;
const HISTORIES: u64 = 150;
/// Histories with a lie, given to each bug that those missed.
const HISTORIES_WITH_LIES: u64 = 500;
/// Histories with failures, given to each bug that those missed.
const HISTORIES_FAILING: u64 = 600;
/// Histories with commits that return to one key, given to each bug that those missed.
const HISTORIES_RETURNING: u64 = 3000;
const AFTER: &str = "images after failures";
const RETURNS: &str = "checkpoints with returns";
const MORE: &str = "more images";
const LIVES: u64 = 4;
const IMAGES_PER_EVENT: u64 = 4;
/// How much is told of what caught a bug.
const TOLD_CHARS: usize = 90;

/// Every bug there is; the plan's number of cases is not asked.
pub(crate) fn run(plan: &Plan) -> Evidence {
    // Panics are what is wanted here.
    std::panic::set_hook(Box::new(|_| {}));
    let evidence = each(
        &Mutation::ALL,
        |bug| format!("{bug:?}"),
        |&bug, counts| {
            let plain = |seed| CrashHistory::new(seed, IMAGES_PER_EVENT);
            let failing = |seed| CrashHistory::with_failures(seed, IMAGES_PER_EVENT);
            let (first, rest) = (0..HISTORIES_FIRST, HISTORIES_FIRST..HISTORIES);
            let (lying, after) = (0..HISTORIES_WITH_LIES, 0..HISTORIES_FAILING);
            let returning = 0..HISTORIES_RETURNING;
            let hunts: [&dyn Fn() -> Hunted; 5] = [
                &|| hunt(bug, seeds(plan, &first), "images", &|seed| images(plain(seed))),
                &|| hunt(bug, seeds(plan, &returning), RETURNS, &returns),
                &|| hunt(bug, seeds(plan, &lying), "lies", &lies),
                &|| hunt(bug, seeds(plan, &after), AFTER, &|seed| images(failing(seed))),
                &|| hunt(bug, seeds(plan, &rest), MORE, &|seed| images(plain(seed))),
            ];
            let caught = hunts.iter().find_map(|hunt| hunt().transpose());
            let Catch { cases, unit, seed, how } = caught.ok_or("was not caught")??;
            println!("    {bug:?}: caught after {cases} {unit}, seed {seed}: {how}");
            counts.cases(1);
            counts.add(&format!("{unit} until {bug:?}"), cases);
            Ok(())
        },
    );
    drop(std::panic::take_hook());
    evidence
}

/// How a bug was caught: after so many cases, in this history.
struct Catch {
    cases: u64,
    unit: &'static str,
    seed: u64,
    how: String,
}

/// The catch, if there is one; an error when the engine fails without the bug too.
type Hunted = Result<Option<Catch>, String>;

fn seeds(plan: &Plan, histories: &Range<u64>) -> Range<u64> {
    plan.seed + histories.start..plan.seed + histories.end
}

/// Runs histories until one fails with the bug, and that one once more without it. A history tells
/// its cases, and what failed.
fn hunt(
    bug: Mutation,
    seeds: Range<u64>,
    unit: &'static str,
    history: &dyn Fn(u64) -> (u64, Option<String>),
) -> Hunted {
    let mut cases = 0;
    for seed in seeds {
        mutation::set(Some(bug));
        let (more, failure) = history(seed);
        mutation::set(None);
        cases += more;
        let Some(how) = failure else { continue };
        // A rig that objects to a sound engine would seem to catch every bug.
        if let (_, Some(how)) = history(seed) {
            return Err(format!("seed {seed} fails without {bug:?} too: {how}"));
        }
        return Ok(Some(Catch { cases, unit, seed, how: told(&how) }));
    }
    Ok(None)
}

/// A history cut by power failures.
fn images(mut history: CrashHistory) -> (u64, Option<String>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| history.run(LIVES)));
    (history.tally.images, failure(outcome.map(|done| done.map(|()| 0))).err())
}

/// A history with commits that return to one key, not cut.
fn returns(seed: u64) -> (u64, Option<String>) {
    let live = || CrashHistory::with_returns(seed, 1).live_uncut();
    match failure(catch_unwind(AssertUnwindSafe(live))) {
        Ok(checkpoints) => (checkpoints, None),
        Err(how) => (0, Some(how)),
    }
}

/// A history on a disk that lies: some bugs show only there.
fn lies(seed: u64) -> (u64, Option<String>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| CrashHistory::plain(seed).lie()));
    match failure(outcome.map(|done| done.map(|lied| lied.met))) {
        Ok(met) => (met, None),
        Err(how) => (0, Some(how)),
    }
}

fn failure(outcome: std::thread::Result<bristlecone::Result<u64>>) -> Result<u64, String> {
    match outcome {
        Ok(Ok(met)) => Ok(met),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(message(&*panic)),
    }
}

fn told(how: &str) -> String {
    how.chars().take(TOLD_CHARS).collect()
}
