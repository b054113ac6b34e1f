//! Places where nothing may be written or opened: read-only file systems, immutable files, too few
//! file descriptors.
//!
//! Goal: an error that says so, no damage, and everything as before when it is over. What is open
//! goes on reading.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use bristlecone::{Db, Error, ErrorKind};

use super::kernel;
use super::mounts::{Image, Kind, lacks};
use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::programs::{self, must};
use super::session::{self, Ends, Session};
use super::worker::kind_of;
use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};

const KIND: Kind = Kind::Ext4;
const IMAGE_BYTES: u64 = 64 << 20;
const COMMITS: u64 = 60;
/// So many descriptors are tried, from none to more than the engine needs.
const DESCRIPTORS: u64 = 24;
/// Exit code of a shell or a loader that could not start the worker.
const NOT_STARTED: i32 = 127;

/// What is said when a file system stops taking writes.
const STOPPED: &[&str] = &["io", "outcome-unknown", "poisoned", "read-only"];

pub(crate) fn run(plan: &Plan) -> Evidence {
    let lacks = lacks(plan, KIND, IMAGE_BYTES);
    if let Some(why) = lacks.or_else(|| programs::lacks(&["chattr", "prlimit"])) {
        return Evidence::skipped(why);
    }
    seeds(plan, |seed, counts| {
        let case = Case::new(plan, seed)?;
        counts.cases(1);
        match seed % 4 {
            0 => case.mounted_read_only(counts),
            1 => case.stopped_while_open(counts),
            2 => case.immutable(counts),
            _ => case.few_descriptors(seed / 4 % DESCRIPTORS, counts),
        }
    })
}

/// A store on a file system of its own, as a killed worker left it.
struct Case<'a> {
    plan: &'a Plan,
    image: Image,
    orders: Orders,
    oracle: Oracle,
    /// Goes last, when nothing is mounted in it.
    _dir: tempfile::TempDir,
}

