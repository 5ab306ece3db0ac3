//! The corpus. `{T}` in a shape is the line with the token, `|` stands for CRLF.

/// What has to become of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it reaches the application.
    Refused,
    /// It is one request, in chunks, and nothing behind it is looked at.
    Chunks,
    /// It is so many requests, and the one behind it is served too.
    Passes(usize),
    /// The standard lets a reader mend it; what arrives is checked all the same.
    Either,
}

pub struct Shape {
    pub name: String,
    text: String,
    pub fate: Fate,
}

impl Shape {
    /// Its bytes, with a target that has this number.
    pub fn bytes(&self, number: usize, token: &str) -> Vec<u8> {
        let agent = format!("User-Agent: acme-test/1.0\r\n{token}");
        let text = self.text.replace("/shape", &format!("/shape-{number}"));
        text.replace('|', "\r\n").replace("{T}", &agent).into_bytes()
    }
}

const HIDDEN: &str = "GET /smuggled HTTP/1.1|Host: app.test|X-Auth-User: root||";

fn post(fields: &str, body: &str) -> String {
    format!("POST /shape HTTP/1.1|Host: app.test|{{T}}{fields}|{body}")
}

fn get(fields: &str) -> String {
    format!("GET /shape HTTP/1.1|Host: app.test|{{T}}{fields}|")
}

