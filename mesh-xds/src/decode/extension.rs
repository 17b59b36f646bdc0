//! Extensions that are known and have no effect here.

/// Extensions of Istio and Envoy that change no answer and no decision, by the name of their message: listed as
/// ignored, never a reason to refuse.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "io.istio.http.peer_metadata.Config",
        "peer metadata exchange",
    ),
    (
        "io.istio.http.connect_authority.Config",
        "connect_authority",
    ),
    (
        "io.istio.tcp.peer_metadata.Config",
        "peer metadata exchange",
    ),
    (
        "io.istio.network.peer_metadata.Config",
        "peer metadata exchange",
    ),
    (
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "Istio's metadata exchange",
    ),
    ("stats.PluginConfig", "Istio's statistics extension"),
    (
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "Istio's ALPN override",
    ),
    (
        "envoy.extensions.filters.http.compressor.v3.Compressor",
        "response compression",
    ),
    ("envoy.extensions.filters.http.tap.v3.Tap", "tapping"),
];

/// Names under which Istio's extensions come without a type that we know.
const ISTIO_NAMES: &[&str] = &[
    "istio.metadata_exchange",
    "istio.stats",
    "istio.alpn",
    "istio.workload_discovery",
];

/// What an extension that may be ignored does; None: it may not.
pub(super) fn without_effect(extension: &str, name: &str) -> Option<&'static str> {
    let known = WITHOUT_EFFECT
        .iter()
        .find(|(message, _)| *message == extension)
        .map(|(_, what)| *what);
    known.or_else(|| ISTIO_NAMES.iter().find(|istio| **istio == name).copied())
}
