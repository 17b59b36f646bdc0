//! Twenty-odd files that are wrong, each with the words that say so; and what stays in force meanwhile.

mod support;

use mesh_control::validate_documents;
use support::open;

const VS: &str =
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\n";
const DR: &str =
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: reviews}\n";
const GW: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: web}\n";

fn problems(text: &str) -> Vec<String> {
    let documents = validate_documents(text, "bad.yaml", "default");
    documents
        .iter()
        .flat_map(|d| &d.problems)
        .map(|problem| {
            // columns have their own test
            let mut problem = problem.clone();
            problem.column = 0;
            problem.to_string()
        })
        .collect()
}

/// Checks the only problem of a text; `refused` says whether the object stays out of force.
fn check(text: &str, refused: bool, expected: &str) {
    let found = problems(text);
    assert_eq!(found, [expected], "of:\n{text}");
    assert_eq!(
        validate_documents(text, "bad.yaml", "default")[0].is_accepted(),
        !refused,
        "of:\n{text}"
    );
}

fn vs(spec: &str) -> String {
    format!("{VS}spec:\n{spec}")
}

fn dr(spec: &str) -> String {
    format!("{DR}spec:\n{spec}")
}

#[test]
fn syntax() {
    let found = problems("a: 1\n---\napiVersion: v1\nkind: [Service\nmetadata: {}\n");
    assert!(
        found[1].starts_with("bad.yaml:5: is no YAML: "),
        "{found:?}"
    );
    check(
        "apiVersion: v1\nkind: Service\nkind: Pod\n",
        true,
        "bad.yaml:3: is no YAML: duplicate mapping key: kind; correct its syntax",
    );
}

#[test]
fn heads() {
    check(
        "apiVersion: v1\nmetadata: {name: x}\n",
        true,
        "bad.yaml:1: field kind is missing; add kind",
    );
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {namespace: x}\nspec: {}\n",
        true,
        "bad.yaml:3: metadata: field name is missing; add name",
    );
    check(
        "apiVersion: v1\nkind: Servise\nmetadata: {name: x}\n",
        true,
        "bad.yaml:2: kind: unknown kind Servise of v1; see the kinds of Istio and Kubernetes that this control plane \
         reads",
    );
    check(
        "apiVersion: v1\nkind: VirtualService\nmetadata: {name: x}\n",
        true,
        "bad.yaml:2: kind: unknown kind VirtualService of v1; VirtualService has apiVersion networking.istio.io/v1",
    );
    check(
        "apiVersion: config.istio.io/v1alpha2\nkind: rule\nmetadata: {name: x}\n",
        true,
        "bad.yaml:1: rule default/x: rule cannot be used; Mixer was removed in Istio 1.8; use Telemetry or EnvoyFilter",
    );
}

#[test]
fn what_istio_drops_in_silence_is_reported() {
    check(
        &dr(
            "  host: reviews\n  trafficPolicy:\n    connectionPool: {tcp: {maxConnections: 1}}\n    tcp: {maxConnections: 1}\n",
        ),
        false,
        "bad.yaml:8: DestinationRule default/reviews: spec.trafficPolicy.tcp: unknown field, it has no effect; write \
         trafficPolicy.connectionPool.tcp",
    );
    check(
        &vs(
            "  hosts: [reviews]\n  http:\n  - retry: {attempts: 3}\n    route: [{destination: {host: reviews}}]\n",
        ),
        false,
        "bad.yaml:7: VirtualService default/reviews: spec.http[0].retry: unknown field, it has no effect; write retries",
    );
    check(
        &vs(
            "  hosts: [reviews]\n  http:\n  - timout: 3s\n    route: [{destination: {host: reviews}}]\n",
        ),
        false,
        "bad.yaml:7: VirtualService default/reviews: spec.http[0].timout: unknown field, it has no effect; did you mean \
         timeout?",
    );
}

