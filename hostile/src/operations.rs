//! Hostile orders of operations, power cuts, kills and failing disks.
//!
//! The bytes are a mode, which chooses sizes, then operations: transactions, checkpoints, cuts,
//! kills, closes, faults, snapshots, steps of the clock. They run on the simulated disk and on a
//! reference.
//!
//! After each opening the content is that of one commit, no older than the last that was
//! acknowledged. Errors come only after faults. Disks that lie about a sync are not among the
//! faults: no commit can be promised there; the rig `lying-disk` tests what is.

use std::sync::Arc;
use std::time::Duration;

use bristlecone::io::Host;
use bristlecone::io::sim::errno::{EIO, ENOSPC};
use bristlecone::io::sim::{Fault, FaultPlan, OpKind, SimDisk};
use bristlecone::{BucketMut, Db, Durability, Error, Options, Result, Snapshot, WriteTxn};
use bristlecone_proof::simulation::compare::{assert_same, assert_sound};
use bristlecone_proof::simulation::reference::{Entry, Now, Tree};

use crate::content::DIR;
use crate::input::Input;

/// Operations of one input.
const OPERATIONS_MAX: usize = 100;
const DEPTH_MAX: usize = 3;
const RESERVE_BYTES: usize = 2 << 20;
const VALUE_BYTES: [usize; 8] = [0, 1, 20, 200, 1000, 1100, 5000, 14_000];
const LOG_BYTES: [u64; 4] = [1 << 10, 6 << 10, 40 << 10, 64 << 20];
const KINDS: [OpKind; 8] = [
    OpKind::Any,
    OpKind::Read,
    OpKind::Write,
    OpKind::WriteDurable,
    OpKind::Sync,
    OpKind::Resize,
    OpKind::Create,
    OpKind::Rename,
];

/// One committed state; its place in the list is its transaction's number.
#[derive(Clone)]
struct Version {
    root: Arc<Tree>,
    /// When its transaction began.
    time_ms: u64,
}

struct Simulation<'a> {
    input: Input<'a>,
    options: Options,
    disk: SimDisk,
    db: Option<Db>,
    versions: Vec<Version>,
    acknowledged: u64,
    /// The latest time that the database may have seen.
    latest_ms: u64,
    /// True from the first fault to the next opening without one.
    faulty: bool,
    held: Vec<(Snapshot, Arc<Tree>, u64)>,
}

/// Tries one input; panics when it finds a bug.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let disk = SimDisk::new(u64::from(mode));
    disk.set_reserve_bytes_max(RESERVE_BYTES);
    let options = Options::new()
        .page_bytes(4096)
        .wal_segment_bytes_max(16 << 10)
        .checkpoint_log_bytes(LOG_BYTES[usize::from(mode & 3)])
        .checkpoint_memory_bytes(if mode & 4 == 0 { 40 << 10 } else { 400 << 10 });
    let latest_ms = bristlecone::io::sim::START_MS;
    let versions = vec![Version { root: Arc::default(), time_ms: 0 }];
    let mut simulation = Simulation {
        input,
        options,
        disk,
        db: None,
        versions,
        acknowledged: 0,
        latest_ms,
        faulty: false,
        held: Vec::new(),
    };
    for _ in 0..OPERATIONS_MAX {
        if simulation.input.is_empty() {
            break;
        }
        simulation.step();
    }
    simulation.restart(simulation.disk.fork());
}

