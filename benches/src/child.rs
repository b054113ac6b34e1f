//! Work that needs a process of its own: to be killed, to open what no other process has open, or
//! to be alone with its memory. The process is this program again.
//!
//! ```text
//! side-by-side child round ENGINE DIR SET OPTIONS...     see `performer`
//! side-by-side child load ENGINE DIR PAIRS SEED ORDER    tells "ready", waits for a line,
//!                                                        loads, tells "loaded"
//! side-by-side child commit ENGINE DIR PAIRS SEED COMMITS COMMIT_SEED
//!                                                        commits, tells "committed", and waits to
//!                                                        be killed
//! side-by-side child open ENGINE DIR PAYLOAD KEY SUM     opens, gets the key, tells nanoseconds
//! ```

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bristlecone_benches::data::{Data, Shape, sorted};

use crate::arguments::Arguments;
use crate::commits::{Commits, Writer};
use crate::engines::{Engine, KINDS, Kind, Mode, Opening, Result};
use crate::measure::{check_sum, verify};
use crate::performer;
use crate::workload::Order;

/// The first word of a command line that is meant for a child.
pub(crate) const WORD: &str = "child";
/// Puts in a transaction of a process that is killed.
pub(crate) const PUTS: usize = 500;

/// Does what the command line of a child asks for; `None` when it is not one.
pub(crate) fn run(words: &[String]) -> Option<Result<()>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match *words.as_slice() {
        [WORD, "round", name, dir, set, ref options @ ..] => round(name, dir, set, options),
        [WORD, "load", name, dir, pairs, seed, order] => load(name, dir, pairs, seed, order),
        [WORD, "commit", name, dir, pairs, seed, count, commit_seed] => {
            commit(name, dir, pairs, seed, count, commit_seed)
        }
        [WORD, "open", name, dir, payload, key, sum] => open(name, dir, payload, key, sum),
        [WORD, ..] => Err(format!("expected words of a child, found {words:?}").into()),
        _ => return None,
    })
}

fn round(name: &str, dir: &str, set: &str, options: &[&str]) -> Result<()> {
    let mut arguments = Arguments::parse(options.iter().map(|word| (*word).to_owned()))?;
    arguments.dir = dir.into();
    performer::serve(kind_of(name)?, set, &arguments)
}

fn kind_of(name: &str) -> Result<Kind> {
    let kind = KINDS.iter().find(|kind| kind.name == name).copied();
    kind.ok_or_else(|| format!("expected an engine of this build, found {name}").into())
}

fn engine_of(name: &str, dir: &str, payload_bytes: u64) -> Result<Box<dyn Engine>> {
    let kind = kind_of(name)?;
    let value_bytes = Shape::Random.value_bytes();
    let (mode, memory_bytes, data) = (Mode::Durable, None, None);
    let opening = Opening { mode, payload_bytes, value_bytes, memory_bytes, data };
    (kind.open)(Path::new(dir), &opening)
}

fn load(name: &str, dir: &str, pairs: &str, seed: &str, order: &str) -> Result<()> {
    let data = Data::random(pairs.parse()?, seed.parse()?);
    let in_order = order == Order::Sorted.word();
    let pairs = if in_order { sorted(&data.pairs()) } else { data.pairs() };
    tell("ready")?;
    wait_for_line()?;
    let engine = engine_of(name, dir, data.payload_bytes())?;
    if in_order { engine.load_sorted(&pairs) } else { engine.load(&pairs) }?;
    tell("loaded")?;
    let newest: Vec<u32> = (0..).take(data.count()).collect();
    verify(&*engine, &data, &newest)?;
    engine.close()?;
    tell("verified")
}

fn commit(
    name: &str,
    dir: &str,
    pairs: &str,
    seed: &str,
    count: &str,
    commit_seed: &str,
) -> Result<()> {
    let data = Data::random(pairs.parse()?, seed.parse()?);
    let engine = engine_of(name, dir, data.payload_bytes())?;
    // What was written before is behind a checkpoint.
    engine.settle()?;
    let mut writer = Writer::of(&commits(commit_seed.parse()?), 0);
    for _ in 0..count.parse::<usize>()? {
        writer.commit(&*engine, &data)?;
    }
    tell("committed")?;
    wait_for_line()?;
    Err("expected to be killed, found a line".into())
}

