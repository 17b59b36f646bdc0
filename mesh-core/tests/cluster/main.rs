//! Clusters through their public interface: picking, ejection, carrying live state over.

// clippy.toml bans what would make a decision impure; tests need a time to begin with.
#![allow(clippy::disallowed_methods)]

mod carry_over;
mod ejection;
mod hashing;
mod health_checks;
mod merge_window;
mod picking;
mod priorities;
mod rates;
mod slow_start;
mod subsets;
mod support;
