//! Reads what a file refers to: its `use` trees, and paths such as `crate::page::Meta` in code.
//!
//! It never resolves a name; a [`Reference`] is what stands in the source.

use super::lexer::{Kind, Token, closing};
use super::source::Source;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reference {
    /// Inline modules of the file around the reference, outermost first.
    pub(crate) inside: Vec<String>,
    /// The path, with `crate`, `self`, `super` and `*` as they stand.
    pub(crate) segments: Vec<String>,
    /// The name that a `use` gives it here; `None` for a path in code, and for `*`.
    pub(crate) alias: Option<String>,
    pub(crate) line: usize,
}

/// All `use` leaves, and all other paths that begin with `crate`, `self` or `super`, outside tests.
pub(crate) fn references(source: &Source) -> Vec<Reference> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    let mut inside = Inside::default();
    let mut index = 0;
    while index < tokens.len() {
        inside.step(tokens, index);
        if source.in_test[index] {
            index += 1;
        } else if begins_use(tokens, index) {
            index = use_tree(tokens, index + 1, &[], &inside.names(), &mut found);
        } else if begins_path(tokens, index) {
            let (segments, end) = plain_path(tokens, index);
            let (inside, line) = (inside.names(), tokens[index].line);
            found.push(Reference { inside, segments, alias: None, line });
            index = end;
        } else {
            index += 1;
        }
    }
    found
}

/// The inline modules around a token, while walking over the tokens one by one.
#[derive(Default, Debug)]
pub(crate) struct Inside {
    /// Name and closing brace.
    open: Vec<(String, usize)>,
}

