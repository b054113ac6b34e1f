//! The pages of the space map: where they lie, and their bytes.
//!
//! ```text
//! bitmap page      24-byte page header, kind 4 (u32 at 12: group), 40 zero, then bits from byte 64
//! directory page   24-byte page header, kind 5 (u32 at 12: number), 40 zero, then from byte 64
//!                  for each group: u32 checksum, u32 copy << 30 | free pages
//! ```
//!
//! Invariants:
//! 1. Where a page of the map lies follows from the page size and its number alone.
//! 2. Each is verified against the checksum in the page that refers to it, whenever it is read.

use std::ops::Range;

use crate::codec::{get_u32, put_u32, put_u64};
use crate::error::{Error, Result};
use crate::ids::Epoch;
use crate::limits::{PAGE_BYTES_MIN, VALUE_BYTES_MAX};
use crate::page::PageKind;

use super::memory::PageMemory;

/// Copies of each bitmap and directory page: one for each meta page, and one to write.
pub(super) const COPIES: u32 = 3;
/// Meta pages, before everything else.
const METAS: u32 = 2;
/// The bitmaps of so many groups lie together, so that between them a run of pages has room for
/// the largest value at any page size.
const CLUSTER_GROUPS: u32 = 16;
const CONTENT_AT: usize = 64;
const COPY_SHIFT: u32 = 30;
const FREE_MASK: u32 = (1 << COPY_SHIFT) - 1;

const _: () = {
    let group_bytes = (PAGE_BYTES_MIN - CONTENT_AT) * 8 * PAGE_BYTES_MIN;
    let fixed_bytes = (CLUSTER_GROUPS + 1) as usize * COPIES as usize * PAGE_BYTES_MIN;
    let room = group_bytes * CLUSTER_GROUPS as usize - fixed_bytes;
    assert!(room >= VALUE_BYTES_MAX + PAGE_BYTES_MIN);
};

/// A space directory as a meta page names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct DirectoryRef {
    /// CRC-32 of the directory page.
    pub(crate) crc: u32,
    /// Which of its copies.
    pub(crate) copy: u32,
}

/// What a directory says of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct GroupEntry {
    /// CRC-32 of the bitmap page.
    pub(super) crc: u32,
    /// Which of its copies.
    pub(super) copy: u32,
    /// Free pages, of those within the file.
    pub(super) free: u32,
}

/// Page numbers that follow from the page size alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    page_bytes: usize,
}

impl Geometry {
    /// Of files with pages of `page_bytes`.
    pub(super) fn new(page_bytes: usize) -> Geometry {
        Geometry { page_bytes }
    }

    /// Pages in a group: what one bitmap page can describe.
    pub(super) fn group_pages(self) -> u32 {
        u32::try_from((self.page_bytes - CONTENT_AT) * 8).expect("invariant: at most 2^18")
    }

    /// Groups that one directory page can describe.
    pub(super) fn directory_groups(self) -> u32 {
        u32::try_from((self.page_bytes - CONTENT_AT) / 8).expect("invariant: at most 2^12")
    }

    /// Pages of a new file: metas, bitmaps and directory.
    pub(super) fn first_pages(self) -> u32 {
        self.fixed_pages(0)
    }

    /// The groups of a group's cluster: group 0 is one by itself, then sixteen make one.
    pub(super) fn cluster(self, group: u32) -> Range<u32> {
        match group.checked_sub(1) {
            None => 0..1,
            Some(behind) => {
                let first = 1 + behind / CLUSTER_GROUPS * CLUSTER_GROUPS;
                first..first + CLUSTER_GROUPS
            }
        }
    }

    /// The page that holds a copy of a group's bitmap.
    pub(super) fn bitmap_page(self, group: u32, copy: u32) -> u32 {
        let first = self.cluster(group).start;
        let before = if first == 0 { METAS } else { (group - first) * COPIES };
        first * self.group_pages() + before + copy
    }

