//! The admin port, as Envoy's: what a person or istioctl asks a proxy.

mod clusters;
mod listeners;
mod logging;
mod page;
mod query;
mod server_info;
mod statistics;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_tower::WeakDataPlane;
use tokio::{net::TcpListener, sync::watch};

pub(crate) use logging::{Logging, SetLevels};
use page::Page;
use query::Query;

/// `envoy.admin.v3.ConfigDump`, with endpoints if asked.
pub(crate) type ConfigDump = Arc<dyn Fn(bool) -> serde_json::Value + Send + Sync>;

/// What the handlers read.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) plane: WeakDataPlane,
    /// Since when the process runs.
    pub(crate) started: Instant,
    pub(crate) ready: watch::Receiver<bool>,
    /// The configuration as received, as JSON; with endpoints if asked.
    pub(crate) config_dump: ConfigDump,
    /// What the parts of the mesh log.
    pub(crate) logging: Arc<Logging>,
    /// What `/quitquitquit` does.
    pub(crate) quit: Arc<dyn Fn() + Send + Sync>,
    /// Whether the program serves the snapshot of this version.
    pub(crate) serves: Arc<dyn Fn(u64) -> bool + Send + Sync>,
    /// It did once: a later snapshot that is not served yet does not make it unready.
    pub(crate) has_served: Arc<AtomicBool>,
}

/// Serves until dropped.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn serve(listener: TcpListener, admin: Admin) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = admin.respond(
                    request.method(),
                    request.uri().path(),
                    request.uri().query(),
                );
                std::future::ready(Ok::<_, Infallible>(response))
            });
            // A client that goes away is no error of ours.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Binds the admin address.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Admin {
    fn serves(&self, version: u64) -> bool {
        if !self.has_served.load(Ordering::Acquire) && (self.serves)(version) {
            self.has_served.store(true, Ordering::Release);
        }
        self.has_served.load(Ordering::Acquire)
    }

    fn respond(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
        let query = Query::new(query);
        let Some(plane) = self.plane.upgrade() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
        };
        let snapshot = plane.snapshot();
        for cluster in snapshot.clusters() {
            cluster.refresh_gauges();
        }
        let draining = plane.is_draining();
        let ready = *self.ready.borrow() && self.serves(snapshot.version());
        let server = snapshot.stats().server();
        server.uptime.set(self.started.elapsed().as_secs());
        server.live.set(u64::from(ready && !draining));
        server.state.set(match (draining, ready) {
            (true, _) => 1,
            (false, true) => 0,
            (false, false) => 2,
        });
        let page = match Page::of(path) {
            Some(page) => page,
            None => return text(StatusCode::NOT_FOUND, page::unknown()),
        };
        if page.changes_state() && method != Method::POST {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("Method {method} not allowed, POST required."),
            );
        }
        match page {
            Page::Home => typed("text/html; charset=UTF-8", page::home()),
            Page::Help => text(StatusCode::OK, page::help()),
            Page::Listeners if query.wants_json() => {
                let listeners = listeners::json(&(self.config_dump)(false));
                typed("application/json", format!("{listeners:#}"))
            }
            Page::Listeners => text(StatusCode::OK, listeners::text(&(self.config_dump)(false))),
            Page::Logging => match self.logging.ask(query.as_str()) {
                Ok(levels) => text(StatusCode::OK, levels),
                Err(wrong) => text(StatusCode::BAD_REQUEST, wrong),
            },
            Page::ServerInfo => {
                let state = match (draining, ready) {
                    (true, _) => "DRAINING",
                    (false, true) => "LIVE",
                    (false, false) => "PRE_INITIALIZING",
                };
                let info = server_info::json(
                    state,
                    self.started.elapsed(),
                    server.concurrency.value(),
                    &(self.config_dump)(false),
                );
                typed("application/json", format!("{info:#}"))
            }
            Page::Ready => {
                if draining {
                    text(StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n")
                } else if ready {
                    text(StatusCode::OK, "LIVE\n")
                } else {
                    text(StatusCode::SERVICE_UNAVAILABLE, "PRE_INITIALIZING\n")
                }
            }
            Page::Stats => answer(statistics::page(&snapshot, query)),
            Page::Prometheus => answer(statistics::prometheus_page(&snapshot, query)),
            Page::Clusters if query.wants_json() => {
                typed("application/json", clusters::json(&snapshot).to_string())
            }
            Page::Clusters => text(StatusCode::OK, clusters::text(&snapshot)),
            Page::ConfigDump => typed(
                "application/json",
                format!("{:#}", (self.config_dump)(query.has("include_eds"))),
            ),
            Page::Quit => {
                (self.quit)();
                text(StatusCode::OK, "OK\n")
            }
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
    );
    response
}

fn answer(page: Result<(&'static str, String), String>) -> Response<Full<Bytes>> {
    match page {
        Ok((content_type, body)) => typed(content_type, body),
        Err(wrong) => text(StatusCode::BAD_REQUEST, wrong),
    }
}

fn typed(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
