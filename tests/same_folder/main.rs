//! The same folder of Istio and Kubernetes YAML through the real istiod and through our control plane, to a real
//! Envoy and to mesh-proxy: the same answers, and the same requests at the upstreams.

mod bookinfo;
mod folder;
mod gateway;
mod random;
mod security;
mod side;
mod workloads;