    /// The page that holds a copy of a directory: behind the bitmaps of its first group's cluster.
    pub(super) fn directory_page(self, directory: u32, copy: u32) -> u32 {
        let cluster = self.cluster(directory * self.directory_groups());
        self.bitmap_page(cluster.end - 1, COPIES) + copy
    }

    /// Pages at the start of a group that hold metas, bitmaps and directories: none but in the
    /// first group of a cluster.
    pub(super) fn fixed_pages(self, group: u32) -> u32 {
        let cluster = self.cluster(group);
        if group != cluster.start {
            return 0;
        }
        let metas = if group == 0 { METAS } else { 0 };
        let first_of_directory = |group: u32| group.is_multiple_of(self.directory_groups());
        let directory = if cluster.clone().any(first_of_directory) { COPIES } else { 0 };
        let bitmaps = (cluster.end - cluster.start) * COPIES;
        metas + bitmaps + directory
    }

    /// Groups of a file of so many pages.
    pub(super) fn groups(self, file_pages: u32) -> u32 {
        file_pages.div_ceil(self.group_pages())
    }
}

/// The bitmap page of a group.
pub(super) fn encode_bitmap(words: &[u64], index: u32, epoch: Epoch, page_bytes: usize) -> Vec<u8> {
    let mut page = vec![0; page_bytes];
    page[0] = PageKind::SpaceBitmap as u8;
    put_u32(&mut page, 12, index);
    put_u64(&mut page, 16, epoch.0);
    for (word, at) in words.iter().zip((CONTENT_AT..).step_by(8)) {
        put_u64(&mut page, at, *word);
    }
    page
}

