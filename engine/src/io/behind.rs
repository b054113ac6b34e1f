//! Blocks of bytes on their way to a file that nobody reads yet, written while the next ones are
//! put together.
//!
//! By a thread of its own, which lives as long as its owner; where no thread may run, each block is
//! written at once. Never syncs. Invariants:
//! 1. Blocks are written in the order in which they came.
//! 2. After a failed write none is written any more, and [`WriteBehind::finish`] tells the failure.

use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{File, Region};
use crate::sync::Mutex;

/// So many blocks are in memory: some wait to be written, one is put together.
const BLOCKS: usize = 8;

/// A block and its place in the file.
#[derive(Debug)]
struct Block {
    memory: Region,
    bytes: usize,
    offset: u64,
}

/// Where blocks are put together and handed over.
#[derive(Debug)]
pub(crate) struct WriteBehind {
    file: Arc<dyn File>,
    block_bytes_max: usize,
    may_spawn: bool,
    /// Memory that holds no block.
    idle: Vec<Region>,
    /// Blocks that were handed to the thread and have not come back.
    under_way: usize,
    /// A block was not written, and that was told.
    has_failed: bool,
    writer: Option<Writer>,
}

/// The thread, and the ways to and from it.
#[derive(Debug)]
struct Writer {
    blocks: Sender<Block>,
    /// In a lock that nobody waits for, so that the owner may be shared between threads.
    written: Mutex<Receiver<(Region, Result<()>)>>,
    thread: JoinHandle<()>,
}

impl WriteBehind {
    /// Nothing yet. No block will be longer than `block_bytes_max`.
    pub(crate) fn new(file: Arc<dyn File>, block_bytes_max: usize, may_spawn: bool) -> WriteBehind {
        let (idle, under_way) = (Vec::new(), 0);
        WriteBehind {
            file,
            block_bytes_max,
            may_spawn,
            idle,
            under_way,
            has_failed: false,
            writer: None,
        }
    }

    /// Memory for the next block; tells of an earlier block that could not be written.
    pub(crate) fn memory(&mut self) -> Result<Region> {
        if let Some(memory) = self.idle.pop() {
            return Ok(memory);
        }
        if self.under_way < BLOCKS {
            return Ok(Region::heap(self.block_bytes_max));
        }
        self.take_back()?;
        Ok(self.idle.pop().expect("invariant: a block has just come back"))
    }

    /// Has the first `bytes` of `memory` written at `offset`.
    pub(crate) fn write(&mut self, memory: Region, bytes: usize, offset: u64) -> Result<()> {
        if self.has_failed {
            return Err(gone());
        }
        if self.writer.is_none() && self.may_spawn {
            // Where the system has no more threads this one writes.
            self.writer = Writer::start(&self.file).ok();
            self.may_spawn = false;
        }
        let block = Block { memory, bytes, offset };
        let Some(writer) = &self.writer else {
            let outcome = block.write(&*self.file);
            return self.note(block.memory, outcome);
        };
        if writer.blocks.send(block).is_err() {
            // The thread has ended, and what made it end is on its way back.
            return Err(self.finish().err().unwrap_or_else(gone));
        }
        self.under_way += 1;
        Ok(())
    }

    /// Returns when everything is written.
    pub(crate) fn finish(&mut self) -> Result<()> {
        while self.under_way > 0 {
            self.take_back()?;
        }
        if self.has_failed { Err(gone()) } else { Ok(()) }
    }

    /// Waits for a block to be written.
    fn take_back(&mut self) -> Result<()> {
        let writer = self.writer.as_mut().ok_or_else(gone)?;
        let (memory, outcome) = writer.written.lock().recv().map_err(|_| gone())?;
        self.under_way -= 1;
        self.note(memory, outcome)
    }

    fn note(&mut self, memory: Region, outcome: Result<()>) -> Result<()> {
        self.idle.push(memory);
        self.has_failed |= outcome.is_err();
        outcome
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        // Nothing is written any more once this is gone.
        if let Some(Writer { blocks, written, thread }) = self.writer.take() {
            drop((blocks, written));
            let _writes_only = thread.join();
        }
    }
}

