//! `docs/format.md` as data: its tables and its example, by heading.
//!
//! Never interprets a table: it splits lines at the bars.

use std::path::Path;

/// The text of the page.
#[derive(Debug)]
pub(crate) struct Document(String);

impl Document {
    pub(crate) fn read() -> Document {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
        Document(std::fs::read_to_string(path).expect("docs/format.md"))
    }

    /// The lines from a heading to the next one, of whatever depth.
    fn section(&self, heading: &str) -> Vec<&str> {
        let title = |line: &str| line.starts_with('#').then(|| line.trim_matches([' ', '#']).len());
        let is_it = |line: &&str| title(line).is_some() && line.trim_matches([' ', '#']) == heading;
        let lines: Vec<&str> = self.0.lines().skip_while(|line| !is_it(line)).collect();
        assert!(!lines.is_empty(), "no heading \"{heading}\" in docs/format.md");
        lines[1..].iter().take_while(|line| title(line).is_none()).copied().collect()
    }

    /// The cells of the table rows under a heading.
    pub(crate) fn rows(&self, heading: &str) -> Vec<Vec<&str>> {
        let lines = self.section(heading);
        lines.into_iter().filter_map(cells).filter(|cells| !cells[0].starts_with("---")).collect()
    }

    /// The rows of fields with a fixed place: offset, size, and the name up to its first mark.
    pub(crate) fn fields(&self, heading: &str) -> Vec<(usize, usize, String)> {
        let field = |cells: Vec<&str>| -> Option<(usize, usize, String)> {
            let name = cells.get(2)?.split([':', ',', ';']).next()?;
            Some((cells[0].parse().ok()?, cells[1].parse().ok()?, name.to_owned()))
        };
        self.rows(heading).into_iter().filter_map(field).collect()
    }

    /// The bytes under a heading: lines of an offset in hex, two spaces, and bytes in hex. Bytes
    /// that no line tells are zero, up to `len`.
    pub(crate) fn example(&self, heading: &str, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for line in self.section(heading) {
            let Some((offset, rest)) = line.trim_start().split_once("  ") else { continue };
            let Ok(mut at) = usize::from_str_radix(offset, 16) else { continue };
            for byte in rest.split("  ").next().unwrap_or("").split(' ') {
                bytes[at] = u8::from_str_radix(byte, 16).expect("two hex digits");
                at += 1;
            }
        }
        bytes
    }
}

/// The cells of a line that is a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}
