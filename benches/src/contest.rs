//! The rounds: every workload on every engine, one engine right after the other.
//!
//! The engine that begins changes with each workload. Each engine has a process of its own for its
//! part of a round (see `performer`). Before its turn everything that others have written goes to
//! the device, and what they still do is waited for. What an engine gets wrong ends its round and
//! is told in its row; the others go on. What an engine cannot do is told, and its round goes on.

use crate::arguments::Arguments;
use crate::engines::{KINDS, Kind, Mode, Result};
use crate::machine;
use crate::measure::Measure;
use crate::performer::{Failure, Performer};
use crate::workload::{Get, Order, SETS, Set, WORKLOADS, Work, Workload};

/// All measurements of a workload on an engine.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) kind: Kind,
    pub(crate) measures: Vec<Measure>,
    /// What went wrong first.
    pub(crate) failure: Option<String>,
    /// Why the engine cannot do this.
    pub(crate) absent: Option<String>,
}

/// Runs all rounds.
pub(crate) fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let wanted = |workload: &&Workload| arguments.wants_workload(workload.name);
    let row =
        |workload, kind| Row { workload, kind, measures: Vec::new(), failure: None, absent: None };
    let mut rows: Vec<Row> = WORKLOADS
        .iter()
        .filter(wanted)
        .flat_map(|&workload| kinds(arguments).map(move |kind| row(workload, kind)))
        .collect();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for &set in SETS {
            if rows.iter().any(|row| row.workload.set == set) {
                run_set(arguments, set, round, &mut rows)?;
            }
        }
    }
    Ok(rows)
}

fn kinds(arguments: &Arguments) -> impl Iterator<Item = Kind> {
    KINDS.iter().copied().filter(|kind| arguments.wants_engine(kind.name))
}

/// One round of a set.
fn run_set(arguments: &Arguments, set: Set, round: usize, rows: &mut [Row]) -> Result<()> {
    eprintln!("set {}", set.word());
    let load = Work::Load(Order::Random);
    if arguments.late && !WORKLOADS.iter().any(|it| it.set == set && it.work == load) {
        for row in rows.iter_mut().filter(|row| row.workload.set == set) {
            row.absent = Some("there is no load behind which the group could be entered".into());
        }
        return Ok(());
    }
    let mut performers = Vec::new();
    for kind in kinds(arguments) {
        match Performer::start(kind, set, arguments) {
            Ok(performer) => performers.push(performer),
            Err(error) => note(rows, kind, |row| row.workload.set == set, &Failure::from(error)),
        }
    }
    let of_set = |(_, workload): &(usize, &Workload)| workload.set == set;
    for (number, workload) in WORKLOADS.iter().enumerate().filter(of_set) {
        if workload.is_needed() || arguments.wants_workload(workload.name) {
            let begin = 1.min(performers.len());
            performers.rotate_left(begin);
            let seed = (round * WORKLOADS.len() + number) as u64;
            compete(arguments, workload, &mut performers, seed, rows)?;
        }
        if arguments.late && workload.work == load {
            performers.retain_mut(|performer| match performer.enter_group(set, arguments) {
                Ok(()) => true,
                Err(error) => {
                    let concerned =
                        |row: &Row| row.workload.set == set && row.workload.work != load;
                    note(rows, performer.kind(), concerned, &Failure::from(error));
                    false
                }
            });
        }
    }
    for performer in performers {
        let kind = performer.kind();
        if let Err(error) = performer.end() {
            note(rows, kind, |row| row.workload.set == set, &Failure::from(error));
        }
    }
    Ok(())
}

/// One workload on all engines.
fn compete(
    arguments: &Arguments,
    workload: &Workload,
    performers: &mut Vec<Performer>,
    seed: u64,
    rows: &mut [Row],
) -> Result<()> {
    for performer in performers.iter_mut() {
        let (name, kind) = (workload.name, performer.kind());
        // What others have written is no part of what is measured.
        rustix::fs::sync();
        machine::wait_for_calm(arguments.patience)?;
        let of_row = |row: &Row| row.workload.name == name;
        match performer.perform(workload, seed) {
            Ok(measure) => {
                let others = measure.others.unwrap_or_default() * 100.0;
                let (value, unit, engine) = (measure.value, workload.unit, kind.name);
                eprintln!("  {name:24} {engine:12} {value:14.2} {unit:9} {others:3.0} % others");
                for row in rows.iter_mut().filter(|row| of_row(row) && row.kind.name == kind.name) {
                    row.measures.push(measure.clone());
                }
            }
            Err(failure) => note(rows, kind, of_row, &failure),
        }
    }
    performers.retain(Performer::is_in);
    Ok(())
}

/// Tells what went wrong first in all rows of an engine that `concerned` picks.
fn note(rows: &mut [Row], kind: Kind, concerned: impl Fn(&Row) -> bool, failure: &Failure) {
    let (place, told) = match failure {
        Failure::Cannot(why) => ("cannot", why),
        Failure::Failed(why) => ("failed", why),
    };
    eprintln!("  {} {place}: {told}", kind.name);
    for row in rows.iter_mut().filter(|row| row.kind.name == kind.name && concerned(row)) {
        let place = match failure {
            Failure::Cannot(_) => &mut row.absent,
            Failure::Failed(_) => &mut row.failure,
        };
        place.get_or_insert_with(|| told.clone());
    }
}

/// What is particular about an engine in a workload.
pub(crate) fn remark(row: &Row) -> Option<&'static str> {
    let kind = row.kind;
    match row.workload.work {
        Work::Commit { mode: Mode::Buffered, .. } | Work::LongReader => Some(kind.buffered),
        Work::Get { how: Get::Many, .. } if !kind.gets_many => Some("single gets"),
        Work::SizeCompacted => Some(kind.compaction),
        Work::CreateBuckets | Work::GetInBuckets => Some(kind.buckets),
        _ => None,
    }
}
