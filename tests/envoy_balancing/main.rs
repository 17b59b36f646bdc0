//! Load balancing through the real Envoy and through mesh-proxy on the same bootstrap.
//!
//! * [`checks`]: active health checks by scripted answers: flags, statistics, and who gets traffic.
//!
//! Random configurations; the seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod checks;
