//! Random bodies of replies, mappers, mirrors, and redirects that are followed.

use serde_json::{Value, json};

use crate::config::{Generator, type_url};

/// What a body may say. What differs between two listeners or by the clock is left out.
const TEXTS: &[&str] = &[
    "%LOCAL_REPLY_BODY%",
    "<%LOCAL_REPLY_BODY%> %RESPONSE_CODE%\n",
    "%REQ(X-A)%|%REQ(X-NONE)%|%REQ(:PATH)%",
    "%RESP(X-A)% %RESP(:STATUS)% %RESP(CONTENT-TYPE)%",
    "%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %RESPONSE_CODE_DETAILS%",
    "%ROUTE_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "%PROTOCOL% %PATH(NQ)% %QUERY_PARAM(q)% %QUERY_PARAMS%",
    "%GRPC_STATUS% %GRPC_STATUS_NUMBER%",
    "100%% \"quoted\" \\ é",
];

impl Generator<'_> {
    pub(crate) fn body_format(&mut self) -> Value {
        let mut format = if self.random.chance(50) {
            json!({"text_format_source": {"inline_string": self.random.one(TEXTS)}})
        } else {
            let mut fields = json!({"constant": 2, "nothing": null, "list": [true, "%REQ(X-B)%"]});
            for n in 0..1 + self.random.below(4) {
                fields[format!("k{n}")] = json!(self.random.one(TEXTS));
            }
            if self.random.chance(50) {
                fields["code"] = json!("%RESPONSE_CODE%");
            }
            if self.random.chance(50) {
                fields["nested"] = json!({"none": "%REQ(X-NONE)%", "b": "%REQ(X-B)%"});
            }
            json!({"json_format": fields})
        };
        if self.random.chance(40) {
            format["omit_empty_values"] = json!(true);
        }
        if self.random.chance(25) {
            format["content_type"] = json!("text/html; charset=UTF-8");
        }
        format
    }

    pub(crate) fn local_reply(&mut self) -> Value {
        let mappers: Vec<Value> = (0..self.random.below(3)).map(|_| self.mapper()).collect();
        let mut config = json!({"mappers": mappers});
        if self.random.chance(60) {
            config["body_format"] = self.body_format();
        }
        config
    }

    fn mapper(&mut self) -> Value {
        let mut mapper = json!({"filter": self.log_filter(2)});
        if self.random.chance(50) {
            mapper["status_code"] = json!(self.random.one(&[200, 404, 418, 503]));
        }
        if self.random.chance(50) {
            mapper["body"] = json!({"inline_string": self.random.one(&["mapped", "a \"b\""])});
        }
        if self.random.chance(40) {
            mapper["body_format_override"] = self.body_format();
        }
        if self.random.chance(50) {
            let name = *self.random.one(&["x-a", "x-m", "content-type"]);
            let value = *self
                .random
                .one(&["m", "%RESPONSE_CODE%-%RESP(:STATUS)%", "%REQ(X-A)%"]);
            let action = *self
                .random
                .one(&["APPEND_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS_OR_ADD"]);
            mapper["headers_to_add"] =
                json!([{"header": {"key": name, "value": value}, "append_action": action}]);
        }
        mapper
    }

    fn log_filter(&mut self, depth: usize) -> Value {
        match self.random.below(if depth == 0 { 6 } else { 8 }) {
            0 | 1 => {
                let op = *self.random.one(&["EQ", "GE", "LE", "NE"]);
                let value = *self.random.one(&[200, 404, 503]);
                json!({"status_code_filter": {"comparison": {
                    "op": op, "value": {"default_value": value, "runtime_key": "no.such.key"},
                }}})
            }
            2 => {
                let flags: Vec<&str> = match self.random.below(3) {
                    0 => Vec::new(),
                    1 => vec!["NR", "UF"],
                    _ => vec!["NC", "UC", "URX"],
                };
                json!({"response_flag_filter": {"flags": flags}})
            }
            3 => {
                json!({"header_filter": {"header": {"name": "x-a", "present_match": self.random.chance(70)}}})
            }
            4 => json!({"not_health_check_filter": {}}),
            5 => json!({"grpc_status_filter": {
                "statuses": ["UNAVAILABLE", "UNIMPLEMENTED"], "exclude": self.random.chance(30),
            }}),
            6 => {
                json!({"and_filter": {"filters": [self.log_filter(depth - 1), self.log_filter(depth - 1)]}})
            }
            _ => {
                json!({"or_filter": {"filters": [self.log_filter(depth - 1), self.log_filter(depth - 1)]}})
            }
        }
    }

    pub(crate) fn mirrors(&mut self) -> Value {
        let mirrors: Vec<Value> = (0..1 + self.random.below(2))
            .map(|_| self.mirror())
            .collect();
        json!(mirrors)
    }

    fn mirror(&mut self) -> Value {
        let mut mirror = match self.random.below(6) {
            0 => json!({"cluster_header": "x-mirror"}),
            1 => json!({"cluster": "missing"}),
            2 => json!({"cluster": "refused"}),
            n => json!({"cluster": format!("m{}", n % 2)}),
        };
        if self.random.chance(40) {
            let numerator = *self.random.one(&[0, 100, 100]);
            mirror["runtime_fraction"] = json!({"default_value": {"numerator": numerator}});
        }
        if self.random.chance(30) {
            mirror["disable_shadow_host_suffix_append"] = json!(true);
        }
        if self.random.chance(25) {
            mirror["host_rewrite_literal"] = json!(self.random.one(&["copy.test", "copy.test:81"]));
        }
        if self.random.chance(40) {
            let value = *self
                .random
                .one(&["m", "%REQ(X-B)%", "%ROUTE_NAME%", "%REQ(:AUTHORITY)%"]);
            mirror["request_headers_mutations"] = json!([
                {"remove": self.random.one(&["x-a", "x-up"])},
                {"append": {"header": {"key": "x-b", "value": value}, "append_action": self.random.one(&[
                    "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD",
                ])}},
            ]);
        }
        mirror
    }

    pub(crate) fn internal_redirects(&mut self) -> Value {
        let mut policy = json!({});
        if self.random.chance(60) {
            policy["max_internal_redirects"] = json!(self.random.below(4));
        }
        if self.random.chance(60) {
            policy["redirect_response_codes"] =
                json!(
                    self.random
                        .one(&[[301, 302, 303], [302, 307, 308], [303, 307, 404]])
                );
        }
        if self.random.chance(40) {
            policy["allow_cross_scheme_redirect"] = json!(true);
        }
        if self.random.chance(40) {
            policy["response_headers_to_copy"] =
                json!(self.random.one(&[["x-a", "x-up"], ["x-b", "x-upstream"]]));
        }
        let mut predicates = Vec::new();
        if self.random.chance(30) {
            predicates.push(predicate(
                "previous_routes.v3.PreviousRoutesConfig",
                json!({}),
            ));
        }
        if self.random.chance(15) {
            predicates.push(predicate(
                "safe_cross_scheme.v3.SafeCrossSchemeConfig",
                json!({}),
            ));
        }
        if self.random.chance(20) {
            let names = json!({"allowed_route_names": ["r0", "r1", "r2"]});
            predicates.push(predicate(
                "allow_listed_routes.v3.AllowListedRoutesConfig",
                names,
            ));
        }
        policy["predicates"] = json!(predicates);
        policy
    }
}

fn predicate(name: &str, mut config: Value) -> Value {
    config["@type"] = type_url(&format!("internal_redirect.{name}"));
    json!({"name": name, "typed_config": config})
}
