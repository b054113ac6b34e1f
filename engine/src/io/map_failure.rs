//! SIGBUS: the kernel cannot show a page of a mapped data file.
//!
//! That happens when another program cuts the file, or when the device fails to read a page that
//! was verified before and has left the cache since. A slice of the page is in use then, somewhere
//! in the user's code, so there is no error to return; the process would die with a bare "Bus
//! error". [`exit_on_map_failure`] makes it say which file and where, and exit with a code that
//! supervisors take for "try again". Nothing is lost by that: it is a kill.
//!
//! The handler never allocates, locks or unwinds. It reads a table of atomics, writes to standard
//! error and exits: all of it allowed in a signal handler (signal-safety(7)).

#![allow(unsafe_code, reason = "a signal handler is installed by a C call")]

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The exit code: `EX_TEMPFAIL` of sysexits.h.
pub const MAP_FAILURE_EXIT_CODE: i32 = 75;

/// Maps that are known at one time. Those beyond have the signal's usual effect.
const MAPS_MAX: usize = 64;
/// In the place of an address: somebody is writing to the slot.
const BUSY: usize = 1;

/// A map: where it is, and of which file. Free while `base` is zero.
struct Slot {
    base: AtomicUsize,
    len: AtomicUsize,
    path: AtomicPtr<Vec<u8>>,
}

static SLOTS: [Slot; MAPS_MAX] = [const {
    Slot {
        base: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        path: AtomicPtr::new(std::ptr::null_mut()),
    }
}; MAPS_MAX];

/// What was to happen at the signal before the handler was installed.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// A slot, given back when dropped. Must not outlive the map.
#[derive(Debug)]
pub(super) struct Known(usize);

/// Notes a map, so that the handler can tell what it belongs to.
pub(super) fn note(base: usize, len: usize, path: &Path) -> Option<Known> {
    let claim = |slot: &Slot| {
        slot.base.compare_exchange(0, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    let index = SLOTS.iter().position(claim)?;
    let slot = &SLOTS[index];
    let path = Box::new(path.as_os_str().as_bytes().to_vec());
    slot.path.store(Box::into_raw(path), Ordering::Relaxed);
    slot.len.store(len, Ordering::Relaxed);
    slot.base.store(base, Ordering::Release);
    Some(Known(index))
}

impl Drop for Known {
    fn drop(&mut self) {
        let slot = &SLOTS[self.0];
        // Nobody faults in this map any more, so no handler uses the path.
        slot.base.store(BUSY, Ordering::Relaxed);
        let path = slot.path.swap(std::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: made by `Box::into_raw` in `note`, and taken out of the slot just now.
        drop(unsafe { Box::from_raw(path) });
        slot.base.store(0, Ordering::Release);
    }
}

/// From now on, when the kernel cannot read a page of a mapped database, the process writes the
/// file's path and the byte to standard error and exits with [`MAP_FAILURE_EXIT_CODE`].
///
/// It installs a handler of SIGBUS for the whole process; faults at other addresses go to the
/// handler that was there before. All commands of `bristlecone` do it; a program that embeds the
/// engine decides for itself. Calling it again does nothing. 64 open databases are known to it.
/// [`Options::map`](crate::Options::map) turns maps off: then such a failure is an error like any
/// other, for the price of a copy of each page.
///
/// # Errors
///
/// What the operating system says when it refuses the handler.
pub fn exit_on_map_failure() -> io::Result<()> {
    if PREVIOUS.get().is_some() {
        return Ok(());
    }
    let mut action = no_action();
    action.sa_sigaction = on_bus_error as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let mut previous = no_action();
    // SAFETY: both structures are valid, and the handler does only what handlers may do.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // When two threads come here at once the second one finds the handler as the previous one;
    // what the first one found stays.
    let _ = PREVIOUS.set(previous);
    Ok(())
}

/// A handler that was installed with `SA_SIGINFO`.
type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

fn no_action() -> libc::sigaction {
    // SAFETY: integers, and a pointer that may be null: all zero is the default action.
    unsafe { std::mem::zeroed() }
}

extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid structure to a handler that was installed with SA_SIGINFO.
    let told = unsafe { &*info };
    // SAFETY: SIGBUS has an address; where another process sent it the bytes mean nothing, and
    // are only compared.
    let address = unsafe { told.si_addr() }.addr();
    let sent = told.si_code <= 0;
    for slot in SLOTS.iter().filter(|_| !sent) {
        let base = slot.base.load(Ordering::Acquire);
        let offset = address.wrapping_sub(base);
        if base > BUSY && offset < slot.len.load(Ordering::Relaxed) {
            report(slot, offset);
            // SAFETY: ends the process at once, without any destructor.
            unsafe { libc::_exit(MAP_FAILURE_EXIT_CODE) };
        }
    }
    pass_on(signal, info, context);
}

/// Does what would have happened without this handler.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.get().copied().unwrap_or_else(no_action);
    match previous.sa_sigaction {
        libc::SIG_IGN => {}
        libc::SIG_DFL => {
            // SAFETY: the default action, a valid structure.
            unsafe { libc::sigaction(signal, &raw const previous, std::ptr::null_mut()) };
            // A fault happens again when this returns; a signal that was sent does not.
            // SAFETY: blocked while the handler runs, delivered when it returns.
            unsafe { libc::raise(signal) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the address of a handler of three arguments, as its flags say.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: the address of a handler of one argument, as its flags say.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

fn report(slot: &Slot, offset: usize) {
    // SAFETY: not null, and not freed: the map is in use by the thread that faulted.
    let path = unsafe { &*slot.path.load(Ordering::Relaxed) };
    let mut digits = [0; 20];
    for text in [
        b"bristlecone: ",
        path.as_slice(),
        b": byte ",
        decimal(offset, &mut digits),
        b" cannot be read through the map: the file was cut by another program, or its device \
          failed. Exiting; everything that was acknowledged is in the files.\n",
    ] {
        // SAFETY: a valid slice. When it cannot be written there is nobody to be told.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    }
}

/// The digits of a number, without an allocation.
fn decimal(number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let (mut rest, mut at) = (number, digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 4096, usize::MAX] {
            let mut digits = [0; 20];
            assert_eq!(decimal(number, &mut digits), number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_slot_is_used_again() {
        for round in 0..2 * MAPS_MAX {
            let known = note(4096, 4096, Path::new("/a/file")).expect("a free slot");
            assert_eq!(SLOTS[known.0].base.load(Ordering::Relaxed), 4096, "round {round}");
        }
    }
}
