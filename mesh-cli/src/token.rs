//! `meshctl token`: what `kubectl create token --audience istio-ca` is for a folder.

use std::process::ExitCode;
use std::time::SystemTime;

use mesh_control::ca::{CaOptions, CertificateAuthority, ServiceAccount};

use crate::args::TokenArgs;
use crate::{Error, last};

pub(crate) fn run(args: &TokenArgs) -> Result<ExitCode, Error> {
    let account = ServiceAccount::parse(&args.account)?;
    let dir = args.dir.clone().or_else(last::read);
    let dir = dir.ok_or("no mesh runs or ran on this machine: name its folder with --dir")?;
    if !dir.is_dir() {
        return Err(format!("{}: no such folder", dir.display()).into());
    }
    let now = SystemTime::now();
    let dir = CertificateAuthority::dir_in(&dir);
    let authority = CertificateAuthority::open(dir, CaOptions::default(), now)?;
    println!("{}", authority.token(&account, args.duration, now)?);
    Ok(ExitCode::SUCCESS)
}
