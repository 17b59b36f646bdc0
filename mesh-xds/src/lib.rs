//! xDS subscriber: bootstraps, sans-I/O ADS machine, decoding, store, graph, snapshot assembly.
#![deny(missing_docs)]
