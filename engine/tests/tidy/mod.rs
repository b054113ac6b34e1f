//! The rules of the tidy test, put together over a repository that somebody else has read.
//!
//! It never touches the file system, so that its own tests can make up repositories.
//!
//! `lexer` and `source` take Rust apart, `paths` and `modules` read what it refers to, and the
//! other files hold the rules, one subject each. All numbers and tables are in `tables`.

mod architecture;
mod code;
mod layers;
mod lexer;
mod manifests;
mod modules;
mod paths;
mod source;
mod tables;
mod text;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use tables::DATA_DIRS;

use layers::Ranks;
use manifests::Entry;
use source::Source;

/// A broken rule: where, what, what was expected, and what was found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
    expected: String,
    found: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: &str, expected: &str, found: &str) -> Finding {
        let [path, what, expected, found] = [path, what, expected, found].map(str::to_owned);
        Finding { path, line, what, expected, found }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { path, line, what, expected, found } = self;
        write!(out, "{path}:{line}: {what}, expected {expected}, found {found}")
    }
}

/// The text files of a repository, by kind.
#[derive(Default, Debug)]
pub(crate) struct Repository {
    pub(crate) sources: Vec<Source>,
    /// `Cargo.toml` files by path.
    manifests: BTreeMap<String, Vec<Entry>>,
    architecture: Option<String>,
    /// Rules that need one line at a time are applied as files come in.
    findings: Vec<Finding>,
}

impl Repository {
    /// Takes in one file; `path` is relative to the root, with `/`.
    pub(crate) fn add(&mut self, path: &str, content: &str) {
        self.findings.extend(text::machine(path, content));
        let name = path.rsplit('/').next().unwrap_or(path);
        if name == "Cargo.toml" {
            self.manifests.insert(path.to_owned(), manifests::entries(content));
        }
        if path == architecture::PATH {
            self.architecture = Some(content.to_owned());
        }
        if name.ends_with(".rs") || name.ends_with(".md") {
            self.findings.extend(text::names(path));
            self.findings.extend(text::words(path, content));
        }
        if name.ends_with(".rs") {
            self.findings.extend(text::layout(path, content));
            self.sources.push(Source::new(path, content));
        }
    }

