//! What may be named in one place only.
//!
//! Owns: the table of fences, each with its reason.
//! Never: a fence around tests; they may do what they need.

use super::source::{Finding, Source, line_of};
use super::words;

/// Words that stay within some folders or files.
struct Fence {
    /// Crates, named at the beginning of a path.
    crates: &'static [&'static str],
    /// Other words, wherever they stand in the code.
    words: &'static [&'static str],
    /// Where the fence stands.
    around: &'static str,
    /// Where its gates are.
    open: &'static [&'static str],
    /// Why it is there.
    why: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        crates: &["redis"],
        words: &[],
        around: "src/",
        open: &["src/broker/"],
        why: "only broker speaks Redis, so that replies and errors are understood in one place",
    },
    Fence {
        crates: &["rusqlite", "tokio_postgres", "tokio_postgres_rustls"],
        words: &[],
        around: "src/",
        open: &["src/ledger/"],
        why: "only ledger speaks SQL, so that one place holds what is committed",
    },
    Fence {
        crates: &["rustls", "tokio_rustls", "rustls_native_certs"],
        words: &[],
        around: "src/",
        open: &["src/tls.rs"],
        why: "who is trusted, and how, is decided in one place for every connection",
    },
    Fence {
        crates: &["metrics", "metrics_exporter_prometheus", "metrics_process"],
        words: &[],
        around: "src/",
        open: &["src/telemetry/"],
        why: "a metric leaves from where its log line does: name the event in telemetry",
    },
    Fence {
        crates: &[],
        words: &[
            "tokio::spawn",
            "task::spawn",
            "spawn_blocking",
            "spawn_local",
            "JoinSet",
            "thread::spawn",
            "thread::Builder",
        ],
        around: "src/",
        open: &["src/supervisor/", "src/ledger/", "src/admin/"],
        why: "what runs is watched: give it to the supervisor",
    },
    Fence {
        crates: &["signal_hook", "signal_hook_tokio"],
        words: &["tokio::signal"],
        around: "src/",
        open: &["src/cli/run.rs"],
        why: "one place decides what a signal means",
    },
    Fence {
        crates: &[],
        words: &["println!", "print!", "eprintln!", "eprint!"],
        around: "src/",
        open: &["src/cli/"],
        why: "a person reads what a command prints; everything else goes to the log",
    },
    Fence {
        crates: &["anyhow"],
        words: &[],
        around: "src/",
        open: &["src/cli/", "src/main.rs"],
        why: "below the command line an error has a type that says what happened and what helps",
    },
    Fence {
        crates: &["tokio", "tokio_util", "futures_util"],
        words: &["async", ".await"],
        around: "src/domain/",
        open: &[],
        why: "a decision is a function of its arguments; it waits for nothing",
    },
    Fence {
        crates: &[],
        words: &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"],
        around: "src/domain/",
        open: &[],
        why: "a decision is a function of its arguments, and now is one of them",
    },
    Fence {
        crates: &["fastrand", "rand"],
        words: &["std::fs", "std::net", "std::env", "std::process", "std::thread"],
        around: "src/domain/",
        open: &[],
        why: "a decision is a function of its arguments: no files, no network, no dice",
    },
    Fence {
        crates: &["serde", "serde_json"],
        words: &[],
        around: "src/domain/",
        open: &["src/domain/json.rs"],
        why: "values of the domain have no outside form; what reads or writes one owns it",
    },
];

/// Everything that stands outside of its fence.
pub(crate) fn fences(source: &Source) -> Vec<Finding> {
    let code = without_own_imports(&source.product_code());
    let closed = |fence: &&Fence| {
        source.path.starts_with(fence.around) && !fence.open.iter().any(|gate| source.path.starts_with(gate))
    };
    let mut found = Vec::new();
    for fence in FENCES.iter().filter(closed) {
        let crates = fence.crates.iter().flat_map(|name| words::of_crate(&code, name).map(move |at| (at, *name)));
        let words = fence.words.iter().flat_map(|word| words::whole(&code, word).map(move |at| (at, *word)));
        found.extend(crates.chain(words).map(|(at, word)| {
            source.finding(line_of(&code, at), "fence", format!("{word} may not stand here: {}", fence.why))
        }));
    }
    found
}

/// Without `use crate::…;`, where a module of ours may have the name of a crate.
fn without_own_imports(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = ["use crate::", "use super::", "use self::"].iter().filter_map(|own| rest.find(own)).min() {
        let end = rest[at..].find(';').map_or(rest.len(), |length| at + length);
        kept.push_str(&rest[..at]);
        kept.extend(rest[at..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        fences(&Source::new(path, text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_stands_outside_of_its_fence_is_found_with_its_line_and_the_reason() {
        for (path, text) in [
            ("src/task/lane.rs", "use redis::Value;"),
            ("src/task/lane.rs", "fn f(c: &redis::Client) {}"),
            ("src/cli/orders.rs", "use rusqlite::Connection;"),
            ("src/cli/orders.rs", "use tokio_postgres::Client;"),
            ("src/task/lane.rs", "metrics::counter!(x);"),
            ("src/task/lane.rs", "tokio::spawn(f());"),
            ("src/task/lane.rs", "let set = tokio::task::JoinSet::new();"),
            ("src/broker/read.rs", "std::thread::Builder::new();"),
            ("src/supervisor/mod.rs", "use signal_hook::consts;"),
            ("src/cli/add.rs", "tokio::signal::ctrl_c();"),
            ("src/daemon.rs", "eprintln!();"),
            ("src/ledger/sqlite.rs", "fn f() -> anyhow::Result<()> {}"),
            ("src/domain/retry.rs", "let now = std::time::Instant::now();"),
            ("src/domain/retry.rs", "async fn f() {}"),
            ("src/domain/id.rs", "#[derive(serde::Serialize)]"),
            ("src/domain/id.rs", "use std::fs::File;"),
        ] {
            let found = found(path, &format!("\n{text}"));
            assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
            assert!(found[0].starts_with(&format!("{path}:2: [fence] ")), "{found:?}");
        }
    }

    #[test]
    fn what_stands_inside_of_its_fence_is_fine() {
        for (path, text) in [
            ("src/broker/read.rs", "use redis::Value;"),
            ("src/ledger/sqlite.rs", "use rusqlite::Connection; std::thread::Builder::new();"),
            ("src/telemetry/event.rs", "metrics::counter!(x);"),
            ("src/cli/run.rs", "use signal_hook::consts; println!();"),
            ("src/domain/json.rs", "use serde::de::Visitor;"),
            ("src/task/lane.rs", "use std::time::Instant; Instant::now();"),
        ] {
            assert_eq!(found(path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn neither_tests_nor_comments_nor_modules_of_ours_are_meant() {
        for text in [
            "#[cfg(test)]\nmod tests {\n    use redis::Value;\n}\n",
            "/// See `redis::Value`.\nfn f() {}",
            "use crate::telemetry::{metrics::Names, event};",
            "crate::telemetry::metrics::names();",
            "let text = \"tokio::spawn\";",
        ] {
            assert_eq!(found("src/task/lane.rs", text), [""; 0], "{text}");
        }
        assert_eq!(found("tests/it/main.rs", "use redis::Value;"), [""; 0]);
    }
}
