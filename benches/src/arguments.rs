//! The command line of the side-by-side run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engines::Result;

/// Printed for `--help` and for what cannot be understood.
pub(crate) const USAGE: &str = "\
side-by-side: Bristlecone beside other engines, and beside the limit of the machine

  --rounds N      rounds, of which the median is reported (3)
  --pairs N       pairs in the database (1000000)
  --seconds N     how long a workload of commits runs (2)
  --calm N        before an engine's turn wait up to N seconds until others leave the machine
                  alone (10)
  --only NAME     only workloads whose name contains NAME; may be repeated
  --engine NAME   only engines of this name; may be repeated
  --memory MB     what engines are told to take, of those that can be told, for caches and for
                  changed pages together (a cache of all data; Bristlecone its defaults)
  --group DIR     a directory with a memory cgroup for each engine, of the engine's name; its
                  process enters it when its data is made
  --late          it does so only when its pairs are loaded: the database is closed, what the
                  system caches of it is dropped, and a new process goes on
  --dir DIR       where databases are put, on the device that is measured (temporary files)
  --json FILE     where all figures are written
  --list          tell workloads and engines, and stop";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) rounds: usize,
    pub(crate) pairs: usize,
    /// How long a workload of commits runs.
    pub(crate) duration: Duration,
    /// How long an engine's turn waits for a calm machine.
    pub(crate) patience: Duration,
    pub(crate) only: Vec<String>,
    pub(crate) engines: Vec<String>,
    /// Bytes of memory that engines are told to take.
    pub(crate) memory_bytes: Option<u64>,
    /// The directory of the memory cgroups that engines are in.
    pub(crate) group: Option<PathBuf>,
    /// They enter it only when their pairs are loaded.
    pub(crate) late: bool,
    /// A database that holds all pairs already.
    pub(crate) loaded: Option<PathBuf>,
    pub(crate) dir: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) list: bool,
    pub(crate) help: bool,
}

impl Arguments {
    /// Reads the arguments behind the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments> {
        let mut arguments = Arguments {
            rounds: 3,
            pairs: 1_000_000,
            duration: Duration::from_secs(2),
            patience: Duration::from_secs(10),
            only: Vec::new(),
            engines: Vec::new(),
            memory_bytes: None,
            group: None,
            late: false,
            loaded: None,
            dir: std::env::temp_dir(),
            json: None,
            list: false,
            help: false,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("expected a value after {word}"));
            match word.as_str() {
                "--rounds" => arguments.rounds = value()?.parse::<usize>()?.max(1),
                "--pairs" => arguments.pairs = value()?.parse()?,
                "--seconds" => arguments.duration = seconds(&value()?)?,
                "--calm" => arguments.patience = seconds(&value()?)?,
                "--only" => arguments.only.push(value()?),
                "--engine" => arguments.engines.push(value()?),
                "--memory" => arguments.memory_bytes = Some(megabytes(&value()?)?),
                "--group" => arguments.group = Some(value()?.into()),
                "--late" => arguments.late = true,
                // Not for people: see `for_child_with`.
                "--loaded" => arguments.loaded = Some(value()?.into()),
                "--dir" => arguments.dir = value()?.into(),
                "--json" => arguments.json = Some(value()?.into()),
                "--list" => arguments.list = true,
                "--help" | "-h" => arguments.help = true,
                other => return Err(format!("expected an option, found {other}").into()),
            }
        }
        if !(1000..=100_000_000).contains(&arguments.pairs) {
            let found = arguments.pairs;
            return Err(format!("expected 1000 to 100000000 pairs, found {found}").into());
        }
        if arguments.late && arguments.group.is_none() {
            return Err("expected --group beside --late, found none".into());
        }
        Ok(arguments)
    }

    /// The options of a process that takes part in a round.
    pub(crate) fn for_child(&self) -> Vec<String> {
        self.words(self.group.as_deref().filter(|_| !self.late), None)
    }

    /// The options of one that goes on with a loaded database.
    pub(crate) fn for_child_with(&self, loaded: &Path) -> Vec<String> {
        self.words(self.group.as_deref(), Some(loaded))
    }

    fn words(&self, group: Option<&Path>, loaded: Option<&Path>) -> Vec<String> {
        let (pairs, seconds) = (self.pairs.to_string(), self.duration.as_secs_f64().to_string());
        let memory = self.memory_bytes.map(|bytes| (bytes / MEGABYTE).to_string());
        let place = |dir: Option<&Path>| dir.map(|dir| dir.display().to_string());
        let options = [
            ("--pairs", Some(pairs)),
            ("--seconds", Some(seconds)),
            ("--memory", memory),
            ("--group", place(group)),
            ("--loaded", place(loaded)),
        ];
        options
            .into_iter()
            .filter_map(|(option, value)| Some([option.to_owned(), value?]))
            .flatten()
            .collect()
    }

    /// Whether a workload is asked for.
    pub(crate) fn wants_workload(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// Whether an engine is asked for.
    pub(crate) fn wants_engine(&self, name: &str) -> bool {
        self.engines.is_empty() || self.engines.iter().any(|one| one == name)
    }
}

const MEGABYTE: u64 = 1_000_000;

fn megabytes(word: &str) -> Result<u64> {
    match word.parse::<u64>()?.checked_mul(MEGABYTE) {
        Some(bytes) if bytes >= 8 * MEGABYTE => Ok(bytes),
        _ => Err(format!("expected at least 8 MB of memory, found {word}").into()),
    }
}

fn seconds(word: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(word.parse()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn what_concerns_a_child_reaches_it() {
        let parent = parse("--pairs 5000 --memory 64 --group /sys/group").expect("arguments");
        let child = Arguments::parse(parent.for_child()).expect("arguments");
        assert_eq!((child.pairs, child.memory_bytes), (5000, Some(64_000_000)));
        assert_eq!(child.group, Some(PathBuf::from("/sys/group")));
        let child = Arguments::parse(parse("--seconds 3").expect("arguments").for_child());
        let child = child.expect("arguments");
        assert_eq!((child.memory_bytes, child.group), (None, None));
        assert_eq!(child.duration, Duration::from_secs(3));
    }

    #[test]
    fn a_late_child_enters_the_group_when_all_is_loaded() {
        let parent = parse("--late --group /sys/group").expect("arguments");
        let child = Arguments::parse(parent.for_child()).expect("arguments");
        assert_eq!((child.group, child.loaded), (None, None));
        let child = Arguments::parse(parent.for_child_with(Path::new("/db"))).expect("arguments");
        assert_eq!((child.group, child.loaded), (parent.group, Some(PathBuf::from("/db"))));
        assert!(parse("--late").is_err());
    }

    #[test]
    fn too_little_memory_is_refused() {
        let error = parse("--memory 7").expect_err("too little");
        assert_eq!(error.to_string(), "expected at least 8 MB of memory, found 7");
        assert!(parse("--memory much").is_err() && parse("--memory").is_err());
    }
}
