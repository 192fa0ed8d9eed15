//! A file as the rules see it.
//!
//! Owns: telling code from comments and literals, and tests from the rest.
//! Never: a rule.

use std::fmt;
use std::path::Path;

/// A file of the project.
pub(crate) struct Source {
    /// From the root of the project, with slashes.
    pub(crate) path: String,
    /// As it stands there.
    pub(crate) text: String,
    /// The text with spaces for everything in comments, strings and characters: the same lines, code alone.
    pub(crate) code: String,
    /// For each line, whether it is part of a test.
    tests: Vec<bool>,
}

/// Something that a rule does not want.
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if is_rust(path) { code_alone(text) } else { text.to_owned() };
        let tests = test_lines(path, &code);
        Self { path: path.to_owned(), text: text.to_owned(), code, tests }
    }

    pub(crate) fn is_rust(&self) -> bool {
        is_rust(&self.path)
    }

    /// Whether it is part of the program, and not of its tests or benches.
    pub(crate) fn is_product(&self) -> bool {
        self.path.starts_with("src/") && self.product_lines() > 0
    }

    /// How many lines are not part of a test.
    pub(crate) fn product_lines(&self) -> usize {
        self.tests.iter().filter(|is_test| !**is_test).count()
    }

    /// The code without its tests: the same lines.
    pub(crate) fn product_code(&self) -> String {
        let lines = self.code.lines().zip(&self.tests);
        lines.map(|(line, is_test)| if *is_test { "\n".to_owned() } else { format!("{line}\n") }).collect()
    }

    pub(crate) fn finding(&self, line: usize, rule: &'static str, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, rule, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, what } = self;
        write!(f, "{path}:{line}: [{rule}] {what}")
    }
}

/// The line of `code` that the byte `at` is in, from 1.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// Where the `}` stands that closes the first `{`; `None` where the item ends with a `;` before that, or not at all.
pub(crate) fn end_of_block(code: &str) -> Option<usize> {
    let mut braces = 0_usize;
    let mut brackets = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(at),
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|kind| kind == "rs")
}

fn test_lines(path: &str, code: &str) -> Vec<bool> {
    let of_tests = ["tests/", "benches/", "examples/"].iter().any(|folder| path.starts_with(folder));
    let mut tests = vec![of_tests || path.ends_with("/tests.rs"); code.lines().count()];
    for (at, _) in ["#[cfg(test)]", "#[cfg(all(test,"].iter().flat_map(|attribute| code.match_indices(attribute)) {
        let rest = &code[at..];
        let length = end_of_block(rest).or_else(|| rest.find(';')).unwrap_or(rest.len());
        let (first, last) = (line_of(code, at), line_of(code, (at + length).min(code.len())));
        tests.iter_mut().take(last).skip(first - 1).for_each(|is_test| *is_test = true);
    }
    tests
}

fn code_alone(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let after_a_name = code.ends_with(super::words::is_part_of_a_name);
        if let Some(length) = literal_or_comment(rest, after_a_name) {
            let (gone, kept) = rest.split_at(length);
            code.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = kept;
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// How many bytes of `text` are the comment or the literal that it begins with.
fn literal_or_comment(text: &str, after_a_name: bool) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    if text.starts_with('"') {
        return Some(quoted(text, '"'));
    }
    if let Some(inside) = text.strip_prefix('\'') {
        let mut inside = inside.chars();
        let first = inside.next();
        // Otherwise it is a lifetime.
        return (first == Some('\\') || inside.next() == Some('\'')).then(|| quoted(text, '\''));
    }
    let raw = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix)).filter(|_| !after_a_name)?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let inside = raw[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(text.len() - inside.len() + length)
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[test]
fn comments_and_literals_are_no_code() {
    for text in [
        "a // redis",
        "a /* redis /* redis */ redis */ b",
        r#"a "redis \" redis" b"#,
        "a r#\"redis \" redis\"# b",
        "a b\"redis\" b",
        "a '\\'' b '\"' b \"redis\"",
        "a \"é\\\\\" b \"redis\"",
    ] {
        let code = code_alone(text);
        assert!(code.starts_with('a') && !code.contains("redis"), "{text:?} became {code:?}");
        assert_eq!(code.contains('b'), text.contains(" b"), "{text:?} became {code:?}");
    }
}

#[test]
fn code_stays_code_and_lines_stay_lines() {
    let text = "fn f<'a>(x: &'a str) -> char { 'x' }\n/* one\ntwo */\nlet s = \"1\n2\"; redis";
    let code = code_alone(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(code.starts_with("fn f<'a>(x: &'a str) -> char {     }"), "{code}");
    assert!(code.ends_with("; redis"), "{code}");
}

#[test]
fn tests_are_told_from_the_rest() {
    let text = "use a;\n#[cfg(test)]\nuse b;\nfn c() {}\n#[cfg(test)]\nmod tests {\n    fn d() {}\n}\nfn e() {}\n";
    let source = Source::new("src/x.rs", text);
    assert_eq!(source.product_code().split_whitespace().collect::<String>(), "usea;fnc(){}fne(){}");
    assert_eq!(source.product_lines(), 3);
    assert_eq!(Source::new("tests/x.rs", text).product_lines(), 0);
}
