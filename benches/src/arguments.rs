//! The command line of the side-by-side run.

use std::path::PathBuf;
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
        Ok(arguments)
    }

    /// The options of a process that takes part in a round.
    pub(crate) fn for_child(&self) -> [String; 4] {
        let seconds = self.duration.as_secs_f64().to_string();
        ["--pairs".to_owned(), self.pairs.to_string(), "--seconds".to_owned(), seconds]
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

fn seconds(word: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(word.parse()?)?)
}
