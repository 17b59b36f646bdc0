//! h2spec (the cases of `generic` and `http2`) against mesh-proxy: none fails (Envoy 1.40 fails eleven).

use std::process::Command;

use mesh_testkit::{
    address::OwnAddress,
    process::{Program, Proxy},
};
use serde_json::json;

const ADMIN: u16 = 9901;
const LISTENER: u16 = 10_000;

#[tokio::test]
#[ignore = "needs h2spec: cargo verify"]
async fn no_case_fails() {
    let h2spec = std::env::var_os("MESH_H2SPEC").expect("MESH_H2SPEC is set by cargo verify");
    let own = OwnAddress::claim();
    let _proxy = Proxy::start(Program::MeshProxy, &bootstrap(&own), own.with_port(ADMIN)).await;
    let report = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let output = Command::new(h2spec)
        .args(["-h", &own.ip().to_string(), "-p", &LISTENER.to_string()])
        .args(["-o", "2", "generic", "http2", "-j"])
        .arg(report.path())
        .output()
        .expect("h2spec starts");
    let xml = std::fs::read_to_string(report.path()).expect("h2spec writes its report");
    let cases: Vec<&str> = xml.split("<testcase ").skip(1).collect();
    let failed: Vec<&str> = cases
        .iter()
        .filter(|case| case.contains("<failure") || case.contains("<error"))
        .filter_map(|case| case.split("classname=\"").nth(1)?.split('"').next())
        .collect();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        cases.len() >= 130,
        "only {} cases ran:\n{text}",
        cases.len()
    );
    assert!(failed.is_empty(), "{failed:?}:\n{text}");
}

fn bootstrap(own: &OwnAddress) -> String {
    let address = |port: u16| json!({"socket_address": {"address": own.ip().to_string(), "port_value": port}});
    let type_url = |name: &str| {
        json!(format!(
            "type.googleapis.com/envoy.extensions.filters.{name}"
        ))
    };
    let manager = json!({
        "@type": type_url("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "h2",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}},
        ]}]},
        // Cases that reset a stream and go on want to be heard before the answer; the tool waits two seconds for it.
        "http_filters": [{
            "name": "envoy.filters.http.fault",
            "typed_config": {
                "@type": type_url("http.fault.v3.HTTPFault"),
                "delay": {"fixed_delay": "0.3s", "percentage": {"numerator": 100}},
            },
        }, {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": type_url("http.router.v3.Router")},
        }],
    });
    json!({
        "admin": {"address": address(ADMIN)},
        "static_resources": {"listeners": [{
            "name": "h2",
            "address": address(LISTENER),
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
            ]}],
        }]},
    })
    .to_string()
}
