//! What random routes do: redirects, clusters, rewrites, header operations.

use serde_json::{Value, json};

use crate::config::{Generator, HEADERS, type_url};

/// Values of headers. What differs between two listeners or by chance is left out.
const VALUES: &[&str] = &[
    "set",
    "",
    "%REQ(X-A)%",
    "a-%PROTOCOL%-b",
    "100%%",
    "%REQ(X-NONE?:METHOD)%",
    "%REQ(X-A?X-B):2%|",
    "%REQ(:PATH)%",
    "%REQ(:AUTHORITY):3%",
    "%RESP(X-UP)%",
    "%RESP(X-A?:STATUS)%",
    "%TRAILER(X-A)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_LOCAL_PORT%",
    "%UPSTREAM_HOST%",
    "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%UPSTREAM_REMOTE_PORT%",
    "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "%UPSTREAM_PROTOCOL%",
    "%UPSTREAM_CLUSTER%",
    "%ROUTE_NAME%",
    "%RESPONSE_CODE%",
    "%RESPONSE_FLAGS%",
    "%RESPONSE_CODE_DETAILS%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "%HOSTNAME%",
    "%ENVIRONMENT(HOME)%",
    "%ENVIRONMENT(NO_SUCH_VARIABLE)%",
    "%DYNAMIC_METADATA(a:b)%",
    "%FILTER_STATE(a:PLAIN)%",
    "%START_TIME(%Y)%",
    "%QUERY_PARAM(q)%",
    "%PATH(NQ:ORIG_OR_PATH)%",
    "%PATH(WQ:PATH)%",
    "%REQUESTED_SERVER_NAME%",
    "%DOWNSTREAM_TLS_VERSION%",
    "%DOWNSTREAM_PEER_URI_SAN%",
    "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "%REQ(X-B):0%",
    "%REQ(X-A?:PATH)%%REQ(X-C)%",
    "%QUERY_PARAMS%",
    "%QUERY_PARAMS(DECODED)%",
    "%RESPONSE_FLAGS_LONG%",
    "%REQ(COOKIE)%",
    "a b\tc",
    "\u{e9}",
    "%UPSTREAM_HOST_NAME%",
];

/// Of these Envoy keeps one line, in requests, responses or both.
const ONE_LINE: &[&str] = &[
    "user-agent",
    "content-type",
    "via",
    "server",
    "vary",
    "x-request-id",
];

