//! Where the configuration comes from: built-in defaults, a TOML file, credentials of the service manager, environment variables, the
//! command line.
//!
//! Owns: reading each of them, keys that do not exist, and which one wins. The later one does, in the order above.
//! Never: what a value means; only whether it is text or a whole number, for nothing else stands at any key.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, Kind};
use super::mistake::{Mistake, meant};
use super::password::CREDENTIALS;

/// The file that is read when none is named and this one is there.
pub const DEFAULT_FILE: &str = "/etc/orderd/orderd.toml";

/// What the names of all environment variables begin with: `ORDERD__STREAM__KEY` sets `stream.key`.
const PREFIX: &str = "ORDERD";
const SEPARATOR: &str = "__";

/// The origin of what an option sets.
pub(super) const COMMAND_LINE: &str = "the command line";
/// Where a service manager says which folder holds the credentials of this service.
const CREDENTIALS_FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// What a mistake is about that is in no key.
const FILE: &str = "the configuration file";

/// The places that set keys, besides the defaults. Later fields win.
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `ORDERD__` are not looked at, but for `CREDENTIALS_DIRECTORY`.
    pub environment: Vec<(OsString, OsString)>,
    /// Keys and values from the command line. Of two for one key the later wins.
    pub overrides: Vec<(String, String)>,
}

/// Which file to read: the one that was asked for, else [`DEFAULT_FILE`] if it is there, else none. One that is there and cannot
/// be read is a mistake, not a reason to run with the defaults.
pub fn find_file(asked: Option<PathBuf>) -> Option<PathBuf> {
    asked.or_else(|| Path::new(DEFAULT_FILE).symlink_metadata().is_ok().then(|| DEFAULT_FILE.into()))
}

/// The value of each key that anything sets, each with the place that set it.
pub(super) struct Merged {
    /// Full name → value.
    pub(super) values: HashMap<&'static str, Value>,
    /// What is wrong so far.
    pub(super) mistakes: Vec<Mistake>,
    /// Whether the values are worth judging: not when the file could not be read, for then they are not what was meant.
    pub(super) complete: bool,
}

/// Reads all sources and lays them over each other.
pub(super) fn merge(sources: &Sources) -> Merged {
    let mut defaults = Layer::default();
    let text: String =
        KEYS.iter().filter_map(|key| key.default.map(|value| format!("{} = {value}\n", key.name))).collect();
    defaults.read_toml(&text, "the built-in defaults", |_| "the default".to_owned());
    let mut file = Layer::default();
    if let Some(path) = &sources.file {
        file.read_file(path);
    }
    let mut credentials = Layer::default();
    credentials.read_credentials(&sources.environment);
    let mut environment = Layer::default();
    environment.read_environment(&sources.environment);
    let mut overrides = Layer::default();
    for (name, value) in &sources.overrides {
        overrides.set_text(name, value, name, COMMAND_LINE);
    }
    let layers = [defaults, file, credentials, environment, overrides];
    let complete = layers.iter().all(|layer| !layer.unreadable);
    let mut mistakes: Vec<Mistake> = layers.iter().flat_map(|layer| layer.mistakes.iter().cloned()).collect();
    let mut builder = Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let values = match builder.build().and_then(|config| config.collect()) {
        Ok(tree) => KEYS.iter().filter_map(|key| Some((key.name, find(&tree, key)?.clone()))).collect(),
        Err(error) => {
            mistakes.push(mistake("the configuration", error.to_string(), "all sources together"));
            HashMap::new()
        }
    };
    Merged { values, mistakes, complete }
}

fn find<'t>(tree: &'t HashMap<String, Value>, key: &Key) -> Option<&'t Value> {
    match key.table() {
        None => tree.get(key.name),
        Some(table) => match &tree.get(table)?.kind {
            ValueKind::Table(inside) => inside.get(key.leaf()),
            _ => None,
        },
    }
}

/// What one source sets, and what is wrong with it. Only keys that exist get in, so nothing is lost when layers are merged.
#[derive(Clone, Default)]
struct Layer {
    values: HashMap<String, Value>,
    mistakes: Vec<Mistake>,
    unreadable: bool,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<HashMap<String, Value>, ConfigError> {
        Ok(self.values.clone())
    }
}

