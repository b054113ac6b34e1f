//! Replays of logs longer than what is collected at once, with threads and without.

#[path = "support/killed.rs"]
mod killed;
#[path = "support/sound.rs"]
mod sound;

use std::collections::BTreeMap;
use std::path::Path;

use bristlecone::{Bucket, Db, Options, Result};

use killed::copy_dir;
use sound::assert_sound;

type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the buckets hold, by the path of their names, and their sequence numbers.
type Content = BTreeMap<Vec<String>, (Values, u64)>;

const BUCKETS: [&[&str]; 3] = [&["a"], &["a", "inner"], &["b"]];

fn options() -> Options {
    Options::new().checkpoint_log_bytes(1 << 30).checkpoint_log_bytes_min(1 << 30)
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Commits changes of three buckets, one of them within another, and keeps the same in a model.
/// Every so often a bucket is dropped and created anew, so what was collected before counts first.
fn commit_many(db: &Db, commits: u32) -> Result<Content> {
    let mut content = Content::new();
    db.update(|txn| {
        txn.create_bucket("a")?.create_bucket("inner")?;
        txn.create_bucket("b").map(|_| ())
    })?;
    content.extend(BUCKETS.map(|names| (path(names), Default::default())));
    let mut random = 1_u64;
    let mut below = |count: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % count
    };
    for commit in 0..commits {
        db.update(|txn| {
            if commit % 40 == 39 {
                txn.drop_bucket("b")?;
                txn.create_bucket("b")?;
                content.insert(path(&["b"]), Default::default());
            }
            for names in BUCKETS {
                let (values, sequence) = content.get_mut(&path(names)).expect("a bucket");
                let mut outer = txn.bucket_mut(names[0])?;
                let mut bucket = match names.get(1) {
                    Some(inner) => outer.bucket_mut(inner)?,
                    None => outer,
                };
                for _ in 0..100 {
                    let key = format!("key {}", below(4000)).into_bytes();
                    if below(5) == 0 {
                        assert_eq!(bucket.delete(&key)?, values.remove(&key).is_some());
                    } else {
                        let value = vec![below(256) as u8; 1 + below(600) as usize];
                        bucket.put(&key, &value)?;
                        values.insert(key, value);
                    }
                }
                *sequence = bucket.next_sequence()?;
            }
            Ok(())
        })?;
    }
    Ok(content)
}

fn assert_content(db: &Db, content: &Content) -> Result<()> {
    db.view(|txn| {
        for (names, (values, sequence)) in content {
            let mut bucket: Bucket<'_> = txn.bucket(&names[0])?;
            if let Some(inner) = names.get(1) {
                bucket = bucket.bucket(inner)?;
            }
            assert_eq!(bucket.sequence(), *sequence, "{names:?}");
            let found = bucket.iter()?.collect::<Result<Vec<_>>>()?;
            let expected = values.iter().map(|(key, value)| (&key[..], &value[..]));
            assert!(found.into_iter().eq(expected), "{names:?}");
        }
        Ok(())
    })?;
    assert_sound(db)
}

#[test]
fn a_long_log_is_replayed_whatever_is_collected_at_once() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open_with(dir.path(), options().threads(false))?;
    let content = commit_many(&db, 300)?;
    assert!(db.stats().log_bytes > 20_000_000, "{}", db.stats().log_bytes);
    for threads in [true, false] {
        for replay_bytes in [8 << 20, 100_000, 0] {
            let copy = copy_dir(dir.path());
            let options = options().threads(threads).replay_bytes(replay_bytes);
            let again = Db::open_with(copy.path(), options)?;
            assert_eq!(again.stats().revision, db.stats().revision);
            assert_content(&again, &content)?;
            again.close()?;
            assert_content(&Db::open(copy.path())?, &content)?;
        }
    }
    Ok(())
}

#[test]
fn a_replay_that_meets_damage_is_an_error_and_leaves_no_thread() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open_with(dir.path(), options().threads(false))?;
    let pairs: Vec<(Vec<u8>, [u8; 100])> =
        (0..100_000_u32).map(|n| (n.to_be_bytes().to_vec(), [1; 100])).collect();
    db.update(|txn| txn.create_bucket("b")?.put_many(&pairs))?;
    db.checkpoint()?;
    for some in pairs.chunks(500).chain(pairs.chunks(500)) {
        db.update(|txn| txn.bucket_mut("b")?.put_many(some))?;
    }
    let flip = |path: &Path, from: usize, to: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[from..to].iter_mut().for_each(|byte| *byte ^= 1);
        std::fs::write(path, &bytes).unwrap();
    };
    // Leaves in the middle of the file, which any thread may meet; a frame of the log, which is
    // met while a thread makes what was collected before.
    let (leaves, frame) = (copy_dir(dir.path()), copy_dir(dir.path()));
    flip(&leaves.path().join("data"), 3 << 20, 6 << 20);
    let mut segments: Vec<_> = std::fs::read_dir(frame.path().join("wal"))
        .unwrap()
        .map(|name| name.unwrap().path())
        .filter(|path| path.metadata().unwrap().len() >= 1 << 20)
        .collect();
    segments.sort();
    flip(&segments[segments.len() / 2], 500_000, 500_001);
    for copy in [leaves, frame] {
        for replay_bytes in [8 << 20, 2 << 20, 100_000] {
            let failed = Db::open_with(copy.path(), options().replay_bytes(replay_bytes));
            let error = failed.expect_err("damage");
            assert!(error.to_string().contains("is damaged at page"), "{error}");
            // A thread that was left would hold the lock.
            let again = Db::open_with(copy.path(), options()).expect_err("damage");
            assert!(!again.is_locked(), "{again}");
        }
    }
    Ok(())
}
