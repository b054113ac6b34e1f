//! Reads the fuzzer's bytes from the front, as choices, numbers and strings.
//!
//! Never fails for lack of bytes in the middle of something: what is missing counts as zero, so
//! that any bytes mean something.

/// What is left of the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.number(1).to_le_bytes()[0]
    }

    /// A little-endian number of so many bytes, at most eight.
    pub(crate) fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A number of two bytes below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number(2)).unwrap_or(0) % bound
    }

    /// A number of one byte below `bound`, which is not 0.
    pub(crate) fn choice(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// So many bytes, or those that are left.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
