//! Small tasks that serve something which is in somebody's hand: what drives a connection, say.
//!
//! Owns: that such a task ends with what it serves.
//! Never: work of its own, or an end that anybody would have to be told of: what it serves shows that by itself.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinSet;

/// A task that ends when the last clone of this is dropped.
#[derive(Debug, Clone)]
pub struct Attendant {
    _task: Arc<JoinSet<()>>,
}

/// Starts it. Must be called within a runtime.
pub fn attend(service: impl Future<Output = ()> + Send + 'static) -> Attendant {
    let mut task = JoinSet::new();
    task.spawn(service);
    Attendant { _task: Arc::new(task) }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_last_that_holds_it() {
        let (held_by_the_task, mut dropped) = oneshot::channel::<()>();
        let attendant = attend(async move {
            std::future::pending::<()>().await;
            drop(held_by_the_task);
        });
        let another = attendant.clone();
        drop(attendant);
        tokio::task::yield_now().await;
        assert_eq!(dropped.try_recv(), Err(TryRecvError::Empty));
        drop(another);
        assert!(dropped.await.is_err(), "the task has ended, and with it what it held");
    }
}
