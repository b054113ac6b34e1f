//! JSON with a line for each thing that is compared, so that differences of records can be read.
//!
//! Down to a depth each value has its own line; what is deeper shares the line of what holds it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// The depth of an engine's entry: record, workloads, workload, entries.
pub(super) const SIDE_BY_SIDE: usize = 4;
/// The depth of a second: record, seconds.
pub(super) const SUSTAINED: usize = 2;
/// The depth of a sample: record, runs, run, samples.
pub(super) const CHURN: usize = 4;
/// The depth of a round: record, phases, phase, rounds.
pub(super) const DISTURBANCE: usize = 4;

/// Writes values of at most the depth `lines` on lines of their own.
struct Layout {
    lines: usize,
    depth: usize,
}

/// The text of a value.
pub(super) fn text(value: &impl Serialize, lines: usize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Layout { lines, depth: 0 });
    value.serialize(&mut serializer).expect("invariant: a record is JSON");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("invariant: JSON is text")
}

impl Layout {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.depth < self.lines {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }

    /// Before each value of a list and each name of an object.
    fn next<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        match (self.depth <= self.lines, first) {
            (true, _) => self.line(writer),
            (false, true) => Ok(()),
            (false, false) => writer.write_all(b" "),
        }
    }

    fn line<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        write!(writer, "\n{:1$}", "", self.depth)
    }
}

impl Formatter for Layout {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deep_shares_a_line() {
        let value = serde_json::json!({"a": [{"b": [1, 2]}, {"b": [], "c": null}], "d": "e"});
        let expected =
            "{\n \"a\": [\n  {\"b\": [1, 2]},\n  {\"b\": [], \"c\": null}\n ],\n \"d\": \"e\"\n}\n";
        assert_eq!(text(&value, 2), expected);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text(&value, 9)).ok(), Some(value));
    }
}
