//! The file's lock: one writer at a time, of all processes that share the file.
//!
//! Owns: how long and how often a writer asks for it.
//! Never: SQLite's own waiting, which asks less and less often, up to ten times a second: beside a busy writer it would starve.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Result, Transaction, TransactionBehavior};

use super::fault;

/// How long a writer waits for the others.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_micros(500);

/// A transaction that holds the lock.
pub(super) struct Begun<'c> {
    /// The transaction.
    pub(super) transaction: Transaction<'c>,
    /// Whether another process had the lock first.
    pub(super) contended: bool,
}

/// Begins a transaction that writes. Waits up to `patience` for the lock.
pub(super) fn begin(conn: &Connection, patience: Duration) -> Result<Begun<'_>> {
    let mut contended = false;
    let transaction = patiently(patience, || {
        let begun = Transaction::new_unchecked(conn, TransactionBehavior::Immediate);
        contended |= begun.is_err();
        begun
    })?;
    Ok(Begun { transaction, contended })
}

/// Does `attempt` again while another process is in the way, for up to `patience`.
pub(super) fn patiently<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error) if fault::is_busy(&error) && started.elapsed() < patience => pause(),
            done => return done,
        }
    }
}

/// Leaves the lock alone for long enough that whoever is waiting gets it: a writer that always has work would keep it from the
/// others, for it is free for some microseconds only between two transactions.
pub(super) fn let_others() {
    pause();
    pause();
}

fn pause() {
    // This thread has nothing else to do, and nobody unparks it.
    std::thread::park_timeout(PAUSE);
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_lock_that_is_held_for_a_moment_is_waited_for_and_one_that_is_held_for_long_is_not() {
        let folder = TempDir::new().unwrap();
        let open = || Connection::open(folder.path().join("some.db")).unwrap();
        let (holder, waiter) = (open(), open());
        waiter.busy_timeout(Duration::ZERO).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();

        let started = Instant::now();
        assert!(fault::is_busy(&begin(&waiter, Duration::from_millis(20)).map(|_| ()).unwrap_err()));
        assert!((Duration::from_millis(20)..PATIENCE).contains(&started.elapsed()));

        let mut attempts = 0;
        let begun = patiently(PATIENCE, || {
            attempts += 1;
            if attempts == 3 {
                holder.execute_batch("ROLLBACK")?;
            }
            Transaction::new_unchecked(&waiter, TransactionBehavior::Immediate)
        });
        assert!(begun.is_ok());
        assert_eq!(attempts, 3);
    }
}
