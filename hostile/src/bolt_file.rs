//! Hostile bytes in a bbolt file that is read and imported.
//!
//! The bytes are a mode, then patches over a small file. Bit 0 of the mode says whether the
//! checksums of the meta pages are mended afterwards, bit 1 which of two files it is, bit 2 whether
//! it is imported too when it can be read.
//!
//! Whatever the patches: reading ends, with every pair or an error. An import brings in what was
//! read, or leaves nothing.

use std::cell::OnceCell;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bristlecone::Options;
use bristlecone_server::bolt::{BoltError, BoltFile, Event};
use bristlecone_server::import::{ImportOptions, import};
use tempfile::TempDir;

use crate::bolt_image;
use crate::content::{Content, look};
use crate::input::Input;
use crate::patch::{Plain, apply, put};

/// One that containerd wrote.
const WRITTEN: &[u8] = include_bytes!("../../server/tests/fixtures/containerd-snapshots.db");
const WRITTEN_PAGE_BYTES: usize = 4096;

const PATCHES_MAX: usize = 32;
/// Fields of a page header and, behind them, of the first elements: where and how long.
const PAGE_FIELDS: [(usize, usize); 12] = [
    (0, 8),
    (8, 2),
    (10, 2),
    (12, 4),
    (16, 4),
    (20, 4),
    (24, 4),
    (28, 4),
    (32, 4),
    (36, 4),
    (40, 4),
    (44, 4),
];
/// Fields of a meta page.
const META_FIELDS: [(usize, usize); 9] =
    [(16, 4), (20, 4), (24, 4), (28, 4), (32, 8), (40, 8), (48, 8), (56, 8), (64, 8)];

/// Tries one input; panics when it finds a bug.
pub fn run(bytes: &[u8]) {
    thread_local! {
        static DIR: OnceCell<TempDir> = const { OnceCell::new() };
    }
    DIR.with(|dir| {
        let dir = dir.get_or_init(|| tempfile::tempdir().expect("a temporary directory"));
        run_in(dir.path(), bytes);
    });
}

fn run_in(dir: &Path, bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let (mut image, page_bytes) = match mode & 2 {
        0 => (bolt_image::sample(), bolt_image::PAGE_BYTES),
        _ => (WRITTEN.to_vec(), WRITTEN_PAGE_BYTES),
    };
    for _ in 0..PATCHES_MAX {
        if input.is_empty() {
            break;
        }
        patch(&mut input, &mut image, page_bytes);
    }
    if mode & 1 == 1 {
        bolt_image::mend(&mut image, page_bytes);
    }
    let file = dir.join("bolt");
    fs::write(&file, &image).expect("a temporary file");
    let told = read(&file);
    if mode & 4 == 4 {
        let state = dir.join("state");
        judge_import(&file, &state, told.as_ref());
        if state.exists() {
            fs::remove_dir_all(&state).expect("a temporary directory");
        }
    }
}

fn patch(input: &mut Input<'_>, image: &mut Vec<u8>, page_bytes: usize) {
    let kind = input.choice(8);
    let pages = image.len().div_ceil(page_bytes).max(1);
    match kind {
        0 => apply(Plain::Literal, input, image, page_bytes),
        1 => apply(Plain::Flip, input, image, page_bytes),
        2 => apply(Plain::Copy, input, image, page_bytes),
        3 => apply(Plain::Fill, input, image, page_bytes),
        4 => {
            let page = input.choice(pages) * page_bytes;
            let (at, size) = PAGE_FIELDS[input.choice(PAGE_FIELDS.len())];
            put(image, page + at, input.take(size));
        }
        5 => {
            let page = input.choice(2) * page_bytes;
            let (at, size) = META_FIELDS[input.choice(META_FIELDS.len())];
            put(image, page + at, input.take(size));
        }
        6 => {
            // The same in both meta pages, so that neither stands in for the other.
            let (at, size) = META_FIELDS[input.choice(META_FIELDS.len())];
            let value = input.take(size);
            put(image, at, value);
            put(image, page_bytes + at, value);
        }
        _ => {
            let len = input.below(image.len() + 2 * page_bytes);
            image.resize(len, 0);
        }
    }
}

