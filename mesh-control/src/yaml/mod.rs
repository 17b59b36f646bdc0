//! YAML with places: a tree whose nodes know their line and column, and readers that report
//! every problem with the path of its field.
//!
//! The only module that knows the YAML library.

mod at;
mod fields;
mod node;
mod spelling;
mod split;
mod values;

pub use at::{At, Report};
pub use fields::Fields;
pub use node::{Entry, Mark, Node, Value};
pub(crate) use spelling::{json_name, nearest};
pub use split::{Document, split};
pub(crate) use values::{parse_bool, parse_duration};
