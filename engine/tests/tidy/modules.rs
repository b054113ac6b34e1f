//! The module trees of a package, read from the `mod` items of its files, root by root.
//!
//! It knows where cargo looks for roots and where rustc looks for the file of a module, and never
//! what a module holds. A file that no `mod` item reaches is dead, and a finding.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::lexer::{Kind, Token};
use super::paths::{Inside, module_name};
use super::source::{Attribute, Source, item_after};

/// One crate: a root file and the modules that it reaches.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The path of the root file.
    pub(crate) root: String,
    /// Module paths, without `crate`, to files. The root is the empty path.
    pub(crate) modules: BTreeMap<Vec<String>, String>,
    /// The paths of files that are compiled for tests only.
    tests: BTreeSet<String>,
}

impl Tree {
    /// Follows the `mod` items of `root`, which is one of `sources`.
    pub(crate) fn grow(root: &str, sources: &BTreeMap<&str, &Source>) -> Tree {
        let mut tree =
            Tree { root: root.to_owned(), modules: BTreeMap::new(), tests: BTreeSet::new() };
        let mut waiting =
            vec![Node { path: root.to_owned(), module: vec![], own_dir: false, test: false }];
        while let Some(node) = waiting.pop() {
            let Some(source) = sources.get(node.path.as_str()) else {
                continue;
            };
            if node.test {
                tree.tests.insert(node.path.clone());
            } else {
                tree.tests.remove(&node.path);
            }
            waiting.extend(children(&node, source, sources));
            tree.modules.entry(node.module).or_insert(node.path);
        }
        tree
    }

    /// Whether the tree holds a file, for tests only.
    pub(crate) fn is_test(&self, path: &str) -> bool {
        self.tests.contains(path)
    }

    /// Whether the tree holds a file that is not for tests only.
    pub(crate) fn ships(&self, path: &str) -> bool {
        !self.is_test(path) && self.modules.values().any(|one| one == path)
    }
}

/// A file on its way into the tree.
#[derive(Debug)]
struct Node {
    path: String,
    module: Vec<String>,
    /// Its children lie in the folder of its name; else beside it, as those of a root or `mod.rs`.
    own_dir: bool,
    test: bool,
}

/// The files that the `mod name;` items of a file declare.
fn children(node: &Node, source: &Source, sources: &BTreeMap<&str, &Source>) -> Vec<Node> {
    let tokens = &source.tokens;
    let beside = parent_of(&node.path);
    let folder =
        if node.own_dir { node.path.trim_end_matches(".rs").to_owned() } else { beside.clone() };
    let mut found = Vec::new();
    let mut inside = Inside::default();
    for index in 0..tokens.len() {
        inside.step(tokens, index);
        let Some(name) = module_name(tokens, index) else {
            continue;
        };
        if !tokens.get(index + 2).is_some_and(|token| token.is_mark(";")) {
            continue;
        }
        let inline = inside.names();
        let folder = joined(&folder, &inline);
        let named = path_attribute(tokens, index);
        let candidates = match &named {
            Some(path) if inline.is_empty() => vec![joined(&beside, std::slice::from_ref(path))],
            Some(path) => vec![joined(&folder, std::slice::from_ref(path))],
            None => vec![format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")],
        };
        let module = [node.module.clone(), inline, vec![name.to_owned()]].concat();
        let test = node.test || source.in_test[index];
        for path in candidates.into_iter().filter(|path| sources.contains_key(path.as_str())) {
            let own_dir = named.is_none() && !path.ends_with("/mod.rs");
            found.push(Node { path, module: module.clone(), own_dir, test });
        }
    }
    found
}

/// The value of `#[path = ".."]` on the item whose keyword is at `keyword`.
fn path_attribute(tokens: &[Token], keyword: usize) -> Option<String> {
    // Attributes and visibility take few tokens; an item further back has another keyword.
    for start in (keyword.saturating_sub(60)..keyword).rev() {
        let Some(attribute) = Attribute::at(tokens, start) else {
            continue;
        };
        if item_after(tokens, start).0 != keyword {
            return None;
        }
        if let [path, equals, value] = &tokens[attribute.first..attribute.last]
            && path.is_word("path")
            && equals.is_mark("=")
            && value.kind == Kind::Literal
        {
            return Some(value.text.trim_matches('"').to_owned());
        }
    }
    None
}

fn parent_of(path: &str) -> String {
    path.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned())
}

/// `dir` with `parts` behind it, `.` and `..` resolved.
pub(crate) fn joined(dir: &str, parts: &[String]) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in dir.split('/').chain(parts.iter().flat_map(|part| part.split('/'))) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    segments.join("/")
}

/// Whether cargo takes a file for the root of a crate, by its path within the package.
fn is_root(path: &str) -> bool {
    match path.split('/').collect::<Vec<_>>()[..] {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] => true,
        ["src", "bin", _] | ["tests" | "benches" | "examples", _] => true,
        ["src", "bin", _, last] | ["tests" | "benches" | "examples", _, last] => last == "main.rs",
        _ => false,
    }
}

