//! What other gateways change, as PostgreSQL tells it: LISTEN on a connection of its own.
//!
//! The triggers of the schema notify within the transaction of a change, so that what is told is committed and what is
//! committed is told. A transaction that is told of is visible to every statement that begins afterwards.
//!
//! # A connection that only looks alive
//! Nothing is sent on this connection for as long as nothing happens, so a broken one would be as quiet as a good one. It is
//! asked something every few seconds, and an answer that is late means that it is gone.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deadpool_postgres::Object;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use super::Postgres;
use super::call::Trouble;
use super::connect::Wire;
use crate::clock::Timestamp;
use crate::session::SessionId;
use crate::store::{News, Notice, StoreError};

/// The channel; the schema's triggers name it too.
const CHANNEL: &str = "session_gateway";
/// The version of the payload's form.
const FORM: &str = "1";
/// How long the connection may be silent before it is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(3);
/// The most notices that are kept while the connection is being put in place. Nothing is lost beyond: they become one that
/// says that anything may have changed.
const KEPT: usize = 1024;

/// A connection that hears what others change.
pub(in crate::store) struct Listener {
    postgres: Postgres,
    line: Option<Line>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("attached", &self.line.is_some()).finish_non_exhaustive()
    }
}

/// A connection on which LISTEN is in place.
struct Line {
    client: Arc<Client>,
    wire: Wire,
    sender: Arc<str>,
    /// Whether a notification of our own has arrived.
    tested: bool,
    heard: VecDeque<Notice>,
    /// The question whether the connection lives: first a pause, then the wait for the answer.
    question: Question,
}

type Question = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

impl Listener {
    pub(in crate::store) const fn new(postgres: Postgres) -> Self {
        Self { postgres, line: None }
    }

    pub(in crate::store) async fn attach(&mut self) -> Result<(), StoreError> {
        self.line = None;
        let limit = self.postgres.timeout;
        let late = |_| StoreError::Timeout(limit);
        let mut line = timeout(limit, Line::open(&self.postgres)).await.map_err(late)??;
        // A pooler between us and the server takes the LISTEN and keeps the notifications to itself. So one is sent from
        // another connection, and has to arrive.
        line.while_hearing(self.postgres.notify_self()).await??;
        timeout(limit, line.until_tested()).await.map_err(|_| StoreError::Failed(NOT_THROUGH.into()))??;
        self.line = Some(line);
        Ok(())
    }

    pub(in crate::store) async fn next(&mut self) -> Result<Notice, StoreError> {
        let Some(line) = &mut self.line else { return Err(StoreError::Unreachable("not attached".into())) };
        let next = line.next(self.postgres.timeout).await;
        if next.is_err() {
            self.line = None;
        }
        next
    }
}

impl Line {
    async fn open(postgres: &Postgres) -> Result<Self, StoreError> {
        let (client, wire) = postgres.connector.connect().await?;
        let client = Arc::new(client);
        let question = ask(client.clone(), postgres.timeout);
        let sender = postgres.sender.clone();
        let mut line = Self { client, wire, sender, tested: false, heard: VecDeque::new(), question };
        let client = line.client.clone();
        line.while_hearing(client.batch_execute("LISTEN session_gateway")).await?.map_err(unreachable)?;
        Ok(line)
    }

    /// Waits for `work`, which needs this connection to be read, and keeps what is heard meanwhile.
    async fn while_hearing<T>(&mut self, work: impl Future<Output = T>) -> Result<T, StoreError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                heard = hear(&mut self.wire, &self.sender) => self.keep(heard?),
            }
        }
    }

    fn keep(&mut self, heard: Option<Notice>) {
        let Some(notice) = heard else { return };
        if is_test(&notice) {
            self.tested |= notice.own;
        } else if self.heard.len() == KEPT {
            self.heard.clear();
            self.heard.push_back(Notice { news: News::Anything, own: false, at: None });
        } else {
            self.heard.push_back(notice);
        }
    }

    async fn until_tested(&mut self) -> Result<(), StoreError> {
        while !self.tested {
            let heard = hear(&mut self.wire, &self.sender).await?;
            self.keep(heard);
        }
        Ok(())
    }

    async fn next(&mut self, limit: Duration) -> Result<Notice, StoreError> {
        loop {
            if let Some(notice) = self.heard.pop_front() {
                return Ok(notice);
            }
            tokio::select! {
                heard = hear(&mut self.wire, &self.sender) => self.keep(heard?),
                answer = &mut self.question => {
                    answer?;
                    self.question = ask(self.client.clone(), limit);
                }
            }
        }
    }
}

