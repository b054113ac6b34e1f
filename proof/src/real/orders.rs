//! What a worker is told to do: command-line arguments, for it is a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use bristlecone::Options;

use crate::simulation::random::Random;

/// Memory for changes, however large the values are.
const MEMORY_MAX: u64 = 16 << 20;

/// What a worker does.
#[derive(clap::Args, Clone, Debug)]
pub struct Orders {
    /// The database's directory.
    pub dir: PathBuf,
    /// Chooses the history, and the options of the database.
    #[arg(long)]
    pub seed: u64,
    /// Threads that commit.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Commits of each thread; without a number they never end.
    #[arg(long)]
    pub commits: Option<u64>,
    /// With the engine's own threads.
    #[arg(long)]
    pub engine_threads: bool,
    /// Without a map of the data file.
    #[arg(long)]
    pub pread: bool,
    /// How much larger than usual the values are, and how many more the keys.
    #[arg(long, default_value_t = 1)]
    pub scale: usize,
    /// The allocation that fails, the first being 1.
    #[arg(long, default_value_t = 0)]
    pub failing_allocation: u64,
    /// Only opens the database, and keeps it open until its input ends.
    #[arg(long)]
    pub hold: bool,
    /// Only opens the database and reads all of it.
    #[arg(long)]
    pub read: bool,
    /// Opens the database for reading only.
    #[arg(long)]
    pub look: bool,
    /// Name of a seeded bug that the engine has.
    #[arg(long)]
    pub bug: Option<String>,
    /// Ends with a kill instead of a close.
    #[arg(long)]
    pub killed: bool,
}

impl Orders {
    /// A single thread, for ever, and no threads of the engine: the history that the seed replays.
    pub(crate) fn new(dir: impl Into<PathBuf>, seed: u64) -> Orders {
        Orders {
            dir: dir.into(),
            seed,
            threads: 1,
            commits: None,
            engine_threads: false,
            pread: false,
            scale: 1,
            failing_allocation: 0,
            hold: false,
            read: false,
            look: false,
            bug: None,
            killed: false,
        }
    }

    /// Threads and map as the seed says.
    pub(crate) fn varied(dir: impl Into<PathBuf>, seed: u64) -> Orders {
        let mut random = Random::new(!seed);
        Orders {
            threads: random.pick(&[1, 1, 2, 4]),
            engine_threads: random.percent(50),
            pread: random.percent(25),
            ..Orders::new(dir, seed)
        }
    }

    /// So many commits of each thread.
    pub(crate) fn commits(self, commits: u64) -> Orders {
        Orders { commits: Some(commits), ..self }
    }

    /// How a worker opens the database, and whoever looks at what it left. Segments are small and
    /// checkpoints come often, so that files grow, change and are used again all the time.
    pub(crate) fn options(&self) -> Options {
        let mut random = Random::new(self.seed);
        let scale = self.scale as u64;
        Options::new()
            .page_bytes(random.pick(&[4 << 10, 4 << 10, 8 << 10]))
            .checkpoint_log_bytes(random.pick(&[4 << 10, 16 << 10, 64 << 10]) * scale)
            .checkpoint_memory_bytes(MEMORY_MAX.min(random.pick(&[64 << 10, 1 << 20]) * scale))
            .memory_bytes_max(MEMORY_MAX.min(random.pick(&[256 << 10, 4 << 20]) * scale))
            .wal_segment_bytes_max(random.pick(&[16 << 10, 32 << 10, 128 << 10]) * scale)
            .wal_piece_bytes(random.pick(&[3000, 9000, 4 << 20]))
            .checkpoint_interval(Duration::from_millis(random.pick(&[5, 60_000])))
            .buffered_delay(Duration::from_millis(random.pick(&[0, 1, 10])))
            .threads(self.engine_threads)
            .map(!self.pread)
    }

    /// The arguments that say all this.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let number = |name: &str, value: u64| format!("--{name}={value}");
        let mut arguments = vec![
            "worker".to_owned(),
            self.dir.display().to_string(),
            number("seed", self.seed),
            number("threads", self.threads as u64),
            number("scale", self.scale as u64),
            number("failing-allocation", self.failing_allocation),
        ];
        arguments.extend(self.commits.map(|commits| number("commits", commits)));
        arguments.extend(self.bug.iter().map(|bug| format!("--bug={bug}")));
        for (flag, on) in [
            ("--engine-threads", self.engine_threads),
            ("--pread", self.pread),
            ("--hold", self.hold),
            ("--read", self.read),
            ("--look", self.look),
            ("--killed", self.killed),
        ] {
            arguments.extend(on.then(|| flag.to_owned()));
        }
        arguments
    }
}
