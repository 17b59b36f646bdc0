//! `%START_TIME(…)%`: points in time as text, in UTC (Envoy `DateFormatter`, absl's letters).

use std::time::{Duration, SystemTime};

use super::sink::Sink;

/// Envoy's default: `%Y-%m-%dT%H:%M:%E3SZ`.
const DEFAULT: &str = "%Y-%m-%dT%H:%M:%E3SZ";

/// A parsed format.
#[derive(Clone, Debug)]
pub(super) struct DateFormat(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Literal(Box<str>),
    Letter(u8),
    /// So many digits of the second's fraction; with the seconds before or without.
    Fraction {
        digits: usize,
        with_seconds: bool,
    },
}

impl DateFormat {
    /// Reads a format; empty: the default.
    pub(super) fn parse(format: &str) -> Result<Self, String> {
        let format = if format.is_empty() { DEFAULT } else { format };
        let mut parts = Vec::new();
        let mut rest = format;
        while let Some((literal, after)) = rest.split_once('%') {
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.into()));
            }
            let (part, length) = part(after.as_bytes()).ok_or_else(|| {
                format!(
                    "Invalid header configuration. Format string {format:?} is not a format of time"
                )
            })?;
            parts.push(part);
            rest = &after[length..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Self(parts))
    }

    pub(super) fn write(&self, time: SystemTime, sink: &mut impl Sink) {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let date = Date::of(since.as_secs());
        for part in &self.0 {
            match part {
                Part::Literal(text) => sink.bytes(text.as_bytes()),
                Part::Letter(letter) => date.write(*letter, sink),
                Part::Fraction {
                    digits,
                    with_seconds,
                } => {
                    if *with_seconds {
                        sink.display(format_args!("{:02}", date.second));
                        sink.bytes(if *digits > 0 { b"." } else { b"" });
                    }
                    let nanos = format!("{:09}", since.subsec_nanos());
                    sink.bytes(&nanos.as_bytes()[..*digits]);
                }
            }
        }
    }
}

/// What follows a `%`, and its length.
fn part(after: &[u8]) -> Option<(Part, usize)> {
    let fraction = |digits, with_seconds| Part::Fraction {
        digits,
        with_seconds,
    };
    Some(match after {
        [b'E', digit @ b'0'..=b'9', b'S', ..] => (fraction(usize::from(digit - b'0'), true), 3),
        [b'E', b'*', b'S', ..] => (fraction(9, true), 3),
        [b'E', b'*', b'f', ..] => (fraction(9, false), 3),
        [b'E', digit @ b'0'..=b'9', b'f', ..] => (fraction(usize::from(digit - b'0'), false), 3),
        [b'E', b'4', b'Y', ..] => (Part::Letter(b'Y'), 3),
        [digit @ b'1'..=b'9', b'f', ..] => (fraction(usize::from(digit - b'0'), false), 2),
        [b'f', ..] => (fraction(9, false), 1),
        [letter, ..] if b"YmdeHIMSsjyaAbBhpDFTRZzntu%".contains(letter) => {
            (Part::Letter(*letter), 1)
        }
        _ => return None,
    })
}

struct Date {
    seconds: u64,
    year: u64,
    month: u64,
    day: u64,
    /// From 0, of the year.
    day_of_year: u64,
    /// From 0, Sunday.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Date {
    /// The date of so many seconds after 1970.
    fn of(seconds: u64) -> Self {
        let days = seconds / 86_400;
        let is_leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        let mut year = 1970;
        let mut left = days;
        loop {
            let length = if is_leap(year) { 366 } else { 365 };
            if left < length {
                break;
            }
            left -= length;
            year += 1;
        }
        let day_of_year = left;
        let mut month = 1;
        for length in [
            31,
            if is_leap(year) { 29 } else { 28 },
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
        ] {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Self {
            seconds,
            year,
            month,
            day: left + 1,
            day_of_year,
            weekday: (days + 4) % 7,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    fn write(&self, letter: u8, sink: &mut impl Sink) {
        let weekday = WEEKDAYS[usize::try_from(self.weekday).unwrap_or(0)];
        let month = MONTHS[usize::try_from(self.month - 1).unwrap_or(0)];
        let Self {
            year,
            day,
            hour,
            minute,
            second,
            ..
        } = self;
        let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
        match letter {
            b'Y' => sink.display(format_args!("{year}")),
            b'y' => sink.display(format_args!("{:02}", year % 100)),
            b'm' => sink.display(format_args!("{:02}", self.month)),
            b'd' => sink.display(format_args!("{day:02}")),
            b'e' => sink.display(format_args!("{day:2}")),
            b'j' => sink.display(format_args!("{:03}", self.day_of_year + 1)),
            b'H' => sink.display(format_args!("{hour:02}")),
            b'I' => sink.display(format_args!("{twelve:02}")),
            b'p' => sink.bytes(if *hour < 12 { b"AM" } else { b"PM" }),
            b'M' => sink.display(format_args!("{minute:02}")),
            b'S' => sink.display(format_args!("{second:02}")),
            b's' => sink.display(format_args!("{}", self.seconds)),
            b'a' => sink.display(format_args!("{}", &weekday[..3])),
            b'A' => sink.display(format_args!("{weekday}")),
            b'b' | b'h' => sink.display(format_args!("{}", &month[..3])),
            b'B' => sink.display(format_args!("{month}")),
            b'u' => sink.display(format_args!("{}", (self.weekday + 6) % 7 + 1)),
            b'D' => sink.display(format_args!("{:02}/{day:02}/{:02}", self.month, year % 100)),
            b'F' => sink.display(format_args!("{year}-{:02}-{day:02}", self.month)),
            b'T' => sink.display(format_args!("{hour:02}:{minute:02}:{second:02}")),
            b'R' => sink.display(format_args!("{hour:02}:{minute:02}")),
            b'Z' => sink.bytes(b"UTC"),
            b'z' => sink.bytes(b"+0000"),
            b'n' => sink.bytes(b"\n"),
            b't' => sink.bytes(b"\t"),
            _ => sink.bytes(b"%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sink::Buffer, *};

    fn written(format: &str, seconds: u64, nanos: u32) -> String {
        let mut buffer = Buffer(Vec::new());
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        DateFormat::parse(format).unwrap().write(time, &mut buffer);
        String::from_utf8(buffer.0).unwrap()
    }

    #[test]
    fn points_in_time() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.310Z"),
            (951_782_399, "2000-02-28T23:59:59.310Z"),
            (951_782_400, "2000-02-29T00:00:00.310Z"),
            (1_709_251_199, "2024-02-29T23:59:59.310Z"),
            (1_735_689_599, "2024-12-31T23:59:59.310Z"),
            (4_107_542_400, "2100-03-01T00:00:00.310Z"),
        ] {
            assert_eq!(written("", seconds, 310_999_999), expected);
        }
        let all = "%s %3f %f %E*S %E0S %a %A %b %B %j %y %e %D %F %T %R %I %p %u %Z %z %%";
        assert_eq!(
            written(all, 1_709_251_199, 5_000_000),
            "1709251199 005 005000000 59.005000000 59 Thu Thursday Feb February 060 24 29 \
             02/29/24 2024-02-29 23:59:59 23:59 11 PM 4 UTC +0000 %"
        );
        assert!(DateFormat::parse("%Q").is_err());
        assert!(DateFormat::parse("%").is_err());
    }
}
