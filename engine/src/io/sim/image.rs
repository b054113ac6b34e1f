//! The bytes of one file: sparse chunks of 4 KiB that copies share until one of them is written.
//!
//! Invariants:
//! 1. A chunk that is absent reads as zeros.
//! 2. Bytes at and beyond the length are zero, so that growth shows zeros.
//!    [`Image::put`] and [`Image::chunk_mut`] may break it until the next [`Image::set_len`].

use std::sync::Arc;

/// Smallest unit that a power cut tears.
pub(super) const SECTOR_BYTES: usize = 512;
/// Unit that images share.
pub(super) const CHUNK_BYTES: usize = 4096;
/// Sectors of a chunk; one bit each in a mask of eight.
pub(super) const CHUNK_SECTORS: usize = CHUNK_BYTES / SECTOR_BYTES;

const _: () = assert!(CHUNK_SECTORS == u8::BITS as usize);

pub(super) type Chunk = [u8; CHUNK_BYTES];

const ZEROS: Chunk = [0; CHUNK_BYTES];

/// Content and length of a file. Cloning costs one reference count.
#[derive(Clone, Default)]
pub(super) struct Image {
    len: u64,
    chunks: Arc<Vec<Option<Arc<Chunk>>>>,
}

/// Part of a range that lies within one chunk.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    /// Which chunk.
    pub(super) chunk: usize,
    /// Where the piece starts in its chunk.
    pub(super) at: usize,
    /// Where the piece starts in the range.
    pub(super) from: usize,
    pub(super) len: usize,
}

impl Piece {
    /// One bit for each sector that the piece touches.
    pub(super) fn mask(self) -> u8 {
        let first = self.at / SECTOR_BYTES;
        let last = (self.at + self.len - 1) / SECTOR_BYTES;
        (u8::MAX << first) & (u8::MAX >> (CHUNK_SECTORS - 1 - last))
    }
}

/// Cuts the range of `len` bytes at `offset` at the chunks' borders.
pub(super) fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut from = 0;
    std::iter::from_fn(move || {
        if from == len {
            return None;
        }
        let position = offset + from as u64;
        let at = (position % CHUNK_BYTES as u64) as usize;
        let piece_len = (CHUNK_BYTES - at).min(len - from);
        let chunk = (position / CHUNK_BYTES as u64) as usize;
        let piece = Piece { chunk, at, from, len: piece_len };
        from += piece_len;
        Some(piece)
    })
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Cuts or extends; what is cut off reads as zeros when the file grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        let kept = len.div_ceil(CHUNK_BYTES as u64);
        if (self.chunks.len() as u64) > kept {
            Arc::make_mut(&mut self.chunks).truncate(kept as usize);
        }
        let tail = (len % CHUNK_BYTES as u64) as usize;
        let last = (len / CHUNK_BYTES as u64) as usize;
        let dirty = self.chunk(last).is_some_and(|chunk| chunk[tail..] != ZEROS[tail..]);
        if dirty {
            self.chunk_mut(last)[tail..].fill(0);
        }
    }

    /// Fills `buf` from `offset`, with zeros where nothing was written.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) {
        for piece in pieces(offset, buf.len()) {
            let target = &mut buf[piece.from..piece.from + piece.len];
            match self.chunk(piece.chunk) {
                Some(chunk) => target.copy_from_slice(&chunk[piece.at..piece.at + piece.len]),
                None => target.fill(0),
            }
        }
    }

    /// The whole content.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    /// Writes one piece, growing the length to its end.
    pub(super) fn write(&mut self, piece: Piece, bytes: &[u8]) {
        let end = (piece.chunk * CHUNK_BYTES + piece.at + piece.len) as u64;
        self.len = self.len.max(end);
        match <&Chunk>::try_from(bytes) {
            Ok(whole) => self.put(piece.chunk, Some(Arc::new(*whole))),
            Err(_) => {
                self.chunk_mut(piece.chunk)[piece.at..piece.at + piece.len].copy_from_slice(bytes);
            }
        }
    }

    pub(super) fn chunk(&self, index: usize) -> Option<&Arc<Chunk>> {
        self.chunks.get(index)?.as_ref()
    }

    /// The bytes of a chunk, zeros where it is absent.
    pub(super) fn chunk_bytes(&self, index: usize) -> &Chunk {
        self.chunk(index).map_or(&ZEROS, |chunk| chunk)
    }

    /// Takes a chunk as it is, without regard to the length.
    pub(super) fn put(&mut self, index: usize, chunk: Option<Arc<Chunk>>) {
        *self.slot(index) = chunk;
    }

    /// A chunk to be changed, without regard to the length.
    pub(super) fn chunk_mut(&mut self, index: usize) -> &mut Chunk {
        Arc::make_mut(self.slot(index).get_or_insert_with(|| Arc::new(ZEROS)))
    }

    /// Chunks present at and after `first`.
    pub(super) fn chunks_from(&self, first: usize) -> usize {
        self.chunks.iter().skip(first).filter(|chunk| chunk.is_some()).count()
    }

    /// True when both show the same bytes in the range.
    pub(super) fn same_bytes(&self, other: &Image, offset: u64, len: usize) -> bool {
        pieces(offset, len).all(|piece| {
            let range = piece.at..piece.at + piece.len;
            self.chunk_bytes(piece.chunk)[range.clone()] == other.chunk_bytes(piece.chunk)[range]
        })
    }

    fn slot(&mut self, index: usize) -> &mut Option<Arc<Chunk>> {
        let chunks = Arc::make_mut(&mut self.chunks);
        if index >= chunks.len() {
            chunks.resize(index + 1, None);
        }
        &mut chunks[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(image: &mut Image, offset: u64, bytes: &[u8]) {
        for piece in pieces(offset, bytes.len()) {
            image.write(piece, &bytes[piece.from..piece.from + piece.len]);
        }
    }

    #[test]
    fn what_is_cut_off_reads_as_zeros_after_growth() {
        let mut image = Image::default();
        write(&mut image, 4000, &[7; 5000]);
        assert_eq!(image.len(), 9000);
        image.set_len(4100);
        image.set_len(9000);
        let mut bytes = vec![1; 9000];
        image.read(&mut bytes, 0);
        assert!(bytes[..4000].iter().all(|&b| b == 0));
        assert!(bytes[4000..4100].iter().all(|&b| b == 7));
        assert!(bytes[4100..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_copy_does_not_see_later_writes() {
        let mut image = Image::default();
        write(&mut image, 0, &[1; 8192]);
        let copy = image.clone();
        write(&mut image, 10, &[2; 10]);
        assert_eq!(copy.chunk_bytes(0), &[1; CHUNK_BYTES]);
        assert!(image.same_bytes(&copy, 4096, 4096) && !image.same_bytes(&copy, 0, 11));
    }

    #[test]
    fn masks_have_a_bit_for_each_sector_touched() {
        let mask = |at, len| Piece { chunk: 0, at, from: 0, len }.mask();
        assert_eq!(mask(0, 1), 1);
        assert_eq!(mask(511, 2), 3);
        assert_eq!(mask(0, 4096), 255);
        assert_eq!(mask(4095, 1), 128);
    }
}
