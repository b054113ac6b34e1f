//! Salvage: what can still be read is copied exactly, and what cannot is told.
//!
//! Goal: outside the ranges that are reported as lost the new database has exactly the newest
//! content, within them nothing that is old or wrong, and the damaged database stays as it is.
//!
//! Method: one store with two checkpoints and commits behind them, on the simulated disk. Each page
//! and each block of its log is damaged in turn, alone and together with others, and the result is
//! compared with a map that the test keeps.

#[path = "salvage/store.rs"]
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bristlecone::io::Host;
use bristlecone::io::sim::errno::{EIO, ENOSPC};
use bristlecone::io::sim::{CrashImages, Fault, FaultPlan, OpKind, SimDisk};
use bristlecone::{Db, Loss, Result, SalvageReport, salvage_on};

use store::{
    FROM, INTO, PAGE_BYTES, Store, assert_kept, data, key, options, path, read, store, value,
};

fn salvage(disk: &SimDisk) -> Result<SalvageReport> {
    let files = || {
        let files = disk.contents().into_iter();
        files.filter(|(path, _)| path.starts_with(FROM)).collect::<Vec<_>>()
    };
    let before = files();
    let result = salvage_on(Arc::new(disk.clone()), FROM, INTO, options(), &mut |_| {});
    assert!(files() == before, "the damaged database was changed");
    result
}

/// How a page is damaged.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flipped,
    Zeroed,
}

fn damage(disk: &SimDisk, page: u64, how: Damage) {
    let at = page * PAGE_BYTES as u64;
    match how {
        Damage::Flipped => disk.corrupt(data(), at + (100 + page * 37) % PAGE_BYTES as u64, 0x10),
        Damage::Zeroed => disk.overwrite(data(), at, &[0; PAGE_BYTES]),
    }
    .expect("the page is there");
}

/// Salvages and compares with the newest content; returns the report and how many pairs are lost.
fn assert_salvaged(store: &Store, disk: &SimDisk, what: &str) -> (SalvageReport, usize) {
    let report = salvage(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.gaps.is_empty(), "{what}: {:?}", report.gaps);
    assert_eq!(report.revision.0, store.txns.len() as u64, "{what}");
    let missing = assert_kept(&read(disk, INTO), &store.newest(), &report, what);
    assert!(missing == 0 || !report.losses.is_empty());
    // Made after the older checkpoint, so the log has all of them.
    for known in ["swap", "new", "late"] {
        let lost = report.losses.iter().find(|loss| loss.path.starts_with(&path(known)));
        assert!(lost.is_none(), "{what}: {lost:?}");
    }
    (report, missing)
}

/// All is there but what is lost in the trees, and the commits that are told to be missing.
fn assert_gaps(store: &Store, disk: &SimDisk, report: &SalvageReport, what: &str) {
    let is_told = |txn: u64| {
        let mut gaps = report.gaps.iter();
        gaps.any(|gap| txn >= gap.first.0 && gap.last.is_none_or(|last| txn <= last.0))
    };
    for gap in &report.gaps {
        assert!(gap.first.0 > store.newer, "{what}: {gap:?}");
    }
    let (count, kept) = (store.txns.len() as u64, report.revision.0);
    let next_may_be_missing = report.unfinished.is_some() && kept + 1 == count;
    assert!(kept == count || is_told(count) || next_may_be_missing, "{what}: {kept}");
    // A gap that is open to the end begins behind the last one that was read.
    let expected = store.content(kept, |txn| txn <= kept && is_told(txn));
    assert_kept(&read(disk, INTO), &expected, report, what);
}

/// True when a loss is part of another.
fn is_within(loss: &Loss, other: &Loss) -> bool {
    let below_end = |key: &[u8]| other.end.as_ref().is_none_or(|end| key < &end[..]);
    match loss.path.strip_prefix(&other.path[..]) {
        Some([]) => {
            let same_end = loss.end == other.end;
            let ends = loss.end.as_ref().is_some_and(|end| below_end(end));
            loss.start >= other.start && (same_end || ends || other.end.is_none())
        }
        Some([name, ..]) => *name >= other.start && below_end(name),
        None => false,
    }
}

fn log_files(disk: &SimDisk) -> Vec<PathBuf> {
    let log = Path::new(FROM).join("wal");
    disk.contents().into_keys().filter(|path| path.starts_with(&log)).collect()
}

/// Numbers that follow from a seed.
fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

