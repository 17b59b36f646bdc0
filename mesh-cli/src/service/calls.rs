//! Calls of other services, by the names that they have in Kubernetes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use proxyless::tower::Deadline;
use proxyless::{Mesh, MeshService, RequestBody, Transport};
use serde_json::Value;
use tower_layer::Layer as _;

/// The user's name goes along with every call, so that rules can tell users apart. Tracing headers and the request's
/// id need no help: the mesh passes them on from the request that is being answered.
pub(super) const END_USER: HeaderName = HeaderName::from_static("end-user");

/// A client of the other services.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    service: MeshService<Transport<RequestBody<Empty<Bytes>>>>,
}

impl Calls {
    pub(super) fn new(mesh: &Mesh) -> Self {
        Calls {
            service: mesh.layer().layer(mesh.transport()),
        }
    }

    /// Asks for JSON, within `limit`. What is no answer of 200 is the status that a user should see: the service's
    /// own, or what the mesh says in its place.
    pub(super) async fn get(
        &self,
        uri: &str,
        from: &HeaderMap,
        limit: Duration,
    ) -> Result<Value, StatusCode> {
        let mut request = Request::get(uri)
            .body(Empty::new())
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        if let Some(user) = from.get(END_USER) {
            request.headers_mut().insert(END_USER, user.clone());
        }
        request.extensions_mut().insert(Deadline::after(limit));
        let response = self.service.request(request).await.map_err(|error| {
            tracing::debug!(uri, "no answer: {error}");
            error.into_response::<()>().status()
        })?;
        let status = response.status();
        // read to the end even if it is not wanted, so that the connection can be used again
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|_| StatusCode::BAD_GATEWAY)?
            .to_bytes();
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_GATEWAY),
            status => Err(status),
        }
    }
}
