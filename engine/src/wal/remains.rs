//! What can still be read of a log that may be damaged anywhere.
//!
//! Where `recover` asks where the log ends and refuses damage, this finds every valid frame in any
//! segment file, puts them in the order of their LSNs, and says where frames are missing between
//! them. A frame with a valid checksum is part of the database's history wherever it stands: a
//! segment that is used again holds older frames behind the newer ones, never others.
//!
//! Writes nothing, and repairs nothing. Invariants:
//! 1. A record is handed out only when all its chunks were read from valid frames with consecutive
//!    LSNs.
//! 2. A frame counts only with the salt of its segment, and below the first LSN of the next one.
//!    A file whose header is damaged has the salt of its first valid frame.
//! 3. Frames that are missing are told of, where something that is left proves that they were.

use std::path::Path;

use super::Position;
use super::reader::{Window, frame_at};
use super::record::{
    BLOCK, FRAME_HEADER_BYTES, Flaw, FoundHeader, FrameHeader, SegmentHeader, decode_chunk,
};
use super::recover::other_version;
use super::segment::{self, SegmentFile};
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::io::{Host, OpenMode};
use crate::limits::WAL_BLOCK_BYTES;

/// What a reading comes upon, in the order of the log.
#[derive(Debug)]
pub(crate) enum Remnant<'a> {
    /// A whole record.
    Record(&'a [u8]),
    /// Here frames are missing, for this reason.
    Break(Error),
    /// The log ends in a frame or record that is not whole: an unfinished write, which nobody was
    /// told of, or damage to the last one. They look alike.
    Unfinished(Error),
}

/// The frames that are left.
#[derive(Debug)]
pub(crate) struct Remains {
    files: Vec<SegmentFile>,
    /// In the order of their LSNs, which differ.
    frames: Vec<Place>,
    /// The first frame that is needed.
    from: Position,
    /// Why that frame's segment is not among the files.
    missing: Option<Error>,
    /// Signs of frames that cannot be read, with the LSN that such a frame has at least.
    signs: Vec<(Lsn, Error)>,
    /// A frame that is not whole, where it is the last.
    torn: Vec<(Lsn, Error)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    lsn: Lsn,
    file: usize,
    offset: u64,
    bytes: usize,
}

/// What stands at the start of a block.
enum Found {
    Frame(FrameHeader, usize),
    Flawed(Option<FrameHeader>, Flaw),
}

impl Remains {
    /// Looks through all files of the log in `dir`, of which the frames from `from` on are needed.
    /// A file that cannot be read counts as missing; one of another format version is an error.
    pub(crate) fn find(
        host: &dyn Host,
        dir: &Path,
        database_id: [u8; 16],
        from: Position,
    ) -> Result<Remains> {
        let (files, frames) = (Vec::new(), Vec::new());
        let (signs, torn) = (Vec::new(), Vec::new());
        let mut remains = Remains { files, frames, from, missing: None, signs, torn };
        let listing = match segment::list(host, dir) {
            Ok(listing) => listing,
            Err(error) => {
                remains.missing = Some(error);
                return Ok(remains);
            }
        };
        let (mut headed, mut headless) = (Vec::new(), Vec::new());
        for (number, path) in &listing.segments {
            match open(host, *number, path) {
                Ok((file, FoundHeader::Valid(header))) if header.database_id == database_id => {
                    headed.push((file, header));
                }
                Ok((_, FoundHeader::Valid(_))) => {}
                Ok((file, FoundHeader::Zeros | FoundHeader::Invalid)) => headless.push(file),
                Ok((_, FoundHeader::Version(found))) => return Err(other_version(path, found)),
                Err(error) => remains.signs.push((Lsn(u64::MAX), error)),
            }
        }
        headed.sort_by_key(|(_, header)| header.number);
        if !headed.iter().any(|(_, header)| holds(header, from)) {
            let expected = format!("segment {} with frame {}", from.segment, from.lsn);
            remains.missing = Some(Error::corrupt(dir, 0, expected, "no such segment"));
        }
        let firsts: Vec<Lsn> = headed.iter().map(|(_, header)| header.first_lsn).collect();
        for (index, (file, header)) in headed.into_iter().enumerate() {
            let below = firsts.get(index + 1).copied().unwrap_or(Lsn(u64::MAX));
            remains.look_through(file, Some(&header), below);
        }
        let last_headed = remains.files.len().checked_sub(1);
        headless.into_iter().for_each(|file| remains.look_through(file, None, Lsn(u64::MAX)));
        if let Some(last_headed) = last_headed {
            remains.prefer_what_followed(last_headed);
        }
        // Stable: of frames with one LSN that of the file with a header stays.
        remains.frames.sort_by_key(|place| place.lsn);
        remains.frames.dedup_by_key(|place| place.lsn);
        Ok(remains)
    }

