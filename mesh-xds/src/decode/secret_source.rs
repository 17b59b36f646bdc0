//! `SdsSecretConfig`: which secret, and who has it.

use std::{sync::Arc, time::Duration};

use mesh_core::model::{SecretName, SecretSource};
use mesh_proto::envoy::{
    config::core::v3::{
        ApiConfigSource, ConfigSource, PathConfigSource, api_config_source::ApiType,
        config_source::ConfigSourceSpecifier, grpc_service::TargetSpecifier,
    },
    extensions::transport_sockets::tls::v3::SdsSecretConfig,
};

use super::scalar::duration;
use crate::problems::Problems;

/// `ConfigSource.initial_fetch_timeout` where it is not set.
const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// `SdsSecretConfig`.
pub(super) fn secret_name(p: &mut Problems, value: &SdsSecretConfig) -> Option<SecretName> {
    let name = p.require_text("name", &value.name);
    let source = match &value.sds_config {
        None => Some(SecretSource::Static),
        Some(source) => p.field("sds_config", |p| secret_source(p, source)),
    };
    Some(SecretName {
        source: source?,
        name: name?.into(),
    })
}

fn secret_source(p: &mut Problems, value: &ConfigSource) -> Option<SecretSource> {
    let timeout = duration(
        p,
        "initial_fetch_timeout",
        value.initial_fetch_timeout.as_ref(),
    );
    match value.config_source_specifier.as_ref() {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => {
            Some(SecretSource::Ads)
        }
        Some(ConfigSourceSpecifier::PathConfigSource(path)) => {
            p.field("path_config_source", |p| file(p, path))
        }
        Some(ConfigSourceSpecifier::Path(path)) => p
            .require_text("path", path)
            .map(|path| SecretSource::Path(path.into())),
        Some(ConfigSourceSpecifier::ApiConfigSource(api)) => {
            let cluster = p.field("api_config_source", |p| server(p, api))?;
            Some(SecretSource::Grpc {
                cluster,
                initial_fetch_timeout: timeout.unwrap_or(INITIAL_FETCH_TIMEOUT),
            })
        }
        None => {
            p.error("must name a source");
            None
        }
    }
}

/// The file is watched through whatever links lead to it, so that a watched directory adds nothing.
fn file(p: &mut Problems, value: &PathConfigSource) -> Option<SecretSource> {
    if let Some(directory) = &value.watched_directory {
        p.field("watched_directory", |p| {
            p.require_text("path", &directory.path)
        });
    }
    let path = p.require_text("path", &value.path)?;
    Some(SecretSource::Path(path.into()))
}

/// The cluster of the server.
fn server(p: &mut Problems, api: &ApiConfigSource) -> Option<Arc<str>> {
    match ApiType::try_from(api.api_type) {
        Ok(ApiType::Grpc) => {}
        Ok(ApiType::DeltaGrpc) => p.field("api_type", |p| {
            p.warn("DELTA_GRPC is not supported yet; GRPC (state of the world) is used");
        }),
        Ok(other) => {
            let name = other.as_str_name();
            p.error_at("api_type", format!("{name} is not supported; use GRPC"));
        }
        Err(_) => p.error_at("api_type", format!("{} is not an ApiType", api.api_type)),
    }
    let [service] = api.grpc_services.as_slice() else {
        p.error_at("grpc_services", "must hold one service");
        return None;
    };
    p.field("grpc_services", |p| {
        p.index(0, |p| {
            if !service.initial_metadata.is_empty() {
                p.field("initial_metadata", |p| p.warn("not supported yet; ignored"));
            }
            match &service.target_specifier {
                Some(TargetSpecifier::EnvoyGrpc(envoy)) => p.field("envoy_grpc", |p| {
                    let cluster = p.require_text("cluster_name", &envoy.cluster_name)?;
                    Some(cluster.into())
                }),
                _ => {
                    p.error("must hold envoy_grpc");
                    None
                }
            }
        })
    })
}
