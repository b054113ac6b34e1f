//! File systems and files that have no room, at every size around that of the store.
//!
//! Goal: a write that finds no room is refused and changes nothing; reads go on, and so do deletes;
//! when there is room again, so do writes, without a restart.
//!
//! Method: every other case is a file system in memory that is enlarged under the open database,
//! for a share with the engine's own threads; the others are a limit on the size of files that a
//! worker runs under, which cuts writes short.

use bristlecone::Db;

use super::mounts::{Mount, lacks_memory};
use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::programs;
use super::session::{Ends, Line, Session};
use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};

/// Sizes go up in steps of a page or so, in an order that mixes small and large.
const SIZES: u64 = 500;
const STEP_BYTES: u64 = 4 << 10;
const SMALLEST_BYTES: u64 = 16 << 10;
/// Prime to the number of sizes.
const STRIDE: u64 = 37;
/// Commits that a full file system is offered in all, and in a row.
const COMMITS: u64 = 400;
const REFUSALS: u64 = 3;
const ROOM: &str = "size=64m";

pub(crate) fn run(plan: &Plan) -> Evidence {
    if let Some(why) = lacks_memory(plan).or_else(|| programs::lacks(&["prlimit"])) {
        return Evidence::skipped(why);
    }
    seeds(plan, |seed, counts| {
        let bytes = SMALLEST_BYTES + seed * STRIDE % SIZES * STEP_BYTES;
        let done = match seed % 2 {
            0 => fill(plan, seed, bytes, counts),
            _ => limit(plan, seed, bytes, counts),
        };
        counts.cases(1);
        done.map_err(|error| format!("{bytes} bytes: {error}"))
    })
}

fn fill(plan: &Plan, seed: u64, bytes: u64, counts: &Counts) -> Result<(), String> {
    let dir = places::on_disk(plan)?;
    let mut mount = Mount::at(dir.path().join("full"))?;
    mount.mount_memory(&format!("size={bytes}"))?;
    // Seeds of this half are even.
    let case = seed / 2;
    let orders = Orders {
        pread: case.is_multiple_of(2),
        engine_threads: case.is_multiple_of(3),
        ..Orders::new(mount.point().join("db"), seed)
    };
    let mut oracle = Oracle::new(&orders);
    // Then deletes must find the space that is kept for them after a recovery, too.
    if (case / 3).is_multiple_of(2) {
        fill_and_kill(plan, &orders, &mut oracle, counts)?;
    }
    fill_mounted(&mount, &orders, &mut oracle, counts)?;
    oracle.examine(&orders.dir, false)?;
    mount.unmount()
}

/// A worker fills it, and is killed while it has it open.
fn fill_and_kill(
    plan: &Plan,
    orders: &Orders,
    oracle: &mut Oracle,
    counts: &Counts,
) -> Result<(), String> {
    // One that finds room ends with a kill as well.
    let orders = Orders { killed: true, ..orders.clone().commits(COMMITS) };
    let mut session = Session::start(&[], &plan.worker, &orders)?;
    if session.await_that(|line| matches!(line, Line::Refused(_)))? {
        session.kill()?;
        counts.add("full stores of killed workers", 1);
    }
    let told = session.finish()?;
    told.check_end(Ends { killed: true, failures: &["full"] })?;
    Ok(oracle.hear(&told)?)
}

fn fill_mounted(
    mount: &Mount,
    orders: &Orders,
    oracle: &mut Oracle,
    counts: &Counts,
) -> Result<(), String> {
    let told = |error: bristlecone::Error| error.to_string();
    let made = orders.dir.join("data").exists();
    let db = match Db::open_with(&orders.dir, orders.options()) {
        Ok(db) => db,
        Err(error) if error.is_full() && !made => {
            counts.add("creations refused", 1);
            mount.remount(ROOM)?;
            Db::open_with(&orders.dir, orders.options()).map_err(told)?
        }
        Err(error) => return Err(format!("opening: {error}")),
    };
    oracle.found(&db)?;
    let mut refused = 0;
    for _ in 0..COMMITS {
        match oracle.commit(&db) {
            Ok(()) => refused = 0,
            Err(error) if error.is_full() => {
                counts.add("commits refused", 1);
                refused += 1;
                oracle.compare_reads(&db)?;
            }
            Err(error) => return Err(format!("a full file system: {error}")),
        }
        if refused == REFUSALS {
            break;
        }
    }
    if refused == REFUSALS {
        delete(&db, orders, oracle, counts)?;
    }
    oracle.compare(&db)?;
    mount.remount(ROOM)?;
    oracle.commit(&db).map_err(|error| format!("with room again: {error}"))?;
    db.checkpoint().map_err(|error| format!("a checkpoint with room again: {error}"))?;
    oracle.compare(&db)?;
    db.close().map_err(told)
}

/// Deletes from a database that took no more: there is space kept for that.
fn delete(db: &Db, orders: &Orders, oracle: &mut Oracle, counts: &Counts) -> Result<(), String> {
    let whole = (orders.seed / 4).is_multiple_of(2);
    let deleted = oracle.delete(db, whole);
    let deleted = deleted.map_err(|error| format!("a delete on a full file system: {error}"))?;
    let what = match (deleted, whole) {
        (false, _) => "full, nothing to delete",
        (true, true) => "full, bucket dropped",
        (true, false) => "full, key deleted",
    };
    counts.add(what, 1);
    match db.checkpoint() {
        Err(error) if !error.is_full() => Err(format!("a checkpoint: {error}")),
        _ => Ok(()),
    }
}

/// Files of a worker grow no longer than so.
fn limit(plan: &Plan, seed: u64, bytes: u64, counts: &Counts) -> Result<(), String> {
    let dir = places::in_memory(plan)?;
    let orders = Orders::new(dir.path().join("db"), seed).commits(COMMITS / 2);
    let limit = format!("--fsize={bytes}");
    // Without the trap the signal of the limit would kill the worker.
    let script = r#"trap "" XFSZ; exec prlimit "$0" "$@""#;
    let through = ["sh", "-c", script, &limit];
    let told = Session::start(&through, &plan.worker, &orders)?.finish()?;
    // A file that reaches its limit where it was promised room is like a disk that breaks.
    told.check_end(Ends::failed(&["full", "io", "outcome-unknown", "poisoned"]))?;
    let mut oracle = Oracle::new(&orders);
    oracle.hear(&told)?;
    match told.failure() {
        Some("full") => counts.add("workers refused", 1),
        Some(_) => counts.add("workers stopped", 1),
        None => counts.add("workers that found room", 1),
    }
    Ok(oracle.examine(&orders.dir, false)?)
}
