//! Annotations of Istio on objects of Kubernetes: unknown, deprecated, misplaced, wrong.

use super::finding::Findings;
use super::objects::{Object, World};
use crate::validate::part::Part;
use crate::yaml::parse_bool;

/// Every annotation of Istio, whether it is deprecated, and what it is for.
static KNOWN: &[(&str, bool, &str)] = &[
    ("alpha.istio.io/canonical-serviceaccounts", true, "Service"),
    ("alpha.istio.io/kubernetes-serviceaccounts", true, "Service"),
    ("ambient.istio.io/bypass-inbound-capture", false, "Pod"),
    ("ambient.istio.io/dns-capture", false, "Pod"),
    ("ambient.istio.io/redirection", false, "Pod"),
    (
        "ambient.istio.io/waypoint-inbound-binding",
        false,
        "GatewayClass, Gateway",
    ),
    ("galley.istio.io/analyze-suppress", false, "Any"),
    ("gateway.istio.io/controller-version", false, "Any"),
    ("gateway.istio.io/name-override", false, "Gateway"),
    ("gateway.istio.io/service-account", false, "Gateway"),
    ("inject.istio.io/templates", false, "Pod"),
    ("istio.io/autoRegistrationGroup", false, "WorkloadEntry"),
    ("istio.io/connectedAt", false, "WorkloadEntry"),
    ("istio.io/disconnectedAt", false, "WorkloadEntry"),
    ("istio.io/dry-run", false, "AuthorizationPolicy"),
    ("istio.io/reroute-virtual-interfaces", false, "Pod"),
    ("istio.io/rev", false, "Pod"),
    (
        "istio.io/use-waypoint-canary-weight",
        false,
        "Service, ServiceEntry, Namespace",
    ),
    ("istio.io/workloadController", false, "WorkloadEntry"),
    ("kubernetes.io/ingress.class", false, "Ingress"),
    ("networking.istio.io/exportTo", false, "Service"),
    ("networking.istio.io/service-type", false, "Gateway"),
    (
        "networking.istio.io/traffic-distribution",
        false,
        "Namespace, Service, ServiceEntry",
    ),
    ("prometheus.istio.io/merge-metrics", false, "Pod"),
    ("proxy.istio.io/config", false, "Pod"),
    ("proxy.istio.io/overrides", false, "Pod"),
    (
        "readiness.status.sidecar.istio.io/applicationPorts",
        false,
        "Pod",
    ),
    (
        "readiness.status.sidecar.istio.io/failureThreshold",
        false,
        "Pod",
    ),
    (
        "readiness.status.sidecar.istio.io/initialDelaySeconds",
        false,
        "Pod",
    ),
    (
        "readiness.status.sidecar.istio.io/periodSeconds",
        false,
        "Pod",
    ),
    ("sidecar.istio.io/agentLogLevel", false, "Pod"),
    ("sidecar.istio.io/bootstrapOverride", false, "Pod"),
    ("sidecar.istio.io/componentLogLevel", false, "Pod"),
    ("sidecar.istio.io/discoveryAddress", true, "Pod"),
    ("sidecar.istio.io/extraStatTags", true, "Pod"),
    ("sidecar.istio.io/inject", true, "Pod"),
    ("sidecar.istio.io/interceptionMode", false, "Pod"),
    ("sidecar.istio.io/logLevel", false, "Pod"),
    ("sidecar.istio.io/nativeSidecar", false, "Pod"),
    ("sidecar.istio.io/proxyCPU", false, "Pod"),
    ("sidecar.istio.io/proxyCPULimit", false, "Pod"),
    ("sidecar.istio.io/proxyImage", false, "Pod"),
    ("sidecar.istio.io/proxyImageType", false, "Pod"),
    ("sidecar.istio.io/proxyMemory", false, "Pod"),
    ("sidecar.istio.io/proxyMemoryLimit", false, "Pod"),
    ("sidecar.istio.io/rewriteAppHTTPProbers", false, "Pod"),
    ("sidecar.istio.io/statsCompression", true, "Pod"),
    ("sidecar.istio.io/statsEvictionInterval", false, "Pod"),
    ("sidecar.istio.io/statsFlushInterval", false, "Pod"),
    ("sidecar.istio.io/statsHistogramBins", false, "Pod"),
    ("sidecar.istio.io/statsHistogramBuckets", false, "Pod"),
    ("sidecar.istio.io/statsInclusionPrefixes", true, "Pod"),
    ("sidecar.istio.io/statsInclusionRegexps", true, "Pod"),
    ("sidecar.istio.io/statsInclusionSuffixes", true, "Pod"),
    ("sidecar.istio.io/status", false, "Pod"),
    ("sidecar.istio.io/userVolume", false, "Pod"),
    ("sidecar.istio.io/userVolumeMount", false, "Pod"),
    ("status.sidecar.istio.io/port", false, "Pod"),
    ("topology.istio.io/controlPlaneClusters", false, "Namespace"),
    ("traffic.istio.io/nodeSelector", false, "Service"),
    ("traffic.sidecar.istio.io/excludeInboundPorts", false, "Pod"),
    ("traffic.sidecar.istio.io/excludeInterfaces", false, "Pod"),
    (
        "traffic.sidecar.istio.io/excludeOutboundIPRanges",
        false,
        "Pod",
    ),
    (
        "traffic.sidecar.istio.io/excludeOutboundPorts",
        false,
        "Pod",
    ),
    ("traffic.sidecar.istio.io/includeInboundPorts", false, "Pod"),
    (
        "traffic.sidecar.istio.io/includeOutboundIPRanges",
        false,
        "Pod",
    ),
    (
        "traffic.sidecar.istio.io/includeOutboundPorts",
        false,
        "Pod",
    ),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", true, "Pod"),
];

