//! A store to be damaged, with all that it should hold: a plain map, kept by the test.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::{Bucket, BucketMut, Db, Options, Result, SalvageReport, WriteTxn};

pub(crate) const PAGE_BYTES: usize = 4096;
pub(crate) const FROM: &str = "/db";
pub(crate) const INTO: &str = "/new";

pub(crate) type Path = Vec<Vec<u8>>;

/// One operation of a transaction; a path is names with `/` between them.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Put(&'static str, Vec<u8>, Vec<u8>),
    PutUntil(&'static str, Vec<u8>, Vec<u8>, u64),
    Delete(&'static str, Vec<u8>),
    Create(&'static str),
    Drop(&'static str),
    Sequence(&'static str, u64),
}

pub(crate) fn path(text: &str) -> Path {
    text.split('/').map(|name| name.as_bytes().to_vec()).collect()
}

/// Content by bucket path and key, with expiries, and buckets with their sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) pairs: BTreeMap<(Path, Vec<u8>), (Vec<u8>, u64)>,
    pub(crate) buckets: BTreeMap<Path, u64>,
}

impl Content {
    /// Applies an operation; buckets that it needs are made.
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(at, key, value) => self.put(at, key, value, 0),
            Op::PutUntil(at, key, value, until) => self.put(at, key, value, *until),
            Op::Delete(at, key) => {
                self.need(&path(at));
                self.pairs.remove(&(path(at), key.clone()));
            }
            Op::Create(at) => {
                self.remove(&path(at));
                self.need(&path(at));
            }
            Op::Drop(at) => self.remove(&path(at)),
            Op::Sequence(at, number) => {
                self.need(&path(at));
                self.buckets.insert(path(at), *number);
            }
        }
    }

    fn put(&mut self, at: &str, key: &[u8], value: &[u8], until: u64) {
        self.need(&path(at));
        self.pairs.insert((path(at), key.to_vec()), (value.to_vec(), until));
    }

    fn need(&mut self, path: &Path) {
        for depth in 1..=path.len() {
            self.buckets.entry(path[..depth].to_vec()).or_insert(0);
        }
    }

    fn remove(&mut self, path: &Path) {
        self.buckets.retain(|found, _| !found.starts_with(path));
        self.pairs.retain(|(found, _), _| !found.starts_with(path));
    }
}

fn within<'txn>(
    bucket: &mut BucketMut<'txn>,
    names: &[Vec<u8>],
    act: &mut dyn FnMut(&mut BucketMut<'_>) -> Result<()>,
) -> Result<()> {
    match names {
        [] => act(bucket),
        [name, rest @ ..] => within(&mut bucket.bucket_mut(name)?, rest, act),
    }
}

fn run(txn: &mut WriteTxn, op: &Op) -> Result<()> {
    let at = match op {
        Op::Put(at, ..) | Op::PutUntil(at, ..) | Op::Delete(at, ..) | Op::Sequence(at, ..) => {
            path(at)
        }
        Op::Create(at) | Op::Drop(at) => {
            let (name, around) =
                path(at).split_last().map(|(n, p)| (n.clone(), p.to_vec())).expect("a name");
            let create = matches!(op, Op::Create(_));
            if around.is_empty() {
                return match create {
                    true => txn.create_bucket(&name).map(|_| ()),
                    false => txn.drop_bucket(&name),
                };
            }
            let mut top = txn.bucket_mut(&around[0])?;
            return within(&mut top, &around[1..], &mut |bucket| match create {
                true => bucket.create_bucket(&name).map(|_| ()),
                false => bucket.drop_bucket(&name),
            });
        }
    };
    let mut top = txn.bucket_mut(&at[0])?;
    within(&mut top, &at[1..], &mut |bucket| match op {
        Op::Put(_, key, value) => bucket.put(key, value),
        Op::PutUntil(_, key, value, until) => {
            bucket.put_until(key, value, UNIX_EPOCH + Duration::from_millis(*until))
        }
        Op::Delete(_, key) => bucket.delete(key).map(|_| ()),
        Op::Sequence(_, number) => bucket.set_sequence(*number),
        Op::Create(_) | Op::Drop(_) => unreachable!("done above"),
    })
}

pub(crate) fn options() -> Options {
    Options::new().page_bytes(PAGE_BYTES).threads(false).wal_segment_bytes_max(32 << 10)
}

pub(crate) fn key(number: u32) -> Vec<u8> {
    format!("key-{number:04}").into_bytes()
}

pub(crate) fn value(number: u32, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// What a history leaves: the disk as a kill left it, and what should be on it.
pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    /// The operations of each transaction, from 1.
    pub(crate) txns: Vec<Vec<Op>>,
    /// Transactions of the older and of the newer checkpoint.
    pub(crate) older: u64,
    pub(crate) newer: u64,
}

impl Store {
    /// The content after the first `count` transactions, those apart that `skip` tells.
    pub(crate) fn content(&self, count: u64, skip: impl Fn(u64) -> bool) -> Content {
        let mut content = Content::default();
        for (_, ops) in (1..=count).zip(&self.txns).filter(|(txn, _)| !skip(*txn)) {
            ops.iter().for_each(|op| content.apply(op));
        }
        content
    }

    pub(crate) fn newest(&self) -> Content {
        self.content(self.txns.len() as u64, |_| false)
    }

    /// Pages of the data file.
    pub(crate) fn pages(&self) -> u64 {
        self.disk.read_file(data()).expect("no fault").len() as u64 / PAGE_BYTES as u64
    }
}

pub(crate) fn data() -> std::path::PathBuf {
    FilePath::new(FROM).join("data")
}

/// A store with everything that salvage has to tell apart.
pub(crate) fn store() -> Store {
    let disk = SimDisk::new(11);
    disk.set_reserve_bytes_max(8 << 20);
    let db = Db::open_on(Arc::new(disk.clone()), FROM, options()).expect("no fault");
    let mut txns = Vec::new();
    let mut commit = |ops: Vec<Op>| {
        db.update(|txn| ops.iter().try_for_each(|op| run(txn, op))).expect("no fault");
        txns.push(ops);
        txns.len() as u64
    };
    let mut older = 0;
    for ops in before_older() {
        older = commit(ops);
    }
    db.checkpoint().expect("no fault");
    let mut newer = 0;
    for ops in between() {
        newer = commit(ops);
    }
    db.checkpoint().expect("no fault");
    for ops in behind() {
        commit(ops);
    }
    let killed = disk.fork();
    Store { disk: killed, txns, older, newer }
}

fn puts(at: &'static str, numbers: impl Iterator<Item = u32>, salt: u32, len: usize) -> Vec<Op> {
    numbers.map(|n| Op::Put(at, key(n), value(n ^ salt << 16, len))).collect()
}

fn before_older() -> Vec<Vec<Op>> {
    let buckets = [
        "big",
        "large",
        "nested",
        "nested/a",
        "nested/b",
        "nested/deep",
        "nested/deep/er",
        "ttl",
        "gone",
        "swap",
        "swap/in",
    ];
    vec![
        buckets.into_iter().map(Op::Create).collect(),
        puts("big", 0..300, 1, 100),
        puts("nested/a", 0..120, 2, 100),
        puts("nested/b", 0..5, 3, 20),
        puts("nested/deep/er", 0..90, 4, 100),
        puts("large", 0..4, 5, 9000),
        puts("gone", 0..80, 6, 100),
        puts("swap", 0..80, 7, 100),
        puts("swap/in", 0..80, 8, 100),
        vec![
            Op::Sequence("nested/b", 3),
            Op::Sequence("nested/a", 5),
            Op::Sequence("swap/in", 9),
            Op::PutUntil("ttl", key(1), b"soon".to_vec(), START_MS + 60_000),
            Op::PutUntil("ttl", key(2), b"past".to_vec(), START_MS - 60_000),
        ],
    ]
}

fn between() -> Vec<Vec<Op>> {
    vec![
        puts("big", (0..60).step_by(3), 11, 110),
        (100..140).map(|n| Op::Delete("big", key(n))).collect(),
        puts("big", 295..340, 12, 100),
        vec![Op::Drop("gone"), Op::Drop("swap"), Op::Create("swap"), Op::Create("swap/in")],
        puts("swap", 40..100, 13, 100),
        puts("swap/in", 0..70, 14, 100),
        vec![Op::Create("new"), Op::Create("new/in"), Op::Sequence("new/in", 2)],
        puts("new", 0..80, 15, 100),
        puts("new/in", 0..80, 16, 100),
        puts("large", 2..5, 17, 9000),
        puts("nested/deep/er", 0..30, 18, 100),
        vec![Op::Delete("nested/a", key(7)), Op::Sequence("nested/a", 6)],
    ]
}

fn behind() -> Vec<Vec<Op>> {
    vec![
        puts("big", 150..160, 21, 100),
        vec![Op::Delete("big", key(3)), Op::Delete("big", key(250)), Op::Delete("large", key(0))],
        vec![Op::Put("large", key(3), value(99, 30_000))],
        vec![Op::Drop("nested/deep"), Op::Create("nested/deep"), Op::Create("late")],
        puts("nested/deep", 0..3, 22, 10),
        puts("late", 0..50, 23, 100),
        vec![Op::Sequence("late", 4), Op::Put("nested/b", key(1), b"last".to_vec())],
    ]
}

/// All that a database shows.
pub(crate) fn read(disk: &SimDisk, dir: &str) -> Content {
    let db = Db::open_on(Arc::new(disk.clone()), dir, options()).expect("no fault");
    let report = db.check(&mut |_| ControlFlow::Continue(())).expect("no fault");
    assert!(report.is_sound(), "{:?}", report.problems);
    let txn = db.begin_read().expect("no fault");
    let mut content = Content::default();
    for name in txn.buckets().expect("no fault") {
        let name = name.expect("no fault").to_vec();
        read_bucket(&txn.bucket(&name).expect("no fault"), vec![name], &mut content);
    }
    content
}

fn read_bucket(bucket: &Bucket<'_>, path: Path, content: &mut Content) {
    content.buckets.insert(path.clone(), bucket.sequence());
    for pair in bucket.iter().expect("no fault") {
        let (key, value) = pair.expect("no fault");
        let expires_at =
            bucket.get_value(key).expect("no fault").expect("no fault").expires_at.map_or(0, ms);
        content.pairs.insert((path.clone(), key.to_vec()), (value.to_vec(), expires_at));
    }
    for name in bucket.buckets().expect("no fault") {
        let name = name.expect("no fault").to_vec();
        let nested = [&path[..], std::slice::from_ref(&name)].concat();
        read_bucket(&bucket.bucket(&name).expect("no fault"), nested, content);
    }
}

fn ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).expect("after 1970").as_millis())
        .expect("64 bits")
}

