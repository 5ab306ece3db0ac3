//! Lengths of time and sizes as people write them.

use std::time::Duration;

/// The shortest length of time that a setting may have: timers tick coarser than that.
pub const SHORTEST: Duration = Duration::from_millis(100);

/// The longest: far beyond it, adding it to the time of day would overflow.
pub const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Reads `"500ms"`, `"30s"`, `"15m"`, `"1h 30m"`, `"14d"`; `"0"` is `None`.
///
/// # Errors
/// A sentence with the forms that are understood.
pub fn parse_duration(text: &str) -> Result<Option<Duration>, String> {
    if text.trim() == "0" {
        return Ok(None);
    }
    let parsed = humantime::parse_duration(text.trim()).map_err(|error| {
        format!("\"{text}\" is no length of time ({error}); write \"500ms\", \"30s\", \"15m\", \"14d\" or \"0\"")
    })?;
    if parsed.is_zero() {
        Ok(None)
    } else if parsed < SHORTEST {
        Err(format!("\"{text}\" is too short: 100ms is the least"))
    } else if parsed > LONGEST {
        Err(format!("\"{text}\" is too long: 100 years are the most"))
    } else {
        Ok(Some(parsed))
    }
}

/// Reads `"512"`, `"64 KiB"`, `"1 MiB"`, `"1GiB"` as bytes.
///
/// # Errors
/// A sentence with the forms that are understood.
pub fn parse_size(text: &str) -> Result<usize, &'static str> {
    const FORM: &str = "must be a number of bytes, or a size such as \"64 KiB\" or \"1 MiB\"";
    let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.trim().get(digits.len()..).unwrap_or_default();
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(FORM),
    };
    let number: usize = digits.trim().parse().map_err(|_| FORM)?;
    number.checked_mul(factor).ok_or(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_with_their_unit() {
        for (text, seconds) in [("30s", 30), ("15m", 900), ("1h 30m", 5400), ("14d", 14 * 86_400)] {
            assert_eq!(parse_duration(text), Ok(Some(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!(parse_duration("0"), Ok(None));
        assert_eq!(parse_duration("0s"), Ok(None));
        assert!(parse_duration("100ms").is_ok());
        assert!(parse_duration("100y").is_ok());
        for bad in ["99ms", "30", "soon", "", "-5s", "101y", "99999999999999999999y"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_with_binary_units() {
        for (text, bytes) in [("512", 512), ("64 KiB", 65_536), ("1MiB", 1_048_576)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["64 KB", "lots", "", "-1", "99999999999999 GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
