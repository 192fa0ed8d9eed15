//! Signs of life.
//!
//! Owns: when each task last made progress, and which of them have been silent for too long.
//! Never: what is to be done about it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Who waits shows a sign of life so often.
const TICK: Duration = Duration::from_secs(1);

/// The signs of life of all tasks.
pub struct Heartbeats {
    origin: Instant,
    pulses: Mutex<Vec<Weak<Pulse>>>,
}

/// The pulse of one task. When it is dropped, the task has ended and owes no more signs of life.
pub struct Heartbeat {
    origin: Instant,
    pulse: Arc<Pulse>,
}

struct Pulse {
    name: String,
    allowed_silence: Duration,
    /// Milliseconds from the origin to the last beat.
    last: AtomicU64,
}

impl Heartbeats {
    /// No tasks yet.
    pub fn new() -> Self {
        Self { origin: Instant::now(), pulses: Mutex::default() }
    }

    /// A task begins. It promises a beat at least every `allowed_silence`, and this counts as the first one.
    pub fn register(&self, name: impl Into<String>, allowed_silence: Duration) -> Heartbeat {
        let last = AtomicU64::new(millis_since(self.origin, Instant::now()));
        let pulse = Arc::new(Pulse { name: name.into(), allowed_silence, last });
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|known| known.strong_count() > 0);
        pulses.push(Arc::downgrade(&pulse));
        Heartbeat { origin: self.origin, pulse }
    }

    /// The tasks that have been silent for longer than they may, and for how long.
    pub fn stalled(&self, now: Instant) -> Vec<(String, Duration)> {
        let now = millis_since(self.origin, now);
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = |pulse: &Pulse| Duration::from_millis(now.saturating_sub(pulse.last.load(Ordering::Relaxed)));
        pulses
            .iter()
            .filter_map(Weak::upgrade)
            .map(|pulse| (silence(&pulse), pulse))
            .filter(|(silence, pulse)| *silence > pulse.allowed_silence)
            .map(|(silence, pulse)| (pulse.name.clone(), silence))
            .collect()
    }
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self::new()
    }
}

impl Heartbeat {
    /// The task has made progress, or has looked and found that there is nothing to do.
    pub fn beat(&self) {
        self.pulse.last.store(millis_since(self.origin, Instant::now()), Ordering::Relaxed);
    }
}

impl Heartbeat {
    /// Waits for `future`, and counts the waiting as a sign of life: for something that may rightly take for ever, such as work to come.
    pub async fn while_waiting<F: Future>(&self, future: F) -> F::Output {
        tokio::pin!(future);
        self.beat();
        // An interval's own first tick is due at once, which wakes the runtime once more each time that anything is waited for.
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return output,
                _ = ticks.tick() => self.beat(),
            }
        }
    }
}

fn millis_since(origin: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(origin).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_task_is_stalled_only_after_its_allowed_silence() {
        let beats = Heartbeats::new();
        let _patient = beats.register("reaper", 10 * SECOND);
        let _quick = beats.register("consumer", SECOND);
        let now = Instant::now();
        assert_eq!(beats.stalled(now), []);
        let later = beats.stalled(now + 5 * SECOND);
        assert_eq!(later.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["consumer"]);
        assert!(later[0].1 >= 5 * SECOND, "{later:?}");
        assert_eq!(beats.stalled(now + 11 * SECOND).len(), 2);
    }

    #[test]
    fn a_beat_ends_the_silence() {
        let beats = Heartbeats { origin: Instant::now().checked_sub(60 * SECOND).unwrap(), pulses: Mutex::default() };
        let task = beats.register("lane", SECOND);
        task.pulse.last.store(0, Ordering::Relaxed);
        assert_eq!(beats.stalled(Instant::now()).len(), 1);
        task.beat();
        assert_eq!(beats.stalled(Instant::now()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_shows_a_sign_of_life_at_once_and_each_second() {
        let beats = Heartbeats { origin: Instant::now().checked_sub(60 * SECOND).unwrap(), pulses: Mutex::default() };
        let task = beats.register("lane", SECOND);
        let last = || task.pulse.last.swap(0, Ordering::Relaxed);
        last();
        task.while_waiting(async {
            assert!(last() > 0, "at once");
            tokio::time::sleep(SECOND + SECOND / 2).await;
            assert!(last() > 0, "after a second");
        })
        .await;
    }

    #[test]
    fn a_task_that_has_ended_owes_nothing() {
        let beats = Heartbeats::new();
        drop(beats.register("consumer", SECOND));
        assert_eq!(beats.stalled(Instant::now() + 60 * SECOND), []);
        let _again = beats.register("consumer", SECOND);
        assert_eq!(beats.pulses.lock().unwrap().len(), 1, "what has ended is forgotten");
    }
}
