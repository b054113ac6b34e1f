//! One page as text, for whoever looks into a damaged file.

use std::fmt::Write;
use std::path::Path;

use crate::error::{Error, Result};
use crate::io::{Host, OpenMode, RealHost};
use crate::page::header::Header;
use crate::page::{Interior, Leaf, PageKind, Payload, validate};
use crate::pager::read_metas;

/// Bytes of a key or value shown.
const SHOWN_BYTES: usize = 48;

/// Page `page` of the database in `dir` as text. Reads the data file alone, without opening the
/// database, so it works on a damaged one and beside its owner.
///
/// # Errors
/// `Corrupt` when neither meta page can be read, `InvalidArgument` for a page beyond the file, and
/// the failures of reading.
pub fn dump_page(dir: impl AsRef<Path>, page: u64) -> Result<String> {
    let path = dir.as_ref().join("data");
    let failed = |operation| {
        let path = path.clone();
        move |e| Error::io(operation, &path, e)
    };
    let file = RealHost::default().open(&path, OpenMode::Read).map_err(failed("open"))?;
    let (newest, other) = read_metas(&*file, &path)?;
    let page_bytes = newest.page_bytes as u64;
    let pages = file.len().map_err(failed("read"))? / page_bytes;
    if page >= pages {
        return Err(Error::invalid(format!("expected a page below {pages}, found {page}")));
    }
    let mut bytes = vec![0; newest.page_bytes];
    file.read_at(&mut bytes, page * page_bytes).map_err(failed("read"))?;
    let mut text = format!("page {page}, checksum {:08x}\n", crc32fast::hash(&bytes));
    if page < 2 {
        let meta = [Some(&newest), other.as_ref()].into_iter().flatten();
        match meta.into_iter().find(|meta| meta.slot() as u64 == page) {
            Some(meta) => line(&mut text, format_args!("{meta:#?}")),
            None => line(&mut text, format_args!("a meta page that is damaged or was never used")),
        }
        return Ok(text);
    }
    describe(&mut text, &bytes);
    Ok(text)
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("invariant: writing to a string does not fail");
}

fn describe(text: &mut String, bytes: &[u8]) {
    let header = Header::read(bytes);
    let kinds = [
        (PageKind::Leaf, "leaf"),
        (PageKind::Interior, "interior"),
        (PageKind::Overflow, "overflow"),
        (PageKind::SpaceBitmap, "space bitmap"),
        (PageKind::SpaceDirectory, "space directory"),
    ];
    let known = kinds.iter().find(|(kind, _)| *kind as u8 == header.kind);
    let Some((kind, name)) = known else {
        return line(text, format_args!("no page of a known kind: kind {}", header.kind));
    };
    line(text, format_args!("{name}, born in epoch {}", header.born));
    match kind {
        PageKind::Leaf | PageKind::Interior => tree_page(text, bytes, &header),
        PageKind::Overflow => line(text, format_args!("first of {} pages", header.pages)),
        _ => line(text, format_args!("number {}", header.pages)),
    }
}

fn tree_page(text: &mut String, bytes: &[u8], header: &Header) {
    let Header { level, count, prefix_len, garbage, .. } = header;
    line(
        text,
        format_args!("level {level}, count {count}, prefix {prefix_len} bytes, garbage {garbage}"),
    );
    if let Err(found) = validate(bytes) {
        return line(text, format_args!("not well formed: {found}"));
    }
    if *level == 0 {
        let leaf = Leaf::new(bytes);
        for index in 0..leaf.count() {
            let entry = leaf.entry(index);
            let payload = match entry.payload {
                Payload::Value(value) => format!("{} bytes {}", value.len(), shown(value)),
                Payload::Overflow { run, len } => format!("{len} bytes in the run at {}", run.id),
                Payload::Bucket(record) => {
                    format!("bucket {:?}", crate::page::BucketRecord::decode(record))
                }
            };
            line(text, format_args!("{index:5}  {} = {payload}", shown(entry.key)));
        }
        return;
    }
    let interior = Interior::new(bytes);
    for index in 0..=interior.count() {
        let child = interior.child(index);
        let from = match index.checked_sub(1) {
            Some(left) => shown(&interior.separator(left)),
            None => "(first)".to_owned(),
        };
        line(text, format_args!("{index:5}  {from} -> page {} ({:08x})", child.id, child.crc));
    }
}

fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_BYTES { "..." } else { "" };
    format!("\"{}\"{more}", bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii())
}
