//! The router's retry decisions (Envoy `retry_state_impl.cc`): [`RetryOn`] says on what, [`RetryState`] whether and
//! when. Which endpoint the next attempt goes to is [`crate::cluster::Cluster::pick`]'s choice.

mod back_off;
mod on;
mod state;

pub use on::RetryOn;
pub use state::{RetryDecision, RetryState};
