//! An interrupt from the keyboard, for commands that clean up when they are stopped.
//!
//! The first one asks the command to stop; a second ends the process at once.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure};

/// What the shell takes a process for that an interrupt has ended.
const INTERRUPTED: i32 = 130;

/// Whether the command was asked to stop.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches for interrupts, and for requests to terminate, from now on.
    pub(super) fn watch() -> Result<Interrupt, Failure> {
        let failed =
            |error| Failure::new(Exit::Other, format!("cannot watch for signals: {error}"));
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let (mut interrupt, mut terminate) = {
            let _within = runtime.enter();
            let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
            (interrupt, signal(SignalKind::terminate()).map_err(failed)?)
        };
        let asked = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&asked);
        let watch = async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if told.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        };
        // Ends with the process.
        let thread = thread::Builder::new().name("bristlecone-signal".to_owned());
        thread.spawn(move || runtime.block_on(watch)).map_err(failed)?;
        Ok(Interrupt(asked))
    }

    /// What progress goes on with.
    pub(super) fn flow(&self) -> ControlFlow<()> {
        match self.0.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
