//! Several requests at once.

use super::Result;
use alloc::{boxed::Box, collections::VecDeque};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// Carries out all requests, at most `depth` at a time. The first failure ends it, when those under way have ended, too.
pub(super) async fn each<F: Future<Output = Result>>(
    depth: usize,
    requests: impl Iterator<Item = F>,
) -> Result {
    let mut requests = requests.fuse();
    let mut under_way: VecDeque<Pin<Box<F>>> = VecDeque::new();
    let mut outcome = Ok(());
    poll_fn(|context| {
        loop {
            while under_way.len() < depth && outcome.is_ok() {
                match requests.next() {
                    Some(request) => under_way.push_back(Box::pin(request)),
                    None => break,
                }
            }
            let before = under_way.len();
            under_way.retain_mut(|request| match request.as_mut().poll(context) {
                Poll::Ready(result) => {
                    if outcome.is_ok() {
                        outcome = result;
                    }
                    false
                }
                Poll::Pending => true,
            });
            if under_way.is_empty() && (outcome.is_err() || before == 0) {
                return Poll::Ready(outcome.clone());
            }
            // With all of them waiting, there is nothing to do until one is woken.
            if under_way.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Error;
    use core::{
        cell::Cell,
        pin::pin,
        task::{Context, Waker},
    };

    fn run(future: impl Future<Output = Result>) -> Result {
        let mut future = pin!(future);
        for _ in 0..1000 {
            if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return result;
            }
        }
        panic!("never done");
    }

    #[test]
    fn at_most_so_many_at_once_and_all_in_the_end() {
        let (now, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let request = |_| async {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            for _ in 0..3 {
                crate::executor::yield_now().await;
            }
            now.set(now.get() - 1);
            done.set(done.get() + 1);
            Ok(())
        };
        assert_eq!(run(each(3, (0..10).map(request))), Ok(()));
        assert_eq!((most.get(), done.get()), (3, 10));
        assert_eq!(run(each(3, (0..0).map(request))), Ok(()));
    }

    #[test]
    fn a_failure_starts_no_more() {
        let started = Cell::new(0);
        let request = |number| {
            let started = &started;
            async move {
                started.set(started.get() + 1);
                crate::executor::yield_now().await;
                if number == 2 { Err(Error::Broken) } else { Ok(()) }
            }
        };
        assert_eq!(run(each(2, (0..10).map(request))), Err(Error::Broken));
        assert!(started.get() < 6);
    }
}
