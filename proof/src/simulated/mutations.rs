//! The crash simulation proves itself: with each of the engine's seeded bugs it must fail.
//!
//! Method: the random histories of `crashes` run with one bug at a time until one of them fails;
//! how many crash images that took is counted. A bug that they miss is hunted where the names of
//! files often fail to become durable, then on disks that lie.
//! The engine without a bug passes the same histories, which is what `crashes` and `lies` show.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bristlecone::mutation::{self, Mutation};

use crate::record::Evidence;
use crate::rig::{Plan, each, message};
use crate::simulation::crash::CrashHistory;

/// Histories given to each bug.
const HISTORIES: u64 = 100;
/// Histories with failures, given to each bug that those missed.
const HISTORIES_FAILING: u64 = 60;
const LIVES: u64 = 4;
const IMAGES_PER_EVENT: u64 = 4;
/// Histories with a lie, given to each bug that the others missed.
const HISTORIES_WITH_LIES: u64 = 3000;
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
            mutation::set(Some(bug));
            let plain = |seed| CrashHistory::new(seed, IMAGES_PER_EVENT);
            let failing = |seed| CrashHistory::with_failing_names(seed, IMAGES_PER_EVENT);
            let caught = hunt(plan.seed, HISTORIES, "images", plain)
                .or_else(|| hunt(plan.seed, HISTORIES_FAILING, "images after failures", failing))
                .or_else(|| hunt_with_lies(plan.seed));
            mutation::set(None);
            let Catch { cases, unit, seed, how } = caught.ok_or("was not caught")?;
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

/// Runs histories until one fails.
fn hunt(
    first: u64,
    histories: u64,
    unit: &'static str,
    make: impl Fn(u64) -> CrashHistory,
) -> Option<Catch> {
    let mut images = 0;
    for seed in first..first + histories {
        let mut history = make(seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| history.run(LIVES)));
        images += history.tally.images;
        let how = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => message(&*panic),
        };
        return Some(Catch { cases: images, unit, seed, how: told(&how) });
    }
    None
}

/// Some bugs show only on a disk that lies.
fn hunt_with_lies(first: u64) -> Option<Catch> {
    let mut lies = 0;
    for seed in first..first + HISTORIES_WITH_LIES {
        let lie = || CrashHistory::plain(seed).lie();
        let how = match catch_unwind(AssertUnwindSafe(lie)) {
            Ok(Ok(lied)) => {
                lies += lied.met;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => message(&*panic),
        };
        return Some(Catch { cases: lies, unit: "lies", seed, how: told(&how) });
    }
    None
}

fn told(how: &str) -> String {
    how.chars().take(TOLD_CHARS).collect()
}
