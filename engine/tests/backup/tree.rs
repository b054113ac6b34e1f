//! What a database shows, as a plain tree to compare.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Bucket, Db, Options, Result, Snapshot};

/// A bucket with all it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) sequence: u64,
    /// Values and buckets, also those that have expired.
    pub(crate) entries: u64,
    pub(crate) pairs: BTreeMap<Vec<u8>, (Vec<u8>, Option<SystemTime>)>,
    pub(crate) buckets: BTreeMap<Vec<u8>, Tree>,
}

impl Tree {
    /// All that a snapshot shows; its top-level buckets are those of the tree.
    pub(crate) fn of(snapshot: &Snapshot) -> Tree {
        let names = snapshot.buckets().expect("no fault");
        let bucket = |name: Result<&[u8]>| {
            let name = name.expect("no fault");
            (name.to_vec(), Tree::of_bucket(&snapshot.bucket(name).expect("no fault")))
        };
        Tree { buckets: names.map(bucket).collect(), ..Tree::default() }
    }

    pub(crate) fn of_db(db: &Db) -> Tree {
        Tree::of(&db.snapshot().expect("no fault"))
    }

    fn of_bucket(bucket: &Bucket<'_>) -> Tree {
        let pair = |pair: Result<(&[u8], &[u8])>| {
            let (key, value) = pair.expect("no fault");
            let expires_at = bucket.get_value(key).expect("no fault").expect("shown").expires_at;
            (key.to_vec(), (value.to_vec(), expires_at))
        };
        let nested = |name: Result<&[u8]>| {
            let name = name.expect("no fault");
            (name.to_vec(), Tree::of_bucket(&bucket.bucket(name).expect("no fault")))
        };
        Tree {
            sequence: bucket.sequence(),
            entries: bucket.len(),
            pairs: bucket.iter().expect("no fault").map(pair).collect(),
            buckets: bucket.buckets().expect("no fault").map(nested).collect(),
        }
    }
}

pub(crate) fn options() -> Options {
    Options::new().page_bytes(4096).threads(false).sweep(false)
}

pub(crate) fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.set_reserve_bytes_max(256 << 20);
    disk
}
