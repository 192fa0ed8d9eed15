//! What follows from a failure.
//!
//! Owns: when an event is tried again, and when it has been tried often enough.
//! Never: a clock or a die; the jitter is an argument.

use std::time::Duration;

use super::outcome::{Failure, FailureClass};

/// The limits and pauses of trying again (the `[retry]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// So many failures make a dead letter.
    pub max_failures: u32,
    /// So many workers that died with the event in hand make a dead letter.
    pub max_crashes: u32,
    /// The longest pause after the first failure; it doubles with each further one.
    pub delay_min: Duration,
    /// What the doubling ends at.
    pub delay_max: Duration,
}

/// What is kept of an event that failed and will be tried again, so that whoever takes it over goes on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRecord {
    /// How often it has failed.
    pub failures: u32,
    /// When it is due again, in milliseconds since the Unix epoch.
    pub due_ms: u64,
    /// The last failure, for people.
    pub error: String,
}

/// What is to be done with an event that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try it again after this pause; its order waits.
    Retry(Duration),
    /// The same, and it is not counted: what it waits for may be in other hands.
    Hold(Duration),
    /// Make it a dead letter.
    Dead(DeadReason),
    /// Nothing is counted: wait until what the handler depends on is back.
    Wait,
}

/// Why an event became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// It is not an order event; the word says why (`DecodeError::reason`).
    Undecodable(&'static str),
    /// It can never work.
    Permanent,
    /// It failed `max_failures` times.
    TooManyFailures,
    /// `max_crashes` workers died with it in hand.
    TooManyCrashes,
}

impl DeadReason {
    /// The reason in one word, for the dead letter and the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable(word) => word,
            Self::Permanent => "permanent",
            Self::TooManyFailures => "max-failures",
            Self::TooManyCrashes => "max-crashes",
        }
    }
}

/// How an entry is to be run that was taken over from a worker that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeUp {
    /// On the ordinary road.
    Run,
    /// In a batch of its own, so that, if it is what kills workers, it takes no neighbour with it.
    RunAlone,
    /// Not again.
    Dead(DeadReason),
}

impl RetryPolicy {
    /// Judges a failure of an event that had failed `failures` times before. `first_in_line` says that no earlier entry is in other
    /// hands: an event that comes too early is not given up before that, since what it waits for may be with a worker that is slow or
    /// dead. `jitter` is a random number from 0 up to 1.
    pub fn judge(&self, failure: &Failure, failures: u32, first_in_line: bool, jitter: f64) -> Verdict {
        match failure.class() {
            FailureClass::Unavailable => Verdict::Wait,
            FailureClass::Permanent => Verdict::Dead(DeadReason::Permanent),
            FailureClass::Transient => {
                let is_last = failures.saturating_add(1) >= self.max_failures;
                let pause = self.pause(failures, jitter);
                let pause = failure.pause().map_or(pause, |asked| asked.max(pause));
                match is_last {
                    false => Verdict::Retry(pause),
                    true if failure.is_early() && !first_in_line => Verdict::Hold(pause),
                    true => Verdict::Dead(DeadReason::TooManyFailures),
                }
            }
        }
    }

    /// The pause before try number `n + 1` of something that has failed `n + 1` times in a row: exponential, with full jitter
    /// (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015), and never less than a tenth of what the doubling
    /// came to, so that nothing spins.
    pub fn pause(&self, n: u32, jitter: f64) -> Duration {
        let ceiling =
            2u32.checked_pow(n).and_then(|factor| self.delay_min.checked_mul(factor)).unwrap_or(self.delay_max);
        ceiling.min(self.delay_max).mul_f64(jitter.clamp(0.1, 1.0))
    }

    /// How long an entry has to wait that was taken up at `now_ms`, and that is due at `due_ms` by the clock of whoever had it before.
    /// Two clocks may differ, and one may have been set: nobody waits for longer than the longest pause.
    pub fn left(&self, due_ms: u64, now_ms: u64) -> Option<Duration> {
        let left = due_ms.saturating_sub(now_ms);
        (left > 0).then(|| Duration::from_millis(left).min(self.delay_max))
    }

