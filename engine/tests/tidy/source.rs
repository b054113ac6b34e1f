//! One Rust file: its tokens, which of them belong to tests, and where its functions end.
//!
//! It never looks at another file; that a whole file is a test because its parent says so is for
//! `modules` to tell.

use super::lexer::{Token, closing, lex};

#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// For each token, whether it is compiled for tests only.
    pub(crate) in_test: Vec<bool>,
    /// Lines of the `mod` items with a body that are compiled for tests only.
    pub(crate) test_module_lines: usize,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let tokens = lex(text);
        let mut source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
            in_test: vec![false; tokens.len()],
            tokens,
            test_module_lines: 0,
        };
        source.find_tests();
        source
    }

    /// The tokens that are compiled outside tests, with their indexes.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &Token)> {
        self.tokens.iter().enumerate().filter(|&(index, _)| !self.in_test[index])
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (index, pair) in self.tokens.windows(2).enumerate() {
            // `fn(..)` is a type.
            if !pair[0].is_word("fn") || pair[1].is_mark("(") {
                continue;
            }
            let Some(body) = body_or_end(&self.tokens, index) else {
                continue;
            };
            if self.tokens[body].is_mark("{")
                && let Some(last) = closing(&self.tokens, body)
            {
                let lines = self.tokens[last].line - pair[0].line + 1;
                functions.push(Function { name: pair[1].text.clone(), line: pair[0].line, lines });
            }
        }
        functions
    }

    fn find_tests(&mut self) {
        let mut index = 0;
        while index < self.tokens.len() {
            let Some(attribute) = Attribute::at(&self.tokens, index) else {
                index += 1;
                continue;
            };
            if !attribute.marks_test(&self.tokens) {
                index = attribute.last + 1;
                continue;
            }
            if attribute.inner {
                self.in_test.fill(true);
                return;
            }
            let (item, last) = item_after(&self.tokens, attribute.last + 1);
            self.in_test[index..=last].fill(true);
            if self.tokens[item].is_word("mod") && self.tokens[last].is_mark("}") {
                self.test_module_lines += self.tokens[last].line - self.tokens[index].line + 1;
            }
            index = last + 1;
        }
    }
}

/// `#[..]` or `#![..]`, as indexes of tokens.
#[derive(Debug)]
pub(crate) struct Attribute {
    /// The first token within the brackets.
    pub(crate) first: usize,
    /// The closing bracket.
    pub(crate) last: usize,
    inner: bool,
}

impl Attribute {
    pub(crate) fn at(tokens: &[Token], index: usize) -> Option<Attribute> {
        tokens.get(index).filter(|token| token.is_mark("#"))?;
        let inner = tokens.get(index + 1)?.is_mark("!");
        let open = index + 1 + usize::from(inner);
        tokens.get(open).filter(|token| token.is_mark("["))?;
        Some(Attribute { first: open + 1, last: closing(tokens, open)?, inner })
    }

    /// True for `#[test]`, `#[other::test]`, and a `#[cfg(..)]` that holds in tests only.
    pub(crate) fn marks_test(&self, tokens: &[Token]) -> bool {
        let content = &tokens[self.first..self.last];
        let path_end = content.iter().position(|t| t.is_mark("(")).unwrap_or(content.len());
        if content.first().is_some_and(|token| token.is_word("cfg")) {
            return holds_in_tests_only(content.get(2..content.len() - 1).unwrap_or_default());
        }
        content[..path_end].last().is_some_and(|token| token.is_word("test"))
    }
}

/// Whether a `cfg` predicate implies `test`. The nesting is bounded by what rustc accepts.
fn holds_in_tests_only(predicate: &[Token]) -> bool {
    let inside = predicate.get(2..predicate.len().saturating_sub(1)).unwrap_or_default();
    match predicate.first() {
        Some(token) if token.is_word("test") => true,
        Some(token) if token.is_word("all") => {
            arguments(inside).into_iter().any(holds_in_tests_only)
        }
        Some(token) if token.is_word("any") => {
            !inside.is_empty() && arguments(inside).into_iter().all(holds_in_tests_only)
        }
        _ => false,
    }
}

