//! Who may do what.

use super::*;

const PATHS: [&str; 8] = [
    "/a",
    "/a/b*",
    "*/c",
    "*",
    "/a/{*}",
    "/a/{**}",
    "/{*}/b/{**}",
    "/",
];
const PRINCIPALS: [&str; 6] = [
    "cluster.local/ns/default/sa/a",
    "*/ns/other/sa/b",
    "cluster.local/ns/other*",
    "*",
    "*/sa/a",
    "td.example/ns/default/sa/a",
];
const REQUEST_PRINCIPALS: [&str; 6] = [
    "issuer-0/sub",
    "https://issuer.example/sub",
    "*",
    "*/sub",
    "issuer-0/*",
    "issuer*",
];
const ADDRESSES: [&str; 4] = ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "127.9.8.2"];

impl Maker<'_> {
    /// Some of the values, as a list.
    fn some(&mut self, values: &[&str]) -> String {
        let count = 1 + self.random.below(2);
        let values: Vec<_> = (0..count)
            .map(|_| format!("\"{}\"", self.random.one(values)))
            .collect();
        format!("[{}]", values.join(", "))
    }

    /// Some of the lists, or of their negations.
    fn lists(&mut self, lists: &[(&str, &str, &[&str])]) -> String {
        let mut parts = Vec::new();
        while parts.is_empty() {
            for (name, not, values) in lists {
                if self.random.chance(25) {
                    parts.push(format!("{name}: {}", self.some(values)));
                }
                if self.random.chance(10) {
                    parts.push(format!("{not}: {}", self.some(values)));
                }
            }
        }
        format!("{{{}}}", parts.join(", "))
    }

    fn source(&mut self) -> String {
        if self.random.chance(15) {
            return self.lists(&[(
                "serviceAccounts",
                "notServiceAccounts",
                &["a", "other/b", "default/c"],
            )]);
        }
        self.lists(&[
            ("principals", "notPrincipals", &PRINCIPALS),
            (
                "requestPrincipals",
                "notRequestPrincipals",
                &REQUEST_PRINCIPALS,
            ),
            ("namespaces", "notNamespaces", &["default", "oth*", "*"]),
            ("ipBlocks", "notIpBlocks", &ADDRESSES),
            ("remoteIpBlocks", "notRemoteIpBlocks", &ADDRESSES),
            (
                "trustDomains",
                "notTrustDomains",
                &["cluster.local", "*", "td.*"],
            ),
        ])
    }

    fn operation(&mut self) -> String {
        self.lists(&[
            (
                "hosts",
                "notHosts",
                &["a.example.com", "*.example.com", "a.*", "*"],
            ),
            ("ports", "notPorts", &["80", "10080", "19000", "17000"]),
            ("methods", "notMethods", &["GET", "POST", "P*", "*"]),
            ("paths", "notPaths", &PATHS),
        ])
    }

    fn condition(&mut self) -> String {
        let (key, values): (&str, &[&str]) = *self.random.one(&[
            (
                "request.headers[x-user]",
                &["a", "b*", "*c", "*"] as &[&str],
            ),
            ("source.ip", &ADDRESSES),
            ("remote.ip", &ADDRESSES),
            ("source.namespace", &["default", "o*"]),
            ("source.serviceAccount", &["a", "other/b"]),
            ("source.principal", &PRINCIPALS),
            ("source.trustDomain", &["cluster.local", "a*"]),
            ("request.auth.principal", &REQUEST_PRINCIPALS),
            ("request.auth.audiences", &["aud", "a*"]),
            ("request.auth.presenter", &["p"]),
            ("request.auth.claims[groups]", &["g", "*h", "*"]),
            ("request.auth.claims[a][b]", &["c"]),
            ("destination.ip", &ADDRESSES),
            ("destination.port", &["10080", "80"]),
            ("connection.sni", &["*.example.com", "a"]),
            ("experimental.envoy.filters.http.x[k]", &["v", "[w]"]),
        ]);
        let values = self.some(values);
        let list = *self.random.one(&["values", "values", "notValues"]);
        format!("{{key: \"{key}\", {list}: {values}}}")
    }

    fn rule(&mut self) -> String {
        let mut parts = Vec::new();
        if self.random.chance(60) {
            let sources: Vec<_> = (0..1 + self.random.below(2))
                .map(|_| format!("{{source: {}}}", self.source()))
                .collect();
            parts.push(format!("from: [{}]", sources.join(", ")));
        }
        if self.random.chance(60) {
            let operations: Vec<_> = (0..1 + self.random.below(2))
                .map(|_| format!("{{operation: {}}}", self.operation()))
                .collect();
            parts.push(format!("to: [{}]", operations.join(", ")));
        }
        if self.random.chance(40) {
            let conditions: Vec<_> = (0..1 + self.random.below(2))
                .map(|_| self.condition())
                .collect();
            parts.push(format!("when: [{}]", conditions.join(", ")));
        }
        format!("{{{}}}", parts.join(", "))
    }

    fn selector(&mut self) {
        match self.random.below(5) {
            0 => self.line("  selector: {matchLabels: {app: app-1}}"),
            1 => self.line("  selector: {matchLabels: {istio: ingressgateway}}"),
            2 => self.line("  selector: {matchLabels: {app: app-0, version: v1}}"),
            _ => {}
        }
    }

    pub(super) fn peer_authentication(&mut self, i: usize) {
        let namespace = *self.random.one(&["default", "default", "other"]);
        let name = format!("peer-{i}");
        self.object(
            "security.istio.io/v1",
            "PeerAuthentication",
            &name,
            namespace,
            "",
        );
        const MODES: [&str; 4] = ["STRICT", "PERMISSIVE", "DISABLE", "UNSET"];
        let mode = self.random.one(&MODES);
        self.line(&format!("spec:\n  mtls: {{mode: {mode}}}"));
        if self.random.chance(60) {
            let app = self.random.below(2);
            self.line(&format!("  selector: {{matchLabels: {{app: app-{app}}}}}"));
            // of ports that no service exposes one at most: istiod has no order for them
            for port in [10_080, 19_000, 17_000] {
                if self.random.chance(20) {
                    let mode = self.random.one(&MODES);
                    self.line(&format!("  portLevelMtls: {{{port}: {{mode: {mode}}}}}"));
                    break;
                }
            }
        }
    }

    pub(super) fn request_authentication(&mut self, i: usize) {
        let namespace = self.namespace();
        let api = *self
            .random
            .one(&["security.istio.io/v1", "security.istio.io/v1beta1"]);
        self.object(
            api,
            "RequestAuthentication",
            &format!("jwt-{i}"),
            namespace,
            "",
        );
        self.line("spec:");
        self.selector();
        let count = self.random.below(4);
        if count == 0 {
            return self.line("  jwtRules: []");
        }
        self.line("  jwtRules:");
        for _ in 0..count {
            let issuer = self.random.below(3);
            self.line(&format!(
                "  - issuer: issuer-{issuer}\n    jwks: '{{\"keys\": [{{\"kty\": \"oct\", \"k\": \"AQI{issuer}\"}}]}}'"
            ));
            for field in [
                "audiences: [a, b.example]",
                "fromHeaders: [{name: x-jwt, prefix: \"Bearer \"}, {name: x-token}]",
                "fromParams: [token, t2]",
                "fromCookies: [session]",
                "outputPayloadToHeader: x-payload",
                "forwardOriginalToken: true",
                "outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: x-nested, claim: a.b}]",
                "spaceDelimitedClaims: [roles, scope]",
                "timeout: 2s",
            ] {
                if self.random.chance(25) {
                    self.line(&format!("    {field}"));
                }
            }
        }
    }

    pub(super) fn authorization_policy(&mut self, i: usize) {
        let namespace = self.namespace();
        let api = *self
            .random
            .one(&["security.istio.io/v1", "security.istio.io/v1beta1"]);
        let name = format!("authz-{i}");
        self.object(api, "AuthorizationPolicy", &name, namespace, "");
        if self.random.chance(15) {
            let metadata = format!("{{name: {name}, namespace: {namespace}}}");
            let tried = format!(
                "{{name: {name}, namespace: {namespace}, annotations: {{istio.io/dry-run: \"true\"}}}}"
            );
            let start = self.text.rfind(&metadata).unwrap();
            self.text.replace_range(start.., &format!("{tried}\n"));
        }
        let is_dry = self.text.ends_with("\"true\"}}\n");
        let action = *self.random.one(&["ALLOW", "ALLOW", "DENY", "AUDIT"]);
        let action = if is_dry && action == "AUDIT" {
            "DENY"
        } else {
            action
        };
        self.line(&format!("spec:\n  action: {action}"));
        self.selector();
        let count = match action {
            "DENY" => 1 + self.random.below(2),
            _ => self.random.below(3),
        };
        if count > 0 {
            let rules: Vec<_> = (0..count).map(|_| self.rule()).collect();
            self.line(&format!("  rules: [{}]", rules.join(", ")));
        }
    }
}
