//! Little-endian fields at an offset, checksums and rounding: the alphabet of every byte layout.
//!
//! Knows no layout and never reads a number by casting bytes. Invariants:
//! 1. Every number in a file is little-endian, whatever the machine; big-endian are only those that
//!    order as keys do, and they are in no file.
//! 2. A field outside its bytes is a mistake of the caller and panics: whoever reads bytes from
//!    disk bounds an offset before using it here.

/// The u16 at `at`. REQUIRES: `at + 2 <= bytes.len()`.
#[inline]
pub(crate) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// The u32 at `at`. REQUIRES: `at + 4 <= bytes.len()`.
#[inline]
pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// The u64 at `at`. REQUIRES: `at + 8 <= bytes.len()`.
#[inline]
pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// The first eight bytes of a key as a number, so that numbers order as the bytes do.
pub(crate) fn key_head(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = key.len().min(8);
    head[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(head)
}

/// Writes a u16 at `at`. REQUIRES: `at + 2 <= bytes.len()`.
#[inline]
pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Writes a u32 at `at`. REQUIRES: `at + 4 <= bytes.len()`.
#[inline]
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Writes a u64 at `at`. REQUIRES: `at + 8 <= bytes.len()`.
#[inline]
pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Writes a number in LEB128, seven bits to a byte, the low ones first; gives each byte to `push`.
#[inline]
pub(crate) fn put_leb128(mut number: u64, mut push: impl FnMut(u8)) {
    while number >= 0x80 {
        push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    push(number as u8);
}

/// The number that the bytes of `take` are in LEB128; `None` when it is 2^64 or more.
#[inline]
pub(crate) fn get_leb128<E>(mut take: impl FnMut() -> Result<u8, E>) -> Result<Option<u64>, E> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take()?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// The checksum that guards every page and every frame of the log.
#[inline]
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// `size` rounded up to a multiple of four, the alignment of the arrays within a page.
#[inline]
pub(crate) const fn align4(size: usize) -> usize {
    (size + 3) & !3
}

#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("invariant: a field lies within its bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leb128(bytes: &[u8]) -> Result<Option<u64>, &'static str> {
        let mut bytes = bytes.iter();
        get_leb128(|| bytes.next().copied().ok_or("too short"))
    }

    #[test]
    fn numbers_in_leb128_are_read_as_written() {
        let edges = (0..64).map(|bit| 1_u64 << bit);
        for number in edges.flat_map(|edge| [edge - 1, edge]).chain([u64::MAX]) {
            let mut bytes = Vec::new();
            put_leb128(number, |byte| bytes.push(byte));
            let bits = 64 - number.leading_zeros() as usize;
            assert_eq!(bytes.len(), bits.div_ceil(7).max(1));
            assert_eq!(leb128(&bytes), Ok(Some(number)));
            assert_eq!(leb128(&bytes[..bytes.len() - 1]), Err("too short"));
        }
        let [full, top] = [[0xff; 9], [0x80; 9]];
        assert_eq!(leb128(&[&full[..], &[0x01]].concat()), Ok(Some(u64::MAX)));
        assert_eq!(leb128(&[&full[..], &[0x02]].concat()), Ok(None));
        assert_eq!(leb128(&[&top[..], &[0x80, 0x01]].concat()), Ok(None));
    }

    #[test]
    fn fields_are_little_endian_on_every_machine() {
        let mut bytes = [0u8; 16];
        put_u16(&mut bytes, 1, 0x0201);
        put_u32(&mut bytes, 3, 0x0605_0403);
        put_u64(&mut bytes, 7, 0x0e0d_0c0b_0a09_0807);
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0]);
        assert_eq!(get_u16(&bytes, 1), 0x0201);
        assert_eq!(get_u32(&bytes, 3), 0x0605_0403);
        assert_eq!(get_u64(&bytes, 7), 0x0e0d_0c0b_0a09_0807);
    }

    #[test]
    fn the_checksum_is_the_common_crc32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn rounding_up_keeps_multiples() {
        assert_eq!([0, 1, 3, 4, 5].map(align4), [0, 4, 4, 4, 8]);
    }
}