/// Splits at the commas that lie in no brackets; what a last comma leaves is dropped.
fn arguments(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0;
    let parts = tokens.split(|token| {
        depth += token.nesting();
        depth == 0 && token.is_mark(",")
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// The index of the token that names an item's kind, and that of the item's last token. The item
/// begins at `index`, or behind the attributes that stand there.
pub(crate) fn item_after(tokens: &[Token], mut index: usize) -> (usize, usize) {
    while let Some(attribute) = Attribute::at(tokens, index) {
        index = attribute.last + 1;
    }
    if tokens.get(index).is_some_and(|token| token.is_word("pub")) {
        index += 1;
        if tokens.get(index).is_some_and(|token| token.is_mark("(")) {
            index = closing(tokens, index).map_or(tokens.len(), |close| close + 1);
        }
    }
    let index = index.min(tokens.len() - 1);
    let last = match tokens[index].text.as_str() {
        "const" if tokens.get(index + 1).is_some_and(|token| token.is_word("fn")) => {
            body_end(tokens, index)
        }
        "use" | "let" | "const" | "static" | "type" => end_of(tokens, index, &[";"]),
        "fn" | "mod" | "impl" | "struct" | "enum" | "trait" | "union" | "unsafe" | "async"
        | "extern" | "macro_rules" => body_end(tokens, index),
        // A field, a variant, an arm, or a statement.
        _ => end_of(tokens, index, &[",", ";"]),
    };
    (index, last)
}

/// The last token of the item at `index` that ends with its body, or with a semicolon.
fn body_end(tokens: &[Token], index: usize) -> usize {
    body_or_end(tokens, index)
        .and_then(|at| if tokens[at].is_mark(";") { Some(at) } else { closing(tokens, at) })
        .unwrap_or(tokens.len() - 1)
}

/// The first of `marks` outside brackets, or the last token before the brackets around end.
fn end_of(tokens: &[Token], index: usize, marks: &[&str]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(index) {
        depth += token.nesting();
        if depth < 0 {
            return at - 1;
        }
        if depth == 0 && marks.iter().any(|mark| token.is_mark(mark)) {
            return at;
        }
    }
    tokens.len() - 1
}

/// The brace that opens the body of the item at `index`, or the semicolon that stands for it.
fn body_or_end(tokens: &[Token], index: usize) -> Option<usize> {
    let mut at = index;
    while let Some(token) = tokens.get(at) {
        let constant = at > 0 && (tokens[at - 1].is_mark("<") || tokens[at - 1].is_mark("="));
        if token.is_mark(";") || (token.is_mark("{") && !constant) {
            return Some(at);
        }
        // Brackets of the signature, and a braced constant such as `Ring<{ N + 1 }>`.
        at = if token.nesting() > 0 { closing(tokens, at)? + 1 } else { at + 1 };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped_words(text: &str) -> String {
        let source = Source::new("engine/src/x.rs", text);
        let words = source.shipped().filter(|(_, token)| token.text.starts_with("keep"));
        words.map(|(_, token)| token.text.clone()).collect::<Vec<_>>().join(" ")
    }

    fn functions(text: &str) -> Vec<(String, usize, usize)> {
        let functions = Source::new("engine/src/x.rs", text).functions();
        functions.into_iter().map(|f| (f.name, f.line, f.lines)).collect()
    }

    #[test]
    fn items_for_tests_are_not_shipped() {
        for gone in [
            "#[cfg(test)]\nmod tests { fn keep() {} }",
            "#[cfg(test)] #[allow(x)] pub(crate) mod image;",
            "#[cfg(all(test, loom))] mod loom_tests { keep }",
            "#[cfg(any(all(test, unix), test))] fn keep<A, B>(a: [u8; 3]) -> u8 { keep }",
            "#[test] #[ignore] fn keep() where A: B, { '{'; keep }",
            "#[tokio::test(flavor = \"x\")] async fn keep() {}",
            "#[cfg(test)] use a::{keep, b::{keep}};",
            "#[cfg(test)] const keep: A = A { keep };",
            "#[cfg(test)] const fn keep() {}",
            "#[cfg(test)] impl keep for A<{ N }> { keep }",
            "#[cfg(test)] keep_field: A,",
            "#[cfg(test)] let keep = { 1 };",
        ] {
            assert_eq!(shipped_words(&format!("{gone} keep_after")), "keep_after", "{gone}");
        }
        assert_eq!(shipped_words("struct A { #[cfg(test)] keep: B } keep_after"), "keep_after");
        assert_eq!(shipped_words("#![cfg(test)] fn keep() {}"), "");
    }

    #[test]
    fn items_that_only_sound_like_tests_are_shipped() {
        for kept in [
            "#[cfg(not(test))] fn keep() {}",
            "#[cfg(any(test, feature = \"simulation\"))] mod keep;",
            "#[cfg(feature = \"test\")] fn keep() {}",
            "#[cfg_attr(test, derive(Debug))] struct keep;",
            "#[cfg(loom)] fn keep() {}",
            "// #[cfg(test)]\nfn keep() {}",
            "#[allow(test)] fn keep() {}",
            "#[cfg(any())] fn keep() {}",
        ] {
            assert_eq!(shipped_words(kept), "keep", "{kept}");
        }
    }

    #[test]
    fn functions_end_at_their_own_brace() {
        assert_eq!(
            functions("fn a() {\n'{'; \"{\"; // {\nif x { y } /* { */\n}\nfn b();\nfn c() {}"),
            [("a".to_owned(), 1, 4), ("c".to_owned(), 6, 1)]
        );
        assert_eq!(
            functions("fn a<'x>(f: fn(u8) -> u8, b: [u8; { 1 }])\n-> R<{ N }>\nwhere T: U,\n{\n}"),
            [("a".to_owned(), 1, 5)]
        );
        assert_eq!(
            functions("impl A {\nfn a() {\nfn b() {\n}\n}\n}"),
            [("a".to_owned(), 2, 4), ("b".to_owned(), 3, 2)]
        );
    }

    #[test]
    fn lines_of_test_modules_are_counted_from_their_attribute() {
        let text = "//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n#[cfg(test)]\nmod image;\n";
        assert_eq!(Source::new("engine/src/x.rs", text).test_module_lines, 3);
    }
}
