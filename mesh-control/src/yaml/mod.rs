//! YAML with places: a tree whose nodes know their line and column, and readers that report
//! every problem with the path of its field.
//!
//! The only module that knows the YAML library.

mod fields;
mod node;
mod split;
mod values;

pub use fields::{At, Fields, Report};
pub use node::{Entry, Mark, Node, Value};
pub use split::{Document, split};
pub(crate) use values::parse_duration;
