//! Proves that a crate is layered: modules import from lower ranks, and siblings without cycles.
//!
//! It sees paths, not types: what a module reaches without naming it (through a trait object, or a
//! method of a value that it was given) is no import. Tests may import whatever they like.
//!
//! Rules:
//! 1. A top-level module imports only from modules of lower rank; the ranks are a table.
//! 2. Nothing but a root imports from the root: a re-export of `lib.rs` is a way around rule 1.
//! 3. Files of one folder do not import each other in a circle. A parent and its children may name
//!    each other: `mod.rs` declares and re-exports. A re-export is followed to the file behind it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Finding;
use super::modules::Tree;
use super::paths::{Reference, references};
use super::source::Source;
use super::tables::Layers;

/// The table of a crate, and its name in `tables.rs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranks {
    pub(crate) name: &'static str,
    pub(crate) layers: Layers,
}

impl Ranks {
    fn of(&self, module: &str) -> Option<usize> {
        self.layers.iter().position(|row| row.contains(&module))
    }
}

/// Everything that breaks the rules in one crate.
pub(crate) fn check(tree: &Tree, ranks: Ranks, sources: &BTreeMap<&str, &Source>) -> Vec<Finding> {
    let mut crate_ = Crate { tree, references: BTreeMap::new() };
    for (module, path) in &tree.modules {
        if !tree.is_test(path)
            && let Some(source) = sources.get(path.as_str())
        {
            crate_.references.insert(module.clone(), references(source));
        }
    }
    let mut findings = crate_.unknown_modules(ranks);
    findings.extend(crate_.upward_imports(ranks));
    findings.extend(crate_.cycles());
    findings
}

struct Crate<'a> {
    tree: &'a Tree,
    /// What each module that is not a test refers to.
    references: BTreeMap<Vec<String>, Vec<Reference>>,
}

/// An import of one sibling by another: the importing file and line.
type Edges = BTreeMap<String, BTreeMap<String, (String, usize)>>;

impl Crate<'_> {
    /// The name of the top-level module of a path; the root goes by the name of its file.
    fn top<'b>(&'b self, module: &'b [String]) -> &'b str {
        let root = self.tree.root.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        module.first().map_or(root, String::as_str)
    }

    fn unknown_modules(&self, ranks: Ranks) -> Vec<Finding> {
        let tops: BTreeMap<&str, &String> = (self.references.keys())
            .filter(|module| module.len() <= 1)
            .map(|module| (self.top(module), &self.tree.modules[module]))
            .collect();
        let unknown = tops.into_iter().filter(|(top, _)| ranks.of(top).is_none());
        let findings = unknown.map(|(top, path)| {
            let expected = format!("a place in {} in engine/tests/tidy/tables.rs", ranks.name);
            Finding::new(path, 1, &format!("module {top} has no rank"), &expected, "none")
        });
        findings.collect()
    }

    fn upward_imports(&self, ranks: Ranks) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (module, reference, target) in self.resolved() {
            let (from, to) = (self.top(module), self.top(&target));
            // An unknown module is a finding of its own.
            let (Some(from_rank), Some(to_rank)) = (ranks.of(from), ranks.of(to)) else {
                continue;
            };
            if from == to || to_rank < from_rank {
                continue;
            }
            let what = format!("{from} imports {}", reference.segments.join("::"));
            let expected = match from_rank {
                0 => format!("no import, as {from} has rank 0"),
                rank => format!("a module of a rank below {rank}"),
            };
            let found = format!("{to} of rank {to_rank}");
            let path = &self.tree.modules[module];
            findings.push(Finding::new(path, reference.line, &what, &expected, &found));
        }
        findings
    }

    fn cycles(&self) -> Vec<Finding> {
        let mut folders: BTreeMap<Vec<String>, Edges> = BTreeMap::new();
        for (module, reference, target) in self.resolved() {
            let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if shared == 0 || shared == module.len() || shared == target.len() {
                continue;
            }
            let place = (self.tree.modules[module].clone(), reference.line);
            let edges = folders.entry(module[..shared].to_vec()).or_default();
            let from = edges.entry(module[shared].clone()).or_default();
            from.entry(target[shared].clone()).or_insert(place);
        }
        let mut findings = Vec::new();
        for (folder, edges) in &folders {
            for cycle in cycles_of(edges) {
                let (path, line) = &edges[&cycle[0]][&cycle[1]];
                let what = format!("files of {} import in a circle", folder.join("::"));
                let found = cycle.join(" -> ");
                findings.push(Finding::new(path, *line, &what, "no cycle", &found));
            }
        }
        findings
    }

    /// Each reference that names a module of this crate: from where, and to which module.
    fn resolved(&self) -> impl Iterator<Item = (&Vec<String>, &Reference, Vec<String>)> {
        self.references.iter().flat_map(move |(module, references)| {
            references.iter().filter_map(move |reference| {
                let from = [module.as_slice(), reference.inside.as_slice()].concat();
                let absolute = self.absolute(&from, &reference.segments)?;
                Some((module, reference, self.file_of(absolute)))
            })
        })
    }

    /// A path from the root of the crate, or `None` for one that leads out of it.
    fn absolute(&self, from: &[String], segments: &[String]) -> Option<Vec<String>> {
        let mut base = from.to_vec();
        let mut rest = segments;
        let rooted = ["crate", "self", "super"].contains(&segments.first()?.as_str());
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                _ => break,
            }
            rest = others;
        }
        let child = rest.first().map(|name| [base.as_slice(), std::slice::from_ref(name)].concat());
        let known = child.is_some_and(|child| self.tree.modules.contains_key(&child));
        // A path of other beginnings names a child, or another crate.
        (rooted || known).then(|| [base.as_slice(), rest].concat())
    }

    /// The module whose file a path leads to, through the re-exports of parents.
    fn file_of(&self, mut path: Vec<String>) -> Vec<String> {
        // Each round goes deeper by a module; the bound stops a re-export of itself.
        for _ in 0..8 {
            let known =
                (0..=path.len()).rev().find(|&n| self.tree.modules.contains_key(&path[..n]));
            let module = path[..known.unwrap_or(0)].to_vec();
            let Some(item) = path.get(module.len()).filter(|_| !module.is_empty()) else {
                return module;
            };
            let uses = self.references.get(&module).map(Vec::as_slice).unwrap_or_default();
            let behind = uses
                .iter()
                .filter(|one| one.inside.is_empty() && one.alias.as_ref() == Some(item))
                .filter_map(|one| self.absolute(&module, &one.segments))
                .find(|target| target.len() > module.len() && target.starts_with(&module));
            match behind {
                Some(target) if target != path => path = target,
                _ => return module,
            }
        }
        path
    }
}

