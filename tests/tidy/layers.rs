//! Who may import whom.
//!
//! Owns: finding the rooms that a file names, and whether it may.
//! Never: the table itself; that stands at the top, where everybody sees it.

use super::source::{Finding, Source, line_of};
use super::words;

const RULE: &str = "layers";

/// A room: a top-level module.
pub(crate) struct Room {
    /// The name of the module.
    pub(crate) name: &'static str,
    /// How high it lies.
    pub(crate) layer: u8,
    /// Rooms below that it may not import all the same, and why.
    pub(crate) never: &'static [(&'static str, &'static str)],
}

/// Everything that a room imports from beside or above itself. Tests are free: they may start a server, say.
pub(crate) fn imports(source: &Source, rooms: &[Room]) -> Vec<Finding> {
    let Some((name, depth)) = room_of(&source.path) else { return Vec::new() };
    if !source.is_product() {
        return Vec::new();
    }
    let Some(room) = rooms.iter().find(|room| room.name == name) else {
        let what = format!("'{name}' has no place in ROOMS of tests/tidy.rs: say how high it lies");
        return vec![source.finding(1, RULE, what)];
    };
    let code = source.product_code();
    let named = named_rooms(&code).into_iter().filter_map(|(at, other)| Some((at, refusal(room, &other, rooms)?)));
    let climbing =
        climbs_out(&code, depth).map(|at| (at, "super leads out of the room: write crate:: and the name".into()));
    named.chain(climbing).map(|(at, what): (usize, String)| source.finding(line_of(&code, at), RULE, what)).collect()
}

/// The room that a file is part of, and how deep its module lies in the crate. None for the crate's own roots.
fn room_of(path: &str) -> Option<(&str, usize)> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    if inside == "lib" || inside == "main" {
        return None;
    }
    let module = inside.strip_suffix("/mod").unwrap_or(inside);
    Some((module.split('/').next()?, module.split('/').count()))
}

/// Each `crate::name` in the code, those of `use crate::{one, other}` too.
fn named_rooms(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words::whole(code, "crate::") {
        let path = code[at + "crate::".len()..].trim_start();
        match path.strip_prefix('{') {
            Some(group) => found.extend(group_members(group).into_iter().map(|name| (at, name))),
            None => found.extend(name_of(path).map(|name| (at, name))),
        }
    }
    found
}

fn group_members(group: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut start = 0;
    let mut members = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.extend(name_of(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members
}

/// The name at the beginning of a path; none for a macro, which belongs to the crate as a whole.
fn name_of(path: &str) -> Option<String> {
    let name = words::leading_name(path);
    let is_macro = path[name.len()..].starts_with('!');
    (!name.is_empty() && !is_macro).then(|| name.to_owned())
}

fn refusal(room: &Room, other: &str, rooms: &[Room]) -> Option<String> {
    if room.name == other {
        return None;
    }
    let Room { name, layer, never } = room;
    let Some(other) = rooms.iter().find(|room| room.name == other) else {
        return Some(format!("'{other}' has no place in ROOMS of tests/tidy.rs: say how high it lies"));
    };
    if other.layer >= *layer {
        let (other, height) = (other.name, other.layer);
        return Some(format!(
            "{name} (layer {layer}) may not import {other} (layer {height}): only downwards, or there are circles"
        ));
    }
    let why = never.iter().find(|(never, _)| *never == other.name).map(|(_, why)| why)?;
    Some(format!("{name} may not import {}: {why}", other.name))
}

/// Where a chain of `super::` is as long as the module is deep, and so ends at the root of the crate.
fn climbs_out(code: &str, depth: usize) -> impl Iterator<Item = usize> {
    let chain = "super::".repeat(depth);
    let found: Vec<usize> = words::whole(code, &chain).filter(|&at| !code[..at].ends_with("super::")).collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ROOMS;

    fn found(path: &str, text: &str) -> Vec<String> {
        imports(&Source::new(path, text), ROOMS).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_import_from_above_or_beside_is_found_wherever_it_stands() {
        for text in [
            "use crate::task::lane;",
            "use crate::{domain::id, task};",
            "use crate::{\n    domain::{a, b},\n    task::lane,\n};",
            "fn f(x: &crate::task::lane::Options) {}",
            "use crate::ledger::Ledger;",
        ] {
            let found = found("src/broker/read.rs", &format!("\n{text}"));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(
                found[0].starts_with("src/broker/read.rs:2: [layers] broker (layer 3) may not import "),
                "{found:?}"
            );
        }
    }

    #[test]
    fn an_import_from_below_or_from_the_same_room_is_fine() {
        let text = "use crate::{domain::id::EntryId, telemetry};\nuse crate::broker::error;\nuse super::error;\ncrate::point!();";
        assert_eq!(found("src/broker/read.rs", text), [""; 0]);
        assert_eq!(found("src/domain/id.rs", "use crate::domain::entry;\n// crate::task\n"), [""; 0]);
        assert_eq!(found("src/main.rs", "use crate::task;"), [""; 0]);
    }

    #[test]
    fn a_test_may_import_what_it_needs() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::cli::sandbox;\n}\n";
        assert_eq!(found("src/broker/read.rs", text), [""; 0]);
    }

    #[test]
    fn a_handler_does_not_see_redis_though_it_lies_above() {
        let found = found("src/handler/log.rs", "use crate::broker::read;");
        assert!(found[0].contains("handler may not import broker: a handler has nothing"), "{found:?}");
    }

    #[test]
    fn a_way_around_the_table_is_closed() {
        assert_eq!(found("src/domain/id.rs", "use super::super::task;").len(), 1);
        assert_eq!(found("src/domain/mod.rs", "use super::task;").len(), 1);
        assert_eq!(found("src/daemon.rs", "use super::cli;").len(), 1);
        assert_eq!(found("src/ledger/sqlite/apply.rs", "use super::super::Ledger;").len(), 0);
    }

    #[test]
    fn a_room_that_the_table_does_not_know_is_found() {
        assert!(found("src/cellar/mod.rs", "fn f() {}")[0].contains("'cellar' has no place in ROOMS"));
        assert!(found("src/daemon.rs", "use crate::cellar;")[0].contains("'cellar' has no place in ROOMS"));
    }
}
