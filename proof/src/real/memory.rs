//! Little memory: a group with less than the store needs, and allocations that fail.
//!
//! Goal: a store larger than memory is read and written; a process that memory kills, or that ends
//! because an allocation failed, is a process that was killed.

use std::os::unix::process::ExitStatusExt;

use super::cgroups::{self, Cgroup};
use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::session::{self, Ends, Session};
use crate::record::Evidence;
use crate::rig::{Counts, Plan, each, seeds};

const GROUP_BYTES: u64 = 64 << 20;
/// Values so large, and so many commits, that the store is larger than the group's memory.
const SCALE: usize = 60;
const COMMITS: u64 = 700;
/// Commits of the history whose allocations fail, and its seed.
const FEW_COMMITS: u64 = 25;
const SEED: u64 = 3;
/// An allocation that no history comes to.
const FAR: u64 = 1 << 40;
const ABORTED: i32 = 6;
const NOT_REACHED: &str = "not reached";

/// A store that is larger than the memory of its process.
pub(crate) fn small(plan: &Plan) -> Evidence {
    if let Some(why) = cgroups::lacks() {
        return Evidence::skipped(why);
    }
    seeds(plan, |seed, counts| {
        // On a disk: what is in memory would count as the group's.
        let dir = places::on_disk(plan)?;
        let orders = Orders::new(dir.path().join("db"), seed).commits(COMMITS);
        let orders = Orders { scale: SCALE, ..orders };
        let mut oracle = Oracle::new(&orders);
        let group = Cgroup::new(GROUP_BYTES)?;
        let through = group.through();
        let through: Vec<&str> = through.iter().map(String::as_str).collect();
        let told = Session::start(&through, &plan.worker, &orders)?.finish()?;
        told.check_end(Ends::KILLED)?;
        oracle.hear(&told)?;
        counts.add("killed by the limit", u64::from(!told.status.success()));
        counts.add("acknowledged", told.acknowledged());
        let data = std::fs::metadata(orders.dir.join("data")).map_err(|error| error.to_string())?;
        counts.add("MiB of stores", data.len() >> 20);
        if told.acknowledged() == 0 || data.len() <= GROUP_BYTES {
            let (bytes, commits) = (data.len(), told.acknowledged());
            return Err(format!("a store of {bytes} bytes, {commits} commits: not large enough"));
        }
        let read = Orders { read: true, ..orders.clone() };
        let told = Session::start(&through, &plan.worker, &read)?.finish()?;
        told.check_end(Ends::WELL).map_err(|error| format!("reading: {error}"))?;
        oracle.hear(&told)?;
        if !told.has_opened() {
            return Err(format!("a reader said {:?}", told.lines));
        }
        counts.add("MiB of memory at most, summed", group.peak() >> 20);
        oracle.examine(&orders.dir, false)?;
        counts.cases(1);
        Ok(())
    })
}

/// Each allocation of a history fails, or a share of them.
pub(crate) fn failing(plan: &Plan) -> Evidence {
    let all = match allocations(plan) {
        Ok(all) => all,
        Err(why) => return Evidence { failures: vec![why], ..Evidence::default() },
    };
    let stride = (all / plan.cases.max(1)).max(1);
    let chosen: Vec<u64> = (1..=all).step_by(stride as usize).collect();
    let name = |number: &u64| format!("allocation {number}");
    each(&chosen, name, |&number, counts| fail_one(plan, number, counts))
}

/// No fewer than the allocations of the history, and less than twice as many.
fn allocations(plan: &Plan) -> Result<u64, String> {
    let mut number = 1;
    while number < FAR {
        let counts = Counts::default();
        fail_one(plan, number, &counts)?;
        if counts.into_evidence().counts.contains_key(NOT_REACHED) {
            return Ok(number);
        }
        number *= 2;
    }
    Err("a history that allocates without end".to_owned())
}

fn fail_one(plan: &Plan, number: u64, counts: &Counts) -> Result<(), String> {
    let dir = places::in_memory(plan)?;
    let orders = Orders::new(dir.path().join("db"), SEED).commits(FEW_COMMITS);
    let orders = Orders { failing_allocation: number, ..orders };
    let told = session::run(&plan.worker, &orders)?;
    let mut oracle = Oracle::new(&orders);
    oracle.hear(&told)?;
    if told.status.signal() == Some(ABORTED) {
        counts.add("aborted", 1);
        counts.cases(1);
    } else {
        told.check_end(Ends::WELL)?;
        counts.add(NOT_REACHED, 1);
    }
    let looking = number.is_multiple_of(2) && orders.dir.join("data").exists();
    Ok(oracle.examine(&orders.dir, looking)?)
}
