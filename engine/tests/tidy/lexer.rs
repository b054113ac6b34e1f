//! Splits Rust source into tokens, well enough to count braces and to read paths.
//!
//! It never fails: source that does not compile gives some tokens, and the compiler its errors.
//!
//! Invariants:
//! 1. Nothing inside a comment, string or character literal becomes a word or a mark.
//! 2. Lines are counted from 1, and a token carries the line of its first character.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// An identifier or keyword; the `r#` of a raw one is left out.
    Word,
    /// A lifetime or label, without its quote.
    Lifetime,
    /// A string, character or number, as it stands in the source.
    Literal,
    /// One character of punctuation.
    Mark,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    /// +1 for an opening bracket of any kind, -1 for a closing one, else 0.
    pub(crate) fn nesting(&self) -> isize {
        match (self.kind, self.text.as_str()) {
            (Kind::Mark, "(" | "[" | "{") => 1,
            (Kind::Mark, ")" | "]" | "}") => -1,
            _ => 0,
        }
    }
}

/// The tokens of `text`, comments left out.
pub(crate) fn lex(text: &str) -> Vec<Token> {
    let mut lexer =
        Lexer { chars: text.chars().collect(), at: 0, start: 0, line: 1, tokens: Vec::new() };
    lexer.run();
    lexer.tokens
}

/// The index of the bracket that closes the one at `open`.
pub(crate) fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        depth += token.nesting();
        if depth <= 0 {
            return Some(index);
        }
    }
    None
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    /// Where the token being read began.
    start: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn run(&mut self) {
        while let Some(char) = self.peek(0) {
            self.start = self.at;
            match (char, self.peek(1)) {
                ('/', Some('/')) => self.skip_while(|char| char != '\n'),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                _ if char.is_whitespace() => self.skip(1),
                _ if char.is_ascii_digit() => self.number(),
                _ if starts_word(char) => self.word(),
                _ => {
                    self.skip(1);
                    self.push(Kind::Mark, self.line);
                }
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == Some('\n') {
                self.line += 1;
            }
            self.at = (self.at + 1).min(self.chars.len());
        }
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&keep) {
            self.skip(1);
        }
    }

    fn push(&mut self, kind: Kind, line: usize) {
        let text = self.chars[self.start..self.at].iter().collect();
        self.tokens.push(Token { kind, text, line });
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(char) = self.peek(0) {
            match (char, self.peek(1)) {
                ('/', Some('*')) => {
                    depth += 1;
                    self.skip(2);
                }
                ('*', Some('/')) => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.skip(1),
            }
        }
    }

    /// At the opening quote of a string with escapes.
    fn string(&mut self) {
        let line = self.line;
        self.until_quote('"');
        self.push(Kind::Literal, line);
    }

    /// At the first hash or quote of a raw string.
    fn raw_string(&mut self, line: usize) {
        let mut hashes = 0;
        while self.peek(0) == Some('#') {
            hashes += 1;
            self.skip(1);
        }
        self.skip(1);
        while let Some(char) = self.peek(0) {
            self.skip(1);
            if char == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.skip(hashes);
                break;
            }
        }
        self.push(Kind::Literal, line);
    }

    /// At a quote that begins a character or a lifetime.
    fn quote(&mut self) {
        let line = self.line;
        let character = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        if character {
            self.until_quote('\'');
            self.push(Kind::Literal, line);
        } else {
            self.skip(1);
            self.start = self.at;
            self.skip_while(continues_word);
            self.push(Kind::Lifetime, line);
        }
    }

    /// From an opening quote past the closing one, escapes understood.
    fn until_quote(&mut self, quote: char) {
        self.skip(1);
        while let Some(char) = self.peek(0) {
            self.skip(if char == '\\' { 2 } else { 1 });
            if char == quote {
                return;
            }
        }
    }

    fn number(&mut self) {
        while let Some(char) = self.peek(0) {
            let text = &self.chars[self.start..self.at];
            let decimal = !matches!(text, ['0', 'x' | 'b' | 'o', ..]);
            let goes_on = match char {
                '.' => {
                    !text.contains(&'.') && self.peek(1).is_some_and(|next| next.is_ascii_digit())
                }
                '+' | '-' => decimal && matches!(text.last(), Some('e' | 'E')),
                _ => continues_word(char),
            };
            if !goes_on {
                break;
            }
            self.skip(1);
        }
        self.push(Kind::Literal, self.line);
    }

    /// At a letter: a word, or the prefix of a literal or of a raw identifier.
    fn word(&mut self) {
        self.skip_while(continues_word);
        let prefix: String = self.chars[self.start..self.at].iter().collect();
        let hashes = (0..).take_while(|&ahead| self.peek(ahead) == Some('#')).count();
        let line = self.line;
        match (prefix.as_str(), self.peek(hashes)) {
            ("r" | "br" | "cr", Some('"')) => self.raw_string(line),
            ("b" | "c", Some('"')) if hashes == 0 => {
                self.until_quote('"');
                self.push(Kind::Literal, line);
            }
            ("b", Some('\'')) if hashes == 0 => {
                self.until_quote('\'');
                self.push(Kind::Literal, line);
            }
            ("r", Some(next)) if hashes == 1 && starts_word(next) => {
                self.skip(1);
                self.start = self.at;
                self.skip_while(continues_word);
                self.push(Kind::Word, line);
            }
            _ => self.push(Kind::Word, line),
        }
    }
}

