//! Files that somebody got wrong: nothing panics, and everything that is refused has a place.

mod support;

use std::path::{Path, PathBuf};

use mesh_control::{ControlPlane, Problem, Severity, validate_documents, verdicts, yaml};
use mesh_proto::envoy::config::{
    cluster::v3::Cluster, listener::v3::Listener, route::v3::RouteConfiguration,
};
use mesh_testkit::{mutation, random::Random};
use support::{Client, node, open};

/// Documents that are changed, one by one.
const DOCUMENTS: usize = 100_000;
/// Of so many changed documents a folder is made, and what a sidecar and a gateway get of it.
const FOLDER: usize = 40;
/// How many such folders.
const FOLDERS: usize = 250;

fn yaml_files(below: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
}

/// All documents of the examples and of the tests.
fn corpus() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    yaml_files(&root.join("../examples"), &mut files);
    yaml_files(&root.join("tests/data"), &mut files);
    files.sort();
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| {
            let documents = yaml::split(&text);
            documents
                .into_iter()
                .map(|d| d.text.to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|document| document.len() < 4_000 && document.contains("kind:"))
        .collect()
}

fn mutated(corpus: &[String], random: &mut Random) -> String {
    let mut text = random.one(corpus).clone();
    for _ in 0..=random.below(3) {
        text = match random.chance(60) {
            true => mutation::of_line(&text, random),
            false => mutation::of_text(&text, random),
        };
    }
    text
}

#[track_caller]
fn assert_placed(problem: &Problem, text: &str) {
    // What is not closed is missed behind the last line.
    let lines = u32::try_from(text.split('\n').count()).unwrap();
    assert!(
        !problem.file.is_empty() && !problem.message.is_empty(),
        "{problem:?}\n{text}"
    );
    if problem.severity == Severity::Refused {
        assert!(
            (1..=lines).contains(&problem.line),
            "{problem:?} is in no line of\n{text}"
        );
    }
}

fn check(corpus: &[String], seed: u64, documents: usize) -> [usize; 2] {
    let mut random = Random::new(seed);
    let mut refused = 0;
    for _ in 0..documents {
        let text = mutated(corpus, &mut random);
        let validated = validate_documents(&text, "changed.yaml", "default");
        for problem in validated.iter().flat_map(|document| &document.problems) {
            assert_placed(problem, &text);
        }
        refused += usize::from(validated.iter().any(|document| !document.is_accepted()));
        for verdict in verdicts(&text, "changed.yaml", "default") {
            for problem in &verdict.problems {
                assert_placed(problem, &text);
            }
        }
    }
    [refused, documents]
}

#[test]
fn a_hundred_thousand_changed_documents_are_taken_or_refused_with_a_place() {
    let corpus = corpus();
    assert!(corpus.len() > 200, "{} documents", corpus.len());
    let documents = Random::cases(DOCUMENTS);
    let seed = Random::seed();
    let halves: Vec<_> = std::thread::scope(|scope| {
        let half = |n| {
            let corpus = &corpus;
            move || check(corpus, seed.wrapping_add(n), documents / 2)
        };
        let threads = [scope.spawn(half(0)), scope.spawn(half(1))];
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let refused: usize = halves.iter().map(|[refused, _]| refused).sum();
    // Else the changes would test nothing, or nothing else.
    assert!(
        refused > documents / 10 && refused < documents,
        "{refused} of {documents} refused"
    );
}

/// How many resources a sidecar and a gateway get.
async fn serve(plane: &ControlPlane) -> usize {
    let sidecar = [("app", "productpage"), ("version", "v1")];
    let gateway = [("istio", "ingressgateway")];
    let nodes = [
        node("sidecar", "127.9.0.1", "productpage-v1", &sidecar),
        node("router", "127.9.0.9", "istio-ingressgateway", &gateway),
    ];
    let mut served = 0;
    for node in nodes {
        let mut client = Client::new(plane, node);
        served += client.fetch::<Cluster>(&[]).await.len();
        served += client.fetch::<Listener>(&[]).await.len();
        let routes = ["80", "8080", "9080", "http.80", "http.8080"];
        served += client.fetch::<RouteConfiguration>(&routes).await.len();
    }
    served
}

#[tokio::test]
async fn folders_of_changed_documents_are_served() {
    let corpus = corpus();
    let mut random = Random::new(Random::seed());
    let mut served = 0;
    for _ in 0..FOLDERS {
        let folder = tempfile::tempdir().unwrap();
        let documents: Vec<_> = (0..FOLDER).map(|_| mutated(&corpus, &mut random)).collect();
        std::fs::write(folder.path().join("all.yaml"), documents.join("\n---\n")).unwrap();
        // The rest of a file is unreadable behind what breaks it: some documents stand alone.
        for n in 0..FOLDER {
            let text = mutated(&corpus, &mut random);
            std::fs::write(folder.path().join(format!("{n}.yaml")), text).unwrap();
        }
        let plane = open(folder.path());
        for problem in plane.problems() {
            assert!(!problem.file.is_empty(), "{problem:?}");
        }
        served += serve(&plane).await;
    }
    assert!(served > FOLDERS, "{served} resources");
}
