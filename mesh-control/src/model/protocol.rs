/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http,
    Http2,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    /// Like TCP, but never beside another protocol on one address: the server may speak first.
    Mongo,
    /// As Mongo.
    MySql,
    Udp,
    /// A generic proxy for absolute URLs; only for egress listeners of a Sidecar.
    HttpProxy,
    /// Not said: found out by looking at the first bytes.
    Unknown,
}

impl Protocol {
    pub(crate) fn parse(text: &str) -> Protocol {
        match text.to_lowercase().as_str() {
            "http" => Protocol::Http,
            "http2" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            "grpc-web" => Protocol::GrpcWeb,
            "https" => Protocol::Https,
            "tls" => Protocol::Tls,
            "tcp" | "redis" => Protocol::Tcp,
            "mongo" => Protocol::Mongo,
            "mysql" => Protocol::MySql,
            "udp" => Protocol::Udp,
            "http_proxy" => Protocol::HttpProxy,
            _ => Protocol::Unknown,
        }
    }

    /// Of a Kubernetes port: `appProtocol`, else what its name starts with, else well-known TCP ports.
    pub(crate) fn of_port(port: u32, name: &str, transport: &str, app_protocol: &str) -> Protocol {
        if transport == "UDP" {
            return Protocol::Udp;
        }
        let name = match app_protocol.to_lowercase().as_str() {
            "" => name.to_lowercase(),
            "kubernetes.io/h2c" => return Protocol::Http2,
            "kubernetes.io/ws" => return Protocol::Http,
            "kubernetes.io/wss" => return Protocol::Https,
            other => other.to_owned(),
        };
        if name.starts_with("grpc-web") {
            return Protocol::GrpcWeb;
        }
        let found = Protocol::parse(name.split('-').next().unwrap_or_default());
        match (found, port) {
            // the server speaks first there, so looking at the client's first bytes would hang
            (Protocol::Unknown, 22 | 25 | 53 | 3306 | 27017) => Protocol::Tcp,
            _ => found,
        }
    }

    pub(crate) fn is_http(self) -> bool {
        matches!(
            self,
            Protocol::Http
                | Protocol::Http2
                | Protocol::HttpProxy
                | Protocol::Grpc
                | Protocol::GrpcWeb
        )
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    pub(crate) fn is_tcp(self) -> bool {
        matches!(
            self,
            Protocol::Https | Protocol::Tls | Protocol::Tcp | Protocol::Mongo | Protocol::MySql
        )
    }

    /// Whether it is something inside TLS.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Tls)
    }

    /// Whether the first bytes may tell that it is HTTP.
    pub(crate) fn is_http_or_unknown(self) -> bool {
        self.is_http() || self == Protocol::Unknown
    }
}
