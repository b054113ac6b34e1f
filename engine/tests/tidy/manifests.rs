//! Rules for `Cargo.toml`: inherited lints, and the short list of what the engine depends on.
//!
//! It reads the TOML that manifests use (tables, keys, strings, arrays), not all of the language.

use super::Finding;
use super::tables::{DEPENDENCIES, DEPENDENCIES_OF};

/// One `key = value`, with the name of its table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) table: String,
    pub(crate) key: String,
    /// As it stands, over several lines for an array.
    pub(crate) value: String,
    pub(crate) line: usize,
}

impl Entry {
    /// The strings in the value.
    fn strings(&self) -> Vec<String> {
        self.value.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The dependency that this entry names or is about, its `cfg`, and the kind of the table
    /// (`dependencies`, `dev-dependencies`, `build-dependencies`).
    fn dependency(&self) -> Option<(String, Option<String>, &str)> {
        let mut rest = self.table.as_str();
        let mut cfg = None;
        if let Some(target) = rest.strip_prefix("target.") {
            let quote = target.chars().next().filter(|char| "'\"".contains(*char))?;
            let (name, behind) = target[1..].split_once(quote)?;
            cfg = Some(name.to_owned());
            rest = behind.strip_prefix('.')?;
        }
        let (kind, name) = match rest.split_once('.') {
            Some((kind, name)) => (kind, name),
            None => (rest, self.key.split('.').next()?),
        };
        let name = match self.value.split_once("package") {
            Some((_, renamed)) => renamed.split('"').nth(1)?,
            None if self.key == "package" => self.value.trim_matches('"'),
            None => name,
        };
        kind.ends_with("dependencies").then(|| (name.trim_matches('"').to_owned(), cfg, kind))
    }
}

/// All entries of a manifest, in their order.
pub(crate) fn entries(text: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut table = String::new();
    let mut open = 0;
    for (line, content) in (1..).zip(text.lines()) {
        let content = without_comment(content).trim();
        if content.is_empty() {
            continue;
        }
        if open > 0 {
            if let Some(entry) = found.last_mut() {
                entry.value += content;
            }
        } else if content.starts_with('[') {
            table = content.trim_matches(['[', ']']).trim().to_owned();
            continue;
        } else if let Some((key, value)) = content.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            found.push(Entry { table: table.clone(), key, value, line });
        }
        open += content.matches('[').count();
        open = open.saturating_sub(content.matches(']').count());
    }
    found
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, char) in line.char_indices() {
        match char {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

/// The members that a workspace's manifest lists.
pub(crate) fn members(entries: &[Entry]) -> Vec<String> {
    let lists = entries.iter().filter(|one| one.table == "workspace" && one.key == "members");
    lists.flat_map(Entry::strings).collect()
}

/// The roots of crates that a package's manifest names by path.
pub(crate) fn named_roots(entries: &[Entry]) -> Vec<String> {
    let targets = ["lib", "bin", "test", "bench", "example"];
    let paths = entries.iter().filter(|one| {
        one.key == "path" && targets.contains(&one.table.as_str())
            || one.key == "build" && one.table == "package"
    });
    paths.flat_map(Entry::strings).collect()
}

/// Every member inherits the lints of the workspace.
pub(crate) fn lints(path: &str, entries: &[Entry]) -> Option<Finding> {
    let inherits = entries.iter().any(|one| {
        let name = format!("{}.{}", one.table, one.key);
        (name == "lints.workspace" || name == ".lints.workspace") && one.value == "true"
    });
    (!inherits).then(|| Finding::new(path, 1, "lints", "`[lints] workspace = true`", "none"))
}

/// The engine depends on little.
pub(crate) fn dependencies(path: &str, entries: &[Entry]) -> Vec<Finding> {
    if path != DEPENDENCIES_OF {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for entry in entries {
        let Some((name, cfg, kind)) = entry.dependency() else {
            continue;
        };
        let allowed = match kind {
            "dev-dependencies" => true,
            "dependencies" => DEPENDENCIES
                .iter()
                .any(|(one, only)| *one == name && (only.is_none() || *only == cfg.as_deref())),
            _ => false,
        };
        if !allowed {
            let list: Vec<String> = DEPENDENCIES
                .iter()
                .map(|(one, only)| only.map_or(one.to_string(), |cfg| format!("{one} in {cfg}")))
                .collect();
            let what = format!("one of the engine's {kind}");
            let found = cfg.map_or(name.clone(), |cfg| format!("{name} in {cfg}"));
            findings.push(Finding::new(path, entry.line, &what, &list.join(", "), &found));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Vec<String> {
        let findings = dependencies("engine/Cargo.toml", &entries(text));
        findings.into_iter().map(|one| format!("{}: {}", one.line, one.found)).collect()
    }

    #[test]
    fn entries_span_lines_and_leave_comments_out() {
        let text = "a = 1\n[workspace]\n# members = []\nmembers = [\n \"a\", # \"no\"\n\
                    \"b#\",\n]\n\
                    [x]\nb = \"c\"";
        let entries = entries(text);
        assert_eq!(members(&entries), ["a", "b#"]);
        let last = entries.last().expect("an entry");
        assert_eq!((last.table.as_str(), last.key.as_str(), last.line), ("x", "b", 9));
        assert_eq!(entries[0].table, "");
    }

    #[test]
    fn roots_are_named_by_path() {
        let text = "[[bin]]\nname = \"a\"\npath = \"fuzz_targets/a.rs\"\n[dependencies]\n\
                    bristlecone = { path = \"../engine\" }\n[package]\nbuild = \"make.rs\"\n\
                    [lib]\npath = \"b.rs\"";
        assert_eq!(named_roots(&entries(text)), ["fuzz_targets/a.rs", "make.rs", "b.rs"]);
    }

    #[test]
    fn lints_must_be_inherited() {
        assert!(lints("a", &entries("[lints]\nworkspace = true")).is_none());
        assert!(lints("a", &entries("lints.workspace = true\n[package]")).is_none());
        assert!(lints("a", &entries("[lints]\nworkspace = false")).is_some());
        assert!(lints("a", &entries("[lints.rust]\nunsafe_code = \"deny\"")).is_some());
        assert!(lints("a", &entries("# [lints]\n# workspace = true")).is_some());
        assert!(lints("a", &entries("[package]\nedition.workspace = true")).is_some());
    }

    #[test]
    fn the_engine_depends_on_its_list_only() {
        let fine = "[dependencies]\nbytes = \"1\"\n\
                    rustix = { version = \"1\", features = [\n\"fs\"] }\n\
                    memmap2.workspace = true\n[dependencies.parking_lot]\nversion = \"0.13\"\n\
                    [target.'cfg(loom)'.dependencies]\nloom = \"0.7\"\nbytes = \"1\"\n\
                    [dev-dependencies]\n\
                    proptest = \"1\"\n[features]\nserde = []";
        assert_eq!(refused(fine), [""; 0]);
        assert_eq!(refused("[dependencies]\n\nserde = \"1\""), ["3: serde"]);
        assert_eq!(refused("[dependencies.serde]\nversion = \"1\""), ["2: serde"]);
        assert_eq!(refused("[dependencies]\nserde.version = \"1\""), ["2: serde"]);
        assert_eq!(refused("[dependencies]\nloom = \"0.7\""), ["2: loom"]);
        assert_eq!(
            refused("[target.'cfg(unix)'.dependencies]\nloom = \"1\""),
            ["2: loom in cfg(unix)"]
        );
        assert_eq!(refused("[target.\"cfg(unix)\".dependencies.nix]\nversion = \"1\"").len(), 1);
        assert_eq!(refused("[build-dependencies]\nbytes = \"1\""), ["2: bytes"]);
        let renamed = "[dependencies]\nbytes = { package = \"serde\", version = \"1\" }";
        assert_eq!(refused(renamed), ["2: serde"]);
        assert_eq!(refused("[dependencies.bytes]\npackage = \"serde\""), ["2: serde"]);
        assert!(dependencies("server/Cargo.toml", &entries(renamed)).is_empty());
    }
}