impl Layer {
    fn read_file(&mut self, path: &Path) {
        let shown = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.read_toml(&text, &shown, |line| format!("{shown}, line {line}")),
            Err(error) => {
                self.unreadable = true;
                self.mistakes.push(mistake(FILE, format!("cannot be read: {error}"), &shown));
            }
        }
    }

    fn read_toml(&mut self, text: &str, name: &str, origin: impl Fn(usize) -> String) {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut last_line = 0;
        for error in errors {
            // The message without the line that it is about: a password can stand there. What follows on the same line is mostly
            // an effect of the first.
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            if std::mem::replace(&mut last_line, line) == line {
                continue;
            }
            let place = format!("{name}, line {line}, column {column}");
            self.mistakes.push(mistake(FILE, format!("not TOML: {}", error.message()), &place));
            self.unreadable = true;
        }
        if !self.unreadable {
            self.read_table(document.get_ref(), None, &|offset| (position(text, offset).0, &origin));
        }
    }

    /// Takes up the keys of one table, in the order of the file.
    fn read_table<'o, O: Fn(usize) -> String + 'o>(
        &mut self,
        table: &DeTable<'_>,
        inside: Option<&str>,
        place: &impl Fn(usize) -> (usize, &'o O),
    ) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let (line, origin) = place(name.span().start);
            let full = inside.map_or_else(|| name.get_ref().to_string(), |table| format!("{table}.{}", name.get_ref()));
            let key = Key::named(&full).filter(|_| !name.get_ref().contains('.'));
            match (key, value.get_ref()) {
                (Some(key), value) => self.set_toml(key, value, &origin(line)),
                (None, DeValue::Table(table)) if inside.is_none() && is_table(&full) => {
                    self.read_table(table, Some(&full), place);
                }
                (None, _) => self.refuse(&full, &full, &origin(line)),
            }
        }
    }

    fn set_toml(&mut self, key: &Key, value: &DeValue<'_>, origin: &str) {
        let kind = match value {
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Integer(digits) => {
                ValueKind::I64(narrowed(i128::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(i128::MAX)))
            }
            DeValue::Float(_) => return self.wrong_type(key, "a number with a fraction", origin),
            DeValue::Boolean(value) if matches!(key.kind, Kind::Switch) => ValueKind::Boolean(*value),
            DeValue::Boolean(_) => return self.wrong_type(key, "true or false", origin),
            DeValue::Datetime(_) => return self.wrong_type(key, "a date", origin),
            DeValue::Array(_) => return self.wrong_type(key, "a list", origin),
            DeValue::Table(table) if matches!(key.kind, Kind::Lines(_)) => match lines(table) {
                Ok(text) => ValueKind::String(text),
                Err(name) => return self.wrong_type(key, &format!("something else than text for {name:?}"), origin),
            },
            DeValue::Table(_) => return self.wrong_type(key, "a table", origin),
        };
        self.values.insert(key.name.to_owned(), Value::new(Some(&origin.to_owned()), kind));
    }

    /// Takes up the files that a service manager handed over: those that are there, for each is a matter of choice.
    fn read_credentials(&mut self, variables: &[(OsString, OsString)]) {
        let folder = variables.iter().find(|(name, _)| name == CREDENTIALS_FOLDER).map(|(_, folder)| Path::new(folder));
        for (name, key) in CREDENTIALS {
            let path = folder.map(|folder| folder.join(name)).filter(|path| path.exists());
            if let Some(path) = path.as_deref().and_then(Path::to_str) {
                self.set_text(key, path, key, &format!("the credential {name}"));
            }
        }
    }

    fn read_environment(&mut self, variables: &[(OsString, OsString)]) {
        let mut ours = HashMap::new();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            if !name.starts_with(&variable("")) {
                continue;
            }
            match value.to_str() {
                // The source below folds the case, so that two variables could mean one key.
                Some(_) if *name != name.to_uppercase() => self.refuse(&name, &key_of(&name), "the environment"),
                Some(value) => drop(ours.insert(name.into_owned(), value.to_owned())),
                None => self.mistakes.push(mistake(&name, "it is not valid UTF-8".to_owned(), "the environment")),
            }
        }
        // Without `try_parsing`: with it the password `007` becomes `7`.
        let source = Environment::with_prefix(PREFIX).separator(SEPARATOR).source(Some(ours));
        match source.collect() {
            Ok(values) => {
                let mut values: Vec<_> = values.into_iter().collect();
                values.sort_by(|(a, _), (b, _)| a.cmp(b));
                for (key, value) in values {
                    let text = value.into_string().unwrap_or_default();
                    self.set_text(&key, &text, &variable(&key), &format!("environment variable {}", variable(&key)));
                }
            }
            Err(error) => self.mistakes.push(mistake("the environment", error.to_string(), "the environment")),
        }
    }

    /// Sets a key from a source that knows text only.
    fn set_text(&mut self, name: &str, text: &str, written: &str, origin: &str) {
        let Some(key) = Key::named(name) else {
            return self.refuse(written, name, origin);
        };
        let kind = match (key.kind, text.parse::<i128>()) {
            (Kind::Whole { .. }, Ok(number)) => ValueKind::I64(narrowed(number)),
            (Kind::Switch, _) => text.parse().map_or_else(|_| ValueKind::String(text.to_owned()), ValueKind::Boolean),
            _ => ValueKind::String(text.to_owned()),
        };
        self.values.insert(name.to_owned(), Value::new(Some(&origin.to_owned()), kind));
    }

    fn wrong_type(&mut self, key: &Key, found: &str, origin: &str) {
        self.mistakes.push(Mistake {
            subject: key.name.to_owned(),
            problem: format!("{found} stands there"),
            allowed: Some(key.allowed()),
            origin: origin.to_owned(),
        });
    }

    /// Reports something that is no key: `written` is what stands in the source, `name` what it would be called in the file.
    fn refuse(&mut self, written: &str, name: &str, origin: &str) {
        let from_environment = written != name;
        let shown = |key: &str| if from_environment { variable(key) } else { key.to_owned() };
        let table = name.split_once('.').map_or(name, |(table, _)| table);
        let (problem, allowed) = if is_table(name) {
            ("it is a table, and only its keys can be set".to_owned(), Some(keys_of(name)))
        } else {
            let names = KEYS.iter().map(|key| key.name).chain(tables().filter(|_| !from_environment));
            let problem = meant(name, names).map_or_else(
                || "there is no such key".to_owned(),
                |meant| format!("there is no such key; did you mean {}?", shown(meant)),
            );
            (problem, Some(keys_of(table)))
        };
        let (subject, origin) = (written.to_owned(), origin.to_owned());
        self.mistakes.push(Mistake { subject, problem, allowed, origin });
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// A table as the text that means the same, in the order of the file; the name of a line that is no text.
fn lines(table: &DeTable<'_>) -> Result<String, String> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut texts = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        match value.get_ref() {
            DeValue::String(text) => texts.push(format!("{}: {text}", name.get_ref())),
            _ => return Err(name.get_ref().to_string()),
        }
    }
    Ok(texts.join("; "))
}

