//! Development tasks: demo, verify, protobuf generation.
fn main() {}
