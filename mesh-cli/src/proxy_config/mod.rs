//! `meshctl proxy-config`: what a proxy is configured with, from its admin port, from a file, or as a folder would
//! configure it; printed as istioctl prints it.

mod args;
mod clusters;
mod dump;
mod endpoints;
mod listeners;
mod routes;

use std::io::Read as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use http::{Method, StatusCode};
use mesh_control::{Config, ControlPlane, Options, Workload};
use serde_json::{Value, json};

use crate::columns::columns;
use crate::{Error, last, request};
pub(crate) use args::Format;
pub(crate) use args::ProxyConfigArgs;
use args::{AllArgs, ClusterFilter, EndpointFilter, ListenerFilter, LogArgs, Part, Source};
use dump::{Dump, printed, text};

pub(crate) async fn run(args: ProxyConfigArgs) -> Result<ExitCode, Error> {
    let said = match args.part {
        Part::Cluster(args) => {
            let dump = dump(&args.source).await?;
            let clusters = clusters::find(&dump, &args.filter, args.port)?;
            match args.output {
                Format::Short => columns(&clusters::table(&clusters, false), 5),
                format => resources(&clusters, format)?,
            }
        }
        Part::Listener(args) => {
            let dump = dump(&args.source).await?;
            let address = args.address.as_deref();
            let listeners = listeners::find(&dump, &args.filter, args.port, address)?;
            match args.output {
                Format::Short => columns(&listeners::table(&listeners, args.verbose, false), 1),
                format => resources(&listeners, format)?,
            }
        }
        Part::Route(args) => {
            let dump = dump(&args.source).await?;
            let routes = routes::find(&dump, args.name.as_deref())?;
            match args.output {
                Format::Short => columns(&routes::table(&routes, args.verbose, false), 5),
                format => resources(&routes, format)?,
            }
        }
        Part::Endpoint(args) => endpoints(&args).await?,
        Part::Bootstrap(args) => {
            let dump = dump(&args.source).await?;
            let bootstrap = dump.section("BootstrapConfigDump")?;
            match args.output {
                Format::Short => versions(&dump),
                format => value(&printed(bootstrap), format)?,
            }
        }
        Part::Log(args) => log(&args).await?,
        Part::All(args) => all(&args).await?,
    };
    print!("{said}");
    Ok(ExitCode::SUCCESS)
}

async fn endpoints(args: &args::EndpointArgs) -> Result<String, Error> {
    let filter = endpoints::Filter {
        more: &args.filter,
        port: args.port,
        address: args.address.as_deref(),
    };
    // A proxy knows the health of its endpoints; a folder, or a file with a config dump, only who they are.
    let dump = match &args.source.node {
        Some(_) => dump(&args.source).await?,
        None => {
            let page = page(&args.source, "/clusters?format=json").await?;
            let said: Value = serde_json::from_slice(&page)
                .map_err(|error| format!("this is no JSON of /clusters: {error}"))?;
            if said.get("configs").is_none() {
                return match args.output {
                    Format::Short => Ok(columns(&endpoints::table_of_clusters(&said, &filter), 5)),
                    format => {
                        let found = endpoints::of_clusters(&said, &filter);
                        value(&Value::Array(found), format)
                    }
                };
            }
            Dump::new(said)
        }
    };
    let assignments = endpoints::of_dump(&dump, &filter)?;
    match args.output {
        Format::Short => Ok(columns(&endpoints::table_of_dump(&assignments, false), 5)),
        format => resources(&assignments, format),
    }
}