#[test]
fn an_undamaged_database_is_copied_whole() {
    let store = store();
    let (report, missing) = assert_salvaged(&store, &store.disk, "undamaged");
    assert!(report.is_complete() && missing == 0 && !report.used_older);
    assert_eq!(report.checkpoint, 2);
    let newest = store.newest();
    assert_eq!(report.buckets, newest.buckets.len() as u64);
    // The expired one too, which no read shows.
    assert_eq!(report.pairs, newest.pairs.len() as u64);
    assert!(report.bytes > 100_000);
    assert!(report.unfinished.is_none());
    // Both can be opened: no lock is held any more.
    Db::open_on(Arc::new(store.disk.clone()), FROM, options()).unwrap();
    Db::open_on(Arc::new(store.disk.clone()), INTO, options()).unwrap();
    let names: Vec<_> = store.disk.list_all().into_keys().collect();
    assert!(!names.iter().any(|path| path.ends_with("new.unfinished")), "{names:?}");
}

#[test]
fn a_damaged_page_costs_its_range_at_most_and_nothing_when_the_older_tree_has_it() {
    let store = store();
    let (mut made_up, mut lost, mut missing) = (0, 0, 0);
    for page in 2..store.pages() {
        for how in [Damage::Flipped, Damage::Zeroed] {
            let disk = store.disk.fork();
            damage(&disk, page, how);
            let what = format!("page {page} {how:?}");
            let (report, pairs) = assert_salvaged(&store, &disk, &what);
            made_up += usize::from(report.used_older && report.is_complete());
            lost += usize::from(!report.is_complete());
            missing += pairs;
            if !report.losses.is_empty() {
                assert!(pairs <= 130, "{what}: {pairs} pairs for {:?}", report.losses);
            }
        }
    }
    assert!(made_up > 40, "{made_up} pages of the newer tree alone");
    assert!(lost > 4 && missing > 100, "{lost} pages of both trees, {missing} pairs");
}

#[test]
fn without_the_older_meta_page_only_what_the_log_has_is_made_up() {
    let store = store();
    let mut lost = 0;
    for page in 2..store.pages() {
        let disk = store.disk.fork();
        // Checkpoint 2 lies in page 0, the older one in page 1.
        damage(&disk, 1, Damage::Zeroed);
        damage(&disk, page, Damage::Flipped);
        let (report, _) = assert_salvaged(&store, &disk, &format!("page {page}"));
        lost += usize::from(!report.is_complete());
    }
    assert!(lost > 15, "{lost} pages of the newer tree");
}

#[test]
fn any_pages_together_cost_only_what_is_told() {
    let store = store();
    let mut next = random(7);
    for round in 0..150 {
        let disk = store.disk.fork();
        let pages: Vec<u64> = (0..2 + next(12)).map(|_| 2 + next(store.pages() - 2)).collect();
        pages.iter().for_each(|page| damage(&disk, *page, Damage::Zeroed));
        let what = format!("round {round}, pages {pages:?}");
        let alone = disk.fork();
        let (report, _) = assert_salvaged(&store, &disk, &what);
        // The older tree takes nothing away from what the newer one and the log have.
        damage(&alone, 1, Damage::Zeroed);
        let (without, _) = assert_salvaged(&store, &alone, &what);
        for loss in &report.losses {
            let known = without.losses.iter().any(|other| is_within(loss, other));
            assert!(known, "{what}: {loss:?} is not lost in {:?}", without.losses);
        }
    }
}

#[test]
fn pages_and_log_together_cost_only_what_is_told() {
    let store = store();
    let mut next = random(9);
    let files = log_files(&store.disk);
    let (mut with_both, mut made_up) = (0, 0);
    for round in 0..200 {
        let disk = store.disk.fork();
        let pages: Vec<u64> = (0..1 + next(12)).map(|_| next(store.pages() - 1) + 1).collect();
        pages.iter().for_each(|page| damage(&disk, *page, Damage::Zeroed));
        let file = &files[next(files.len() as u64) as usize];
        let block = next(store.disk.read_file(file).unwrap().len() as u64 / 4096);
        disk.corrupt(file, block * 4096 + 40, 1).unwrap();
        let report = salvage(&disk).unwrap();
        let what = format!("round {round}, pages {pages:?}, {} block {block}", file.display());
        assert_gaps(&store, &disk, &report, &what);
        with_both += usize::from(!report.losses.is_empty() && !report.gaps.is_empty());
        made_up += usize::from(report.used_older);
    }
    assert!(with_both > 3 && made_up > 50, "{with_both} with both, {made_up} made up");
}

#[test]
fn either_meta_page_is_enough_and_without_both_is_an_error_that_tells_why() {
    let store = store();
    for how in [Damage::Flipped, Damage::Zeroed] {
        for (page, checkpoint) in [(0, 1), (1, 2)] {
            let disk = store.disk.fork();
            damage(&disk, page, how);
            let (report, missing) = assert_salvaged(&store, &disk, "a meta page");
            assert!(report.is_complete() && missing == 0);
            assert_eq!(report.checkpoint, checkpoint);
        }
    }
    let disk = store.disk.fork();
    damage(&disk, 0, Damage::Flipped);
    damage(&disk, 1, Damage::Flipped);
    let error = salvage(&disk).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    let text = error.to_string();
    assert!(text.contains("in page 0 expected checksum"), "{text}");
    assert!(text.contains("in page 1 expected checksum"), "{text}");
    assert!(!disk.list_all().contains_key(Path::new(INTO)));
}

