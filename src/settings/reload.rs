//! A configuration that is read again while the daemon runs.
//!
//! Owns: which keys a running daemon takes over, and which have to wait for its next start.
//! Never: a mixture; either all that can be taken over is, or, with a mistake anywhere, nothing (then there are no [`Settings`]).

use super::Settings;

/// What is different in a configuration that was read again, by the full names of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// These were taken over.
    pub taken_over: Vec<&'static str>,
    /// These take effect at the next start.
    pub waiting: Vec<&'static str>,
}

impl Settings {
    /// Takes over from `written` what can be changed while the daemon runs, and says what is different.
    pub fn take_over(&mut self, written: &Self) -> Changes {
        let mut changes = Changes::default();
        for new in &written.lines {
            let Some(line) = self.lines.iter_mut().find(|line| line.key.name == new.key.name) else { continue };
            if line.value == new.value {
                continue;
            }
            if line.key.live {
                changes.taken_over.push(line.key.name);
                line.clone_from(new);
            } else {
                changes.waiting.push(line.key.name);
            }
        }
        // What a file holds does not show in a line, so a new password or token is not seen there.
        let secrets = [
            ("redis.url", "redis.password_file", self.redis != written.redis),
            ("ledger.url", "ledger.password_file", self.ledger != written.ledger),
            ("admin.token_file", "admin.token_file", !self.admin.same_token(&written.admin)),
        ];
        for (place, file, differs) in secrets {
            if differs && !changes.waiting.iter().any(|name| [place, file].contains(name)) {
                changes.waiting.push(if written.shows(file, "\"\"") { place } else { file });
            }
        }
        self.tuning = written.tuning;
        self.log.level.clone_from(&written.log.level);
        changes
    }

    fn shows(&self, key: &str, value: &str) -> bool {
        self.lines.iter().any(|line| line.key.name == key && line.value == value)
    }
}
