//! Attached databases: what is read beside an owner who goes on is a prefix of its commits, and
//! durable, or a refusal; and the owner never knows.
//!
//! On a simulated disk one side takes steps between any two operations of the other, in the middle
//! of writes too: see `support/hooked.rs`. On real files the two run in threads.

#[path = "attach/history.rs"]
mod history;
#[path = "support/hooked.rs"]
mod hooked;
#[path = "support/sound.rs"]
mod sound;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bristlecone::io::Host;
use bristlecone::io::sim::errno::EIO;
use bristlecone::io::sim::{Fault, FaultPlan, OpKind, SimDisk};
use bristlecone::{Db, ErrorKind, Options, Result};
use parking_lot::Mutex;

use history::{History, Random, assert_content, commit, content_of, history};
use hooked::{Hook, Hooked};
use sound::assert_sound;

const DIR: &str = "/db";
/// Where an owner rests, who else would make an attempt to attach last for ever.
const REVISIONS_MAX: usize = 1_000;

/// Small pages, segments, pieces and parts, so that all there is happens with little.
fn options() -> Options {
    let options = Options::new().page_bytes(4096).threads(false).sweep(false);
    let options = options.wal_piece_bytes(10 << 10).spill_bytes(16 << 10).replay_bytes(20 << 10);
    options.wal_segment_bytes_max(64 << 10).checkpoint_log_bytes(1 << 30)
}

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.set_reserve_bytes_max(16 << 20);
    disk
}

fn attach(host: Arc<dyn Host>) -> Result<Db> {
    Db::open_on(host, DIR, options().attach(true))
}

/// A commit, now and then a checkpoint or several, seldom a new session.
fn step(db: &mut Option<Db>, open: &dyn Fn() -> Db, history: &Mutex<History>, random: &mut Random) {
    let owner = db.as_ref().expect("an owner");
    commit(owner, history, random).expect("a commit");
    let checkpoints = match random.below(24) {
        0..3 => 1,
        3 => 3,
        _ => 0,
    };
    for _ in 0..checkpoints {
        owner.checkpoint().expect("a checkpoint");
        commit(owner, history, random).expect("a commit");
    }
    if random.below(40) == 0 {
        *db = None;
        *db = Some(open());
    }
}

/// What changes a disk.
fn changes(disk: &SimDisk) -> [u64; 6] {
    let stats = disk.stats();
    let names = [stats.creates, stats.renames, stats.removes];
    let [creates, renames, removes] = names;
    [stats.writes, stats.durable_writes, stats.resizes, creates, renames, removes]
}

/// Attaches at random moments within the owner's operations, and cuts the power after some.
#[test]
fn what_an_attached_database_shows_is_a_prefix_and_survives_a_power_cut() {
    let mut attached = 0;
    for seed in 0..20 {
        let (disk, history) = (disk(seed), history());
        let looks = Arc::new(Mutex::new((Random(seed), 0, 0)));
        let (seen_on, known) = (disk.clone(), Arc::clone(&history));
        let counted = Arc::clone(&looks);
        let hook: Hook = Arc::new(move || {
            let (random, last, count) = &mut *counted.lock();
            if random.below(6) > 0 {
                return;
            }
            let before = changes(&seen_on);
            let db = match attach(Arc::new(seen_on.clone())) {
                Ok(db) => db,
                // Not created yet.
                Err(error) if matches!(error.kind(), ErrorKind::NotADatabase { .. }) => return,
                Err(error) => panic!("seed {seed}: {error}"),
            };
            let revision = assert_content(&db, &known).expect("nobody goes on meanwhile");
            assert_eq!(changes(&seen_on), before, "seed {seed}: attaching writes nothing");
            let acknowledged = known.lock().acknowledged;
            assert!(revision >= acknowledged, "seed {seed}: {revision}, not {acknowledged}");
            assert!(revision >= *last, "seed {seed}: {revision} after {last}");
            (*last, *count) = (revision, *count + 1);
            drop(db);
            if random.below(3) == 0 {
                let cut = seen_on.crash(random.below(1 << 30));
                let db = Db::open_on(Arc::new(cut), DIR, options()).expect("a database");
                let kept = assert_content(&db, &known).expect("what is kept");
                assert!(kept >= revision, "seed {seed}: {kept} is kept, {revision} was shown");
            }
        });
        let host = Arc::new(Hooked { host: Arc::new(disk.clone()), hook });
        let open = || Db::open_on(Arc::clone(&host) as _, DIR, options()).expect("an owner");
        let (mut db, mut random) = (Some(open()), Random(!seed));
        for _ in 0..200 {
            step(&mut db, &open, &history, &mut random);
        }
        attached += looks.lock().2;
    }
    assert!(attached > 5_000, "{attached} attached");
}

