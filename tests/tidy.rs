//! The rules of the house, held by a test.
//!
//! Owns: the table of rooms and who may import whom, the fences around crates and calls, the size and the head of a file.
//! Never: a rule without a reason in its message; a rule that was not seen to find what it is for (each has a planted case
//! beside it).

#[path = "tidy/fences.rs"]
mod fences;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[cfg(test)]
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;

use layers::Room;
use source::{Finding, Source};
use tree::{all_files, dependencies, locked, rust_files};

/// The rooms from the ground up. A room may import what is below it, and itself; `never` names what it leaves alone even there.
const ROOMS: &[Room] = &[
    Room { name: "domain", layer: 0, never: &[] },
    Room { name: "bug", layer: 0, never: &[] },
    Room { name: "crash", layer: 0, never: &[] },
    Room { name: "witness", layer: 0, never: &[] },
    Room { name: "tls", layer: 0, never: &[] },
    Room { name: "telemetry", layer: 1, never: &[] },
    Room { name: "supervisor", layer: 2, never: &[] },
    Room { name: "broker", layer: 3, never: &[] },
    Room { name: "ledger", layer: 3, never: &[] },
    Room { name: "handler", layer: 4, never: &[("broker", "a handler has nothing to acknowledge with")] },
    Room { name: "task", layer: 5, never: &[] },
    Room {
        name: "admin",
        layer: 5,
        never: &[("broker", "its answers must not depend on Redis; state arrives by watch")],
    },
    Room { name: "settings", layer: 6, never: &[] },
    Room { name: "daemon", layer: 7, never: &[] },
    Room { name: "cli", layer: 8, never: &[] },
];

#[test]
fn rooms_import_only_downwards() {
    nothing_in(&rust_files(), |source| layers::imports(source, ROOMS));
}

#[test]
fn what_is_fenced_in_stays_there() {
    nothing_in(&rust_files(), fences::fences);
}

#[test]
fn files_and_functions_stay_small() {
    nothing_in(&rust_files(), shape::file_length);
    nothing_in(&rust_files(), shape::function_length);
}

#[test]
fn every_file_says_what_it_is_what_it_owns_and_what_it_never_does() {
    nothing_in(&rust_files(), shape::head);
}

#[test]
fn no_module_is_a_drawer_or_named_like_a_crate() {
    let crates = dependencies();
    assert!(crates.iter().any(|name| name == "redis"), "the list of dependencies was not read: {crates:?}");
    nothing_in(&rust_files(), |source| shape::module_name(source, &crates));
}

#[test]
fn there_are_no_globals() {
    nothing_in(&rust_files(), shape::globals);
}

#[test]
fn no_lint_is_switched_off_in_silence() {
    nothing_in(&rust_files(), shape::allow);
}

#[test]
fn what_is_unfinished_has_an_issue() {
    nothing_in(&all_files(), shape::unfinished);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    nothing_in(&all_files(), shape::machine_paths);
}

#[test]
fn the_fuzzer_is_built_with_the_crates_that_orderd_is_built_with() {
    let update = "cargo update --manifest-path fuzz/Cargo.toml --package";
    let (ours, fuzz) = (locked(include_str!("../Cargo.lock")), locked(include_str!("../fuzz/Cargo.lock")));
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let lock: toml::Table = include_str!("../fuzz/Cargo.lock").parse().unwrap();
    let orderd = lock["package"].as_array().unwrap().iter().find(|package| package["name"].as_str() == Some("orderd"));
    // Some stand there with their version.
    let name_of = |dependency: &toml::Value| dependency.as_str().unwrap().split(' ').next().unwrap().to_owned();
    let direct: Vec<String> = orderd.unwrap()["dependencies"].as_array().unwrap().iter().map(name_of).collect();
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        assert!(direct.contains(name), "fuzz/Cargo.lock lacks {name}: {update} orderd");
    }
    for (name, versions) in &fuzz {
        let same = ours.get(name).is_none_or(|ours| versions.is_subset(ours));
        assert!(same, "fuzz/Cargo.lock has another {name}, {versions:?}: {update} {name} --precise …");
    }
}

/// Applies a rule to each file and fails with everything that it found.
fn nothing_in(files: &[Source], rule: impl Fn(&Source) -> Vec<Finding>) {
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the tree was not found");
    let found: Vec<String> = files.iter().flat_map(&rule).map(|finding| finding.to_string()).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
