//! The mesh's own client.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use mesh_tower::{
    BoxError, MeshBody, MeshError, MeshService, RequestBody,
    transport::{Transport, TransportBody},
};

use tower_layer::Layer;

use crate::Mesh;

/// A client for HTTP requests through the mesh: the layer over the mesh's own transport, ready made. Cloning is cheap;
/// connections and configuration are shared by all clients of a mesh.
#[derive(Clone, Debug)]
pub struct Client {
    mesh: Mesh,
}

impl Client {
    pub(crate) fn new(mesh: Mesh) -> Self {
        Self { mesh }
    }

    /// Sends a request. The URI names the service (`http://reviews:9080/reviews/0`), never an address. Needs neither
    /// `ready()` nor `&mut`. Dropping the future cancels the request.
    ///
    /// # Errors
    /// No answer came: no route (404 NR), no cluster (503 NC), no healthy endpoint (UH), overflow (UO), connection
    /// failure (UF), timeout (UT)…: see [`MeshError`]. What configuration answers (redirect, direct response, fault) is
    /// a response.
    pub async fn request<B>(
        &self,
        request: Request<B>,
    ) -> Result<Response<MeshBody<TransportBody>>, MeshError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let plane = self.mesh.data_plane();
        let service: MeshService<Transport<RequestBody<B>>> =
            plane.layer().layer(plane.transport());
        service.request(request).await
    }
}