impl Generator<'_> {
    pub(crate) fn redirect(&mut self, template: bool) -> Value {
        let mut redirect = json!({});
        match self.random.below(5) {
            4 => {
                redirect["path_rewrite"] = json!(self.random.one(&[
                    "/n/%REQ(X-WEIGHT)%",
                    "%REQ(X-NONE)%",
                    "/n?z=%REQ(X-WEIGHT)%",
                    "n%PATH(NQ:PATH)%",
                ]));
            }
            0 => {
                redirect["path_redirect"] = json!(self.random.one(&[
                    "/to",
                    "/to?x=1",
                    "/to#f",
                    "/to?x=1#f",
                    "to",
                    "/to?",
                    "//to",
                ]))
            }
            1 if !template => {
                redirect["prefix_rewrite"] = json!(self.random.one(&["/new", "/", "/new/"]))
            }
            2 => {
                redirect["regex_rewrite"] =
                    json!({"pattern": {"regex": "/([a-z]+)"}, "substitution": "/r-\\1"});
            }
            _ => {}
        }
        match self.random.below(4) {
            0 => redirect["https_redirect"] = json!(true),
            1 => redirect["scheme_redirect"] = json!(self.random.one(&["http", "HTTPS"])),
            _ => {}
        }
        if self.random.chance(40) {
            redirect["host_redirect"] =
                json!(
                    self.random
                        .one(&["to.test", "to.test:80", "[::1]", "TO.test"])
                );
        }
        if self.random.chance(30) {
            redirect["port_redirect"] = json!(8443);
        }
        if self.random.chance(40) {
            redirect["response_code"] = json!(self.random.one(&[
                "FOUND",
                "SEE_OTHER",
                "TEMPORARY_REDIRECT",
                "PERMANENT_REDIRECT"
            ]));
        }
        if self.random.chance(30) {
            redirect["strip_query"] = json!(true);
        }
        redirect
    }

    pub(crate) fn forward(&mut self, template: bool) -> Value {
        let cluster = |n: usize| format!("c{n}");
        let mut forward = match self.random.below(13) {
            11 => json!({"cluster": "refused"}),
            12 => json!({"weighted_clusters": {
                "header_name": "x-weight",
                "total_weight": self.random.one(&[1, 50, 1000]),
                "clusters": [
                    {"name": cluster(0), "weight": self.random.below(3)},
                    {"name": cluster(1), "weight": 1 + self.random.below(3),
                     "host_rewrite_literal": "weighted.test",
                     "request_headers_to_remove": ["x-a"],
                     "response_headers_to_add": [self.header_addition()]},
                    {"name": cluster(1), "weight": self.random.below(100),
                     "response_headers_to_remove": ["x-up"],
                     "request_headers_to_add": [self.header_addition()]},
                    {"name": "missing", "weight": self.random.below(5)},
                ],
            }}),
            0 => json!({"cluster": "missing"}),
            1 => json!({"cluster_header": self.random.one(&["x-cluster", ":authority"])}),
            3 => json!({
                "weighted_clusters": {
                    "use_hash_policy": true,
                    "clusters": [
                        {"name": cluster(0), "weight": 1 + self.random.below(50)},
                        {"cluster_header": "x-cluster", "weight": 1 + self.random.below(50),
                         "response_headers_to_add": [{"header": {"key": "x-from-weight", "value": "2"}}]},
                    ],
                },
                "hash_policy": [{"header": {"header_name": "x-weight"}}],
            }),
            2 => json!({"weighted_clusters": {
                "header_name": "x-weight",
                "clusters": [
                    {"name": cluster(0), "weight": 1 + self.random.below(50)},
                    {"name": cluster(1), "weight": 1 + self.random.below(50),
                     "request_headers_to_add": [{"header": {"key": "x-from-weight", "value": "1"}}]},
                ],
            }}),
            _ => json!({"cluster": cluster(self.random.below(3))}),
        };
        match self.random.below(8) {
            0 if !template => {
                forward["prefix_rewrite"] = json!(self.random.one(&["/", "/new", "/new/"]));
            }
            0 | 1 if template => {
                forward["path_rewrite_policy"] = json!({
                    "name": "envoy.path.rewrite.uri_template.uri_template_rewriter",
                    "typed_config": {
                        "@type": type_url("path.rewrite.uri_template.v3.UriTemplateRewriteConfig"),
                        "path_template_rewrite": self.random.one(&["/t/{x}", "/{x}/t", "/t-{x}"]),
                    },
                });
            }
            1 => {
                forward["regex_rewrite"] =
                    json!({"pattern": {"regex": "/([a-z]+)"}, "substitution": "/x\\1"});
            }
            2 => {
                forward["path_rewrite"] = json!(
                    self.random
                        .one(&["/f/%REQ(X-WEIGHT)%", "%PATH(NQ:PATH)%/f"])
                );
            }
            _ => {}
        }
        match self.random.below(9) {
            0 => forward["host_rewrite_literal"] = json!("host.test"),
            1 => forward["host_rewrite_header"] = json!("x-host"),
            2 => {
                forward["host_rewrite_path_regex"] =
                    json!({"pattern": {"regex": "^/([a-z]+).*$"}, "substitution": "\\1.test"});
            }
            3 => {
                forward["host_rewrite"] = json!(self.random.one(&[
                    "%REQ(X-WEIGHT)%.test",
                    "%REQ(X-HOST)%",
                    "%REQ(X-NONE)%"
                ]));
            }
            _ => {}
        }
        if self.random.chance(15) {
            forward["append_x_forwarded_host"] = json!(true);
        }
        if self.random.chance(10) {
            forward["cluster_not_found_response_code"] =
                json!(self.random.one(&["NOT_FOUND", "INTERNAL_SERVER_ERROR"]));
        }
        if self.random.chance(10) {
            forward["priority"] = json!("HIGH");
        }
        if self.random.chance(10) {
            forward["max_stream_duration"] = json!({"max_stream_duration": "20s"});
        }
        if self.random.chance(40) {
            forward["timeout"] = json!(self.random.one(&["0s", "10s"]));
        }
        if self.random.chance(40) {
            forward["retry_policy"] = self.retry_policy();
        }
        if self.random.chance(25) {
            forward["request_mirror_policies"] = self.mirrors();
        }
        if self.random.chance(40) {
            forward["internal_redirect_policy"] = self.internal_redirects();
        }
        forward
    }

    pub(crate) fn retry_policy(&mut self) -> Value {
        const TOKENS: &[&str] = &[
            "5xx",
            "gateway-error",
            "reset",
            "connect-failure",
            "retriable-4xx",
            "refused-stream",
            "retriable-status-codes",
            "unavailable",
            "reset-before-request",
        ];
        let tokens: Vec<&str> = (0..1 + self.random.below(3))
            .map(|_| *self.random.one(TOKENS))
            .collect();
        let mut policy = json!({
            "retry_on": tokens.join(","),
            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        });
        if self.random.chance(80) {
            policy["num_retries"] = json!(self.random.below(4));
        }
        if self.random.chance(50) {
            policy["retriable_status_codes"] = json!([418, 503]);
        }
        policy
    }

    pub(crate) fn header_operations(&mut self, of: &mut Value) {
        for side in ["request", "response"] {
            if self.random.chance(25) {
                let names = [*self.random.one(HEADERS), "x-up"];
                of[format!("{side}_headers_to_remove")] = json!([self.random.one(&names)]);
            }
            if self.random.chance(40) {
                let added: Vec<Value> = (0..1 + self.random.below(2))
                    .map(|_| self.header_addition())
                    .collect();
                of[format!("{side}_headers_to_add")] = json!(added);
            }
        }
    }

    fn header_addition(&mut self) -> Value {
        let value = *self.random.one(VALUES);
        let names = if self.random.chance(20) {
            ONE_LINE
        } else {
            HEADERS
        };
        let mut addition = json!({"header": {"key": self.random.one(names), "value": value}});
        if self.random.chance(70) {
            addition["append_action"] = json!(self.random.one(&[
                "APPEND_IF_EXISTS_OR_ADD",
                "ADD_IF_ABSENT",
                "OVERWRITE_IF_EXISTS_OR_ADD",
                "OVERWRITE_IF_EXISTS",
            ]));
        }
        if self.random.chance(20) {
            addition["keep_empty_value"] = json!(true);
        }
        addition
    }
}
