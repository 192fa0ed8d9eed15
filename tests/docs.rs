//! What is written for people, held against the code.
//!
//! Owns: a check for each document that repeats what the code says, both ways: nothing missing, nothing that is not there.
//! Never: a check of style.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use orderd::telemetry::metrics::{Label, METRICS};

/// The text of a file of this repository.
fn document(path: &str) -> io::Result<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
}

/// The rows of all tables whose first cell is code, as their cells.
fn rows(markdown: &str) -> Vec<Vec<&str>> {
    markdown
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The words of `text` that begin like a name of a metric.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !part_of_name(c))
        .filter(|word| word.starts_with("orderd_") || (word.starts_with("process_") && *word != "process_"))
        .collect()
}

mod metrics {
    use super::{BTreeSet, Label, METRICS, document, metric_names, rows};

    const PATH: &str = "docs/metrics.md";

    #[test]
    fn every_metric_is_documented_once_and_no_other() {
        let text = document(PATH).unwrap();
        let mut documented: Vec<&str> = rows(&text).iter().map(|row| row[0].trim_matches('`')).collect();
        let mut known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known);
    }

    #[test]
    fn types_and_labels_are_those_of_the_code() {
        let text = document(PATH).unwrap();
        for row in rows(&text) {
            let [name, kind, labels, meaning, query] = row[..] else { panic!("five cells: {row:?}") };
            let name = name.trim_matches('`');
            let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
            assert_eq!(kind, metric.kind.as_str(), "{name}");
            assert!(meaning.ends_with('.'), "{name}: {meaning}");
            assert!(metric_names(query).iter().any(|used| used.starts_with(name)), "{name}: {query}");

            // `version` has one value, and another one with each release.
            let one = |label: &Label| match label.values {
                values if values.is_empty() || label.name == "version" => format!("`{}`", label.name),
                values => format!("`{}`: {}", label.name, values.join(", ")),
            };
            let expected: Vec<String> = metric.labels.iter().map(one).collect();
            assert_eq!(labels, expected.join("; "), "{name}");
        }
    }

    #[test]
    fn queries_name_only_what_there_is() {
        let text = document(PATH).unwrap();
        let mut known: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
        for metric in METRICS.iter().filter(|metric| metric.kind.as_str() == "histogram") {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)));
        }
        let unknown: Vec<&str> = metric_names(&text).into_iter().filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

mod dead_letters {
    use super::{METRICS, document, rows};

    #[test]
    fn every_reason_and_every_field_of_a_letter_is_documented_and_no_other() {
        let text = document("docs/dead-letters.md").unwrap();
        let documented: Vec<&str> = rows(&text).iter().map(|row| row[0].trim_matches('`')).collect();
        let (mut fields, mut reasons): (Vec<&str>, Vec<&str>) =
            documented.into_iter().partition(|name| name.starts_with('_'));
        let metric = METRICS.iter().find(|metric| metric.name == "orderd_dead_letters_total").unwrap();
        let mut known = metric.labels[0].values.to_vec();
        known.sort_unstable();
        reasons.sort_unstable();
        assert_eq!(reasons, known);

        fields.dedup();
        assert_eq!(fields, orderd::broker::settle::FACTS, "in the order in which they stand");
    }
}

mod image {
    use super::document;

    #[test]
    fn it_is_built_with_the_toolchain_and_named_after_the_version_of_the_project() {
        let (dockerfile, toolchain) = (document("Dockerfile").unwrap(), document("rust-toolchain.toml").unwrap());
        let argument = |name: &str| {
            let prefix = format!("ARG {name}=");
            dockerfile.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
        };
        assert!(toolchain.contains(&format!("channel = \"{}\"", argument("RUST_VERSION"))));
        assert_eq!(argument("VERSION"), env!("CARGO_PKG_VERSION"));
    }
}

mod acl {
    use orderd::broker::keys::Keys;
    use orderd::broker::rights::{NOTIFIER, WORKER, notifier_rules, producer_rules, worker_rules};

    use super::document;

    const PATH: &str = "docs/redis-acl.md";

    #[test]
    fn the_rules_are_those_of_the_code() {
        let text = document(PATH).unwrap();
        let keys = Keys::new("orders:events".into(), "order-processors".into());
        let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("user ")).collect();
        let line = |user: &str, rules: &[String]| format!("user {user} on >PASSWORD {}", rules.join(" "));
        let expected = [
            line("orderd-worker", &worker_rules(&keys, true)),
            line("orderd-worker", &worker_rules(&keys, false)),
            line("orders-producer", &producer_rules(&keys)),
        ];
        assert_eq!(documented, expected);
        let besides: Vec<&str> = text.lines().filter(|line| line.starts_with('&')).collect();
        assert_eq!(besides, [notifier_rules("notifications:user:*").join(" ")]);
    }

    #[test]
    fn every_command_stands_in_the_table_with_its_reason_and_no_other() {
        let text = document(PATH).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = WORKER
            .iter()
            .chain(NOTIFIER)
            .map(|right| {
                let needed = if right.essential { "yes" } else { "no" };
                format!("| `{}` | {} | {needed} |", right.command.replace('|', "\\|"), right.why)
            })
            .collect();
        assert_eq!(rows, expected);
    }
}

