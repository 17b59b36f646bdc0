//! Header values that hold a number, shared per thread so that the usual ones cost no allocation.

use std::cell::RefCell;

use bytes::Bytes;
use http::HeaderValue;

const PLACES: usize = 256;

/// Numbers by their remainder.
type Cache = Vec<Option<(u64, HeaderValue)>>;

/// The number as a header value: a reference count where the thread has made it before.
pub(crate) fn number(n: u64) -> HeaderValue {
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
        for n in [0, 7, 256, 7 + 256, 7, u64::MAX] {
            assert_eq!(number(n), n.to_string());
        }
    }
}