#[test]
fn virtual_services() {
    check(
        &vs("  gateways: [web]\n  http: [{route: [{destination: {host: reviews}}]}]\n"),
        true,
        "bad.yaml:5: VirtualService default/reviews: spec.gateways: delegate virtual service must have no gateways \
         specified; remove it, or add hosts",
    );
    check(
        &vs("  hosts: [\"*\"]\n  http: [{route: [{destination: {host: reviews}}]}]\n"),
        true,
        "bad.yaml:5: VirtualService default/reviews: spec.hosts[0]: wildcard host * is not allowed for virtual services \
         bound to the mesh gateway; name a gateway, or the hosts",
    );
    check(
        &vs(
            "  hosts: [reviews]\n  tls: [{route: [{destination: {host: reviews}}]}]\n  http:\n  - {route: [{destination: {host: reviews}}]}\n",
        ),
        true,
        "bad.yaml:6: VirtualService default/reviews: spec.tls[0]: TLS route must have at least one match condition; add \
         match: [{sniHosts: […]}]",
    );
    check(
        &vs(
            "  hosts: [reviews]\n  http:\n  - timeout: 5\n    route: [{destination: {host: reviews}}]\n",
        ),
        true,
        "bad.yaml:7: VirtualService default/reviews: spec.http[0].timeout: is the number 5; it must be a duration such \
         as 10s, 1.5s or 200ms",
    );
    check(
        &vs(
            "  hosts: [reviews]\n  http:\n  - redirect: {uri: /x}\n    route: [{destination: {host: reviews}}]\n",
        ),
        true,
        "bad.yaml:7: VirtualService default/reviews: spec.http[0]: HTTP route cannot contain both route and redirect; \
         keep one of them",
    );
    check(
        &vs(
            "  hosts: [reviews]\n  http:\n  - retries: {attempts: 3, retryOn: 'reset,oops'}\n    route: [{destination: {host: reviews}}]\n",
        ),
        true,
        "bad.yaml:7: VirtualService default/reviews: spec.http[0].retries.retryOn: \"oops\" is not a valid retryOn \
         policy; use HTTP status codes or some of 5xx, gateway-error, reset, reset-before-request, connect-failure, \
         retriable-4xx, refused-stream, retriable-status-codes, retriable-headers, envoy-ratelimited, \
         http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable",
    );
    check(
        &vs(
            "  hosts: [reviews]\n  http:\n  - route: [{destination: {host: reviews, port: {name: http}}}]\n",
        ),
        true,
        "bad.yaml:7: VirtualService default/reviews: spec.http[0].route[0].destination.port.name: port name selectors \
         were removed from Istio; use port.number",
    );
    check(
        &vs(
            "  hosts: [reviews]\n  http:\n  - match: [{uri: {exact: /a, prefix: /b}}]\n    route: [{destination: {host: reviews}}]\n",
        ),
        true,
        "bad.yaml:7: VirtualService default/reviews: spec.http[0].match[0].uri: has several of exact, prefix and regex; \
         keep one of them",
    );
}

#[test]
fn faults() {
    let fault = |fault: &str| {
        vs(&format!(
            "  hosts: [reviews]\n  http:\n  - fault:\n      {fault}\n    route: [{{destination: {{host: reviews}}}}]\n"
        ))
    };
    check(
        &fault("abort: {httpStatus: 99, percentage: {value: 10}}"),
        true,
        "bad.yaml:8: VirtualService default/reviews: spec.http[0].fault.abort.httpStatus: HTTP status 99 is not in range \
         200-599; write a status such as 503",
    );
    check(
        &fault("abort: {httpStatus: 503, percentage: 10}"),
        true,
        "bad.yaml:8: VirtualService default/reviews: spec.http[0].fault.abort.percentage: is not a mapping; write \
         {value: …}, in percent",
    );
    check(
        &fault("delay: {fixedDelay: 1s, percentage: {value: 101}}"),
        true,
        "bad.yaml:8: VirtualService default/reviews: spec.http[0].fault.delay.percentage.value: percentage 101 is \
         neither 0.0, nor in range [0.0001, 100.0]; write a number from 0 to 100",
    );
    check(
        &fault("delay: {fixedDelay: 1s}"),
        false,
        "bad.yaml:8: VirtualService default/reviews: spec.http[0].fault.delay: has no percentage, so it never happens; \
         write percentage: {value: 100}",
    );
}

#[test]
fn destination_rules() {
    check(
        &dr("  host: reviews\n  trafficPolicy: {loadBalancer: {simple: RANDOMLY}}\n"),
        true,
        "bad.yaml:6: DestinationRule default/reviews: spec.trafficPolicy.loadBalancer.simple: is the string \
         \"RANDOMLY\"; it must be one of UNSPECIFIED, LEAST_REQUEST, LEAST_CONN, RANDOM, ROUND_ROBIN, PASSTHROUGH",
    );
    check(
        &dr("  host: reviews\n  subsets: [{name: v1, labels: {version: 1}}]\n"),
        true,
        "bad.yaml:6: DestinationRule default/reviews: spec.subsets[0].labels.version: is the number 1; it must be a \
         string: put it in quotes",
    );
    check(
        &dr("  host: reviews\n  trafficPolicy: {connectionPool: {}}\n"),
        true,
        "bad.yaml:6: DestinationRule default/reviews: spec.trafficPolicy.connectionPool: connection pool must have at \
         least one field; add tcp or http, or remove it",
    );
    check(
        &dr("  host: reviews\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}\n"),
        true,
        "bad.yaml:6: DestinationRule default/reviews: spec.trafficPolicy.outlierDetection.maxEjectionPercent: is the \
         number 101; it must be a whole number from 0 to 100",
    );
}

