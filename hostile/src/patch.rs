//! Patches over bytes that are cut into blocks: what the fuzzer does to an image.
//!
//! Never grows an image; a patch beyond the end is cut or left out.

use crate::input::Input;

/// Bytes that one patch brings along, at most.
const LITERAL_BYTES_MAX: usize = 64;

/// Patches that know nothing of what the bytes mean; a target has its own besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plain {
    /// Block, offset, length and bytes.
    Literal,
    /// Block, offset and the mask of bits to flip.
    Flip,
    /// Block and offset to copy from, block and offset to copy to, length.
    Copy,
    /// Block and offset to fill from, length, and the byte.
    Fill,
}

/// Reads one patch and applies it to `bytes` in blocks of `block_bytes`.
pub(crate) fn apply(kind: Plain, input: &mut Input<'_>, bytes: &mut [u8], block_bytes: usize) {
    let at = place(input, bytes.len(), block_bytes);
    match kind {
        Plain::Literal => {
            let count = 1 + input.choice(LITERAL_BYTES_MAX);
            put(bytes, at, input.take(count));
        }
        Plain::Flip => {
            let mask = input.byte();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        Plain::Copy => {
            let to = place(input, bytes.len(), block_bytes);
            let count = 1 + input.below(block_bytes);
            let copied = bytes.get(at..bytes.len().min(at + count)).unwrap_or_default().to_vec();
            put(bytes, to, &copied);
        }
        Plain::Fill => {
            let count = 1 + input.below(block_bytes);
            put(bytes, at, &vec![input.byte(); count]);
        }
    }
}

/// Replaces bytes at `at`; those beyond the end are dropped.
pub(crate) fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(old) = bytes.get_mut(at..) {
        let count = old.len().min(new.len());
        old[..count].copy_from_slice(&new[..count]);
    }
}

fn place(input: &mut Input<'_>, len: usize, block_bytes: usize) -> usize {
    let block = input.choice(len.div_ceil(block_bytes).max(1));
    block * block_bytes + input.below(block_bytes)
}

/// The number of `size` bytes at `at`, if it is there.
pub(crate) fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// Replaces a checksum.
pub(crate) fn put_checksum(bytes: &mut [u8], at: usize, checksum: u32) {
    put(bytes, at, &checksum.to_le_bytes());
}
