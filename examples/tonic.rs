// A tonic server and a generated tonic client, both through the mesh. `cargo run --example tonic`
//
// The service is ORCA's, which streams load reports: its code is generated as that of any other.

use mesh_proto::xds::{
    data::orca::v3::OrcaLoadReport,
    service::orca::v3::{
        OrcaLoadReportRequest,
        open_rca_service_client::OpenRcaServiceClient,
        open_rca_service_server::{OpenRcaService, OpenRcaServiceServer},
    },
};
use proxyless::{BoxError, Mesh};
use tonic::{Request, Response, Status, transport::Server};

struct Load;

#[tonic::async_trait]
impl OpenRcaService for Load {
    type StreamCoreMetricsStream = tokio_stream::Once<Result<OrcaLoadReport, Status>>;

    async fn stream_core_metrics(
        &self,
        _: Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        let report = OrcaLoadReport {
            cpu_utilization: 0.25,
            ..Default::default()
        };
        Ok(Response::new(tokio_stream::once(Ok(report))))
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let inbound = Mesh::builder().envoy_bootstrap("{}")?.build()?;
    let listener = inbound.listener("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let server = Server::builder()
        .layer(inbound.server_layer(port))
        .add_service(OpenRcaServiceServer::new(Load))
        .serve_with_incoming(listener.into_stream());
    tokio::spawn(server);

    // As in another process.
    let bootstrap = include_str!("services.yaml").replace("PORT", &port.to_string());
    let mesh = Mesh::builder().envoy_bootstrap(&bootstrap)?.build()?;
    let mut client = OpenRcaServiceClient::new(mesh.grpc_channel("load:80"));
    let reports = client.stream_core_metrics(OrcaLoadReportRequest::default());
    let mut reports = reports.await?.into_inner();
    while let Some(report) = reports.message().await? {
        println!("cpu {}", report.cpu_utilization);
    }
    Ok(())
}
