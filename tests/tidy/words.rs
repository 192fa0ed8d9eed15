//! Finding words in code.
//!
//! Owns: where a word begins and ends, and when a word names a crate.
//! Never: what is wrong with a word.

/// Where `word` stands as a whole word. One that ends in `!` or `::` is whole whatever comes after.
pub(crate) fn whole<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let open_end = !word.ends_with(is_part_of_a_name);
        !before.is_some_and(is_part_of_a_name) && (open_end || !after.is_some_and(is_part_of_a_name))
    })
}

/// Where `name` stands for the crate of that name: at the beginning of a path, or of a `use`.
pub(crate) fn of_crate<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    whole(code, name).filter(move |&at| {
        let before = code[..at].trim_end();
        let inside_a_path =
            before.strip_suffix("::").is_some_and(|path| path.ends_with(|c: char| is_part_of_a_name(c) || c == '>'));
        let after = code[at + name.len()..].trim_start();
        let used = before.ends_with("use") && (after.starts_with(';') || after.starts_with("as "));
        !inside_a_path && !before.ends_with('.') && (after.starts_with("::") || used)
    })
}

/// The name that `code` begins with; empty where there is none.
pub(crate) fn leading_name(code: &str) -> &str {
    let end = code.find(|c: char| !is_part_of_a_name(c)).unwrap_or(code.len());
    &code[..end]
}

pub(crate) fn is_part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn a_part_of_a_word_is_no_word() {
    assert_eq!(whole("spawn respawn spawned x.spawn()", "spawn").collect::<Vec<_>>(), [0, 24]);
    assert_eq!(whole("println!(x); eprintln!(y)", "println!").collect::<Vec<_>>(), [0]);
}

#[test]
fn a_module_or_a_variable_named_like_a_crate_is_not_the_crate() {
    for code in
        ["redis::cmd(x)", "use redis::Cmd;", "use redis;", "use redis as r;", "(::redis::Cmd)", "use { redis::A }"]
    {
        assert_eq!(of_crate(code, "redis").count(), 1, "{code}");
    }
    for code in ["telemetry::redis::x", "let redis = 1;", "self.redis.call()", "redis_test::x", "fn redis()"] {
        assert_eq!(of_crate(code, "redis").count(), 0, "{code}");
    }
}
