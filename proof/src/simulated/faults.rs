//! Failing disks: every I/O operation of a history fails in turn, in each way.
//!
//! Goal: no panic; no acknowledged commit lost; a full disk refuses a write and leaves the store
//! usable; after any other failed write or sync nothing is written any more; and a commit whose
//! outcome is unknown is wholly there or not, and stays so.
//!
//! Method: one history, which touches everything that does I/O, runs once for each operation and
//! each fault. When it first fails, what can still be done is tried; then the disk is healthy
//! again, and what a kill or a power cut leaves of it is recovered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bristlecone::io::sim::errno::{EDQUOT, EIO, ENOSPC};
use bristlecone::io::sim::{Fault, FaultPlan, OpKind};
use bristlecone::{Db, Error, Result};

use crate::record::Evidence;
use crate::rig::{Plan, each, message};
use crate::simulation::crash::CrashHistory;
use crate::simulation::script::Step;

const HISTORY: [Step; 24] = [
    Step::Put,
    Step::PutLarge,
    Step::PutBuffered,
    Step::Nest,
    Step::Sync,
    Step::PutOverSegments,
    Step::Checkpoint,
    Step::Delete,
    Step::PutLarge,
    Step::DropBucket,
    Step::Put,
    Step::Checkpoint,
    Step::PutOverSegments,
    Step::PutOverSegments,
    Step::PutOverSegments,
    Step::Checkpoint,
    Step::Reopen,
    Step::Put,
    Step::PutLarge,
    Step::Checkpoint,
    Step::PutOverSegments,
    Step::Delete,
    Step::Reopen,
    Step::Put,
];

/// What is made to fail, and how.
const FAULTS: [(OpKind, Fault, bool); 15] = [
    (OpKind::Any, Fault::Refuse(EIO), false),
    (OpKind::Any, Fault::Refuse(EIO), true),
    (OpKind::Write, Fault::Refuse(ENOSPC), false),
    (OpKind::Write, Fault::Refuse(ENOSPC), true),
    (OpKind::Resize, Fault::Refuse(ENOSPC), false),
    (OpKind::Resize, Fault::Refuse(ENOSPC), true),
    (OpKind::Create, Fault::Refuse(ENOSPC), false),
    (OpKind::Create, Fault::Refuse(ENOSPC), true),
    (OpKind::Rename, Fault::Refuse(ENOSPC), false),
    (OpKind::Sync, Fault::Refuse(EDQUOT), false),
    (OpKind::Write, Fault::Tear(EIO), false),
    (OpKind::Write, Fault::Tear(ENOSPC), false),
    (OpKind::Sync, Fault::Tear(EIO), false),
    (OpKind::Sync, Fault::Refuse(EIO), true),
    (OpKind::Read, Fault::Refuse(EIO), false),
];

/// What came of a run.
#[derive(PartialEq, Eq, Debug)]
enum Outcome {
    /// The history was over before the fault.
    NotReached,
    /// The fault was met.
    Met,
}

/// Runs the history with one fault, from its creation on.
fn play_with(kind: OpKind, fault: Fault, forever: bool, after: u64) -> Outcome {
    let mut history = CrashHistory::scripted(1, 1);
    let plan = FaultPlan::new(kind, fault).after(after);
    history.disk.fail(if forever { plan.forever() } else { plan });
    let mut db = None;
    let failed = play(&mut history, &mut db).err();
    if history.disk.stats().faults == 0 {
        assert!(failed.is_none(), "a failure without a fault: {failed:?}");
        return Outcome::NotReached;
    }
    if let (Some(error), Some(db)) = (&failed, &db) {
        look_around(&mut history, db, error);
    }
    history.disk.clear_faults();
    let mut left = vec![history.disk.fork()];
    left.extend((0..3).map(|seed| history.disk.crash(seed ^ after)));
    history.disk.power_off();
    drop(db);
    for disk in left {
        if let Err(error) = history.recover_left(disk) {
            panic!("a healthy disk is not recovered: {error}; the failure was {failed:?}");
        }
    }
    Outcome::Met
}

