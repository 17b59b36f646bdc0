//! An in-process service mesh: one tower layer gives a program what a sidecar gives.
#![deny(missing_docs)]
