//! Whether a client that says nothing is still there.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};

use crate::deadline::{Deadline, Deadlines};

/// How long the answer to a ping may take of a client that says nothing.
const PONG: Duration = Duration::from_secs(20);

/// What is to be done about a client that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It is asked, with what the connection now has to write.
    Begins,
    /// It does not answer.
    Lasts,
}

/// A client is asked when it has said nothing for `idle_timeout`, also while its requests are being answered: nothing else tells
/// that it has gone without a word.
#[derive(Debug)]
pub(super) struct Presence {
    pings: Option<PingPong>,
    limit: Deadline,
    idle_timeout: Duration,
    /// Whether it was asked and has not answered.
    asked: bool,
}

impl Presence {
    pub(super) fn new(deadlines: &Arc<Deadlines>, idle_timeout: Duration, pings: Option<PingPong>) -> Self {
        let limit = deadlines.limit();
        limit.arm(idle_timeout);
        Self { pings, limit, idle_timeout, asked: false }
    }

    /// Ready when the client has said nothing for too long. `spoke` is whether it has since this was asked last.
    pub(super) fn poll_silence(&mut self, spoke: bool, cx: &mut Context<'_>) -> Poll<Silence> {
        // There are always some, for the first who asks.
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if self.asked && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_))) {
            self.asked = false;
            self.limit.arm(self.idle_timeout);
        } else if spoke {
            self.limit.arm(if self.asked { PONG } else { self.idle_timeout });
        }
        if self.limit.poll_passed(cx).is_pending() {
            return Poll::Pending;
        }
        if self.asked {
            return Poll::Ready(Silence::Lasts);
        }
        self.asked = true;
        self.limit.arm(PONG);
        // An error is a connection that is about to end.
        let _ = pings.send_ping(Ping::opaque());
        Poll::Ready(Silence::Begins)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;
    use h2::server::Connection;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::clock::Uptime;

    const IDLE: Duration = Duration::from_secs(75);
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;

    struct Both {
        deadlines: Arc<Deadlines>,
        presence: Presence,
        connection: Connection<DuplexStream, Bytes>,
        client: DuplexStream,
    }

    impl Both {
        async fn start() -> Self {
            let (ours, mut client) = tokio::io::duplex(64 * 1024);
            client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            client.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
            let mut connection = h2::server::handshake(ours).await.unwrap();
            let deadlines = Arc::new(Deadlines::default());
            let presence = Presence::new(&deadlines, IDLE, connection.ping_pong());
            Self { deadlines, presence, connection, client }
        }

        /// What is to be done so many seconds after the beginning.
        fn at(&mut self, seconds: u64, spoke: bool) -> Option<Silence> {
            self.deadlines.tick(Uptime::from_micros(seconds * 1_000_000));
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(self.connection.poll_accept(cx).is_pending());
            let silence = self.presence.poll_silence(spoke, cx);
            assert!(self.connection.poll_accept(cx).is_pending(), "what is to be written is");
            match silence {
                Poll::Ready(silence) => Some(silence),
                Poll::Pending => None,
            }
        }

        /// The client answers the ping that it has got.
        async fn answer(&mut self) {
            let mut head = [0; 9];
            loop {
                self.client.read_exact(&mut head).await.unwrap();
                let mut payload = vec![0; head[2].into()];
                self.client.read_exact(&mut payload).await.unwrap();
                if head[3] == PING {
                    head[4] = 1;
                    return self.client.write_all(&[&head[..], &payload].concat()).await.unwrap();
                }
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_asked_and_is_silent_when_it_does_not_answer() {
        let mut both = Both::start().await;
        assert_eq!(both.at(74, false), None);
        assert_eq!(both.at(76, false), Some(Silence::Begins));
        assert_eq!(both.at(95, false), None);
        assert_eq!(both.at(97, false), Some(Silence::Lasts));
    }

    #[tokio::test]
    async fn a_client_that_answers_is_asked_again_and_again() {
        let mut both = Both::start().await;
        for round in 0..3 {
            let began = round * 100;
            assert_eq!(both.at(began + 76, false), Some(Silence::Begins), "{round}");
            both.answer().await;
            assert_eq!(both.at(began + 77, true), None);
            assert_eq!(both.at(began + 99, false), None);
            assert_eq!(both.at(began + 100, true), None);
        }
    }

    #[tokio::test]
    async fn whatever_a_client_says_shows_that_it_is_there() {
        let mut both = Both::start().await;
        assert_eq!(both.at(70, true), None);
        assert_eq!(both.at(140, false), None);
        assert_eq!(both.at(146, false), Some(Silence::Begins));
        assert_eq!(both.at(160, true), None, "though it is no answer");
        assert_eq!(both.at(175, false), None);
        assert_eq!(both.at(181, false), Some(Silence::Lasts));
    }
}
