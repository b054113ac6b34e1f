//! The disks that a power cut may leave, at every operation of a trace.
//!
//! Steps through the trace once: each step costs one operation, each image what was pending.
//!
//! Invariants:
//! 1. All operations before the one in flight are finished; that one has begun, and whatever it
//!    changes is pending.
//! 2. The same trace, operation and seed give the same image.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::disk::SimDisk;
use super::pick::{Dice, Digits};
use super::trace::{Event, Settings, Trace};
use super::volume::Volume;

/// Makes crash images at the operations of a trace, one after the other.
pub struct CrashImages<'t> {
    trace: &'t Trace,
    volume: Volume,
    in_flight: Option<&'t Event>,
    next: usize,
}

impl<'t> CrashImages<'t> {
    /// Stands before the first operation.
    #[must_use]
    pub fn new(trace: &'t Trace) -> CrashImages<'t> {
        CrashImages { trace, volume: trace.base.clone(), in_flight: None, next: 0 }
    }

    /// Finishes the operation in flight and begins the next one. `None` after the last, when all
    /// are finished; images can be made then too.
    pub fn advance(&mut self) -> Option<&'t Event> {
        if let Some(event) = self.in_flight.take() {
            self.volume.finish(event);
        }
        let event = self.trace.events().get(self.next)?;
        self.volume.begin(event);
        self.next += 1;
        self.in_flight = Some(event);
        Some(event)
    }

    /// Advances until the operation of this number is in flight. It must not have been passed.
    pub fn advance_to(&mut self, index: usize) -> Option<&'t Event> {
        assert!(index >= self.next, "images are made in the order of the trace");
        while self.next < index {
            self.advance()?;
        }
        self.advance()
    }

    /// The operation in flight.
    #[must_use]
    pub fn in_flight(&self) -> Option<&'t Event> {
        self.in_flight
    }

    /// A disk that a power cut at this moment may leave; the seed decides which.
    #[must_use]
    pub fn image(&self, seed: u64) -> SimDisk {
        // Operations under the same seed get dice of their own.
        let seed = seed ^ (self.next as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        SimDisk::with(self.volume.outcome(&mut Dice::new(seed)), seed, self.settings())
    }

    /// How many disks a power cut at this moment may leave, if sectors and entries are old or new:
    /// two to the power of the pending effects, more for sectors written several times.
    #[must_use]
    pub fn outcomes(&self) -> u64 {
        self.volume.outcomes()
    }

    /// All of these disks. `None` if there are more than two to the power of `effects_max`.
    #[must_use]
    pub fn all(&self, effects_max: u32) -> Option<impl Iterator<Item = SimDisk> + '_> {
        let outcomes = self.outcomes();
        let image = move |number| {
            let left = self.volume.outcome(&mut Digits::new(number));
            SimDisk::with(left, number, self.settings())
        };
        (outcomes <= 1 << effects_max).then(|| (0..outcomes).map(image))
    }

    /// The disk that the death of the process leaves at this moment: see [`SimDisk::fork`].
    #[must_use]
    pub fn killed(&self) -> SimDisk {
        SimDisk::with(self.volume.clone(), self.next as u64, self.settings())
    }

    /// As [`SimDisk::is_durable`], at this moment of the trace; a file that is missing is not.
    #[must_use]
    pub fn is_durable(&self, path: impl AsRef<Path>, range: Range<u64>) -> bool {
        self.volume.is_durable(path.as_ref(), range).unwrap_or(false)
    }

    /// As [`CrashImages::is_durable`], whatever becomes of the file's name.
    #[must_use]
    pub fn is_content_durable(&self, path: impl AsRef<Path>, range: Range<u64>) -> bool {
        self.volume.is_content_durable(path.as_ref(), range).unwrap_or(false)
    }

    /// As [`SimDisk::is_entry_durable`], at this moment of the trace.
    #[must_use]
    pub fn is_entry_durable(&self, path: impl AsRef<Path>) -> bool {
        self.volume.is_entry_durable(path.as_ref()).unwrap_or(false)
    }

    fn settings(&self) -> Settings {
        let now_ms = self.in_flight.or(self.trace.events().last()).map(|event| event.now_ms);
        let settings = self.trace.settings.clone();
        Settings { now_ms: now_ms.unwrap_or(settings.now_ms), ..settings }
    }
}