mod commands {
    use clap::CommandFactory;
    use orderd::cli::Cli;
    use orderd::cli::exit::Exit;

    use super::{BTreeSet, document, rows};

    const PATH: &str = "docs/cli.md";

    #[test]
    fn every_command_has_a_chapter_with_an_example_and_no_other() {
        let text = document(PATH).unwrap();
        let chapters: Vec<&str> = text.split("\n## `orderd ").skip(1).collect();
        let documented: BTreeSet<&str> = chapters.iter().filter_map(|chapter| chapter.split('`').next()).collect();
        let command = Cli::command();
        let known: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(documented, known);
        for name in documented {
            assert!(text.contains(&format!("\n$ orderd {name}")), "{name} has no example");
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_code() {
        let text = document(PATH).unwrap();
        let documented: Vec<(String, String)> =
            rows(&text).iter().map(|row| (row[0].trim_matches('`').to_owned(), row[1].to_owned())).collect();
        let known = Exit::ALL.map(|exit| (exit.code().to_string(), exit.meaning().to_owned()));
        assert_eq!(documented, known);
    }

    #[test]
    fn the_unit_starts_it_again_after_the_codes_of_which_that_is_said() {
        let (text, unit) = (document(PATH).unwrap(), document("deploy/systemd/orderd.service").unwrap());
        assert!(unit.contains("\nRestart=on-failure\n"), "which is after every code but 0");
        let prevented = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).unwrap();
        let without: Vec<&str> = ["0"].into_iter().chain(prevented.split(' ')).collect();
        for row in rows(&text) {
            let [code, _, again] = row[..] else { panic!("three cells: {row:?}") };
            assert_eq!(again == "no", without.contains(&code.trim_matches('`')), "{code}");
            assert!(["yes", "no"].contains(&again), "{code}");
        }
    }

    #[test]
    fn what_a_reload_takes_over_is_listed_and_nothing_else() {
        let text = document(PATH).unwrap();
        let chapter = text.split("\n## ").find(|chapter| chapter.starts_with("Signals\n")).unwrap();
        let is_key = |word: &&str| word.contains('.') && !word.contains(' ');
        let listed: BTreeSet<&str> = chapter.split('`').skip(1).step_by(2).filter(is_key).collect();
        let live = orderd::settings::keys::KEYS.iter().filter(|key| key.live).map(|key| key.name);
        assert_eq!(listed, live.collect());
    }
}

mod guides {
    use std::path::Path;

    use clap::CommandFactory;
    use orderd::cli::Cli;

    use super::{BTreeSet, document};

    const GUIDES: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/cli.md", "docs/ledger.md"];

    /// What stands in the fenced blocks of a document, line by line.
    fn code(markdown: &str) -> Vec<&str> {
        markdown.split("```").skip(1).step_by(2).flat_map(|block| block.lines().skip(1)).collect()
    }

    #[test]
    fn every_target_of_make_that_a_guide_names_is_there() {
        let makefile = document("Makefile").unwrap();
        let targets: BTreeSet<&str> =
            makefile.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
        let mut named = 0;
        for guide in GUIDES {
            let text = document(guide).unwrap();
            for line in code(&text) {
                let Some(target) = line.strip_prefix("make ").and_then(|rest| rest.split(' ').next()) else { continue };
                assert!(targets.contains(target), "{guide}: make {target}");
                named += 1;
            }
        }
        assert!(named >= 2, "the README names make demo and make test");
    }

    #[test]
    fn every_command_line_in_the_readme_is_one() {
        let text = document("README.md").unwrap();
        let mut seen = 0;
        for line in code(&text).into_iter().filter(|line| line.starts_with("orderd ")) {
            let words = line.split('#').next().unwrap().split_whitespace();
            if let Err(error) = Cli::command().try_get_matches_from(words) {
                panic!("{line}: {error}");
            }
            seen += 1;
        }
        assert!(seen >= 4, "the README shows how to check, run, add and look");
    }

    #[test]
    fn every_link_to_a_file_leads_to_one() {
        for guide in GUIDES {
            let folder = Path::new(guide).parent().unwrap();
            let text = document(guide).unwrap();
            for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = target.split('#').next().unwrap();
                if file.is_empty() || file.contains("://") {
                    continue;
                }
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(file);
                assert!(path.exists(), "{guide}: {target}");
            }
        }
    }
}
