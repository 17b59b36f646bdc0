use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use mesh_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::{Request, Response, Status};

use super::stream::Source;
use crate::ca::{RefusedCertificate, RefusedCsr};

/// Istio's certificate service. Callers are told what istiod tells them; the log has the reason.
#[derive(Debug)]
pub(super) struct CertificateService {
    pub(super) source: Arc<Source>,
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let unauthenticated = || Status::unauthenticated("request authenticate failure");
        let Some(authority) = self.source.authority.get() else {
            return Err(Status::unimplemented("this control plane has no authority"));
        };
        let from = request.remote_addr();
        // a token that others can read on its way is theirs, too
        if !from.is_none_or(|from| from.ip().is_loopback()) {
            tracing::warn!(?from, "a token came in plaintext from another machine");
            return Err(unauthenticated());
        }
        let metadata = request.metadata();
        // as istiod's authenticators do, the first value that is a bearer's token
        let bearer = metadata.get_all("authorization").iter().find_map(|value| {
            let value = value.to_str().ok()?;
            value.strip_prefix("Bearer ").map(str::to_owned)
        });
        let Some(token) = bearer else {
            tracing::warn!(?from, "a request for a certificate has no token");
            return Err(unauthenticated());
        };
        let request = request.into_inner();
        let wants = |name: &str| {
            let fields = request.metadata.as_ref().map(|metadata| &metadata.fields);
            fields.is_some_and(|fields| fields.contains_key(name))
        };
        if wants("ImpersonatedIdentity") {
            tracing::warn!(?from, "impersonation is not allowed");
            return Err(Status::unauthenticated(
                "request impersonation authentication failure",
            ));
        }
        let seconds = u64::try_from(request.validity_duration).unwrap_or_default();
        let domain = self.source.config.borrow().mesh.trust_domain.clone();
        let chain = authority.certify(
            &token,
            &request.csr,
            Duration::from_secs(seconds),
            &domain,
            SystemTime::now(),
        );
        let chain = chain.map_err(|refused| {
            tracing::warn!(?from, "no certificate: {refused}");
            match &refused {
                RefusedCertificate::Token(_) => unauthenticated(),
                RefusedCertificate::Csr(RefusedCsr::Expired | RefusedCsr::Internal) => {
                    Status::internal(refused.to_string())
                }
                RefusedCertificate::Csr(_) => Status::invalid_argument(refused.to_string()),
            }
        })?;
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: chain,
        }))
    }
}
