//! Test tools: loopback control plane, scripted upstream, Envoy driver, counting allocator.
#![deny(missing_docs)]
