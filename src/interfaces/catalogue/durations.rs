//! Lengths of time as people write them: `500ms`, `30s`, `5m`, `2h`, `1d`.

use std::time::Duration;

use super::super::located::Located;
use crate::vocabulary::Error;

const HINT: &str = "a number and one of ms, s, m, h, d, such as \"30s\"";
/// Longer waits than this are a slip of the pen, and would overflow clocks.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The duration at that place.
pub(crate) fn read(at: Located<'_>) -> Result<Duration, Error> {
    let text = at.text("a duration such as \"30s\"")?;
    parse(text).ok_or_else(|| {
        at.wrap(Error::invalid(format!("{text:?} is not a duration of at most a year")).hint(HINT))
    })
}

/// The duration at that place, which has to be longer than nothing.
pub(crate) fn read_positive(at: Located<'_>) -> Result<Duration, Error> {
    let duration = read(at)?;
    match duration.is_zero() {
        true => Err(at.error("this has to be longer than nothing")),
        false => Ok(duration),
    }
}

/// The duration that people write so; none where it is no duration, or one above a year.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(millis)?);
    (duration <= LONGEST).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse("1d"), Some(Duration::from_secs(86_400)));
        for bad in ["", "5", "s", "5 s", "-5s", "5.5s", "5y", "99999999999999999999s", "400d"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