impl Inside {
    pub(crate) fn step(&mut self, tokens: &[Token], index: usize) {
        self.open.retain(|&(_, close)| index < close);
        if let Some(name) = module_name(tokens, index)
            && tokens.get(index + 2).is_some_and(|token| token.is_mark("{"))
            && let Some(close) = closing(tokens, index + 2)
        {
            self.open.push((name.to_owned(), close));
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.open.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// The name in `mod name`, when that begins at `index`.
pub(crate) fn module_name(tokens: &[Token], index: usize) -> Option<&str> {
    let name = tokens.get(index + 1).filter(|next| next.kind == Kind::Word)?;
    tokens[index].is_word("mod").then_some(name.text.as_str())
}

fn begins_use(tokens: &[Token], index: usize) -> bool {
    // `use<'a>` in a type is a capture, not an import.
    tokens[index].is_word("use") && !tokens.get(index + 1).is_some_and(|next| next.is_mark("<"))
}

fn begins_path(tokens: &[Token], index: usize) -> bool {
    let rooted = ["crate", "self", "super"].iter().any(|root| tokens[index].is_word(root));
    let visibility = index > 0 && tokens[index - 1].is_word("in");
    rooted && !visibility && is_colons(tokens, index + 1)
}

fn is_colons(tokens: &[Token], index: usize) -> bool {
    [index, index + 1].iter().all(|&at| tokens.get(at).is_some_and(|token| token.is_mark(":")))
}

/// The words joined by `::` from `index` on, and the index behind them.
fn plain_path(tokens: &[Token], mut index: usize) -> (Vec<String>, usize) {
    let mut segments = vec![tokens[index].text.clone()];
    index += 1;
    while is_colons(tokens, index)
        && let Some(next) = tokens.get(index + 2).filter(|next| next.kind == Kind::Word)
    {
        segments.push(next.text.clone());
        index += 3;
    }
    (segments, index)
}

/// Reads one tree of a `use` from `index` on, adds its leaves, and gives the index behind it. Its
/// depth is that of braces in a source file that the compiler has accepted.
fn use_tree(
    tokens: &[Token],
    mut index: usize,
    prefix: &[String],
    inside: &[String],
    found: &mut Vec<Reference>,
) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(index).map_or(0, |token| token.line);
    let mut alias = None;
    while let Some(token) = tokens.get(index) {
        if token.is_mark("{") {
            let close = closing(tokens, index).unwrap_or(tokens.len());
            index += 1;
            while index < close {
                index = use_tree(tokens, index, &segments, inside, found);
                index += usize::from(tokens.get(index).is_some_and(|next| next.is_mark(",")));
            }
            return close + 1;
        } else if token.is_word("as") {
            alias = tokens.get(index + 1).map(|name| name.text.clone());
            index += 2;
        } else if token.is_mark("*") || token.kind == Kind::Word {
            // `self` at the end of a group names the module before it.
            if prefix.is_empty() || !token.is_word("self") {
                segments.push(token.text.clone());
            }
            index += 1;
        } else if token.is_mark(":") {
            index += 1;
        } else {
            break;
        }
    }
    let glob = segments.last().is_some_and(|last| last == "*");
    let alias = alias.or_else(|| segments.last().filter(|_| !glob).cloned());
    if segments.len() > prefix.len() || !prefix.is_empty() {
        found.push(Reference { inside: inside.to_vec(), segments, alias, line });
    }
    // Whatever else stands here is skipped, so that every call moves on.
    let separator = tokens.get(index).is_some_and(|t| [",", "}", ";"].iter().any(|m| t.is_mark(m)));
    if separator { index } else { index + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let found = references(&Source::new("engine/src/x.rs", text));
        let shown = found.into_iter().map(|reference| {
            let alias = reference.alias.map_or(String::new(), |alias| format!(" as {alias}"));
            let inside = reference.inside.join(".");
            format!("{}:{inside}:{}{alias}", reference.line, reference.segments.join("::"))
        });
        shown.collect()
    }

    #[test]
    fn nested_groups_are_spelt_out() {
        assert_eq!(
            read("use crate::{\n  page::{self, Meta as M, node::*},\n  io,\n};\nuse std::fmt;"),
            [
                "2::crate::page as page",
                "2::crate::page::Meta as M",
                "2::crate::page::node::*",
                "3::crate::io as io",
                "5::std::fmt as fmt",
            ]
        );
        assert_eq!(
            read("pub(crate) use super::{a::B, c};"),
            ["1::super::a::B as B", "1::super::c as c"]
        );
        assert_eq!(read("use ::std::{io, fs};"), ["1::std::io as io", "1::std::fs as fs"]);
        assert_eq!(read("use crate as root; use crate::{self as other};").len(), 2);
    }

    #[test]
    fn paths_in_code_are_found() {
        assert_eq!(
            read(concat!(
                "fn f(x: &crate::page::Meta<'_>) {\n",
                "super::super::io::go::<u8>(self::A, $crate::b!()) }"
            )),
            ["1::crate::page::Meta", "2::super::super::io::go", "2::self::A", "2::crate::b",]
        );
    }

    #[test]
    fn comments_strings_tests_captures_and_visibility_are_not_paths() {
        for text in [
            "/// See [`crate::db::Db`].\n// use crate::db;\n/* crate::db */ fn f() {}",
            "const A: &str = \"use crate::db;\"; const B: &str = r#\"crate::db::x\"#;",
            "#[cfg(test)]\nmod tests { use crate::db; fn f() { crate::db::x(); } }",
            "fn f<'a>(x: &'a u8) -> impl Sized + use<'a> { x }",
            "pub(crate) struct A; pub(super) struct B; pub(in crate::tree) struct C;",
            "fn f(self) { self.x; self }",
        ] {
            assert_eq!(read(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn inline_modules_are_told() {
        assert_eq!(
            read("mod a { mod b { use super::x; } use super::y; } use super::z;"),
            ["1:a.b:super::x as x", "1:a:super::y as y", "1::super::z as z"]
        );
    }

    #[test]
    fn unfinished_source_ends() {
        for text in ["use", "use a::{", "use a::{b,,};", "use {{{", "use a::{=};", "crate::", "mod"]
        {
            references(&Source::new("engine/src/x.rs", text));
        }
    }
}
