//! The demo as a whole: real processes, killed and edited under load.
//!
//! `MESH_BIN_DIR` is the folder of `meshctl` and `mesh-proxy`.

mod mesh;

use std::process::Stdio;

use mesh::{Demo, alone, command, edge, errors, is_split, kill, processes_of, versions, wait_for};

#[test]
#[ignore = "needs meshctl and mesh-proxy built: cargo verify"]
fn it_runs_without_an_error_and_leaves_nothing_behind() {
    let demo = Demo::start(&["--for", "5s", "--rps", "100"]);
    assert_eq!(demo.pids("details-v1").len(), 2);
    assert!(
        demo.state["url"]
            .as_str()
            .unwrap()
            .ends_with("/productpage")
    );
    assert!(demo.started_in.as_secs() < 30, "{:?}", demo.started_in);
    let records = demo.rest();
    let total = records.last().unwrap();
    assert_eq!(errors(total), 0, "{total}");
    assert_eq!(total["load"]["requests"], 500);
    for service in ["productpage", "details", "reviews"] {
        assert_eq!(edge(total, service)["requests"], 500, "{service}: {total}");
    }
    assert_eq!(edge(total, "inventory")["request_protocol"], "grpc");
    assert!(is_split(versions(total, "reviews"), 0.1), "{total}");
    // who asks for ratings are the readers of v3
    assert_eq!(
        edge(total, "ratings")["requests"].as_f64(),
        Some(versions(total, "reviews").1)
    );
    assert!(edge(total, "details")["latency_ms"]["p99"].as_f64() > Some(0.0));
}

#[test]
#[ignore = "needs meshctl and mesh-proxy built: cargo verify"]
fn a_split_is_in_force_within_a_second() {
    let demo = Demo::start(&["--for", "7s", "--rps", "200"]);
    let before = [demo.record(), demo.record()];
    demo.apply("reviews-50-50.yaml");
    let mut records = demo.rest();
    let total = records.pop().unwrap();
    assert_eq!(errors(&total), 0, "{total}");
    assert!(
        before
            .iter()
            .all(|record| is_split(versions(record, "reviews"), 0.1)),
        "{before:?}"
    );
    // the second in which it was applied has both
    for record in &records[1..] {
        assert!(is_split(versions(record, "reviews"), 0.5), "{record}");
    }
}

#[test]
#[ignore = "needs meshctl and mesh-proxy built: cargo verify"]
fn a_killed_replica_costs_nothing_and_is_ejected() {
    let demo = Demo::start(&["--for", "8s", "--rps", "100"]);
    demo.record();
    let victim = demo.pids("details-v1")[0];
    kill(victim, "-KILL");
    let mut records = demo.rest();
    let total = records.pop().unwrap();
    let failed = errors(&total) as f64;
    assert!(
        failed <= total["load"]["requests"].as_f64().unwrap() * 0.001,
        "{total}"
    );
    let late: u64 = records[2..].iter().map(errors).sum();
    assert_eq!(late, 0, "{records:?}");
    assert!(
        edge(&total, "details")["ejections"].as_u64() >= Some(1),
        "{total}"
    );
}

#[test]
#[ignore = "needs meshctl and mesh-proxy built: cargo verify"]
fn the_control_plane_may_die_and_come_back() {
    let demo = Demo::start(&["--for", "9s", "--rps", "100"]);
    let control_plane = &demo.state["control_plane"];
    kill(control_plane["pid"].as_u64().unwrap(), "-KILL");
    demo.record();
    demo.apply("reviews-50-50.yaml");
    let without = [demo.record(), demo.record()];
    assert!(
        without
            .iter()
            .all(|record| is_split(versions(record, "reviews"), 0.1)),
        "{without:?}"
    );
    let mut serve = demo.meshctl("serve");
    serve
        .arg(demo.dir())
        .args(["--grpc-addr", control_plane["grpc_addr"].as_str().unwrap()]);
    let mut serve = serve.stderr(Stdio::null()).spawn().unwrap();
    // in force two seconds after it is back: the third second from here is the first whole one
    let back = [demo.record(), demo.record(), demo.record()];
    let in_force = demo.record();
    serve.kill().unwrap();
    serve.wait().unwrap();
    assert!(
        is_split(versions(&in_force, "reviews"), 0.5),
        "{back:?} {in_force}"
    );
    let total = demo.rest().pop().unwrap();
    assert_eq!(errors(&total), 0, "{total}");
}

#[test]
#[ignore = "needs meshctl and mesh-proxy built: cargo verify"]
fn replicas_come_and_go_without_an_error() {
    let demo = Demo::start(&["--for", "12s", "--rps", "50"]);
    let file = demo.dir().join("ratings.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let pods = || {
        let shown = demo.meshctl("get").arg("pods").output().unwrap();
        let table = String::from_utf8(shown.stdout).unwrap();
        table
            .lines()
            .filter(|line| line.starts_with("ratings-v1-") && line.contains("1/1"))
            .count()
    };
    std::fs::write(&file, text.replace("replicas: 1", "replicas: 5")).unwrap();
    wait_for("five pods", || (pods() == 5).then_some(()));
    std::fs::write(&file, text).unwrap();
    wait_for("one pod", || (pods() == 1).then_some(()));
    let total = demo.rest().pop().unwrap();
    assert_eq!(errors(&total), 0, "{total}");
}

#[test]
#[ignore = "needs meshctl and mesh-proxy built: cargo verify"]
fn ctrl_c_while_it_starts_ends_everything() {
    let _alone = alone();
    let place = tempfile::tempdir().unwrap();
    let mut demo = command(place.path(), "demo")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("its first processes", || {
        (processes_of(place.path()).len() >= 3).then_some(())
    });
    kill(demo.id().into(), "-INT");
    assert!(demo.wait().unwrap().success());
    assert_eq!(processes_of(place.path()), Vec::<String>::new());
    assert!(!place.path().join("state.json").exists());
}

#[test]
#[ignore = "needs meshctl and mesh-proxy built: cargo verify"]
fn nothing_outlives_a_killed_demo() {
    let _alone = alone();
    let place = tempfile::tempdir().unwrap();
    let mut demo = command(place.path(), "demo")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("its first processes", || {
        (processes_of(place.path()).len() >= 5).then_some(())
    });
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_for("their end", || {
        processes_of(place.path()).is_empty().then_some(())
    });
}

#[test]
#[ignore = "needs Istio's samples: cargo verify"]
fn istios_own_bookinfo_runs_unmodified() {
    let samples =
        std::env::var("MESH_SAMPLES").expect("MESH_SAMPLES is the folder (run by cargo verify)");
    let samples = std::path::Path::new(&samples).join("bookinfo");
    let dir = tempfile::tempdir().unwrap();
    for file in [
        "platform/kube/bookinfo.yaml",
        "networking/bookinfo-gateway.yaml",
        "networking/destination-rule-all.yaml",
    ] {
        let from = samples.join(file);
        let text =
            std::fs::read(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        std::fs::write(dir.path().join(from.file_name().unwrap()), text).unwrap();
    }
    let demo = Demo::start(&[
        "--for",
        "3s",
        "--rps",
        "50",
        "--dir",
        dir.path().to_str().unwrap(),
    ]);
    let total = demo.rest().pop().unwrap();
    assert_eq!(errors(&total), 0, "{total}");
    assert_eq!(edge(&total, "reviews")["requests"], 150, "{total}");
}
