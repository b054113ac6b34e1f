//! Every system call that changes a file: the process dies before it, or it fails, or it lies.
//!
//! Goal: no call is so placed that dying there, or its failure, loses what was acknowledged.
//!
//! Method: a short history on one thread makes the same calls each time; `strace` picks one call
//! by its name and index. The store is looked at and opened again afterwards.

use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::session::Told;
use super::strace::{self, CALLS};
use crate::record::Evidence;
use crate::rig::{Counts, Plan, each};

/// Commits of the history.
const COMMITS: u64 = 40;
/// Its seed is this and that of the plan: the first history then has every kind of call.
const FIRST: u64 = 2;

/// What happens to one call.
#[derive(Debug)]
struct Site {
    seed: u64,
    call: &'static str,
    how: String,
    killed: bool,
    /// True where the history must come to its end all the same.
    harmless: bool,
}

impl Site {
    fn name(&self) -> String {
        format!("history {}, {}:{}", self.seed, self.call, self.how)
    }
}

/// The process is killed on entering each call.
pub(crate) fn kills(plan: &Plan) -> Evidence {
    run(plan, |seed, counts| {
        let mut sites = Vec::new();
        for (call, count) in CALLS.into_iter().zip(counts) {
            for index in 1..=count {
                let how = format!("signal=KILL:when={index}");
                sites.push(Site { seed, call, how, killed: false, harmless: false });
            }
        }
        sites
    })
}

/// Each sync and each write fails, once and from then on; or all syncs lie, and a kill follows.
pub(crate) fn failures(plan: &Plan) -> Evidence {
    run(plan, |seed, counts| {
        let (call, how) = ("fdatasync,fsync", "retval=0".to_owned());
        let mut sites = vec![Site { seed, call, how, killed: true, harmless: false }];
        for (call, count) in CALLS.into_iter().zip(counts) {
            let outcomes: &[&str] = match call {
                "fdatasync" | "fsync" | "rename" | "mkdir" => &["error=EIO", "error=ENOSPC"],
                "pwrite64" => &["error=EIO", "error=ENOSPC", "retval=0"],
                "fallocate" | "ftruncate" => &["error=ENOSPC"],
                "unlink" => &["error=EIO"],
                // Those of the loader come first.
                _ => continue,
            };
            for outcome in outcomes {
                for index in 1..=count {
                    for forever in ["", "+"] {
                        let how = format!("{outcome}:when={index}{forever}");
                        sites.push(Site { seed, call, how, killed: false, harmless: false });
                    }
                }
            }
        }
        sites
    })
}

/// A signal comes in the middle of each call: it is made again.
pub(crate) fn interruptions(plan: &Plan) -> Evidence {
    run(plan, |seed, counts| {
        let mut sites = Vec::new();
        for (call, count) in CALLS.into_iter().zip(counts) {
            // The kernel completes the other calls, and those of the loader come first.
            if matches!(call, "pwrite64" | "fdatasync" | "fsync" | "fallocate" | "ftruncate") {
                for index in 1..=count {
                    let how = format!("error=EINTR:when={index}");
                    sites.push(Site { seed, call, how, killed: false, harmless: true });
                }
            }
        }
        sites
    })
}

/// One history after the other, until there are sites enough; of the last, a share of them evenly.
fn run(plan: &Plan, sites: impl Fn(u64, Vec<u64>) -> Vec<Site>) -> Evidence {
    if let Some(why) = strace::lacks() {
        return Evidence::skipped(why);
    }
    let mut chosen: Vec<Site> = Vec::new();
    for seed in plan.seed + FIRST.. {
        let left = (plan.cases as usize).saturating_sub(chosen.len());
        if left == 0 {
            break;
        }
        let counts = match count(plan, seed) {
            Ok(counts) => counts,
            Err(why) => return Evidence { failures: vec![why], ..Evidence::default() },
        };
        let all = sites(seed, counts);
        let stride = (all.len() / left).max(1);
        chosen.extend(all.into_iter().step_by(stride));
    }
    each(&chosen, Site::name, |site, counts| run_one(plan, site, counts))
}

fn count(plan: &Plan, seed: u64) -> Result<Vec<u64>, String> {
    let dir = places::in_memory(plan)?;
    let orders = Orders::new(dir.path().join("db"), seed).commits(COMMITS);
    strace::count(&plan.worker, &orders, &dir.path().join("log"))
}

fn run_one(plan: &Plan, site: &Site, counts: &Counts) -> Result<(), String> {
    let dir = places::in_memory(plan)?;
    let orders = Orders::new(dir.path().join("db"), site.seed).commits(COMMITS);
    let orders = Orders { killed: site.killed, ..orders };
    let injected = (site.call, site.how.as_str());
    let told = strace::run(&plan.worker, &orders, injected, &dir.path().join("log"))?;
    let end = |error| format!("{error}; it ended as {:?}", told.lines.last());
    told.check_end()?;
    if site.how.starts_with("signal") && told.status.success() {
        return Err("the worker was not killed".to_owned());
    }
    if site.harmless && !told.status.success() {
        return Err(format!("an interruption ended the worker: {:?}", told.lines.last()));
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
