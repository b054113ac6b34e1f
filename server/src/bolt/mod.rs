//! Reads bbolt (BoltDB) database files whole, so that they can be imported.
//!
//! It never writes, never looks up one key, and never passes over damage: a file is read to its end
//! with every page checked, or refused with the page and the reason. It stands alone, on the
//! standard library, below everything else of the server.
//!
//! ```no_run
//! use bristlecone_server::bolt::{BoltError, BoltFile, Event};
//!
//! let file = BoltFile::open("meta.db".as_ref())?;
//! file.verify()?; // before anything is written elsewhere
//! file.walk(&mut |event| {
//!     if let Event::EnterBucket { name, sequence } = event {
//!         println!("{} at {sequence}", name.escape_ascii());
//!     }
//!     Ok::<(), BoltError>(())
//! })?;
//! # Ok::<(), BoltError>(())
//! ```
//!
//! The files, from the lowest: `limits`, `page` (headers and elements), `bucket` (the values of
//! buckets), `error`, `page_set`, `file` (lock and bytes), `meta`, `freelist`, `load` (each page
//! once), `walk`, and here the door.
//!
//! What it cannot do: bbolt checksums its two meta pages only. So a changed byte passes unseen
//! where no other byte bears witness to it: within a value, within a key that stays in order, in a
//! sequence, in the length of a page's last value, in the flag that tells a nested bucket from a
//! pair (then its pages show as leaked, see [`Summary`]). Files after `bbolt surgery` may need a
//! `bbolt compact` first. Big-endian files and version 1 are not read.
//!
//! Invariants:
//! 1. The file stays locked (shared) as long as a `BoltFile` lives, so its owner cannot change it.
//! 2. No bytes of the file, whatever they are, make this module panic, or read a page twice.
//! 3. All that a page holds is told, or the file is refused.

mod bucket;
mod error;
mod file;
mod freelist;
#[cfg(test)]
mod image;
mod limits;
mod load;
mod meta;
mod page;
mod page_set;
mod walk;

use std::path::Path;

pub use error::BoltError;
pub use walk::{Event, Summary};

use file::LockedFile;
use freelist::Freelist;
use load::Loader;
use meta::{META_PAGES, Meta};
use walk::Walk;

/// A bbolt database file, open for reading and locked against its owner.
#[derive(Debug)]
pub struct BoltFile {
    file: LockedFile,
    meta: Meta,
    meta_damage: Option<String>,
    freelist: Option<Freelist>,
}

