//! The standalone proxy, made of the library's layers.
fn main() {}