/// All shapes.
pub fn all() -> Vec<Shape> {
    use Fate::{Chunks, Either, Passes, Refused};

    let mut shapes = Vec::new();
    let mut add = |name: &str, text: String, fate: Fate| shapes.push(Shape { name: name.to_owned(), text, fate });

    // Two framings.
    let chunked_hidden = format!("0||{HIDDEN}");
    let length = |body: &str| body.replace('|', "\r\n").len();
    let both = |first: &str, second: &str, body: &str| post(&format!("{first}|{second}|"), body);
    // The standard's way out (RFC 9112 section 6.1): the chunks count, the length goes, and the connection is closed.
    add(
        "CL.TE",
        both(&format!("Content-Length: {}", length(&chunked_hidden)), "Transfer-Encoding: chunked", &chunked_hidden),
        Chunks,
    );
    add(
        "TE.CL",
        both("Transfer-Encoding: chunked", "Content-Length: 4", &format!("{:x}|{HIDDEN}|0||", length(HIDDEN))),
        Chunks,
    );
    add("CL.TE of zero", both("Content-Length: 0", "Transfer-Encoding: chunked", &chunked_hidden), Chunks);
    for coding in [
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "identity",
        "chunked, chunked",
        "gzip, chunked",
        "chunked;q=1",
        "\"chunked\"",
        "\u{b}chunked",
        "chunked\u{b}",
        "\tchunked\u{0}",
        "cow",
        "",
        ",chunked",
        "chunked,",
        "x, chunked",
    ] {
        let fate = if matches!(coding, ",chunked" | "chunked,") { Either } else { Refused };
        add(
            &format!("TE {coding:?} with a length"),
            both(
                &format!("Transfer-Encoding: {coding}"),
                &format!("Content-Length: {}", length(&chunked_hidden)),
                &chunked_hidden,
            ),
            Refused,
        );
        add(&format!("TE {coding:?} alone"), post(&format!("Transfer-Encoding: {coding}|"), &chunked_hidden), fate);
    }
    add("TE twice", both("Transfer-Encoding: chunked", "Transfer-Encoding: identity", &chunked_hidden), Refused);
    add(
        "TE twice the same",
        both("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", &chunked_hidden),
        Refused,
    );
    add("TE in upper case", post("TRANSFER-ENCODING: CHUNKED|", "2|ab|0||"), Passes(1));
    for name in [
        "Transfer-Encoding ",
        "Transfer_Encoding",
        " Transfer-Encoding",
        "Transfer-Encoding\u{0}",
        "Transfer\u{b}-Encoding",
    ] {
        let fate = if name == "Transfer_Encoding" { Passes(1) } else { Refused };
        add(&format!("the name {name:?}"), both(&format!("{name}: chunked"), "Content-Length: 3", "abc"), fate);
    }
    add("TE folded", post("Transfer-Encoding:| chunked|", &chunked_hidden), Refused);
    add(
        "TE in HTTP/1.0",
        format!("POST /shape HTTP/1.0|Host: app.test|{{T}}Transfer-Encoding: chunked||{chunked_hidden}"),
        Refused,
    );
    add(
        "TE named in Connection",
        post("Connection: Transfer-Encoding|Transfer-Encoding: chunked|", "2|ab|0||"),
        Passes(1),
    );
    add("CL named in Connection", post("Connection: Content-Length|Content-Length: 2|", "ab"), Passes(1));

    // Lengths.
    for (value, fate) in [
        ("+2", Refused),
        ("-2", Refused),
        ("2, 2", Refused),
        ("2,3", Refused),
        ("0x2", Refused),
        ("2 ", Passes(1)),
        ("2a", Refused),
        ("2.0", Refused),
        ("", Refused),
        ("２", Refused),
        ("2;3", Refused),
        ("18446744073709551618", Refused),
        ("02", Passes(1)),
        ("2\u{0}", Refused),
        ("\"2\"", Refused),
        ("2 2", Refused),
    ] {
        add(&format!("CL {value:?}"), post(&format!("Content-Length: {value}|"), "ab"), fate);
    }
    add("two lengths", both("Content-Length: 2", "Content-Length: 44", &format!("ab{HIDDEN}")), Refused);
    add("two lengths the same", both("Content-Length: 2", "Content-Length: 2", "ab"), Either);
    add("a length with a space before the colon", post("Content-Length : 2|", "ab"), Refused);
    add(
        "a GET with a body",
        format!("GET /shape HTTP/1.1|Host: app.test|{{T}}Content-Length: {}||{HIDDEN}", length(HIDDEN)),
        Passes(1),
    );

    // Chunks.
    for (name, body, fate) in [
        ("an extension", "2;a=b|ab|0||", Passes(1)),
        ("an extension with a quoted line break", "2;a=\"\n\"|ab|0||", Refused),
        ("an extension with a bare LF", "2;a\nab|0||", Refused),
        ("a size with a bare LF", "2\nab|0||", Refused),
        ("data that ends in a bare LF", "2|ab\n0||", Refused),
        ("data that ends in a bare CR", "2|ab\r0||", Refused),
        ("data longer than its size", "2|abc|0||", Refused),
        ("a size with a prefix", "0x2|ab|0||", Refused),
        ("a size with a sign", "+2|ab|0||", Refused),
        ("a negative size", "-2|ab|0||", Refused),
        ("a size that overflows", "fffffffffffffffff|ab|0||", Refused),
        ("a size that wraps to 2", "10000000000000002|ab|0||", Refused),
        ("a size with a space", "2 |ab|0||", Either),
        ("a space before the size", " 2|ab|0||", Refused),
        ("no size", "|ab|0||", Refused),
        ("leading zeros", "0002|ab|000||", Passes(1)),
        ("a trailer", "2|ab|0|X-Sum: 1||", Passes(1)),
        ("a trailer of identity", "2|ab|0|X-Auth-User: root||", Passes(1)),
        ("a trailer that frames", "2|ab|0|Content-Length: 50||", Passes(1)),
        ("a trailer without a colon", "2|ab|0|smuggled||", Refused),
    ] {
        // What is wrong with a body may be known only when its head has gone; then the exchange is given up.
        let fate = if fate == Refused { Either } else { fate };
        add(&format!("chunks with {name}"), post("Transfer-Encoding: chunked|", body), fate);
    }

    // Lines.
    // A line may end in a bare LF (RFC 9112 section 2.2); what follows is then judged as a request of its own.
    add("bare LF everywhere", "GET /shape HTTP/1.1\nHost: app.test\n{T}\n".to_owned(), Passes(1));
    add("a bare LF before TE", post("X-A: y\nTransfer-Encoding: chunked|Content-Length: 3|", "2|ab|0||"), Chunks);
    add("a bare CR in a value", get("X-A: b\rX-Auth-User: root|"), Refused);
    add("a NUL in a value", get("X-A: b\u{0}c|"), Refused);
    add("a bell in a value", get("X-A: b\u{7}c|"), Refused);
    add("a folded line", get("X-A: b| c|"), Refused);
    add("a folded line with an identity", get("X-A: b|\tX-Auth-User: root|"), Refused);
    add("a line without a colon", get("X-A|"), Refused);
    add("an empty name", get(": b|"), Refused);
    add("a name with a space", get("X A: b|"), Refused);
    add("a name with a paren", get("X(A): b|"), Refused);
    add(
        "a line that begins with a space",
        "GET /shape HTTP/1.1| Host: app.test|Host: app.test|{T}|".to_owned(),
        Refused,
    );
    add("a blank line before the request", format!("|{}", get("")), Passes(1));
    add("CR CR LF", get("X-A: b\r|"), Refused);

    // Request lines.
    for (name, line) in [
        ("HTTP/0.9", "GET /shape"),
        ("HTTP/1.2", "GET /shape HTTP/1.2"),
        ("HTTP/2.0", "GET /shape HTTP/2.0"),
        ("HTTP/1.1 in lower case", "GET /shape http/1.1"),
        ("HTTP/1.10", "GET /shape HTTP/1.10"),
        ("HTTP/01.1", "GET /shape HTTP/01.1"),
        ("two spaces", "GET  /shape HTTP/1.1"),
        ("a tab", "GET\t/shape\tHTTP/1.1"),
        ("a space in the target", "GET /sha pe HTTP/1.1"),
        ("a space at the end", "GET /shape HTTP/1.1 "),
        ("no slash", "GET shape HTTP/1.1"),
        ("an asterisk", "GET * HTTP/1.1"),
        ("a method with a colon", "GET: /shape HTTP/1.1"),
        ("no method", " /shape HTTP/1.1"),
        ("TRACE", "TRACE /shape HTTP/1.1"),
        ("CONNECT", "CONNECT db.internal:5432 HTTP/1.1"),
        ("a scheme that is none", "GET file:///etc/passwd HTTP/1.1"),
        ("another host in the target", "GET http://other.test/shape HTTP/1.1"),
        ("userinfo in the target", "GET http://app.test@evil.test/shape HTTP/1.1"),
        ("a NUL in the target", "GET /sha\u{0}pe HTTP/1.1"),
        ("a bare CR in the target", "GET /sha\rpe HTTP/1.1"),
        ("dot segments that escape", "GET /../shape HTTP/1.1"),
        ("an encoded slash", "GET /a%2fshape HTTP/1.1"),
        ("an encoded NUL", "GET /a%00shape HTTP/1.1"),
        ("an encoded backslash", "GET /a%5cshape HTTP/1.1"),
    ] {
        add(name, format!("{line}|Host: app.test|{{T}}|"), Refused);
    }
    add(
        "HTTP/1.0 with keep-alive",
        "GET /shape HTTP/1.0|Host: app.test|{T}Connection: keep-alive||".to_owned(),
        Passes(1),
    );
    add(
        "the absolute form of the same host",
        "GET http://app.test/shape HTTP/1.1|Host: app.test|{T}|".to_owned(),
        Passes(1),
    );

    // Hosts.
    for (name, hosts) in [
        ("no Host", ""),
        ("two Hosts", "Host: app.test|Host: other.test|"),
        ("two Hosts the same", "Host: app.test|Host: app.test|"),
        ("a Host with a path", "Host: app.test/x|"),
        ("a Host with userinfo", "Host: a@app.test|"),
        ("a Host with a space", "Host: app.test other|"),
        ("a list of Hosts", "Host: app.test,other.test|"),
        ("a Host with a bad port", "Host: app.test:80:90|"),
        ("an empty Host", "Host:|"),
    ] {
        add(name, format!("GET /shape HTTP/1.1|{hosts}{{T}}|"), Refused);
    }

    // Upgrades, expectations, pipelines.
    add(
        "an upgrade to h2c",
        get("Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABkAAQAAP__|"),
        Passes(1),
    );
    add("an expectation that nobody knows", post("Expect: 200-ok|Content-Length: 2|", "ab"), Either);
    add("two requests", format!("{}{}", get(""), get("")), Passes(2));
    add(
        "two bodies",
        format!("{}{}", post("Content-Length: 2|", "ab"), post("Transfer-Encoding: chunked|", "2|cd|0||")),
        Passes(2),
    );
    shapes
}