impl BoltFile {
    /// Opens the database file at `path`, reads its meta pages and its freelist.
    ///
    /// The file must not be open for writing elsewhere: bbolt locks it exclusively, and this fails
    /// at once with [`BoltError::InUse`]. In turn, an owner that opens it later waits until this
    /// value is dropped.
    ///
    /// # Errors
    ///
    /// `Io`, `InUse`, `NotBolt`, `BigEndian`, `Version`; `Damaged` when no meta page is valid, when
    /// the file is shorter than its meta page says, or when the freelist cannot be right.
    pub fn open(path: &Path) -> Result<BoltFile, BoltError> {
        let file = LockedFile::open(path)?;
        let (meta, meta_damage) = Meta::read(&file)?;
        let freelist = Freelist::read(&file, &meta)?;
        Ok(BoltFile { file, meta, meta_damage, freelist })
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> u64 {
        self.meta.page_bytes
    }

    /// The transaction whose state is read: the last one committed.
    pub fn txn_id(&self) -> u64 {
        self.meta.txn_id
    }

    /// What is wrong with the other meta page, if anything is.
    ///
    /// bbolt writes the two in turn, so one is torn when a crash cut the last commit short, and the
    /// state before that commit is read. It is sound, but it is not the newest that was attempted.
    pub fn meta_damage(&self) -> Option<&str> {
        self.meta_damage.as_deref()
    }

    /// The sequence of the nameless root bucket, for which there is no event. bbolt leaves it at 0.
    pub fn root_sequence(&self) -> u64 {
        self.meta.root_sequence
    }

    /// The pages that a walk reads. Without a persisted freelist it is an upper bound, which counts
    /// the free pages too; otherwise it is right but for leaked pages.
    pub fn pages_total(&self) -> u64 {
        let elsewhere = self.freelist.as_ref().map_or(0, |list| list.run_pages + list.free.len());
        self.meta.high_water - META_PAGES - elsewhere
    }

    /// Tells all buckets and pairs to `visit`, in key order and depth first.
    ///
    /// A page is checked before anything on it is told, but what lies on pages not yet reached is
    /// not known: call [`verify`](BoltFile::verify) first if nothing may be told of a damaged file.
    /// Memory holds the pages from the root to the current one, so at most a few of them, and the
    /// largest value.
    ///
    /// # Errors
    ///
    /// The first error of `visit`, as it is; `Damaged`, `RootPair`, `TooDeep`, `Io`.
    pub fn walk<E: From<BoltError>>(
        &self,
        visit: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<Summary, E> {
        let loader = Loader::new(&self.file, &self.meta, self.freelist.as_ref())?;
        Walk::new(&self.meta, loader).run(visit)
    }

    /// Walks the whole file and tells nobody: whatever [`walk`](BoltFile::walk) would refuse, this
    /// refuses, and while this value lives the file does not change.
    ///
    /// # Errors
    ///
    /// `Damaged`, `RootPair`, `TooDeep`, `Io`.
    pub fn verify(&self) -> Result<Summary, BoltError> {
        self.walk(&mut |_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::image::{Image, Model, Random, ScratchFile, tell};
    use super::*;

    /// Opens and walks a file, and proves that the work stayed in proportion to its size.
    fn walk_bounded(image: &Image) -> Result<Summary, BoltError> {
        let file = BoltFile::open(ScratchFile::with(&image.bytes).path())?;
        let mut events = 0;
        let outcome = file.walk(&mut |_| {
            events += 1;
            Ok::<(), BoltError>(())
        });
        // Each event but progress has an element of 16 bytes; a bucket has two events.
        assert!(events <= image.bytes.len() / 8, "{events} events");
        if let Ok(summary) = outcome {
            assert!(summary.pages_read <= file.pages_total(), "{summary:?}");
        }
        outcome
    }

    /// Damages a file in one of many ways, and keeps the metas valid half of the time.
    fn damage(image: &mut Image, random: &mut Random) {
        let length = image.bytes.len();
        match random.below(8) {
            0 => image.bytes.truncate(random.below(length)),
            1 => {
                let page = random.below(length / image.page_bytes) * image.page_bytes;
                let other = random.below(length / image.page_bytes) * image.page_bytes;
                image.bytes.copy_within(page..page + image.page_bytes, other);
            }
            2 | 3 => {
                let words = [0, 1, 2, 16, 0xFFFF, 0xFFFF_FFFF, u64::MAX, 1 << 63];
                let word = words[random.below(words.len())].to_le_bytes();
                let width = [2, 4, 8][random.below(3)];
                let at = random.below(length / width) * width;
                image.set(at, &word[..width]);
            }
            4 | 5 => {
                // Headers and elements lie at the beginning of pages, so they are hit more often.
                let page = random.below(length / image.page_bytes) * image.page_bytes;
                let at = page + random.below(128);
                image.bytes[at] ^= 1 << random.below(8);
            }
            _ => {
                for _ in 0..=random.below(3) {
                    let at = random.below(length);
                    image.bytes[at] = random.next().to_le_bytes()[0];
                }
            }
        }
        if random.below(2) == 0 && image.bytes.len() >= 2 * image.page_bytes {
            image.seal(0);
            image.seal(1);
        }
    }

    fn damage_often(sound: &Image, seeds: std::ops::Range<u64>) {
        let (mut whole, mut refused) = (0, 0);
        for seed in seeds {
            let mut image = sound.clone();
            println!("seed {seed}");
            damage(&mut image, &mut Random(seed));
            match walk_bounded(&image) {
                Ok(_) => whole += 1,
                Err(BoltError::Io { path, source }) => panic!("{}: {source}", path.display()),
                Err(_) => refused += 1,
            }
        }
        // Neither outcome is the only one, or this test could not fail.
        assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
    }

    #[test]
    fn a_damaged_file_of_containerd_is_read_or_refused() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/containerd-snapshots.db");
        let bytes = fs::read(path).expect("a fixture");
        damage_often(&Image { page_bytes: 4096, bytes }, 0..4000);
    }

    #[test]
    fn a_damaged_file_of_many_small_pages_is_read_or_refused() {
        for model_seed in 0..8 {
            println!("model seed {model_seed}");
            let mut random = Random(model_seed);
            let sound = Model::random(&mut random).image(&mut random);
            damage_often(&sound, 0..500);
        }
    }

    /// A changed bit may change a name, a sequence, a key or a value, and the length of the last
    /// value of a page. It must not make pairs or buckets vanish, but for the bit that tells the
    /// inline bucket `q` from a pair: then its value is told as it stands.
    #[test]
    fn no_single_changed_bit_hides_a_pair() {
        const FLAG_OF_Q: usize = 8 * 1024 + 16 + 16;
        let sound = Image::sample();
        let expected = tell(&sound.open().expect("sound")).expect("sound");
        let scratch = ScratchFile::with(&sound.bytes);
        let writer = File::options().write(true).open(scratch.path()).expect("open");
        for (at, byte) in sound.bytes.iter().enumerate() {
            for bit in 0..8 {
                writer.write_all_at(&[byte ^ (1 << bit)], at as u64).expect("damage");
                let told = BoltFile::open(scratch.path()).and_then(|file| tell(&file));
                if let Ok(told) = told
                    && at != FLAG_OF_Q
                {
                    assert_eq!(told.len(), expected.len(), "byte {at}, bit {bit}");
                }
            }
            writer.write_all_at(&[*byte], at as u64).expect("repair");
        }
    }
}
