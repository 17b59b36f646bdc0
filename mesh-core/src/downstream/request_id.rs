//! `x-request-id`: a random UUID (Envoy `source/extensions/request_id/uuid`).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Entropy;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where the reason for tracing stands in a UUID; `4`, its version, says that the request is not traced.
const REASON: usize = 14;
const UUID_LENGTH: usize = 36;

/// Gives the request an id if it has none. At the edge an id from outside is replaced, or, if the manager preserves
/// it, loses its reason for tracing. A generated id costs one allocation.
pub(super) fn ensure(
    headers: &mut HeaderMap,
    edge: bool,
    preserve: bool,
    entropy: &mut dyn Entropy,
) {
    let present = headers.get(REQUEST_ID).filter(|id| !id.is_empty());
    match present {
        Some(_) if !edge => {}
        Some(id) if preserve => {
            if id.len() == UUID_LENGTH && id.as_bytes().get(REASON) != Some(&b'4') {
                let mut text = id.as_bytes().to_vec();
                text[REASON] = b'4';
                set(headers, &text);
            }
        }
        _ => set(headers, &uuid(entropy)),
    }
}

fn set(headers: &mut HeaderMap, id: &[u8]) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(id)) {
        headers.insert(REQUEST_ID, value);
    }
}

/// A UUID of version 4 as text.
fn uuid(entropy: &mut dyn Entropy) -> [u8; UUID_LENGTH] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let random = u128::from(entropy.next_u64()) << 64 | u128::from(entropy.next_u64());
    let random = random & !(0xf << 76) | 0x4 << 76;
    let random = random & !(0x3 << 62) | 0x2 << 62;
    let mut text = [b'-'; UUID_LENGTH];
    let places = (0..UUID_LENGTH).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
    for (place, nibble) in places.zip((0..32).rev()) {
        text[place] = HEX[(random >> (4 * nibble)) as usize & 0xf];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script(Vec<u64>);

    impl Entropy for Script {
        fn next_u64(&mut self) -> u64 {
            self.0.remove(0)
        }
    }

    const GIVEN: &str = "11111111-2222-4333-9444-555555555555";
    const TRACED: &str = "11111111-2222-9333-9444-555555555555";
    const NEW: &str = "01234567-89ab-4def-bedc-ba9876543210";

    #[test]
    fn an_id_is_kept_replaced_or_cleared() {
        for (given, edge, preserve, expected) in [
            (None, false, false, NEW),
            (Some(""), false, false, NEW),
            (Some(TRACED), false, false, TRACED),
            (Some(GIVEN), true, false, NEW),
            (Some(GIVEN), true, true, GIVEN),
            (Some(TRACED), true, true, GIVEN),
            (Some("mine"), true, true, "mine"),
            (Some("mine"), false, false, "mine"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(REQUEST_ID, given.parse().unwrap());
            }
            let mut script = Script(vec![0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
            ensure(&mut headers, edge, preserve, &mut script);
            assert_eq!(headers[REQUEST_ID], expected, "{given:?} {edge} {preserve}");
        }
    }
}
