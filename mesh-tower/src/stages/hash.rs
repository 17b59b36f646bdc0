//! The hash by which ring hash and maglev choose.

use http::request;
use mesh_core::{
    head::RequestHead,
    route::{HashContext, request_hash},
};

use crate::stream::{Kept, Stream};

impl Stream {
    /// The hash of this attempt, if its cluster asks for one. Cookies are made up for every attempt, as in Envoy.
    #[inline]
    pub(super) fn request_hash(&mut self, parts: &request::Parts) -> Option<u64> {
        match self.seen.cluster.as_ref()?.picks_by_hash() {
            true => self.compute_hash(parts),
            false => None,
        }
    }

    #[inline(never)]
    fn compute_hash(&mut self, parts: &request::Parts) -> Option<u64> {
        let cluster = self.seen.cluster.as_ref()?;
        let of_route = self.forward_action().map(|forward| &*forward.hash_policies);
        let policies = cluster.hash_policies(of_route.unwrap_or_default());
        let connection = self.connection.info();
        let cx = HashContext {
            head: RequestHead::of(parts),
            connection,
            client: self
                .client()
                .or(connection.peer.map(|peer| peer.ip().to_canonical())),
            random: self.random,
        };
        let mut cookies = Vec::new();
        let hash = request_hash(policies, &cx, &mut |cookie| cookies.push(cookie));
        if !cookies.is_empty() {
            let kept = self.kept.get_or_insert_with(|| Box::new(Kept::default()));
            kept.cookies.append(&mut cookies);
        }
        hash
    }
}
