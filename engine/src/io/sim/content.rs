//! One file's bytes and length, as the operating system shows them and as the device holds them.
//!
//! Never knows the file's name: whether a file can be reached after a power cut is decided by
//! [`super::volume`].
//!
//! Invariants:
//! 1. Without a lost sync, cached and stable content differ only where a version is pending, or by
//!    a pending change of length.
//! 2. A pending version holds the whole chunk as it was cached after its write, and a mask of the
//!    sectors that the write touched. Sectors that no write touched never change.
//! 3. A cut that happened removes the versions written before it from the range that it cut off.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::image::{CHUNK_BYTES, CHUNK_SECTORS, Chunk, Image, SECTOR_BYTES, pieces};
use super::pick::{Fate, Kept, Pick};
use super::random::Random;

/// Unsynced versions remembered of one chunk; beyond it the oldest that later ones cover goes. By
/// the pigeonhole principle there is one: a version that is not covered has a sector of its own.
const VERSIONS_MAX: usize = 16;

const _: () = assert!(VERSIONS_MAX > CHUNK_SECTORS);

/// One unsynced write to one chunk.
#[derive(Clone)]
struct Version {
    seq: u64,
    sectors: u8,
    chunk: Arc<Chunk>,
}

/// One unsynced change of the length.
#[derive(Clone, Copy)]
struct Resize {
    seq: u64,
    len: u64,
}

/// Cached and durable content of a file, and what lies between them.
#[derive(Clone, Default)]
pub(super) struct Content {
    cached: Image,
    stable: Image,
    pending: BTreeMap<usize, Vec<Version>>,
    /// Oldest first; the last is the cached length.
    resizes: Vec<Resize>,
    /// Number of the last write or change of length.
    seq: u64,
    /// True once a failed sync marked sectors clean that it had not written.
    lost: bool,
    /// Bytes from the start that have space reserved.
    allocated: u64,
}

impl Content {
    /// A file with nothing pending.
    pub(super) fn settled(image: Image, allocated: u64) -> Content {
        let allocated = allocated.min(image.len());
        Content { cached: image.clone(), stable: image, allocated, ..Content::default() }
    }

    pub(super) fn cached(&self) -> &Image {
        &self.cached
    }