/// Set by Istio itself.
const IGNORED: [&str; 3] = [
    "sidecar.istio.io/status",
    "gateway.istio.io/controller-version",
    "istio.io/rev",
];

const INJECT: &str = "sidecar.istio.io/inject";

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    for kind in ["Namespace", "Service", "Pod", "Deployment"] {
        for object in world.all(kind) {
            for (name, value) in &object.annotations {
                check(object, name, value, findings);
            }
        }
    }
}

fn check(object: &Object<'_>, name: &str, value: &Part<'_>, findings: &mut Findings) {
    let group = name.split('/').next().unwrap_or_default();
    if name != "kubernetes.io/ingress.class" && !group.ends_with("istio.io")
        || IGNORED.contains(&name)
    {
        return;
    }
    let mark = value.mark();
    let Some((_, is_deprecated, of)) = KNOWN.iter().find(|(known, ..)| *known == name) else {
        findings.add(
            "IST0108",
            object,
            mark,
            format_args!("Unknown annotation: {name}"),
        );
        return;
    };
    if *is_deprecated && !(name == INJECT && object.label(INJECT).is_some()) {
        let extra = match name == INJECT {
            true => " in favor of the \"sidecar.istio.io/inject\" label",
            false => "",
        };
        let message = format!(
            "Annotation {name:?} has been deprecated{extra} and may not work in future Istio versions."
        );
        findings.add("IST0135", object, mark, message);
    }
    if *of == "Any" {
        return;
    }
    if !of.split(", ").any(|kind| kind == object.kind) {
        findings.add(
            "IST0107",
            object,
            mark,
            format_args!("Misplaced annotation: {name} can only be applied to {of}"),
        );
    } else if let Err(wrong) = check_value(name, value.as_text()) {
        findings.add(
            "IST0125",
            object,
            mark,
            format_args!("Invalid annotation {name}: {wrong}"),
        );
    }
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    let is_port = |text: &str| text.trim().parse::<u16>().is_ok();
    let ports = |value: &str| value.is_empty() || value == "*" || value.split(',').all(is_port);
    let is_range = |text: &str| {
        let text = text.trim();
        let (address, bits) = text.split_once('/').unwrap_or((text, "0"));
        address.parse::<std::net::IpAddr>().is_ok()
            && text.contains('/')
            && bits.parse::<u8>().is_ok_and(|b| b <= 128)
    };
    let right = match name {
        "sidecar.istio.io/interceptionMode" => matches!(value, "REDIRECT" | "TPROXY" | "NONE"),
        "status.sidecar.istio.io/port" => value.parse::<u16>().is_ok(),
        "readiness.status.sidecar.istio.io/initialDelaySeconds"
        | "readiness.status.sidecar.istio.io/periodSeconds"
        | "readiness.status.sidecar.istio.io/failureThreshold" => value.parse::<u32>().is_ok(),
        "traffic.sidecar.istio.io/includeOutboundIPRanges" => {
            value.is_empty() || value == "*" || value.split(',').all(is_range)
        }
        "traffic.sidecar.istio.io/excludeOutboundIPRanges" => {
            value.is_empty() || value.split(',').all(is_range)
        }
        "traffic.sidecar.istio.io/includeInboundPorts" => ports(value),
        "traffic.sidecar.istio.io/excludeInboundPorts"
        | "traffic.sidecar.istio.io/excludeOutboundPorts" => ports(value) && value != "*",
        "prometheus.istio.io/merge-metrics" => parse_bool(value).is_some(),
        _ => true,
    };
    match right {
        true => Ok(()),
        false => Err(format!("the value {value:?} is wrong")),
    }
}
