//! What a real istiod sends to a sidecar (Istio's extensions off, auto mutual TLS on): taken, but for what needs TLS.

use mesh_proto::descriptor_pool;
use mesh_xds::decode_resource;
use prost::Message;
use prost_reflect::DynamicMessage;
use prost_types::Any;

/// The resources in the dump, as they were on the wire.
fn resources() -> Vec<Any> {
    let list: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("data/istiod-resources.json")).expect("the file is JSON");
    list.into_iter()
        .map(|mut resource| {
            let type_url = resource["@type"].as_str().expect("has a type").to_owned();
            resource.as_object_mut().expect("an object").remove("@type");
            let name = type_url.rsplit('/').next().expect("has a name");
            let descriptor = descriptor_pool()
                .get_message_by_name(name)
                .expect("is known");
            let message =
                DynamicMessage::deserialize(descriptor, resource).expect("is protobuf's JSON");
            Any {
                type_url,
                value: message.encode_to_vec(),
            }
        })
        .collect()
}

#[test]
fn everything_is_taken_but_listeners_with_tls() {
    let mut refused = Vec::new();
    let mut taken = 0;
    for any in resources() {
        let decoded = decode_resource(&any);
        match decoded.resource {
            Ok(_) => taken += 1,
            Err(problems) => refused.push(format!(
                "{}: {problems}",
                decoded.name.as_deref().unwrap_or_default()
            )),
        }
    }
    assert_eq!(refused, Vec::<String>::new());
    assert_eq!(taken, 23);
}
