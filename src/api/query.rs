//! The parameters of a call: each one known, well-formed, and given once unless it may repeat.

use std::borrow::Cow;

use ipnet::IpNet;
use percent_encoding::percent_decode_str;

use crate::clock::Timestamp;
use crate::error::Problem;
use crate::http::client::net;
use crate::session::SessionId;

/// The parameters of a query, in their order.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads a query that may have these parameters.
    ///
    /// # Errors
    /// [`crate::error::Code::InvalidRequest`] with the parameter that is unknown or no UTF-8.
    pub(super) fn parse(query: &'a str, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| Problem::invalid("query", "A parameter's name is no UTF-8."))?;
            if !known.contains(&name.as_ref()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::invalid(
                    name.into_owned(),
                    format!("This parameter is unknown; known here: {known}."),
                ));
            }
            let value = decode(value).ok_or_else(|| Problem::invalid(name.to_string(), "The value is no UTF-8."))?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter that is given at most once.
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_ref());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Problem::invalid(name, "This parameter may be given only once.")),
        }
    }

    /// `true` or `false`; absent is false.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(name, "The value must be true or false.")),
        }
    }

    /// The session ids of a parameter that may repeat.
    pub(super) fn ids(&self, name: &'static str) -> Result<Vec<SessionId>, Problem> {
        let values = self.0.iter().filter(|(given, _)| given == name);
        let parse = |(_, value): &(Cow<'_, str>, Cow<'_, str>)| {
            SessionId::parse(value)
                .ok_or_else(|| Problem::invalid(name, "A value is no session id: it must be a UUID."))
        };
        values.map(parse).collect()
    }

    /// How many rows to show: 1 to 500, 50 unless it is said.
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        match self.one("limit")? {
            None => Ok(50),
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=500).contains(limit))
                .ok_or_else(|| Problem::invalid("limit", "The value must be 1 to 500.")),
        }
    }

    /// An address or a network.
    pub(super) fn network(&self, name: &'static str) -> Result<Option<IpNet>, Problem> {
        let wrong = || Problem::invalid(name, "The value must be an address or a network such as 192.0.2.0/24.");
        self.one(name)?.map(|text| net(text).ok_or_else(wrong)).transpose()
    }

    /// A moment.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let wrong = || Problem::invalid(name, "The value must be a time such as 2026-11-20T17:34:39Z.");
        self.one(name)?.map(|text| Timestamp::parse(text).ok_or_else(wrong)).transpose()
    }

    /// Every name with its value.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()));
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_or_repeated_parameter_is_named() {
        let unknown = Query::parse("all=true&idd=7", &["id", "all"]).unwrap_err();
        assert_eq!(unknown.field.as_deref(), Some("idd"));
        let twice = Query::parse("all=true&all=false", &["all"]).unwrap();
        assert_eq!(twice.flag("all").unwrap_err().field.as_deref(), Some("all"));
        assert!(Query::parse("all=yes", &["all"]).unwrap().flag("all").is_err());
    }

    #[test]
    fn ids_may_repeat_and_each_must_be_one() {
        let (a, b) = (SessionId::generate().unwrap(), SessionId::generate().unwrap());
        let text = format!("id={a}&id={b}");
        assert_eq!(Query::parse(&text, &["id"]).unwrap().ids("id").unwrap(), [a, b]);
        for bad in [format!("id={a},{b}"), "id=".to_owned(), "id=7".to_owned()] {
            assert!(Query::parse(&bad, &["id"]).unwrap().ids("id").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_and_a_time_are_read_or_named() {
        let query = Query::parse("ip=192.0.2.7&at=2026-11-20T17:34:39.5%2B01:00", &["ip", "at"]).unwrap();
        assert_eq!(query.network("ip").unwrap().unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(query.time("at").unwrap().unwrap().to_string(), "2026-11-20T16:34:39.500Z");
        let query = Query::parse("ip=192.0.2.7/33&at=yesterday", &["ip", "at"]).unwrap();
        assert_eq!(query.network("ip").unwrap_err().field.as_deref(), Some("ip"));
        assert_eq!(query.time("at").unwrap_err().field.as_deref(), Some("at"));
    }

    #[test]
    fn a_limit_is_bounded() {
        for (query, expected) in [("", Some(50)), ("limit=500", Some(500)), ("limit=0", None), ("limit=501", None)] {
            assert_eq!(Query::parse(query, &["limit"]).unwrap().limit().ok(), expected, "{query}");
        }
    }
}
