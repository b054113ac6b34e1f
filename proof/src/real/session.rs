//! A worker as its parent sees it: started, killed, listened to.
//!
//! Invariant: no worker outlives its handle. Each has a process group of its own, with the programs
//! that it runs through.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::orders::Orders;

/// A worker that is meant to end by itself is killed after so long.
const SECONDS_MAX: &str = "120";

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

    /// Ended well, was killed, or met a failure that it named: anything else is a fault of its own.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        let named = self.failure().is_some_and(|kind| kind != "went-on");
        if self.status.success() || self.status.signal() == Some(9) || named {
            return Ok(());
        }
        let last = self.lines.last();
        Err(format!("the worker ended with {}: {last:?} {}", self.status, self.errors.trim()))
    }
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it said so far.
    lines: Vec<Line>,
}

impl Session {
    /// Starts a worker.
    pub(crate) fn start(worker: &Path, orders: &Orders) -> Result<Session, String> {
        let mut command = Command::new(worker);
        command.args(orders.arguments());
        Session::spawn(&mut command)
    }

    /// Starts a worker through other programs, which run what follows their own arguments. It is
    /// stopped if it does not end.
    pub(crate) fn start_through(
        through: &[&str],
        worker: &Path,
        orders: &Orders,
    ) -> Result<Session, String> {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", SECONDS_MAX]);
        command.args(through).arg(worker).args(orders.arguments());
        Session::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> Result<Session, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let child = command.spawn();
        let mut child = child.map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let output = BufReader::new(child.stdout.take().ok_or("its output is piped")?);
        Ok(Session { child, output, lines: Vec::new() })
    }

    /// Kills it; no harm when it has ended already.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or("a process has a number")?;
        match kill_process_group(group, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(format!("cannot kill a worker: {error}")),
        }
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

    /// Ends its input, reads what it told and waits for its end.
    pub(crate) fn finish(mut self) -> Result<Told, String> {
        drop(self.child.stdin.take());
        while self.await_line()?.is_some() {}
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().ok_or("its errors are read once")?;
        stderr.read_to_string(&mut errors).map_err(|error| error.to_string())?;
        let status = self.child.wait().map_err(|error| error.to_string())?;
        Ok(Told { lines: std::mem::take(&mut self.lines), status, errors })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Once it was waited for, its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = self.kill();
            let _waited = self.child.wait();
        }
    }
}

/// Runs a worker to its end.
pub(crate) fn run(worker: &Path, orders: &Orders) -> Result<Told, String> {
    Session::start_through(&[], worker, orders)?.finish()
}
