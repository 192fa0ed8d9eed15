//! Size, head, names, and what may not be left lying about.
//!
//! Owns: the rules that look at one file alone.
//! Never: the relations between files.

use super::source::{Finding, Source, end_of_block, line_of};
use super::words;

/// A file may have so many lines, without its tests.
const FILE_LINES: usize = 400;
/// A function may have so many lines, with its head.
const FUNCTION_LINES: usize = 70;
/// From so many lines on, a file says what it owns and what it never does.
const HEAD_FROM: usize = 60;
/// Names that say nothing: whatever has no place ends up there.
const DRAWERS: [&str; 8] = ["utils", "util", "common", "types", "helpers", "helper", "misc", "shared"];
/// Places of one machine. Put together here, for this file is looked at too.
const MACHINE_PATHS: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// A file that is too long.
pub(crate) fn file_length(source: &Source) -> Vec<Finding> {
    let lines = source.product_lines();
    if lines < FILE_LINES {
        return Vec::new();
    }
    let what = format!(
        "{lines} lines without tests, {FILE_LINES} is too many: it does more than one thing, so split it there"
    );
    vec![source.finding(lines, "length", what)]
}

/// Functions that are too long.
pub(crate) fn function_length(source: &Source) -> Vec<Finding> {
    let code = source.product_code();
    let mut found = Vec::new();
    for at in words::whole(&code, "fn") {
        let name = words::leading_name(code[at + 2..].trim_start());
        let Some(length) = end_of_block(&code[at..]).filter(|_| !name.is_empty()) else { continue };
        let first = line_of(&code, at);
        let lines = line_of(&code, at + length) - first + 1;
        if lines >= FUNCTION_LINES {
            let what = format!(
                "'{name}' has {lines} lines, {FUNCTION_LINES} is too many: one screen is what one can hold in mind"
            );
            found.push(source.finding(first, "length", what));
        }
    }
    found
}

/// A file that does not say what it is.
pub(crate) fn head(source: &Source) -> Vec<Finding> {
    const RULE: &str = "head";
    if !source.text.starts_with("//! ") {
        return vec![source.finding(1, RULE, "the first line says in //! what this file is")];
    }
    // The root of the crate tells the story of the whole instead.
    if source.product_lines() <= HEAD_FROM || source.path == "src/lib.rs" {
        return Vec::new();
    }
    let head: Vec<&str> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
    let missing =
        ["//! Owns: ", "//! Never: "].into_iter().filter(|part| !head.iter().any(|line| line.starts_with(part)));
    missing
        .map(|part| {
            let what = format!("a file of more than {HEAD_FROM} lines has a line '{part}…' at its head: a reader sees what to look for here, and what not");
            source.finding(1, RULE, what)
        })
        .collect()
}

/// A module with a name that says nothing, or that is a crate's.
pub(crate) fn module_name(source: &Source, crates: &[String]) -> Vec<Finding> {
    const RULE: &str = "name";
    let Some(inside) = source.path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else {
        return Vec::new();
    };
    let drawer = inside.split('/').find(|part| DRAWERS.contains(part));
    let drawer = drawer
        .map(|name| format!("'{name}' says nothing of what is in it: name the thing, or put it where it is used"));
    let room = inside.split('/').next().filter(|room| crates.iter().any(|name| name == room));
    let room = room.map(|name| format!("'{name}' is a crate's name: nobody can tell which of the two a path means"));
    drawer.into_iter().chain(room).map(|what| source.finding(1, RULE, what)).collect()
}

/// State that everybody can reach.
pub(crate) fn globals(source: &Source) -> Vec<Finding> {
    let code = source.product_code();
    let statics = words::whole(&code, "static").filter(|&at| !code[..at].ends_with('\''));
    let found: Vec<usize> = statics.chain(words::whole(&code, "thread_local!")).collect();
    let what = "no globals: daemon.rs makes what is shared and hands it in";
    found.into_iter().map(|at| source.finding(line_of(&code, at), "globals", what)).collect()
}

/// Lints that are switched off without a reason that the compiler checks.
pub(crate) fn allow(source: &Source) -> Vec<Finding> {
    let what = "say #[expect(…, reason = \"…\")]: it gives the reason, and it goes when it is not needed any more";
    let attributes = ["#[allow", "#![allow"].into_iter().flat_map(|attribute| source.code.match_indices(attribute));
    attributes.map(|(at, _)| source.finding(line_of(&source.code, at), "allow", what)).collect()
}

/// Work that was left without an issue.
pub(crate) fn unfinished(source: &Source) -> Vec<Finding> {
    const RULE: &str = "unfinished";
    let mut found = Vec::new();
    for (line, text) in (1..).zip(source.text.lines()) {
        let holes = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("XX", "X")];
        for hole in holes {
            let at = words::whole(text, hole).next();
            found.extend(
                at.map(|_| source.finding(line, RULE, format!("'{hole}' stands for something that is not there"))),
            );
        }
        let note = words::whole(text, concat!("TO", "DO")).next();
        if note.is_some_and(|at| !names_an_issue(&text[at..])) {
            found.push(source.finding(line, RULE, "a note of what is to come names its issue, such as #12"));
        }
    }
    found
}