/// The bitmap of a group, verified.
fn read_bitmap(memory: &PageMemory, group: u32, entry: GroupEntry) -> Result<Vec<u64>> {
    let geometry = Geometry::new(memory.page_bytes());
    let page = geometry.bitmap_page(group, entry.copy);
    let bytes = read_fixed(memory, page, entry.crc, PageKind::SpaceBitmap as u8, group)?;
    let words = bytes[CONTENT_AT..].as_chunks::<8>().0;
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

/// The same, of the map that is gone on with. Refuses one that would hand out fixed pages or pages
/// beyond the end of the file, or that has not as many free pages as its directory says.
pub(super) fn read_sound_bitmap(
    memory: &PageMemory,
    file_pages: u32,
    group: u32,
    entry: GroupEntry,
) -> Result<Vec<u64>> {
    let bitmap = read_bitmap(memory, group, entry)?;
    let geometry = Geometry::new(memory.page_bytes());
    let pages = file_pages.saturating_sub(group * geometry.group_pages());
    let pages = pages.min(geometry.group_pages());
    let fixed = geometry.fixed_pages(group);
    let used: u32 = bitmap.iter().map(|word| word.count_ones()).sum();
    // There are at most 51 fixed pages, and 64 pages to a word.
    let fixed_used = bitmap.first().is_some_and(|word| word.trailing_ones() >= fixed.min(pages));
    let (last, within) = (pages as usize / 64, pages % 64);
    let clear_beyond = bitmap.get(last).is_none_or(|word| word >> within == 0)
        && bitmap.iter().skip(last + 1).all(|word| *word == 0);
    if fixed_used && clear_beyond && used.checked_add(entry.free) == Some(pages) {
        return Ok(bitmap);
    }
    let expected = format!("a bitmap with {} of {pages} pages free, no fixed one", entry.free);
    let page = u64::from(geometry.bitmap_page(group, entry.copy));
    Err(Error::corrupt(memory.path(), page, expected, format!("{used} pages in use")))
}

/// The bitmap of a group as the older meta page knows it; one that cannot be read says of no page
/// that it is in use. What the file had beyond its end then was free when it was given up.
pub(super) fn read_older_bitmap(
    memory: &PageMemory,
    file_pages: u32,
    group: u32,
    entry: GroupEntry,
) -> Vec<u64> {
    let mut bitmap = read_bitmap(memory, group, entry).unwrap_or_default();
    let group_pages = Geometry::new(memory.page_bytes()).group_pages();
    let pages = file_pages.saturating_sub(group * group_pages).min(group_pages);
    let (last, within) = (pages as usize / 64, pages % 64);
    if let Some(word) = bitmap.get_mut(last) {
        *word &= (1 << within) - 1;
    }
    bitmap.iter_mut().skip(last + 1).for_each(|word| *word = 0);
    bitmap
}

/// The entries of all groups of a file, verified: `directories` are those its meta page names.
pub(super) fn read_entries(
    memory: &PageMemory,
    file_pages: u32,
    directories: &[DirectoryRef],
) -> Result<Vec<GroupEntry>> {
    let geometry = Geometry::new(memory.page_bytes());
    let groups = geometry.groups(file_pages);
    let expected = groups.div_ceil(geometry.directory_groups()) as usize;
    if directories.len() != expected {
        let found = directories.len().to_string();
        let expected = format!("{expected} space directories");
        return Err(Error::corrupt(memory.path(), 0, expected, found));
    }
    let mut entries = Vec::new();
    for (number, directory) in (0..).zip(directories) {
        let page = geometry.directory_page(number, directory.copy);
        let bytes =
            read_fixed(memory, page, directory.crc, PageKind::SpaceDirectory as u8, number)?;
        let rest = (groups - number * geometry.directory_groups()) as usize;
        for index in 0..rest.min(geometry.directory_groups() as usize) {
            let crc = get_u32(&bytes, CONTENT_AT + index * 8);
            let word = get_u32(&bytes, CONTENT_AT + index * 8 + 4);
            let (copy, free) = (word >> COPY_SHIFT, word & FREE_MASK);
            entries.push(GroupEntry { crc, copy, free });
        }
    }
    Ok(entries)
}

/// Reads one bitmap or directory page and verifies it.
fn read_fixed(memory: &PageMemory, page: u32, crc: u32, kind: u8, number: u32) -> Result<Vec<u8>> {
    let mut bytes = vec![0; memory.page_bytes()];
    let offset = u64::from(page) * memory.page_bytes() as u64;
    let damaged = |expected: String, found: String| {
        Err(Error::corrupt(memory.path(), u64::from(page), expected, found))
    };
    if let Err(error) = memory.file().read_at(&mut bytes, offset) {
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                damaged("a space map page".to_owned(), "end of file".to_owned())
            }
            _ => Err(Error::io("read", memory.path(), error)),
        };
    }
    let found = crc32fast::hash(&bytes);
    if found != crc {
        return damaged(format!("checksum {crc:08x}"), format!("{found:08x}"));
    }
    if bytes[0] != kind || get_u32(&bytes, 12) != number {
        let found = format!("kind {}, number {}", bytes[0], get_u32(&bytes, 12));
        return damaged(format!("kind {kind}, number {number}"), found);
    }
    Ok(bytes)
}

/// The directory page `number` of the groups' entries.
pub(super) fn encode_directory(
    entries: &[GroupEntry],
    number: u32,
    epoch: Epoch,
    page_bytes: usize,
) -> Vec<u8> {
    let groups = Geometry::new(page_bytes).directory_groups() as usize;
    let mut page = vec![0; page_bytes];
    page[0] = PageKind::SpaceDirectory as u8;
    put_u32(&mut page, 12, number);
    put_u64(&mut page, 16, epoch.0);
    let entries = entries.iter().skip(number as usize * groups).take(groups);
    for (index, entry) in entries.enumerate() {
        put_u32(&mut page, CONTENT_AT + index * 8, entry.crc);
        let copy_and_free = entry.copy << COPY_SHIFT | entry.free;
        put_u32(&mut page, CONTENT_AT + index * 8 + 4, copy_and_free);
    }
    page
}
