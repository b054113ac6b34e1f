//! The operating system's error numbers, as the simulation returns them.

use std::io;

/// No such file or directory.
pub const ENOENT: i32 = 2;
/// The device failed.
pub const EIO: i32 = 5;
/// The file is not open for that.
pub const EBADF: i32 = 9;
/// The directory is in use.
pub const EBUSY: i32 = 16;
/// The name is taken.
pub const EEXIST: i32 = 17;
/// A component of the path is no directory.
pub const ENOTDIR: i32 = 20;
/// The operation does not work on directories.
pub const EISDIR: i32 = 21;
/// A misaligned direct write, or a path that cannot be.
pub const EINVAL: i32 = 22;
/// The file would be too large.
pub const EFBIG: i32 = 27;
/// The disk is full.
pub const ENOSPC: i32 = 28;
/// The file system is read-only.
pub const EROFS: i32 = 30;
/// The directory holds something.
pub const ENOTEMPTY: i32 = 39;
/// The quota is used up.
pub const EDQUOT: i32 = 122;

pub(super) fn failure<T>(errno: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(errno))
}
