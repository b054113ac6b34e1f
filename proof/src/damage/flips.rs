//! Every bit of a small store and of its log is flipped, one at a time.
//!
//! Goal: what is read is right, or it is an error. A bit that changes nothing must lie where
//! nothing is kept: of each page of the data file either every bit is noticed or none is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::store::{Left, PAGE_BYTES, Store, Verdict};
use crate::record::Evidence;
use crate::rig::{Plan, each};

const DATA: &str = "/db/data";
/// So many pages have half a million bits.
const PAGES_MIN: usize = 16;

/// A page or block of a file, whose bits are flipped together on one thread.
struct Block {
    store: usize,
    path: PathBuf,
    start: u64,
}

/// Takes every bit when the plan asks for as many as there are, else bits at equal distances.
pub(crate) fn run(plan: &Plan) -> Evidence {
    let stores =
        [Left::Closed, Left::Killed].map(|left| Store::new(left).expect("a store on a good disk"));
    let mut blocks = Vec::new();
    let data_pages = |store: &Store| store.read_file(Path::new(DATA)).len() / PAGE_BYTES;
    assert!(stores.iter().all(|store| data_pages(store) >= PAGES_MIN), "too small a store");
    for (store, found) in stores.iter().enumerate() {
        for (path, bytes) in found.files() {
            let starts = (0..bytes).step_by(PAGE_BYTES);
            blocks.extend(starts.map(|start| Block { store, path: path.clone(), start }));
        }
    }
    let bits = (blocks.len() * PAGE_BYTES * 8) as u64;
    // Odd, so that each bit of a byte has its turn.
    let step = (bits / plan.cases.clamp(1, bits)) | 1;
    let undamaged = stores.iter().map(|store| store.examine(|_| {}));
    assert!(undamaged.into_iter().all(|verdict| verdict == Verdict::Harmless));
    let noticed = Mutex::new(BTreeMap::new());
    let mut evidence = each(
        &blocks,
        |block| {
            format!("{} at {}, {:?}", block.path.display(), block.start, stores[block.store].left)
        },
        |block, counts| {
            let store = &stores[block.store];
            let mut verdicts = [0_u64; 3];
            for bit in (0..PAGE_BYTES as u64 * 8).step_by(step as usize) {
                let (at, mask) = (block.start + bit / 8, 1 << (bit % 8));
                let flip = |disk: &bristlecone::io::sim::SimDisk| {
                    disk.corrupt(&block.path, at, mask).expect("a byte of the file");
                };
                verdicts[store.examine(flip) as usize] += 1;
            }
            let [detected, harmless, older] = verdicts;
            let is_data = block.path.ends_with("data");
            let place = if is_data { "data file" } else { "log" };
            counts.cases(detected + harmless + older);
            counts.add(&format!("{place}, detected"), detected);
            counts.add(&format!("{place}, where nothing is kept"), harmless);
            counts.add("log, last frame taken as torn", older);
            if is_data && detected > 0 && harmless > 0 {
                return Err(format!("{detected} bits were noticed, {harmless} were not"));
            }
            if older > 0 && (is_data || store.left == Left::Closed) {
                return Err(format!("{older} bits led to an older state"));
            }
            let mut noticed = noticed.lock().expect("no panic while held");
            let place = (store.segment_number(&block.path), block.start);
            noticed.extend((store.left == Left::Killed && !is_data).then_some((place, verdicts)));
            Ok(())
        },
    );
    if let Err(failure) = judge_log(&noticed.into_inner().expect("no panic while held")) {
        evidence.failures.push(failure);
    }
    evidence
}

/// Of a log that was not closed the last frame may look torn, and nothing before it.
fn judge_log(noticed: &BTreeMap<(u64, u64), [u64; 3]>) -> Result<(), String> {
    let mut torn = None;
    for ((segment, start), [detected, _, older]) in noticed {
        let place = format!("segment {segment} at {start}");
        match &torn {
            Some(before) if *detected > 0 => {
                return Err(format!("{before} was taken as torn, though {place} is in use"));
            }
            None if *older > 0 => torn = Some(place),
            _ => {}
        }
    }
    Ok(())
}
