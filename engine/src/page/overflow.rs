//! A value too large for its leaf: a run of adjoining pages.
//!
//! ```text
//!  0 header  kind 3, all fields zero but the pages of the run (at 12) and the birth epoch
//! 24 value   contiguous over all pages of the run
//!  . zero    to the end of the last page
//! ```
//!
//! Only the first page has a header. The entry in the leaf holds the value's length and the
//! CRC-32 of the whole run. Never allocates pages. Invariants:
//! 1. Every byte of a run is determined by its value and birth, so that a checksum can cover all.

use super::header::{Header, PAGE_HEADER_BYTES, PageKind};
use crate::ids::Epoch;

/// Pages of the run for a value.
#[inline]
pub(crate) fn run_pages(value_len: u32, page_bytes: usize) -> u32 {
    let bytes = PAGE_HEADER_BYTES as u64 + u64::from(value_len);
    u32::try_from(bytes.div_ceil(page_bytes as u64))
        .expect("invariant: a value has fewer pages than bytes")
}

/// Writes a run. REQUIRES: `run` is exactly the value's pages of `page_bytes` each.
#[cfg(test)]
pub(crate) fn write_run(run: &mut [u8], page_bytes: usize, value: &[u8], born: Epoch) {
    begin_run(run, run_pages(value.len() as u32, page_bytes), born);
    fill_run(run, value);
}

/// Writes the header of a run of so many pages, which holds anything until it is filled; returns
/// the rest of what was given of it.
pub(crate) fn begin_run(run: &mut [u8], pages: u32, born: Epoch) -> &mut [u8] {
    let header = Header {
        kind: PageKind::Overflow as u8,
        level: 0,
        count: 0,
        prefix_len: 0,
        flags: 0,
        heap_low: 0,
        garbage: 0,
        pages,
        born,
    };
    let (head, rest) = run.split_at_mut(PAGE_HEADER_BYTES);
    header.write(head);
    rest
}

/// Writes the value of a run. REQUIRES: `run` is exactly the value's pages.
pub(crate) fn fill_run(run: &mut [u8], value: &[u8]) {
    let (content, padding) = run[PAGE_HEADER_BYTES..].split_at_mut(value.len());
    content.copy_from_slice(value);
    padding.fill(0);
}

/// The value in a run; empty when the run is shorter than that, which no valid run is.
#[inline]
pub(crate) fn run_value(run: &[u8], value_len: u32) -> &[u8] {
    run.get(PAGE_HEADER_BYTES..).and_then(|rest| rest.get(..value_len as usize)).unwrap_or(&[])
}

/// Says what is wrong with the first page of a run that has so many pages.
#[inline]
pub(crate) fn validate_start(page: &[u8], pages: u32) -> Result<(), String> {
    let header = Header::read(page);
    if header.kind != PageKind::Overflow as u8 {
        return Err(format!("expected an overflow run, found page kind {}", header.kind));
    }
    if header.pages != pages {
        return Err(format!("expected a run of {pages} pages, found {}", header.pages));
    }
    Ok(())
}

/// Says what is wrong with a run, given whole.
pub(crate) fn validate_run(run: &[u8], page_bytes: usize, value_len: u32) -> Result<(), String> {
    let header = Header::read(run);
    let pages = run_pages(value_len, page_bytes);
    validate_start(run, pages)?;
    if run.len() != pages as usize * page_bytes {
        return Err(format!("expected {pages} pages, found {} bytes", run.len()));
    }
    let zeroed = [usize::from(header.level), header.count, header.prefix_len, header.heap_low];
    if zeroed != [0; 4] || header.garbage != 0 || header.flags != 0 {
        return Err("expected zero in the unused fields of a run's header".into());
    }
    let padding = run.get(PAGE_HEADER_BYTES + value_len as usize..).unwrap_or(&[]);
    if padding.iter().any(|&byte| byte != 0) {
        return Err("expected zero after the value of a run".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_holds_its_value_and_nothing_else() {
        for len in [0usize, 1, 4071, 4072, 4073, 8168, 8169, 100_000] {
            let value: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
            let pages = run_pages(len as u32, 4096) as usize;
            assert_eq!(pages, (24 + len).div_ceil(4096));
            let mut run = vec![0xaa; pages * 4096];
            write_run(&mut run, 4096, &value, Epoch(5));
            assert_eq!(validate_run(&run, 4096, len as u32), Ok(()));
            assert_eq!(run_value(&run, len as u32), value);
            assert!(validate_run(&run, 4096, (len + 4096) as u32).is_err());
            if let Some(last) = run.last_mut().filter(|last| **last == 0) {
                *last = 1;
                assert!(validate_run(&run, 4096, len as u32).is_err());
            }
        }
    }
}
