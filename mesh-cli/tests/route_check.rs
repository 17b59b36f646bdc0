//! `meshctl route-check` as a program: what it prints and how it ends.

use std::path::Path;
use std::process::Command;

/// Exit code, output, errors.
fn route_check(tests: &str, args: &[&str]) -> (i32, String, String) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mesh-xds/tests/route_check");
    let output = Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(["route-check", "-c"])
        .arg(data.join("routes.yaml"))
        .arg("-t")
        .arg(data.join(tests))
        .args(args)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

#[test]
fn cases_that_hold_pass() {
    let (code, out, _) = route_check("few.yaml", &[]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("pass: one weight\n"), "{out}");
    assert!(out.ends_with("Current route coverage: 37.5%\n"), "{out}");

    let (_, out, _) = route_check("few.yaml", &["--only-show-failures", "--detailed-coverage"]);
    assert!(!out.contains("pass:"), "{out}");
    assert!(
        out.contains("Missing test for host: reviews, route name: canary\n"),
        "{out}"
    );
    let (_, out, _) = route_check("few.yaml", &["--covall"]);
    assert!(
        out.contains("Missing test for host: reviews, route: prefix:"),
        "{out}"
    );
    assert!(out.ends_with("Current route coverage: 21.25%\n"), "{out}");
}

#[test]
fn cases_that_fail_and_too_little_coverage_exit_with_1() {
    let (code, out, _) = route_check("failing.yaml", &["--details"]);
    assert_eq!(code, 1);
    let differs = "FAIL: wrong cluster\n  expected: [nowhere], actual: [reviews-v2], test type: cluster_name\n";
    assert!(out.contains(differs), "{out}");
    assert!(out.contains("Current route coverage: "), "{out}");
    let (_, out, _) = route_check("failing.yaml", &[]);
    assert!(
        out.contains("FAIL: wrong cluster\n") && !out.contains("expected"),
        "{out}"
    );

    let (code, _, errors) = route_check("few.yaml", &["-f", "40"]);
    assert_eq!(
        (code, &*errors),
        (1, "Failed to meet coverage requirement: 40%\n")
    );
    let (code, _, errors) = route_check("missing.yaml", &[]);
    assert_eq!(code, 1);
    assert!(errors.contains("missing.yaml"), "{errors}");
}
