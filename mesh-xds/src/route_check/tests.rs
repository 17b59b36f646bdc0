//! Our own cases, and Envoy's where they are.

use std::path::{Path, PathBuf};

use super::*;

fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/route_check")
        .join(name)
}

fn read(config: &Path, tests: &Path) -> Result<RouteCheck, InvalidFile> {
    let text = |path: &Path| {
        (
            path.display().to_string(),
            std::fs::read_to_string(path).unwrap(),
        )
    };
    let (config, tests) = (text(config), text(tests));
    RouteCheck::new((&config.0, &config.1), (&tests.0, &tests.1))
}

fn check(config: &Path, tests: &Path) -> Report {
    match read(config, tests) {
        Ok(check) => check.run(),
        Err(error) => panic!("{error}"),
    }
}

fn failures(report: &Report) -> Vec<String> {
    let of = |result: &CaseResult| {
        result
            .failures
            .iter()
            .map(|f| format!("{}: {f}", result.name))
            .collect::<Vec<_>>()
    };
    report.results.iter().flat_map(of).collect()
}

#[test]
fn the_schema_is_one() {
    let validation = schema::pool().and_then(|pool| pool.get_message_by_name(schema::VALIDATION));
    assert!(validation.is_some());
}

/// One configuration, the same cases in each form.
#[test]
fn cases_hold_in_every_form() {
    for name in ["cases.yaml", "cases.json", "cases.pb_text"] {
        let report = check(&ours("routes.yaml"), &ours(name));
        assert_eq!(failures(&report), [] as [String; 0], "{name}");
        assert!(!report.results.is_empty(), "{name}");
    }
}

#[test]
fn what_differs_is_said_as_envoy_says_it() {
    let report = check(&ours("routes.yaml"), &ours("failing.yaml"));
    assert!(!report.passed());
    assert_eq!(
        failures(&report),
        [
            "wrong cluster: expected: [nowhere], actual: [reviews-v2], test type: cluster_name",
            "wrong headers: expected: [x-route: none], actual: [x-route: plain], test type: \
             request_header_matches.string_match.exact",
            "wrong headers: actual: [x-route: plain], test type: request_header_matches.range_match",
            "wrong headers: expected: [has(x-missing):true], actual: [has(x-missing):false], \
             test type: response_header_matches.present_match",
            "no route: expected: [some], actual: [], test type: virtual_host_name",
            "wrong redirect: expected: [302], actual: [301], test type: code_redirect",
        ]
    );
}

#[test]
fn coverage_counts_routes_and_what_is_asserted_of_them() {
    let coverage = check(&ours("routes.yaml"), &ours("few.yaml")).coverage;
    // Of seven routes (the weighted one counts twice): one whole, one weighted entry by its cluster, one redirect by
    // its location.
    assert_eq!(coverage.percent(), 37.5);
    let whole = (1.0 + 0.2 + 0.5) / 8.0 * 100.0;
    assert!((coverage.comprehensive_percent() - whole).abs() < 1e-9);
    let missing: Vec<_> = coverage.missing_names().collect();
    assert_eq!(
        missing,
        [
            ("reviews", "canary"),
            ("reviews", "metadata"),
            ("reviews", "direct"),
            ("reviews", "plain")
        ]
    );
    let (_, text) = coverage.missing_matches().next().unwrap();
    assert!(text.contains("runtime_key"), "{text}");
}

#[test]
fn wrong_files_name_the_place() {
    let refused = |config: &str, tests: &str| {
        let refused = RouteCheck::new(("c.yaml", config), ("t.yaml", tests));
        refused.unwrap_err().to_string()
    };
    let good = "virtual_hosts:\n- name: a\n  domains: ['*']\n  routes: []\n";
    let case = "tests:\n- test_name: x\n  input: {authority: a, path: /, method: GET}\n";
    assert_eq!(
        refused("virtual_host: []", "{}"),
        "c.yaml:1:1: unknown field virtual_host"
    );
    assert_eq!(
        refused("virtual_hosts:\n- domains: ['*']\n", "{}"),
        "c.yaml:2:3: virtual_hosts[0].name: must not be empty"
    );
    assert_eq!(
        refused(good, "tests: []"),
        "t.yaml:1:1: tests: must not be empty"
    );
    assert_eq!(
        refused(good, case),
        "t.yaml:2:3: tests[0].validate: must be set"
    );
    let case = "tests:\n- test_name: x\n  validate: {}\n  input: {authority: 'a b', path: /, method: GET}\n";
    assert_eq!(
        refused(good, case),
        "t.yaml:4:3: tests[0].input: method, authority and path must make a request"
    );
}

#[test]
fn deprecated_fields_are_named() {
    let check = read(&ours("deprecated.yaml"), &ours("few.yaml")).unwrap();
    assert_eq!(
        check.deprecated(),
        ["envoy.config.route.v3.HeaderMatcher.exact_match"]
    );
}

/// What Envoy's own tests run with their tool, and what must fail (`router_test.cc`).
#[test]
fn envoys_own_suite() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/router_check");
    if !suite.is_dir() {
        println!("skipped: {} is not there", suite.display());
        return;
    }
    for name in [
        "ClusterHeader",
        "ComprehensiveRoutes",
        "ContentType",
        "DetailedCoverage",
        "DirectResponse",
        "DynamicMetadata",
        "HeaderMatchedRouting",
        "Redirect",
        "Redirect2",
        "Redirect3",
        "Redirect4",
        "Runtime",
        "TestRoutes",
        "Weighted",
    ] {
        let config = suite.join(format!("{name}.yaml"));
        let report = check(&config, &suite.join(format!("{name}.golden.proto.json")));
        assert_eq!(failures(&report), [] as [String; 0], "{name}");
    }
    for ending in ["yaml", "pb_text"] {
        let tests = suite.join(format!("Weighted.golden.proto.{ending}"));
        let report = check(&suite.join("Weighted.yaml"), &tests);
        assert_eq!(failures(&report), [] as [String; 0], "{ending}");
    }
    let config = suite.join("TestRoutes.yaml");
    let report = check(&config, &suite.join("TestRoutesFailures.golden.proto.json"));
    let failed: Vec<_> = report.results.iter().map(|r| r.failures.len()).collect();
    assert_eq!(failed, [5]);
    let report = check(&config, &suite.join("Weighted.golden.proto.json"));
    let expected = "expected: [cluster1], actual: [instant-server], test type: cluster_name";
    assert!(failures(&report).iter().any(|f| f.contains(expected)));
    assert!(read(&suite.join("Redirect.golden.proto.json"), &config).is_err());
    let percent = |name: &str| {
        let config = suite.join(format!("{name}.yaml"));
        check(&config, &suite.join(format!("{name}.golden.proto.json"))).coverage
    };
    assert!(percent("ComprehensiveRoutes").comprehensive_percent() >= 100.0);
}