/// The owner goes on at random moments within the operations of who attaches.
#[test]
fn an_owner_that_goes_on_meanwhile_is_never_read_wrong() {
    let (mut whole, mut outrun, mut checked) = (0, 0, 0);
    for seed in 0..800 {
        let (disk, history) = (disk(seed), history());
        let on = disk.clone();
        let open = move || Db::open_on(Arc::new(on.clone()), DIR, options()).expect("an owner");
        let (mut db, mut random) = (Some(open()), Random(!seed));
        for _ in 0..random.below(20) {
            step(&mut db, &open, &history, &mut random);
        }
        let acknowledged = history.lock().acknowledged;
        // How often the owner acts, from hardly ever to all the time.
        let seldom = 1 + random.below(60);
        let (owner, known) = (Mutex::new((db, random)), Arc::clone(&history));
        let hook: Hook = Arc::new(move || {
            let (db, random) = &mut *owner.lock();
            let is_over = known.lock().contents.len() > REVISIONS_MAX;
            if is_over || random.below(seldom) > 0 {
                return;
            }
            // In some runs so much that the log has come round before the next operation.
            let steps = if seed % 4 == 0 { 1 + random.below(60) } else { 1 };
            (0..steps).for_each(|_| step(db, &open, &known, random));
        });
        let host = Arc::new(Hooked { host: Arc::new(disk.clone()), hook });
        let db = match attach(host) {
            Ok(db) => db,
            Err(error) => {
                assert!(error.is_outrun(), "seed {seed}: {error}");
                outrun += 1;
                continue;
            }
        };
        let revision = db.stats().revision.0;
        assert!(revision >= acknowledged, "seed {seed}: {revision}, not {acknowledged}");
        let is_checked = seed % 3 == 0;
        let read = if is_checked { assert_sound(&db) } else { Ok(()) };
        match read.and_then(|()| assert_content(&db, &history)) {
            Ok(_) => whole += 1,
            Err(error) => {
                assert!(error.is_outrun(), "seed {seed}: {error}");
                outrun += 1;
            }
        }
        checked += u64::from(is_checked);
    }
    assert!(whole > 300 && outrun > 20 && checked > 100, "{whole} {outrun} {checked}");
}

/// The owner's writes fail, and what the system's cache shows of them is not what the device has.
#[test]
fn what_a_failed_write_left_in_the_cache_is_not_shown() -> Result<()> {
    let mut shown = 0;
    for seed in 0..200 {
        let (disk, history, mut random) = (disk(seed), history(), Random(seed));
        let owner = Db::open_on(Arc::new(disk.clone()), DIR, options())?;
        let last = random.below(10);
        (0..last).try_for_each(|_| commit(&owner, &history, &mut random))?;
        disk.fail(FaultPlan::new(OpKind::Any, Fault::Tear(EIO)).after(random.below(6)).on("wal"));
        // The content that would be next is in the history whether it fails or not.
        while commit(&owner, &history, &mut random).is_ok() {
            if history.lock().contents.len() > 40 {
                break;
            }
        }
        let db = attach(Arc::new(disk.clone()))?;
        let revision = assert_content(&db, &history)?;
        shown += u64::from(revision > history.lock().acknowledged);
        for cut in 0..8 {
            let db = Db::open_on(Arc::new(disk.crash(cut)), DIR, options())?;
            let kept = assert_content(&db, &history)?;
            assert!(kept >= revision, "seed {seed}: {kept} is kept, {revision} was shown");
        }
    }
    assert!(shown > 20, "{shown}");
    Ok(())
}