/// The shortest cycle through each node, among the nodes not before it.
fn cycles_of(edges: &Edges) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in edges.keys() {
        let mut seen = BTreeSet::new();
        let mut waiting = VecDeque::from([vec![start.clone()]]);
        while let Some(walk) = waiting.pop_front() {
            let next = walk.last().and_then(|last| edges.get(last));
            let next: Vec<&String> = next.into_iter().flat_map(BTreeMap::keys).collect();
            if next.contains(&start) {
                found.push([walk, vec![start.clone()]].concat());
                break;
            }
            for node in next.into_iter().filter(|&node| node > start) {
                if seen.insert(node.clone()) {
                    waiting.push_back([walk.as_slice(), std::slice::from_ref(node)].concat());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANKS: Ranks =
        Ranks { name: "ENGINE", layers: &[&["error", "limits"], &["io"], &["tree"], &["lib"]] };

    /// Checks a crate of these files; each is declared by its parent.
    fn found(files: &[(&str, &str)]) -> String {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(&format!("engine/src/{path}"), text))
            .collect();
        let map = sources.iter().map(|source| (source.path.as_str(), source)).collect();
        let tree = Tree::grow("engine/src/lib.rs", &map);
        assert_eq!(tree.modules.len(), files.len(), "{:?}", tree.modules);
        let findings = check(&tree, RANKS, &map);
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    const LIB: (&str, &str) =
        ("lib.rs", "mod error; mod limits; mod io; mod tree; pub use tree::Tree;");

    /// A crate whose `io` module has this text.
    fn io(text: &str) -> String {
        found(&[LIB, ("error.rs", ""), ("limits.rs", ""), ("io.rs", text), ("tree.rs", "")])
    }

    #[test]
    fn imports_from_below_are_fine() {
        assert_eq!(io("use crate::{error::Error, limits}; use std::io; use super::limits::A;"), "");
        assert_eq!(io("use bytes::Bytes; use tree_sitter::Tree; fn f() { tree::go() }"), "");
        assert_eq!(io("/// [`crate::tree`]\n#[cfg(test)] mod tests { use crate::tree::T; }"), "");
    }

    #[test]
    fn an_upward_import_is_found_however_it_is_written() {
        let told = "engine/src/io.rs:2: io imports crate::tree::Tree, expected a module of a rank \
                    below 1, found tree of rank 2";
        assert_eq!(io("\nuse crate::tree::Tree;"), told);
        for text in [
            "use crate::{error::Error, tree::{self, Tree}};",
            "use super::tree;",
            "use self::super::tree;",
            "pub(crate) use crate::{tree as other};",
            "fn f(tree: &crate::tree::Tree) {}",
            "macro_rules! m { () => { $crate::tree::go() } }",
            "mod inner { use super::super::tree::Tree; }",
            "use crate::tree::*;",
            "#[cfg(not(test))] use crate::tree;",
        ] {
            assert!(io(text).contains("found tree of rank 2"), "{text}: {}", io(text));
        }
    }

    #[test]
    fn an_import_of_the_same_rank_is_found() {
        let files =
            [LIB, ("error.rs", "use crate::limits::A;"), ("limits.rs", ""), ("io.rs", ""), TREE];
        assert_eq!(
            found(&files),
            "engine/src/error.rs:1: error imports crate::limits::A, expected no import, as error \
             has rank 0, found limits of rank 0"
        );
    }

    const TREE: (&str, &str) = ("tree.rs", "use crate::io; use crate::error::Error;");

    #[test]
    fn an_import_from_the_root_is_found() {
        for text in ["use crate::Tree;", "use super::*;", "use crate as root;", "use super::Tree;"]
        {
            assert!(io(text).contains("found lib of rank 3"), "{text}: {}", io(text));
        }
    }

    #[test]
    fn a_module_without_a_rank_is_found() {
        assert_eq!(
            found(&[
                ("lib.rs", "mod new; #[cfg(test)] mod image;"),
                ("new.rs", ""),
                ("image.rs", "")
            ]),
            "engine/src/new.rs:1: module new has no rank, expected a place in ENGINE in \
             engine/tests/tidy/tables.rs, found none"
        );
    }

    /// A crate whose `tree` module has these files.
    fn tree(parent: &str, a: &str, b: &str, c: &str) -> String {
        found(&[
            ("lib.rs", "mod tree;"),
            ("tree/mod.rs", &format!("mod a; mod b; mod c; {parent}")),
            ("tree/a.rs", a),
            ("tree/b.rs", b),
            ("tree/c.rs", c),
        ])
    }

    #[test]
    fn siblings_may_import_each_other_one_way() {
        assert_eq!(tree("pub use a::A;", "use super::{b::B, c};", "use super::c::C;", ""), "");
        assert_eq!(
            tree("use a::A; struct D;", "use super::D;", "use super::D;", "use super::D;"),
            ""
        );
        assert_eq!(
            tree("", "#[cfg(test)] mod tests { use super::super::b; }", "use super::a;", ""),
            ""
        );
    }

    #[test]
    fn a_re_export_says_nothing_of_other_names() {
        assert_eq!(tree("pub use b::B; struct D;", "use super::D;", "use super::a;", ""), "");
    }

    #[test]
    fn a_circle_of_siblings_is_found() {
        assert_eq!(
            tree("", "\nuse super::b::B;", "use crate::tree::c::C;", "fn f() { super::a::go() }"),
            "engine/src/tree/a.rs:2: files of tree import in a circle, expected no cycle, found \
             a -> b -> c -> a"
        );
        assert!(tree("", "", "use super::c::C;", "use super::b;").ends_with("b -> c -> b"));
    }

    #[test]
    fn a_circle_behind_a_re_export_is_found() {
        let told =
            tree("pub(crate) use b::{B as Other};", "use super::Other;", "use super::a::A;", "");
        assert!(told.ends_with("found a -> b -> a"), "{told}");
    }

    #[test]
    fn a_folder_counts_as_one_sibling() {
        let told = found(&[
            ("lib.rs", "mod tree;"),
            ("tree.rs", "mod a; mod b;"),
            ("tree/a.rs", "mod deep;"),
            ("tree/a/deep.rs", "use crate::tree::b::B;"),
            ("tree/b.rs", "use super::a::deep::Deep;"),
        ]);
        assert!(
            told.ends_with(
                "files of tree import in a circle, expected no cycle, found a -> b -> a"
            )
        );
    }
}
