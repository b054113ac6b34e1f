//! Writes small bolt files: each bucket on a leaf page of its own.

const PAGE_META: u16 = 0x04;
const PAGE_LEAF: u16 = 0x02;
const PAGE_FREELIST: u16 = 0x10;
const ELEMENT_BUCKET: u32 = 1;
const HEADER_BYTES: usize = 16;
const ELEMENT_BYTES: usize = 16;

/// A bucket to be written. Names and keys are sorted by the writer.
#[derive(Clone, Default)]
pub(crate) struct Bucket {
    pub(crate) sequence: u64,
    pub(crate) pairs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) nested: Vec<(Vec<u8>, Bucket)>,
}

impl Bucket {
    /// This bucket within `depth` others, all of them of this name.
    pub(crate) fn within(self, name: &[u8], depth: usize) -> Bucket {
        (0..depth).fold(self, |inner, _| Bucket {
            nested: vec![(name.to_vec(), inner)],
            ..Bucket::default()
        })
    }
}

/// The file whose root holds what `root` holds.
pub(crate) fn image(page_bytes: usize, root: &Bucket) -> Vec<u8> {
    let mut pages = vec![vec![0; page_bytes]; 3];
    header(&mut pages[2], 2, PAGE_FREELIST, 0);
    let top = write(&mut pages, page_bytes, root);
    let pages_total = pages.len() as u64;
    for (id, page) in pages.iter_mut().enumerate().take(2) {
        header(page, id as u64, PAGE_META, 0);
        let mut meta = Vec::new();
        for field in [0xED0C_DAED, 2, u32::try_from(page_bytes).expect("a page size"), 0] {
            meta.extend_from_slice(&field.to_le_bytes());
        }
        for field in [top, root.sequence, 2, pages_total, id as u64] {
            meta.extend_from_slice(&field.to_le_bytes());
        }
        let checksum = fnv(&meta);
        meta.extend_from_slice(&checksum.to_le_bytes());
        page[HEADER_BYTES..HEADER_BYTES + meta.len()].copy_from_slice(&meta);
    }
    pages.concat()
}

/// Writes the page of a bucket behind those of its nested ones, and returns its number.
fn write(pages: &mut Vec<Vec<u8>>, page_bytes: usize, bucket: &Bucket) -> u64 {
    let mut items: Vec<(Vec<u8>, Vec<u8>, u32)> = Vec::new();
    for (key, value) in &bucket.pairs {
        items.push((key.clone(), value.clone(), 0));
    }
    for (name, nested) in &bucket.nested {
        let root = write(pages, page_bytes, nested);
        let value = [root.to_le_bytes(), nested.sequence.to_le_bytes()].concat();
        items.push((name.clone(), value, ELEMENT_BUCKET));
    }
    items.sort();
    let id = pages.len() as u64;
    let mut page = vec![0; page_bytes];
    header(&mut page, id, PAGE_LEAF, items.len());
    let mut data = HEADER_BYTES + ELEMENT_BYTES * items.len();
    for (index, (key, value, flags)) in items.iter().enumerate() {
        let at = HEADER_BYTES + ELEMENT_BYTES * index;
        let fields = [*flags as usize, data - at, key.len(), value.len()];
        for (field, place) in fields.into_iter().zip(page[at..].chunks_mut(4)) {
            place.copy_from_slice(&u32::try_from(field).expect("32 bits").to_le_bytes());
        }
        for bytes in [key, value] {
            page[data..data + bytes.len()].copy_from_slice(bytes);
            data += bytes.len();
        }
    }
    pages.push(page);
    id
}

fn header(page: &mut [u8], id: u64, flags: u16, count: usize) {
    page[..8].copy_from_slice(&id.to_le_bytes());
    page[8..10].copy_from_slice(&flags.to_le_bytes());
    page[10..12].copy_from_slice(&u16::try_from(count).expect("16 bits").to_le_bytes());
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
