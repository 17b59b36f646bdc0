//! Reading a Deployment's container.

use std::time::Duration;

use super::image::ImageTable;
use super::template::{Check, ContainerPort, EnvValue, Probe, Template};
use crate::yaml::{At, Value};

/// Reads the container into the template of its pods.
pub(super) fn read(at: &At<'_>, images: &ImageTable, template: &mut Template) {
    let fields = at.fields();
    template.container = fields.string("name");
    template.image = fields.string("image");
    let command = fields.strings("command");
    match images.program(&template.image) {
        // a Deployment's own command is a program of this machine
        None if !command.is_empty() => {}
        None => fields.get("image").unwrap_or_else(|| at.clone()).refuse(
            format_args!("no program is known for image {:?}", template.image),
            "add it to local.yaml: images: {IMAGE: {command: [PROGRAM]}}",
        ),
        Some(program) => template.program = program,
    }
    if !command.is_empty() {
        template.program.command = command;
    }
    template.program.command.extend(fields.strings("args"));
    template.env = fields
        .list("env", |at| env(&at))
        .into_iter()
        .flatten()
        .collect();
    template.ports = fields.list("ports", |at| {
        let fields = at.fields();
        ContainerPort {
            name: fields.string("name"),
            port: fields.require("containerPort").map_or(0, |at| at.port()),
        }
    });
    template.probe = match fields.get("readinessProbe") {
        Some(at) => probe(&at, &template.ports),
        None => Probe::of(template.ports.first().map_or(Check::None, |p| Check::Tcp {
            port: p.port,
            once: true,
        })),
    };
}

fn env(at: &At<'_>) -> Option<(String, EnvValue)> {
    let fields = at.fields();
    let name = fields.string("name");
    let Some(from) = fields.get("valueFrom") else {
        return Some((name, EnvValue::Text(fields.string("value"))));
    };
    let path = from
        .fields()
        .get("fieldRef")
        .map(|at| at.fields().string("fieldPath"));
    let value = match path.as_deref() {
        Some("metadata.name") => EnvValue::PodName,
        Some("metadata.namespace") => EnvValue::PodNamespace,
        Some("status.podIP") => EnvValue::PodIp,
        Some("spec.serviceAccountName") => EnvValue::ServiceAccount,
        _ => {
            from.without_effect(
                "the local runner cannot resolve this",
                "write value, or fieldRef to metadata.name, metadata.namespace, status.podIP or spec.serviceAccountName",
            );
            return None;
        }
    };
    Some((name, value))
}

fn probe(at: &At<'_>, ports: &[ContainerPort]) -> Probe {
    let fields = at.fields();
    let check = if let Some(http) = fields.get("httpGet") {
        let http = http.fields();
        let path = http.string("path");
        http.require("port").map(|at| Check::Http {
            port: port(&at, ports),
            path: if path.is_empty() {
                "/".to_owned()
            } else {
                path
            },
        })
    } else if let Some(tcp) = fields.get("tcpSocket") {
        let tcp = tcp.fields();
        tcp.require("port").map(|at| Check::Tcp {
            port: port(&at, ports),
            once: false,
        })
    } else {
        at.without_effect(
            "this kind of probe is not run here",
            "use httpGet or tcpSocket",
        );
        None
    };
    let seconds = |name, default, min: u32| {
        Duration::from_secs(
            fields
                .get(name)
                .map_or(default, |at| at.number(3600).max(min))
                .into(),
        )
    };
    Probe {
        check: check.unwrap_or(Check::None),
        initial_delay: seconds("initialDelaySeconds", 0, 0),
        period: seconds("periodSeconds", 10, 1),
        timeout: seconds("timeoutSeconds", 1, 1),
        failures: fields
            .get("failureThreshold")
            .map_or(3, |at| at.number(1000).max(1)),
    }
}

fn port(at: &At<'_>, ports: &[ContainerPort]) -> u16 {
    let Value::String(name) = &at.node().value else {
        return at.port();
    };
    match ports.iter().find(|p| p.name == *name) {
        Some(port) => port.port,
        None => {
            at.refuse(
                format_args!("no container port is named {name:?}"),
                "name one of the ports, or write a number",
            );
            0
        }
    }
}