fn names_an_issue(text: &str) -> bool {
    text.match_indices('#').any(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
}

/// Paths that exist on one machine only.
pub(crate) fn machine_paths(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(source.text.lines()) {
        for path in MACHINE_PATHS {
            // Within a longer path it is somebody else's folder: an address, say.
            let inside = |c: char| words::is_part_of_a_name(c) || "./-~}".contains(c);
            if text.match_indices(path).any(|(at, _)| !text[..at].ends_with(inside)) {
                found.push(source.finding(line, "machine", format!("'{path}' is there on one machine only")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: &[Finding]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(500));
        let fits = Source::new("src/x.rs", &("// x\n".repeat(FILE_LINES - 1) + &tests));
        assert!(file_length(&fits).is_empty());
        let too_long = Source::new("src/x.rs", &("// x\n".repeat(FILE_LINES) + &tests));
        assert!(texts(&file_length(&too_long))[0].starts_with("src/x.rs:400: [length] 400 lines"));
    }

    #[test]
    fn a_function_is_measured_from_its_head_to_its_end() {
        let function = |lines: usize| {
            format!(
                "\ntrait T {{ fn short(); }}\npub fn long(x: [u8; 2],\n) {{\n{}}}\nfn next() {{}}\n",
                "    x; // }\n".repeat(lines - 3)
            )
        };
        assert!(function_length(&Source::new("src/x.rs", &function(FUNCTION_LINES - 1))).is_empty());
        let found = function_length(&Source::new("src/x.rs", &function(FUNCTION_LINES)));
        assert!(texts(&found)[0].starts_with("src/x.rs:3: [length] 'long' has 70 lines"), "{:?}", texts(&found));
        assert_eq!(found.len(), 1);
        let test = format!("#[cfg(test)]\nmod tests {{{}}}\n", function(200));
        assert!(function_length(&Source::new("src/x.rs", &test)).is_empty());
    }

    #[test]
    fn a_file_without_a_head_is_found_and_a_long_one_without_owns_and_never() {
        let found = |path: &str, begin: &str, lines: usize| {
            texts(&head(&Source::new(path, &(begin.to_owned() + &"// x\n".repeat(lines)))))
        };
        assert_eq!(found("src/x.rs", "use a;\n", 1).len(), 1);
        assert_eq!(found("tests/x.rs", "use a;\n", 1).len(), 1);
        assert_eq!(found("src/x.rs", "//! What it is.\n", HEAD_FROM - 1).len(), 0);
        assert_eq!(found("src/x.rs", "//! What it is.\n", HEAD_FROM).len(), 2);
        assert_eq!(found("src/x.rs", "//! What it is.\n//!\n//! Owns: a.\n//! Never: b.\n", 300).len(), 0);
        assert_eq!(found("src/x.rs", "//! What it is.\n//! Owns: a.\nfn f() {}\n//! Never: b.\n", 300).len(), 1);
    }

    #[test]
    fn a_drawer_and_the_name_of_a_crate_are_found() {
        let found = |path: &str| module_name(&Source::new(path, ""), &["redis".to_owned()]).len();
        for path in ["src/utils.rs", "src/broker/common/mod.rs", "src/redis/mod.rs", "src/redis.rs"] {
            assert_eq!(found(path), 1, "{path}");
        }
        for path in ["src/broker/mod.rs", "src/broker/redis.rs", "tests/it/helpers.rs"] {
            assert_eq!(found(path), 0, "{path}");
        }
    }

    #[test]
    fn a_global_is_found_and_a_lifetime_is_none() {
        let found = |text: &str| globals(&Source::new("src/x.rs", text)).len();
        assert_eq!(found("static COUNT: AtomicU64 = AtomicU64::new(0);"), 1);
        assert_eq!(found("thread_local! { static X: u8 = 1; }"), 2);
        assert_eq!(found("fn name(&self) -> &'static str { \"static\" }"), 0);
    }

    #[test]
    fn a_lint_that_is_switched_off_is_found_and_an_expectation_is_fine() {
        let attribute = |word: &str| format!("#[{word}(dead_code)]\nfn f() {{}}\n#![{word}(dead_code)]\n");
        assert_eq!(allow(&Source::new("tests/x.rs", &attribute("allow"))).len(), 2);
        assert_eq!(allow(&Source::new("tests/x.rs", &attribute("expect"))).len(), 0);
    }

    #[test]
    fn unfinished_work_is_found_unless_it_names_its_issue() {
        let found = |text: &str| unfinished(&Source::new("docs/x.md", text)).len();
        for text in [
            concat!("// TO", "DO: later"),
            concat!("fn f() { todo", "!() }"),
            concat!("unimplemented", "!(\"x\")"),
            concat!("# FIX", "ME"),
            concat!("// XX", "X"),
        ] {
            assert_eq!(found(text), 1, "{text}");
        }
        assert_eq!(found(concat!("// TO", "DO(#12): later")), 0);
        assert_eq!(found("mktemp XXXXXX"), 0);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_part_of_an_address_is_none() {
        let found = |text: &str| machine_paths(&Source::new("docs/x.md", text)).len();
        for path in MACHINE_PATHS {
            assert_eq!(found(&format!("see {path}x")), 1, "{path}");
            assert_eq!(found(&format!("https://example.org{path}x")), 0, "{path}");
        }
    }
}
