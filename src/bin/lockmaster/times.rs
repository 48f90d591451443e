//! Times for people: in the zone of this machine, to the second.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use lockmaster::interfaces::catalogue::durations;
use serde_json::Value;

/// How a moment is shown.
const SHOWN: &str = "%Y-%m-%d %H:%M:%S %z";

/// The time in a `[seconds, microseconds]` pair, such as `2026-11-20 14:05:09 +0100`; `-` for
/// none.
pub(crate) fn shown(pair: &Value) -> String {
    let seconds = pair[0].as_i64();
    let shown = seconds.and_then(|seconds| in_zone(seconds, TimeZone::system()));
    shown.unwrap_or_else(|| "-".to_owned())
}

/// Seconds from one pair to the other, such as `1.250s`; none where one is missing.
pub(crate) fn between(from: &Value, to: &Value) -> Option<String> {
    let took = span(from, to)?;
    Some(format!("{}.{:03}s", took.as_secs(), took.subsec_millis()))
}

/// How long it is from one pair to the other, nothing where that is before; none where one is
/// missing.
pub(crate) fn span(from: &Value, to: &Value) -> Option<Duration> {
    let micros = |pair: &Value| Some(pair[0].as_i64()? * 1_000_000 + pair[1].as_i64()?);
    let took = micros(to)?.saturating_sub(micros(from)?);
    Some(Duration::from_micros(u64::try_from(took).unwrap_or(0)))
}

/// How long it is from one pair to the other, as people say it; `?` where one is missing.
pub(crate) fn said_between(from: &Value, to: &Value) -> String {
    span(from, to).map_or("?".to_owned(), said)
}

/// A duration as people say it: one unit up to an hour, two above, nothing smaller than a
/// second.
pub(crate) fn said(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0 => "less than a second".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86400 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, if days == 1 { "day" } else { "days" }, hours % 24, "h"),
    }
}

/// A duration as it is written on the command line: a number and a unit, or of seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let seconds = || Duration::try_from_secs_f64(text.parse().ok()?).ok();
    durations::parse(text).or_else(seconds).ok_or_else(|| {
        "expected a duration such as 500ms, 30s, 5m, 12h or 7d; a number alone is of seconds"
            .to_owned()
    })
}

/// The same, longer than nothing.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("this has to be longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}

/// A moment as it is written on the command line, in seconds since 1970: a date, with or without
/// the time of day and the offset of a zone, which is this machine's where it is not said; or the
/// seconds themselves.
pub(crate) fn moment(text: &str) -> Option<i64> {
    moment_in(text, TimeZone::system())
}

fn moment_in(text: &str, zone: TimeZone) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let with_offset = Timestamp::strptime(SHOWN, text).or_else(|_| text.parse::<Timestamp>());
    let in_zone = || text.parse::<DateTime>().ok()?.to_zoned(zone).ok().map(|it| it.timestamp());
    with_offset.ok().or_else(in_zone).map(Timestamp::as_second)
}

fn two(large: u64, of: &str, small: u64, unit: &str) -> String {
    match small {
        0 => format!("{large} {of}"),
        _ => format!("{large} {of} {small} {unit}"),
    }
}

/// Seconds with the unit that fits, three digits: `77.0 us`, `1.25 ms`, `12.5 s`.
pub(crate) fn precisely(seconds: f64) -> String {
    let (value, unit) = match seconds {
        small if small < 1e-3 => (small * 1e6, "us"),
        small if small < 1.0 => (small * 1e3, "ms"),
        large => (large, "s"),
    };
    let digits = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// The time of day of a moment in microseconds since 1970, in the zone of this machine; with
/// milliseconds where it stands beside others that are less than a minute away.
pub(crate) fn clock(micros: i64, span: i64) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or_default();
    let format = if span < 60_000_000 { "%H:%M:%S.%3f" } else { "%H:%M:%S" };
    time.to_zoned(TimeZone::system()).strftime(format).to_string()
}

/// Microseconds as seconds, such as `1.250 s`.
pub(crate) fn seconds(micros: i64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros / 1000 % 1000)
}

fn in_zone(seconds: i64, zone: TimeZone) -> Option<String> {
    let time = Timestamp::from_second(seconds).ok()?.to_zoned(zone);
    Some(time.strftime(SHOWN).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_times_are_shown_as_they_were() {
        let cases = [
            (0, "1970-01-01 00:00:00 +0000"),
            (951_782_400, "2000-02-29 00:00:00 +0000"),
            (-1, "1969-12-31 23:59:59 +0000"),
        ];
        for (seconds, text) in cases {
            assert_eq!(in_zone(seconds, TimeZone::UTC).as_deref(), Some(text));
        }
        assert_eq!(in_zone(i64::MAX, TimeZone::UTC), None);
        assert_eq!(shown(&Value::Null), "-");
    }

    #[test]
    fn a_duration_is_said_in_the_units_that_fit_it() {
        let cases = [
            (0, "less than a second"),
            (1, "1 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (86_399, "23 h 59 min"),
            (86_400, "1 day"),
            (2 * 86_400 + 7200, "2 days 2 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(said(Duration::from_secs(seconds)), text);
        }
        assert_eq!(said(Duration::from_millis(1999)), "1 s");
        assert_eq!(said_between(&json!([1, 900_000]), &json!([63, 0])), "1 min");
        assert_eq!(said_between(&json!([2, 0]), &json!([1, 0])), "less than a second");
        assert_eq!(said_between(&Value::Null, &json!([1, 0])), "?");
    }

    #[test]
    fn a_moment_is_written_as_it_is_shown_or_shorter() {
        let cases = [
            ("1763661909", 1_763_661_909),
            ("2026-11-20", 1_795_132_800),
            ("2026-11-20 18:30", 1_795_199_400),
            ("2026-11-20T18:30:05", 1_795_199_405),
            ("2026-11-20 18:30:05 +0100", 1_795_195_805),
            ("2026-11-20T18:30:05Z", 1_795_199_405),
        ];
        for (text, seconds) in cases {
            assert_eq!(moment_in(text, TimeZone::UTC), Some(seconds), "{text}");
        }
        for text in ["", "yesterday", "18:30", "2026-13-01"] {
            assert_eq!(moment_in(text, TimeZone::UTC), None, "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_with_its_unit_or_in_seconds() {
        let cases = [("500ms", 500), ("1s", 1000), ("2m", 120_000), ("0", 0), ("0.25", 250)];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "1.5h", "1 h", "1w", "nan", "inf", "99999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn short_times_have_three_digits() {
        let cases = [(0.0, "0.00 us"), (7.7e-5, "77.0 us"), (0.00125, "1.25 ms"), (125.0, "125 s")];
        for (seconds, text) in cases {
            assert_eq!(precisely(seconds), text);
        }
    }

    #[test]
    fn a_span_needs_both_of_its_ends() {
        assert_eq!(between(&json!([1, 900_000]), &json!([3, 150_000])).as_deref(), Some("1.250s"));
        assert_eq!(between(&json!([1, 0]), &Value::Null), None);
    }
}
