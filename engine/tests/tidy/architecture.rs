//! Rules for `ARCHITECTURE.md`: short, and naming every module of the engine.
//!
//! It never judges what the page says of a module, only that its name stands there as code.

use super::Finding;
use super::tables::{ARCHITECTURE_LINES_MAX, Layers};

pub(crate) const PATH: &str = "ARCHITECTURE.md";

pub(crate) fn check(text: &str, layers: Layers) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > ARCHITECTURE_LINES_MAX {
        let expected = format!("at most {ARCHITECTURE_LINES_MAX} lines");
        findings.push(Finding::new(PATH, lines, "long page", &expected, &lines.to_string()));
    }
    let code = code_of(text);
    let named: Vec<&str> =
        code.split(|char: char| char != '_' && !char.is_alphanumeric()).collect();
    for module in layers.concat().into_iter().filter(|module| !named.contains(module)) {
        let expected = format!("`{module}` named in a code span or block");
        findings.push(Finding::new(PATH, 1, "missing module", &expected, "no mention"));
    }
    findings
}

/// What stands between backticks, one or three, and in indented blocks. Words such as "page" and
/// "check" in sentences name no module.
fn code_of(text: &str) -> String {
    let spans = text.split('`').skip(1).step_by(2);
    let indented = text.lines().filter(|line| line.starts_with("    "));
    spans.chain(indented).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: Layers = &[&["io", "page"], &["tree"]];

    #[test]
    fn modules_are_named_as_code() {
        assert!(check("`io`, `page/` and\n\n    tree   cursor\n", LAYERS).is_empty());
        assert!(check("```\nio -> page\n``` `engine/src/tree.rs`", LAYERS).is_empty());
        let findings = check("A tree of each page is read. `io` `trees`", LAYERS);
        let expected: Vec<&str> = findings.iter().map(|one| one.expected.as_str()).collect();
        assert_eq!(
            expected,
            ["`page` named in a code span or block", "`tree` named in a code span or block"]
        );
    }

    #[test]
    fn a_long_page_is_found() {
        let page = |lines| format!("`io page tree`{}", "\n".repeat(lines));
        assert!(check(&page(250), LAYERS).is_empty());
        assert_eq!(check(&page(251), LAYERS)[0].to_string().split(',').count(), 3);
    }
}