/// True when the entry is within a loss that was reported.
fn is_lost(report: &SalvageReport, path: &[Vec<u8>], key: &[u8]) -> bool {
    report.losses.iter().any(|loss| {
        let within = |key: &[u8]| {
            key >= &loss.start[..] && loss.end.as_ref().is_none_or(|end| key < &end[..])
        };
        match path.strip_prefix(&loss.path[..]) {
            Some([]) => within(key),
            Some([name, ..]) => within(name),
            None => false,
        }
    })
}

/// Outside the losses everything is as it should be; within them nothing is there but what is
/// right. Returns how many pairs are missing.
pub(crate) fn assert_kept(
    found: &Content,
    expected: &Content,
    report: &SalvageReport,
    what: &str,
) -> usize {
    for (at, value) in &found.pairs {
        assert_eq!(Some(value), expected.pairs.get(at), "{what}: {at:?} is wrong");
    }
    let mut missing = 0;
    // No read shows what has expired.
    let shown = expected.pairs.iter().filter(|(_, (_, until))| *until == 0 || *until > START_MS);
    for ((path, key), _) in shown.filter(|(at, _)| !found.pairs.contains_key(*at)) {
        assert!(is_lost(report, path, key), "{what}: {path:?} {key:?} is missing and not told");
        missing += 1;
    }
    for (path, sequence) in &expected.buckets {
        let (name, around) = path.split_last().expect("a name");
        let kept = found.buckets.get(path) == Some(sequence);
        assert!(kept || is_lost(report, around, name), "{what}: bucket {path:?} is not told");
    }
    for path in found.buckets.keys() {
        assert!(expected.buckets.contains_key(path), "{what}: bucket {path:?} should be gone");
    }
    missing
}
