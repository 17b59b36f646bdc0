//! The Downstream stage: what the connection manager does before the filters and after them
//! (Envoy `conn_manager_utility.cc`, `conn_manager_impl.cc`).
//!
//! * `request`: checks and rewrites a request's head; `response`: a response's.
//! * `path`: normalisation; `forwarded`: x-forwarded-for and who is internal; `request_id`; `upgrade`.

mod forwarded;
mod path;
mod request;
mod request_id;
mod response;
#[cfg(test)]
mod tests;
mod upgrade;

pub use forwarded::client_address;
pub use request::{Accepted, on_request};
pub use response::on_response;