impl Simulation<'_> {
    fn step(&mut self) {
        let chosen = self.input.byte();
        let Some(db) = self.db.clone() else {
            // Opening meets the faults that are planned, too.
            return if chosen & 1 == 1 { self.open() } else { drop(self.try_open()) };
        };
        let done = match chosen % 16 {
            0..=6 => self.transact(&db),
            7 => db.checkpoint().map(|()| self.acknowledge_all()),
            8 => db.sync().map(|()| self.acknowledge_all()),
            9 => {
                let seed = self.input.number(2);
                self.restart(self.disk.crash(seed));
                Ok(())
            }
            10 => {
                self.restart(self.disk.fork());
                Ok(())
            }
            11 => self.close(db),
            12 => {
                self.plan_fault();
                Ok(())
            }
            13 => {
                let by_ms = i64::try_from(self.input.below(5000)).unwrap_or(0) - 1500;
                self.disk.advance_ms(by_ms);
                Ok(())
            }
            14 => self.snapshot(&db),
            _ => self.compare(&db),
        };
        if let Err(error) = done {
            self.excuse(&error);
        }
    }

    /// Panics on errors that nothing explains.
    fn excuse(&self, error: &Error) {
        assert!(self.faulty || error.is_full(), "a failure without a fault: {error}");
    }

    /// Goes on with another disk: what a cut or a kill left.
    fn restart(&mut self, disk: SimDisk) {
        self.held.clear();
        let old = std::mem::replace(&mut self.disk, disk);
        old.power_off();
        drop(self.db.take());
        self.open();
    }

    fn close(&mut self, db: Db) -> Result<()> {
        self.held.clear();
        self.db = None;
        db.close()?;
        self.acknowledge_all();
        Ok(())
    }

    /// Opens the disk, and checks what it holds if no fault is in the way.
    fn open(&mut self) {
        self.disk.clear_faults();
        let db = self.try_open().expect("a healthy disk opens");
        self.faulty = false;
        let view = db.begin_read().expect("a reader");
        let revision = view.id().0;
        let begun = self.versions.len() as u64 - 1;
        let expected = self.acknowledged..=begun;
        assert!(expected.contains(&revision), "revision {revision}, expected {expected:?}");
        let version = self.version(revision);
        let latest = self.latest_ms.max(self.disk.now_ms());
        let earliest = version.time_ms.max(self.disk.now_ms());
        assert_same(&view, &version.root, Now { earliest, latest }).expect("everything is read");
        drop(view);
        assert_sound(&db).expect("a check");
        // A cut may have taken the last clock reading along; from here on it is known again.
        self.latest_ms = latest;
        self.disk.set_now_ms(latest);
        db.begin_write().expect("a writer").rollback();
        self.versions.truncate(usize::try_from(revision).expect("few") + 1);
        self.acknowledged = revision;
        self.db = Some(db);
    }

    fn try_open(&self) -> Result<Db> {
        Db::open_on(Arc::new(self.disk.clone()), DIR, self.options.clone())
    }

    fn version(&self, revision: u64) -> Version {
        self.versions[usize::try_from(revision).expect("few")].clone()
    }

    fn acknowledge_all(&mut self) {
        self.acknowledged = self.versions.len() as u64 - 1;
    }

    fn plan_fault(&mut self) {
        let choice = self.input.byte();
        let kind = KINDS[usize::from(choice & 7)];
        let errno = if choice & 8 == 0 { EIO } else { ENOSPC };
        let fault = if choice & 16 == 0 { Fault::Refuse(errno) } else { Fault::Tear(errno) };
        let plan = FaultPlan::new(kind, fault).after(u64::from(self.input.byte()));
        self.disk.fail(if choice & 32 == 0 { plan } else { plan.forever() });
        self.faulty = true;
    }

    /// Makes the database read its clock, and tells what it read.
    fn observe(&mut self, db: &Db) -> Result<u64> {
        self.latest_ms = self.latest_ms.max(self.disk.now_ms());
        db.begin_write()?.rollback();
        Ok(self.latest_ms)
    }

    fn snapshot(&mut self, db: &Db) -> Result<()> {
        let now_ms = self.observe(db)?;
        let snapshot = db.snapshot()?;
        let root = self.version(snapshot.id().0).root;
        // It reads its clock when it first meets a record that can expire: now.
        assert_same(&snapshot, &root, Now::at(now_ms))?;
        self.held.push((snapshot, root, now_ms));
        if self.held.len() > 3 {
            self.held.remove(0);
        }
        Ok(())
    }

    /// Compares what readers see, now and in snapshots.
    fn compare(&mut self, db: &Db) -> Result<()> {
        for (snapshot, root, now_ms) in &self.held {
            assert_same(snapshot, root, Now::at(*now_ms))?;
        }
        let now_ms = self.observe(db)?;
        let view = db.begin_read()?;
        let revision = view.id().0;
        assert!(revision >= self.acknowledged, "what was acknowledged is seen");
        assert_same(&view, &self.version(revision).root, Now::at(now_ms))?;
        if self.faulty { Ok(()) } else { assert_sound(db) }
    }

    fn transact(&mut self, db: &Db) -> Result<()> {
        let now_ms = self.observe(db)?;
        let mut txn = db.begin_write()?;
        let id = txn.id().0;
        assert_eq!(id, self.versions.len() as u64, "numbers of transactions have no gap");
        let mut root = Arc::clone(&self.versions.last().expect("never empty").root);
        let choice = self.input.byte();
        for _ in 0..=choice & 7 {
            change(&mut self.input, &mut txn, Arc::make_mut(&mut root), now_ms)?;
        }
        if choice & 0x70 == 0x70 {
            txn.rollback();
            return Ok(());
        }
        let buffered = choice & 8 != 0;
        if buffered {
            txn.set_durability(Durability::Buffered);
        }
        self.versions.push(Version { root, time_ms: now_ms });
        match txn.commit() {
            Ok(done) if done.0 == id && buffered => {}
            Ok(done) if done.0 == id => self.acknowledge_all(),
            // Nothing was changed.
            Ok(_) => drop(self.versions.pop()),
            Err(error) => {
                if !error.is_outcome_unknown() {
                    self.versions.pop();
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Drop for Simulation<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Closing would do more work on what is broken, and a second panic ends the process.
            std::mem::forget((self.db.take(), std::mem::take(&mut self.held)));
        }
    }
}

/// One change in a bucket somewhere, done to the reference too.
fn change(input: &mut Input<'_>, txn: &mut WriteTxn, root: &mut Tree, now_ms: u64) -> Result<()> {
    let name = [b'b', input.byte() & 1];
    let depth = input.choice(DEPTH_MAX);
    if input.byte() & 31 == 31 && root.is_bucket(&name) {
        txn.drop_bucket(name)?;
        root.entries.remove(&name[..]);
        return Ok(());
    }
    let mut bucket = txn.create_bucket_if_missing(name)?;
    add_bucket(root, &name);
    change_within(input, &mut bucket, root.bucket_mut(&name), depth, now_ms)
}

fn change_within(
    input: &mut Input<'_>,
    bucket: &mut BucketMut<'_>,
    tree: &mut Tree,
    depth: usize,
    now_ms: u64,
) -> Result<()> {
    if depth > 0 {
        let name = [b'b', input.byte() & 3];
        let mut nested = bucket.create_bucket_if_missing(name)?;
        add_bucket(tree, &name);
        return change_within(input, &mut nested, tree.bucket_mut(&name), depth - 1, now_ms);
    }
    let kind = input.choice(16);
    let key = key(input);
    match kind {
        0..=7 => {
            let value = value(input);
            bucket.put(&key, &value)?;
            tree.entries.insert(key, Entry::Value { bytes: value.into(), expires_at: 0 });
        }
        8 => {
            let (value, ttl) = (value(input), 1 + u64::from(input.byte()) * 20);
            bucket.put_with_ttl(&key, &value, Duration::from_millis(ttl))?;
            let expires_at = now_ms + ttl;
            tree.entries.insert(key, Entry::Value { bytes: value.into(), expires_at });
        }
        9..=11 => {
            bucket.delete(&key)?;
            tree.entries.remove(&key);
        }
        12 => {
            let name = [b'b', input.byte() & 3];
            if tree.entries.remove(&name[..]).is_some() {
                bucket.drop_bucket(name)?;
            }
        }
        13 => tree.sequence = bucket.next_sequence()?,
        _ => {
            // Many at once, so that pages split.
            let (count, value) = (1 + input.choice(64), value(input));
            let value = &value[..value.len().min(1100)];
            for number in 0..count {
                let key = [&key[..key.len().min(100)], &number.to_be_bytes()].concat();
                bucket.put(&key, value)?;
                let bytes = Arc::from(value);
                tree.entries.insert(key, Entry::Value { bytes, expires_at: 0 });
            }
        }
    }
    Ok(())
}

fn add_bucket(tree: &mut Tree, name: &[u8]) {
    if !tree.is_bucket(name) {
        tree.entries.insert(name.to_vec(), Entry::Bucket(Arc::default()));
    }
}

/// A key that is no bucket's name.
fn key(input: &mut Input<'_>) -> Vec<u8> {
    let number = input.byte();
    match number >> 6 {
        0 => vec![b'k', number],
        1 => [&b"a-prefix-that-many-keys-share/"[..], &[number]].concat(),
        2 => [&vec![b'l'; 900][..], &[number]].concat(),
        _ => vec![0xff; usize::from(number & 63) + 1],
    }
}

fn value(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.byte();
    vec![choice; VALUE_BYTES[usize::from(choice & 7)]]
}

/// Inputs to begin with: a name for each.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    // The first operation opens. A transaction: how many changes and how it ends; then for each
    // change the bucket, the depth, whether to drop it, what to do, and with which key and value.
    let put: &[u8] = &[0, 0, 0, 0, 0, 0, 1, 2];
    let large: &[u8] = &[0, 0, 0, 0, 0, 0, 2, 7];
    let nested: &[u8] = &[0, 0, 0, 2, 0, 1, 2, 0, 3, 3];
    let many: &[u8] = &[0, 0, 0, 0, 0, 15, 4, 60, 4];
    let buffered: &[u8] = &[0, 8, 0, 0, 0, 0, 5, 2];
    let brief: &[u8] = &[0, 0, 0, 0, 0, 8, 6, 2, 9];
    let delete: &[u8] = &[0, 0, 0, 0, 0, 9, 1];
    let drop_all: &[u8] = &[0, 0, 0, 0, 31];
    let (checkpoint, sync): (&[u8], &[u8]) = (&[7], &[8]);
    let (cut, kill, close): (&[u8], &[u8], &[u8]) = (&[9, 3, 0], &[10], &[11]);
    let (clock, snapshot, compare): (&[u8], &[u8], &[u8]) = (&[13, 0xff, 0x0f], &[14], &[15]);
    let fault = |choice: u8, after: u8| vec![12, choice, after];
    let case = |mode: u8, parts: &[&[u8]]| [&[mode, 1], &parts.concat()[..]].concat();
    vec![
        ("nothing", vec![]),
        ("puts", case(0, &[put, large, nested, compare])),
        ("puts-and-a-cut", case(0, &[put, large, cut, compare, put, cut])),
        ("puts-and-a-kill", case(0, &[put, buffered, kill, compare, put, kill])),
        ("a-checkpoint-and-a-cut", case(3, &[many, checkpoint, put, cut, compare])),
        ("two-checkpoints", case(3, &[many, checkpoint, delete, checkpoint, put, checkpoint, cut])),
        ("checkpoints-by-themselves", case(0, &[many, many, large, put, many, cut, compare])),
        ("buffered-then-synced", case(0, &[buffered, buffered, sync, buffered, cut, compare])),
        ("closed-and-opened", case(0, &[put, close, put, compare, close, put, cut])),
        ("a-dropped-bucket", case(0, &[many, checkpoint, drop_all, put, checkpoint, cut, compare])),
        ("expired", case(0, &[brief, compare, clock, compare, checkpoint, cut, compare])),
        ("snapshots", case(0, &[put, snapshot, delete, checkpoint, put, checkpoint, compare])),
        ("a-failed-sync", case(0, &[put, &fault(4, 0), put, put, compare, cut, compare])),
        ("a-torn-write", case(0, &[put, &fault(18, 1), put, put, kill, compare])),
        ("a-full-disk", case(0, &[many, &fault(42, 3), many, checkpoint, put, compare, cut])),
        ("a-failed-read", case(0, &[many, checkpoint, close, put, &fault(1, 0), compare, cut])),
        ("every-third-fails", case(1, &[&fault(0, 3), many, &fault(0, 3), put, kill, compare])),
        (
            "nested-drops",
            case(0, &[nested, &[0, 0, 0, 1, 0, 1, 12, 0, 2], checkpoint, compare, cut]),
        ),
        ("a-roll-back", case(0, &[put, &[0, 0x70, 0, 0, 0, 0, 9, 5], compare, cut])),
        ("sequences", case(0, &[&[0, 0, 0, 0, 0, 13, 0], kill, compare, cut, compare])),
    ]
}
