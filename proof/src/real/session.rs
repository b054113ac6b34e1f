//! A worker as its parent sees it: started, killed, listened to.
//!
//! Invariants:
//!
//! 1. No worker outlives its handle. Each has a process group of its own, with the programs that
//!    it runs through.
//! 2. A worker that takes too long is an error, however it ends.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::orders::Orders;
use super::worker::code_of;

/// No worker takes so long, unless it hangs.
const TIME_MAX: Duration = Duration::from_secs(120);
const KILLED: i32 = 9;

/// A line that a worker wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Opened { revision: u64, digest: u32 },
    Begun { thread: usize, number: u64, revision: u64 },
    Acknowledged(u64),
    Refused(String),
    Failed { kind: String, why: String },
}

impl Line {
    fn parse(text: &str) -> Result<Line, String> {
        let line = text.strip_suffix('\n').and_then(Line::parse_whole);
        line.ok_or_else(|| format!("the worker said {text:?}"))
    }

    fn parse_whole(text: &str) -> Option<Line> {
        let (verb, rest) = text.split_once(' ')?;
        let mut words = rest.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(match verb {
            "opened" => Line::Opened { revision: number()?, digest: number()?.try_into().ok()? },
            "begun" => Line::Begun {
                thread: number()?.try_into().ok()?,
                number: number()?,
                revision: number()?,
            },
            "acknowledged" => Line::Acknowledged(number()?),
            "refused" => Line::Refused(rest.to_owned()),
            "failed" => {
                let (kind, why) = rest.split_once(' ')?;
                Line::Failed { kind: kind.to_owned(), why: why.to_owned() }
            }
            _ => return None,
        })
    }
}

/// All that a worker told, and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) lines: Vec<Line>,
    pub(crate) status: ExitStatus,
    /// What it wrote on its error output.
    pub(crate) errors: String,
}

impl Told {
    /// The kind of failure that ended it, if one did.
    pub(crate) fn failure(&self) -> Option<&str> {
        // Another thread may have told of something after it.
        self.lines.iter().find_map(|line| match line {
            Line::Failed { kind, .. } => Some(kind.as_str()),
            _ => None,
        })
    }

    /// How many commits it acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.lines.iter().filter(|line| matches!(line, Line::Acknowledged(_))).count() as u64
    }

    pub(crate) fn has_opened(&self) -> bool {
        matches!(self.lines.first(), Some(Line::Opened { .. }))
    }

    /// Ended well, or in one of these ways: anything else is a fault of its own.
    pub(crate) fn check_end(&self, ends: Ends) -> Result<(), String> {
        let failures = self.lines.iter().filter_map(|line| match line {
            Line::Failed { kind, .. } => Some(kind.as_str()),
            _ => None,
        });
        // Each thread may have told of one.
        let named = failures.clone().count() > 0;
        let allowed = failures.clone().all(|kind| ends.failures.contains(&kind));
        let fits = match self.status.code() {
            Some(0) => !named,
            Some(code) => failures.filter_map(code_of).any(|named| i32::from(named) == code),
            None => ends.killed && self.status.signal() == Some(KILLED),
        };
        if allowed && fits {
            return Ok(());
        }
        let last = self.lines.last();
        Err(format!("the worker ended with {}: {last:?} {}", self.status, self.errors.trim()))
    }
}

/// How a worker may end, besides well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// By the signal that its parent, its limits or its own orders send.
    pub(crate) killed: bool,
    /// With failures of these kinds, as [`KINDS`](super::worker::KINDS) names them.
    pub(crate) failures: &'static [&'static str],
}

impl Ends {
    pub(crate) const WELL: Ends = Ends { killed: false, failures: &[] };
    pub(crate) const KILLED: Ends = Ends { killed: true, failures: &[] };

    /// Well, or with one of these.
    pub(crate) fn failed(failures: &'static [&'static str]) -> Ends {
        Ends { killed: false, failures }
    }
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    output: BufReader<ChildStdout>,
    deadline: Deadline,
    /// What it said so far.
    lines: Vec<Line>,
}

impl Session {
    /// Starts a worker through other programs, if any, which run what follows their own arguments.
    pub(crate) fn start(
        through: &[&str],
        worker: &Path,
        orders: &Orders,
    ) -> Result<Session, String> {
        let mut words = through.iter().map(AsRef::as_ref).chain([worker.as_os_str()]);
        let mut command = Command::new(words.next().ok_or("a worker has a name")?);
        command.args(words).args(orders.arguments());
        Session::spawn(&mut command, TIME_MAX)
    }

