//! The Downstream stage: what the connection manager does before the filters and after them
//! (Envoy `conn_manager_utility.cc`, `conn_manager_impl.cc`).
//!
//! * `request`: checks and rewrites a request's head; `response`: a response's.
//! * `codec`: what an HTTP/1 codec refuses; `limits`: how much a head may hold; `sanitise`: what is taken out; `path`: normalisation; `forwarded`: x-forwarded-for and who is internal; `client_cert`: x-forwarded-client-cert; `request_id`; `upgrade`; `redirected`: what is done again.

mod client_cert;
mod codec;
mod forwarded;
mod internal_peer;
mod limits;
mod path;
mod redirected;
mod request;
mod request_id;
mod response;
mod sanitise;
#[cfg(test)]
mod tests;
mod upgrade;

pub use codec::CodecError;
pub(crate) use forwarded::append as append_forwarded_for;
pub use redirected::on_redirected;
pub(crate) use request::port_start;
pub use request::{Accepted, check_upgrade, on_request};
pub use response::on_response;