const NOT_THROUGH: &str = "a notification sent by ourselves did not arrive: LISTEN does not work through a connection pooler in \
    transaction mode; give store.url an address that leads to PostgreSQL itself, or set store.notify = \"poll\"";

/// After a pause, asks whether the connection lives. The answer comes only while the connection is read.
fn ask(client: Arc<Client>, limit: Duration) -> Question {
    Box::pin(async move {
        sleep(SILENCE).await;
        match timeout(limit, client.batch_execute("")).await {
            Ok(answer) => answer.map_err(unreachable),
            Err(_) => Err(StoreError::Timeout(limit)),
        }
    })
}

/// The next message of the server, when it is a notification for us. Cancel safe: a message is not taken before it is whole.
async fn hear(wire: &mut Wire, sender: &str) -> Result<Option<Notice>, StoreError> {
    match poll_fn(|context| wire.poll_message(context)).await {
        Some(Ok(AsyncMessage::Notification(told))) if told.channel() == CHANNEL => {
            Ok(Some(read(told.payload(), sender)))
        }
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(unreachable(error)),
        None => Err(StoreError::Unreachable("the server closed the connection".into())),
    }
}

fn unreachable(error: tokio_postgres::Error) -> StoreError {
    StoreError::Unreachable(Box::new(error))
}

/// Whether it is one with which somebody tries a connection out.
fn is_test(notice: &Notice) -> bool {
    matches!(&notice.news, News::Sessions(ids) if ids.is_empty())
}

/// The payload of [`is_test`].
fn test(sender: &str) -> String {
    format!("{FORM} 0 {sender} ")
}

/// Sends the one with which a connection is tried out.
pub(super) async fn send_test(client: &Object, sender: &str) -> Result<(), Trouble> {
    client.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &test(sender)]).await?;
    Ok(())
}

/// Reads a payload: `1 <when> <by whom> <which>`. What cannot be read was written by somebody who knows more, and may mean
/// anything.
fn read(payload: &str, sender: &str) -> Notice {
    let mut words = payload.splitn(4, ' ');
    let (form, at, by, which) = (words.next(), words.next(), words.next(), words.next());
    let own = by == Some(sender);
    let at = at.and_then(|millis| millis.parse().ok()).map(Timestamp::from_millis);
    let ids = which.filter(|_| form == Some(FORM)).and_then(read_ids);
    match ids {
        Some(ids) => Notice { news: News::Sessions(ids), own, at },
        None => Notice { news: News::Anything, own: false, at: None },
    }
}

/// Ids of 22 characters, one after the other.
fn read_ids(which: &str) -> Option<Vec<SessionId>> {
    const LENGTH: usize = 22;

    let chunks = which.as_bytes().chunks(LENGTH);
    chunks
        .map(|chunk| {
            let bytes = URL_SAFE_NO_PAD.decode(chunk).ok()?;
            uuid::Uuid::from_slice(&bytes).ok().map(SessionId::from_uuid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u128) -> Vec<SessionId> {
        (0..count).map(|number| SessionId::from_uuid(uuid::Uuid::from_u128(number << 60 | number))).collect()
    }

    fn write(ids: &[SessionId]) -> String {
        ids.iter().map(|id| URL_SAFE_NO_PAD.encode(id.as_uuid().as_bytes())).collect()
    }

    #[test]
    fn a_payload_says_which_when_and_by_whom() {
        let notice = read(&format!("1 1763656204250 me {}", write(&ids(350))), "me");
        assert_eq!(notice.news, News::Sessions(ids(350)));
        assert!(notice.own);
        assert_eq!(notice.at, Some(Timestamp::from_millis(1_763_656_204_250)));
        assert!(!read(&format!("1 0 other {}", write(&ids(1))), "me").own);
        assert!(!read(&format!("1 0 - {}", write(&ids(1))), "me").own);
    }

    #[test]
    fn what_cannot_be_read_may_mean_anything() {
        let one = write(&ids(1));
        for payload in [
            "",
            "hello",
            "1 0 me *",
            "1 0 me",
            &format!("2 0 me {one}"),
            &format!("1 0 me {one}AA"),
            &format!("1 0 me {one}*"),
        ] {
            assert_eq!(read(payload, "me"), Notice { news: News::Anything, own: false, at: None }, "{payload}");
        }
    }

    #[test]
    fn the_test_of_a_connection_is_no_news() {
        assert!(is_test(&read(&test("me"), "me")));
        assert!(is_test(&read(&test("other"), "me")));
        assert!(!is_test(&read(&format!("{}{}", test("me"), write(&ids(1))), "me")));
    }
}
