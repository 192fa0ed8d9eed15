//! Messages to be published, as they go over the wire.
//!
//! Owns: one buffer for all of them, filled message by message.
//! Never: a buffer for each; the sending (`pubsub` and `acks` do that).

use super::wire::command::Command;

/// What a small batch of messages takes.
const ROOM: usize = 512;

/// Messages, each for a channel.
#[derive(Debug, Default)]
pub struct Messages {
    commands: Command,
    count: usize,
    channel: String,
    text: String,
}

impl Messages {
    /// None yet.
    pub fn new() -> Self {
        Self { commands: Command::with_room(ROOM), ..Self::default() }
    }

    /// Adds one: `write` writes the channel into the first and the text into the second, both empty.
    pub fn push(&mut self, write: impl FnOnce(&mut String, &mut String)) {
        self.channel.clear();
        self.text.clear();
        write(&mut self.channel, &mut self.text);
        self.commands.then("PUBLISH", 2).word(&self.channel).word(&self.text);
        self.count += 1;
    }

    /// Forgets all of them, and keeps the buffer.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.count = 0;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A `PUBLISH` for each.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.commands.as_bytes()
    }
}