/// Whether a file is an integration test, a bench or an example, by its path within the package.
pub(crate) fn is_beside_src(path: &str) -> bool {
    ["tests/", "benches/", "examples/"].iter().any(|dir| path.starts_with(dir))
}

/// The crates of the package at `dir`, and its dead files. `named` are the paths of roots that its
/// manifest names.
pub(crate) fn trees(
    dir: &str,
    named: &[String],
    sources: &BTreeMap<&str, &Source>,
) -> (Vec<Tree>, Vec<Finding>) {
    let prefix = format!("{dir}/");
    let files: Vec<&str> =
        sources.keys().filter(|path| path.starts_with(&prefix)).copied().collect();
    let named: Vec<String> =
        named.iter().map(|path| joined(dir, std::slice::from_ref(path))).collect();
    let roots = files
        .iter()
        .filter(|path| is_root(&path[prefix.len()..]) || named.iter().any(|name| name == *path));
    let trees: Vec<Tree> = roots.map(|root| Tree::grow(root, sources)).collect();
    let alive: BTreeSet<&str> =
        trees.iter().flat_map(|tree| tree.modules.values()).map(String::as_str).collect();
    let dead = files.iter().filter(|path| !alive.contains(*path)).map(|path| {
        Finding::new(path, 1, "dead file", "a `mod` item that declares it", "none from any root")
    });
    let dead = dead.collect();
    (trees, dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_and_tests(files: &[(&str, &str)]) -> (String, String) {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let map = sources.iter().map(|source| (source.path.as_str(), source)).collect();
        let (trees, findings) = trees("engine", &["odd/place.rs".to_owned()], &map);
        let dead: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
        let tests: Vec<&str> = map
            .keys()
            .filter(|path| trees.iter().any(|tree| tree.is_test(path)))
            .copied()
            .collect();
        (dead.join(" "), tests.join(" "))
    }

    #[test]
    fn a_file_without_a_mod_item_is_dead() {
        let (dead, _) = dead_and_tests(&[
            ("engine/src/lib.rs", "mod page; pub mod io; // mod lost;\nfn f() { \"mod lost;\" }"),
            ("engine/src/page.rs", "mod meta;"),
            ("engine/src/page/meta.rs", ""),
            ("engine/src/page/lost.rs", ""),
            ("engine/src/meta.rs", ""),
            ("engine/src/io/mod.rs", "mod real; mod inner { mod deep; }"),
            ("engine/src/io/real.rs", ""),
            ("engine/src/io/inner/deep.rs", ""),
            ("engine/src/lost.rs", ""),
        ]);
        assert_eq!(dead, "engine/src/lost.rs engine/src/meta.rs engine/src/page/lost.rs");
    }

    #[test]
    fn roots_are_those_of_cargo_and_of_the_manifest() {
        let (dead, _) = dead_and_tests(&[
            ("engine/src/main.rs", ""),
            ("engine/src/bin/other.rs", ""),
            ("engine/tests/crash.rs", "mod support;"),
            ("engine/tests/support/mod.rs", ""),
            ("engine/tests/lost/other.rs", ""),
            ("engine/tests/big/main.rs", ""),
            ("engine/odd/place.rs", ""),
            ("engine/odd/lost.rs", ""),
            ("engine/build.rs", ""),
        ]);
        assert_eq!(dead, "engine/odd/lost.rs engine/tests/lost/other.rs");
    }

    #[test]
    fn path_attributes_are_followed() {
        let (dead, _) = dead_and_tests(&[
            ("engine/tests/a.rs", "#[path = \"a/mod.rs\"]\n#[allow(x)]\npub(crate) mod rules;"),
            ("engine/tests/a/mod.rs", "mod words; #[path = \"../b/it.rs\"] mod it;"),
            ("engine/tests/a/words.rs", ""),
            ("engine/tests/b/it.rs", "mod below;"),
            ("engine/tests/b/below.rs", ""),
            ("engine/tests/a/it.rs", ""),
        ]);
        assert_eq!(dead, "engine/tests/a/it.rs");
    }

    #[test]
    fn modules_that_only_tests_declare_are_tests() {
        let (dead, tests) = dead_and_tests(&[
            ("engine/src/lib.rs", "mod io; #[cfg(test)] mod image;"),
            ("engine/src/io.rs", "#[cfg(any(test, feature = \"simulation\"))] mod sim;"),
            ("engine/src/io/sim.rs", ""),
            ("engine/src/image.rs", "mod bytes;"),
            ("engine/src/image/bytes.rs", ""),
        ]);
        assert_eq!(dead, "");
        assert_eq!(tests, "engine/src/image.rs engine/src/image/bytes.rs");
    }
}
