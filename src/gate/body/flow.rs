//! What both sides of the gateway ask of a stream of HTTP/2 on which a body goes out: how much of it, and how it broke off.

use std::error::Error;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::Cause;

/// How much of so many bytes the other side takes now (RFC 9113 section 5.2); `None` when it takes no more at all. Whoever hands over
/// no more than that has nothing held for the stream but what is about to be written.
pub fn room(stream: &mut SendStream<Bytes>, wanted: usize, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    stream.reserve_capacity(wanted);
    // Only an increase is told, so what is there already is asked for first.
    while stream.capacity() == 0 {
        if !matches!(ready!(stream.poll_capacity(cx)), Some(Ok(_))) {
            return Poll::Ready(None);
        }
    }
    Poll::Ready(Some(stream.capacity()))
}

/// With which code one side has broken off, for the other; `None` if it said none. That there was no error is none: there are
/// programs that take what came until then for the whole.
pub fn reason(cause: &Cause) -> Option<Reason> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&**cause);
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return Some(reason).filter(|reason| *reason != Reason::NO_ERROR);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the other side broke off")]
    struct Broke(#[source] h2::Error);

    #[test]
    fn a_code_goes_on_but_for_the_one_that_says_nothing_is_wrong() {
        let calm = Reason::ENHANCE_YOUR_CALM;
        let causes: [(Cause, _); 4] = [
            (h2::Error::from(calm).into(), Some(calm)),
            (Broke(calm.into()).into(), Some(calm)),
            (Broke(Reason::NO_ERROR.into()).into(), None),
            ("it broke off".into(), None),
        ];
        for (cause, expected) in causes {
            assert_eq!(reason(&cause), expected, "{cause:?}");
        }
    }
}