/// What a process commits until it is killed.
pub(crate) fn commits(seed: u64) -> Commits {
    Commits { threads: 1, puts: PUTS, mode: Mode::Durable, duration: Duration::ZERO, seed }
}

fn open(name: &str, dir: &str, payload: &str, key: &str, sum: &str) -> Result<()> {
    let (payload, key, sum) = (payload.parse()?, unhex(key)?, sum.parse()?);
    let begin = Instant::now();
    let engine = engine_of(name, dir, payload)?;
    let found = engine.get_each(&[&key])?;
    let elapsed = begin.elapsed();
    check_sum(found, sum)?;
    tell(&elapsed.as_nanos().to_string())?;
    engine.close()
}

/// Tells the parent a line.
pub(crate) fn tell(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

fn wait_for_line() -> Result<()> {
    line().map(|_| ())
}

/// Waits for a line of the parent.
pub(crate) fn line() -> Result<String> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line)? {
        0 => Err("expected a line, found the end of the input".into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// A child from the side of its parent. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts `load`; returns when its data is made.
    pub(crate) fn load(kind: Kind, dir: &Path, data: (usize, u64), order: Order) -> Result<Self> {
        let (pairs, seed) = (data.0.to_string(), data.1.to_string());
        let words = [&*pairs, &*seed, order.word()];
        let mut process = Process::start(&["load", kind.name], dir, &words)?;
        process.expect("ready")?;
        Ok(process)
    }

    /// Has another process commit so often, and kills it when it has.
    pub(crate) fn commit_and_kill(
        kind: Kind,
        dir: &Path,
        data: (usize, u64),
        (count, seed): (usize, u64),
    ) -> Result<()> {
        let words = [data.0 as u64, data.1, count as u64, seed].map(|word| word.to_string());
        let mut process = Process::start(&["commit", kind.name], dir, &words)?;
        process.expect("committed")
    }

    /// The time that another process takes to open a database and get a first key.
    pub(crate) fn open(
        kind: Kind,
        dir: &Path,
        payload_bytes: u64,
        (key, sum): (&[u8], u64),
    ) -> Result<Duration> {
        let words = [payload_bytes.to_string(), hex(key), sum.to_string()];
        let mut process = Process::start(&["open", kind.name], dir, &words)?;
        let told = process.line()?;
        let nanoseconds: u64 =
            told.parse().map_err(|_| format!("expected a time, got {told:?}"))?;
        process.ended()?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Waits for the end of a child that has told its last.
    pub(crate) fn ended(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("expected a process that closes, found {status}").into());
        }
        Ok(())
    }

    /// Tells the child a line, and waits for its answer.
    pub(crate) fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.input, "{line}")?;
        let answer = self.line()?;
        if !answer.is_empty() {
            return Ok(answer);
        }
        let status = self.child.wait()?;
        Err(format!("expected an answer, found that the process has ended: {status}").into())
    }

    /// Starts a child of this command line.
    pub(crate) fn start<W: AsRef<str>>(front: &[&str], dir: &Path, words: &[W]) -> Result<Process> {
        let program: PathBuf = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.arg(WORD).args(front).arg(dir).args(words.iter().map(AsRef::as_ref));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("expected a pipe to the child, found none")?;
        let output = child.stdout.take().ok_or("expected a pipe from the child, found none")?;
        Ok(Process { child, input, output: BufReader::new(output) })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has the child go on.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"go on\n")?)
    }

    /// Waits for a line that the child tells.
    pub(crate) fn expect(&mut self, expected: &str) -> Result<()> {
        match self.line()? {
            found if found == expected => Ok(()),
            found => Err(format!("expected a process that tells {expected}, got {found:?}").into()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a process that has ended, which is as good.
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits = |place: usize| text.get(place..place + 2).unwrap_or_default();
    let bytes = (0..text.len()).step_by(2).map(|place| u8::from_str_radix(digits(place), 16));
    Ok(bytes.collect::<std::result::Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_command_line() {
        let key: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&key)).expect("digits"), key);
        assert!(unhex("0g").is_err() && unhex("012").is_err());
    }
}