/// Plays the history until it fails. The database stays open, unless closing it failed.
fn play(history: &mut CrashHistory, open: &mut Option<Db>) -> Result<()> {
    let host = Arc::new(history.disk.clone());
    *open = Some(Db::open_on(host, "/db", history.options.clone())?);
    for step in HISTORY {
        if step == Step::Reopen {
            let db = open.take().expect("open between steps");
            *open = Some(history.reopen(db)?);
        } else {
            history.step(open.as_ref().expect("open between steps"), step)?;
        }
    }
    Ok(())
}

/// After a failure: reads work, and writes go on or are refused as the failure says.
fn look_around(history: &mut CrashHistory, db: &Db, error: &Error) {
    history.disk.clear_faults();
    history.assert_readable(db).expect("reads work after a failure");
    let next = history.step(db, Step::Put).and_then(|()| history.step(db, Step::Checkpoint));
    match next {
        Ok(()) => {
            assert!(!error.is_outcome_unknown() && !error.is_poisoned(), "writes after {error}");
        }
        Err(refused) => {
            assert!(refused.is_poisoned(), "{refused}, after {error}");
            assert!(!error.is_full(), "a full disk stopped everything: {error}");
            assert!(db.begin_write().is_err_and(|error| error.is_poisoned()));
            assert!(db.checkpoint().is_err_and(|error| error.is_poisoned()));
        }
    }
    history.assert_readable(db).expect("reads work after a failure");
}

/// Each kind of fault at each operation that it can hit. The plan's number of cases is not asked:
/// there are as many as the history has operations.
pub(crate) fn run(_: &Plan) -> Evidence {
    each(
        &FAULTS,
        |fault| format!("{fault:?}"),
        |&(kind, fault, forever), counts| {
            for after in 0.. {
                let once = || play_with(kind, fault, forever, after);
                let outcome = catch_unwind(AssertUnwindSafe(once))
                    .map_err(|panic| format!("after {after}: {}", message(&*panic)))?;
                if outcome == Outcome::NotReached {
                    return Ok(());
                }
                counts.cases(1);
            }
            Ok(())
        },
    )
}

/// Writes until the disk is full, at every size of disk around that of the store: a full disk
/// refuses writes, and takes them again when there is room.
pub(crate) fn fill(_: &Plan) -> Evidence {
    let capacities: Vec<u64> = (200 << 10..400 << 10).step_by(1 << 10).collect();
    each(
        &capacities,
        |capacity| format!("a disk of {capacity} bytes"),
        |&capacity, counts| {
            counts.cases(1);
            let refused = fill_one(capacity).map_err(|error| error.to_string())?;
            counts.add("writes refused", refused);
            Ok(())
        },
    )
}

fn fill_one(capacity: u64) -> Result<u64> {
    let mut history = CrashHistory::scripted(1, 1);
    let disk = history.disk.clone();
    let options = history.options.clone().checkpoint_log_bytes(40_000);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options)?;
    disk.set_capacity(Some(capacity));
    let steps = [Step::PutOverSegments, Step::PutBuffered, Step::Nest, Step::PutLarge];
    // Later versions of the same keys take no room for ever, so a full disk may heal itself.
    let mut refused = 0;
    for step in steps.into_iter().cycle().take(400) {
        match history.step(&db, step) {
            Ok(()) => {}
            Err(error) => {
                assert!(error.is_full(), "with {capacity} bytes: {error}");
                history.assert_readable(&db)?;
                refused += 1;
                if refused == 3 {
                    break;
                }
            }
        }
    }
    let mut db = db;
    if refused == 3 {
        history.step(&db, Step::Sync)?;
        for step in [Step::Delete, Step::DropBucket] {
            // The space that is kept outlives the process.
            if capacity.is_multiple_of(2 << 10) {
                db = history.reopen_killed(db)?;
            }
            let removed = history.step(&db, step);
            assert!(removed.is_ok(), "a delete on a full disk of {capacity} bytes: {removed:?}");
        }
    }
    let disk = history.disk.clone();
    disk.set_capacity(None);
    history.step(&db, Step::PutLarge)?;
    history.step(&db, Step::Checkpoint)?;
    history.assert_readable(&db)?;
    let left = disk.fork();
    disk.power_off();
    history.recover_left(left)?;
    Ok(refused)
}
