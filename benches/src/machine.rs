//! What the machine is, and how much of it others use meanwhile.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Others use less than this share of the processors on a calm machine.
const CALM: f64 = 0.1;
/// How long is looked before the machine is called calm.
const LOOK: Duration = Duration::from_millis(200);

/// Processor time since the start of the machine, in the kernel's ticks of 10 ms.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    /// Of all processors, idle or not.
    all: u64,
    busy: u64,
    /// Used by this process.
    own: u64,
}

impl Ticks {
    /// The ticks now.
    ///
    /// # Errors
    /// Those of the kernel's files.
    pub fn now() -> io::Result<Ticks> {
        let stat = fs::read_to_string("/proc/stat")?;
        // user, nice, system, idle, iowait, irq, softirq, steal
        let cpu = numbers(stat.lines().next().unwrap_or_default(), 1);
        let all = cpu.iter().take(8).sum();
        let idle: u64 = cpu.iter().skip(3).take(2).sum();
        let own = fs::read_to_string("/proc/self/stat")?;
        // The name, in brackets, may hold anything; utime and stime follow at places 14 and 15.
        let fields = own.rsplit_once(')').map_or("", |(_, fields)| fields);
        let own = numbers(fields, 11).iter().take(2).sum();
        Ok(Ticks { all, busy: all - idle, own })
    }

    /// The share of all processors that others have used since `before`. Work of the kernel for
    /// this process, outside of its threads, is among it.
    #[must_use]
    pub fn others_since(self, before: Ticks) -> Option<f64> {
        let (all, busy) = (self.all - before.all, self.busy - before.busy);
        let others = busy.saturating_sub(self.own - before.own);
        (all > 0).then(|| others as f64 / all as f64)
    }
}

/// The numbers of a line from its word `skip` on.
fn numbers(line: &str, skip: usize) -> Vec<u64> {
    line.split_whitespace().skip(skip).map_while(|word| word.parse().ok()).collect()
}

/// Waits until the machine is calm, but no longer than `patience`.
///
/// # Errors
/// Those of the kernel's files.
pub fn wait_for_calm(patience: Duration) -> io::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < patience {
        let before = Ticks::now()?;
        thread::sleep(LOOK);
        if Ticks::now()?.others_since(before).is_some_and(|others| others < CALM) {
            break;
        }
    }
    Ok(())
}

/// The processors: how many, and which.
#[must_use]
pub fn processors() -> String {
    let count = thread::available_parallelism().map_or(0, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{count} x {}", name.map_or("unknown", |(_, name)| name))
}

/// The kernel's version.
#[must_use]
pub fn kernel() -> String {
    first_line("/proc/sys/kernel/osrelease")
}

/// The load average of the last minutes.
#[must_use]
pub fn load_average() -> String {
    first_line("/proc/loadavg")
}

/// The commit that the checkout stands on.
#[must_use]
pub fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    output(&mut git)
}

/// The day, in UTC, as year-month-day.
#[must_use]
pub fn date() -> String {
    output(Command::new("date").args(["-u", "+%F"]))
}

/// Bytes of memory of this process that no file backs.
///
/// # Errors
/// When the kernel does not tell.
pub fn anonymous_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let told = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = told.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let expected = || io::Error::other("expected a line RssAnon in the status, found none");
    Ok(kilobytes.ok_or_else(expected)? * 1024)
}

/// Enters a control group: what this process takes from now on counts there.
///
/// # Errors
/// When there is no such group, or the process may not enter it.
pub fn enter_group(dir: &Path) -> io::Result<()> {
    let file = dir.join("cgroup.procs");
    fs::write(&file, std::process::id().to_string())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// What a command prints, `unknown` when it cannot run.
fn output(command: &mut Command) -> String {
    let told = command.output().ok().filter(|output| output.status.success());
    told.map_or("unknown".to_owned(), |it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}
