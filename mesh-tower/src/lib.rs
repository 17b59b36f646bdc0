//! The data path: tower layers, transport and server side over mesh-core's decisions.
#![deny(missing_docs)]