#[test]
fn damage_in_the_log_costs_the_commits_that_are_told() {
    let store = store();
    let (mut gaps, mut unfinished) = (0, 0);
    for file in log_files(&store.disk) {
        let len = store.disk.read_file(&file).unwrap().len() as u64;
        for at in (0..len).step_by(4096) {
            let disk = store.disk.fork();
            disk.corrupt(&file, at + 40, 1).unwrap();
            let what = format!("{} at {at}", file.display());
            let report = salvage(&disk).unwrap();
            assert!(report.losses.is_empty(), "{what}: {:?}", report.losses);
            assert_gaps(&store, &disk, &report, &what);
            gaps += report.gaps.len();
            unfinished += usize::from(report.unfinished.is_some());
        }
    }
    assert!(gaps >= 5, "{gaps} gaps");
    assert_eq!(unfinished, 1, "the last frame alone");
}

#[test]
fn a_log_that_is_gone_is_told() {
    let store = store();
    let expected = store.content(store.newer, |_| false);
    for with_dir in [false, true] {
        let disk = store.disk.fork();
        log_files(&disk).iter().for_each(|file| disk.remove_file(file).unwrap());
        if with_dir {
            disk.remove_dir(&Path::new(FROM).join("wal")).unwrap();
        }
        let report = salvage(&disk).unwrap();
        let [gap] = &report.gaps[..] else { panic!("{:?}", report.gaps) };
        assert_eq!((gap.first.0, gap.last), (store.newer + 1, None));
        assert_eq!(report.revision.0, store.newer);
        assert_kept(&read(&disk, INTO), &expected, &report, "no log");
    }
}

#[test]
fn without_the_log_between_the_checkpoints_nothing_old_comes_back() {
    let store = store();
    let expected = store.content(store.newer, |_| false);
    let mut lost = 0;
    for page in 2..store.pages() {
        let disk = store.disk.fork();
        log_files(&disk).iter().for_each(|file| disk.remove_file(file).unwrap());
        damage(&disk, page, Damage::Flipped);
        let report = salvage(&disk).unwrap();
        assert!(!report.used_older, "page {page}");
        assert_kept(&read(&disk, INTO), &expected, &report, &format!("page {page}"));
        lost += usize::from(!report.losses.is_empty());
    }
    assert!(lost > 30, "{lost} pages of the newer tree");
}

#[test]
fn a_gap_between_the_checkpoints_makes_the_older_tree_useless() {
    let store = store();
    let newest = store.newest();
    for file in log_files(&store.disk) {
        let len = store.disk.read_file(&file).unwrap().len() as u64;
        for at in (4096..len).step_by(8192) {
            let disk = store.disk.fork();
            disk.corrupt(&file, at + 40, 1).unwrap();
            // All that is not in the first pages: every leaf is lost in the newer tree.
            let pages = store.pages();
            (pages / 2..pages).for_each(|page| damage(&disk, page, Damage::Flipped));
            let report = salvage(&disk).unwrap();
            if report.gaps.is_empty() && report.unfinished.is_none() {
                let what = format!("{} at {at}", file.display());
                assert_kept(&read(&disk, INTO), &newest, &report, &what);
            }
        }
    }
    assert!(store.older < store.newer);
}

#[test]
fn a_page_that_cannot_be_read_is_a_loss_and_no_error() {
    let store = store();
    let (mut runs, mut number) = (0, 4);
    loop {
        let disk = store.disk.fork();
        let plan = FaultPlan::new(OpKind::Read, Fault::Refuse(EIO)).on("/db/data").after(number);
        disk.fail(plan);
        let report = salvage(&disk).unwrap();
        if disk.stats().faults == 0 {
            break;
        }
        disk.clear_faults();
        assert_kept(&read(&disk, INTO), &store.newest(), &report, &format!("read {number}"));
        (runs, number) = (runs + 1, number + 3);
    }
    assert!(runs > 10, "{runs} runs");
}

#[test]
fn a_log_that_cannot_be_read_is_a_gap_and_no_error() {
    let store = store();
    for forever in [false, true] {
        let (mut gaps, mut number) = (0, 0);
        loop {
            let disk = store.disk.fork();
            let plan = FaultPlan::new(OpKind::Read, Fault::Refuse(EIO)).on("/db/wal").after(number);
            disk.fail(if forever { plan.forever() } else { plan });
            let report = salvage(&disk).unwrap();
            if disk.stats().faults == 0 {
                break;
            }
            disk.clear_faults();
            assert_gaps(&store, &disk, &report, &format!("read {number}, forever {forever}"));
            gaps += report.gaps.len();
            number += 1;
        }
        assert!(gaps > 3, "{gaps} gaps");
    }
}

