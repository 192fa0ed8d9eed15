//! The supervisor: knows tasks, not what they do.
//!
//! Owns: every task of the process. One that fails or panics is started again, after a pause, and counted; one that keeps failing
//! ends them all.
//! Never: a detached task, or a task that ends unnoticed.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::backoff::Backoff;
use self::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{TaskFailed, TaskStarted};

pub mod attendant;
pub mod backoff;
pub mod heartbeat;
pub mod phase;
pub mod shutdown;
pub mod systemd;

/// So many failures in a row, none of them after a healthy while, and the supervisor gives up.
pub const MAX_RESTARTS: u32 = 8;
/// A task that has run for so long was healthy.
const HEALTHY: Duration = Duration::from_mins(1);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How a task failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TaskError(String);

impl TaskError {
    /// It failed for this reason.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// A task kept failing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task '{task}' failed {failures} times in a row, the last time with: {error}")]
pub struct GaveUp {
    /// Which task.
    pub task: &'static str,
    /// How often.
    pub failures: u32,
    /// The last failure.
    pub error: TaskError,
}

/// Runs tasks and watches them. Dropping it ends them all.
#[derive(Debug)]
pub struct Supervisor {
    tasks: JoinSet<Result<(), GaveUp>>,
    shutdown: Shutdown,
    telemetry: Telemetry,
}

impl Supervisor {
    /// A supervisor without tasks. After `shutdown` is told to stop, a task that fails is not started again.
    pub fn new(shutdown: Shutdown, telemetry: Telemetry) -> Self {
        Self { tasks: JoinSet::new(), shutdown, telemetry }
    }

    /// Starts a task. `make` is called for each start; a task that returns `Ok` has done its work.
    pub fn spawn<F, T>(&mut self, task: &'static str, make: F)
    where
        F: FnMut() -> T + Send + 'static,
        T: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let (shutdown, telemetry) = (self.shutdown.clone(), self.telemetry.clone());
        self.tasks.spawn(watch(task, make, shutdown, telemetry));
    }

    /// Starts a task that cannot be started again: its failure is the supervisor's.
    pub fn spawn_once<T>(&mut self, task: &'static str, future: T)
    where
        T: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let telemetry = self.telemetry.clone();
        self.tasks.spawn(async move {
            telemetry.emit(TaskStarted { task });
            caught(future).await.map_err(|error| GaveUp { task, failures: 1, error })
        });
    }

    /// Waits until every task has done its work, or until one was given up; then the others are ended.
    pub async fn run(mut self) -> Result<(), GaveUp> {
        while let Some(ended) = self.tasks.join_next().await {
            // A panic is caught inside; what is left is a task that was ended from outside, with the runtime.
            ended.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}

async fn watch<F, T>(task: &'static str, mut make: F, shutdown: Shutdown, telemetry: Telemetry) -> Result<(), GaveUp>
where
    F: FnMut() -> T,
    T: Future<Output = Result<(), TaskError>>,
{
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    telemetry.emit(TaskStarted { task });
    loop {
        let started = Instant::now();
        let Err(error) = caught(make()).await else { return Ok(()) };
        if started.elapsed() >= HEALTHY {
            backoff.succeeded();
        }
        let again_in = backoff.failed();
        let failures = backoff.failures();
        telemetry.emit(TaskFailed { task, error: &error.0, restarts: failures, again_in });
        if failures >= MAX_RESTARTS {
            return Err(GaveUp { task, failures, error });
        }
        if !shutdown.pause(again_in).await {
            return Ok(());
        }
    }
}

/// Runs a future to its end; a panic is a failure like any other.
async fn caught(future: impl Future<Output = Result<(), TaskError>>) -> Result<(), TaskError> {
    let ended = AssertUnwindSafe(future).catch_unwind().await;
    ended.unwrap_or_else(|panic| Err(TaskError::new(format_args!("it panicked: {}", panic_text(&*panic)))))
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn supervisor() -> Supervisor {
        Supervisor::new(Shutdown::new(), Telemetry::new().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_or_panics_is_started_again() {
        let mut supervisor = supervisor();
        let starts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&starts);
        supervisor.spawn("flaky", move || {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match start {
                    0 => Err(TaskError::new("not yet")),
                    1 => panic!("on purpose"),
                    _ => Ok(()),
                }
            }
        });
        assert_eq!(supervisor.run().await, Ok(()));
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_keeps_failing_ends_the_others() {
        let mut supervisor = supervisor();
        supervisor.spawn("hopeless", || async { Err(TaskError::new("never")) });
        supervisor.spawn("patient", std::future::pending);
        let gave_up = supervisor.run().await.unwrap_err();
        assert_eq!((gave_up.task, gave_up.failures), ("hopeless", MAX_RESTARTS));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_with_healthy_times_between_them_are_not_added_up() {
        let mut supervisor = supervisor();
        let starts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&starts);
        supervisor.spawn("tired", move || {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(HEALTHY).await;
                if start > 2 * MAX_RESTARTS { Ok(()) } else { Err(TaskError::new(start)) }
            }
        });
        assert_eq!(supervisor.run().await, Ok(()));
    }

    #[tokio::test]
    async fn a_task_that_fails_while_stopping_is_not_started_again() {
        let shutdown = Shutdown::new();
        shutdown.stop();
        let mut supervisor = Supervisor::new(shutdown, Telemetry::new().unwrap());
        supervisor.spawn("late", || async { Err(TaskError::new("stopping")) });
        assert_eq!(supervisor.run().await, Ok(()));
    }
}
