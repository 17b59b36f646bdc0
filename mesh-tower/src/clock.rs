//! The clock: one word per moment, read once per step.

use std::{
    cell::RefCell,
    num::NonZeroU64,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;

/// Where moments are counted from: before anything that this process could have measured, since a paused clock may
/// stand a little behind the real one.
static BASE: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
});

/// A moment in nanoseconds; `Option<Moment>` is one word too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

impl Moment {
    /// Not read yet: before every other.
    pub(crate) const UNSET: Self = Self(NonZeroU64::MIN);

    /// Now, by tokio's clock, so that paused time works.
    pub(crate) fn now() -> Self {
        Self::at(tokio::time::Instant::now().into_std())
    }

    /// This instant.
    pub(crate) fn at(instant: Instant) -> Self {
        Self::from_nanos(
            u64::try_from(instant.saturating_duration_since(*BASE).as_nanos()).unwrap_or(u64::MAX),
        )
    }

    /// From [`Self::nanos`].
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// The moment as a number, never 0.
    pub(crate) fn nanos(self) -> u64 {
        self.0.get()
    }

    /// The moment as mesh-core wants it.
    pub(crate) fn instant(self) -> Instant {
        *BASE + Duration::from_nanos(self.0.get())
    }

    /// Later by this much.
    pub(crate) fn after(self, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(wait))
    }

    /// Time since an earlier moment; zero if it is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// The `date` header for now, made once per second and thread.
pub(crate) fn with_date<T>(now: Moment, f: impl FnOnce(&HeaderValue) -> T) -> T {
    /// A date, from when it holds, and until when.
    struct Date {
        from: Moment,
        until: Moment,
        value: HeaderValue,
    }
    thread_local! {
        static DATE: RefCell<Date> = const {
            RefCell::new(Date {
                from: Moment::UNSET,
                until: Moment::UNSET,
                value: HeaderValue::from_static(""),
            })
        };
    }
    DATE.with_borrow_mut(|date| {
        if now < date.from || now >= date.until {
            let wall = SystemTime::now();
            let into_second = wall
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.subsec_nanos());
            let rest = Duration::from_secs(1) - Duration::from_nanos(u64::from(into_second));
            (date.from, date.until) = (now, now.after(rest));
            if let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(wall)) {
                date.value = value;
            }
        }
        f(&date.value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_the_way_through_an_instant() {
        let now = Moment::now();
        assert_eq!(Moment::at(now.instant()), now);
        let later = now.after(Duration::from_millis(3));
        assert_eq!(later.since(now), Duration::from_millis(3));
        assert_eq!(now.since(later), Duration::ZERO);
    }

    #[test]
    fn the_date_is_an_http_date() {
        let date = with_date(Moment::now(), |d| d.to_str().expect("text").to_owned());
        assert!(httpdate::parse_http_date(&date).is_ok(), "{date}");
    }
}