    /// Brings the files into the order of their paths.
    pub(crate) fn sort(&mut self) {
        self.sources.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// The members of the workspace, as its manifest lists them.
    pub(crate) fn members(&self) -> Vec<String> {
        self.manifests.get("Cargo.toml").map(|root| manifests::members(root)).unwrap_or_default()
    }

    /// The folders of all packages: the members and what has a workspace of its own.
    fn packages(&self) -> Vec<&str> {
        self.manifests.keys().filter_map(|path| path.strip_suffix("/Cargo.toml")).collect()
    }
}

/// Every broken rule, in the order of files and lines.
pub(crate) fn findings(repository: &Repository) -> Vec<Finding> {
    let sources: BTreeMap<&str, &Source> =
        repository.sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let packages = repository.packages();
    let mut findings = repository.findings.clone();
    for package in &packages {
        findings.extend(package_findings(repository, package, &sources));
    }
    for path in sources.keys() {
        if !packages.iter().any(|package| within(path, package).is_some()) {
            findings.push(Finding::new(path, 1, "dead file", "a package around it", "none"));
        }
    }
    for member in repository.members() {
        let path = format!("{member}/Cargo.toml");
        if let Some(entries) = repository.manifests.get(&path) {
            findings.extend(manifests::lints(&path, entries));
            findings.extend(manifests::dependencies(&path, entries));
        }
    }
    if let Some(page) = &repository.architecture {
        findings.extend(architecture::check(page, tables::ARCHITECTURE_LAYERS));
    }
    findings.sort();
    findings.dedup();
    findings
}

/// What is wrong with the code of one package.
fn package_findings(
    repository: &Repository,
    package: &str,
    sources: &BTreeMap<&str, &Source>,
) -> Vec<Finding> {
    let manifest = &repository.manifests[&format!("{package}/Cargo.toml")];
    let (trees, mut findings) = modules::trees(package, &manifests::named_roots(manifest), sources);
    for (_, name, layers) in tables::LAYERED.iter().filter(|(dir, ..)| *dir == package) {
        for tree in trees.iter().filter(|tree| tree.root.starts_with(&format!("{package}/src/"))) {
            findings.extend(layers::check(tree, Ranks { name, layers }, sources));
        }
    }
    for source in &repository.sources {
        let Some(path) = within(&source.path, package) else {
            continue;
        };
        let beside_src = package == BENCHES || modules::is_beside_src(path);
        let only_in_tests = trees.iter().any(|tree| tree.is_test(&source.path))
            && !trees.iter().any(|tree| tree.ships(&source.path));
        let test = path.starts_with("tests/") || only_in_tests;
        findings.extend(code::check(source, beside_src, test));
    }
    findings
}

/// The package that is benches all over, its `src` included.
const BENCHES: &str = "benches";

/// The part of a path behind the folder of its package.
fn within<'a>(path: &'a str, package: &str) -> Option<&'a str> {
    path.strip_prefix(package)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    /// The findings in a repository that is tidy but for `changed`, which is added or replaced.
    fn told(changed: &[(&str, &str)]) -> Vec<String> {
        let mut files = BTreeMap::from([
            ("Cargo.toml", "[workspace]\nmembers = [\"engine\", \"benches\"]\n"),
            ("engine/Cargo.toml", LINTS),
            ("engine/src/lib.rs", "//! Root.\n\nmod error;\nmod io;\n"),
            ("engine/src/error.rs", "//! Errors.\n"),
            ("engine/src/io.rs", "//! Files.\n\nuse crate::error::Error;\n"),
            ("engine/tests/crash.rs", "//! Crashes.\n\nfn f() {\n    a.unwrap();\n}\n"),
            ("benches/Cargo.toml", LINTS),
            ("benches/src/lib.rs", "//! Benches.\n"),
            ("fuzz/Cargo.toml", "[[bin]]\npath = \"fuzz_targets/page.rs\"\n"),
            ("fuzz/fuzz_targets/page.rs", "//! Pages.\n"),
            ("README.md", "# Readme\n"),
        ]);
        files.extend(changed.iter().copied());
        let mut repository = Repository::default();
        for (path, text) in files {
            repository.add(path, text);
        }
        repository.sort();
        findings(&repository).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tidy_repository_has_no_findings() {
        assert_eq!(told(&[]), [""; 0]);
        let long = format!("//! Benches.\n{}", "//\n".repeat(700));
        assert_eq!(told(&[("benches/src/lib.rs", &long)]), [""; 0]);
        let parent = ("engine/src/io.rs", "//! Files.\n\n#[cfg(test)]\nmod image;\n");
        let image = ("engine/src/io/image.rs", "//! A.\nfn f() { a.unwrap() }\n");
        assert_eq!(told(&[parent, image]), [""; 0]);
    }

    #[test]
    fn each_rule_is_applied_to_the_repository() {
        let long = format!("//! Files.\n{}", "//\n".repeat(500));
        let word = format!("{}\n", tables::WORDS[0]);
        let dir = format!("see {}x\n", tables::MACHINE_DIRS[0]);
        for (path, text, part) in [
            (
                "engine/src/io.rs",
                "//! A.\nuse crate::io2::A;\nuse crate::Db;\n",
                "io.rs:3: io imports",
            ),
            ("engine/src/io.rs", "//! A.\nfn f() { a.unwrap() }\n", "io.rs:2: unwrap outside"),
            ("engine/src/io.rs", "fn f() {}\n", "io.rs:1: no opening comment"),
            ("engine/src/io.rs", &long, "io.rs:1: long file"),
            ("engine/src/lost.rs", "//! A.\n", "lost.rs:1: dead file"),
            ("loose/lost.rs", "//! A.\n", "loose/lost.rs:1: dead file"),
            ("fuzz/fuzz_targets/lost.rs", "//! A.\n", "lost.rs:1: dead file"),
            ("fuzz/fuzz_targets/page.rs", "//! A.\nfn tx() {}\n", "page.rs:2: banned abbrev"),
            ("engine/src/utils.rs", "//! A.\n", "utils.rs:1: banned name"),
            ("docs/design.md", &word, "design.md:1: banned word"),
            (".ci/run", &dir, ".ci/run:1: path of one machine"),
            ("benches/Cargo.toml", "[package]\n", "benches/Cargo.toml:1: lints"),
            ("engine/Cargo.toml", "[dependencies]\nserde = \"1\"\n", "Cargo.toml:2: one of the"),
            ("ARCHITECTURE.md", "`io`\n", "ARCHITECTURE.md:1: missing module"),
        ] {
            let told = told(&[(path, text)]);
            assert!(told.iter().any(|one| one.contains(part)), "{path} {text}: {told:?}");
        }
    }
}