impl Writer {
    fn start(file: &Arc<dyn File>) -> Result<Writer> {
        let (blocks, to_write) = channel::<Block>();
        let (done, written) = channel();
        let file = Arc::clone(file);
        let write = move || {
            for block in to_write {
                let outcome = block.write(&*file);
                let failed = outcome.is_err();
                if done.send((block.memory, outcome)).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("bristlecone-write".into()).spawn(write)?;
        Ok(Writer { blocks, written: Mutex::new(written), thread })
    }
}

impl Block {
    fn write(&self, file: &dyn File) -> Result<()> {
        file.write_at(self.memory.bytes(0, self.bytes), self.offset)
    }
}

/// The thread ended before its time: after a failure that was told before.
fn gone() -> Error {
    Error::other("a block before this one was not written")
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::sim::{Fault, FaultPlan, OpKind, SimDisk, errno};
    use crate::io::{Host, OpenMode};
    use crate::limits::WAL_BLOCK_BYTES as LEN;

    fn new(disk: &SimDisk, may_spawn: bool) -> (Arc<dyn File>, WriteBehind) {
        let file = disk.open_log(Path::new("/file"), OpenMode::CreateNew).unwrap();
        (Arc::clone(&file), WriteBehind::new(file, 2 * LEN, may_spawn))
    }

    fn write(behind: &mut WriteBehind, number: usize) -> Result<()> {
        let memory = behind.memory()?;
        let bytes = (1 + number % 2) * LEN;
        memory.bytes_mut(0, bytes).fill(number as u8);
        behind.write(memory, bytes, (2 * number * LEN) as u64)
    }

    #[test]
    fn all_blocks_are_written_when_it_is_finished() {
        for may_spawn in [false, true] {
            let (file, mut behind) = new(&SimDisk::new(1), may_spawn);
            let count = if cfg!(miri) { BLOCKS + 2 } else { 20 * BLOCKS };
            file.allocate((2 * count * LEN) as u64).unwrap();
            (0..count).for_each(|number| write(&mut behind, number).unwrap());
            behind.finish().unwrap();
            assert!(behind.idle.len() <= BLOCKS, "{} blocks in memory", behind.idle.len());
            let memory = Region::heap(LEN);
            let bytes = memory.bytes_mut(0, LEN);
            for number in 0..count {
                for block in 0..2 {
                    let offset = ((2 * number + block) * LEN) as u64;
                    file.read_at(bytes, offset).unwrap();
                    let expected = if block <= number % 2 { number as u8 } else { 0 };
                    assert!(bytes.iter().all(|byte| *byte == expected), "block {number}");
                }
            }
        }
    }

    #[test]
    fn a_failure_is_told_and_nothing_is_written_behind_it() {
        for may_spawn in [false, true] {
            let disk = SimDisk::new(1);
            let (file, mut behind) = new(&disk, may_spawn);
            disk.fail(FaultPlan::new(OpKind::Any, Fault::Tear(errno::EIO)).after(2));
            let outcome = (0..3 * BLOCKS).try_for_each(|number| write(&mut behind, number));
            let told = outcome.and_then(|()| behind.finish());
            assert_eq!(told.unwrap_err().raw_os_error(), Some(errno::EIO));
            assert!(write(&mut behind, 9).is_err() && behind.finish().is_err(), "it is told again");
            drop(behind);
            assert!(file.len().unwrap() <= 4 * LEN as u64, "blocks 0 and 1 are there");
        }
    }

    #[test]
    fn nothing_is_written_after_it_was_dropped() {
        let disk = SimDisk::new(1);
        let (_, mut behind) = new(&disk, true);
        (0..BLOCKS).for_each(|number| write(&mut behind, number).unwrap());
        drop(behind);
        let operations = disk.stats();
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert_eq!(disk.stats(), operations);
    }
}