    /// How to run an entry that was handed out `deliveries` times to workers that did not finish it. A worker that stops in good
    /// order takes its own delivery off the count, so what is left are crashes.
    ///
    /// Everything that a dying worker had in hand is under suspicion, and mostly innocent. So the second try is on the ordinary
    /// road, and from then on a suspect runs alone, with nothing beside it: only the guilty one goes on dying.
    pub fn take_up(&self, deliveries: u32) -> TakeUp {
        match deliveries {
            crashes if crashes >= self.max_crashes => TakeUp::Dead(DeadReason::TooManyCrashes),
            0 | 1 => TakeUp::Run,
            _ => TakeUp::RunAlone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_failures: 8,
        max_crashes: 3,
        delay_min: Duration::from_millis(500),
        delay_max: Duration::from_mins(5),
    };

    #[test]
    fn a_transient_failure_is_tried_again_until_the_limit() {
        let failure = Failure::transient("too early");
        assert_eq!(POLICY.judge(&failure, 0, false, 1.0), Verdict::Retry(Duration::from_millis(500)));
        assert_eq!(POLICY.judge(&failure, 6, false, 0.5), Verdict::Retry(Duration::from_secs(16)));
        assert_eq!(POLICY.judge(&failure, 7, false, 1.0), Verdict::Dead(DeadReason::TooManyFailures));
    }

    #[test]
    fn what_is_due_by_a_clock_that_is_ahead_waits_no_longer_than_the_longest_pause() {
        assert_eq!(POLICY.left(5_000, 2_000), Some(Duration::from_secs(3)));
        assert_eq!(POLICY.left(5_000, 5_000), None);
        assert_eq!(POLICY.left(0, 5_000), None);
        assert_eq!(POLICY.left(3_600_000, 2_000), Some(POLICY.delay_max));
    }

    #[test]
    fn what_comes_too_early_is_not_given_up_while_what_it_waits_for_may_be_in_other_hands() {
        let failure = Failure::early("there is no such order");
        assert_eq!(POLICY.judge(&failure, 6, false, 0.5), Verdict::Retry(Duration::from_secs(16)));
        assert_eq!(POLICY.judge(&failure, 7, false, 0.5), Verdict::Hold(Duration::from_secs(32)));
        assert_eq!(POLICY.judge(&failure, 7, true, 0.5), Verdict::Dead(DeadReason::TooManyFailures));
    }

    #[test]
    fn an_outage_is_never_counted_and_an_impossible_event_never_tried_again() {
        assert_eq!(POLICY.judge(&Failure::unavailable("down"), 1_000_000, false, 0.0), Verdict::Wait);
        assert_eq!(POLICY.judge(&Failure::permanent("no"), 0, false, 0.0), Verdict::Dead(DeadReason::Permanent));
    }

    #[test]
    fn a_pause_that_was_asked_for_is_obeyed() {
        let failure = Failure::transient("busy").retry_after(Duration::from_secs(90));
        assert_eq!(POLICY.judge(&failure, 0, false, 1.0), Verdict::Retry(Duration::from_secs(90)));
        let failure = Failure::transient("busy").retry_after(Duration::from_millis(1));
        assert_eq!(POLICY.judge(&failure, 0, false, 1.0), Verdict::Retry(Duration::from_millis(500)));
    }

    #[test]
    fn pauses_grow_to_their_limit_and_never_to_nothing() {
        assert_eq!(POLICY.pause(40, 1.0), POLICY.delay_max);
        assert_eq!(POLICY.pause(0, 0.0), Duration::from_millis(50));
    }

    #[test]
    fn suspects_run_alone_and_repeated_killers_not_again() {
        assert_eq!(POLICY.take_up(0), TakeUp::Run);
        assert_eq!(POLICY.take_up(1), TakeUp::Run);
        assert_eq!(POLICY.take_up(2), TakeUp::RunAlone);
        assert_eq!(POLICY.take_up(3), TakeUp::Dead(DeadReason::TooManyCrashes));
    }
}