async fn all(args: &AllArgs) -> Result<String, Error> {
    let address = args.address.as_deref();
    let filter = endpoints::Filter {
        more: &args.endpoints,
        port: args.port,
        address,
    };
    let is_filtered = args.clusters != ClusterFilter::default()
        || args.listeners != ListenerFilter::default()
        || args.endpoints != EndpointFilter::default()
        || args.name.is_some()
        || args.port.is_some()
        || address.is_some();
    if args.output != Format::Short && !is_filtered {
        // all of it, as it is
        let page = match &args.source.node {
            Some(node) => of_folder(&args.source, node)?,
            None => serde_json::from_slice(&page(&args.source, CONFIG_DUMP).await?)?,
        };
        return value(&page, args.output);
    }
    let dump = dump(&args.source).await?;
    let clusters = clusters::find(&dump, &args.clusters, args.port)?;
    let listeners = listeners::find(&dump, &args.listeners, args.port, address)?;
    if args.output != Format::Short {
        let list = |resources: &[Value]| resources.iter().map(printed).collect::<Value>();
        let mut parts = json!({
            "clusters": list(&clusters),
            "listeners": list(&listeners),
            "routes": list(&routes::find(&dump, args.name.as_deref())?),
        });
        if dump.section("EndpointsConfigDump").is_ok() {
            parts["endpoints"] = list(&endpoints::of_dump(&dump, &filter)?);
        }
        return value(&parts, args.output);
    }
    let mut parts = Vec::new();
    if dump.section("BootstrapConfigDump").is_ok() {
        parts.push(("BOOTSTRAP", versions(&dump)));
    }
    parts.push(("CLUSTER", columns(&clusters::table(&clusters, true), 5)));
    parts.push((
        "LISTENER",
        columns(&listeners::table(&listeners, args.verbose, true), 1),
    ));
    let routes = routes::find(&dump, args.name.as_deref())?;
    parts.push((
        "ROUTE",
        columns(&routes::table(&routes, args.verbose, true), 5),
    ));
    if dump.section("EndpointsConfigDump").is_ok() {
        let assignments = endpoints::of_dump(&dump, &filter)?;
        let table = endpoints::table_of_dump(&assignments, true);
        parts.push(("ENDPOINTS", columns(&table, 5)));
    }
    let shown = parts
        .into_iter()
        .map(|(name, table)| match args.with_headers {
            true => format!("------ {name} INFO ------\n\n{table}"),
            false => table,
        });
    Ok(shown.collect::<Vec<_>>().join("\n"))
}

async fn log(args: &LogArgs) -> Result<String, Error> {
    let address = address(&args.source)?;
    if let Some(level) = &args.level
        && let Some(odd) = level
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && !"_-.:=,".contains(*c))
    {
        return Err(format!(
            "{level:?}: {odd:?} is in no name of a logger or level; write LEVEL, or LOGGER:LEVEL,LOGGER:LEVEL"
        )
        .into());
    }
    let query = match args.level.as_deref() {
        None => String::new(),
        Some(levels) if levels.contains([':', '=']) => {
            format!("?paths={}", levels.replace('=', ":"))
        }
        Some(level) => format!("?level={level}"),
    };
    let path = format!("/logging{query}");
    let (status, body) = request::once(Method::POST, address, &path)
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    let said = String::from_utf8_lossy(&body).into_owned();
    match status {
        StatusCode::OK => Ok(said),
        _ => Err(format!("{address}{path}: {status}: {}", said.trim_end()).into()),
    }
}

/// Who the proxy says that it is.
fn versions(dump: &Dump) -> String {
    use dump::{field, number};
    let Ok(bootstrap) = dump.section("BootstrapConfigDump") else {
        return String::new();
    };
    let node = field(field(bootstrap, "bootstrap"), "node");
    let metadata = field(node, "metadata");
    let build = field(node, "user_agent_build_version");
    let version = field(build, "version");
    let mut envoy = format!(
        "{}.{}.{}",
        number(version, "major_number"),
        number(version, "minor_number"),
        number(version, "patch")
    );
    for (name, mark) in [
        ("build.label", '-'),
        ("revision.status", '/'),
        ("build.type", '/'),
        ("ssl.version", '/'),
    ] {
        if let Some(word) = field(build, "metadata").get(name).and_then(Value::as_str) {
            envoy.push(mark);
            envoy.push_str(word);
        }
    }
    let proxy = text(metadata, "ISTIO_PROXY_SHA");
    let proxy = proxy.split(':').nth(1).unwrap_or(proxy);
    let rows: Vec<_> = [
        ("Istio Version:", text(metadata, "ISTIO_VERSION")),
        ("Istio Proxy Version:", proxy),
        ("Envoy Version:", &envoy),
    ]
    .into_iter()
    .filter(|(_, version)| !version.is_empty())
    .map(|(name, version)| vec![name.to_owned(), version.to_owned()])
    .collect();
    columns(&rows, 1)
}

const CONFIG_DUMP: &str = "/config_dump?include_eds";

/// The config dump that is asked for, with endpoints.
async fn dump(source: &Source) -> Result<Dump, Error> {
    let dump = match &source.node {
        Some(node) => Dump::new(of_folder(source, node)?),
        None => Dump::parse(&page(source, CONFIG_DUMP).await?)?,
    };
    match dump.is_empty() {
        true => Err("there is no config dump in this".into()),
        false => Ok(dump),
    }
}

