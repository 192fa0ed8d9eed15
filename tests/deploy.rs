//! What is delivered with the program, held against the code: alerts, the dashboard, the files for Redis.
//!
//! Owns: what can be checked without a machine of its own; `make system-test` runs the same files for real.
//! Never: a check of style.
// Not needed for the build: it tells the linter that helper functions are test code too.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use orderd::telemetry::metrics::METRICS;

/// The text of a file of this repository.
fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of all series that `/metrics` has.
fn series() -> BTreeSet<String> {
    let of_metric = |metric: &orderd::telemetry::metrics::Metric| match metric.kind.as_str() {
        "histogram" => ["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)).to_vec(),
        _ => vec![metric.name.to_owned()],
    };
    METRICS.iter().flat_map(of_metric).collect()
}

/// The words of `text` that are named as our metrics are and are none.
fn unknown_metrics(text: &str) -> Vec<&str> {
    let known = series();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("orderd_") || word.starts_with("process_"))
        .filter(|word| !known.contains(*word))
        .collect()
}

mod alerts {
    use super::{BTreeSet, file, unknown_metrics};

    const RULES: &str = "deploy/prometheus/orderd.rules.yml";

    /// Each alert with the lines that belong to it.
    fn alerts(rules: &str) -> Vec<(&str, &str)> {
        rules.split("\n      - alert: ").skip(1).map(|block| block.split_once('\n').unwrap()).collect()
    }

    #[test]
    fn every_metric_in_a_rule_is_there() {
        let rules = file(RULES);
        let expressions: String = rules.lines().filter(|line| line.trim_start().starts_with("expr: ")).collect();
        assert_eq!(unknown_metrics(&expressions), [""; 0]);
        assert_eq!(unknown_metrics("rate(orderd_nothing_total[5m])"), ["orderd_nothing_total"]);
    }

    #[test]
    fn every_alert_has_a_chapter_that_says_what_to_do_and_a_test_and_no_chapter_is_left_over() {
        let (rules, guide, tests) =
            (file(RULES), file("docs/operations.md"), file("deploy/prometheus/orderd.rules.test.yml"));
        let mut named = BTreeSet::new();
        for (name, block) in alerts(&rules) {
            let runbook = format!("runbook_url: docs/operations.md#{}", name.to_lowercase());
            assert!(block.contains(&runbook), "{name}: {runbook}");
            for part in ["severity: ", "summary: ", "description: "] {
                assert!(block.contains(part), "{name} has no {part}");
            }
            let tested = tests.split("alertname: ").skip(1).filter(|test| test.lines().next() == Some(name));
            let (fires, rests): (Vec<_>, Vec<_>) =
                tested.partition(|test| !test.lines().nth(1).unwrap().contains("[]"));
            assert!(
                !fires.is_empty() && !rests.is_empty(),
                "{name} has a test in which it fires, and one in which it does not"
            );
            named.insert(name);
        }
        let chapters: BTreeSet<&str> = guide.lines().filter_map(|line| line.strip_prefix("### Orderd")).collect();
        let expected: BTreeSet<&str> = named.iter().map(|name| name.strip_prefix("Orderd").unwrap()).collect();
        assert_eq!(chapters, expected);
        assert!(named.len() >= 7);
    }
}

mod dashboard {
    use serde_json::Value;

    use super::{METRICS, file, unknown_metrics};

    /// Every text under this key, however deep it stands.
    fn texts<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::String(text) if name == key => found.push(text),
                        _ => texts(field, key, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
            _ => {}
        }
    }

    #[test]
    fn every_metric_on_the_dashboard_is_there_and_most_metrics_are_on_it() {
        let dashboard: Value = serde_json::from_str(&file("deploy/grafana/orderd.json")).unwrap();
        let (mut queries, mut variables) = (Vec::new(), Vec::new());
        texts(&dashboard, "expr", &mut queries);
        texts(&dashboard, "definition", &mut variables);
        assert!(queries.len() > 30 && variables.len() == 2, "{} queries", queries.len());
        for query in queries.iter().chain(&variables) {
            assert_eq!(unknown_metrics(query), [""; 0], "{query}");
        }
        let all = queries.join(" ");
        let ours: Vec<_> = METRICS.iter().filter(|metric| metric.name.starts_with("orderd_")).collect();
        let absent: Vec<&str> = ours.iter().map(|metric| metric.name).filter(|name| !all.contains(name)).collect();
        assert!(absent.len() * 4 <= ours.len(), "{absent:?}");
    }

    #[test]
    fn every_panel_has_a_place_and_a_number_of_its_own() {
        let dashboard: Value = serde_json::from_str(&file("deploy/grafana/orderd.json")).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let numbers: std::collections::BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(numbers.len(), panels.len());
        for panel in panels {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{panel}");
        }
    }
}

mod redis {
    use orderd::broker::keys::Keys;
    use orderd::broker::rights::{producer_rules, worker_rules};

    use super::file;

    #[test]
    fn the_files_for_redis_have_the_rights_of_the_code_and_no_password() {
        let keys = Keys::new("orders:events".into(), "order-processors".into());
        for (name, selectors, setinfo) in
            [("users-7.2.acl", true, true), ("users-7.0.acl", true, false), ("users-6.2.acl", false, false)]
        {
            let line = |user: &str, rules: Vec<String>| {
                let known = rules.into_iter().filter(|rule| setinfo || rule != "+client|setinfo");
                format!("user {user} on {}", known.collect::<Vec<_>>().join(" "))
            };
            let expected = [
                "user default off".to_owned(),
                line("orderd-worker", worker_rules(&keys, selectors)),
                line("orders-producer", producer_rules(&keys)),
            ];
            let text = file(&format!("deploy/redis/{name}"));
            assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{name}");
        }
    }
}

mod guide {
    use clap::CommandFactory;
    use orderd::cli::Cli;
    use orderd::settings::keys::Key;

    use super::{Path, file};

    const GUIDE: &str = "docs/operations.md";

    #[test]
    fn every_command_line_in_the_guide_is_one() {
        let text = file(GUIDE);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("orderd ")).collect();
        assert!(lines.len() > 10, "{lines:?}");
        for line in lines {
            let words = line.split('#').next().unwrap().split_whitespace();
            if let Err(error) = Cli::command().try_get_matches_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn every_key_that_the_guide_names_is_one() {
        let text = file(GUIDE);
        let tables = [
            "redis",
            "consumers",
            "lanes",
            "reaper",
            "retry",
            "handler",
            "ledger",
            "trimmer",
            "dead",
            "shutdown",
            "admin",
        ];
        let mut seen = 0;
        for word in text.split('`').skip(1).step_by(2).map(|code| code.split(" = ").next().unwrap()) {
            let Some((table, key)) = word.split_once('.') else { continue };
            if tables.contains(&table) && key != "*" && !key.contains(' ') {
                assert!(Key::named(word).is_some(), "{word}");
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen} keys");
    }

    #[test]
    fn every_link_in_it_leads_to_a_file() {
        let text = file(GUIDE);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            assert!(path.is_empty() || folder.join(path).exists(), "{target}");
        }
    }
}
