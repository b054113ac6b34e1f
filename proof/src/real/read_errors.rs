//! A device of which a part cannot be read: an image that was cut behind its file system.
//!
//! Goal: what is there reads as it was written, what is not is an error that names the file; no
//! wrong value, and no death by a signal that explains nothing.
//!
//! Method: a worker reads a store of which some pages are beyond the end of the image. Every other
//! worker has read all of it before the image is cut, and the system's memory of it is then taken
//! back: its map meets the failing device.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;

use bristlecone::MAP_FAILURE_EXIT_CODE;

use super::cgroups::{self, Cgroup};
use super::mounts::{Image, Kind, lacks};
use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::session::{self, Ends, Line, Session, Told};
use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};

const KIND: Kind = Kind::Ext4;
const IMAGE_BYTES: u64 = 64 << 20;
/// Files lie between these places of the image.
const FIRST_CUT: u64 = 8 << 20;
const CUTS: u64 = 200;
const CUT_STEP: u64 = 64 << 10;
/// Prime to the number of cuts.
const STRIDE: u64 = 77;
const COMMITS: u64 = 60;
/// Some megabytes in all.
const SCALE: usize = 20;
const MEMORY_BYTES: u64 = 64 << 20;
const BUS_ERROR: i32 = 7;

pub(crate) fn run(plan: &Plan) -> Evidence {
    if let Some(why) = lacks(plan, KIND, IMAGE_BYTES).or_else(cgroups::lacks) {
        return Evidence::skipped(why);
    }
    seeds(plan, |seed, counts| {
        counts.cases(1);
        cut_once(plan, seed, counts)
    })
}

fn cut_once(plan: &Plan, seed: u64, counts: &Counts) -> Result<(), String> {
    let dir = places::with_room(plan, IMAGE_BYTES)?;
    let mut image = Image::new(dir.path(), KIND, IMAGE_BYTES)?;
    image.mount(KIND, false)?;
    let orders = Orders::new(image.point().join("db"), seed).commits(COMMITS);
    let orders = Orders { scale: SCALE, pread: seed.is_multiple_of(4), ..orders };
    let mut oracle = Oracle::new(&orders);
    let told = session::run(&plan.worker, &orders)?;
    told.check_end(Ends::WELL)?;
    oracle.hear(&told)?;
    image.unmount()?;
    image.mount(KIND, true)?;
    let orders = Orders { look: true, hold: true, ..orders };
    let group = Cgroup::new(MEMORY_BYTES)?;
    let through = group.through();
    let through: Vec<&str> = through.iter().map(String::as_str).collect();
    let cut = || {
        let bytes = FIRST_CUT + seed * STRIDE % CUTS * CUT_STEP;
        let file = OpenOptions::new().write(true).open(image.file());
        file.and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())
    };
    let told = if seed.is_multiple_of(2) {
        cut()?;
        Session::start(&through, &plan.worker, &orders)?.finish()?
    } else {
        let mut session = Session::start(&through, &plan.worker, &orders)?;
        session.await_line()?.ok_or("the worker did not open")?;
        cut()?;
        group.reclaim()?;
        session.finish()?
    };
    oracle.hear(&told)?;
    counts.add(met(&told)?, 1);
    image.unmount()
}

/// What the worker met, as it is counted.
fn met(told: &Told) -> Result<&'static str, String> {
    match told.failure() {
        Some("io") => match told.check_end(Ends::failed(&["io"])) {
            Ok(()) if names_a_file(told) => Ok("told of the file that cannot be read"),
            Ok(()) => Err(format!("an error that names no file: {told:?}")),
            Err(error) => Err(error),
        },
        Some(kind) => Err(format!("expected an error of reading, found {kind}: {told:?}")),
        None if told.status.success() => Ok("read everything"),
        None if told.status.code() == Some(MAP_FAILURE_EXIT_CODE) => {
            let named = told.errors.contains("/data: byte ");
            let how = "ended by the handler of its map, with file and byte";
            if named { Ok(how) } else { Err(format!("ended by its map, said {}", told.errors)) }
        }
        None if told.status.signal() == Some(BUS_ERROR) => {
            Err("died of its map: SIGBUS".to_owned())
        }
        None => Err(format!("ended with {}: {}", told.status, told.errors)),
    }
}

/// Every failure that the worker told of has the path of a file of the store.
fn names_a_file(told: &Told) -> bool {
    let files = ["/db/data", "/db/wal/", "/db/lock"];
    told.lines.iter().all(|line| match line {
        Line::Failed { why, .. } => files.iter().any(|file| why.contains(file)),
        _ => true,
    })
}
