//! What reaches the application and what comes back.

mod support;

use support::gateway::Gateway;
use support::upstream::Upstream;

#[test]
fn a_request_with_a_session_arrives_with_identity_headers_and_without_its_token() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login_with(serde_json::json!({ "user": "ann", "roles": ["staff", "ops"] }));

    let response = gateway.get_as(&session.token, "/a?b=c");

    assert_eq!((response.status, response.text()), (200, "hello"));
    let received = upstream.last();
    assert_eq!(received.target(), "/a?b=c");
    assert_eq!(received.header("x-auth-user"), Some("ann"));
    assert_eq!(received.header("x-auth-session"), Some(session.id.as_str()));
    assert_eq!(received.header("x-auth-roles"), Some("staff,ops"));
    assert_eq!(received.header("host"), Some("app.test"));
    assert_eq!(received.header("authorization"), None);
}
