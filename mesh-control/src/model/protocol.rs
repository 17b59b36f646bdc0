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
    Udp,
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
            "tcp" | "mongo" | "redis" | "mysql" => Protocol::Tcp,
            "udp" => Protocol::Udp,
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
        if name == "grpc-web" || name.starts_with("grpc-web-") {
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
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb
        )
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Tls | Protocol::Tcp)
    }
}
