//! [`Duty`]: which of several instances looks for what is due.

use std::future::Future;

use tokio::sync::watch;
use tracing::info;

/// Whether this instance looks for what is due. It does, unless another one is known to: what is due is found by
/// several at the cost of a few reads, and found by nobody at the cost of a reminder.
#[derive(Debug)]
pub struct Duty(watch::Sender<bool>);

impl Default for Duty {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Duty {
    /// Takes or gives up the duty.
    pub fn set(&self, on_duty: bool) {
        let is_other = |was: &mut bool| std::mem::replace(was, on_duty) != on_duty;
        if self.0.send_if_modified(is_other) {
            info!(on_duty, "who looks for what is due has changed");
        }
    }

    /// Does something whenever this instance is on duty: anew each time, and dropped when that ends.
    pub async fn whenever<Work: Future<Output = ()>>(&self, work: impl Fn() -> Work) {
        let mut on_duty = self.0.subscribe();
        loop {
            // It is there as long as the sender is, which is borrowed here.
            let _ = on_duty.wait_for(|is| *is).await;
            let over = async { drop(on_duty.wait_for(|is| !*is).await) };
            tokio::select! {
                () = work() => return,
                () = over => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_is_begun_anew_whenever_it_is_ones_duty() {
        let (duty, begun) = (Duty::default(), AtomicU32::new(0));
        let work = || {
            begun.fetch_add(1, Ordering::SeqCst);
            std::future::pending()
        };
        let turns = async {
            for on_duty in [true, false, false, true, true] {
                duty.set(on_duty);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = duty.whenever(work) => unreachable!("the work never ends"),
            () = turns => {}
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }
}
