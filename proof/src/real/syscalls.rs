//! Every system call that changes a file: the process dies before it, or it fails.
//!
//! Goal: no call is so placed that dying there, or its failure, loses what was acknowledged.
//!
//! Method: a short history on one thread makes the same calls each time; `strace` picks one call
//! by its name and index. The store is looked at and opened again afterwards.

use std::ops::RangeInclusive;

use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::session::{Ends, Told};
use super::strace::{self, CALLS};
use super::wrong::Wrong;
use crate::record::Evidence;
use crate::rig::{Counts, Plan, each};

/// Commits of the history.
const COMMITS: u64 = 40;
/// Its seed is this and that of the plan: the first history then has every kind of call.
const FIRST: u64 = 2;

/// What the engine may say when a call fails that must not.
const BROKEN: &[&str] = &["io", "outcome-unknown", "poisoned"];
/// The same when there is no room.
const OUT_OF_ROOM: &[&str] = &["full", "io", "outcome-unknown", "poisoned"];

/// What happens to one call.
#[derive(Debug)]
struct Site {
    seed: u64,
    call: &'static str,
    how: String,
    ends: Ends,
}

impl Site {
    fn name(&self) -> String {
        format!("history {}, {}:{}", self.seed, self.call, self.how)
    }
}

/// The process is killed on entering each call.
pub(crate) fn kills(plan: &Plan) -> Evidence {
    run(plan, |seed, calls| {
        let mut sites = Vec::new();
        for (call, indices) in CALLS.into_iter().zip(calls) {
            for index in indices {
                let how = format!("signal=KILL:when={index}");
                sites.push(Site { seed, call, how, ends: Ends::KILLED });
            }
        }
        sites
    })
}

/// Each sync and each write fails, once and from then on.
pub(crate) fn failures(plan: &Plan) -> Evidence {
    run(plan, |seed, calls| {
        let mut sites = Vec::new();
        for (call, indices) in CALLS.into_iter().zip(calls) {
            let outcomes: &[&str] = match call {
                "fdatasync" | "fsync" | "rename" | "mkdir" => &["error=EIO", "error=ENOSPC"],
                "pwrite64" | "pwritev2" => &["error=EIO", "error=ENOSPC", "retval=0"],
                "fallocate" | "ftruncate" => &["error=ENOSPC"],
                "unlink" => &["error=EIO"],
                // Those of the loader come first.
                _ => continue,
            };
            for outcome in outcomes {
                let full = outcome.contains("ENOSPC");
                let ends = Ends::failed(if full { OUT_OF_ROOM } else { BROKEN });
                for index in indices.clone() {
                    for forever in ["", "+"] {
                        let how = format!("{outcome}:when={index}{forever}");
                        sites.push(Site { seed, call, how, ends });
                    }
                }
            }
        }
        sites
    })
}

/// A signal comes in the middle of each call: it is made again.
pub(crate) fn interruptions(plan: &Plan) -> Evidence {
    run(plan, |seed, calls| {
        let mut sites = Vec::new();
        for (call, indices) in CALLS.into_iter().zip(calls) {
            // The kernel completes the other calls, and those of the loader come first.
            if matches!(
                call,
                "pwrite64" | "pwritev2" | "fdatasync" | "fsync" | "fallocate" | "ftruncate"
            ) {
                for index in indices {
                    let how = format!("error=EINTR:when={index}");
                    sites.push(Site { seed, call, how, ends: Ends::WELL });
                }
            }
        }
        sites
    })
}

/// One history after the other, until there are sites enough; of the last, a share of them evenly.
fn run(plan: &Plan, sites: impl Fn(u64, Vec<RangeInclusive<u64>>) -> Vec<Site>) -> Evidence {
    if let Some(why) = strace::lacks() {
        return Evidence::skipped(why);
    }
    let mut chosen: Vec<Site> = Vec::new();
    for seed in plan.seed + FIRST.. {
        let left = (plan.cases as usize).saturating_sub(chosen.len());
        if left == 0 {
            break;
        }
        let calls = match count(plan, seed) {
            Ok(calls) => calls,
            Err(why) => return Evidence { failures: vec![why], ..Evidence::default() },
        };
        let all = sites(seed, calls);
        let stride = (all.len() / left).max(1);
        chosen.extend(all.into_iter().step_by(stride));
    }
    each(&chosen, Site::name, |site, counts| run_one(plan, site, counts))
}

fn count(plan: &Plan, seed: u64) -> Result<Vec<RangeInclusive<u64>>, String> {
    let dir = places::in_memory(plan)?;
    let orders = Orders::new(dir.path().join("db"), seed).commits(COMMITS);
    strace::count(&plan.worker, &orders, &dir.path().join("log"))
}

fn run_one(plan: &Plan, site: &Site, counts: &Counts) -> Result<(), String> {
    let dir = places::in_memory(plan)?;
    let orders = Orders::new(dir.path().join("db"), site.seed).commits(COMMITS);
    let injected = (site.call, site.how.as_str());
    let told = strace::run(&plan.worker, &orders, injected, &dir.path().join("log"))?;
    let end = |wrong: Wrong| format!("{wrong}; it ended as {:?}", told.lines.last());
    told.check_end(site.ends)?;
    if site.how.starts_with("signal") && told.status.success() {
        return Err("the worker was not killed".to_owned());
    }
    let mut oracle = Oracle::new(&orders);
    oracle.hear(&told).map_err(end)?;
    if orders.dir.join("data").exists() {
        oracle.examine(&orders.dir, true).map_err(end)?;
    }
    oracle.examine(&orders.dir, false).map_err(end)?;
    oracle.examine(&orders.dir, false).map_err(end)?;
    counts.cases(1);
    counts.add(outcome(&told), 1);
    Ok(())
}

/// How the worker ended, as it is counted.
fn outcome(told: &Told) -> &'static str {
    match told.failure() {
        Some("full") => "ended: full",
        Some("outcome-unknown") => "ended: outcome unknown",
        Some("poisoned") => "ended: poisoned",
        Some(_) => "ended: another error",
        None if told.status.success() => "ended: all commits done",
        None => "ended: killed",
    }
}