fn starts_word(char: char) -> bool {
    char == '_' || char.is_alphabetic()
}

fn continues_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str, kind: Kind) -> Vec<String> {
        lex(source).into_iter().filter(|token| token.kind == kind).map(|t| t.text).collect()
    }

    fn marks(source: &str) -> String {
        texts(source, Kind::Mark).concat()
    }

    #[test]
    fn strings_hide_their_braces() {
        assert_eq!(marks(r#"f("{ \" { \\", b"{", c"{")"#), "(,,)");
        assert_eq!(marks("f(\"a \\\n {\")"), "()");
    }

    #[test]
    fn raw_strings_end_at_their_own_number_of_hashes() {
        let source = r####"f(r"\", r#"{"{"#, br##"}"#}"##, cr#"("#)"####;
        assert_eq!(marks(source), "(,,,)");
        let literals = texts(source, Kind::Literal);
        assert_eq!(literals, [r#"r"\""#, r##"r#"{"{"#"##, r###"br##"}"#}"##"###, r##"cr#"("#"##]);
    }

    #[test]
    fn comments_hide_their_braces_and_nest() {
        assert_eq!(marks("a; // { \" '\nb;"), ";;");
        assert_eq!(marks("a; /* { /* } */ \" still */ b;"), ";;");
        assert_eq!(texts("/// fn hidden\n//! too\nfn seen", Kind::Word), ["fn", "seen"]);
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        assert_eq!(marks(r"f('{', '\'', '\u{7b}', b'{', b'\\', '\'')"), "(,,,,,)");
        let source = "fn f<'a, 'b: 'a>(x: &'a str) { 'outer: loop { break 'outer; } }";
        assert_eq!(texts(source, Kind::Lifetime), ["a", "b", "a", "a", "outer", "outer"]);
        assert_eq!(texts("match c { 'a'..='z' | '\"' => 'é' }", Kind::Lifetime), [""; 0]);
        assert_eq!(marks("f::<'a,'b>('{')"), "::<,>()");
    }

    #[test]
    fn numbers_leave_ranges_and_methods_alone() {
        assert_eq!(
            texts("1..2 0xff_u32 1.5e-3 1.max(2) pair.0.1 0xe+1", Kind::Literal),
            ["1", "2", "0xff_u32", "1.5e-3", "1", "2", "0.1", "0xe", "1"]
        );
    }

    #[test]
    fn raw_identifiers_lose_their_prefix() {
        assert_eq!(texts("r#type r rb br#as", Kind::Word), ["type", "r", "rb", "br", "as"]);
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let tokens = lex("a\n/* \n\n */ \"x\ny\" r#\"\n\"#\nb");
        let lines: Vec<usize> = tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 4, 5, 7]);
    }

    #[test]
    fn unfinished_source_ends() {
        for source in ["\"", "r#\"", "'", "'\\", "/*", "b'", "r#", "0x", "{ (", "\"\\"] {
            lex(source);
        }
        assert_eq!(closing(&lex("{ ("), 0), None);
        assert_eq!(closing(&lex("({[]}) x"), 0), Some(5));
    }
}
