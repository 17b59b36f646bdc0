//! The embedded control plane: Istio and Kubernetes YAML to xDS, and the local runner.
#![deny(missing_docs)]
