//! A simulated disk that forgets, tears and reorders what was not synced, and fails on demand.
//!
//! The engine runs on a [`SimDisk`] as on the operating system. The disk records what changes it in
//! a [`Trace`], and [`CrashImages`] makes from it, for every operation, disks that a power cut at
//! that moment may leave. It never touches the real file system, clock or randomness.
//!
//! What a power cut may do:
//! 1. Each unsynced sector of 512 bytes is old, new, any version between, zero or garbage, for
//!    itself. Sectors that were not written since their sync never change.
//! 2. Each unsynced length is the old one, any later one, or in between while it grew. Content that
//!    is cut off goes with the cut that happened.
//! 3. Each unsynced creation, rename and removal happened or not. Those of one name keep their
//!    order; those of different names are independent.
//! 4. A sync of a file keeps its content and length, not its name; that is kept by the sync of its
//!    directory.
//!
//! Use stores of up to 256 KiB, a small [`SimDisk::set_reserve_bytes_max`], and this loop:
//!
//! ```ignore
//! let disk = SimDisk::new(seed);
//! disk.start_trace();
//! // run the engine on `disk`, with `disk.mark(n)` after each acknowledged commit `n`
//! let trace = disk.take_trace().expect("started above");
//! let mut images = CrashImages::new(&trace);
//! let mut acknowledged = 0;
//! while let Some(event) = images.advance() {
//!     acknowledged = event.mark().unwrap_or(acknowledged);
//!     match images.all(10) {
//!         Some(all) => all.for_each(|image| recover_and_check(image, acknowledged)),
//!         None => (0..100).for_each(|n| recover_and_check(images.image(seed + n), acknowledged)),
//!     }
//! }
//! ```

mod content;
mod crash;
mod disk;
pub mod errno;
mod fault;
mod image;
mod pick;
mod random;
mod state;
mod trace;
mod volume;

pub use crash::CrashImages;
pub use disk::{START_MS, SimDisk};
pub use fault::{Fault, FaultPlan, OpKind, Stats};
pub use trace::{Action, Event, Trace, Written};
pub use volume::Synced;
