//! meshctl: the mesh on one machine, and the verbs of istioctl and kubectl that it needs.
fn main() {}
