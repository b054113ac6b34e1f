//! Reads the freelist: the pages that no tree reaches.
//!
//! It reads the run of the freelist a chunk at a time, and never trusts its order.
//!
//! ```text
//! 0 page header   16 ids u64, as many as the header's count says
//! 0 page header   16 number of ids u64   24 ids u64          when the header's count is 0xFFFF
//! ```
//!
//! Invariants:
//! 1. No page is listed twice, and none is a meta page or a page of the freelist itself.
//! 2. Every listed page lies below the high-water mark.

use super::error::BoltError;
use super::file::LockedFile;
use super::limits::FREELIST_CHUNK_BYTES;
use super::meta::Meta;
use super::page::{HEADER_BYTES, Header, PageId, Reason, u64_at};
use super::page_set::PageSet;

const ID_BYTES: usize = 8;

/// In the header's count: the number of ids stands in front of them.
const COUNT_ELSEWHERE: u16 = 0xFFFF;

const _: () = assert!(FREELIST_CHUNK_BYTES.is_multiple_of(ID_BYTES));

/// The freelist of a file that persists one.
#[derive(Debug)]
pub(super) struct Freelist {
    id: PageId,
    pub(super) run_pages: u64,
    pub(super) free: PageSet,
}

impl Freelist {
    pub(super) fn read(file: &LockedFile, meta: &Meta) -> Result<Option<Freelist>, BoltError> {
        let Some(id) = meta.freelist else {
            return Ok(None);
        };
        let damaged = |reason: Reason| BoltError::damaged(id, reason);
        let offset = id.0 * meta.page_bytes;
        let mut bytes = [0; HEADER_BYTES + ID_BYTES];
        file.read(offset, &mut bytes)?;
        let header = Header::decode(&bytes);
        header.check_id(id).map_err(damaged)?;
        header.check_freelist().map_err(damaged)?;
        let run_pages = header.check_run(meta.high_water).map_err(damaged)?;
        let (ids_at, ids_total) = locate_ids(&header, &bytes).map_err(damaged)?;
        let room = run_pages * meta.page_bytes - ids_at;
        if ids_total > room / ID_BYTES as u64 {
            let room = room / ID_BYTES as u64;
            return Err(damaged(format!("{ids_total} free pages, expected at most {room}")));
        }
        let free = PageSet::new(meta.high_water).ok_or_else(|| BoltError::memory(file.path()))?;
        let mut freelist = Freelist { id, run_pages, free };
        let mut read = 0;
        let mut chunk = vec![0; FREELIST_CHUNK_BYTES];
        while read < ids_total {
            let left = (ids_total - read).saturating_mul(ID_BYTES as u64);
            let wanted = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            let ids = &mut chunk[..wanted];
            file.read(offset + ids_at + read * ID_BYTES as u64, ids)?;
            for id in ids.chunks_exact(ID_BYTES) {
                freelist.add(meta, PageId(u64_at(id, 0))).map_err(damaged)?;
                read += 1;
            }
        }
        Ok(Some(freelist))
    }

    /// The pages that the freelist itself lies in.
    pub(super) fn run(&self) -> impl Iterator<Item = PageId> {
        (self.id.0..self.id.0 + self.run_pages).map(PageId)
    }

    fn add(&mut self, meta: &Meta, id: PageId) -> Result<(), Reason> {
        meta.check_allowed("a free page", id)?;
        if (self.id.0..self.id.0 + self.run_pages).contains(&id.0) {
            return Err(format!("page {} is listed as free and holds the freelist", id.0));
        }
        if !self.free.insert(id) {
            return Err(format!("page {} is listed as free twice", id.0));
        }
        Ok(())
    }
}

/// Where the ids begin, and how many there are.
fn locate_ids(
    header: &Header,
    bytes: &[u8; HEADER_BYTES + ID_BYTES],
) -> Result<(u64, u64), Reason> {
    if header.count != COUNT_ELSEWHERE {
        return Ok((HEADER_BYTES as u64, u64::from(header.count)));
    }
    let ids_total = u64_at(bytes, HEADER_BYTES);
    if ids_total < u64::from(COUNT_ELSEWHERE) {
        return Err(format!("{ids_total} free pages, expected at least {COUNT_ELSEWHERE}"));
    }
    Ok(((HEADER_BYTES + ID_BYTES) as u64, ids_total))
}

#[cfg(test)]
mod tests {
    use crate::bolt::image::{Image, NO_FREELIST};

    fn damaged(at: usize, bytes: &[u8], expected: &str) {
        let mut image = Image::sample();
        image.poke(2, at, bytes);
        image.assert_damaged(2, expected);
    }

    #[test]
    fn each_field_of_the_freelist_is_checked() {
        damaged(0, &[3], "its header names page 3, expected 2");
        damaged(8, &[2], "its flags are 0x02 (leaf), expected 0x10 (freelist)");
        damaged(10, &[127], "127 free pages, expected at most 126");
        damaged(12, &[8], "a run of 9 pages, expected at most 8");
        damaged(16, &[1], "a free page is page 1, expected one from 2 to 9");
        damaged(16, &[10], "a free page is page 10, expected one from 2 to 9");
        damaged(16, &[2], "page 2 is listed as free and holds the freelist");
        damaged(
            10,
            &[2, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9],
            "page 9 is listed as free twice",
        );
        damaged(10, &[0xFF, 0xFF], "9 free pages, expected at least 65535");
    }

    #[test]
    fn a_lost_count_shows_as_a_leak() {
        let mut image = Image::sample();
        image.poke(2, 10, &[0]);
        let summary = image.open().and_then(|file| file.verify()).expect("sound but for a leak");
        assert_eq!(summary.pages_leaked, Some(1));
    }

    #[test]
    fn a_file_may_persist_no_freelist() {
        let mut image = Image::sample();
        image.metas(3, NO_FREELIST, 10, 5);
        let file = image.open().expect("sound");
        assert_eq!(file.pages_total(), 8);
        assert_eq!(file.verify().expect("sound").pages_leaked, None);
    }

    /// A root and this many free pages, all in one freelist.
    fn of_free_pages(free: u64) -> Image {
        let mut image = Image::new(1024);
        image.leaf(2, &[]);
        let ids: Vec<u64> = (3..3 + free).collect();
        let run_pages = image.freelist(3 + free, &ids);
        image.metas(2, 3 + free, 3 + free + run_pages, 1);
        image
    }

    #[test]
    fn the_large_form_is_read_where_the_small_one_ends() {
        for free in [0xFFFE, 0xFFFF, 0x1_0000] {
            let file = of_free_pages(free).open().expect("sound");
            assert_eq!(file.pages_total(), 1);
            assert_eq!(file.verify().expect("sound").pages_leaked, Some(0));
        }
    }

    #[test]
    fn a_large_count_beyond_the_run_is_refused() {
        let mut image = of_free_pages(0xFFFF);
        image.poke(3 + 0xFFFF, 16, &u64::MAX.to_le_bytes());
        let expected = "18446744073709551615 free pages, expected at most 65661";
        image.assert_damaged(3 + 0xFFFF, expected);
    }
}
