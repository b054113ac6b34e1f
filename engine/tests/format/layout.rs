//! The numbers and field tables of `docs/format.md`, as constants.
//!
//! The readers beside this file take every offset from here, and `document` holds each of them
//! against the page. Never imports anything of the engine.

/// A field at a fixed place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Field {
    pub(crate) at: usize,
    pub(crate) bytes: usize,
    /// The document's name for it, up to its first mark of punctuation.
    pub(crate) name: &'static str,
}

impl Field {
    /// The bytes of the field.
    pub(crate) fn slice(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at..self.at + self.bytes]
    }

    /// The number in the field, of at most eight bytes.
    pub(crate) fn number(self, bytes: &[u8]) -> u64 {
        self.slice(bytes).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The same, for what counts or measures something in memory.
    pub(crate) fn size(self, bytes: &[u8]) -> usize {
        usize::try_from(self.number(bytes)).expect("a size")
    }

    /// The same, for page ids and checksums.
    pub(crate) fn word(self, bytes: &[u8]) -> u32 {
        u32::try_from(self.number(bytes)).expect("a field of four bytes")
    }

    /// Asserts that the field is zero.
    pub(crate) fn assert_zero(self, bytes: &[u8]) {
        assert!(self.slice(bytes).iter().all(|byte| *byte == 0), "{} is not zero", self.name);
    }
}

/// The fields with fixed places under one heading.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) heading: &'static str,
    pub(crate) fields: &'static [Field],
}

macro_rules! tables {
    ($($module:ident $heading:literal {
        $($name:ident $at:literal $bytes:literal $label:literal)*
    })*) => {
        $(pub(crate) mod $module {
            use super::Field;
            $(pub(crate) const $name: Field = Field { at: $at, bytes: $bytes, name: $label };)*
        })*
        /// All field tables.
        pub(crate) const TABLES: &[Table] =
            &[$(Table { heading: $heading, fields: &[$($module::$name),*] }),*];
    };
}

macro_rules! numbers {
    ($($name:ident $value:literal $label:literal)*) => {
        $(pub(crate) const $name: usize = $value;)*
        /// The rows of the document's table of numbers.
        pub(crate) const NUMBERS: &[(&str, usize)] = &[$(($label, $name)),*];
    };
}

pub(crate) const METAS: usize = 2;
pub(crate) const HEAD_BYTES: usize = 4;

pub(crate) const LEAF: usize = 1;
pub(crate) const INTERIOR: usize = 2;
pub(crate) const RUN: usize = 3;
pub(crate) const BITMAP: usize = 4;
pub(crate) const DIRECTORY: usize = 5;
/// The kinds as the row of the page header tells them.
pub(crate) const KINDS: &[(usize, &str)] = &[
    (LEAF, "leaf"),
    (INTERIOR, "interior page"),
    (RUN, "overflow run"),
    (BITMAP, "space bitmap"),
    (DIRECTORY, "space directory"),
];

numbers! {
    META_VERSION 1 "format version of a meta page"
    SEGMENT_VERSION 1 "format version of a log segment"
    RECORD_VERSION 1 "version of a log record"
    BACKUP_VERSION 1 "format version of a backup"
    PAGE_HEADER_BYTES 24 "page header"
    META_BYTES 4096 "meta page without the zeros behind it"
    COPIES 3 "copies of each space map page"
    SPACE_CONTENT_AT 64 "header of a space map page"
    PAGE_BYTES_MIN 4096 "smallest page"
    PAGE_BYTES_DEFAULT 8192 "page of a new database by default"
    PAGE_BYTES_MAX 32768 "largest page"
    BUCKET_RECORD_BYTES 32 "bucket record without image"
    BLOCK_BYTES 4096 "log block"
    SEGMENT_BYTES_MIN 16384 "smallest log segment"
    SEGMENT_BYTES_MAX 1073741824 "largest log segment"
    FRAME_BYTES_MAX 4194304 "largest frame"
    FRAME_HEADER_BYTES 32 "frame header"
    CHUNK_HEADER_BYTES 4 "chunk header"
    RECORD_HEADER_BYTES 17 "record header"
    BACKUP_HEADER_BYTES 64 "backup header"
    BACKUP_BLOCK_HEAD_BYTES 16 "head of a backup block"
    BACKUP_PAYLOAD_BYTES_MAX 1048576 "largest payload of a backup block"
}

