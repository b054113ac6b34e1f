//! Opening databases that were closed or killed, and the memory of a load, each in a process of
//! its own.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bristlecone_benches::data::{Data, touch};

use crate::child::{self, Process};
use crate::commits::replay;
use crate::engines::{Kind, Result, Role, Unsupported};
use crate::measure::Measure;
use crate::workload::Order;

/// Opens of one measurement, of which the median counts, where opening changes nothing.
const OPENS: usize = 5;
/// Between two looks at the memory of a child.
const LOOK: Duration = Duration::from_millis(2);

/// Opens a database that was closed, which no process has open. The value is in milliseconds.
pub(crate) fn open(kind: Kind, dir: &Path, data: &Data, newest: &[u32]) -> Result<Measure> {
    let mut times = (0..OPENS)
        .map(|_| open_once(kind, dir, data, newest))
        .collect::<Result<Vec<Duration>>>()?;
    times.sort_unstable();
    Ok(Measure { value: times[OPENS / 2].as_secs_f64() * 1e3, ..Measure::default() })
}

/// Has a process commit so many bytes durably, kills it, and opens what it has left. Brings
/// `newest` up to date with what it committed.
pub(crate) fn open_killed(
    kind: Kind,
    dir: &Path,
    (data, data_seed): (&Data, u64),
    newest: &mut [u32],
    (log_bytes, seed): (usize, u64),
) -> Result<Measure> {
    let commits = log_bytes.div_ceil(child::PUTS * data.pair_bytes());
    Process::commit_and_kill(kind, dir, (data.count(), data_seed), (commits, seed))?;
    replay(&child::commits(seed), 0, commits, newest)?;
    let time = open_once(kind, dir, data, newest)?;
    Ok(Measure { value: time.as_secs_f64() * 1e3, ..Measure::default() })
}

fn open_once(kind: Kind, dir: &Path, data: &Data, newest: &[u32]) -> Result<Duration> {
    let sum = touch(data.value(newest[0] as usize));
    Process::open(kind, dir, data.payload_bytes(), (data.key(0), sum))
}

/// Loads all pairs in a new process. The value is by how much its anonymous memory has grown at
/// most since its data was made, opening included, in MB.
pub(crate) fn memory(kind: Kind, dir: &Path, data: (usize, u64), order: Order) -> Result<Measure> {
    if kind.role == Role::Limit {
        return Err(Unsupported("the limit writes straight from the data").into());
    }
    let mut process = Process::load(kind, dir, data, order)?;
    let id = process.id();
    let before = anonymous_bytes(id)?;
    let loaded = AtomicBool::new(false);
    let most = thread::scope(|scope| -> Result<u64> {
        let watch = || -> Result<u64> {
            let mut most = before;
            while !loaded.load(Ordering::Acquire) {
                most = most.max(anonymous_bytes(id)?);
                thread::sleep(LOOK);
            }
            Ok(most)
        };
        let watcher = scope.spawn(watch);
        let told = process.go_on().and_then(|()| process.expect("loaded"));
        loaded.store(true, Ordering::Release);
        let most = watcher.join().map_err(|_| "a thread panicked")?;
        told?;
        most
    })?;
    process.expect("verified")?;
    Ok(Measure { value: (most - before) as f64 / 1e6, ..Measure::default() })
}

/// Memory of a process that no file backs.
fn anonymous_bytes(id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.ok_or("expected a line RssAnon, found none")? * 1024)
}
