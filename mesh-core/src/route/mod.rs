//! Routes, compiled: lookup by virtual host and match, and what the matched route does to a request.
//!
//! * [`RouteTable`]: look-up (`domain`, `path_index`) and the order of header operations.
//! * `select`: which cluster; `rewrite`: path and host; `redirect`: routes that answer by themselves.
//! * [`Mirror`]: copies for other clusters; [`NextRequest`]: redirects that are followed here.
//! * [`request_hash`]: what a route's hash policies make of a request.
//! * [`HeaderFormat`], [`SubstitutionFormat`]: header values, bodies and log lines with substitution operators.

mod compiled;
mod domain;
mod explain;
mod format;
mod hash_policy;
mod headers;
mod internal_redirect;
mod mirror;
mod path_index;
mod redirect;
mod rewrite;
mod select;
mod table;
mod template;
#[cfg(test)]
mod tests;

pub use compiled::CompiledRoute;
pub(crate) use compiled::matches;
pub(crate) use explain::describe;
pub use explain::{PassedOver, RouteSearch};
pub use format::{
    FormatContext, Formatter, HeaderFormat, InvalidFormat, ProcessValues, SubstitutionFormat,
    Timing,
};
pub use hash_policy::{HashContext, request_hash, source_ip_hash};
pub use internal_redirect::{FollowedRedirects, NextRequest, NotFollowed};
pub use mirror::{Mirror, mirror_cluster, mirrored_head};
pub(crate) use path_index::without_parameters;
pub use redirect::https_redirect;
pub use rewrite::{auto_host, rewrite_host};
pub use select::SelectedCluster;
pub(crate) use table::change_request_headers;
pub use table::{ClusterSlots, Found, RouteIndex, RouteTable};
pub use template::{InvalidTemplate, PathTemplate};

use http::StatusCode;

use crate::local_reply::LocalReply;

/// The reply for a cluster that does not exist.
pub fn cluster_not_found(status: StatusCode) -> LocalReply {
    LocalReply::failure(
        status,
        "",
        Some(crate::flags::ResponseFlag::NoClusterFound),
        "cluster_not_found",
    )
}
