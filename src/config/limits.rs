//! `[limits]`: how often one client, or one session, may do what costs something.

use std::num::NonZeroU32;
use std::time::Duration;

use figment::value::Value;

use super::reader::{Table, text};
use super::units::parse_duration;

/// So many in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time; an hour at most.
    pub per: Duration,
}

/// How often one client, or one session, may do what costs something; `None` is without bound.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Tokens of no session, by client.
    pub unknown_tokens: Option<Rate>,
    /// Service keys that are none, by client.
    pub wrong_keys: Option<Rate>,
    /// New tokens, by session.
    pub rotations: Option<Rate>,
}

pub(super) fn read(mut table: Table) -> RateLimits {
    RateLimits {
        unknown_tokens: table.get("unknown_tokens_per_client", usual(300), rate),
        wrong_keys: table.get("wrong_service_keys_per_client", usual(60), rate),
        rotations: table.get("rotations_per_session", usual(10), rate),
    }
}

fn usual(a_minute: u32) -> Option<Rate> {
    NonZeroU32::new(a_minute).map(|count| Rate { count, per: Duration::from_secs(60) })
}

/// `"60/1m"`; `"0"` is no bound.
fn rate(value: &Value) -> Result<Option<Rate>, String> {
    const FORM: &str = "must be a number and a time in quotes, such as \"60/1m\" or \"5/1s\"; \"0\" is no limit";
    const LONGEST: Duration = Duration::from_secs(3600);
    if value.to_i128() == Some(0) {
        return Ok(None);
    }
    let given = text(value).map_err(|_| FORM.to_owned())?;
    if given.trim() == "0" {
        return Ok(None);
    }
    let (count, per) = given.split_once('/').ok_or_else(|| FORM.to_owned())?;
    let count: NonZeroU32 = count.trim().parse().map_err(|_| FORM.to_owned())?;
    let per = parse_duration(per)?.ok_or_else(|| FORM.to_owned())?;
    if per > LONGEST {
        return Err("the time is too long: an hour is the most".to_owned());
    }
    // The finest step of the clock that counts.
    if per.as_micros() < u128::from(count.get()) {
        return Err("there are too many: a million in a second are the most".to_owned());
    }
    Ok(Some(Rate { count, per }))
}
