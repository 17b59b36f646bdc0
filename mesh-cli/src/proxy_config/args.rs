//! The command line of `meshctl proxy-config`: istioctl's subcommands, short forms and filters.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct ProxyConfigArgs {
    #[command(subcommand)]
    pub(crate) part: Part,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Clusters
    #[command(aliases = ["clusters", "c"])]
    Cluster(ClusterArgs),
    /// Listeners
    #[command(aliases = ["listeners", "l"])]
    Listener(ListenerArgs),
    /// Route configurations
    #[command(aliases = ["routes", "r"])]
    Route(RouteArgs),
    /// Endpoints, with their health
    #[command(aliases = ["endpoints", "ep"])]
    Endpoint(EndpointArgs),
    /// What the proxy was started with
    #[command(alias = "b")]
    Bootstrap(BootstrapArgs),
    /// What the parts of the proxy log; changes it, too
    #[command(alias = "o")]
    Log(LogArgs),
    /// Everything
    #[command(alias = "a")]
    All(AllArgs),
}

/// Whose configuration.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// A pod or Deployment of the mesh ([pod/|deploy/]NAME[.NAMESPACE]), or a proxy's admin port (HOST:PORT)
    #[arg(value_name = "PROXY", required_unless_present_any = ["file", "node"])]
    pub(crate) proxy: Option<String>,
    /// A file with what the admin port said; - is the standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "proxy")]
    pub(crate) file: Option<PathBuf>,
    /// What the folder would send to this node (NAME[.NAMESPACE] or a node id), without any process
    #[arg(long, value_name = "NODE", conflicts_with_all = ["proxy", "file"])]
    pub(crate) node: Option<String>,
    /// Folder of the mesh; without it, the one that runs or ran last
    #[arg(long, value_name = "DIR", env = "MESH_CONFIG_DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Namespace of a pod that names none
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Admin port of the mesh's pods
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    pub(crate) proxy_admin_port: u16,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Short,
    Json,
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "short")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) filter: ClusterFilter,
    /// Only of this port
    #[arg(long)]
    pub(crate) port: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ClusterFilter {
    /// Only clusters whose host contains this
    #[arg(long)]
    pub(crate) fqdn: Option<String>,
    /// Only inbound or outbound ones
    #[arg(long)]
    pub(crate) direction: Option<String>,
    /// Only those of a subset
    #[arg(long)]
    pub(crate) subset: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListenerArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "short")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) filter: ListenerFilter,
    /// Only of this port
    #[arg(long)]
    pub(crate) port: Option<u32>,
    /// Only of this address
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// Matches and destinations, not only types
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) verbose: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ListenerFilter {
    /// Only of this type: HTTP, TCP, HTTP+TCP or UNKNOWN
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "short")]
    pub(crate) output: Format,
    /// Only the route configuration of this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Each route, not only how many virtual hosts
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EndpointArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "short")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) filter: EndpointFilter,
    /// Only of this port
    #[arg(long)]
    pub(crate) port: Option<u32>,
    /// Only of this address
    #[arg(long)]
    pub(crate) address: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct EndpointFilter {
    /// Only of this cluster
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Only of this health, such as healthy
    #[arg(long)]
    pub(crate) status: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// LEVEL for everything, or LOGGER:LEVEL,LOGGER:LEVEL
    #[arg(long, value_name = "LEVELS")]
    pub(crate) level: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AllArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "short")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) clusters: ClusterFilter,
    #[command(flatten)]
    pub(crate) listeners: ListenerFilter,
    #[command(flatten)]
    pub(crate) endpoints: EndpointFilter,
    /// Only the route configuration of this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only clusters, listeners and endpoints of this port
    #[arg(long)]
    pub(crate) port: Option<u32>,
    /// Only listeners and endpoints of this address
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// A headline above each part
    #[arg(long)]
    pub(crate) with_headers: bool,
    /// Matches, destinations and routes, not only types and numbers
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) verbose: bool,
}
