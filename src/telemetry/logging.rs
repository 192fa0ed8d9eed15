//! The log.
//!
//! Owns: its format, its filter, and changing the filter while the daemon runs.
//! Never: what is said (that is `event`); a file (standard error, for whoever runs the daemon to keep).

use std::io::{IsTerminal, stderr};

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// How the daemon writes its log (the `[log]` table of the configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is written: a level, or directives such as `info,orderd::broker=debug`.
    pub level: String,
    /// How it is written.
    pub format: Format,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes what is written while the daemon runs. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// The text does not say what is to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a log level: use error, warn, info, debug, trace or off, with exceptions after it where wanted, such as \
     info,orderd::broker=debug"
)]
pub struct BadLevel(String);

/// The log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not one.
    #[error(transparent)]
    Level(#[from] BadLevel),
    /// The process has a log already.
    #[error("this process has a log already")]
    AlreadySet,
    /// The log is gone.
    #[error("the log cannot be changed any more: {0}")]
    Gone(#[from] reload::Error),
}

/// Sets the log of this process up, on standard error.
pub fn init(options: &Options) -> Result<LogHandle, LogError> {
    let terminal = stderr().is_terminal();
    let (subscriber, handle) = subscriber(options, terminal, stderr)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(handle)
}

/// Checks what `log.level` says.
pub fn parse_level(text: &str) -> Result<EnvFilter, BadLevel> {
    let bad = || BadLevel(text.to_owned());
    // A bare word that is no level would be taken for the name of a module, and silence everything else.
    let mut has_level = false;
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.contains('=')) {
        directive.parse::<LevelFilter>().map_err(|_| bad())?;
        if directive.is_empty() || has_level {
            return Err(bad());
        }
        has_level = true;
    }
    EnvFilter::builder().parse(text).map_err(|_| bad())
}

impl LogHandle {
    /// Changes what is written from now on.
    pub fn set_level(&self, text: &str) -> Result<(), LogError> {
        Ok(self.filter.reload(parse_level(text)?)?)
    }
}

fn subscriber<W>(
    options: &Options,
    terminal: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogHandle), BadLevel>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse_level(&options.level)?);
    let text = match options.format {
        Format::Auto => terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = if text {
        lines.with_ansi(terminal).with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    Ok((tracing_subscriber::registry().with(filter).with(lines), LogHandle { filter: handle }))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tracing::subscriber::with_default;

    use super::*;
    use crate::domain::id::EntryId;
    use crate::telemetry::Telemetry;
    use crate::telemetry::event::{BatchHandled, EntriesLost, RedisAway, RedisBack};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    fn written(level: &str, format: Format, terminal: bool, talk: impl FnOnce(&Telemetry, &LogHandle)) -> Vec<String> {
        let page = Page::default();
        let to = page.clone();
        let options = Options { level: level.to_owned(), format };
        let (subscriber, handle) = subscriber(&options, terminal, move || to.clone()).unwrap();
        let telemetry = Telemetry::new().unwrap();
        with_default(subscriber, || talk(&telemetry, &handle));
        page.lines()
    }

    #[test]
    fn auto_is_text_with_colours_on_a_terminal_and_json_elsewhere() {
        let talk = |telemetry: &Telemetry, _: &LogHandle| telemetry.emit(RedisAway { reason: "LOADING" });
        let text = written("info", Format::Auto, true, talk);
        assert!(text[0].contains("\u{1b}[") && text[0].contains("LOADING"), "{text:?}");
        let text = written("info", Format::Text, false, talk);
        assert!(!text[0].contains('\u{1b}') && text[0].contains("reason=\"LOADING\""), "{text:?}");

        let json = written("info", Format::Auto, false, talk);
        assert_eq!(json.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!((&line["level"], &line["reason"]), (&"WARN".into(), &"LOADING".into()));
        assert!(line["message"].as_str().unwrap().contains("Redis is away"), "{line}");
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn the_level_can_be_changed_while_it_runs() {
        let back = RedisBack { after: Duration::from_millis(1500) };
        let lines = written("warn", Format::Text, false, |telemetry, handle| {
            telemetry.emit(back);
            handle.set_level("info").unwrap();
            telemetry.emit(back);
            assert!(handle.set_level("loud").is_err());
            telemetry.emit(back);
            handle.set_level("off").unwrap();
            telemetry.emit(back);
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("after=1.5s"), "{lines:?}");
    }

    #[test]
    fn what_happens_for_every_batch_writes_no_line() {
        let lines = written("debug", Format::Json, false, |telemetry, _| {
            telemetry.emit(BatchHandled { handler: "ledger", events: 1, took: Duration::ZERO });
        });
        assert!(lines.is_empty(), "{lines:?}");
    }

    #[test]
    fn lost_entries_are_named_up_to_a_bound() {
        let ids: Vec<EntryId> = (1..=25).map(|seq| EntryId::new(9, seq)).collect();
        let lines = written("info", Format::Json, false, |telemetry, _| {
            telemetry.emit(EntriesLost { ids: &ids, how: "deleted while pending" });
            telemetry.emit(EntriesLost { ids: &ids[..2], how: "deleted while pending" });
        });
        let many: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        let named = many["ids"].as_str().unwrap();
        assert_eq!((named.split(' ').count(), &many["count"], &many["more"]), (20, &25.into(), &5.into()));
        let few: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!((&few["ids"], few.get("more")), (&"9-1 9-2".into(), None));
    }

    #[test]
    fn what_is_no_level_is_refused_and_not_taken_for_a_module() {
        for level in ["info", "OFF", "warn,orderd::broker=debug", "orderd=trace", "orderd=trace, warn"] {
            assert!(parse_level(level).is_ok(), "{level:?}");
        }
        for level in ["", " ", "loud", "inf", "orderd", "info,", "info,debug", "orderd=loud", "info,orderd"] {
            assert_eq!(parse_level(level).unwrap_err(), BadLevel(level.to_owned()), "{level:?}");
        }
    }
}
