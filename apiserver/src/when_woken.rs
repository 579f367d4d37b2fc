//! A future beside another one that is polled far more often.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Polls a future only once it has woken somebody. Asking a token of cancellation takes a lock that all who wait for it share;
/// a thousand watches that are told of a change would ask it a thousand times to hear that nothing has happened.
pub(crate) struct WhenWoken<F> {
    future: F,
    bell: Bell,
}

impl<F> WhenWoken<F> {
    /// A future that is polled for the first time at once.
    pub(crate) fn new(future: F) -> Self {
        let bell = Bell::rung();
        Self { future, bell }
    }
}

impl<F: Future + Unpin> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !self.bell.heard(cx) {
            return Poll::Pending;
        }
        let waker = self.bell.waker();
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&waker))
    }
}

/// Wakes a task, and remembers that it did.
#[derive(Clone)]
pub(crate) struct Bell(Arc<Rope>);

struct Rope {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// One that has been rung already.
    pub(crate) fn rung() -> Self {
        Self(Arc::new(Rope {
            rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        }))
    }

    /// Whether it has been rung since this was last asked. Whoever rings it from now on wakes the task.
    pub(crate) fn heard(&self, cx: &Context<'_>) -> bool {
        // First, so that whoever rings after the look at it wakes this task.
        self.0.task.register(cx.waker());
        // Mostly it has not, and then its memory stays shared.
        self.0.rung.load(Ordering::Acquire) && self.0.rung.swap(false, Ordering::AcqRel)
    }

    /// Rings it.
    pub(crate) fn ring(&self) {
        self.0.wake_by_ref();
    }

    /// What rings it.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_has_something_to_say() {
        let token = CancellationToken::new();
        let mut polls = 0;
        let mut inner = Box::pin(token.cancelled());
        let counted = poll_fn(|cx| {
            polls += 1;
            inner.as_mut().poll(cx)
        });
        let mut waiting = WhenWoken::new(counted);
        for _ in 0..3 {
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut waiting).poll(cx))).await;
            assert!(polled.is_pending());
        }
        token.cancel();
        (&mut waiting).await;
        drop(waiting);
        assert_eq!(polls, 2);
    }

    #[tokio::test]
    async fn it_wakes_whoever_polled_it_last() {
        let token = CancellationToken::new();
        let mut waiting = WhenWoken::new(Box::pin(token.clone().cancelled_owned()));
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut waiting).poll(cx))).await;
        assert!(polled.is_pending());
        let other = tokio::spawn(waiting);
        tokio::task::yield_now().await;
        token.cancel();
        other.await.expect("woken");
    }
}
