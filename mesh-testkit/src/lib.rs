//! Test tools: real processes and real sockets, side by side.
//!
//! * [`address`]: loopback addresses of a test's own.
//! * [`upstream`]: a server that answers as a request's script says and remembers what it saw.
//! * [`process`]: Envoy and mesh-proxy on the same bootstrap.
//! * [`istiod`]: the real control plane over a folder.
//! * [`exchange`]: one request and everything that a client sees of the answer.
//! * [`raw`]: HTTP/1 byte for byte, both sides.
//! * [`certificates`]: roots and leaves, valid and not.
//! * [`secrets`]: a server of certificates (SDS) that rotates them.
//! * [`alloc`]: an allocator that counts.
//! * [`callgrind`]: instructions of the program itself.
//! * [`mutation`]: YAML that somebody got wrong.
//! * [`paired`]: the same case through Envoy and through mesh-proxy.
//! * [`random`]: repeatable chance for generators.
#![deny(missing_docs)]

pub mod address;
pub mod alloc;
pub mod callgrind;
pub mod certificates;
pub mod exchange;
pub mod istiod;
pub mod mutation;
pub mod paired;
pub mod process;
pub mod random;
pub mod raw;
pub mod secrets;
pub mod upstream;