impl Case<'_> {
    fn new(plan: &Plan, seed: u64) -> Result<Case<'_>, String> {
        let dir = places::with_room(plan, IMAGE_BYTES)?;
        let mut image = Image::new(dir.path(), KIND, IMAGE_BYTES)?;
        image.mount(KIND, false)?;
        let orders = Orders::new(image.point().join("db"), seed).commits(COMMITS);
        // This process must outlive a file system that its map cannot read.
        let orders = Orders { killed: true, pread: true, ..orders };
        let mut oracle = Oracle::new(&orders);
        let told = session::run(&plan.worker, &orders)?;
        told.check_end(Ends::KILLED)?;
        oracle.hear(&told)?;
        let orders = Orders { killed: false, ..orders };
        Ok(Case { plan, image, orders, oracle, _dir: dir })
    }

    /// A read-only mount is read, and refuses to be opened for writing.
    fn mounted_read_only(mut self, counts: &Counts) -> Result<(), String> {
        self.image.unmount()?;
        self.image.mount(KIND, true)?;
        let error = Db::open_with(&self.orders.dir, self.oracle.options())
            .err()
            .ok_or("a read-only file system was opened for writing")?;
        if !matches!(error.kind(), ErrorKind::ReadOnly { .. }) {
            return Err(format!("expected the read-only error, found {error}"));
        }
        counts.add("read-only mounts", 1);
        self.oracle.examine(&self.orders.dir, true)?;
        self.image.unmount()?;
        self.image.mount(KIND, false)?;
        self.finish()
    }

    /// The file system stops taking writes under an open database.
    fn stopped_while_open(mut self, counts: &Counts) -> Result<(), String> {
        let told = |error: bristlecone::Error| error.to_string();
        let db = Db::open_with(&self.orders.dir, self.oracle.options()).map_err(told)?;
        self.oracle.found(&db)?;
        self.oracle.commit(&db).map_err(told)?;
        self.oracle.compare(&db)?;
        if counts_even(&self.orders) {
            self.image.remount("abort")?;
        } else {
            File::open(self.image.point())
                .and_then(|point| kernel::shut_down(&point))
                .map_err(|error| format!("cannot shut the file system down: {error}"))?;
        }
        let error = (0..COMMITS).find_map(|_| self.oracle.commit(&db).err());
        let error = error.ok_or("a file system that takes no writes took commits")?;
        counts.add(&format!("stopped: {}", check_refusal(&error, STOPPED)?), 1);
        // What was read before is in memory, whatever became of the disk.
        self.oracle.compare_reads(&db)?;
        let again = self.oracle.commit(&db).err();
        let again = again.ok_or("a file system that takes no writes took a commit")?;
        // What changed nothing may be tried again; anything else must have stopped all writing.
        let refused = matches!(error.kind(), ErrorKind::Io { .. } | ErrorKind::ReadOnly { .. });
        check_refusal(&again, if refused { STOPPED } else { &["poisoned"] })?;
        drop(db);
        self.image.unmount()?;
        self.image.mount(KIND, false)?;
        self.finish()
    }

    /// Files and directories that nobody may change, one after the other.
    fn immutable(mut self, counts: &Counts) -> Result<(), String> {
        let dir = self.orders.dir.clone();
        let mut names = vec![dir.clone(), dir.join("data"), dir.join("lock"), dir.join("wal")];
        let segments = std::fs::read_dir(dir.join("wal")).map_err(|error| error.to_string())?;
        names.extend(segments.filter_map(|entry| entry.ok().map(|entry| entry.path())).take(2));
        for name in names {
            if !name.exists() {
                continue;
            }
            let immutable = Immutable::new(&name)?;
            let told = session::run(&self.plan.worker, &self.orders)?;
            drop(immutable);
            let ends = Ends::failed(&["io", "outcome-unknown", "poisoned"]);
            told.check_end(ends).map_err(|error| format!("{}: {error}", name.display()))?;
            self.oracle.hear(&told)?;
            let kind = told.failure().unwrap_or("nothing");
            counts.add(&format!("immutable, met: {kind}"), 1);
            self.oracle.examine(&dir, true)?;
        }
        self.finish()
    }

    fn few_descriptors(mut self, count: u64, counts: &Counts) -> Result<(), String> {
        let limit = format!("--nofile={count}");
        let through = ["prlimit", limit.as_str()];
        let told = Session::start(&through, &self.plan.worker, &self.orders)?.finish()?;
        if told.status.code() == Some(NOT_STARTED) && told.lines.is_empty() {
            counts.add("descriptors too few to start", 1);
        } else {
            let ends = Ends::failed(&["io", "outcome-unknown", "poisoned"]);
            told.check_end(ends).map_err(|error| format!("{count} descriptors: {error}"))?;
            let kind = told.failure().unwrap_or("nothing");
            counts.add(&format!("descriptors, met: {kind}"), 1);
        }
        self.oracle.hear(&told)?;
        self.finish()
    }

    fn finish(mut self) -> Result<(), String> {
        self.oracle.examine(&self.orders.dir, false)?;
        self.image.unmount()
    }
}

/// The kind of an error, which must be one of these.
fn check_refusal(error: &Error, expected: &[&str]) -> Result<&'static str, String> {
    let kind = kind_of(error);
    let found = || format!("expected one of {expected:?}, found {kind}: {error}");
    expected.contains(&kind).then_some(kind).ok_or_else(found)
}

fn counts_even(orders: &Orders) -> bool {
    (orders.seed / 4).is_multiple_of(2)
}

/// A file or directory with the flag `i`, for as long as this lives.
struct Immutable(PathBuf);

impl Immutable {
    fn new(path: &Path) -> Result<Immutable, String> {
        must("chattr", &[OsStr::new("+i"), path.as_os_str()])?;
        Ok(Immutable(path.to_path_buf()))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        if let Err(error) = must("chattr", &[OsStr::new("-i"), self.0.as_os_str()]) {
            eprintln!("cannot undo: {error}");
        }
    }
}
