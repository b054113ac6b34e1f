//! The one thing of the kernel that the rigs need and no safe function offers.
//!
//! One of the few files with `unsafe` code: an `ioctl` means what its number says, and the compiler
//! knows nothing of it.

#![allow(unsafe_code, reason = "an ioctl")]

use std::fs::File;
use std::io::Result;

use rustix::ioctl::{Opcode, Setter, ioctl};

/// `FS_IOC_SHUTDOWN`, which ext4 and XFS know.
const SHUTDOWN: Opcode = 0x8004_587d;
/// Without writing out the journal: what a power cut leaves.
const NO_LOG_FLUSH: u32 = 2;

/// Stops the file system of an open file at once: nothing more is written to its device.
pub(crate) fn shut_down(file: &File) -> Result<()> {
    // SAFETY: this number takes a pointer to 32 bits, which the kernel reads and does not keep.
    let request = unsafe { Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH) };
    // SAFETY: as above; it changes no memory of this process.
    unsafe { ioctl(file, request) }.map_err(Into::into)
}
