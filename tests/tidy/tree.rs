//! The files of the project.
//!
//! Owns: which files the rules look at, and the crates that manifests and lock files name.
//! Never: what they look for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::source::Source;

/// The Rust among them.
pub(crate) fn rust_files() -> Vec<Source> {
    all_files().into_iter().filter(Source::is_rust).collect()
}

/// The texts of this project: everything but what is built, generated or hidden.
pub(crate) fn all_files() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, root, &mut files);
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && name != ".ci";
        if hidden || name == "target" || name == "Cargo.lock" {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if is_text(&name) {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files.push(Source::new(&path.strip_prefix(root).unwrap().to_string_lossy(), &text));
        }
    }
}

fn is_text(name: &str) -> bool {
    let kinds = ["rs", "toml", "md", "sh", "lua", "sql", "yml", "yaml", "service"];
    match name.rsplit_once('.') {
        Some((_, kind)) => kinds.contains(&kind),
        None => ["Makefile", "Dockerfile", "run"].contains(&name),
    }
}

/// The crates that this one is built and tested with, as code names them.
pub(crate) fn dependencies() -> Vec<String> {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let tables = ["dependencies", "dev-dependencies"].map(|table| manifest[table].as_table().unwrap());
    tables.into_iter().flat_map(|table| table.keys()).map(|name| name.replace('-', "_")).collect()
}

/// The versions of each crate in a lock file.
pub(crate) fn locked(file: &str) -> BTreeMap<String, BTreeSet<String>> {
    let file: toml::Table = file.parse().unwrap();
    let mut crates: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in file["package"].as_array().unwrap() {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        crates.entry(text("name")).or_default().insert(text("version"));
    }
    crates
}
