//! Two that open one database at once: processes, and threads of one process.
//!
//! Goal: one gets it, the other is told at once that it is locked; also while the database is being
//! made.

use std::sync::Barrier;

use bristlecone::{Db, Result as DbResult};

use super::orders::Orders;
use super::places;
use super::session::{Ends, Line, Session};
use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};

/// Races for one database, the first of them for one that is yet to be made.
const RACES: u64 = 5;

pub(crate) fn run(plan: &Plan) -> Evidence {
    seeds(plan, |seed, counts| {
        let dir = places::in_memory(plan)?;
        let orders = Orders { hold: true, ..Orders::new(dir.path().join("db"), seed) };
        for race in 0..RACES {
            let done = match seed % 2 {
                0 => processes(plan, &orders, counts),
                _ => threads(&orders, counts),
            };
            done.map_err(|error| format!("race {race}: {error}"))?;
            counts.cases(1);
        }
        Ok(())
    })
}

fn processes(plan: &Plan, orders: &Orders, counts: &Counts) -> Result<(), String> {
    let mut sessions =
        [Session::start(&[], &plan.worker, orders)?, Session::start(&[], &plan.worker, orders)?];
    let mut winners = 0;
    for session in &mut sessions {
        match session.await_line()? {
            Some(Line::Opened { .. }) => winners += 1,
            Some(Line::Failed { kind, .. }) if kind == "locked" => {}
            other => return Err(format!("an opener said {other:?}")),
        }
    }
    for session in sessions {
        session.finish()?.check_end(Ends::failed(&["locked"]))?;
    }
    counts.add("races of processes", 1);
    one_winner(winners)
}

fn threads(orders: &Orders, counts: &Counts) -> Result<(), String> {
    let start = Barrier::new(2);
    let open = || {
        start.wait();
        Db::open_with(&orders.dir, orders.options())
    };
    let opened: [DbResult<Db>; 2] = std::thread::scope(|scope| {
        let other = scope.spawn(open);
        [open(), other.join().expect("opening does not panic")]
    });
    counts.add("races of threads", 1);
    let winners = opened.iter().filter(|opened| opened.is_ok()).count();
    for error in opened.iter().filter_map(|opened| opened.as_ref().err()) {
        if !error.is_locked() {
            return Err(format!("an opener was told: {error}"));
        }
    }
    one_winner(winners)
}

fn one_winner(winners: usize) -> Result<(), String> {
    if winners == 1 { Ok(()) } else { Err(format!("{winners} opened the same database")) }
}
