//! The differences that are listed: what hyper and h2 answer or refuse below us.

use crate::request::Case;

/// Whether two transcripts differ only as listed.
pub(crate) fn is_listed(_: &Case, _: &[String], _: &[String]) -> bool {
    false
}