#[test]
fn gateways_sidecars_and_services() {
    check(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: x}\nspec:\n  egress:\n  - port: {number: 3128, name: proxy, protocol: HTTP_PROXY}\n    hosts: ['*/*']\n",
        true,
        "bad.yaml:6: Sidecar default/x: spec.egress[0].port.protocol: HTTP_PROXY is not supported yet; use HTTP",
    );
    check(
        &format!(
            "{GW}spec:\n  servers:\n  - port: {{number: 443, name: https, protocol: HTTPS}}\n    hosts: ['*']\n"
        ),
        true,
        "bad.yaml:6: Gateway default/web: spec.servers[0]: server must have TLS settings for HTTPS/TLS protocols; add tls: \
         {mode: PASSTHROUGH}",
    );
    check(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\nspec:\n  mtls: {modus: STRICT}\n",
        false,
        "bad.yaml:5: PeerAuthentication default/x: spec.mtls.modus: unknown field, it has no effect; did you mean mode?",
    );
    check(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec:\n  action: CUSTOM\n  provider: {name: p}\n  rules: [{}]\n",
        true,
        "bad.yaml:5: AuthorizationPolicy default/x: spec.action: external authorization is not supported yet, so action \
         CUSTOM cannot be used; use ALLOW or DENY",
    );
    check(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: x}\nspec:\n  egress:\n  - captureMode: NONE\n    hosts: [reviews]\n",
        true,
        "bad.yaml:7: Sidecar default/x: spec.egress[0].hosts[0]: host \"reviews\" must be of form namespace/dnsName; write \
         */name or ./name",
    );
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports: [{port: 70000}]\n",
        true,
        "bad.yaml:5: Service default/x: spec.ports[0].port: is the number 70000; it must be a whole number from 0 to \
         65535",
    );
}

#[test]
fn old_names_are_read_with_a_warning() {
    let text = vs(
        "  hosts: [reviews]\n  http:\n  - appendHeaders: {x: z}\n    websocketUpgrade: true\n    route: [{destination: {host: reviews}}]\n",
    );
    assert_eq!(
        problems(&text),
        [
            "bad.yaml:7: VirtualService default/reviews: spec.http[0].appendHeaders: was removed from Istio, it is read \
             as its successor; write headers.request.add",
            "bad.yaml:8: VirtualService default/reviews: spec.http[0].websocketUpgrade: was removed from Istio, \
             websockets are always allowed; remove it",
        ]
    );
    assert!(validate_documents(&text, "bad.yaml", "default")[0].is_accepted());
}

#[test]
fn the_same_object_twice_is_an_error_for_the_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let service = |port| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: x}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        )
    };
    std::fs::write(folder.path().join("a.yaml"), service(1)).unwrap();
    std::fs::write(folder.path().join("b.yaml"), format!("# b\n{}", service(2))).unwrap();
    let control = open(folder.path());
    let problems: Vec<_> = control.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["b.yaml:2: Service default/x: is there twice, first at a.yaml:1; remove one of the two"]
    );
}

#[test]
fn the_last_good_version_stays_through_broken_syntax() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let good = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 1}]}\n";
    std::fs::write(&file, good).unwrap();
    let control = open(folder.path());
    let names = || -> Vec<String> {
        control
            .config()
            .objects()
            .map(|(id, _)| id.to_string())
            .collect()
    };
    assert_eq!(names(), ["Service default/x"]);
    std::fs::write(&file, "apiVersion: v1\nkind: [Service\n").unwrap();
    control.reload();
    assert_eq!(control.problems().len(), 1);
    assert_eq!(names(), ["Service default/x"]);
    std::fs::remove_file(&file).unwrap();
    control.reload();
    assert_eq!(control.problems(), []);
    assert_eq!(names(), Vec::<String>::new());
}

#[test]
fn the_mesh_configuration_is_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("mesh.yaml"),
        "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\nenableAutoMtls: true\nconectTimeout: 1s\n",
    )
    .unwrap();
    let control = open(folder.path());
    let problems: Vec<_> = control.problems().iter().map(ToString::to_string).collect();
    let [certificates, unknown] = &problems[..] else {
        panic!("{problems:?}")
    };
    assert!(
        certificates.starts_with(
            "mesh.yaml:2:1: MeshConfig: enableAutoMtls: needs certificates of workloads"
        ),
        "{certificates}"
    );
    assert_eq!(
        [unknown],
        [
            "mesh.yaml:3:1: MeshConfig: conectTimeout: unknown field, it has no effect; did you mean connectTimeout?",
        ]
    );
}