    /// Leaves out the frames of a segment that holds nothing but a record without its end, where
    /// another file has frames of the same LSNs: it followed, and its header is damaged.
    fn prefer_what_followed(&mut self, segment: usize) {
        let of_segment = |place: &&Place| place.file == segment;
        let Some(last) = self.frames.iter().rfind(of_segment).copied() else { return };
        let first = self.frames.iter().find(of_segment).map_or(last.lsn, |place| place.lsn);
        let is_followed = (self.frames.iter())
            .any(|place| place.file != segment && place.lsn >= first && place.lsn <= last.lsn);
        if is_followed && self.is_a_piece_before_the_last(&last) {
            self.frames.retain(|place| place.file != segment);
        }
    }

    /// True when a frame holds a piece of a record that is not its last.
    fn is_a_piece_before_the_last(&self, place: &Place) -> bool {
        let mut window = Window::default();
        let limit = place.offset + place.bytes as u64;
        let read = window.read(&self.files[place.file], place.offset, WAL_BLOCK_BYTES, limit);
        let chunk = read.ok().and_then(|block| decode_chunk(block, FRAME_HEADER_BYTES, usize::MAX));
        chunk.is_some_and(|chunk| !chunk.last)
    }

    /// Takes note of every frame of a file.
    fn look_through(&mut self, file: SegmentFile, header: Option<&SegmentHeader>, below: Lsn) {
        let index = self.files.len();
        let mut salt = header.map(|header| header.salt);
        let mut next = header.map_or(Lsn(0), |header| header.first_lsn);
        let promised = header.map_or(file.bytes, |header| header.bytes);
        let limit = promised.min(file.bytes) / BLOCK * BLOCK;
        let mut window = Window::default();
        let mut offset = BLOCK;
        while offset + BLOCK <= limit {
            let found = look(&mut window, &file, offset, limit);
            let step = match found {
                Ok(Found::Frame(header, bytes))
                    if salt.is_none_or(|salt| salt == header.salt)
                        && header.lsn >= next
                        && header.lsn < below =>
                {
                    salt = Some(header.salt);
                    next = header.lsn.next();
                    self.frames.push(Place { lsn: header.lsn, file: index, offset, bytes });
                    bytes as u64
                }
                Ok(Found::Flawed(Some(header), flaw))
                    if salt == Some(header.salt) && header.lsn >= next && header.lsn < below =>
                {
                    let expected = format!("frame {}", header.lsn);
                    let error =
                        Error::corrupt(&file.path, offset / BLOCK, expected, flaw.to_string());
                    self.torn.push((header.lsn, error));
                    BLOCK
                }
                Ok(_) => BLOCK,
                Err(error) => {
                    self.signs.push((next, error));
                    BLOCK
                }
            };
            offset += step;
        }
        if promised > file.bytes && next < below {
            let (expected, found) = (format!("{promised} bytes"), format!("{} bytes", file.bytes));
            let error = Error::corrupt(&file.path, file.bytes / BLOCK, expected, found);
            self.signs.push((next, error));
        }
        self.files.push(file);
    }

