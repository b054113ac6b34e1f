//! Rules for the code of one file: lengths, `unwrap`, `unsafe`, identifiers, and lint attributes.
//!
//! It sees tokens only, so nothing in a comment or a string is a finding here.

use super::Finding;
use super::lexer::{Kind, closing};
use super::paths::module_name;
use super::source::{Attribute, Source};
use super::tables::{
    FILE_LINES_MAX, FUNCTION_LINES_MAX, IDENTIFIER_WORDS, NAMES, TEST_FILE_LINES_MAX, UNSAFE_FILES,
};
use super::text::NAME_EXPECTED;

/// Everything that one file breaks. `beside_src` tells integration tests, benches and examples,
/// `test` what is compiled for tests only.
pub(crate) fn check(source: &Source, beside_src: bool, test: bool) -> Vec<Finding> {
    let lines_max = if beside_src || test { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
    let mut findings = Vec::from_iter(long_file(source, lines_max));
    findings.extend(long_functions(source));
    if !test {
        findings.extend(unwraps(source));
    }
    findings.extend(unsafe_words(source));
    findings.extend(identifiers(source));
    findings.extend(unreasoned_lints(source));
    findings
}

fn long_file(source: &Source, lines_max: usize) -> Option<Finding> {
    let lines = source.text.lines().count() - source.test_module_lines;
    (lines > lines_max).then(|| {
        let expected = format!("at most {lines_max} lines without test modules");
        Finding::new(&source.path, 1, "long file", &expected, &lines.to_string())
    })
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let long = source.functions().into_iter().filter(|one| one.lines > FUNCTION_LINES_MAX);
    let findings = long.map(|one| {
        let what = format!("long function {}", one.name);
        let expected = format!("at most {FUNCTION_LINES_MAX} lines");
        Finding::new(&source.path, one.line, &what, &expected, &one.lines.to_string())
    });
    findings.collect()
}

fn unwraps(source: &Source) -> Vec<Finding> {
    let used = source.shipped().filter(|(_, t)| t.is_word("unwrap") || t.is_word("unwrap_err"));
    let findings = used.map(|(_, token)| {
        let expected = "`?`, or `expect(\"invariant: ..\")`";
        Finding::new(&source.path, token.line, "unwrap outside tests", expected, &token.text)
    });
    findings.collect()
}

fn unsafe_words(source: &Source) -> Vec<Finding> {
    if UNSAFE_FILES.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let used = source.tokens.iter().filter(|token| token.is_word("unsafe"));
    let findings = used.map(|token| {
        let expected = format!("it in {} only", UNSAFE_FILES.join(", "));
        Finding::new(&source.path, token.line, "unsafe code", &expected, "`unsafe`")
    });
    findings.collect()
}

fn identifiers(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, token) in source.tokens.iter().enumerate() {
        if let Some(name) = module_name(&source.tokens, index).filter(|name| NAMES.contains(name)) {
            findings.push(Finding::new(
                &source.path,
                token.line,
                "banned name",
                NAME_EXPECTED,
                name,
            ));
        }
        if !matches!(token.kind, Kind::Word | Kind::Lifetime) {
            continue;
        }
        let parts = parts_of(&token.text);
        for (banned, house) in IDENTIFIER_WORDS {
            if parts.iter().any(|part| part == banned) {
                let what = "banned abbreviation in an identifier";
                let found = format!("`{}`", token.text);
                let expected = format!("`{house}`");
                findings.push(Finding::new(&source.path, token.line, what, &expected, &found));
            }
        }
    }
    findings
}

