//! System calls that fail, lie or kill, by `strace`.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use super::orders::Orders;
use super::session::{Ends, Session, Told};

/// The calls by which the engine changes files.
pub(crate) const CALLS: [&str; 10] = [
    "pwrite64",
    "pwritev2",
    "fdatasync",
    "fsync",
    "fallocate",
    "ftruncate",
    "rename",
    "unlink",
    "mkdir",
    "openat",
];

/// Why this machine cannot trace; `None` when it can.
pub(crate) fn lacks() -> Option<String> {
    let arguments = inject(&[("fdatasync", "retval=0")]);
    let done = Command::new(&arguments[0]).args(&arguments[1..]).arg("true").output();
    match done {
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(format!("strace: {}", String::from_utf8_lossy(&done.stderr).trim())),
        Err(error) => Some(format!("cannot run strace: {error}")),
    }
}

/// What runs a program and writes down these calls of it.
fn trace(calls: &str, to: &Path) -> Vec<String> {
    let arguments = ["strace", "-f", "-qq", "-y", "-s", "64", "-o"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.extend([to.display().to_string(), "-e".to_owned(), format!("trace={calls}")]);
    arguments
}

/// What runs a program with these calls changed: each says which, and how.
pub(crate) fn inject(changes: &[(&str, &str)]) -> Vec<String> {
    let calls: Vec<&str> = changes.iter().map(|(calls, _)| *calls).collect();
    let mut arguments = trace(&calls.join(","), Path::new("/dev/null"));
    for (calls, how) in changes {
        arguments.extend(["-e".to_owned(), format!("inject={calls}:{how}")]);
    }
    // Other calls are then as fast as ever; but signals are not injected.
    arguments.push("--seccomp-bpf".to_owned());
    arguments
}

/// Which of each of the calls that change files a worker makes for its store, by their indices.
pub(crate) fn count(
    worker: &Path,
    orders: &Orders,
    log: &Path,
) -> Result<Vec<RangeInclusive<u64>>, String> {
    let through = trace(&CALLS.join(","), log);
    let through: Vec<&str> = through.iter().map(String::as_str).collect();
    let told = Session::start(&through, worker, orders)?.finish()?;
    told.check_end(Ends::WELL)?;
    let log = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
    Ok(indices(&log, &orders.dir))
}

/// The indices of each of the calls, the first being 1; without those that come before anything is
/// done to the store.
fn indices(log: &str, store: &Path) -> Vec<RangeInclusive<u64>> {
    let store = store.display().to_string();
    let started = log.lines().position(|line| line.contains(&store)).unwrap_or(usize::MAX);
    let of_call = |call: &str| {
        let lines = log.lines().enumerate().filter(|(_, line)| name(line) == Some(call));
        let (before, after): (Vec<_>, Vec<_>) = lines.partition(|&(number, _)| number < started);
        before.len() as u64 + 1..=(before.len() + after.len()) as u64
    };
    CALLS.into_iter().map(of_call).collect()
}

/// The call that a line of a log tells of: `1234 fsync(3</name>) = 0`.
fn name(line: &str) -> Option<&str> {
    line.split_once(' ')?.1.trim_start().split_once('(').map(|(name, _)| name)
}

/// Runs a worker to its end with one call changed, and says whether it acknowledged a commit after
/// a sync of its log or its data had failed.
pub(crate) fn run(
    worker: &Path,
    orders: &Orders,
    (call, how): (&str, &str),
    log: &Path,
) -> Result<Told, String> {
    let mut through = trace(&format!("{call},write"), log);
    through.extend(["-e".to_owned(), format!("inject={call}:{how}")]);
    let through: Vec<&str> = through.iter().map(String::as_str).collect();
    let told = Session::start(&through, worker, orders)?.finish()?;
    let log = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
    match acknowledged_after_failure(&log) {
        Some(line) => Err(format!("acknowledged after a failed sync: {line}")),
        None => Ok(told),
    }
}

fn acknowledged_after_failure(log: &str) -> Option<&str> {
    let mut failed = false;
    for line in log.lines() {
        let sync = matches!(name(line), Some("fsync" | "fdatasync" | "pwritev2"));
        // Of files that hold commits, by the name they have then; others are made anew.
        let of_commits = line.contains(".wal>") || line.contains("/data>");
        // One that was interrupted is made again.
        let fails = line.contains(" = -1 ") && !line.contains(" EINTR ");
        failed |= sync && of_commits && fails && line.ends_with("(INJECTED)");
        failed &= !line.contains("\"opened ");
        if failed && line.contains("\"acknowledged ") {
            return Some(line);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_before_those_for_the_store_are_left_out() {
        let log = "7 openat(AT_FDCWD</>, \"/lib/libc.so\", O_RDONLY) = 3</lib/libc.so>\n\
                   7 mkdir(\"/shm/db\", 0777) = 0\n\
                   7 openat(AT_FDCWD</>, \"/shm/db/data\", O_RDWR) = 3</shm/db/data>\n\
                   7 openat(AT_FDCWD</>, \"/dev/null\", O_RDWR) = 4</dev/null>\n";
        let of = |call: &str| {
            let place = CALLS.iter().position(|one| *one == call).expect("one of the calls");
            indices(log, Path::new("/shm/db"))[place].clone()
        };
        assert_eq!((of("openat"), of("mkdir")), (2..=3, 1..=1));
        assert!(of("fsync").is_empty());
    }

    #[test]
    fn an_acknowledgement_after_a_failed_sync_is_seen() {
        let failed = "7 fdatasync(4</db/wal/01.wal>) = -1 EIO (Input/output error) (INJECTED)\n";
        let fine = "7 fdatasync(4</db/wal/01.wal>) = 0\n";
        let spare = "7 fdatasync(4</db/wal/02.tmp>) = -1 EIO (Input/output error) (INJECTED)\n";
        let opened = "7 write(1<pipe:[3]>, \"opened 1 2\\n\", 11) = 11\n";
        let told = "7 write(1<pipe:[3]>, \"acknowledged 4\\n\", 15) = 15\n";
        assert!(acknowledged_after_failure(&[failed, told].concat()).is_some());
        assert!(acknowledged_after_failure(&[fine, told].concat()).is_none());
        assert!(acknowledged_after_failure(&[spare, told].concat()).is_none());
        assert!(acknowledged_after_failure(&[failed, opened, told].concat()).is_none());
    }
}
