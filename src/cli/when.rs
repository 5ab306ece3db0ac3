//! Moments as an operator writes them.

use crate::clock::Timestamp;
use crate::config::units;

/// Reads `2026-11-20T16:30:00Z` (any offset), `now`, or how long ago: `90m`, `14d`.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if text == "now" {
        return Ok(now);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(time.as_millisecond()));
    }
    match units::parse_duration(text) {
        Ok(Some(ago)) => Ok(now.minus(ago)),
        Ok(None) => Ok(now),
        Err(_) => Err(format!("\"{text}\" is no moment; write 2026-11-20T16:30:00Z, now, or how long ago: 90m, 14d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = Timestamp::from_millis(1_763_656_204_000);
        for (text, seconds) in [
            ("now", 0),
            ("0", 0),
            ("90m", -5400),
            ("2025-11-20T16:30:04Z", 0),
            ("2025-11-20T17:30:05+01:00", 1),
            ("2025-11-20 16:30:04Z", 0),
        ] {
            let expected = Timestamp::from_millis(now.as_millis() + seconds * 1000);
            assert_eq!(parse(text, now), Ok(expected), "{text}");
        }
        for bad in ["", "yesterday", "2025-11-20", "2025-11-20T16:30:04"] {
            assert!(parse(bad, now).is_err(), "{bad}");
        }
    }
}
