//! Each sector of a store becomes zeros, ones, or a copy of another sector of the same file; each
//! page a copy of another.
//!
//! Goal: what is read is right, or it is an error.

use std::path::PathBuf;

use super::store::{Left, PAGE_BYTES, Store, Verdict};
use crate::record::Evidence;
use crate::rig::{Plan, each};

/// A piece of a file that is overwritten.
struct Piece {
    store: usize,
    path: PathBuf,
    start: usize,
    bytes: usize,
}

/// Takes all copies when the plan asks for as many as there are, else some at equal distances.
pub(crate) fn run(plan: &Plan) -> Evidence {
    let stores =
        [Left::Closed, Left::Killed].map(|left| Store::new(left).expect("a store on a good disk"));
    let mut pieces = Vec::new();
    let mut total = 0;
    for (store, found) in stores.iter().enumerate() {
        for (path, length) in found.files() {
            for bytes in [512, PAGE_BYTES] {
                let count = length / bytes as u64;
                total += count * (count + 2);
                let piece = |index| Piece {
                    store,
                    path: path.clone(),
                    start: index as usize * bytes,
                    bytes,
                };
                pieces.extend((0..count).map(piece));
            }
        }
    }
    let step = (total / plan.cases.clamp(1, total)).max(1) as usize;
    each(
        &pieces,
        |piece| format!("{} bytes of {} at {}", piece.bytes, piece.path.display(), piece.start),
        |piece, counts| {
            let store = &stores[piece.store];
            let file = store.read_file(&piece.path);
            let fills = [vec![0; piece.bytes], vec![0xff; piece.bytes]];
            let copies = file.chunks_exact(piece.bytes).step_by(step).map(<[u8]>::to_vec);
            for bytes in fills.into_iter().chain(copies) {
                let same = file[piece.start..piece.start + piece.bytes] == bytes;
                let overwrite = |disk: &bristlecone::io::sim::SimDisk| {
                    disk.overwrite(&piece.path, piece.start as u64, &bytes).expect("a good disk");
                };
                let verdict = store.examine(overwrite);
                counts.cases(1);
                let name = match verdict {
                    Verdict::Detected if same => return Err("nothing changed".to_owned()),
                    Verdict::Detected => "detected",
                    Verdict::Harmless => "where nothing is kept",
                    // See `flips`: of a log that was not closed, the last frame.
                    Verdict::Older if store.left == Left::Killed => "last frame taken as torn",
                    Verdict::Older => return Err("an older state".to_owned()),
                };
                counts.add(name, 1);
            }
            Ok(())
        },
    )
}
