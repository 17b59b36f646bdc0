//! Bodies, polled through: no task and no buffer between caller and transport, except what a retry may need again.

mod mesh;
mod progress;
mod replay;
mod request;
mod tee;

pub(crate) use mesh::Tail;
pub use mesh::{MeshBody, StreamGuard};
pub(crate) use progress::Progress;
pub(crate) use replay::{Filled, Replay};
pub use request::{BodyError, RequestBody};
pub(crate) use tee::{MirrorBody, Tee};

use bytes::{Buf, Bytes};
use http_body::Frame;

/// The frame with its data as `Bytes`: no copy if it is already.
fn to_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}
