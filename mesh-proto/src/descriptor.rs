//! The descriptors of all messages.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!("../descriptors.bin").as_slice())
        .expect("the committed descriptor set is valid (tested)")
});

/// The descriptors of all messages of this crate and of `google.protobuf.*`.
///
/// The first call decodes the set (some 20 ms in release, 80 ms in debug builds), the later ones
/// cost an atomic load. With it, `prost_reflect::DynamicMessage` reads and writes Envoy's JSON,
/// nested `Any` included. An `Any` of a type that the pool does not know fails the whole message:
/// replace such values before writing JSON.
pub fn descriptor_pool() -> &'static DescriptorPool {
    &POOL
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DynamicMessage, ReflectMessage as _, SerializeOptions};

    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;

    const CLUSTER: &str = r#"{
        "name": "outbound|80||reviews",
        "type": "EDS",
        "connect_timeout": "1.500s",
        "metadata": {"filter_metadata": {"istio": {"services": ["reviews"]}}},
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "reviews.example"
            }
        }
    }"#;

    fn parse(json: &str) -> Result<DynamicMessage, serde_json::Error> {
        let cluster = descriptor_pool()
            .get_message_by_name("envoy.config.cluster.v3.Cluster")
            .unwrap();
        let mut json = serde_json::Deserializer::from_str(json);
        DynamicMessage::deserialize(cluster, &mut json)
    }

    #[test]
    fn json_with_a_nested_any_becomes_the_generated_message() {
        let cluster: Cluster = parse(CLUSTER).unwrap().transcode_to().unwrap();
        assert_eq!(cluster.name, "outbound|80||reviews");
        let timeout = cluster.connect_timeout.unwrap();
        assert_eq!((timeout.seconds, timeout.nanos), (1, 500_000_000));

        use crate::envoy::config::core::v3::transport_socket::ConfigType;
        let Some(ConfigType::TypedConfig(config)) = cluster.transport_socket.unwrap().config_type
        else {
            panic!("no typed_config");
        };
        let tls: UpstreamTlsContext = config.to_msg().unwrap();
        assert_eq!(tls.sni, "reviews.example");
    }

    #[test]
    fn the_generated_message_becomes_the_same_json() {
        let cluster: Cluster = parse(CLUSTER).unwrap().transcode_to().unwrap();
        let mut dynamic = DynamicMessage::new(parse(CLUSTER).unwrap().descriptor());
        dynamic.transcode_from(&cluster).unwrap();
        let options = SerializeOptions::new().use_proto_field_name(true);
        let json = dynamic
            .serialize_with_options(serde_json::value::Serializer, &options)
            .unwrap();
        assert_eq!(
            json,
            serde_json::from_str::<serde_json::Value>(CLUSTER).unwrap()
        );
    }

    #[test]
    fn a_misspelt_field_is_an_error_with_its_place() {
        let error = parse("{\n \"nam\": \"x\"}").unwrap_err();
        assert_eq!(error.line(), 2, "{error}");
        assert!(
            error.to_string().contains("unrecognized field name 'nam'"),
            "{error}"
        );
    }

    #[test]
    fn types_that_istio_and_grpc_send_are_known() {
        for name in [
            "udpa.type.v1.TypedStruct",
            "xds.type.v3.TypedStruct",
            "xds.type.matcher.v3.IPMatcher",
            "xds.data.orca.v3.OrcaLoadReport",
            "google.protobuf.StringValue",
            "envoy.admin.v3.ConfigDump",
        ] {
            assert!(
                descriptor_pool().get_message_by_name(name).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn type_urls_have_the_host() {
        let any = prost_types::Any::from_msg(&Cluster::default()).unwrap();
        assert_eq!(
            any.type_url,
            "type.googleapis.com/envoy.config.cluster.v3.Cluster"
        );
    }
}
