//! A small bbolt file, laid out as bbolt does: a branch, leaves, an overflow, inline buckets, a
//! freelist and a free page.

/// Bytes of a page of the file.
pub(crate) const PAGE_BYTES: usize = 1024;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;

const META_FIELDS_AT: usize = 16;
const META_CHECKSUM_AT: usize = 72;

/// Key, value, and whether the value is a bucket.
type Item<'a> = (&'a str, Vec<u8>, bool);

/// Root branch 3 over leaves 4 and 5, bucket `b` on 6 and 7, bucket `m` on 8, page 9 free.
pub(crate) fn sample() -> Vec<u8> {
    let mut bytes = vec![0; 10 * PAGE_BYTES];
    let small = inline(7, &[("k1", b"v1".to_vec(), false), ("k2", Vec::new(), false)]);
    let inner = inline(0, &[("z", b"26".to_vec(), false)]);
    let pages: [(usize, Vec<u8>); 6] = [
        (2, [page(2, FREELIST, 1, 0), 9_u64.to_le_bytes().to_vec()].concat()),
        (3, branch(3, &[("a", 4), ("m", 5)])),
        (4, leaf(4, 0, &[("a", small, true), ("b", tree(6, 0), true)])),
        (5, leaf(5, 0, &[("m", tree(8, 3), true), ("n", inline(0, &[]), true)])),
        (6, leaf(6, 1, &[("big", vec![b'v'; 1500], false), ("small", b"x".to_vec(), false)])),
        (8, leaf(8, 0, &[("p", b"1".to_vec(), false), ("q", inner, true)])),
    ];
    for (id, page) in pages {
        bytes[id * PAGE_BYTES..][..page.len()].copy_from_slice(&page);
    }
    for (id, txn_id) in [(0, 4_u64), (1, 5)] {
        let mut meta = page(id, META, 0, 0);
        for field in [0xED0C_DAED, 2, PAGE_BYTES as u32, 0] {
            meta.extend(field.to_le_bytes());
        }
        for field in [3, 0, 2, 10, txn_id, 0] {
            meta.extend(field.to_le_bytes());
        }
        bytes[usize::from(id == 1) * PAGE_BYTES..][..meta.len()].copy_from_slice(&meta);
    }
    mend(&mut bytes, PAGE_BYTES);
    bytes
}

/// Makes the checksums of both meta pages right: FNV-1a of 64 bits.
pub(crate) fn mend(bytes: &mut [u8], page_bytes: usize) {
    for meta in [0, page_bytes] {
        let Some(meta) = bytes.get_mut(meta..meta + META_CHECKSUM_AT + 8) else { continue };
        let covered = &meta[META_FIELDS_AT..META_CHECKSUM_AT];
        let checksum = covered.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        meta[META_CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn page(id: u64, flags: u16, count: usize, overflow: u32) -> Vec<u8> {
    let count = u16::try_from(count).expect("few elements");
    let (flags, count) = (flags.to_le_bytes(), count.to_le_bytes());
    [&id.to_le_bytes()[..], &flags, &count, &overflow.to_le_bytes()].concat()
}

fn leaf(id: u64, overflow: u32, items: &[Item<'_>]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (index, (key, value, is_bucket)) in items.iter().enumerate() {
        let at = (items.len() - index) * 16 + data.len();
        for field in [usize::from(*is_bucket), at, key.len(), value.len()] {
            elements.extend(u32::try_from(field).expect("small").to_le_bytes());
        }
        data.extend_from_slice(key.as_bytes());
        data.extend_from_slice(value);
    }
    [page(id, LEAF, items.len(), overflow), elements, data].concat()
}

fn branch(id: u64, children: &[(&str, u64)]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (index, (key, child)) in children.iter().enumerate() {
        let at = (children.len() - index) * 16 + data.len();
        for field in [at, key.len()] {
            elements.extend(u32::try_from(field).expect("small").to_le_bytes());
        }
        elements.extend(child.to_le_bytes());
        data.extend_from_slice(key.as_bytes());
    }
    [page(id, BRANCH, children.len(), 0), elements, data].concat()
}

fn tree(root: u64, sequence: u64) -> Vec<u8> {
    [root.to_le_bytes(), sequence.to_le_bytes()].concat()
}

fn inline(sequence: u64, items: &[Item<'_>]) -> Vec<u8> {
    [tree(0, sequence), leaf(0, 0, items)].concat()
}
