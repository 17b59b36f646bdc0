//! `meshctl describe`: which rules apply to a pod or a service of a folder, and where they stand.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mesh_control::{ControlPlane, Options};

use crate::{Error, last};

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    #[command(subcommand)]
    what: What,
    /// Folder of the mesh; without it, the one that runs or ran last
    #[arg(long, value_name = "DIR", env = "MESH_CONFIG_DIR", global = true)]
    dir: Option<PathBuf>,
    /// Namespace of what names none
    #[arg(short, long, default_value = "default", global = true)]
    namespace: String,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A pod or Deployment: what selects it, and its services
    #[command(alias = "po")]
    Pod {
        /// NAME[.NAMESPACE]
        name: String,
    },
    /// A service: ports, endpoints, subsets, routes
    #[command(alias = "svc")]
    Service {
        /// NAME[.NAMESPACE], or a full host name
        name: String,
    },
}

pub(crate) fn run(args: &DescribeArgs) -> Result<ExitCode, Error> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => last::read()
            .ok_or("no mesh runs or ran on this machine; start one, or say --dir DIR")?,
    };
    let shown = dir.display().to_string();
    let control =
        ControlPlane::open(dir, Options::default()).map_err(|error| format!("{shown}: {error}"))?;
    let config = control.config();
    let own = args.namespace.as_str();
    let said = match &args.what {
        What::Pod { name } => {
            let workload = name
                .rsplit_once('.')
                .and_then(|(name, namespace)| config.workload(namespace, name))
                .or_else(|| config.workload(own, name));
            let Some(workload) = workload else {
                let known = config.workloads().join(", ");
                return Err(format!("{name}: no such pod or Deployment; there are {known}").into());
            };
            workload.describe(&config)
        }
        What::Service { name } => {
            let caller = config.anybody_of(own);
            let hosts = [
                name.clone(),
                format!("{name}.svc.cluster.local"),
                format!("{name}.{own}.svc.cluster.local"),
            ];
            let found = hosts
                .iter()
                .find_map(|host| caller.describe_service(&config, host));
            found.ok_or_else(|| format!("{name}: namespace {own} sees no such service"))?
        }
    };
    print!("{said}");
    Ok(ExitCode::SUCCESS)
}