    /// Bytes from the start that have space reserved.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    fn has_pending(&self) -> bool {
        !self.pending.is_empty() || !self.resizes.is_empty()
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.extend(offset + bytes.len() as u64);
        self.seq += 1;
        for piece in pieces(offset, bytes.len()) {
            self.cached.write(piece, &bytes[piece.from..piece.from + piece.len]);
            let chunk = self.cached.chunk(piece.chunk).expect("invariant: it was just written");
            let version =
                Version { seq: self.seq, sectors: piece.mask(), chunk: Arc::clone(chunk) };
            let versions = self.pending.entry(piece.chunk).or_default();
            versions.push(version);
            if versions.len() > VERSIONS_MAX {
                forget_one(versions);
            }
        }
    }

    /// Grows to `len` unless longer already.
    pub(super) fn extend(&mut self, len: u64) {
        if len > self.cached.len() {
            self.set_len(len);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len == self.cached.len() {
            return;
        }
        self.allocated = self.allocated.min(len);
        self.cached.set_len(len);
        self.seq += 1;
        self.resizes.push(Resize { seq: self.seq, len });
    }

    /// Grows to `len`, with space for every byte.
    pub(super) fn allocate(&mut self, len: u64) {
        if len > self.cached.len() {
            self.allocated = len;
            self.set_len(len);
        }
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) {
        self.stable = if self.lost { self.outcome(&mut Kept) } else { self.cached.clone() };
        self.pending.clear();
        self.resizes.clear();
    }

    /// A sync that failed: pending sectors are clean now, whether they reached the device or not.
    /// A changed length reached it with all of its changes, or stays pending.
    pub(super) fn sync_torn(&mut self, random: &mut Random) {
        if random.chance(128) {
            self.settle_len();
        }
        for (index, versions) in std::mem::take(&mut self.pending) {
            for sector in 0..CHUNK_SECTORS {
                let written = versions.iter().rev().find(|v| v.sectors & (1 << sector) != 0);
                if let Some(version) = written
                    && random.chance(128)
                {
                    copy_sector(self.stable.chunk_mut(index), &version.chunk, sector);
                } else if written.is_some() {
                    self.lost = true;
                }
            }
        }
        // What was written beyond the durable length is out of reach.
        self.lost |= !self.resizes.is_empty();
        self.stable.set_len(self.stable.len());
    }

    /// Makes the sectors of one range durable, and the length that is needed to read them.
    pub(super) fn sync_range(&mut self, offset: u64, len: usize) {
        let end = offset + len as u64;
        if self.shrinks() {
            // A cut cannot be left behind by a length that was set after it.
            self.settle_len();
        }
        self.resizes.retain(|resize| resize.len >= end);
        if self.stable.len() < end {
            self.stable.set_len(end);
        }
        if self.resizes.last().is_some_and(|resize| resize.len == self.stable.len()) {
            self.resizes.clear();
        }
        for piece in pieces(offset, len) {
            let sectors = piece.mask();
            let chunk = self.cached.chunk(piece.chunk);
            if sectors == u8::MAX {
                self.stable.put(piece.chunk, chunk.cloned());
            } else if let Some(chunk) = chunk {
                let target = self.stable.chunk_mut(piece.chunk);
                for sector in (0..CHUNK_SECTORS).filter(|sector| sectors & (1 << sector) != 0) {
                    copy_sector(target, chunk, sector);
                }
            }
            if let Some(versions) = self.pending.get_mut(&piece.chunk) {
                versions.iter_mut().for_each(|version| version.sectors &= !sectors);
                versions.retain(|version| version.sectors != 0);
                if versions.is_empty() {
                    self.pending.remove(&piece.chunk);
                }
            }
        }
    }

    /// Shows the device's bytes again where nothing is pending; true if something may differ.
    pub(super) fn forget_cached(&mut self, bytes: u64) -> bool {
        if !self.lost {
            return false;
        }
        let chunks = bytes.min(self.cached.len()).div_ceil(CHUNK_BYTES as u64) as usize;
        for index in 0..chunks {
            let pending = self.pending.get(&index).into_iter().flatten();
            let pending = pending.fold(0, |sectors, version| sectors | version.sectors);
            if pending == 0 {
                self.cached.put(index, self.stable.chunk(index).cloned());
                continue;
            }
            let stable = *self.stable.chunk_bytes(index);
            let target = self.cached.chunk_mut(index);
            for sector in (0..CHUNK_SECTORS).filter(|sector| pending & (1 << sector) == 0) {
                copy_sector(target, &stable, sector);
            }
        }
        // The device may hold more than what a pending cut leaves.
        self.cached.set_len(self.cached.len());
        true
    }

    /// Flips the bits of `mask` in one byte, wherever it is kept.
    pub(super) fn corrupt(&mut self, offset: u64, mask: u8) {
        let index = (offset / CHUNK_BYTES as u64) as usize;
        let at = (offset % CHUNK_BYTES as u64) as usize;
        self.cached.chunk_mut(index)[at] ^= mask;
        if offset < self.stable.len() {
            self.stable.chunk_mut(index)[at] ^= mask;
        }
        for version in self.pending.get_mut(&index).into_iter().flatten() {
            Arc::make_mut(&mut version.chunk)[at] ^= mask;
        }
    }

    /// What a power cut leaves, decided effect by effect.
    pub(super) fn outcome(&self, pick: &mut impl Pick) -> Image {
        let mut image = self.stable.clone();
        if !self.has_pending() {
            return image;
        }
        let happened = &self.resizes[..pick.length(self.resizes.len())];
        let cut = |seq| cut_after(happened, seq);
        let shrinks = self.shrinks();
        let len = torn_len(self.stable.len(), happened, pick);
        if cut(0) < image.len() {
            image.set_len(cut(0));
        }
        for (&index, versions) in &self.pending {
            let fates = fates(versions, pick);
            if fates == [None; CHUNK_SECTORS] {
                continue;
            }
            if versions_kept(versions, &fates) && !self.lost && !shrinks {
                // Then nothing else in the cached chunk differs from the stable one.
                image.put(index, self.cached.chunk(index).cloned());
                continue;
            }
            let chunk = image.chunk_mut(index);
            for (sector, fate) in fates.iter().enumerate() {
                let start = sector * SECTOR_BYTES;
                let target = &mut chunk[start..start + SECTOR_BYTES];
                match fate {
                    None => {}
                    Some(Fate::Zero) => target.fill(0),
                    Some(fate) => {
                        let version = chosen(versions, sector, *fate);
                        target.copy_from_slice(&version.chunk[start..start + SECTOR_BYTES]);
                        if *fate == Fate::Garbage {
                            pick.garbage(target);
                        }
                        let position = (index * CHUNK_BYTES + start) as u64;
                        let kept = cut(version.seq).saturating_sub(position);
                        target[(kept as usize).min(SECTOR_BYTES)..].fill(0);
                    }
                }
            }
        }
        image.set_len(len);
        image
    }

    /// True when no power cut can change what reads show of the range.
    pub(super) fn is_durable(&self, offset: u64, len: usize) -> bool {
        let end = offset + len as u64;
        let long_enough =
            self.stable.len() >= end && self.resizes.iter().all(|resize| resize.len >= end);
        let written = |piece: super::image::Piece| {
            let versions = self.pending.get(&piece.chunk);
            versions.into_iter().flatten().any(|version| version.sectors & piece.mask() != 0)
        };
        long_enough
            && !pieces(offset, len).any(written)
            && self.cached.same_bytes(&self.stable, offset, len)
    }

    /// Bytes of the disk that the file takes.
    pub(super) fn space(&self) -> u64 {
        let reserved = self.allocated.div_ceil(CHUNK_BYTES as u64);
        let sparse = self.cached.chunks_from(reserved as usize) as u64;
        (reserved + sparse) * CHUNK_BYTES as u64
    }

    /// How many of `len` bytes can be written at `offset` if `room` bytes of the disk are free.
    pub(super) fn writable(&self, offset: u64, len: usize, room: u64) -> usize {
        let mut room = room;
        for piece in pieces(offset, len) {
            let start = (piece.chunk * CHUNK_BYTES) as u64;
            if start >= self.allocated.next_multiple_of(CHUNK_BYTES as u64)
                && self.cached.chunk(piece.chunk).is_none()
            {
                if room < CHUNK_BYTES as u64 {
                    return piece.from;
                }
                room -= CHUNK_BYTES as u64;
            }
        }
        len
    }

    /// Bytes of the disk that [`Content::allocate`] would take.
    pub(super) fn allocation(&self, len: u64) -> u64 {
        if len <= self.cached.len() {
            return 0;
        }
        (len.div_ceil(CHUNK_BYTES as u64) * CHUNK_BYTES as u64).saturating_sub(self.space())
    }

    /// True when a pending change of the length cuts something off.
    fn shrinks(&self) -> bool {
        let lens = self.resizes.iter().map(|resize| resize.len);
        std::iter::once(self.stable.len()).chain(lens.clone()).zip(lens).any(|(a, b)| b < a)
    }

    /// Makes all changes of the length durable, and with them what they cut off.
    fn settle_len(&mut self) {
        let resizes = std::mem::take(&mut self.resizes);
        let Some(last) = resizes.last() else { return };
        let len = last.len;
        self.stable.set_len(cut_after(&resizes, 0).min(self.stable.len()));
        self.stable.set_len(len);
        for (&index, versions) in &mut self.pending {
            let start = (index * CHUNK_BYTES) as u64;
            for version in versions {
                let kept = cut_after(&resizes, version.seq).saturating_sub(start);
                if kept < CHUNK_BYTES as u64 {
                    Arc::make_mut(&mut version.chunk)[kept as usize..].fill(0);
                }
            }
        }
    }
}

