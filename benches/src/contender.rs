//! An engine in one round: its database, what is in it, and the work that it is given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bristlecone_benches::data::{Data, Pair};
use bristlecone_benches::scratch::{Scratch, disk_bytes};

use crate::arguments::Arguments;
use crate::commits::{self, Commits};
use crate::device::Device;
use crate::engines::{Engine, Kind, Mode, Opening, Result, Role, Unsupported};
use crate::measure::{self, DELETED, Measure};
use crate::reads::{self, Reads};
use crate::values::Values;
use crate::workload::{Order, Set, VALUE_BYTES_MAX, Work};
use crate::{buckets, lifecycle, together};

/// What all engines of a round share.
pub(crate) struct Common<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) device: Option<&'a Device>,
    pub(crate) set: Set,
    pub(crate) data: &'a Arc<Data>,
    /// The seed of the data.
    pub(crate) data_seed: u64,
    pub(crate) pairs: &'a [Pair<'a>],
    /// `None` where nobody asks for single values.
    pub(crate) values: Option<&'a Values>,
}

/// An engine in one round.
pub(crate) struct Contender {
    kind: Kind,
    /// `None` while the database is closed.
    engine: Option<Box<dyn Engine>>,
    mode: Mode,
    /// The index of the value that each key should have.
    newest: Vec<u32>,
    /// The last field: the files go after the engine.
    scratch: Scratch,
}

impl Contender {
    pub(crate) fn enter(kind: Kind, common: &Common<'_>) -> Result<Contender> {
        let scratch = Scratch::within(&common.arguments.dir)?;
        let engine = (kind.open)(scratch.path(), &opening(Mode::Durable, common))?;
        if common.set == Set::Halved {
            engine.load(common.pairs)?;
            engine.settle()?;
        }
        let newest = (0..).take(common.data.count()).collect();
        Ok(Contender { kind, engine: Some(engine), mode: Mode::Durable, newest, scratch })
    }

    /// Goes on with a database that another process has loaded and left. Its files are removed with
    /// the directory that they are in, if not before.
    pub(crate) fn go_on(kind: Kind, common: &Common<'_>, loaded: &Path) -> Result<Contender> {
        let engine = (kind.open)(loaded, &opening(Mode::Durable, common))?;
        let newest = (0..).take(common.data.count()).collect();
        let scratch = Scratch::kept(loaded.to_path_buf());
        Ok(Contender { kind, engine: Some(engine), mode: Mode::Durable, newest, scratch })
    }

    /// Closes the database, and leaves it to another process.
    pub(crate) fn leave(mut self) -> Result<PathBuf> {
        self.engine()?.settle()?;
        self.close()?;
        Ok(self.scratch.keep())
    }

    /// Does the work once. `reads` and `seed` are the same for all engines.
    pub(crate) fn perform(
        &mut self,
        work: Work,
        common: &Common<'_>,
        reads: &[Reads],
        seed: u64,
    ) -> Result<Measure> {
        let measure = self.measure(work, common, reads, seed)?;
        if self.kind.role == Role::Limit {
            // It keeps no puts, so it still has the first value of each key.
            for (value, first) in self.newest.iter_mut().zip(0..).filter(|it| *it.0 != DELETED) {
                *value = first;
            }
        }
        if work.is_compared() {
            self.verify(common)?;
        }
        Ok(measure)
    }