    fn spawn(command: &mut Command, time_max: Duration) -> Result<Session, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let child = command.spawn();
        let mut child = child.map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let deadline = Deadline::new(pid(&child)?, time_max);
        let output = BufReader::new(child.stdout.take().ok_or("its output is piped")?);
        Ok(Session { child, output, deadline, lines: Vec::new() })
    }

    /// Kills it; no harm when it has ended already.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        kill_group(pid(&self.child)?)
    }

    /// Reads until it says something; `None` when it ended without a word.
    pub(crate) fn await_line(&mut self) -> Result<Option<&Line>, String> {
        let mut text = String::new();
        if self.output.read_line(&mut text).map_err(|error| error.to_string())? == 0 {
            return Ok(None);
        }
        self.lines.push(Line::parse(&text)?);
        Ok(self.lines.last())
    }

    /// Reads until it says something of a kind; `false` when it ended before.
    pub(crate) fn await_that(&mut self, wanted: impl Fn(&Line) -> bool) -> Result<bool, String> {
        while let Some(line) = self.await_line()? {
            if wanted(line) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends its input, reads what it told and waits for its end.
    pub(crate) fn finish(mut self) -> Result<Told, String> {
        drop(self.child.stdin.take());
        while self.await_line()?.is_some() {}
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().ok_or("its errors are read once")?;
        stderr.read_to_string(&mut errors).map_err(|error| error.to_string())?;
        // Its number is its own until it is waited for, and the deadline may still kill.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid(&self.child)?), ended).map_err(|error| error.to_string())?;
        let expired = self.deadline.lift();
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if expired {
            let last = self.lines.last();
            return Err(format!("the worker HANGS: {last:?} was the last it said: {errors}"));
        }
        Ok(Told { lines: std::mem::take(&mut self.lines), status, errors })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Once it was waited for, its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = self.kill();
            self.deadline.lift();
            let _waited = self.child.wait();
        }
    }
}

/// Kills a group of processes, unless it is lifted in time.
#[derive(Debug)]
struct Deadline {
    lifted: Option<Sender<()>>,
    watch: Option<JoinHandle<bool>>,
}

impl Deadline {
    fn new(group: Pid, time_max: Duration) -> Deadline {
        let (lifted, waits) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            let expired = waits.recv_timeout(time_max) == Err(RecvTimeoutError::Timeout);
            if expired {
                let _gone_already = kill_group(group);
            }
            expired
        });
        Deadline { lifted: Some(lifted), watch: Some(watch) }
    }

    /// True when it was too late.
    fn lift(&mut self) -> bool {
        self.lifted = None;
        self.watch.take().is_some_and(|watch| watch.join().expect("a deadline does not panic"))
    }
}

fn pid(child: &Child) -> Result<Pid, String> {
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    number.ok_or_else(|| "a process has a number".to_owned())
}

fn kill_group(group: Pid) -> Result<(), String> {
    match kill_process_group(group, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(format!("cannot kill a worker: {error}")),
    }
}

/// Runs a worker to its end.
pub(crate) fn run(worker: &Path, orders: &Orders) -> Result<Told, String> {
    Session::start(&[], worker, orders)?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str) -> Result<Told, String> {
        let mut command = Command::new("sh");
        Session::spawn(command.args(["-c", script]), Duration::from_secs(1))?.finish()
    }

    fn ends(script: &str, ends: Ends) -> bool {
        told(script).expect("the script ends in time").check_end(ends).is_ok()
    }

    #[test]
    fn a_worker_that_hangs_is_an_error_and_no_kill() {
        for script in ["sleep 1000", "exec sleep 1000", "echo acknowledged 1; sleep 1000 & wait"] {
            let error = told(script).expect_err("it hangs");
            assert!(error.contains("HANGS"), "{error}");
        }
    }

    #[test]
    fn a_kill_is_an_end_for_those_who_kill() {
        assert!(ends("kill -9 $$", Ends::KILLED));
        assert!(!ends("kill -9 $$", Ends::WELL));
        assert!(!ends("kill -6 $$", Ends::KILLED));
    }

    #[test]
    fn a_failure_is_an_end_where_it_may_be_met() {
        let full = "echo failed full no room; exit 20";
        assert!(ends(full, Ends::failed(&["full", "io"])));
        assert!(!ends(full, Ends::failed(&["io"])));
        assert!(!ends("echo failed full no room", Ends::failed(&["full"])));
        assert!(!ends("echo failed full no room; exit 101", Ends::failed(&["full"])));
        assert!(!ends("exit 20", Ends::failed(&["full"])));
        let two = "echo failed full no room; echo failed corrupt a page; exit 20";
        assert!(!ends(two, Ends::failed(&["full"])));
    }

    #[test]
    fn nothing_is_a_good_end() {
        assert!(ends("true", Ends::WELL));
    }
}
