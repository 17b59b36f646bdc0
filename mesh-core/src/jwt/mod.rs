//! JSON Web Tokens: reading them, their times and audiences, and the keys that sign them (Envoy's `jwt_verify_lib`).

mod jwks;
mod status;
mod token;

pub use jwks::{InvalidJwks, Jwks};
pub use status::Status;
pub use token::{Audiences, Token};

/// Base64url with or without padding; None: something else.
pub(crate) fn base64url(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    Some(out)
}

/// Base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header `{"alg":"HS256","kid":"k"}`, payload `{"iss":"i","aud":["a/"],"nbf":50,"exp":100}`, secret `secret`.
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsifQ.\
        eyJpc3MiOiJpIiwiYXVkIjpbImEvIl0sIm5iZiI6NTAsImV4cCI6MTAwfQ.\
        Ar15irEZkMLz3yZE2lx4rcJSxdM5z_fcFO0h3l0Qh8M";

    fn keys(kid: &str, secret: &str) -> Jwks {
        let json =
            format!(r#"{{"keys":[{{"kty":"oct","kid":"{kid}","k":"{secret}"}},{{"kty":"?"}}]}}"#);
        Jwks::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_token_is_read_dated_and_verified() {
        let token = Token::parse(TOKEN).unwrap();
        assert_eq!((&*token.iss, &*token.kid, token.exp), ("i", "k", 100));
        assert_eq!(token.check_time(100, 0), Ok(()));
        assert_eq!(token.check_time(160, 60), Ok(()));
        assert_eq!(token.check_time(161, 60), Err(Status::Expired));
        assert_eq!(token.check_time(10, 30), Err(Status::NotYetValid));
        assert!(Audiences::new(["https://a"]).allow(&token.aud));
        assert!(!Audiences::new(["b"]).allow(&token.aud));
        assert!(Audiences::new([]).allow(&token.aud));
        assert_eq!(keys("k", "c2VjcmV0").verify(&token), Ok(()));
        assert_eq!(keys("", "c2VjcmV0").verify(&token), Ok(()));
        assert_eq!(
            keys("k", "AAAA").verify(&token),
            Err(Status::VerificationFail)
        );
        assert_eq!(
            keys("l", "c2VjcmV0").verify(&token),
            Err(Status::KidAlgMismatch)
        );
    }

    #[test]
    fn what_is_no_token_says_why() {
        for (text, status) in [
            ("abc", Status::BadFormat),
            ("a..c", Status::BadFormat),
            ("!.e30.e30", Status::HeaderBadBase64),
            ("e30.e30.e30", Status::HeaderBadAlg),
            (
                "eyJhbGciOiJub25lIn0.e30.e30",
                Status::HeaderNotImplementedAlg,
            ),
            ("eyJhbGciOiJIUzI1NiJ9.W10.e30", Status::PayloadBadJson),
            (
                "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOi0xfQ.e30",
                Status::ExpOutOfRange,
            ),
        ] {
            assert_eq!(Token::parse(text).unwrap_err(), status, "{text}");
        }
    }

    #[test]
    fn base64_is_read_and_written() {
        assert_eq!(base64url("Zm9vYg").unwrap(), b"foob");
        assert_eq!(base64url("Zm9vYg==").unwrap(), b"foob");
        assert_eq!(base64url("-_8").unwrap(), [0xfb, 0xff]);
        assert!(base64url("a+b/").is_none() && base64url("abcde").is_none());
        assert_eq!(base64(b"foob"), "Zm9vYg==");
        assert_eq!(base64(b"foo"), "Zm9v");
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }
}
