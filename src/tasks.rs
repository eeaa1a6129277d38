//! [`Tasks`]: owns every spawned task, and the order of shutdown.
//!
//! What lasts is `run(self, .., shutdown)`: it is told when to end and somebody waits until it has.
//! A task that panics, or ends before it was told to, ends the process with its name in the log: a bot
//! that is half alive is worse than one that its supervisor starts again.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::error;

/// The only place where tasks are spawned. Cloning gives another handle to the same tasks.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: Arc<AtomicBool>,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process is to stop.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Spawns a task that lasts until shutdown.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
        self.tracker.spawn(async move {
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            if shutdown.is_cancelled() {
                return;
            }
            match outcome {
                Ok(()) => error!(task = name, "a task ended before it was told to"),
                Err(_) => error!(task = name, "a task panicked"),
            }
            failed.store(true, Ordering::SeqCst);
            shutdown.cancel();
        });
    }

    /// Spawns a piece of work that ends by itself, such as one command. A panic in it is logged and
    /// ends nothing else.
    pub fn spawn_job<F>(&self, name: &'static str, job: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(async move {
            if AssertUnwindSafe(job).catch_unwind().await.is_err() {
                error!(job = name, "a job panicked");
            }
        });
    }

    /// Counts work that somebody else spawned, such as an event handler, until the token is dropped.
    pub fn job(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Asks everything to end.
    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Whether a lasting task ended that should not have.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Waits until every task has ended; `false` if some had not after `limit`.
    pub async fn wait(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_early_stops_the_others() {
        let tasks = Tasks::new();
        let shutdown = tasks.shutdown();
        tasks.spawn("patient", async move { shutdown.cancelled().await });
        tasks.spawn("hasty", async {});
        assert!(tasks.wait(Duration::from_secs(10)).await);
        assert!(tasks.failed());
    }

    #[tokio::test]
    async fn a_panicking_job_ends_alone() {
        let tasks = Tasks::new();
        tasks.spawn_job("clumsy", async { panic!("on purpose") });
        assert!(tasks.wait(Duration::from_secs(10)).await);
        assert!(!tasks.failed());
    }

    #[tokio::test]
    async fn stopping_is_not_a_failure() {
        let tasks = Tasks::new();
        let shutdown = tasks.shutdown();
        tasks.spawn("patient", async move { shutdown.cancelled().await });
        tasks.stop();
        assert!(tasks.wait(Duration::from_secs(10)).await);
        assert!(!tasks.failed());
    }
}
