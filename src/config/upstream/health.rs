//! How it is found out whether an address of an application is any good.

use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::hook::{StatusSet, statuses};
use crate::config::reader::{Table, text};

/// A question that every address of an application is asked again and again.
#[derive(Clone, Debug)]
pub struct Health {
    /// The path and query that are fetched.
    pub target: PathAndQuery,
    /// The `Host`; `None` is the address's own.
    pub host: Option<HeaderValue>,
    /// From the end of one check to the beginning of the next.
    pub interval: Duration,
    /// The longest that a check may take.
    pub timeout: Duration,
    /// After how many good checks in a row an address is used again.
    pub healthy_after: usize,
    /// After how many bad checks in a row it is used no more.
    pub unhealthy_after: usize,
    /// The statuses that are good.
    pub expect: StatusSet,
}

/// More checks in a row than that are a slip of the pen.
const MOST_CHECKS: usize = 1000;

pub(super) fn read(table: &mut Table) -> Option<Health> {
    let wanted = table.has("health");
    let mut table = table.table("health");
    if wanted && !table.has("path") {
        table.fault("path", "is missing: which path of the application says that it is well? For example \"/healthz\"");
    }
    let target = table.optional("path", |value| {
        let given = text(value)?;
        if !given.starts_with('/') {
            return Err("must begin with /".to_owned());
        }
        given.parse().map_err(|_| format!("\"{given}\" is no path"))
    });
    let host = table.optional("host", |value| {
        let given = text(value)?;
        match HeaderValue::try_from(given.as_str()) {
            Ok(host) if !given.is_empty() && !given.contains([' ', '/', '@']) => Ok(host),
            Ok(_) | Err(_) => Err(format!("\"{given}\" is no host")),
        }
    });
    let interval = table.limit("interval", Duration::from_secs(5));
    let timeout = table.limit("timeout", Duration::from_secs(2));
    let healthy_after = table.count("healthy_after", 1, 1..=MOST_CHECKS);
    let unhealthy_after = table.count("unhealthy_after", 2, 1..=MOST_CHECKS);
    let expect = table.get("expect", StatusSet::SuccessOrRedirect, statuses);
    Some(Health { target: target?, host, interval, timeout, healthy_after, unhealthy_after, expect })
}
