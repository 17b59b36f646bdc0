//! mesh-proxy against Envoy on the same bootstrap: requests per second and latency, in paired rounds.
//!
//! `MESH_ENVOY=… MESH_BIN_DIR=target/release cargo bench --bench proxy_vs_envoy`. Each proxy has core 1 to itself while
//! it is measured; origin and clients share core 0 (`taskset`). 16 connections, HTTP/1.1, the next request when the
//! answer is there. `-- 10000` at the end: with so many routes, of which the last one matches. Wall clock, so never a gate: read the ratios, which the two sides' turns within a round make fair.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_testkit::{
    address::OwnAddress,
    process::{Program, Proxy},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 10;
const ROUND: Duration = Duration::from_secs(2);
const PORT: u16 = 10_000;
const ADMIN: u16 = 9901;
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world";
const BODY: &[u8] = b"\r\n\r\nhello world";

/// What one side did in one round.
struct Round {
    per_second: f64,
    latencies: Vec<Duration>,
}

impl Round {
    fn quantile(&self, quantile: f64) -> Duration {
        let at = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let routes = std::env::args().find_map(|argument| argument.parse().ok());
    let routes: usize = routes.unwrap_or(1).max(1);
    let request = format!(
        "GET /shelves/shelf_{0}/route_{0} HTTP/1.1\r\nhost: hello\r\nuser-agent: bench\r\naccept: */*\r\n\r\n",
        routes - 1
    );
    let request: Arc<str> = request.into();
    pin(std::process::id(), 0)?;
    let origin = TcpListener::bind("127.0.0.1:0").await?;
    let upstream = origin.local_addr()?;
    tokio::spawn(serve(origin));
    let mut sides = Vec::new();
    for program in [Program::MeshProxy, Program::Envoy] {
        let address = OwnAddress::claim();
        let text = bootstrap(address.ip(), upstream, routes).to_string();
        let proxy = Proxy::start(program, &text, address.with_port(ADMIN)).await;
        pin(proxy.pid(), 1)?;
        sides.push((proxy, address));
    }
    for (_, address) in &sides {
        measure(address.with_port(PORT), &request).await?;
    }
    println!("round   mesh-proxy/s      envoy/s  ratio   p50 us         p99 us");
    let (mut ratios, mut tails) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let first = round % 2;
        let mut done = [None, None];
        for side in [first, 1 - first] {
            done[side] = Some(measure(sides[side].1.with_port(PORT), &request).await?);
        }
        let [Some(mesh), Some(envoy)] = done else {
            unreachable!("both sides had their turn");
        };
        let micros = |round: &Round, quantile| round.quantile(quantile).as_micros();
        println!(
            "{round:>5} {:>14.0} {:>12.0} {:>6.2} {:>6} {:>6} {:>7} {:>6}",
            mesh.per_second,
            envoy.per_second,
            mesh.per_second / envoy.per_second,
            micros(&mesh, 0.5),
            micros(&envoy, 0.5),
            micros(&mesh, 0.99),
            micros(&envoy, 0.99),
        );
        ratios.push(mesh.per_second / envoy.per_second);
        tails.push(mesh.quantile(0.99).as_secs_f64() / envoy.quantile(0.99).as_secs_f64());
    }
    println!(
        "median ratio of requests per second {:.2} (bar 2; with 10,000 routes 20), of p99 {:.2} (bar 1)",
        median(ratios),
        median(tails)
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Binds all threads of a process to a core.
fn pin(pid: u32, core: usize) -> io::Result<()> {
    let output = Command::new("taskset")
        .args(["-a", "-p", "-c", &core.to_string(), &pid.to_string()])
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

/// The origin: the same answer to every request.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let mut buffer = Vec::with_capacity(4096);
            while stream.read_buf(&mut buffer).await? > 0 {
                if buffer.ends_with(b"\r\n\r\n") {
                    buffer.clear();
                    stream.write_all(RESPONSE).await?;
                }
            }
            io::Result::Ok(())
        });
    }
}

/// One round over all connections.
async fn measure(address: SocketAddr, request: &Arc<str>) -> io::Result<Round> {
    let start = Instant::now();
    let end = start + ROUND;
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(call_until(address, Arc::clone(request), end));
    }
    let mut latencies = Vec::new();
    while let Some(done) = clients.join_next().await {
        latencies.extend(done.map_err(io::Error::other)??);
    }
    let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Ok(Round {
        per_second,
        latencies,
    })
}

async fn call_until(
    address: SocketAddr,
    request: Arc<str>,
    end: Instant,
) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::with_capacity(100_000);
    let mut buffer = Vec::with_capacity(4096);
    let mut start = Instant::now();
    while start < end {
        stream.write_all(request.as_bytes()).await?;
        while !buffer.ends_with(BODY) {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !buffer.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other(
                String::from_utf8_lossy(&buffer).into_owned(),
            ));
        }
        buffer.clear();
        let now = Instant::now();
        latencies.push(now - start);
        start = now;
    }
    Ok(latencies)
}

fn bootstrap(ip: Ipv4Addr, upstream: SocketAddr, routes: usize) -> Value {
    let route = |n: usize| json!({"match": {"prefix": format!("/shelves/shelf_{n}/route_{n}")}, "route": {"cluster": "origin"}});
    let address =
        |ip: String, port: u16| json!({"socket_address": {"address": ip, "port_value": port}});
    let any = |of: &str| format!("type.googleapis.com/envoy.extensions.filters.{of}");
    let manager = json!({
        "@type": any("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "generate_request_id": false,
        "route_config": {"virtual_hosts": [{
            "name": "hello",
            "domains": ["*"],
            "routes": (0..routes).map(route).collect::<Vec<_>>(),
        }]},
        "http_filters": [{"name": "router", "typed_config": {"@type": any("http.router.v3.Router")}}],
    });
    let endpoint =
        json!({"endpoint": {"address": address(upstream.ip().to_string(), upstream.port())}});
    json!({
        "admin": {"address": address(ip.to_string(), ADMIN)},
        "static_resources": {
            "listeners": [{
                "name": "bench",
                "address": address(ip.to_string(), PORT),
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [{
                "name": "origin",
                "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [endpoint]}]},
            }],
        },
    })
}