    fn measure(
        &mut self,
        work: Work,
        common: &Common<'_>,
        reads: &[Reads],
        seed: u64,
    ) -> Result<Measure> {
        let (kind, data, device) = (self.kind, common.data, common.device);
        let duration = common.arguments.duration;
        match work {
            Work::Load(Order::Random) => {
                measure::load(self.engine()?, common.pairs, Order::Random, device)
            }
            Work::Load(Order::Sorted) => {
                let other = Contender::enter(kind, common)?;
                let measure = measure::load(other.engine()?, common.pairs, Order::Sorted, device)?;
                other.verify(common)?;
                Ok(measure)
            }
            Work::Memory(order) => {
                let scratch = Scratch::within(&common.arguments.dir)?;
                let made = (data.count(), common.data_seed);
                lifecycle::memory(kind, scratch.path(), made, order)
            }
            Work::Size => self.size(data),
            Work::Get { how, .. } => reads::gets(self.engine()?, reads, how),
            Work::Scan(direction) => reads::scans(self.engine()?, &reads[0], direction),
            Work::FullScan => reads::full_scans(self.engine()?, data),
            Work::Commit { threads, puts, mode } => {
                let commits = Commits { threads, puts, mode, duration, seed };
                let (engine, newest) = self.changing(mode, common)?;
                commits::commits(engine, data, &commits, newest, device)
            }
            Work::GetsBesideCommits => {
                let (engine, newest) = self.changing(Mode::Durable, common)?;
                together::gets_beside_commits(engine, data, newest, (duration, seed), device)
            }
            Work::LongReader => {
                let dir = self.scratch.path().to_owned();
                let (engine, newest) = self.changing(Mode::Buffered, common)?;
                together::long_reader(engine, kind.role, data, newest, (&dir, seed))
            }
            Work::Open => {
                self.closed(common, |dir, newest| lifecycle::open(kind, dir.path(), data, newest))
            }
            Work::OpenKilled(log_bytes) => self.closed(common, |dir, newest| {
                let made = (&**data, common.data_seed);
                lifecycle::open_killed(kind, dir.path(), made, newest, (log_bytes, seed))
            }),
            Work::DeleteHalf => {
                let (engine, newest) = self.changing(Mode::Durable, common)?;
                commits::delete_half(engine, data, newest, device)
            }
            Work::SizeCompacted => self.size_compacted(common),
            Work::CreateBuckets => buckets::create(self.engine()?, common.pairs, device),
            Work::GetInBuckets => buckets::get(self.engine()?, &reads[0]),
            Work::PutValue(length) => {
                values_of(common)?.put(self.engine()?, kind.role, length, duration, device)
            }
            Work::GetValue(length) => values_of(common)?.get(self.engine()?, length, duration),
        }
    }

    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| "expected an open engine, found none".into())
    }

    /// The engine in a mode, and what changes go into.
    fn changing(&mut self, mode: Mode, common: &Common<'_>) -> Result<(&dyn Engine, &mut [u32])> {
        // A mode is a property of an open database.
        if self.mode != mode {
            self.close()?;
            self.engine = Some((self.kind.open)(self.scratch.path(), &opening(mode, common))?);
            self.mode = mode;
        }
        let engine = self.engine.as_deref().ok_or("expected an open engine, found none")?;
        Ok((engine, &mut self.newest))
    }

    /// Does something with the database while this process has it closed.
    fn closed(
        &mut self,
        common: &Common<'_>,
        work: impl FnOnce(&Scratch, &mut [u32]) -> Result<Measure>,
    ) -> Result<Measure> {
        if self.kind.role == Role::Limit {
            return Err(Unsupported("the limit opens nothing").into());
        }
        self.close()?;
        let measure = work(&self.scratch, &mut self.newest);
        let opening = opening(Mode::Durable, common);
        self.engine = Some((self.kind.open)(self.scratch.path(), &opening)?);
        self.mode = Mode::Durable;
        measure
    }

    fn close(&mut self) -> Result<()> {
        self.engine.take().map_or(Ok(()), |engine| engine.close())
    }

    /// The size of the files, or what they must hold.
    fn size(&self, data: &Data) -> Result<Measure> {
        let kept = self.newest.iter().filter(|&&value| value != DELETED).count();
        let bytes = match self.kind.role {
            // Its log is zero-filled, whatever is loaded.
            Role::Limit => (kept * data.pair_bytes()) as u64,
            _ => disk_bytes(self.scratch.path())?,
        };
        Ok(Measure { value: bytes as f64 / 1e6, ..Measure::default() })
    }

    fn size_compacted(&mut self, common: &Common<'_>) -> Result<Measure> {
        let engine = self.engine.as_mut().ok_or("expected an open engine, found none")?;
        engine.settle()?;
        let begin = std::time::Instant::now();
        engine.compact()?;
        let seconds = begin.elapsed().as_secs_f64();
        let measure = self.size(common.data)?;
        let beside =
            (self.kind.role != Role::Limit).then_some((seconds, "s to compact".to_owned()));
        Ok(Measure { beside, ..measure })
    }

    /// Compares the database with what was put.
    pub(crate) fn verify(&self, common: &Common<'_>) -> Result<()> {
        match (&self.engine, self.kind.role, common.set) {
            (None, ..) => Err("expected an open engine, found none".into()),
            // The limit keeps no puts; each value was compared when it was put.
            (_, Role::Limit, _) | (.., Set::Values) => Ok(()),
            (Some(engine), _, Set::Buckets) => buckets::verify(&**engine, common.data),
            (Some(engine), ..) => measure::verify(&**engine, common.data, &self.newest),
        }
    }
}

fn values_of<'a>(common: &Common<'a>) -> Result<&'a Values> {
    common.values.ok_or_else(|| "expected values, found none".into())
}

fn opening(mode: Mode, common: &Common<'_>) -> Opening {
    let (payload_bytes, value_bytes) = match common.set {
        Set::Values => (VALUE_BYTES_MAX as u64, VALUE_BYTES_MAX),
        _ => (common.data.payload_bytes(), common.data.shape().value_bytes()),
    };
    let (memory_bytes, data) = (common.arguments.memory_bytes, Some(Arc::clone(common.data)));
    Opening { mode, payload_bytes, value_bytes, memory_bytes, data }
}
