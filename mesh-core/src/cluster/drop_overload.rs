//! `drop_overloads`: a control plane's way to shed load before an endpoint is picked (Envoy `checkDropOverload`).

use http::{HeaderName, HeaderValue, StatusCode};

use super::Cluster;
use crate::{Entropy, flags::ResponseFlag, local_reply::LocalReply};

const DROPPED: HeaderName = HeaderName::from_static("x-envoy-drop-overload");
const DROPPED_ALL: HeaderName = HeaderName::from_static("x-envoy-unconditional-drop-overload");

impl Cluster {
    /// The reply for a request that the assignment's policy drops; None: it goes on. One load where there is no policy.
    pub fn drops(
        &self,
        suppress_envoy_headers: bool,
        entropy: &mut dyn Entropy,
    ) -> Option<Box<LocalReply>> {
        let fraction = self.balancer.set.drop_overload?;
        let all = fraction.numerator >= fraction.denominator;
        if !all && !fraction.holds(entropy.next_u64()) {
            return None;
        }
        let (body, flag, details, header) = match all {
            true => (
                "unconditional drop overload",
                ResponseFlag::UnconditionalDropOverload,
                "unconditional_drop_overload",
                DROPPED_ALL,
            ),
            false => (
                "drop overload",
                ResponseFlag::DropOverload,
                "drop_overload",
                DROPPED,
            ),
        };
        let mut reply =
            LocalReply::failure(StatusCode::SERVICE_UNAVAILABLE, body, Some(flag), details);
        if !suppress_envoy_headers {
            reply
                .headers
                .push((header, HeaderValue::from_static("true")));
        }
        Some(Box::new(reply))
    }
}