    /// Hands out what is left, as often as wanted.
    pub(crate) fn read(&self, each: &mut dyn FnMut(Remnant<'_>) -> Result<()>) -> Result<()> {
        let mut window = Window::default();
        let mut partial = Partial { bytes: Vec::new(), joining: false };
        let mut expected: Option<Lsn> = None;
        for place in &self.frames {
            let gap = match expected {
                None => place.lsn > self.from.lsn,
                Some(expected) => place.lsn != expected,
            };
            if gap {
                partial.joining = false;
                // Before the position nothing is needed for sure.
                if place.lsn > self.from.lsn {
                    each(Remnant::Break(self.gap_before(place, expected)))?;
                }
            }
            expected = Some(place.lsn.next());
            let file = &self.files[place.file];
            let limit = place.offset + place.bytes as u64;
            let read = window.read(file, place.offset, place.bytes, limit);
            let stopped = match read.map(|frame| partial.take(frame, each)) {
                Ok(Ok(())) => continue,
                Ok(Err(Stopped::Told(error))) => return Err(error),
                Ok(Err(Stopped::Chunk(expected))) => {
                    let block = place.offset / BLOCK;
                    Error::corrupt(&file.path, block, expected, "something else")
                }
                Err(error) => error,
            };
            partial.joining = false;
            if place.lsn >= self.from.lsn {
                each(Remnant::Break(stopped))?;
            }
        }
        let next = expected.unwrap_or(Lsn(0)).max(self.from.lsn);
        self.read_end(expected, next, &partial, each)
    }

    /// What can be said of frames behind the last one. `next` is the LSN that would come.
    fn read_end(
        &self,
        expected: Option<Lsn>,
        next: Lsn,
        partial: &Partial,
        each: &mut dyn FnMut(Remnant<'_>) -> Result<()>,
    ) -> Result<()> {
        if let Some(error) = &self.missing
            && expected.is_none_or(|expected| expected <= self.from.lsn)
        {
            return each(Remnant::Break(error.clone()));
        }
        if let Some((_, error)) = self.signs.iter().find(|(lsn, _)| *lsn >= next) {
            return each(Remnant::Break(error.clone()));
        }
        if let Some((_, error)) = self.torn.iter().find(|(lsn, _)| *lsn > next) {
            return each(Remnant::Break(error.clone()));
        }
        if let Some((_, error)) = self.torn.iter().find(|(lsn, _)| *lsn == next) {
            return each(Remnant::Unfinished(error.clone()));
        }
        match self.frames.last().filter(|_| partial.joining) {
            Some(last) => {
                let (path, block) = (&self.files[last.file].path, last.offset / BLOCK);
                let expected = "the next piece of a record";
                each(Remnant::Unfinished(Error::corrupt(path, block, expected, "the end")))
            }
            None => Ok(()),
        }
    }

    fn gap_before(&self, place: &Place, expected: Option<Lsn>) -> Error {
        let wanted = expected.unwrap_or(self.from.lsn);
        let sign = self.signs.iter().chain(&self.torn);
        let mut sign = sign.filter(|(lsn, _)| *lsn >= wanted && *lsn < place.lsn);
        if let Some((_, error)) = sign.next() {
            return error.clone();
        }
        let path = &self.files[place.file].path;
        let expected = format!("frame {wanted} before it");
        Error::corrupt(path, place.offset / BLOCK, expected, format!("frame {}", place.lsn))
    }
}

/// A record whose pieces are being put together.
struct Partial {
    bytes: Vec<u8>,
    joining: bool,
}

/// Why a frame was not read to its end.
enum Stopped {
    Told(Error),
    Chunk(&'static str),
}

impl Partial {
    /// Takes the chunks of a frame.
    fn take(
        &mut self,
        frame: &[u8],
        each: &mut dyn FnMut(Remnant<'_>) -> Result<()>,
    ) -> Result<(), Stopped> {
        let header = FrameHeader::decode(frame).ok_or(Stopped::Chunk("a frame"))?;
        let (mut at, end) = (FRAME_HEADER_BYTES, header.payload_end());
        for _ in 0..header.chunk_count {
            let chunk = decode_chunk(frame, at, end);
            let chunk = chunk.ok_or(Stopped::Chunk("a chunk within its frame"))?;
            let bytes = &frame[chunk.start..chunk.end];
            at = chunk.end;
            if chunk.first {
                self.bytes.clear();
            } else if !self.joining {
                // Its beginning is in a frame that is gone.
                continue;
            }
            self.joining = !chunk.last;
            if chunk.first && chunk.last {
                each(Remnant::Record(bytes)).map_err(Stopped::Told)?;
                continue;
            }
            self.bytes.extend_from_slice(bytes);
            if chunk.last {
                each(Remnant::Record(&self.bytes)).map_err(Stopped::Told)?;
            }
        }
        Ok(())
    }
}

fn open(host: &dyn Host, file_number: u64, path: &Path) -> Result<(SegmentFile, FoundHeader)> {
    let file = host.open_log(path, OpenMode::Read).map_err(|e| Error::io("open", path, e))?;
    let bytes = file.len().map_err(|e| Error::io("measure", path, e))? / BLOCK * BLOCK;
    let (path, filled, is_long) = (path.to_path_buf(), true, false);
    let file = SegmentFile { path, file, file_number, bytes, filled, is_long };
    if bytes < BLOCK {
        return Ok((file, FoundHeader::Zeros));
    }
    let mut window = Window::default();
    let header = SegmentHeader::decode(window.read(&file, 0, WAL_BLOCK_BYTES, BLOCK)?);
    Ok((file, header))
}

fn holds(header: &SegmentHeader, from: Position) -> bool {
    header.number == from.segment && header.first_lsn <= from.lsn
}

/// The frame at `offset`. When reading ahead fails, no more is read than is needed.
fn look(window: &mut Window, file: &SegmentFile, offset: u64, limit: u64) -> Result<Found> {
    let block = match window.read(file, offset, WAL_BLOCK_BYTES, limit) {
        Ok(block) => block,
        Err(_) => window.read(file, offset, WAL_BLOCK_BYTES, offset + BLOCK)?,
    };
    let Some(header) = FrameHeader::decode(block) else {
        return Ok(Found::Flawed(None, Flaw::Absent));
    };
    let Some(bytes) = header.frame_bytes(limit - offset) else {
        return Ok(Found::Flawed(Some(header), Flaw::Length(header.payload_len)));
    };
    let found = frame_at(window, file, offset, offset + bytes as u64)?;
    Ok(match found {
        Ok(_) => Found::Frame(header, bytes),
        Err(flaw) => Found::Flawed(Some(header), flaw),
    })
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::fixture::{ID, commit, create, damage, dir, files, open as open_log};
    use super::super::record::Splitter;
    use super::*;
    use crate::io::sim::SimDisk;

    /// Frames 1 and 2; frames 3 and 4 with one record, over two segments; frame 5.
    fn log() -> (SimDisk, Vec<Vec<u8>>) {
        let disk = SimDisk::new(7);
        let records = vec![vec![1; 10], vec![2; 20], vec![3; 13_000], vec![4; 30]];
        let wal = create(&disk);
        commit(&wal, &records[0]);
        commit(&wal, &records[1]);
        drop(wal);
        let (wal, _) = open_log(&disk, Position::START).unwrap();
        commit(&wal, &records[2]);
        commit(&wal, &records[3]);
        drop(wal);
        open_log(&disk, Position::START).unwrap();
        (disk, records)
    }

    /// What is left, a letter for each remnant that is no record.
    fn read(disk: &SimDisk) -> (Vec<Vec<u8>>, String) {
        let remains = Remains::find(disk, dir(), ID, Position::START).unwrap();
        let (mut records, mut others) = (Vec::new(), String::new());
        let read = remains.read(&mut |remnant| {
            match remnant {
                Remnant::Record(record) => records.push(record.to_vec()),
                Remnant::Break(_) => others.push('b'),
                Remnant::Unfinished(_) => others.push('u'),
            }
            Ok(())
        });
        read.unwrap();
        (records, others)
    }

    #[test]
    fn records_are_found_without_any_header() {
        let (disk, records) = log();
        assert_eq!(read(&disk), (records.clone(), String::new()));
        for path in files(&disk) {
            for zeroed in [false, true] {
                let disk = disk.fork();
                damage(&disk, &path, |bytes| match zeroed {
                    true => bytes[..WAL_BLOCK_BYTES].fill(0),
                    false => bytes[40] ^= 1,
                });
                let (found, others) = read(&disk);
                assert_eq!(found, records, "{path:?}");
                assert_eq!(others, "", "{path:?}");
            }
        }
    }

    #[test]
    fn each_frame_that_is_damaged_costs_its_records_and_is_told() {
        let (disk, records) = log();
        let [one, two, three] = &files(&disk)[..] else { panic!("three segments") };
        for (path, block, lost, told) in [
            (one, 1, 0, "b"),
            (one, 2, 1, "b"),
            (two, 1, 2, "b"),
            (three, 1, 2, "b"),
            (three, 2, 3, "u"),
        ] {
            let disk = disk.fork();
            damage(&disk, path, |bytes| bytes[block * WAL_BLOCK_BYTES + 40] ^= 1);
            let mut left = records.clone();
            left.remove(lost);
            assert_eq!(read(&disk), (left, told.to_owned()), "{path:?} {block}");
        }
    }

    #[test]
    fn a_file_that_is_cut_or_gone_is_told() {
        let (disk, records) = log();
        let [one, two, three] = &files(&disk)[..] else { panic!("three segments") };
        for (path, left) in [(one, vec![2, 3]), (two, vec![0, 1, 3]), (three, vec![0, 1])] {
            let left: Vec<_> = left.into_iter().map(|index| records[index].clone()).collect();
            let cut = disk.fork();
            damage(&cut, path, |bytes| bytes.truncate(WAL_BLOCK_BYTES));
            assert_eq!(read(&cut), (left.clone(), "b".to_owned()), "{path:?}");
            let gone = disk.fork();
            gone.remove_file(path).unwrap();
            // A last segment that was never there looks the same, but for the record begun before.
            let told = if path == three { "u" } else { "b" };
            assert_eq!(read(&gone), (left, told.to_owned()), "{path:?}");
        }
    }

    #[test]
    fn a_frame_that_the_next_segment_has_anew_is_not_read() {
        let (disk, records) = log();
        let first = &files(&disk)[0];
        let content = disk.read_file(first).unwrap();
        let FoundHeader::Valid(header) = SegmentHeader::decode(&content[..WAL_BLOCK_BYTES]) else {
            panic!("a header")
        };
        let mut frame = vec![0; WAL_BLOCK_BYTES];
        let mut splitter = Splitter::new(std::iter::once(&b"stale"[..]));
        splitter.encode_frame(&mut frame, header.salt, Lsn(3));
        disk.overwrite(first, 3 * BLOCK, &frame).unwrap();
        assert_eq!(read(&disk), (records, String::new()));
    }
}