/// All that the file tells, if it can be read to its end.
fn read(path: &Path) -> Option<Content> {
    let file = BoltFile::open(path).ok()?;
    let verified = file.verify().ok();
    let (mut content, mut names): (Content, Vec<Vec<u8>>) = Default::default();
    let mut told = 0_u64;
    let walked = file.walk::<BoltError>(&mut |event| {
        match event {
            Event::EnterBucket { name, sequence } => {
                names.push(name.to_vec());
                content.insert(names.clone(), sequence.to_le_bytes().to_vec());
                told += 1;
            }
            Event::Pair { key, value } => {
                content.insert([&names[..], &[key.to_vec()]].concat(), value.to_vec());
                told += 1;
            }
            Event::LeaveBucket => drop(names.pop()),
            Event::Progress { .. } => {}
        }
        Ok(())
    });
    assert_eq!(walked.is_ok(), verified.is_some(), "reading twice finds the same");
    let summary = walked.ok()?;
    assert_eq!(Some(summary), verified, "reading twice finds the same");
    assert_eq!(told, content.len() as u64, "nothing is told twice");
    assert!(names.is_empty(), "every bucket is left");
    Some(content)
}

fn judge_import(file: &Path, state: &Path, told: Option<&Content>) {
    let imported =
        import(file, state, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()));
    match (imported, told) {
        (Ok(_), Some(content)) => {
            let db = Options::new().create(false).open(state).expect("a database");
            let found = look(&db);
            assert!(found.whole && found.content == *content, "{:?}", found.content);
            assert!(db.check(&mut |_| ControlFlow::Continue(())).expect("a check").is_sound());
        }
        (Ok(report), None) => panic!("imported what cannot be read: {report:?}"),
        (Err(error), _) => assert!(!state.exists(), "{error}, and something is left"),
    }
}

/// Inputs to begin with: a name for each.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let page = |page: u8, field: u8, value: &[u8]| [&[1, 4, page, field], value].concat();
    let metas = |field: u8, value: &[u8]| [&[1, 6, field], value].concat();
    vec![
        ("nothing", vec![0]),
        ("nothing-imported", vec![4]),
        ("nothing-in-a-written-one", vec![2]),
        ("nothing-in-a-written-one-imported", vec![6]),
        ("a-flipped-bit", vec![0, 1, 6, 40, 0, 1]),
        ("a-flipped-bit-imported", vec![4, 1, 6, 40, 0, 1]),
        ("a-meta-page-of-zeros", vec![0, 3, 1, 0, 0, 0xff, 3, 0]),
        ("a-torn-meta-page", vec![0, 1, 1, 64, 0, 1]),
        ("another-page-size", metas(2, &[0, 8, 0, 0])),
        ("the-largest-page-size", metas(2, &[0, 0, 0, 1])),
        ("no-page-size", metas(2, &[0; 4])),
        ("a-root-that-is-free", metas(4, &[9, 0, 0, 0, 0, 0, 0, 0])),
        ("a-root-beyond-the-end", metas(4, &[0xff; 8])),
        ("a-root-sequence", [&metas(5, &[1, 0, 0, 0, 0, 0, 0, 0])[..], &[]].concat()),
        ("no-freelist", metas(6, &[0xff; 8])),
        ("a-freelist-that-is-a-leaf", metas(6, &[4, 0, 0, 0, 0, 0, 0, 0])),
        ("more-pages-than-the-file", metas(7, &[0xff; 8])),
        ("fewer-pages-than-are-used", metas(7, &[5, 0, 0, 0, 0, 0, 0, 0])),
        ("the-last-transaction-of-all", metas(8, &[0xff; 8])),
        ("a-page-of-another-number", page(4, 0, &[5, 0, 0, 0, 0, 0, 0, 0])),
        ("a-leaf-as-a-branch", page(4, 1, &[1, 0])),
        ("more-elements-than-fit", page(4, 2, &[0xff, 0xff])),
        ("an-overflow-without-end", page(6, 3, &[0xff; 4])),
        ("a-pair-that-was-a-bucket", page(4, 4, &[0; 4])),
        ("an-unknown-flag", page(6, 4, &[2, 0, 0, 0])),
        ("a-position-beyond-the-page", page(6, 5, &[0xff; 4])),
        ("a-key-of-no-bytes", page(6, 6, &[0; 4])),
        ("a-value-of-all-lengths", page(6, 7, &[0xff; 4])),
        ("a-child-that-is-its-parent", page(3, 6, &[3, 0, 0, 0])),
        ("one-child-twice", page(3, 10, &[4, 0, 0, 0])),
        ("a-shorter-file", vec![0, 7, 0, 8]),
        ("a-longer-file", vec![4, 7, 0xff, 0x2f]),
    ]
}