fn put_all(db: &Db, with: u8) -> Result<()> {
    db.update(|txn| {
        let mut bucket = txn.create_bucket_if_missing("b")?;
        (0..100_u8).try_for_each(|key| bucket.put([key], [with; 300]))
    })
}

#[test]
fn who_is_outrun_is_told_and_keeps_what_it_has_read() -> Result<()> {
    let disk = disk(1);
    let owner = Db::open_on(Arc::new(disk.clone()), DIR, options())?;
    put_all(&owner, 1)?;
    owner.checkpoint()?;
    let db = attach(Arc::new(disk.clone()))?;
    assert!(db.is_attached() && !owner.is_attached());
    let txn = db.begin_read()?;
    let first = txn.bucket("b")?.get([0])?.expect("a value").to_vec();
    assert_eq!(first, [1; 300]);
    // Of the next checkpoint it takes no notice: its own is still in the file.
    put_all(&owner, 2)?;
    owner.checkpoint()?;
    assert_eq!(txn.bucket("b")?.get([50])?, Some(&[1; 300][..]));
    for with in 3..9 {
        put_all(&owner, with)?;
        owner.checkpoint()?;
    }
    let error = txn.bucket("b")?.get([99]).expect_err("an error");
    assert!(error.is_outrun() && !error.is_corrupt(), "{error}");
    let told = "expected checkpoint 1 in the file, found later ones; attach again";
    assert!(error.to_string().contains(told), "{error}");
    assert!(db.check(&mut |_| ControlFlow::Continue(())).expect_err("an error").is_outrun());
    assert_eq!(txn.bucket("b")?.get([0])?, Some(&[1; 300][..]));
    assert_eq!(txn.bucket("b")?.get([50])?, Some(&[1; 300][..]));
    let again = attach(Arc::new(disk))?;
    assert_eq!(again.begin_read()?.bucket("b")?.get([99])?, Some(&[8; 300][..]));
    assert_sound(&again)
}

#[test]
fn damage_is_told_as_damage() -> Result<()> {
    let disk = disk(1);
    let owner = Db::open_on(Arc::new(disk.clone()), DIR, options())?;
    for with in 1..5 {
        put_all(&owner, with)?;
        owner.checkpoint()?;
    }
    let data = Path::new(DIR).join("data");
    let whole = disk.read_file(&data).expect("a data file");
    for page in 8..whole.len() / 4096 {
        disk.corrupt(&data, page as u64 * 4096 + 2000, 1).expect("damage");
    }
    let error = match attach(Arc::new(disk.clone())) {
        Ok(db) => content_of(&db).expect_err("an error"),
        Err(error) => error,
    };
    assert!(error.is_corrupt(), "{error}");
    disk.overwrite(&data, 0, &whole).expect("a repair");
    assert_eq!(content_of(&attach(Arc::new(disk.clone()))?)?.len(), 100);
    // A frame of the log that others follow.
    let put_one = |with| owner.update(|txn| txn.bucket_mut("b")?.put([1], [with; 300]));
    put_one(6)?;
    let begin = disk.contents();
    put_one(7)?;
    let contents = disk.contents();
    let is_log = |path: &&std::path::PathBuf| path.extension().is_some_and(|name| name == "wal");
    let is_changed = |path: &&std::path::PathBuf| begin.get(*path) != contents.get(*path);
    let log = contents.keys().filter(is_log).find(is_changed).expect("a log");
    let (old, new) = (&begin[log], &contents[log]);
    let at = (0..new.len()).find(|at| old[*at] != new[*at]).expect("a frame");
    put_one(8)?;
    disk.corrupt(log, at as u64 + 100, 1).expect("damage");
    let error = attach(Arc::new(disk.clone())).expect_err("an error");
    assert!(error.is_corrupt(), "{error}");
    disk.corrupt(log, at as u64 + 100, 1).expect("a repair");
    let all_over = attach(Arc::new(disk))?;
    assert_eq!(all_over.begin_read()?.bucket("b")?.get([1])?, Some(&[8; 300][..]));
    Ok(())
}

