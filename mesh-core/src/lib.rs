//! Decisions of the mesh, pure: configuration model, matching, load balancing, policies, filters.
#![deny(missing_docs)]