/// What opening accepts is no damage: after any power cut salvage finds what opening finds.
#[test]
fn after_a_power_cut_salvage_and_opening_agree() {
    let disk = SimDisk::new(3);
    disk.set_reserve_bytes_max(8 << 20);
    disk.start_trace();
    for session in 0..4u32 {
        let db = Db::open_on(Arc::new(disk.clone()), FROM, options()).unwrap();
        for number in 0..12u32 {
            db.update(|txn| {
                let mut bucket = txn.create_bucket_if_missing("b")?;
                (0..4).try_for_each(|n| {
                    bucket.put(key(number * 7 + n), value(session << 8 | number, 1500))
                })?;
                bucket.put("large", value(number, 9000))?;
                bucket.next_sequence().map(|_| ())
            })
            .unwrap();
            if number % 5 == 4 {
                db.checkpoint().unwrap();
            }
        }
        db.close().unwrap();
    }
    let trace = disk.take_trace().expect("started above");
    let mut images = CrashImages::new(&trace);
    let (mut number, mut compared) = (0u64, 0);
    while images.advance().is_some() {
        number += 1;
        if number % 3 != 0 {
            continue;
        }
        let image = images.image(number);
        if !image.list_all().contains_key(&data()) {
            continue;
        }
        let report = salvage(&image).unwrap();
        let what = format!("cut at {number}");
        assert!(report.is_complete(), "{what}: {report:?}");
        assert_eq!(read(&image, INTO), read(&image, FROM), "{what}");
        compared += 1;
    }
    assert!(compared > 100, "{compared} images");
}

#[test]
fn only_a_new_or_empty_directory_is_written_to() {
    let store = store();
    let disk = store.disk.fork();
    let into = |into: &str| {
        salvage_on(Arc::new(disk.clone()), FROM, into, options(), &mut |_| {}).map(|_| ())
    };
    disk.create_dir(Path::new("/full")).unwrap();
    disk.write_file("/full/file", b"content").unwrap();
    disk.write_file("/file", b"content").unwrap();
    disk.create_dir(Path::new("/left.unfinished")).unwrap();
    disk.write_file("/left.unfinished/data", b"content").unwrap();
    let before = disk.contents();
    for (dir, expected) in [
        ("/full", "new or empty"),
        ("/file", "cannot read"),
        ("/left", "found /left.unfinished with content"),
        (FROM, "outside the damaged one"),
        ("/db/new", "outside the damaged one"),
        ("/", "with a name"),
    ] {
        let error = into(dir).unwrap_err().to_string();
        assert!(error.contains(expected), "{dir}: {error}");
    }
    assert!(disk.contents() == before);
    disk.create_dir(Path::new("/empty")).unwrap();
    into("/empty").unwrap();
    assert_eq!(read(&disk, "/empty").pairs.len() + 1, store.newest().pairs.len());
}

#[test]
fn an_open_database_and_a_missing_one_are_refused() {
    let store = store();
    let disk = store.disk.fork();
    let db = Db::open_on(Arc::new(disk.clone()), FROM, options()).unwrap();
    let result = salvage_on(Arc::new(disk.clone()), FROM, INTO, options(), &mut |_| {});
    assert!(result.unwrap_err().is_locked());
    drop(db);
    let result = salvage_on(Arc::new(disk.clone()), "/none", INTO, options(), &mut |_| {});
    assert!(result.unwrap_err().to_string().contains("expected a data file, found none"));
    assert!(!disk.list_all().contains_key(Path::new("/none")));
}

#[test]
fn a_full_target_is_an_error_and_leaves_nothing() {
    let store = store();
    for kind in [OpKind::Write, OpKind::Resize, OpKind::Create, OpKind::Rename] {
        for number in (0..).step_by(if kind == OpKind::Write { 11 } else { 1 }) {
            let disk = store.disk.fork();
            let plan = FaultPlan::new(kind, Fault::Refuse(ENOSPC)).on("/new").after(number);
            disk.fail(plan.forever());
            let result = salvage(&disk);
            if disk.stats().faults == 0 {
                assert!(number > 0, "{kind:?}");
                break;
            }
            if let Err(error) = result {
                assert!(error.to_string().contains("No space left"), "{kind:?} {number}: {error}");
                let left = disk.list_all().into_keys().find(|path| !path.starts_with(FROM));
                assert_eq!(left, None, "{kind:?} {number}");
            }
        }
    }
}