/// The words of an identifier in lower case: `PageId_2` is `page`, `id`.
fn parts_of(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let chars: Vec<char> = identifier.chars().collect();
    for (index, &char) in chars.iter().enumerate() {
        let lower = |at: usize| chars.get(at).is_some_and(|char| char.is_lowercase());
        let begins = char.is_uppercase() && (index > 0 && lower(index - 1) || lower(index + 1));
        if begins || !char.is_alphabetic() {
            parts.push(String::new());
        }
        if char.is_alphabetic()
            && let Some(part) = parts.last_mut()
        {
            part.extend(char.to_lowercase());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn unreasoned_lints(source: &Source) -> Vec<Finding> {
    let tokens = &source.tokens;
    let mut findings = Vec::new();
    for index in 0..tokens.len() {
        let Some(attribute) = Attribute::at(tokens, index) else {
            continue;
        };
        // Also within `cfg_attr(.., allow(..))`.
        for at in attribute.first..attribute.last {
            let lint = tokens[at].is_word("allow") || tokens[at].is_word("expect");
            if !lint || !tokens[at + 1].is_mark("(") {
                continue;
            }
            let close = closing(tokens, at + 1).unwrap_or(attribute.last);
            let reasoned = tokens[at..close]
                .windows(2)
                .any(|pair| pair[0].is_word("reason") && pair[1].is_mark("="));
            if !reasoned {
                let (line, what) = (tokens[at].line, format!("{} of a lint", tokens[at].text));
                findings.push(Finding::new(&source.path, line, &what, "`reason = ..`", "none"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(path: &str, text: &str, beside_src: bool, test: bool) -> Vec<String> {
        let findings = check(&Source::new(path, text), beside_src, test);
        findings.iter().map(|one| format!("{}: {} {}", one.line, one.what, one.found)).collect()
    }

    fn shipped(text: &str) -> Vec<String> {
        whats("engine/src/page.rs", text, false, false)
    }

    #[test]
    fn long_files_are_found_and_test_modules_not_counted() {
        let body = "//\n".repeat(500);
        let tests = "#[cfg(test)]\nmod tests {\n// }\n}\n";
        assert_eq!(shipped(&format!("{body}{tests}")), [""; 0]);
        assert_eq!(shipped(&format!("{body}{tests}//\n")), ["1: long file 501"]);
        assert_eq!(shipped(&format!("{body}#[cfg(test)]\nfn f() {{\n}}\n")), ["1: long file 503"]);
        let body = "//\n".repeat(800);
        assert_eq!(whats("engine/tests/a.rs", &body, true, true), [""; 0]);
        assert_eq!(whats("engine/src/image.rs", &body, false, true), [""; 0]);
        let told = whats("benches/benches/a.rs", &format!("{body}//\n"), true, false);
        assert_eq!(told, ["1: long file 801"]);
    }

    #[test]
    fn long_functions_are_found() {
        let lines = |count: usize| "    a('{', \"}\"); // }\n".repeat(count);
        assert_eq!(shipped(&format!("\nfn f() {{\n{}}}\n", lines(68))), [""; 0]);
        assert_eq!(shipped(&format!("\nfn f() {{\n{}}}\n", lines(69))), ["2: long function f 71"]);
        let in_test = format!("#[cfg(test)]\nmod tests {{\nfn f() {{\n{}}}\n}}\n", lines(69));
        assert_eq!(shipped(&in_test), ["3: long function f 71"]);
    }

    #[test]
    fn unwraps_are_found_outside_tests() {
        assert_eq!(shipped("\nfn f() { a.unwrap() }"), ["2: unwrap outside tests unwrap"]);
        assert_eq!(shipped("fn f() { a.map(Option::unwrap); b.unwrap_err() }").len(), 2);
        for fine in [
            "fn f() { a.unwrap_or(b).unwrap_or_else(c).unwrap_or_default() }",
            "/// let a = b.unwrap();\nfn f() { \"unwrap()\"; r#\"a.unwrap()\"# }",
            "#[cfg(test)] mod tests { fn f() { a.unwrap() } }",
            "#[test] fn f() { a.unwrap() }",
        ] {
            assert_eq!(shipped(fine), [""; 0], "{fine}");
        }
        assert_eq!(whats("engine/tests/a.rs", "fn f() { a.unwrap() }", true, true), [""; 0]);
        assert_eq!(whats("benches/benches/a.rs", "fn f() { a.unwrap() }", true, false).len(), 1);
    }

    #[test]
    fn unsafe_code_is_found_outside_its_one_file() {
        let text = "\nfn f() { unsafe { go() } }";
        assert_eq!(shipped(text), ["2: unsafe code `unsafe`"]);
        assert_eq!(whats("engine/tests/a.rs", text, true, true).len(), 1);
        assert_eq!(whats("engine/src/io/region.rs", text, false, false), [""; 0]);
        assert_eq!(shipped("#![deny(unsafe_code)] // unsafe\nfn f() { \"unsafe\" }"), [""; 0]);
    }

    #[test]
    fn banned_identifier_words_are_found() {
        for name in ["tx", "tx_id", "begin_tx", "Tx", "WriteTx", "TxId", "TX_MAX", "tx2", "_tx"] {
            assert_eq!(shipped(&format!("fn f({name}: u8) {{}}")).len(), 1, "{name}");
        }
        assert_eq!(shipped("fn f<'tx>() {}").len(), 1);
        for name in ["txn", "ctx", "TxnId", "context", "HTXN", "r#try"] {
            assert_eq!(shipped(&format!("fn f({name}: u8) {{}} // tx \"tx\"")), [""; 0], "{name}");
        }
    }

    #[test]
    fn banned_module_names_are_found_inline() {
        assert_eq!(shipped("mod utils { }"), ["1: banned name utils"]);
        assert_eq!(shipped("fn f(base: u8) {}"), [""; 0]);
    }

    #[test]
    fn lints_are_allowed_with_a_reason_only() {
        assert_eq!(shipped("\n#[allow(dead_code)] fn f() {}"), ["2: allow of a lint none"]);
        assert_eq!(shipped("#![allow(dead_code)]"), ["1: allow of a lint none"]);
        assert_eq!(shipped("#[cfg_attr(loom, allow(dead_code))] fn f() {}").len(), 1);
        assert_eq!(shipped("struct A(#[expect(dead_code)] u8);").len(), 1);
        for fine in [
            "#[allow(\n    dead_code,\n    reason = \"held\"\n)] fn f() {}",
            "#[cfg_attr(loom, allow(dead_code, reason = \"x\"))] fn f() {}",
            "fn allow(a: u8) { allow(1); a.expect(\"x\") } // #[allow(dead_code)]",
            "#[should_panic(expected = \"x\")] fn f() { \"#[allow(dead_code)]\" }",
        ] {
            assert_eq!(shipped(fine), [""; 0], "{fine}");
        }
    }
}