tables! {
    meta "Meta pages" {
        MAGIC 0 8 "magic"
        VERSION 8 4 "format version"
        PAGE_BYTES 12 4 "page size"
        DATABASE_ID 16 16 "database id"
        CHECKPOINT 32 8 "checkpoint number"
        EPOCH 40 8 "epoch of the root"
        TXN 48 8 "transaction of the root"
        CLOCK 56 8 "clock"
        LOG_SEGMENT 64 8 "log segment where replay starts"
        LOG_OFFSET 72 8 "offset in that segment"
        LOG_LSN 80 8 "LSN of the first frame to replay"
        FLAGS 88 4 "flags"
        FILE_PAGES 92 4 "pages in the file"
        ROOT_BUCKET 96 32 "root bucket"
        SYSTEM_BUCKET 128 32 "system bucket"
        DIRECTORIES 160 4 "space directories"
        ZERO 164 4 "zero"
        REFERENCES 168 3924 "references to directories"
        CRC 4092 4 "checksum of bytes 0 to 4091"
    }
    space "Space map page" {
        KIND 0 1 "kind"
        ZERO 1 11 "zero"
        NUMBER 12 4 "number of the group or of the directory"
        BORN 16 8 "birth"
        ZERO_BEHIND 24 40 "zero"
    }
    group "Group entry" {
        CRC 0 4 "checksum of the bitmap page"
        COPY_AND_FREE 4 4 "bits 30 and 31"
    }
    header "Page header" {
        KIND 0 1 "kind"
        LEVEL 1 1 "level"
        COUNT 2 2 "count"
        PREFIX_BYTES 4 2 "prefix length"
        FLAGS 6 2 "flags"
        HEAP_START 8 2 "heap start"
        GARBAGE 10 2 "garbage"
        RUN_PAGES 12 4 "zero in a tree page"
        BORN 16 8 "birth"
    }
    leaf "Leaf" { HEADER 0 24 "page header" }
    interior "Interior page" { HEADER 0 24 "page header" }
    run "Overflow run" { HEADER 0 24 "page header" }
    entry "Entry" {
        KEY_BYTES_AND_KIND 0 2 "bits 0 to 13"
        PAYLOAD_BYTES_AND_EXPIRY 2 2 "bits 0 to 14"
        EXPIRES_AT 4 8 "expiry"
    }
    overflow "Overflow reference" {
        PAGE 0 4 "first page of the run"
        CRC 4 4 "checksum of all bytes of the run"
        VALUE_BYTES 8 4 "length of the value"
    }
    bucket "Bucket record" {
        ROOT 0 4 "root page"
        CRC 4 4 "checksum of the root page"
        ENTRIES 8 8 "entries of the bucket"
        SEQUENCE 16 8 "sequence"
        ZERO 24 8 "zero"
    }
    segment "Segment header" {
        MAGIC 0 8 "magic"
        VERSION 8 4 "format version"
        CRC 12 4 "checksum of bytes 0 to 11 and 16 to 4095"
        DATABASE_ID 16 16 "database id"
        NUMBER 32 8 "segment number"
        SALT 40 8 "salt"
        FIRST_LSN 48 8 "first LSN"
        BYTES 56 8 "length of the segment"
        ZERO 64 4032 "zero"
    }
    frame "Frame" {
        MAGIC 0 4 "magic"
        CRC 4 4 "checksum of bytes 8 to the end of the payload"
        SALT 8 8 "salt of the segment"
        LSN 16 8 "LSN"
        PAYLOAD_BYTES 24 4 "payload length"
        CHUNKS 28 4 "chunks"
    }
    record "Record" {
        VERSION 0 1 "version"
        TXN 1 8 "transaction"
        TIME 9 8 "time of the transaction"
    }
    backup "Backup header" {
        MAGIC 0 8 "magic"
        VERSION 8 4 "format version"
        CRC 12 4 "checksum of bytes 0 to 11 and 16 to 63"
        DATABASE_ID 16 16 "database id"
        KIND 32 4 "kind"
        PAGE_BYTES 36 4 "page size of that database"
        FIRST_TXN 40 8 "first transaction"
        LAST_TXN 48 8 "last transaction"
        TIME 56 8 "time"
    }
    backup_block "Backup block" {
        KIND 0 4 "kind"
        PAYLOAD_BYTES 4 4 "payload length"
        NUMBER 8 8 "number"
    }
    backup_end "End block" {
        BLOCKS 0 8 "blocks before it"
        BUCKETS 8 8 "buckets"
        PAIRS 16 8 "pairs"
        BYTES 24 8 "bytes of keys and values"
        CRC 32 4 "checksum of the checksums"
    }
}