/// The shortest of the lengths set after `seq`; content that is older ends there.
fn cut_after(resizes: &[Resize], seq: u64) -> u64 {
    let later = resizes.iter().rev().take_while(|resize| resize.seq > seq);
    later.map(|resize| resize.len).min().unwrap_or(u64::MAX)
}

/// The last length set, or one on the way to it.
fn torn_len(stable: u64, happened: &[Resize], pick: &mut impl Pick) -> u64 {
    let Some((last, earlier)) = happened.split_last() else {
        return stable;
    };
    let before = earlier.last().map_or(stable, |resize| resize.len);
    let torn = (before < last.len).then(|| pick.length_between(before, last.len)).flatten();
    torn.unwrap_or(last.len)
}

/// What becomes of each pending sector of a chunk; `None` for those that stay as they are.
fn fates(versions: &[Version], pick: &mut impl Pick) -> [Option<Fate>; CHUNK_SECTORS] {
    let whole = pick.chunk();
    let mut fates = [None; CHUNK_SECTORS];
    for (sector, fate) in fates.iter_mut().enumerate() {
        let written = versions.iter().filter(|version| version.sectors & (1 << sector) != 0);
        let count = written.count();
        if count > 0 {
            let picked = whole.unwrap_or_else(|| pick.sector(count));
            *fate = (picked != Fate::Old).then_some(picked);
        }
    }
    fates
}

