//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// A service mesh on one machine.
#[derive(Debug, Parser)]
#[command(name = "meshctl")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the example mesh (bookinfo) with a load generator and show live what happens
    Demo(DemoArgs),
    /// One service of the example; configured by its pod's environment
    DemoService(ServiceArgs),
    /// Serve a folder of Istio and Kubernetes YAML over ADS; starts no programs
    Serve(ServeArgs),
    /// Create or change objects of the running mesh from a file
    Apply(ApplyArgs),
    /// Show objects of the running mesh
    Get(GetArgs),
    /// Remove an object of the running mesh
    Delete(DeleteArgs),
    /// Print a token with which a service account of a folder gets its certificate
    Token(TokenArgs),
    /// Say what Istio's webhook would refuse, where, and what would be right
    Validate(ValidateArgs),
    /// Find what is likely to be wrong in files, as istioctl analyze does
    Analyze(AnalyzeArgs),
    /// Test a route configuration, as Envoy's router_check_tool does
    RouteCheck(RouteCheckArgs),
    /// Say what becomes of a request in a folder's mesh, and why
    Explain(ExplainArgs),
    /// Show what a proxy is configured with
    #[command(visible_alias = "pc")]
    ProxyConfig(crate::proxy_config::ProxyConfigArgs),
    /// Show which proxies have what the control plane made for them
    #[command(visible_alias = "ps")]
    ProxyStatus(crate::proxy_status::ProxyStatusArgs),
    /// Say which rules apply to a pod or a service
    #[command(alias = "desc")]
    Describe(crate::describe::DescribeArgs),
    /// Become a program that ends when the process that started it ends
    #[command(hide = true)]
    RunPod(RunPodArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Folder to run; without it, a fresh copy of the example in target/demo/bookinfo
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Requests per second that the load generator sends to the gateway
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub(crate) rps: u32,
    /// End after this long, such as 20s or 1m; without it, at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) limit: Option<Duration>,
    /// Print a JSON line per second, and a total, instead of the table
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<DemoOutput>,
    /// Write URL, processes and folder into this JSON file once everything is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoOutput {
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServiceArgs {
    /// Which one
    pub(crate) name: ServiceName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceName {
    Productpage,
    Details,
    Reviews,
    Ratings,
    Inventory,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    /// Folder of YAML
    pub(crate) dir: PathBuf,
    /// Where to serve ADS, plaintext
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010")]
    pub(crate) grpc_addr: SocketAddr,
    /// Key set (JSON) of a Kubernetes API server whose service-account tokens get certificates, too
    #[arg(long, value_name = "FILE")]
    pub(crate) token_jwks: Option<PathBuf>,
    /// Issuer that those tokens must name
    #[arg(long, value_name = "URL", requires = "token_jwks")]
    pub(crate) token_issuer: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TokenArgs {
    /// Service account, as NAMESPACE/NAME
    #[arg(value_name = "NAMESPACE/NAME")]
    pub(crate) account: String,
    /// Folder of the mesh; without it, the one that runs or ran last
    #[arg(long, value_name = "DIR", env = "MESH_CONFIG_DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// How long it is valid, such as 10m or 24h
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) duration: Duration,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ValidateArgs {
    /// Files or folders of YAML
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Print a line of JSON for each document of Istio
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<ValidateOutput>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AnalyzeArgs {
    /// Files or folders of YAML
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "log")]
    pub(crate) output: AnalyzeOutput,
    /// Mesh configuration; without it, mesh.yaml of the first folder that has one
    #[arg(long, alias = "meshConfigFile", value_name = "FILE")]
    pub(crate) mesh_config_file: Option<PathBuf>,
    /// Exit with 79 at findings of this level or worse
    #[arg(
        long,
        value_name = "LEVEL",
        ignore_case = true,
        default_value = "error"
    )]
    pub(crate) failure_threshold: AnalyzeLevel,
    /// Print findings of this level or worse
    #[arg(long, value_name = "LEVEL", ignore_case = true, default_value = "info")]
    pub(crate) output_threshold: AnalyzeLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnalyzeOutput {
    Log,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnalyzeLevel {
    Info,
    Warning,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValidateOutput {
    Json,
}

/// Which mesh, and which part of it.
#[derive(Debug, ClapArgs)]
pub(crate) struct Place {
    /// Folder of the mesh; without it, the one that runs or ran last
    #[arg(long, value_name = "DIR", env = "MESH_CONFIG_DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ApplyArgs {
    /// File with YAML documents; - is the standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GetArgs {
    /// Kind, such as virtualservice, vs, destinationrules, pods
    pub(crate) kind: String,
    /// Name; without it, all
    pub(crate) name: Option<String>,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Print the YAML
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<GetOutput>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GetOutput {
    Yaml,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DeleteArgs {
    /// Kind, such as virtualservice or vs
    pub(crate) kind: String,
    /// Name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RouteCheckArgs {
    /// RouteConfiguration, YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config_path: PathBuf,
    /// Cases (validation.Validation), YAML, JSON or protobuf text (.pb_text)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) test_path: PathBuf,
    /// Say of each case that fails what differs
    #[arg(short, long)]
    pub(crate) details: bool,
    /// Say nothing of the cases that hold
    #[arg(long)]
    pub(crate) only_show_failures: bool,
    /// Fail if less than this percentage of the routes is covered
    #[arg(short, long, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) fail_under: f64,
    /// Count of each route how much of its outcome is asserted, and show the routes without cases
    #[arg(long)]
    pub(crate) covall: bool,
    /// Do not warn of deprecated fields
    #[arg(long)]
    pub(crate) disable_deprecation_check: bool,
    /// Show the names of the routes without cases
    #[arg(long)]
    pub(crate) detailed_coverage: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExplainArgs {
    /// Folder of YAML
    pub(crate) dir: PathBuf,
    /// Method
    pub(crate) method: http::Method,
    /// URL as the caller writes it
    pub(crate) url: http::Uri,
    /// Request header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Who calls: a pod or Deployment. Without it, a pod without labels in the namespace default
    #[arg(long, value_name = "WORKLOAD[.NAMESPACE]")]
    pub(crate) from: Option<String>,
    /// Print JSON
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<ExplainOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainOutput {
    Json,
}

/// `name: value`, as curl takes it.
fn header(text: &str) -> Result<(http::HeaderName, http::HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| "write a header as name: value".to_owned())?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| format!("{:?} is no header name", name.trim()))?;
    let value = value
        .trim()
        .parse()
        .map_err(|_| "the value has characters that no header may have".to_owned())?;
    Ok((name, value))
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunPodArgs {
    /// The process to end with
    #[arg(long)]
    pub(crate) parent: i32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// `20s`, `1m`, `500ms`, `1h`; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}; write ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "no number; write a duration such as 20s".to_owned())?;
    let duration =
        Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("must be longer than nothing".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "5d", "0s", "-1s", "1e99s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn kubectl_users_feel_at_home() {
        for line in [
            "meshctl apply -f a.yaml -f -",
            "meshctl get vs reviews -o yaml -n shop",
            "meshctl get pods -A",
            "meshctl delete vs reviews --dir x",
            "meshctl demo --for 20s -o json --state f --rps 10",
            "meshctl serve dir --grpc-addr 127.0.0.1:15010",
            "meshctl token shop/web --dir x --duration 24h",
            "meshctl explain dir --from productpage-v1.default GET http://reviews:9080/ -H end-user:jason -o json",
            "meshctl run-pod --parent=1 -- a -b",
            "meshctl pc routes productpage-v1.default --name 9080 -o yaml",
            "meshctl pc c deploy/productpage-v1 --fqdn reviews --port 9080 --direction outbound --subset v1",
            "meshctl proxy-config listeners 127.0.0.1:15000 --port 9080 --verbose=false",
            "meshctl pc ep -f clusters.json --status healthy --cluster x -o json",
            "meshctl pc all --node productpage-v1 --dir d --with-headers",
            "meshctl pc log productpage-v1 --level http:debug",
            "meshctl ps -n shop --xds-address 127.0.0.1:15010",
            "meshctl describe pod productpage-v1 --dir d",
            "meshctl describe svc reviews -n shop",
            "meshctl route-check -c routes.yaml -t cases.json --details --only-show-failures -f 90",
            "meshctl route-check --config-path a --test-path b -d --covall --detailed-coverage",
        ] {
            let parsed = Args::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }
}
