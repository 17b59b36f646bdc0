//! The one public layer.

use tower_layer::Layer;

use crate::{data_plane::DataPlane, service::MeshService, stages::Entry};

/// Puts the mesh in front of a transport: routes, balances, retries, observes. Made by [`DataPlane::layer`].
#[derive(Clone, Debug)]
pub struct MeshLayer {
    plane: DataPlane,
    isolated: bool,
}

impl MeshLayer {
    pub(crate) fn new(plane: DataPlane) -> Self {
        Self {
            plane,
            isolated: false,
        }
    }

    /// Calls do not take part in the context of their task: no deadline, trace or request id is inherited.
    #[must_use]
    pub fn isolated(mut self) -> Self {
        self.isolated = true;
        self
    }
}

impl<S> Layer<S> for MeshLayer {
    type Service = MeshService<S>;

    fn layer(&self, inner: S) -> MeshService<S> {
        let entry = Entry::Outbound {
            isolated: self.isolated,
        };
        MeshService::new(self.plane.clone(), entry, inner)
    }
}
