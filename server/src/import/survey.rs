//! The first pass over a bbolt file: every page checked, and what the engine has to have room for.
//!
//! Never writes. It walks as [`BoltFile::verify`] does, so whatever that refuses, this refuses.

use std::ops::ControlFlow;

use bristlecone::limits::{
    BUCKET_DEPTH_MAX, PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX, VALUE_BYTES_MAX, key_bytes_max,
};

use crate::bolt::{BoltFile, Event, Summary};
use crate::names::BucketPath;
use crate::storage::IMPORT_INCOMPLETE;

use super::error::ImportError;

/// What a bbolt file holds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    summary: Summary,
    name_bytes: u64,
    longest_key: Longest,
    longest_value: Longest,
}

/// The longest of all keys or values, and the bucket that holds it.
#[derive(Debug, Default)]
struct Longest {
    bytes: usize,
    bucket: BucketPath,
}

impl Longest {
    fn note(&mut self, bytes: usize, names: &[Vec<u8>]) -> Result<(), ImportError> {
        if bytes > self.bytes {
            *self = Longest { bytes, bucket: path_of(names)? };
        }
        Ok(())
    }
}

impl Survey {
    /// Reads the file to its end; `progress` is told the pages read.
    pub(super) fn of(
        source: &BoltFile,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Survey, ImportError> {
        match source.root_sequence() {
            0 => {}
            found => return Err(ImportError::RootSequence { found }),
        }
        let mut survey = Survey::default();
        let mut names: Vec<Vec<u8>> = Vec::new();
        survey.summary = source.walk(&mut |event| -> Result<(), ImportError> {
            match event {
                Event::EnterBucket { name, .. } => {
                    if names.len() == BUCKET_DEPTH_MAX {
                        let (bucket, max) = (path_of(&names)?, BUCKET_DEPTH_MAX);
                        return Err(ImportError::TooDeep { bucket, max });
                    }
                    if names.is_empty() && name == IMPORT_INCOMPLETE {
                        return Err(ImportError::ReservedName);
                    }
                    survey.name_bytes += name.len() as u64;
                    survey.longest_key.note(name.len(), &names)?;
                    names.push(name.to_vec());
                }
                Event::Pair { key, value } => {
                    survey.longest_key.note(key.len(), &names)?;
                    survey.longest_value.note(value.len(), &names)?;
                }
                Event::LeaveBucket => drop(names.pop()),
                Event::Progress { pages_read } => super::go_on(progress(pages_read))?,
            }
            Ok(())
        })?;
        Ok(survey)
    }

    /// Buckets at all depths.
    pub(super) fn buckets(&self) -> u64 {
        self.summary.buckets
    }

    /// Keys in all buckets.
    pub(super) fn keys(&self) -> u64 {
        self.summary.pairs
    }

    /// Bytes of all names, keys and values.
    pub(super) fn bytes(&self) -> u64 {
        self.name_bytes + self.summary.key_bytes + self.summary.value_bytes
    }

    /// The page size for a new database: the default, or the smallest that the longest key needs.
    pub(super) fn page_bytes(&self) -> Result<usize, ImportError> {
        let sizes = [PAGE_BYTES_DEFAULT, PAGE_BYTES_DEFAULT * 2, PAGE_BYTES_MAX];
        match sizes.into_iter().find(|&size| self.longest_key.bytes <= key_bytes_max(size)) {
            Some(size) => Ok(size),
            None => Err(self.key_too_large(PAGE_BYTES_MAX)),
        }
    }

    /// Refuses what a database of this page size cannot hold.
    pub(super) fn check(&self, page_bytes: usize) -> Result<(), ImportError> {
        if self.longest_key.bytes > key_bytes_max(page_bytes) {
            return Err(self.key_too_large(page_bytes));
        }
        if self.longest_value.bytes > VALUE_BYTES_MAX {
            let Longest { bytes: found, ref bucket } = self.longest_value;
            let (bucket, max) = (bucket.clone(), VALUE_BYTES_MAX);
            return Err(ImportError::ValueTooLarge { bucket, max, found });
        }
        Ok(())
    }

    fn key_too_large(&self, page_bytes: usize) -> ImportError {
        let Longest { bytes: found, ref bucket } = self.longest_key;
        let (bucket, max) = (bucket.clone(), key_bytes_max(page_bytes));
        ImportError::KeyTooLarge { bucket, max, found }
    }
}

/// The path of these names, which are not empty and not too many.
fn path_of(names: &[Vec<u8>]) -> Result<BucketPath, ImportError> {
    BucketPath::new(names.to_vec())
        .map_err(|_| ImportError::TooDeep { bucket: BucketPath::default(), max: BUCKET_DEPTH_MAX })
}

const _: () = assert!(PAGE_BYTES_DEFAULT * 4 == PAGE_BYTES_MAX);