impl fmt::Debug for CrashImages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashImages").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::super::errno::EIO;
    use super::super::fault::{Fault, FaultPlan, OpKind};
    use super::super::random::Random;
    use super::super::trace::Action;
    use super::*;
    use crate::io::{File, Host, OpenMode};

    fn names(disk: &SimDisk) -> Vec<String> {
        disk.list_all().keys().map(|path| path.display().to_string()).collect()
    }

    /// Every set of names that a power cut after the last operation may leave.
    fn names_left(trace: &Trace) -> BTreeSet<Vec<String>> {
        let mut images = CrashImages::new(trace);
        while images.advance().is_some() {}
        images.all(20).unwrap().map(|image| names(&image)).collect()
    }

    fn sets(expected: &[&[&str]]) -> BTreeSet<Vec<String>> {
        expected.iter().map(|set| set.iter().map(|name| (*name).to_string()).collect()).collect()
    }

    fn create(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
        let file = disk.open(Path::new(path), OpenMode::CreateNew).unwrap();
        file.write_at(bytes, 0).unwrap();
        file
    }

    /// Random operations of every kind on a few files, with faults.
    fn history(seed: u64, operations: u64) -> SimDisk {
        let mut random = Random::new(seed);
        let operations = if cfg!(miri) { operations / 4 } else { operations };
        let disk = SimDisk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        disk.start_trace();
        let names = ["/a", "/b", "/d/a", "/d/b"].map(Path::new);
        for operation in 0..operations {
            let (name, other) = (names[random.below(4) as usize], names[random.below(4) as usize]);
            if random.below(10) == 0 {
                let faults = [Fault::Tear(EIO), Fault::Lie, Fault::LoseWrite, Fault::Misdirect];
                let fault = faults[random.below(4) as usize];
                disk.fail(FaultPlan::new(OpKind::Any, fault));
            }
            let mode = if random.chance(128) { OpenMode::CreateNew } else { OpenMode::ReadWrite };
            // Many fail, by faults or for want of a file; the trace must hold what was done.
            let _ = match random.below(10) {
                0 => disk.rename(name, other),
                1 => disk.remove_file(name),
                2 => disk.sync_dir(Path::new(if random.chance(128) { "/" } else { "/d" })),
                what => disk.open(name, mode).and_then(|file| {
                    let bytes = vec![operation as u8 + 1; random.below(6000) as usize];
                    match what {
                        3 => file.sync(),
                        4 => file.set_len(random.below(20000)),
                        5 => file.allocate(random.below(20000)),
                        6 => file.write_durable_at(&bytes, random.below(10000)),
                        _ => file.write_at(&bytes, random.below(10000)),
                    }
                }),
            };
        }
        disk
    }

    fn seeds(count: u64) -> std::ops::Range<u64> {
        0..if cfg!(miri) { count.min(1) } else { count }
    }

    #[test]
    fn a_renamed_file_is_found_under_one_of_its_names_or_none() {
        let disk = SimDisk::new(1);
        disk.start_trace();
        let file = create(&disk, "/tmp", &[7; 600]);
        file.sync().unwrap();
        disk.rename(Path::new("/tmp"), Path::new("/final")).unwrap();
        let trace = disk.trace().unwrap();
        assert_eq!(names_left(&trace), sets(&[&[], &["/tmp"], &["/final"]]));
        for seed in seeds(100) {
            let contents = disk.crash(seed).contents();
            assert!(contents.values().all(|bytes| *bytes == [7; 600]), "seed {seed}");
        }
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(names_left(&disk.trace().unwrap()), sets(&[&["/final"]]));
    }

    #[test]
    fn a_replaced_file_is_the_old_one_or_the_new_one() {
        let disk = SimDisk::new(1);
        disk.write_file("/f", b"old").unwrap();
        create(&disk, "/t", b"new").sync().unwrap();
        disk.rename(Path::new("/t"), Path::new("/f")).unwrap();
        let read = |seed| disk.crash(seed).read_file("/f").unwrap();
        let left: BTreeSet<Vec<u8>> = seeds(100).map(read).collect();
        assert!(left.iter().all(|bytes| bytes == b"old" || bytes == b"new"));
        assert!(left.len() == 2 || cfg!(miri));
    }

    #[test]
    fn changes_of_one_name_keep_their_order_and_others_are_independent() {
        let disk = SimDisk::new(1);
        disk.write_file("/f", b"1").unwrap();
        disk.start_trace();
        disk.rename(Path::new("/f"), Path::new("/g")).unwrap();
        drop(create(&disk, "/f", b"2"));
        drop(create(&disk, "/h", b"3"));
        let left = names_left(&disk.take_trace().unwrap());
        let expected: [&[&str]; 6] =
            [&["/f"], &["/g"], &["/f", "/g"], &["/f", "/h"], &["/g", "/h"], &["/f", "/g", "/h"]];
        assert_eq!(left, sets(&expected));
    }

    #[test]
    fn a_directory_goes_only_after_what_was_moved_out_of_it() {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/d")).unwrap();
        disk.create_dir(Path::new("/e")).unwrap();
        disk.write_file("/d/f", b"1").unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.start_trace();
        disk.rename(Path::new("/d/f"), Path::new("/e/f")).unwrap();
        disk.remove_dir(Path::new("/d")).unwrap();
        let expected: [&[&str]; 3] =
            [&["/d", "/d/f", "/e"], &["/d", "/e", "/e/f"], &["/e", "/e/f"]];
        assert_eq!(names_left(&disk.trace().unwrap()), sets(&expected));
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(names_left(&disk.trace().unwrap()), sets(&[&["/e", "/e/f"]]));
    }

    #[test]
    fn a_renamed_directory_takes_its_files_along() {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/t")).unwrap();
        create(&disk, "/t/f", b"1").sync().unwrap();
        disk.sync_dir(Path::new("/t")).unwrap();
        disk.start_trace();
        disk.rename(Path::new("/t"), Path::new("/d")).unwrap();
        let file = disk.open(Path::new("/d/f"), OpenMode::ReadWrite).unwrap();
        file.write_at(b"2", 0).unwrap();
        let trace = disk.take_trace().unwrap();
        assert_eq!(*trace.events()[1].path, *Path::new("/d/f"));
        let expected: [&[&str]; 3] = [&[], &["/t", "/t/f"], &["/d", "/d/f"]];
        assert_eq!(names_left(&trace), sets(&expected));
    }

    #[test]
    fn the_operation_in_flight_is_pending_and_durable_when_finished() {
        let disk = SimDisk::new(1);
        disk.write_file("/a", &[1; 512]).unwrap();
        disk.start_trace();
        let file = disk.open(Path::new("/a"), OpenMode::ReadWrite).unwrap();
        file.write_durable_at(&[2; 512], 0).unwrap();
        disk.mark(17);
        let trace = disk.take_trace().unwrap();
        let mut images = CrashImages::new(&trace);
        let firsts = |images: &CrashImages<'_>| -> Vec<u8> {
            images.all(10).unwrap().map(|image| image.read_file("/a").unwrap()[0]).collect()
        };
        assert_eq!(firsts(&images), [1]);
        assert_eq!(images.advance().unwrap().written(), Some(0..512));
        assert_eq!(firsts(&images), [1, 2]);
        assert!(!images.is_durable("/a", 0..512));
        assert_eq!(images.advance().unwrap().mark(), Some(17));
        assert_eq!(firsts(&images), [2]);
        assert!(images.is_durable("/a", 0..512) && images.is_entry_durable("/a"));
        assert!(images.advance().is_none() && images.in_flight().is_none());
        assert_eq!(firsts(&images), [2]);
    }

    #[test]
    fn a_replayed_trace_ends_as_the_disk_did() {
        for seed in seeds(300) {
            let disk = history(seed, 60);
            let trace = disk.trace().unwrap();
            let mut images = CrashImages::new(&trace);
            while images.advance().is_some() {}
            assert_eq!(images.killed().contents(), disk.contents(), "seed {seed}");
            let end = trace.events().len() as u64;
            for cut in 0..4 {
                let dice = cut ^ end.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let (replayed, live) = (images.image(cut), disk.crash(dice));
                assert_eq!(replayed.contents(), live.contents(), "seed {seed} cut {cut}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_image_and_others_differ() {
        let images_of = |seed: u64| -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
            let trace = history(seed, 40).take_trace().unwrap();
            let mut images = CrashImages::new(&trace);
            let mut made = Vec::new();
            while images.advance().is_some() {
                made.extend((0..4).map(|cut| images.image(cut).contents()));
            }
            made
        };
        for seed in seeds(20) {
            assert_eq!(images_of(seed), images_of(seed), "seed {seed}");
        }
        let distinct: BTreeSet<_> = images_of(1).into_iter().collect();
        assert!(distinct.len() > 20 || cfg!(miri), "{} distinct images", distinct.len());
    }

    #[test]
    fn what_is_durable_is_the_same_in_every_image() {
        let mut checked = 0;
        for seed in seeds(200) {
            let trace = history(seed, 60).take_trace().unwrap();
            let mut images = CrashImages::new(&trace);
            while let Some(event) = images.advance() {
                let now = images.killed().contents();
                let left: Vec<_> = (0..3).map(|cut| images.image(cut).contents()).collect();
                for (path, bytes) in &now {
                    for start in (0..bytes.len()).step_by(512) {
                        let end = (start + 512).min(bytes.len());
                        if images.is_durable(path, start as u64..end as u64) {
                            let same = |left: &BTreeMap<PathBuf, Vec<u8>>| {
                                left[path][start..end] == bytes[start..end]
                            };
                            assert!(left.iter().all(same), "seed {seed} {event:?}");
                            checked += 1;
                        }
                    }
                }
            }
        }
        assert!(checked > 100 || cfg!(miri), "{checked} sectors were durable");
    }

    #[test]
    #[cfg_attr(miri, ignore = "compares a thousand images")]
    fn all_old_all_new_and_mixtures_are_common() {
        let disk = SimDisk::new(1);
        disk.write_file("/a", &[1; 16384]).unwrap();
        let file = disk.open(Path::new("/a"), OpenMode::ReadWrite).unwrap();
        file.write_at(&[2; 16384], 0).unwrap();
        let (mut old, mut new, mut damaged) = (0, 0, 0);
        for seed in 0..1000 {
            let bytes = disk.crash(seed).read_file("/a").unwrap();
            old += u32::from(bytes == [1; 16384]);
            new += u32::from(bytes == [2; 16384]);
            damaged += u32::from(bytes.iter().any(|&byte| byte != 1 && byte != 2));
        }
        println!("of 1000 images {old} are old, {new} new, {damaged} damaged");
        assert!(old > 100 && new > 100 && damaged > 100 && old + new + damaged < 900);
    }

    #[test]
    fn a_rule_about_order_can_be_checked_on_the_trace() {
        let run = |sync: bool| {
            let disk = SimDisk::new(1);
            disk.write_file("/data", &[0; 4096]).unwrap();
            disk.write_file("/meta", &[0; 512]).unwrap();
            disk.start_trace();
            let data = disk.open(Path::new("/data"), OpenMode::ReadWrite).unwrap();
            let meta = disk.open(Path::new("/meta"), OpenMode::ReadWrite).unwrap();
            data.write_at(&[1; 4096], 0).unwrap();
            if sync {
                data.sync().unwrap();
            }
            meta.write_durable_at(&[1; 512], 0).unwrap();
            disk.take_trace().unwrap()
        };
        let broken = |trace: &Trace| {
            let mut images = CrashImages::new(trace);
            let mut broken = false;
            while let Some(event) = images.advance() {
                let is_write = matches!(event.action, Action::Write { .. });
                let is_meta = event.path.ends_with("meta");
                broken |= is_write && is_meta && !images.is_durable("/data", 0..4096);
            }
            broken
        };
        assert!(!broken(&run(true)) && broken(&run(false)));
    }

    /// Prints how fast images of a 256 KiB store are made, without recovery.
    #[test]
    #[cfg_attr(miri, ignore = "measures time")]
    fn images_are_made_by_the_ten_thousand_in_a_second() {
        for pending_pages in [1_u64, 4, 16] {
            let disk = SimDisk::new(1);
            disk.create_dir(Path::new("/db")).unwrap();
            disk.write_file("/db/data", &vec![1; 192 << 10]).unwrap();
            disk.write_file("/db/lock", &[]).unwrap();
            disk.write_file("/db/log", &vec![2; 8192]).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            let data = disk.open(Path::new("/db/data"), OpenMode::ReadWrite).unwrap();
            let log = disk.open(Path::new("/db/log"), OpenMode::ReadWrite).unwrap();
            log.allocate(256 << 10).unwrap();
            log.sync().unwrap();
            disk.start_trace();
            log.write_durable_at(&[3; 4096], 8192).unwrap();
            for page in 0..pending_pages {
                data.write_at(&[4; 4096], page * 8192).unwrap();
            }
            let trace = disk.take_trace().unwrap();
            let mut images = CrashImages::new(&trace);
            while images.advance().is_some() {}
            let start = std::time::Instant::now();
            let count = 100_000_u64;
            let files: usize = (0..count).map(|seed| images.image(seed).list_all().len()).sum();
            let rate = count as f64 / start.elapsed().as_secs_f64();
            assert_eq!(files, 4 * count as usize);
            println!("{pending_pages} pages of 4 KiB pending: {rate:.0} images/s");
        }
    }
}
