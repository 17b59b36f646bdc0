//! Owner of the workspace's `examples/`, `tests/` and `benches/`; the library is the `proxyless` crate.
