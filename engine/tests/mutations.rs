//! The crash simulation proves itself: with each of the engine's seeded bugs it must fail.
//!
//! Method: the random histories of `crash.rs` run with one bug at a time until one of them fails;
//! how many crash images that took is printed. The engine without a bug passes the same histories.
//!
//! `BRISTLECONE_MUTATION=name` runs one bug only and shows how it is caught.

#[path = "simulation/mod.rs"]
mod simulation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bristlecone::mutation::{self, Mutation};
use simulation::crash::CrashHistory;

/// Histories given to each bug.
const HISTORIES: u64 = 150;
const LIVES: u64 = 4;
const IMAGES_PER_EVENT: u64 = 4;
const THREADS: usize = 2;

/// How a bug was caught: after so many images, in this history.
struct Catch {
    images: u64,
    seed: u64,
    how: String,
}

/// Runs the histories until one fails.
fn hunt(histories: u64) -> Option<Catch> {
    let mut images = 0;
    for seed in 1..=histories {
        let mut history = CrashHistory::new(seed, IMAGES_PER_EVENT);
        let outcome = catch_unwind(AssertUnwindSafe(|| history.run(LIVES)));
        images += history.tally.images;
        let how = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => message(&*panic),
        };
        return Some(Catch { images, seed, how });
    }
    None
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let text = text.unwrap_or_default().replace('\n', " ");
    text.chars().take(90).collect()
}

#[test]
fn every_seeded_bug_is_caught() {
    let only = std::env::var("BRISTLECONE_MUTATION").ok();
    let wanted = |mutation: &Mutation| match &only {
        Some(name) => format!("{mutation:?}") == *name,
        None => true,
    };
    let all: Vec<Mutation> = Mutation::ALL.into_iter().filter(wanted).collect();
    // Panics are what is wanted here; their messages are in the table.
    if only.is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&bug) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    mutation::set(Some(bug));
                    let caught = hunt(HISTORIES);
                    mutation::set(None);
                    match caught {
                        Some(Catch { images, seed, how }) => {
                            println!("{bug:?}: caught after {images} images, seed {seed}: {how}");
                        }
                        None => missed.lock().expect("no panic while held").push(bug),
                    }
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let missed = missed.into_inner().expect("no panic while held");
    println!("seeded bugs caught: {}/{}", all.len() - missed.len(), all.len());
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn the_engine_without_a_bug_passes_the_same_histories() {
    let caught = hunt(HISTORIES / 10);
    assert!(caught.is_none(), "{}", caught.map_or(String::new(), |caught| caught.how));
}
