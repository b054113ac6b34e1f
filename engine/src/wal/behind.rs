//! Frames on their way to a file that is no part of the log yet, written while the next ones are
//! put together.
//!
//! By a thread of its own, which lives as long as there is something to write to that file; where
//! no thread may run, each frame is written at once. Never encodes a frame, and never syncs.
//! Invariants:
//! 1. Frames are written in the order in which they came.
//! 2. After a failed write none is written any more, and [`WriteBehind::finish`] tells the failure.

use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::io::{File, Region};

/// So many frames are in memory: some wait to be written, one is put together.
const FRAMES: usize = 8;

/// A frame and its place in the file.
#[derive(Debug)]
struct Frame {
    memory: Region,
    bytes: usize,
    offset: u64,
}

/// Where frames are put together and handed over.
#[derive(Debug)]
pub(super) struct WriteBehind {
    file: Arc<dyn File>,
    frame_bytes_max: usize,
    may_spawn: bool,
    /// Memory that holds no frame.
    idle: Vec<Region>,
    /// Frames that were handed to the thread and have not come back.
    under_way: usize,
    writer: Option<Writer>,
}

/// The thread, and the ways to and from it.
#[derive(Debug)]
struct Writer {
    frames: Sender<Frame>,
    written: Receiver<(Region, Result<()>)>,
    thread: JoinHandle<()>,
}

impl WriteBehind {
    /// Nothing yet. No frame will be longer than `frame_bytes_max`.
    pub(super) fn new(file: Arc<dyn File>, frame_bytes_max: usize, may_spawn: bool) -> WriteBehind {
        let (idle, under_way) = (Vec::new(), 0);
        WriteBehind { file, frame_bytes_max, may_spawn, idle, under_way, writer: None }
    }

    /// Memory for the next frame; tells of an earlier frame that could not be written.
    pub(super) fn memory(&mut self) -> Result<Region> {
        if let Some(memory) = self.idle.pop() {
            return Ok(memory);
        }
        if self.under_way < FRAMES {
            return Ok(Region::heap(self.frame_bytes_max));
        }
        self.take_back()?;
        Ok(self.idle.pop().expect("invariant: a frame has just come back"))
    }

    /// Has the first `bytes` of `memory` written at `offset`.
    pub(super) fn write(&mut self, memory: Region, bytes: usize, offset: u64) -> Result<()> {
        if self.writer.is_none() && self.may_spawn {
            // Where the system has no more threads this one writes.
            self.writer = Writer::start(&self.file).ok();
            self.may_spawn = false;
        }
        let frame = Frame { memory, bytes, offset };
        let Some(writer) = &self.writer else {
            let outcome = frame.write(&*self.file);
            self.idle.push(frame.memory);
            return outcome;
        };
        if writer.frames.send(frame).is_err() {
            // The thread has ended, and what made it end is on its way back.
            return Err(self.finish().err().unwrap_or_else(gone));
        }
        self.under_way += 1;
        Ok(())
    }

    /// Returns when everything is written.
    pub(super) fn finish(&mut self) -> Result<()> {
        while self.under_way > 0 {
            self.take_back()?;
        }
        Ok(())
    }

    /// Waits for a frame to be written.
    fn take_back(&mut self) -> Result<()> {
        let writer = self.writer.as_ref().ok_or_else(gone)?;
        let (memory, outcome) = writer.written.recv().map_err(|_| gone())?;
        self.under_way -= 1;
        self.idle.push(memory);
        outcome
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        // Nothing is written any more once this is gone.
        if let Some(Writer { frames, written, thread }) = self.writer.take() {
            drop((frames, written));
            let _writes_only = thread.join();
        }
    }
}

impl Writer {
    fn start(file: &Arc<dyn File>) -> Result<Writer> {
        let (frames, to_write) = channel::<Frame>();
        let (done, written) = channel();
        let file = Arc::clone(file);
        let write = move || {
            for frame in to_write {
                let outcome = frame.write(&*file);
                let failed = outcome.is_err();
                if done.send((frame.memory, outcome)).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("bristlecone-long".into()).spawn(write)?;
        Ok(Writer { frames, written, thread })
    }
}

impl Frame {
    fn write(&self, file: &dyn File) -> Result<()> {
        file.write_at(self.memory.bytes(0, self.bytes), self.offset)
    }
}

/// The thread ended before its time: after a failure that was told before.
fn gone() -> Error {
    Error::other("a frame before this one was not written")
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::path::Path;

    use super::super::fixture::fail_at;
    use super::*;
    use crate::io::sim::SimDisk;
    use crate::io::{Host, OpenMode};
    use crate::limits::WAL_BLOCK_BYTES as BLOCK;

    fn new(disk: &SimDisk, may_spawn: bool) -> (Arc<dyn File>, WriteBehind) {
        let file = disk.open_log(Path::new("/file"), OpenMode::CreateNew).unwrap();
        (Arc::clone(&file), WriteBehind::new(file, 2 * BLOCK, may_spawn))
    }

    fn write(behind: &mut WriteBehind, number: usize) -> Result<()> {
        let memory = behind.memory()?;
        let bytes = (1 + number % 2) * BLOCK;
        memory.bytes_mut(0, bytes).fill(number as u8);
        behind.write(memory, bytes, (2 * number * BLOCK) as u64)
    }

    #[test]
    fn all_frames_are_written_when_it_is_finished() {
        for may_spawn in [false, true] {
            let (file, mut behind) = new(&SimDisk::new(1), may_spawn);
            let count = if cfg!(miri) { FRAMES + 2 } else { 20 * FRAMES };
            file.allocate((2 * count * BLOCK) as u64).unwrap();
            (0..count).for_each(|number| write(&mut behind, number).unwrap());
            behind.finish().unwrap();
            assert!(behind.idle.len() <= FRAMES, "{} frames in memory", behind.idle.len());
            let memory = Region::heap(BLOCK);
            let bytes = memory.bytes_mut(0, BLOCK);
            for number in 0..count {
                for block in 0..2 {
                    let offset = ((2 * number + block) * BLOCK) as u64;
                    file.read_at(bytes, offset).unwrap();
                    let expected = if block <= number % 2 { number as u8 } else { 0 };
                    assert!(bytes.iter().all(|byte| *byte == expected), "frame {number}");
                }
            }
        }
    }

    #[test]
    fn a_failure_is_told_and_nothing_is_written_behind_it() {
        for may_spawn in [false, true] {
            let disk = SimDisk::new(1);
            let (file, mut behind) = new(&disk, may_spawn);
            fail_at(&disk, 3, false);
            let outcome = (0..3 * FRAMES).try_for_each(|number| write(&mut behind, number));
            let told = outcome.and_then(|()| behind.finish());
            assert_eq!(told.unwrap_err().raw_os_error(), Some(crate::io::sim::errno::EIO));
            drop(behind);
            assert!(file.len().unwrap() <= 4 * BLOCK as u64, "frames 0 and 1 are there");
        }
    }

    #[test]
    fn nothing_is_written_after_it_was_dropped() {
        let disk = SimDisk::new(1);
        let (_, mut behind) = new(&disk, true);
        (0..FRAMES).for_each(|number| write(&mut behind, number).unwrap());
        drop(behind);
        let operations = disk.stats();
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert_eq!(disk.stats(), operations);
    }
}