#[test]
fn the_items_of_a_list_are_objects() {
    let folder = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: [{port: 1}]}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n  spec: {ports: [{port: 70000}]}\n";
    std::fs::write(folder.path().join("list.yaml"), text).unwrap();
    let control = open(folder.path());
    let problems: Vec<_> = control.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "list.yaml:11:19: Service default/b: spec.ports[0].port: is the number 70000; it must be a whole number from 0 \
             to 65535"
        ]
    );
    let config = control.config();
    let objects: Vec<_> = config.objects().map(|(id, _)| id.to_string()).collect();
    assert_eq!(objects, ["Service default/a"]);
}

const EF: &str = "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: patch}\nspec:\n  configPatches:\n";
const API: &str = "apiVersion: gateway.networking.k8s.io/v1\n";

#[test]
fn patches_of_envoys_configuration() {
    check(
        &format!(
            "{EF}  - applyTo: HTTP_FILTER\n    patch:\n      operation: INSERT_FIRST\n      value:\n        name: script\n\
             \x20       typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\n"
        ),
        true,
        "bad.yaml:12: EnvoyFilter default/patch: spec.configPatches[0].patch.value.typed_config.@type: the type \
         \"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\" is not supported yet; this mesh knows the types \
         that docs/fields.md lists",
    );
    check(
        &format!(
            "{EF}  - applyTo: CLUSTER\n    patch: {{operation: MERGE, value: {{conect_timeout: 1s}}}}\n"
        ),
        false,
        &format!(
            "bad.yaml:7: EnvoyFilter default/patch: spec.configPatches[0].patch.value.conect_timeout: unknown field, it has \
             no effect; {}",
            "did you mean connectTimeout?"
        ),
    );
    check(
        &format!("{EF}  - applyTo: BOOTSTRAP\n    patch: {{operation: MERGE, value: {{}}}}\n"),
        false,
        "bad.yaml:6: EnvoyFilter default/patch: spec.configPatches[0].applyTo: istiod patches no bootstrap, Istio's agent \
         does; there is none here; change the proxy's bootstrap itself",
    );
}

#[test]
fn patches_that_do_nothing_are_said() {
    check(
        &format!(
            "{EF}  - applyTo: EXTENSION_CONFIG\n    patch: {{operation: ADD, value: {{name: x}}}}\n"
        ),
        false,
        "bad.yaml:6: EnvoyFilter default/patch: spec.configPatches[0].applyTo: configurations of extensions are not served \
         by themselves (ECDS) yet, so nothing is patched; write the filter's configuration into a patch of HTTP_FILTER",
    );
    check(
        &format!(
            "{EF}  - applyTo: CLUSTER\n    match: {{context: WAYPOINT}}\n    patch: {{operation: MERGE, value: {{}}}}\n"
        ),
        false,
        "bad.yaml:7: EnvoyFilter default/patch: spec.configPatches[0].match.context: there are no waypoints here, so \
         nothing is patched; name the context of the proxies that are meant",
    );
    let with_priority = |priority: &str| {
        let text = format!("  priority: {priority}\n  configPatches:\n");
        format!(
            "{}  - applyTo: CLUSTER\n    patch: {{operation: MERGE, value: {{}}}}\n",
            EF.replace("  configPatches:\n", &text)
        )
    };
    assert_eq!(problems(&with_priority("\"5\"")), Vec::<String>::new());
    check(
        &with_priority("high"),
        true,
        "bad.yaml:5: EnvoyFilter default/patch: spec.priority: is the string \"high\"; it must be a whole number from \
         -2147483648 to 2147483647",
    );
}

#[test]
fn claims_and_keys() {
    check(
        &vs(
            "  hosts: [reviews]\n  http:\n  - match: [{headers: {'@request.auth.claims.group': {}}}]\n    route: [{destination: {host: reviews}}]\n",
        ),
        true,
        "bad.yaml:7: VirtualService default/reviews: spec.http[0].match[0].headers.@request.auth.claims.group: the \
         presence of a claim cannot be asked for: istiod sends a matcher without a pattern, for which proxies refuse all \
         routes of the port; write regex: .+",
    );
    let authentication = |rule: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: x}}\nspec:\n  jwtRules:\n  - {rule}\n"
        )
    };
    check(
        &authentication("{issuer: a, jwksUri: 'https://issuer.example/keys'}"),
        false,
        "bad.yaml:6: RequestAuthentication default/x: spec.jwtRules[0].jwksUri: keys are not fetched over https yet, so no \
         token of the issuer is accepted; write the keys in jwks",
    );
}

