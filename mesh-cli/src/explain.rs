//! `meshctl explain`: what becomes of a request, and why.

use std::process::ExitCode;

use http::Request;
use mesh_control::{ControlPlane, Options, Workload};
use proxyless::core::explain::{
    Candidate, EndpointState, Endpoints, Explanation, Outcome, Place, Policy,
};
use proxyless::{Mesh, Pod};
use serde_json::{Value, json};

use crate::Error;
use crate::args::ExplainArgs;

pub(crate) async fn run(args: ExplainArgs) -> Result<ExitCode, Error> {
    let dir = args.dir.display();
    if args.url.authority().is_none() {
        let url = &args.url;
        return Err(format!("{url}: no host; write http://HOST:PORT/PATH").into());
    }
    let control = ControlPlane::open(&args.dir, Options::default())
        .map_err(|error| format!("{dir}: {error}"))?;
    for problem in control.problems() {
        eprintln!("{problem}");
    }
    let pod = match &args.from {
        Some(from) => pod(&control, from)?,
        None => Pod::default(),
    };
    let mesh = Mesh::builder().folder(&args.dir).pod(pod).build()?;
    mesh.ready().await;
    let mut request = Request::new(());
    *request.method_mut() = args.method;
    *request.uri_mut() = args.url;
    request.headers_mut().extend(args.headers);
    let mut explanation = mesh.explain(&request);
    add_places(&mut explanation, &control);
    match args.output {
        Some(_) => println!("{:#}", json(&explanation)),
        None => print!("{explanation}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Who is meant by `NAME` or `NAME.NAMESPACE`.
fn pod(control: &ControlPlane, from: &str) -> Result<Pod, Error> {
    let config = control.config();
    let in_namespace = from
        .split_once('.')
        .and_then(|(name, namespace)| config.workload(namespace, name));
    let Some(workload) = in_namespace.or_else(|| config.workload("default", from)) else {
        let known = config.workloads().join(", ");
        return Err(format!("--from {from}: no such pod or Deployment; there are {known}").into());
    };
    let Workload {
        name,
        namespace,
        address,
        labels,
        is_gateway,
        ..
    } = workload;
    let mut pod = Pod::default();
    pod.name = name;
    pod.namespace = namespace;
    pod.address = address;
    pod.labels = labels;
    pod.gateway = is_gateway;
    Ok(pod)
}

/// Clusters only name their object: the line is no part of them, since another line would be another cluster.
fn add_places(explanation: &mut Explanation, control: &ControlPlane) {
    let config = control.config();
    for cluster in &mut explanation.clusters {
        let Some(object) = &cluster.provenance.object else {
            continue;
        };
        let place = config
            .objects()
            .find(|(id, _)| id.to_string() == **object)
            .map(|(_, metadata)| &metadata.provenance);
        cluster.provenance.place = place.map(|at| format!("{}:{}", at.file, at.line).into());
    }
}

fn json(explanation: &Explanation) -> Value {
    let passed = explanation.passed_over.iter().map(|passed| {
        let mut route = place(&passed.route);
        route["unmet"] = json!(passed.unmet);
        route
    });
    let route = explanation.route.as_ref().map(|matched| {
        let mut route = place(&matched.route);
        route["match"] = json!(matched.conditions);
        route["policies"] = policies(&explanation.policies);
        route
    });
    json!({
        "request": explanation.request,
        "listener": explanation.listener.as_deref(),
        "route_configuration": explanation.route_configuration.as_deref(),
        "virtual_host": explanation.virtual_host.as_ref().map(place),
        "passed_over": passed.collect::<Vec<_>>(),
        "route": route,
        "reply": reply(&explanation.outcome),
        "clusters": explanation.clusters.iter().map(cluster).collect::<Vec<_>>(),
    })
}

fn place(place: &Place) -> Value {
    json!({
        "name": &*place.name,
        "object": place.provenance.object.as_deref(),
        "place": place.provenance.place.as_deref(),
    })
}

fn policies(policies: &[Policy]) -> Value {
    let one = |policy: &Policy| json!({"field": policy.name, "value": policy.value});
    policies.iter().map(one).collect()
}

fn reply(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Reply {
            status,
            location,
            details,
            is_failure,
            ..
        } => json!({
            "status": status.as_u16(),
            "location": location,
            "details": details,
            "failure": is_failure,
        }),
        _ => Value::Null,
    }
}

fn cluster(candidate: &Candidate) -> Value {
    let (weight, total) = candidate.weight;
    let endpoints = match &candidate.endpoints {
        Endpoints::Known(endpoints) => endpoints.iter().map(endpoint).collect(),
        Endpoints::OriginalDestination => json!("original destination"),
        _ => Value::Null,
    };
    json!({
        "name": &*candidate.name,
        "weight": weight,
        "total_weight": total,
        "object": candidate.provenance.object.as_deref(),
        "place": candidate.provenance.place.as_deref(),
        "policies": policies(&candidate.policies),
        "endpoints": endpoints,
    })
}

fn endpoint(endpoint: &EndpointState) -> Value {
    json!({
        "address": endpoint.address.to_string(),
        "priority": endpoint.priority,
        "weight": endpoint.weight,
        "health": endpoint.health,
    })
}