/// True when all pending sectors are as last written.
fn versions_kept(versions: &[Version], fates: &[Option<Fate>; CHUNK_SECTORS]) -> bool {
    let pending = versions.iter().fold(0, |sectors, version| sectors | version.sectors);
    let kept = |sector: usize| pending & (1 << sector) == 0 || fates[sector] == Some(Fate::New);
    (0..CHUNK_SECTORS).all(kept)
}

fn chosen(versions: &[Version], sector: usize, fate: Fate) -> &Version {
    let mut written = versions.iter().filter(|version| version.sectors & (1 << sector) != 0);
    let version = match fate {
        Fate::Version(number) => written.nth(number),
        _ => written.next_back(),
    };
    version.expect("invariant: only sectors that were written have a fate")
}

fn copy_sector(to: &mut Chunk, from: &Chunk, sector: usize) {
    let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
    to[range.clone()].copy_from_slice(&from[range]);
}

/// Drops the oldest version of which each sector was written again.
fn forget_one(versions: &mut Vec<Version>) {
    let covered = (0..versions.len()).find(|&index| {
        let later = versions[index + 1..].iter().fold(0, |all, version| all | version.sectors);
        versions[index].sectors & !later == 0
    });
    versions.remove(covered.expect("invariant: more versions than sectors"));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::pick::{Dice, Digits};
    use super::*;

    fn synced(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.write(0, bytes);
        content.sync();
        content
    }

    fn outcomes(content: &Content) -> BTreeSet<Vec<u8>> {
        let mut digits = Digits::new(0);
        content.outcome(&mut digits);
        (0..digits.outcomes).map(|n| content.outcome(&mut Digits::new(n)).to_vec()).collect()
    }

    #[test]
    fn every_version_of_a_sector_may_survive_and_no_other_sector_changes() {
        let mut content = synced(&[1; 1024]);
        content.write(0, &[2; 10]);
        content.write(100, &[3; 10]);
        let firsts = outcomes(&content).into_iter().map(|bytes| (bytes[0], bytes[100]));
        assert_eq!(firsts.collect::<Vec<_>>(), [(1, 1), (2, 1), (2, 3)]);
        for seed in 0..300 {
            let image = content.outcome(&mut Dice::new(seed)).to_vec();
            assert_eq!(image[512..], [1; 512], "seed {seed}");
        }
    }

    #[test]
    fn a_cut_that_happened_takes_the_old_content_with_it() {
        let mut content = synced(&[1; 4096]);
        content.set_len(512);
        content.set_len(4096);
        let seen = outcomes(&content);
        assert_eq!(seen.len(), 3);
        for bytes in seen {
            let whole = bytes == [1; 4096];
            assert!(whole || bytes[512..].iter().all(|&b| b == 0));
            assert_eq!(bytes[..512], [1; 512]);
        }
        content.write(1024, &[2; 512]);
        for seed in 0..300 {
            let bytes = content.outcome(&mut Dice::new(seed)).to_vec();
            // What was not written is wholly kept, or gone with the cut.
            assert!(bytes.len() < 4096 || bytes[2048] == bytes[3000], "seed {seed}");
        }
    }

    #[test]
    fn a_durable_write_keeps_its_sectors_and_the_length_that_reaches_them() {
        let mut content = synced(&[1; 512]);
        content.allocate(65536);
        content.write(8192, &[2; 1024]);
        content.sync_range(8192, 512);
        assert!(content.is_durable(0, 8704) && !content.is_durable(8704, 512));
        for seed in 0..300 {
            let image = content.outcome(&mut Dice::new(seed));
            assert!(image.len() >= 8704, "seed {seed}");
            assert_eq!(image.to_vec()[8192..8704], [2; 512], "seed {seed}");
        }
        content.sync();
        assert!(content.is_durable(0, 65536));
    }

    #[test]
    fn a_durable_write_after_a_cut_keeps_the_cut() {
        let mut content = synced(&[1; 8192]);
        content.set_len(0);
        content.write(4096, &[2; 512]);
        content.sync_range(4096, 512);
        assert!(!content.has_pending());
        assert_eq!(content.outcome(&mut Kept).to_vec()[..4096], [0; 4096]);
    }

    #[test]
    fn what_a_failed_sync_lost_stays_lost_but_is_shown() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut content = synced(&[1; 8192]);
            content.write(0, &[2; 8192]);
            content.sync_torn(&mut Random::new(seed));
            content.sync();
            assert_eq!(content.cached().to_vec(), [2; 8192]);
            assert!(!content.has_pending());
            let left = content.outcome(&mut Kept).to_vec();
            lost += left.iter().filter(|&&b| b == 1).count() / 512;
        }
        assert!((200..600).contains(&lost), "{lost} of 800 sectors lost");
    }

    #[test]
    fn few_versions_are_remembered_and_every_written_sector_stays_pending() {
        let mut content = synced(&[1; 4096]);
        for sector in 0..8 {
            content.write(sector * 512, &[2; 512]);
        }
        for number in 0..100 {
            content.write(0, &[number; 512]);
        }
        assert_eq!(content.pending[&0].len(), VERSIONS_MAX);
        assert!((0..8).all(|sector| !content.is_durable(sector * 512, 512)));
    }

    #[test]
    fn space_is_counted_in_chunks_with_holes_free() {
        let mut content = Content::default();
        content.set_len(1 << 20);
        assert_eq!(content.space(), 0);
        content.write(5000, &[1; 10]);
        assert_eq!(content.space(), 4096);
        assert_eq!(content.writable(0, 12288, 4096), 8192);
        assert_eq!(content.allocation(2 << 20), (2 << 20) - 4096);
        content.allocate(2 << 20);
        assert_eq!(content.writable(0, 12288, 0), 12288);
        assert_eq!(content.space(), 2 << 20);
    }
}
