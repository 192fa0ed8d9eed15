//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How long one condition may take to come true.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often it is looked at. An answer of the server costs it some 10 µs, so this takes well below a hundredth of its time.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// When something is given up.
#[derive(Debug)]
pub(crate) struct Deadline {
    what: &'static str,
    after: Duration,
    end: Instant,
}

impl Deadline {
    pub(crate) fn new(what: &'static str, after: Duration) -> Self {
        Self { what, after, end: Instant::now() + after }
    }

    /// An error once the time is over.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if Instant::now() > self.end {
            bail!("{} took longer than {} s and was given up", self.what, self.after.as_secs());
        }
        Ok(())
    }

    /// Looks again and again until `look` returns something.
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            self.check()?;
            if Instant::now() > end {
                bail!("waited {} s in vain for this: {what}", PATIENCE.as_secs());
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}
