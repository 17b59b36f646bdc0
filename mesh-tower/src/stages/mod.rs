//! The steps of a request, in their order. Each is one file of methods on [`Stream`](crate::stream::Stream); none is
//! generic, none waits: what needs waiting is returned.
//!
//! entry (which chain) → head (Downstream stage, route, filters) → router (reply or cluster, header operations,
//! policies) → attempt (endpoint) → outcome (outlier detection, retry) → response, or reply.

mod attempt;
mod entry;
mod hash;
mod head;
mod mirror;
mod outcome;
mod redirect;
mod reply;
mod response;
mod router;

pub(crate) use attempt::{Attempt, dns_failed};
pub use entry::ChainSource;
pub(crate) use entry::{Application, Entered, Entry, Slow, SlowFuture, Target};
pub(crate) use outcome::Decision;
pub(crate) use response::WithoutBody;

use mesh_core::{local_reply::LocalReply, regex::Scratch};
use std::cell::RefCell;

/// What a step asks for.
pub(crate) enum Step {
    /// An attempt.
    Attempt,
    /// Poll again when the stream's wait or slow future is over.
    Wait,
    /// Read the request's body to its end.
    Buffer,
    /// Answer this.
    Reply(Box<LocalReply>),
}

/// The thread's memory for matching.
pub(crate) fn with_scratch<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
    }
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => f(&mut scratch),
        // A filter of the application called back into the mesh.
        Err(_) => f(&mut Scratch::default()),
    })
}
