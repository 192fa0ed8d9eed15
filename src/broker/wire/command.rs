//! Commands as bytes.
//!
//! Owns: how commands are written, straight into the buffer that is sent.
//! Never: a text made for an id that is written as bytes a moment later.

use crate::domain::id::EntryId;

/// A command that is being written, or several. The buffer is used again for the next ones.
#[derive(Debug, Default)]
pub(in crate::broker) struct Command {
    bytes: Vec<u8>,
}

impl Command {
    /// Nothing written yet, with room for so many bytes.
    pub(in crate::broker) fn with_room(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// Begins a command of this name. So many words have to follow, by [`Command::word`] and the like.
    pub(in crate::broker) fn begin(&mut self, name: &str, words: usize) -> &mut Self {
        self.clear();
        self.then(name, words)
    }

    /// The same, behind the commands that are there.
    pub(in crate::broker) fn then(&mut self, name: &str, words: usize) -> &mut Self {
        self.head(b'*', 1 + words);
        self.word(name)
    }

    /// Commands that were written elsewhere.
    pub(in crate::broker) fn commands(&mut self, commands: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(commands);
        self
    }

    /// Forgets what was written, and keeps the buffer.
    pub(in crate::broker) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The next word.
    pub(in crate::broker) fn word(&mut self, word: impl AsRef<[u8]>) -> &mut Self {
        let word = word.as_ref();
        self.head(b'$', word.len());
        self.bytes.extend_from_slice(word);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// A number as the next word.
    pub(in crate::broker) fn number(&mut self, number: u64) -> &mut Self {
        self.word(itoa::Buffer::new().format(number))
    }

    /// An id as the next word.
    pub(in crate::broker) fn id(&mut self, id: EntryId) -> &mut Self {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (ms, seq) = (ms.format(id.ms), seq.format(id.seq));
        self.head(b'$', ms.len() + 1 + seq.len());
        self.bytes.extend_from_slice(ms.as_bytes());
        self.bytes.push(b'-');
        self.bytes.extend_from_slice(seq.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// What is to be sent.
    pub(in crate::broker) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn head(&mut self, kind: u8, count: usize) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_as_the_library_writes_it() {
        let ids = [EntryId::new(0, 7), EntryId::new(1_700_000_000_000, 10), EntryId::MAX];
        let mut library = redis::cmd("XACK");
        library.arg("orders:events").arg("").arg(256);
        let mut own = Command::default();
        own.begin("FORMER", 9);
        own.begin("XACK", 6).word("orders:events").word("").number(256);
        for id in ids {
            library.arg(id.to_string());
            own.id(id);
        }
        assert_eq!(own.as_bytes(), library.get_packed_command());
    }
}