/// Names only: a value can be a secret.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.overrides.iter().map(|(name, _)| name).collect::<Vec<_>>();
        f.debug_struct("Sources").field("file", &self.file).field("overrides", &names).finish_non_exhaustive()
    }
}

fn mistake(subject: &str, problem: String, origin: &str) -> Mistake {
    Mistake { subject: subject.to_owned(), problem, allowed: None, origin: origin.to_owned() }
}

/// The nearest number that the type can hold: what is larger is out of every range as well.
fn narrowed(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// Line and column of a byte, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// The environment variable for a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{SEPARATOR}{}", key.to_uppercase().replace('.', SEPARATOR))
}

/// The key that an environment variable would be for.
fn key_of(variable: &str) -> String {
    variable.get(PREFIX.len() + SEPARATOR.len()..).unwrap_or_default().to_lowercase().replace(SEPARATOR, ".")
}

fn tables() -> impl Iterator<Item = &'static str> + Clone {
    let mut last = None;
    KEYS.iter().filter_map(Key::table).filter(move |table| last.replace(*table) != Some(*table))
}

fn is_table(name: &str) -> bool {
    tables().any(|table| table == name)
}

/// What a table may hold; for one that does not exist, which ones there are.
fn keys_of(table: &str) -> String {
    let keys: Vec<_> = KEYS.iter().filter(|key| key.table() == Some(table)).map(Key::leaf).collect();
    if keys.is_empty() {
        let all: Vec<_> = tables().map(|table| format!("[{table}]")).collect();
        return format!("instance, and the tables {}", all.join(" "));
    }
    format!("in [{table}]: {}", keys.join(", "))
}
