//! Clusters through their public interface: picking, ejection, carrying live state over.

mod carry_over;
mod ejection;
mod merge_window;
mod picking;
mod priorities;
mod support;
