//! Events and messages at an even pace, and when each was sent.
//!
//! Owns: one clock for those who send and those who hear.
//! Never: a message that was sent before its time. One that is late is made up for, so that the pace holds on the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// When each of some messages was sent.
#[derive(Clone)]
pub(crate) struct Sent {
    began: Instant,
    at: Arc<Vec<AtomicU64>>,
}

impl Sent {
    pub(crate) fn new(count: usize) -> Self {
        Self { began: Instant::now(), at: Arc::new((0..count).map(|_| AtomicU64::new(0)).collect()) }
    }

    pub(crate) fn count(&self) -> usize {
        self.at.len()
    }

    /// Sends each message by `send`, at its time and with its number.
    pub(crate) fn pace(&self, a_second: u32, mut send: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let began = Instant::now();
        for number in 0..self.at.len() {
            let due = began + Duration::from_secs(1) * u32::try_from(number)? / a_second;
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
            self.at[number].store(u64::try_from(self.began.elapsed().as_nanos())?, Ordering::Release);
            send(number)?;
        }
        Ok(())
    }

    /// How long ago the message with this number was sent.
    pub(crate) fn age(&self, number: usize) -> anyhow::Result<Duration> {
        let now = self.began.elapsed();
        let at = self.at.get(number).context("a message that nobody sent")?.load(Ordering::Acquire);
        Ok(now.saturating_sub(Duration::from_nanos(at)))
    }
}

/// The number of the event that a notification is about: its entry has the id `<number + 1>-1`.
pub(crate) fn number_in(notification: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\"entryId\":\"";
    let at = notification.windows(NAME.len()).position(|part| part == NAME)? + NAME.len();
    let digits: Vec<u8> = notification[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse::<usize>().ok()?.checked_sub(1)
}
