//! `docs/fields.md` says of every field what becomes of it, and which test shows it: it is made here, from the decoder's
//! own table, the descriptors and the texts of the tests. `MESH_UPDATE_DOCS=1` writes it anew.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use mesh_proto::descriptor_pool;
use prost_reflect::MessageDescriptor;

use crate::decode::supported_fields::{self, Treatment, treatment_of};

/// Where tests are, what shows most first: comparisons with Envoy, then with istiod, then our own.
const TESTS: [&str; 8] = [
    "tests",
    "mesh-control/tests",
    "mesh-xds/src/decode/tests",
    "mesh-xds/tests",
    "mesh-tower/tests",
    "mesh-core/tests",
    "mesh-xds/src",
    "mesh-proxy",
];

const HEAD: &str = "# Fields of xDS

What becomes of every field that is set, by message. A message that is not listed is rejected whole where Envoy would use
it. Made by a test from the decoder's own table (`mesh-xds/src/decode/supported_fields.rs`): it fails when this file says
something else.

* **supported**: read, and does what it does in Envoy; the suite that shows it beside it.
* **no effect**: accepted in silence here: it cannot be observed, asks for what is done anyway, or (`typed_config` and its
  like) is judged by the reader of what is in it.
* **ignored**: accepted with a warning; it changes no answer.
* **rejected**: the resource that has it is refused, with the field's path.
";

/// Fields that are read to say what to write instead, where one word for all would not help.
const REFUSED_IN_WORDS: [(&str, &str); 3] = [
    ("envoy.config.core.v3.SocketAddress", "named_port"),
    (
        "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector",
        "single_host_per_subset",
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "request_timeout",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files of tests, and their texts.
fn test_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for (rank, folder) in TESTS.iter().enumerate() {
        collect(&root().join(folder), rank, &mut files);
    }
    files.sort();
    let mut seen = std::collections::HashSet::new();
    files.retain(|(_, name, _)| seen.insert(name.clone()));
    files
        .into_iter()
        .map(|(_, name, text)| (name, text))
        .collect()
}

fn collect(folder: &Path, rank: usize, files: &mut Vec<(usize, String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("oracles") && !path.ends_with("target") {
                collect(&path, rank, files);
            }
            continue;
        }
        let name = path.strip_prefix(root()).unwrap_or(&path);
        let name = name.to_string_lossy().replace('\\', "/");
        let is_test = name.contains("tests/") || name.ends_with("tests.rs");
        let is_this = name.ends_with("documented.rs");
        if is_test
            && !is_this
            && let Ok(text) = fs::read_to_string(&path)
        {
            files.push((rank, name, text));
        }
    }
}

/// The first test that names the field: as it is written in JSON and YAML, in a message or an `Any`.
fn shown_by<'t>(field: &str, tests: &'t [(String, String)]) -> Option<&'t str> {
    let camel = camel(field);
    let words = |name: &str| {
        [
            format!("\"{name}\""),
            format!("{name}:"),
            format!("{name}."),
        ]
    };
    let needles: Vec<String> = words(field).into_iter().chain(words(&camel)).collect();
    let found = tests.iter().find(|(_, text)| {
        needles.iter().any(|needle| {
            text.match_indices(needle.as_str()).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        })
    });
    found.map(|(name, _)| name.as_str())
}

fn camel(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

/// All messages of the table by name.
fn messages() -> BTreeMap<&'static str, MessageDescriptor> {
    supported_fields::all()
        .filter_map(|(name, _)| Some((name, descriptor_pool().get_message_by_name(name)?)))
        .collect()
}

fn page(tests: &[(String, String)]) -> String {
    let mut text = HEAD.to_owned();
    for (name, message) in messages() {
        text.push_str(&format!("\n## {name}\n\n"));
        if message.fields().len() == 0 {
            text.push_str("It has no fields.\n");
            continue;
        }
        text.push_str("| field | what becomes of it | shown by |\n|---|---|---|\n");
        for field in message.fields() {
            let field = field.name();
            let (word, test) = match treatment_of(name, field) {
                _ if REFUSED_IN_WORDS.contains(&(name, field)) => {
                    ("rejected", Some("mesh-xds/src/decode/tests/values.rs"))
                }
                Treatment::Understood => ("supported", shown_by(field, tests)),
                Treatment::NoEffect => ("no effect", shown_by(field, tests)),
                Treatment::Ignored => ("ignored", Some("mesh-xds/src/decode/tests/ignored.rs")),
                Treatment::Refused => ("rejected", Some("mesh-xds/src/decode/tests/refused.rs")),
            };
            let test = test.map(|test| format!("`{test}`")).unwrap_or_default();
            text.push_str(&format!("| `{field}` | {word} | {test} |\n"));
        }
    }
    text
}

#[test]
fn the_page_says_what_the_decoder_does() {
    let path = root().join("docs/fields.md");
    let expected = page(&test_files());
    if std::env::var_os("MESH_UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    let different = expected
        .lines()
        .zip(written.lines())
        .find(|(e, w)| e != w)
        .map_or_else(
            || "its length".to_owned(),
            |(e, w)| format!("{w}\nis not\n{e}"),
        );
    assert!(
        expected == written,
        "docs/fields.md is not what the decoder does (MESH_UPDATE_DOCS=1 writes it): {different}"
    );
}

#[test]
fn what_is_supported_is_shown_by_a_test() {
    let tests = test_files();
    let mut unshown = Vec::new();
    for (name, message) in messages() {
        let supported = message
            .fields()
            .filter(|field| treatment_of(name, field.name()) == Treatment::Understood)
            .filter(|field| shown_by(field.name(), &tests).is_none());
        unshown.extend(supported.map(|field| format!("{name}.{}", field.name())));
    }
    assert_eq!(unshown, Vec::<String>::new(), "no test names these fields");
}
