//! Rules for lines of text: width, white space, words, and what belongs to one machine only.
//!
//! It never tells code from comments; a word banned here is banned in strings as well.

use super::Finding;
use super::tables::{COLUMNS_MAX, HOSTS, MACHINE_DIRS, NAMES, WORDS};

/// For Rust files: how the file begins and ends, and how its lines look.
pub(crate) fn layout(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        let found = text.lines().next().unwrap_or("an empty file");
        findings.push(Finding::new(
            path,
            1,
            "no opening comment",
            "`//!` on the first line",
            found,
        ));
    }
    for (line, content) in (1..).zip(text.split('\n')) {
        let columns = content.chars().count();
        if columns > COLUMNS_MAX {
            let expected = format!("at most {COLUMNS_MAX} columns");
            findings.push(Finding::new(path, line, "long line", &expected, &columns.to_string()));
        }
        if content.contains('\t') {
            findings.push(Finding::new(path, line, "tab", "spaces", "a tab"));
        }
        if content.ends_with(char::is_whitespace) {
            let what = "white space at the end of a line";
            findings.push(Finding::new(path, line, what, "none", &format!("{content:?}")));
        }
    }
    if !text.ends_with('\n') || text.ends_with("\n\n") {
        let line = text.lines().count().max(1);
        let found = format!("{:?}", text.chars().rev().take(2).collect::<String>());
        findings.push(Finding::new(path, line, "end of file", "one line feed", &found));
    }
    findings
}

/// For code and pages: banned words.
pub(crate) fn words(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let words = content.split(|char: char| char != '_' && !char.is_alphanumeric());
        for word in words.filter(|word| WORDS.contains(&word.to_lowercase().as_str())) {
            let expected = "an issue, or the work itself";
            findings.push(Finding::new(path, line, "banned word", expected, word));
        }
    }
    findings
}

/// For code and pages: names of files and folders.
pub(crate) fn names(path: &str) -> Vec<Finding> {
    let parts = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let banned = parts.filter(|part| NAMES.contains(&part.to_lowercase().as_str()));
    banned.map(|name| Finding::new(path, 1, "banned name", NAME_EXPECTED, name)).collect()
}

/// What a banned module or file name should have been.
pub(crate) const NAME_EXPECTED: &str = "a name for what it does";

/// For every file: folders and hosts of the machine that the text was written on.
pub(crate) fn machine(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        for dir in MACHINE_DIRS.iter().filter(|dir| names_dir(content, dir)) {
            let what = "path of one machine";
            findings.push(Finding::new(path, line, what, "a relative path", dir));
        }
        for host in HOSTS.iter().filter(|host| content.to_lowercase().contains(**host)) {
            findings.push(Finding::new(path, line, "registry host", "none", host));
        }
    }
    findings
}

/// Whether `dir` stands in the line as an absolute path, not as the middle of another one.
fn names_dir(line: &str, dir: &str) -> bool {
    line.match_indices(dir).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || "_-.}>)*".contains(char))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|one| format!("{}: {} {}", one.line, one.what, one.found)).collect()
    }

    #[test]
    fn a_file_begins_and_ends_well() {
        assert!(layout("x.rs", "//! What it does.\n\nfn f() {}\n").is_empty());
        assert_eq!(whats(&layout("x.rs", "fn f() {}\n")), ["1: no opening comment fn f() {}"]);
        assert_eq!(layout("x.rs", "\n//! Late.\n").len(), 1);
        assert_eq!(whats(&layout("x.rs", "//! a\nb")), ["2: end of file \"b\\n\""]);
        assert_eq!(layout("x.rs", "//! a\n\n").len(), 1);
        assert_eq!(layout("x.rs", "").len(), 2);
    }

    #[test]
    fn lines_are_short_and_clean() {
        let fits = format!("//! {}\n", "é".repeat(96));
        assert!(layout("x.rs", &fits).is_empty());
        let long = format!("//! a\n//! {}\n", "é".repeat(97));
        assert_eq!(whats(&layout("x.rs", &long)), ["2: long line 101"]);
        assert_eq!(whats(&layout("x.rs", "//! a\n\tb\n")), ["2: tab a tab"]);
        assert_eq!(layout("x.rs", "//! a \n").len(), 1);
        assert_eq!(layout("x.rs", "//! a\r\n").len(), 1);
    }

    #[test]
    fn banned_words_are_found_whole_and_in_any_case() {
        for word in WORDS {
            let upper = word.to_uppercase();
            assert_eq!(words("a.md", &format!("a\n* {upper}: later")).len(), 1, "{word}");
            assert_eq!(words("a.rs", &format!("fn f() {{ {word}!() }}")).len(), 1, "{word}");
            assert!(words("a.rs", &format!("re{word} {word}s {word}_list")).is_empty(), "{word}");
        }
    }

    #[test]
    fn banned_names_are_found_in_every_part() {
        assert_eq!(names("engine/src/util.rs").len(), 1);
        assert_eq!(names("engine/src/Helpers/mod.rs").len(), 1);
        assert_eq!(names("docs/misc.md").len(), 1);
        assert!(names("engine/src/database.rs").is_empty());
    }

    #[test]
    fn paths_and_hosts_of_a_machine_are_found() {
        for dir in MACHINE_DIRS {
            for line in [format!("see {dir}main"), format!("\"{dir}x\""), format!("({dir})")] {
                assert_eq!(machine("a.md", &line).len(), 1, "{line}");
            }
            assert!(machine("a.md", &format!("https://a.example{dir} ../..{dir}b")).is_empty());
        }
        for host in HOSTS {
            assert_eq!(machine("Cargo.lock", &format!("https://{host}/x")).len(), 1, "{host}");
        }
        assert!(machine("a.md", "docs/work.md roots/ at home /tmp/ https://crates.io/").is_empty());
    }
}
