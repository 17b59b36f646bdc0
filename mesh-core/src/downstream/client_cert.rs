//! `x-forwarded-client-cert` (Envoy `ConnectionManagerUtility::mutateXfccRequestHeader`).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    model::{ClientCertDetail, ForwardClientCert, ForwardClientCertDetails},
    tls::{Certificate, TlsConnection},
};

pub(super) const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What becomes of the header on a connection with TLS; on others only `ALWAYS_FORWARD_ONLY` keeps it.
pub(super) fn forward(
    config: &ForwardClientCert,
    headers: &mut HeaderMap,
    tls: Option<&TlsConnection>,
) {
    use ForwardClientCertDetails as Mode;
    if config.mode == Mode::AlwaysForwardOnly {
        return;
    }
    let peer = tls.and_then(|tls| tls.peer.as_deref());
    let (Some(tls), Some(peer)) = (tls, peer.filter(|_| config.mode != Mode::Sanitize)) else {
        headers.remove(CLIENT_CERT);
        return;
    };
    if config.mode == Mode::ForwardOnly {
        return;
    }
    let mut text = String::new();
    if config.mode == Mode::AppendForward {
        let before = headers.get(CLIENT_CERT).filter(|before| !before.is_empty());
        if let Some(before) = before {
            // Bytes that are no text cannot come: the codecs have looked.
            text.push_str(&String::from_utf8_lossy(before.as_bytes()));
            text.push(',');
        }
    }
    write(config, tls.local.as_deref(), peer, &mut text);
    match HeaderValue::from_maybe_shared(Bytes::from(text)) {
        Ok(value) => {
            headers.insert(CLIENT_CERT, value);
        }
        // A name with a line break in it names nobody.
        Err(_) => {
            headers.remove(CLIENT_CERT);
        }
    }
}

fn write(
    config: &ForwardClientCert,
    local: Option<&Certificate>,
    peer: &Certificate,
    out: &mut String,
) {
    let mut is_first = true;
    let mut part = |key: &str, value: &str, quote: &str| {
        if !std::mem::take(&mut is_first) {
            out.push(';');
        }
        out.push_str(key);
        out.push('=');
        out.push_str(quote);
        out.push_str(value);
        out.push_str(quote);
    };
    for uri in local.iter().flat_map(|local| &local.uri_sans) {
        part("By", uri, "");
    }
    part("Hash", &peer.sha256_hex(), "");
    for detail in &config.details {
        match detail {
            ClientCertDetail::Cert => part("Cert", &peer.url_encoded_pem(), "\""),
            ClientCertDetail::Chain => part("Chain", &peer.url_encoded_pem_chain(), "\""),
            ClientCertDetail::Subject => part("Subject", &peer.subject, "\""),
            ClientCertDetail::Uri if peer.uri_sans.is_empty() => part("URI", "", ""),
            ClientCertDetail::Uri => peer.uri_sans.iter().for_each(|uri| part("URI", uri, "")),
            ClientCertDetail::Dns => peer.dns_sans.iter().for_each(|dns| part("DNS", dns, "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn tls() -> TlsConnection {
        let certificate = |uri: &str| {
            Some(Arc::new(Certificate {
                uri_sans: vec![uri.into()],
                subject: "CN=peer,O=o".into(),
                dns_sans: vec!["a".into(), "b".into()],
                ..Certificate::default()
            }))
        };
        TlsConnection {
            peer: certificate("spiffe://td/peer"),
            local: certificate("spiffe://td/me"),
            ..TlsConnection::default()
        }
    }

    fn after(
        mode: ForwardClientCertDetails,
        came: Option<&str>,
        tls: Option<&TlsConnection>,
    ) -> Option<String> {
        use ClientCertDetail::{Dns, Subject, Uri};
        let config = ForwardClientCert {
            mode,
            details: vec![Subject, Uri, Dns],
        };
        let mut headers = HeaderMap::new();
        if let Some(came) = came {
            headers.insert(CLIENT_CERT, came.parse().unwrap());
        }
        forward(&config, &mut headers, tls);
        let value = headers.get(CLIENT_CERT)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn each_mode_forwards_what_envoy_does() {
        use ForwardClientCertDetails as Mode;
        let tls = tls();
        let hash = "0".repeat(64);
        let own = format!(
            "By=spiffe://td/me;Hash={hash};Subject=\"CN=peer,O=o\";URI=spiffe://td/peer;DNS=a;DNS=b"
        );
        let both = format!("before,{own}");
        for (mode, with, without) in [
            (Mode::Sanitize, None, None),
            (Mode::ForwardOnly, Some("before"), None),
            (Mode::AppendForward, Some(both.as_str()), None),
            (Mode::SanitizeSet, Some(own.as_str()), None),
            (Mode::AlwaysForwardOnly, Some("before"), Some("before")),
        ] {
            let came = Some("before");
            assert_eq!(after(mode, came, Some(&tls)).as_deref(), with, "{mode:?}");
            assert_eq!(after(mode, came, None).as_deref(), without, "{mode:?}");
            let mut nameless = tls.clone();
            nameless.peer = None;
            assert_eq!(
                after(mode, came, Some(&nameless)).as_deref(),
                without,
                "{mode:?}"
            );
        }
        assert_eq!(after(Mode::AppendForward, None, Some(&tls)), Some(own));
    }

    #[test]
    fn a_uri_that_is_not_there_is_said_to_be_empty() {
        let mut tls = tls();
        tls.local = None;
        tls.peer = Some(Arc::new(Certificate::default()));
        let hash = "0".repeat(64);
        assert_eq!(
            after(ForwardClientCertDetails::SanitizeSet, None, Some(&tls)),
            Some(format!("Hash={hash};Subject=\"\";URI="))
        );
    }
}