#[test]
fn what_is_read_is_bounded_and_nothing_is_written() -> Result<()> {
    let disk = disk(1);
    let missing = attach(Arc::new(disk.clone())).expect_err("an error");
    assert!(matches!(missing.kind(), ErrorKind::NotADatabase { .. }), "{missing}");
    let owner = Db::open_on(Arc::new(disk.clone()), DIR, options())?;
    put_all(&owner, 1)?;
    owner.checkpoint()?;
    put_all(&owner, 2)?;
    let before = (changes(&disk), disk.contents());
    let little = options().attach(true).attached_bytes_max(6 * 4096);
    let full = match Db::open_on(Arc::new(disk.clone()), DIR, little) {
        Ok(db) => content_of(&db).expect_err("an error"),
        Err(error) => error,
    };
    assert!(full.is_full(), "{full}");
    let db = attach(Arc::new(disk.clone()))?;
    for refused in [db.begin_write().err(), db.checkpoint().err(), db.sync().err()] {
        assert!(matches!(refused.expect("an error").kind(), ErrorKind::ReadOnly { .. }));
    }
    let stats = db.stats();
    assert_eq!((stats.revision.0, stats.checkpoints), (2, 1));
    assert!(stats.file_bytes > 0 && stats.log_bytes > 0);
    db.close()?;
    assert_eq!((changes(&disk), disk.contents()), before);
    Ok(())
}

#[test]
fn a_database_without_an_owner_is_attached_to_as_well() -> Result<()> {
    let disk = disk(1);
    let owner = Db::open_on(Arc::new(disk.clone()), DIR, options())?;
    put_all(&owner, 1)?;
    // Killed.
    let killed = disk.fork();
    assert_eq!(content_of(&attach(Arc::new(killed.clone()))?)?.len(), 100);
    owner.close()?;
    assert_eq!(content_of(&attach(Arc::new(disk))?)?.len(), 100);
    let attached = attach(Arc::new(killed.clone()))?;
    let next = Db::open_on(Arc::new(killed), DIR, options())?;
    put_all(&next, 2)?;
    assert_eq!(attached.begin_read()?.bucket("b")?.get([1])?, Some(&[1; 300][..]));
    Ok(())
}

/// Names, lengths and times of change.
fn files(dir: &Path) -> Vec<(std::path::PathBuf, u64, std::time::SystemTime)> {
    let mut files = Vec::new();
    for dir in [dir.to_path_buf(), dir.join("wal")] {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = fs::metadata(&path).expect("a file");
            files.push((path, meta.len(), meta.modified().expect("a time")));
        }
    }
    files.sort();
    files
}

/// Tells a thread to end.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn on_real_files_an_owner_in_another_thread_is_read_as_it_goes_on() -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let busy = Options::new().page_bytes(4096).sweep(false).wal_segment_bytes_max(256 << 10);
    let busy = busy.checkpoint_log_bytes(128 << 10).checkpoint_log_bytes_min(16 << 10);
    let owner = Db::open_with(&path, busy.clone())?;
    let (history, stop) = (history(), AtomicBool::new(false));
    let (mut whole, mut outrun) = (0, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random(3);
            while !stop.load(Ordering::Relaxed) {
                commit(&owner, &history, &mut random).expect("a commit");
                if random.below(30) == 0 {
                    owner.checkpoint().expect("a checkpoint");
                }
            }
        });
        let _stopped_also_by_a_panic = Stop(&stop);
        let mut last = 0;
        while whole + outrun < 300 && !writer.is_finished() {
            let acknowledged = history.lock().acknowledged;
            let read = Db::attach(&path).and_then(|db| {
                let revision = db.stats().revision.0;
                assert!(revision >= acknowledged.max(last), "{revision}: {acknowledged}, {last}");
                last = revision;
                if whole % 10 == 0 {
                    assert_sound(&db)?;
                }
                assert_content(&db, &history)
            });
            match read {
                Ok(_) => whole += 1,
                Err(error) if error.is_outrun() => outrun += 1,
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(whole > 150, "{whole} read, {outrun} outrun");
    // Quiet now, with commits in the log.
    owner.checkpoint()?;
    put_all(&owner, 1)?;
    let before = files(&path);
    for _ in 0..5 {
        assert_eq!(Db::attach(&path)?.stats().revision, owner.stats().revision);
    }
    assert_eq!(files(&path), before);
    owner.close()?;
    assert_sound(&Db::open_with(&path, busy)?)
}
