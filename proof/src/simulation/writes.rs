//! Random writes in one transaction, each done to the reference too.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bristlecone::{BucketMut, ErrorKind, Result, WriteTxn};

use super::random::Random;
use super::reads::{Reading, expect, some_key};
use super::reference::{Entry, Now, Tree};
use super::shape::Shape;

/// An expiry that no test lives to see: the year 2096.
const FAR_MS: u64 = 3_976_214_400_000;

/// A writer of random operations.
pub(crate) struct Writing<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) shape: &'a Shape,
    pub(crate) now: Now,
    /// Counts what was done.
    pub(crate) operations: &'a mut u64,
}

impl Writing<'_> {
    /// Creates, drops or visits a top-level bucket.
    pub(crate) fn visit_root(&mut self, txn: &mut WriteTxn, root: &mut Tree) -> Result<()> {
        *self.operations += 1;
        let name = self.some_bucket(root);
        let full = root.entries.len() >= self.shape.buckets_max;
        let chosen = self.random.weighted(&[3, 1 + usize::from(full) * 4, 70, 4, 2]);
        match (chosen, root.shows_bucket(&name, self.now)) {
            (0 | 2 | 4, false) => {
                let mut bucket = txn.create_bucket(&name)?;
                let mut tree = Tree::default();
                self.visit(&mut bucket, &mut tree, 1)?;
                root.entries.insert(name, Entry::Bucket(Arc::new(tree)));
            }
            (0, true) => {
                let error = txn.create_bucket(&name).expect_err("it exists");
                expect(matches!(error.kind(), ErrorKind::BucketExists { .. }), error)?;
            }
            (1, true) => {
                txn.drop_bucket(&name)?;
                root.entries.remove(&name);
            }
            (1, false) => {
                let error = txn.drop_bucket(&name).expect_err("it is missing");
                expect(error.is_bucket_not_found(), error)?;
                let error = txn.bucket_mut(&name).expect_err("it is missing");
                expect(error.is_bucket_not_found(), error)?;
            }
            (2, true) => {
                let mut bucket = txn.bucket_mut(&name)?;
                self.visit(&mut bucket, root.bucket_mut(&name), 1)?;
            }
            (3, is_here) => {
                let mut bucket = txn.create_bucket_if_missing(&name)?;
                if !is_here {
                    // What had expired there is gone.
                    root.entries.insert(name.clone(), Entry::Bucket(Arc::default()));
                }
                self.visit(&mut bucket, root.bucket_mut(&name), 1)?;
            }
            (_, _) => {
                let tree = root.bucket_mut(&name);
                let reading = Reading { bucket: txn.bucket(&name)?, tree, now: self.now };
                reading.step(self.random, self.shape)?;
            }
        }
        Ok(())
    }

    /// Does several random operations in one bucket, and perhaps in its nested ones.
    fn visit(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree, depth: usize) -> Result<()> {
        for _ in 0..1 + self.random.below(10) {
            *self.operations += 1;
            let crowded = 1 + usize::from(tree.entries.len() > self.shape.entries_max) * 8;
            let weights = [30, 12 * crowded, 4, 10, 24, 6, 2 * crowded, 3, 1, 2, 3, 3, 1];
            match self.random.weighted(&weights) {
                0 => self.put(bucket, tree)?,
                1 => self.delete(bucket, tree)?,
                2 => self.put_expiring(bucket, tree)?,
                3 if depth < self.shape.depth_max => self.enter(bucket, tree, depth)?,
                5 if depth < self.shape.depth_max => self.create(bucket, tree, depth)?,
                6 => self.drop_nested(bucket, tree)?,
                7 => self.count(bucket, tree)?,
                8 => self.build(bucket, tree)?,
                9 => self.misuse(bucket)?,
                10 => self.put_many(bucket, tree)?,
                11 => self.change_expiry(bucket, tree)?,
                12 => self.expire_bucket(bucket, tree)?,
                _ => {
                    let reading = Reading { bucket: bucket.as_bucket(), tree, now: self.now };
                    reading.step(self.random, self.shape)?;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        let key = some_key(tree, self.random, self.shape);
        let value = self.shape.value(self.random);
        let done = bucket.put(&key, &value);
        self.settle(done, tree, key, value, 0)
    }

    /// Puts several pairs at once, some keys twice.
    fn put_many(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        let count = self.random.below(8);
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for _ in 0..count {
            let key = match pairs.last() {
                Some((key, _)) if self.random.percent(20) => key.clone(),
                _ => some_key(tree, self.random, self.shape),
            };
            if !tree.shows_bucket(&key, self.now) {
                pairs.push((key, self.shape.value(self.random)));
            }
        }
        bucket.put_many(&pairs)?;
        for (key, value) in pairs {
            tree.entries.insert(key, Entry::Value { bytes: value.into(), expires_at: 0 });
        }
        Ok(())
    }

    fn put_expiring(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        let key = some_key(tree, self.random, self.shape);
        let value = self.shape.value(self.random);
        if self.shape.simulated_clock && self.random.percent(70) {
            let ttl = 1 + self.random.below(5000) as u64;
            let done = bucket.put_with_ttl(&key, &value, Duration::from_millis(ttl));
            return self.settle(done, tree, key, value, self.now.earliest + ttl);
        }
        let now_ms = if self.shape.simulated_clock { self.now.earliest } else { 2 };
        let expires_at = self.random.pick(&[1, 1_000_000, now_ms, FAR_MS]);
        let time: SystemTime = UNIX_EPOCH + Duration::from_millis(expires_at);
        let done = bucket.put_until(&key, &value, time);
        self.settle(done, tree, key, value, expires_at)
    }

    /// Touches a value, lets it stay, or puts another and keeps the expiry.
    fn change_expiry(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        let key = some_key(tree, self.random, self.shape);
        let before = match tree.entries.get(&key) {
            Some(Entry::Value { bytes, expires_at }) if tree.value(&key, self.now).is_some() => {
                Some((bytes.clone(), *expires_at))
            }
            _ => None,
        };
        let (done, expires_at) = match self.random.below(4) {
            0 => {
                let value = self.shape.value(self.random);
                let done = bucket.put_keeping_ttl(&key, &value);
                let expires_at = before.map_or(0, |(_, expires_at)| expires_at);
                return self.settle(done, tree, key, value, expires_at);
            }
            1 if self.shape.simulated_clock => {
                let ttl = 1 + self.random.below(5000) as u64;
                (bucket.touch(&key, Duration::from_millis(ttl)), self.now.earliest + ttl)
            }
            2 => (bucket.persist(&key), 0),
            _ => {
                let expires_at = self.random.pick(&[1, 1_000_000, FAR_MS]);
                let time = UNIX_EPOCH + Duration::from_millis(expires_at);
                (bucket.touch_until(&key, time), expires_at)
            }
        };
        if tree.shows_bucket(&key, self.now) {
            return expect_is_a_bucket(done.map(|_| ()));
        }
        assert_eq!(done?, before.is_some(), "an expiry of {}", key.escape_ascii());
        if let Some((bytes, _)) = before {
            tree.entries.insert(key, Entry::Value { bytes, expires_at });
        }
        Ok(())
    }

    /// Lets the whole bucket expire, perhaps at a time that is over, or stay.
    fn expire_bucket(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        tree.expires_at = match self.random.below(10) {
            0..=3 if self.shape.simulated_clock => {
                let ttl = 1 + self.random.below(8000) as u64;
                bucket.expire_after(Duration::from_millis(ttl))?;
                self.now.earliest + ttl
            }
            4..=6 => {
                let expires_at = self.random.pick(&[1, 1_000_000, FAR_MS, FAR_MS]);
                bucket.expire_at(UNIX_EPOCH + Duration::from_millis(expires_at))?;
                expires_at
            }
            _ => {
                bucket.expire_never()?;
                0
            }
        };
        let shown = bucket.expires_at().map(|time| time.duration_since(UNIX_EPOCH));
        let shown = shown.transpose().expect("after 1970").map_or(0, |since| since.as_millis());
        assert_eq!(shown, u128::from(tree.expires_at));
        Ok(())
    }

    /// Notes a put in the reference, or checks that it was refused for good reason.
    fn settle(
        &mut self,
        done: Result<()>,
        tree: &mut Tree,
        key: Vec<u8>,
        value: Vec<u8>,
        expires_at: u64,
    ) -> Result<()> {
        if tree.shows_bucket(&key, self.now) {
            return expect_is_a_bucket(done);
        }
        done?;
        tree.entries.insert(key, Entry::Value { bytes: value.into(), expires_at });
        Ok(())
    }

    fn delete(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        let key = some_key(tree, self.random, self.shape);
        let done = bucket.delete(&key);
        if tree.shows_bucket(&key, self.now) {
            return expect_is_a_bucket(done.map(|_| ()));
        }
        let was_visible = tree.value(&key, self.now).is_some();
        assert_eq!(done?, was_visible, "delete {}", key.escape_ascii());
        tree.entries.remove(&key);
        Ok(())
    }

    fn enter(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree, depth: usize) -> Result<()> {
        let name = self.some_bucket(tree);
        if !tree.shows_bucket(&name, self.now) {
            let error = bucket.bucket_mut(&name).expect_err("no such bucket");
            let is_value = tree.visible(&name, self.now).is_some();
            let told = matches!(error.kind(), ErrorKind::NotABucket { .. });
            return expect(told == is_value && (told || error.is_bucket_not_found()), error);
        }
        let mut nested = bucket.bucket_mut(&name)?;
        self.visit(&mut nested, tree.bucket_mut(&name), depth + 1)
    }

    fn create(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree, depth: usize) -> Result<()> {
        let name = self.some_bucket(tree);
        let gentle = self.random.percent(50);
        let created = match gentle {
            true => bucket.create_bucket_if_missing(&name),
            false => bucket.create_bucket(&name),
        };
        match (tree.visible(&name, self.now), created) {
            (None, created) => {
                let mut nested = created?;
                let mut new = Tree::default();
                self.visit(&mut nested, &mut new, depth + 1)?;
                tree.entries.insert(name, Entry::Bucket(Arc::new(new)));
                Ok(())
            }
            (Some(Entry::Bucket(_)), Ok(mut nested)) if gentle => {
                self.visit(&mut nested, tree.bucket_mut(&name), depth + 1)
            }
            (Some(Entry::Bucket(_)), Err(error)) => {
                expect(matches!(error.kind(), ErrorKind::BucketExists { .. }) && !gentle, error)
            }
            (Some(Entry::Value { .. }), Err(error)) => {
                expect(matches!(error.kind(), ErrorKind::NotABucket { .. }), error)
            }
            (Some(_), Ok(_)) => panic!("a bucket was created where a key was in use"),
        }
    }

    fn drop_nested(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        let name = self.some_bucket(tree);
        match (tree.visible(&name, self.now), bucket.drop_bucket(&name)) {
            (Some(Entry::Bucket(_)), done) => {
                done?;
                tree.entries.remove(&name);
                Ok(())
            }
            (None, Err(error)) => expect(error.is_bucket_not_found(), error),
            (Some(_), Err(error)) => {
                expect(matches!(error.kind(), ErrorKind::NotABucket { .. }), error)
            }
            (_, Ok(())) => panic!("a bucket was dropped that does not exist"),
        }
    }

    fn count(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        if self.random.percent(80) {
            tree.sequence += 1;
            assert_eq!(bucket.next_sequence()?, tree.sequence);
        } else {
            tree.sequence += self.random.below(1 << 40) as u64;
            bucket.set_sequence(tree.sequence)?;
        }
        Ok(())
    }

    /// Fills a bucket of its own, so that the bucket is empty as it must be.
    fn build(&mut self, bucket: &mut BucketMut<'_>, tree: &mut Tree) -> Result<()> {
        if !tree.entries.is_empty() {
            let error = bucket.build([(&b"k"[..], &b"v"[..])]).expect_err("it is not empty");
            return expect(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), error);
        }
        for _ in 0..self.random.below(self.shape.build_max) {
            let (key, value) = (self.shape.key(self.random), self.shape.value(self.random));
            tree.entries.insert(key, Entry::Value { bytes: value.into(), expires_at: 0 });
        }
        let built = bucket.build(tree.pairs(self.now))?;
        assert_eq!(built, tree.entries.len() as u64);
        Ok(())
    }

    /// Arguments that must be refused and change nothing.
    fn misuse(&mut self, bucket: &mut BucketMut<'_>) -> Result<()> {
        let long = vec![b'k'; self.shape.page_bytes / 4 + 1];
        let refused = match self.random.below(6) {
            0 => bucket.put("", "v"),
            1 => bucket.put(&long, "v"),
            2 => bucket.delete("").map(|_| ()),
            3 => bucket.create_bucket(&long).map(|_| ()),
            4 => bucket.create_bucket("").map(|_| ()),
            _ => bucket.put_with_ttl("k", "v", Duration::ZERO),
        };
        let error = refused.expect_err("an argument that cannot be");
        let kinds =
            matches!(error.kind(), ErrorKind::InvalidArgument { .. } | ErrorKind::TooLarge { .. });
        expect(kinds, error)
    }

    /// The name of a bucket that is there, or may be; sometimes the key of a value.
    fn some_bucket(&mut self, tree: &Tree) -> Vec<u8> {
        let name = self.shape.name(self.random);
        if self.random.percent(20) {
            return name;
        }
        if self.random.percent(3) && tree.entries.len() > self.shape.buckets_max {
            return some_key(tree, self.random, self.shape);
        }
        let after = tree
            .visible_buckets(self.now)
            .map(|(found, _)| found)
            .find(|found| *found >= &name[..]);
        let found = after.or_else(|| tree.visible_buckets(self.now).map(|(found, _)| found).next());
        found.map_or(name, <[u8]>::to_vec)
    }
}

fn expect_is_a_bucket(done: Result<()>) -> Result<()> {
    let error = done.expect_err("a bucket is not a value");
    expect(matches!(error.kind(), ErrorKind::IsABucket { .. }), error)
}
