//! Header values that hold a number, shared per thread so that the usual ones cost no allocation.

use std::cell::RefCell;

use bytes::Bytes;
use http::HeaderValue;

const PLACES: usize = 256;

/// Numbers by their remainder.
type Cache = Vec<Option<(u64, HeaderValue)>>;

/// The usual milliseconds of nearby services, and numbers of attempts.
const SMALL: [&str; 32] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
];

/// The number as a header value: static if it is small, a reference count where the thread has made it before.
#[inline]
pub(crate) fn number(n: u64) -> HeaderValue {
    match usize::try_from(n).ok().and_then(|n| SMALL.get(n)) {
        Some(text) => HeaderValue::from_static(text),
        None => cached(n),
    }
}

fn cached(n: u64) -> HeaderValue {
    thread_local! {
        static CACHE: RefCell<Cache> = const { RefCell::new(Vec::new()) };
    }
    let place = usize::try_from(n % PLACES as u64).unwrap_or_default();
    CACHE.with_borrow_mut(|cache| match cache.get_mut(place) {
        Some(Some((at, value))) if *at == n => value.clone(),
        Some(entry) => {
            let value = make(n);
            *entry = Some((n, value.clone()));
            value
        }
        None => {
            // The thread's first.
            cache.resize(PLACES, None);
            make(n)
        }
    })
}

fn make(n: u64) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(n.to_string()))
        .unwrap_or_else(|_| HeaderValue::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_share_a_place_are_told_apart() {
        for n in [40, 256 + 40, 256, 7 + 256, 40, u64::MAX] {
            assert_eq!(number(n), n.to_string());
        }
        for n in 0..40 {
            assert_eq!(number(n), n.to_string());
        }
    }
}
