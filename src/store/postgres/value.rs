//! How a [`Timestamp`] travels.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use crate::clock::Timestamp;

/// A [`Timestamp`] as `timestamptz`: microseconds since 2000. What lies beyond PostgreSQL's calendar becomes its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) Timestamp);

/// 2000-01-01 in milliseconds since the Unix epoch.
const EPOCH: i64 = 946_684_800_000;
/// The first moment: a November day of 4714 BC. In milliseconds since 2000.
const FIRST: i64 = -211_813_488_000_000;
/// The last moment: the end of the year 294276. In milliseconds since 2000.
const LAST: i64 = 9_223_371_331_199_999;

impl Time {
    fn micros(self) -> i64 {
        self.0.as_millis().saturating_sub(EPOCH).clamp(FIRST, LAST).saturating_mul(1000)
    }
}

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.micros().to_sql(&Type::INT8, out)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_sql(&Type::INT8, raw)?;
        // Rounded down, so that it never shows a later moment than was stored.
        Ok(Self(Timestamp::from_millis(micros.div_euclid(1000).saturating_add(EPOCH))))
    }

    accepts!(TIMESTAMPTZ);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_travels_to_the_millisecond() {
        for millis in [0, -1, 946_684_800_000, 1_763_656_204_257, 253_402_300_799_999] {
            let mut raw = BytesMut::new();
            Time(Timestamp::from_millis(millis)).to_sql(&Type::TIMESTAMPTZ, &mut raw).unwrap();
            assert_eq!(Time::from_sql(&Type::TIMESTAMPTZ, &raw).unwrap().0.as_millis(), millis);
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_becomes_its_end() {
        assert_eq!(Time(Timestamp::from_millis(i64::MAX)).micros() / 1000, LAST);
        assert_eq!(Time(Timestamp::from_millis(i64::MIN)).micros() / 1000, FIRST);
    }
}
