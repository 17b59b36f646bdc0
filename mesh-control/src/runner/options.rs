//! What a runner works with, and why it may not.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::AddressBlock;

/// What a runner works with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Options {
    /// The folder.
    pub dir: PathBuf,
    /// Namespace of objects that name none; `default`.
    pub default_namespace: String,
    /// Where the pods' addresses come from.
    pub block: AddressBlock,
    /// Where the pods find their control plane; the block's own address by default.
    pub control_plane: SocketAddr,
    /// `meshctl`: ties every process to this one (`run-pod`) and has the example's services (`demo-service`).
    pub meshctl: PathBuf,
    /// `mesh-proxy`, the gateway's program.
    pub proxy: PathBuf,
}

impl Options {
    /// The usual options.
    pub fn new(
        dir: impl Into<PathBuf>,
        block: AddressBlock,
        meshctl: PathBuf,
        proxy: PathBuf,
    ) -> Self {
        Options {
            dir: dir.into(),
            default_namespace: "default".to_owned(),
            control_plane: block.control_plane(),
            block,
            meshctl,
            proxy,
        }
    }
}

/// Why a runner cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another one is at work.
    #[error("{0}: another runner is at work on this folder; end it first")]
    Locked(PathBuf),
    /// The folder is not usable.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}