/// A page of the admin port, or the file.
async fn page(source: &Source, path: &str) -> Result<Vec<u8>, Error> {
    if let Some(file) = &source.file {
        let mut page = Vec::new();
        let read = match file == Path::new("-") {
            true => std::io::stdin().read_to_end(&mut page),
            false => std::fs::read(file).map(|read| {
                page = read;
                0
            }),
        };
        read.map_err(|error| format!("{}: {error}", file.display()))?;
        return Ok(page);
    }
    let address = address(source)?;
    let (status, body) = request::get_once(address, path)
        .await
        .map_err(|error| format!("no proxy answers at {address}: {error}"))?;
    match status {
        StatusCode::OK => Ok(body.to_vec()),
        _ => Err(format!("{address}{path}: {status}").into()),
    }
}

/// The admin address of the proxy that is meant.
fn address(source: &Source) -> Result<SocketAddr, Error> {
    let Some(proxy) = &source.proxy else {
        return Err("only a running proxy can be asked for this; name it".into());
    };
    if let Some((_, port)) = proxy.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        let found = proxy.to_socket_addrs().ok().and_then(|mut all| all.next());
        return found.ok_or_else(|| format!("{proxy}: no such address").into());
    }
    let workload = workload(&control(source)?.config(), source, proxy)?;
    let ip = workload.address.parse();
    let ip = ip.map_err(|_| format!("{proxy}: {} is no address", workload.address))?;
    Ok(SocketAddr::new(ip, source.proxy_admin_port))
}

fn control(source: &Source) -> Result<ControlPlane, Error> {
    let dir: PathBuf = match &source.dir {
        Some(dir) => dir.clone(),
        None => last::read()
            .ok_or("no mesh runs or ran on this machine; say --dir DIR, or HOST:PORT of a proxy")?,
    };
    let shown = dir.display().to_string();
    let control =
        ControlPlane::open(dir, Options::default()).map_err(|error| format!("{shown}: {error}"))?;
    // what is wrong in it was logged
    Ok(control)
}

/// The workload of `[pod/|deploy/]NAME[.NAMESPACE]`, or of a node id.
fn workload(config: &Config, source: &Source, name: &str) -> Result<Workload, Error> {
    let short = match name.split('~').collect::<Vec<_>>()[..] {
        [_, _, name, _] => name,
        _ => ["pod/", "pods/", "deploy/", "deployment/", "deployments/"]
            .iter()
            .find_map(|kind| name.strip_prefix(kind))
            .unwrap_or(name),
    };
    let with_namespace = short
        .rsplit_once('.')
        .and_then(|(name, namespace)| config.workload(namespace, name));
    with_namespace
        .or_else(|| config.workload(&source.namespace, short))
        .ok_or_else(|| {
            let known = config.workloads().join(", ");
            format!("{name}: no such pod or Deployment; there are {known}").into()
        })
}

/// What the folder's control plane sends to a node, as its proxy would show it.
fn of_folder(source: &Source, node: &str) -> Result<Value, Error> {
    let config = control(source)?.config();
    let resources = workload(&config, source, node)?.resources(&config);
    let of = |kind: &str| -> Vec<Value> {
        let wanted = resources.iter().filter(|any| any.type_url.ends_with(kind));
        wanted.map(mesh_xds::dump::any).collect()
    };
    let wrapped = |kind: &str, name: &str| -> Vec<Value> {
        of(kind)
            .into_iter()
            .map(|one| json!({ name: one }))
            .collect()
    };
    let section = |kind: &str| format!("type.googleapis.com/envoy.admin.v3.{kind}");
    let listeners: Vec<_> = wrapped(".Listener", "listener")
        .into_iter()
        .map(|state| json!({"name": state["listener"]["name"], "active_state": state}))
        .collect();
    Ok(json!({"configs": [
        {"@type": section("ClustersConfigDump"),
         "dynamic_active_clusters": wrapped(".Cluster", "cluster")},
        {"@type": section("EndpointsConfigDump"),
         "dynamic_endpoint_configs": wrapped(".ClusterLoadAssignment", "endpoint_config")},
        {"@type": section("ListenersConfigDump"), "dynamic_listeners": listeners},
        {"@type": section("RoutesConfigDump"),
         "dynamic_route_configs": wrapped(".RouteConfiguration", "route_config")},
    ]}))
}

/// Resources as a list in a format.
fn resources(resources: &[Value], format: Format) -> Result<String, Error> {
    value(&resources.iter().map(printed).collect(), format)
}

/// A value in a format.
pub(crate) fn value(value: &Value, format: Format) -> Result<String, Error> {
    match format {
        Format::Yaml => Ok(serde_saphyr::to_string(value)?),
        Format::Short | Format::Json => {
            let mut text = Vec::new();
            let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            let mut writer = serde_json::Serializer::with_formatter(&mut text, indent);
            serde::Serialize::serialize(value, &mut writer)?;
            text.push(b'\n');
            Ok(String::from_utf8(text)?)
        }
    }
}
