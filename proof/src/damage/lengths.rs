//! Each file of a store is cut at every length, and extended.
//!
//! Goal: refused, or right; never a signal, never a wrong answer.

use std::path::PathBuf;

use super::store::{Left, Store, Verdict};
use crate::record::Evidence;
use crate::rig::{Plan, each};

/// Lengths that a thread tries together.
const TOGETHER: usize = 512;
/// How far files are extended.
const EXTENSIONS: [u64; 6] = [1, 511, 512, 4095, 4096, 65_536];

struct Lengths {
    store: usize,
    path: PathBuf,
    bytes: u64,
    lengths: Vec<u64>,
}

/// Takes every length when the plan asks for as many as there are, else some at equal distances.
pub(crate) fn run(plan: &Plan) -> Evidence {
    let stores =
        [Left::Closed, Left::Killed].map(|left| Store::new(left).expect("a store on a good disk"));
    let total: u64 = stores.iter().flat_map(Store::files).map(|(_, bytes)| bytes).sum();
    let step = (total / plan.cases.clamp(1, total)).max(1) as usize;
    let mut work = Vec::new();
    for (store, found) in stores.iter().enumerate() {
        for (path, bytes) in found.files() {
            let mut lengths: Vec<u64> = (0..bytes).step_by(step).collect();
            lengths.extend(EXTENSIONS.map(|more| bytes + more));
            for lengths in lengths.chunks(TOGETHER) {
                let (path, lengths) = (path.clone(), lengths.to_vec());
                work.push(Lengths { store, path, bytes, lengths });
            }
        }
    }
    each(
        &work,
        |work| format!("{} of {} bytes", work.path.display(), work.bytes),
        |work, counts| {
            for &length in &work.lengths {
                let verdict = stores[work.store].examine(|disk| {
                    let mut bytes = disk.read_file(&work.path).expect("a file that was listed");
                    bytes.resize(length as usize, 0);
                    disk.write_file(&work.path, &bytes).expect("a good disk");
                });
                counts.cases(1);
                let name = match verdict {
                    Verdict::Detected => "detected",
                    Verdict::Harmless => "where nothing is kept",
                    Verdict::Older => return Err(format!("cut at {length}: an older state")),
                };
                counts.add(name, 1);
            }
            Ok(())
        },
    )
}