#[test]
fn routes_of_kubernetes_api_have_bounds() {
    let route = |kind: &str, rule: &str| {
        format!(
            "{API}kind: {kind}\nmetadata: {{name: r}}\nspec:\n  parentRefs: [{{name: web}}]\n  rules:\n  - {rule}\n"
        )
    };
    let mirror = |amount: &str| {
        route(
            "HTTPRoute",
            &format!(
                "filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: a, port: 80}}, {amount}}}}}]"
            ),
        )
    };
    const AT: &str = "bad.yaml:7: HTTPRoute default/r: spec.rules[0].filters[0].requestMirror";
    check(
        &mirror("percent: 101"),
        true,
        &format!("{AT}.percent: is the number 101; it must be a whole number from 0 to 100"),
    );
    check(
        &mirror("fraction: {numerator: 3, denominator: 2}"),
        true,
        &format!(
            "{AT}.fraction: numerator must be less than or equal to denominator; write a part of the whole"
        ),
    );
    check(
        &mirror("fraction: {numerator: 0, denominator: 0}"),
        true,
        &format!("{AT}.fraction: the denominator is 0; write 1 or more"),
    );
    check(
        &mirror("percent: 1, fraction: {numerator: 1}"),
        true,
        &format!(
            "{AT}.fraction: only one of percent or fraction may be specified; keep one of them"
        ),
    );
    check(
        &route("HTTPRoute", "sessionPersistence: {sessionName: a}"),
        false,
        "bad.yaml:7: HTTPRoute default/r: spec.rules[0].sessionPersistence: istiod does nothing with it; use the \
         consistentHash of a DestinationRule",
    );
}

#[test]
fn gateways_and_routes_of_kubernetes_api() {
    check(
        &format!(
            "{API}kind: Gateway\nmetadata: {{name: web}}\nspec:\n  gatewayClassName: istio\n  listeners:\n  - name: https\n\
             \x20   port: 443\n    protocol: HTTPS\n    tls: {{certificateRefs: [{{name: cert}}]}}\n"
        ),
        true,
        "bad.yaml:10: Gateway default/web: spec.listeners[0].tls: TLS termination is not supported yet; use mode \
         Passthrough, or protocol HTTP without tls",
    );
    check(
        &format!(
            "{API}kind: HTTPRoute\nmetadata: {{name: r}}\nspec:\n  parentRefs: [{{kind: Service, name: reviews}}]\n  rules: []\n"
        ),
        false,
        "bad.yaml:5: HTTPRoute default/r: spec.parentRefs[0]: a Service is of the group \"\", so nobody knows this parent; \
         add group: \"\"",
    );
    check(
        &format!(
            "{API}kind: HTTPRoute\nmetadata: {{name: r}}\nspec:\n  parentRefs: [{{name: web}}]\n  rules:\n\
             \x20 - matches: [{{path: {{type: Prefix, value: /}}}}]\n"
        ),
        true,
        "bad.yaml:7: HTTPRoute default/r: spec.rules[0].matches[0].path.type: is the string \"Prefix\"; it must be one of \
         PathPrefix, Exact, RegularExpression",
    );
    check(
        &format!(
            "{API}kind: GRPCRoute\nmetadata: {{name: r}}\nspec:\n  parentRefs: [{{name: web}}]\n  rules:\n\
             \x20 - backendRef: [{{name: a, port: 80}}]\n"
        ),
        false,
        "bad.yaml:7: GRPCRoute default/r: spec.rules[0].backendRef: unknown field, it has no effect; did you mean \
         backendRefs?",
    );
}

#[test]
fn two_kinds_of_gateway_may_have_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{GW}spec: {{servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]}}\n---\n\
         {API}kind: Gateway\nmetadata: {{name: web}}\nspec: {{gatewayClassName: istio, listeners: [{{name: a, port: 80, protocol: HTTP}}]}}\n"
    );
    std::fs::write(folder.path().join("all.yaml"), text).unwrap();
    let control = open(folder.path());
    assert_eq!(control.problems(), []);
    let config = control.config();
    let kinds: Vec<_> = config.objects().map(|(id, _)| id.to_string()).collect();
    assert_eq!(kinds, ["Gateway default/web", "Gateway default/web"]);
}
