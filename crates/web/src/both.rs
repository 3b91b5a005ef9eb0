//! Two futures at the same time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Returns the results of two futures that make progress beside each other.
pub async fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(|context| {
        // A future must not be polled after its end.
        if a.is_none()
            && let Poll::Ready(found) = first.as_mut().poll(context)
        {
            a = Some(found);
        }
        if b.is_none()
            && let Poll::Ready(found) = second.as_mut().poll(context)
        {
            b = Some(found);
        }
        match (a.take(), b.take()) {
            (Some(found), Some(other)) => Poll::Ready((found, other)),
            (found, other) => {
                (a, b) = (found, other);
                Poll::Pending
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use honelm_backend::block_on;

    use super::*;

    #[test]
    fn both_futures_make_progress() {
        let seen = RefCell::new(Vec::new());
        let turns = |name: &'static str, mut left: usize| {
            let seen = &seen;
            poll_fn(move |context| {
                seen.borrow_mut().push(name);
                context.waker().wake_by_ref();
                left -= 1;
                if left == 0 { Poll::Ready(name) } else { Poll::Pending }
            })
        };
        assert_eq!(block_on(both(turns("a", 1), turns("b", 3))), ("a", "b"));
        assert_eq!(*seen.borrow(), ["a", "b", "b", "b"]);
    }
}
