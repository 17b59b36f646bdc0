//! apply, get and delete on a folder.

mod support;

use std::time::{Duration, SystemTime};

use mesh_control::model::Kind;
use mesh_control::{Action, Store, table};
use support::{bookinfo, copy_of, open};

fn kind(name: &str) -> &'static Kind {
    Kind::by_command_name(name).unwrap()
}

fn scenario(name: &str) -> String {
    std::fs::read_to_string(bookinfo().join("scenarios").join(name)).unwrap()
}

#[test]
fn applying_replaces_the_document_where_it_stands() {
    let folder = copy_of(&bookinfo());
    let store = Store::new(folder.path(), "default");
    let before = std::fs::read_to_string(folder.path().join("rules.yaml")).unwrap();
    let text = scenario("reviews-50-50.yaml");
    let applied = store.apply(&text, "reviews-50-50.yaml").unwrap();
    assert_eq!(applied[0].action, Action::Configured);
    assert_eq!(
        applied[0].id.as_ref().unwrap().to_string(),
        "VirtualService default/reviews"
    );
    let after = std::fs::read_to_string(folder.path().join("rules.yaml")).unwrap();
    let expected = before
        .replace("weight: 90", "weight: 50")
        .replace("weight: 10", "weight: 50");
    assert_eq!(after, expected);
    assert_eq!(
        store.apply(&text, "again").unwrap()[0].action,
        Action::Unchanged
    );
    assert_eq!(open(folder.path()).problems(), []);
}

#[test]
fn applying_something_new_writes_a_file_of_its_own() {
    let folder = copy_of(&bookinfo());
    let store = Store::new(folder.path(), "default");
    let applied = store.apply(&scenario("ratings-delay.yaml"), "-").unwrap();
    assert_eq!(applied[0].action, Action::Created);
    assert!(
        folder
            .path()
            .join("virtualservice-default-ratings.yaml")
            .is_file()
    );
    assert_eq!(open(folder.path()).problems(), []);

    assert!(store.delete(kind("vs"), "default", "ratings").unwrap());
    assert!(
        !folder
            .path()
            .join("virtualservice-default-ratings.yaml")
            .exists()
    );
    assert!(!store.delete(kind("vs"), "default", "ratings").unwrap());
}

#[test]
fn what_is_wrong_is_not_written() {
    let folder = copy_of(&bookinfo());
    let store = Store::new(folder.path(), "default");
    let before = std::fs::read_to_string(folder.path().join("rules.yaml")).unwrap();
    let text = scenario("reviews-50-50.yaml").replace("weight: 50", "weight: 0");
    let applied = store.apply(&text, "bad.yaml").unwrap();
    assert_eq!(applied[0].action, Action::Refused);
    assert_eq!(
        applied[0].problems[0].to_string(),
        "bad.yaml:9:5: VirtualService default/reviews: spec.http[0]: total destination weight = 0; give at least one \
         destination a weight"
    );
    assert_eq!(
        std::fs::read_to_string(folder.path().join("rules.yaml")).unwrap(),
        before
    );
}

#[test]
fn deleting_leaves_the_other_documents_alone() {
    let folder = copy_of(&bookinfo());
    let store = Store::new(folder.path(), "default");
    assert!(
        store
            .delete(kind("destinationrules"), "default", "details")
            .unwrap()
    );
    let control = open(folder.path());
    assert_eq!(control.problems(), []);
    let names: Vec<_> = store
        .get(kind("dr"), None, None)
        .unwrap()
        .into_iter()
        .map(|stored| stored.id.name)
        .collect();
    assert_eq!(names, ["reviews"]);
    assert_eq!(store.get(kind("vs"), None, None).unwrap().len(), 3);
}

#[test]
fn listing_looks_as_kubectl_does() {
    let folder = copy_of(&bookinfo());
    let store = Store::new(folder.path(), "default");
    let found = store
        .get(kind("virtualservice"), Some("default"), None)
        .unwrap();
    let now = found[0].modified.unwrap() + Duration::from_secs(90);
    assert_eq!(
        table(&found[..1], now, false),
        "NAME       GATEWAYS       HOSTS   AGE\n\
         bookinfo   [\"bookinfo\"]   [\"*\"]   90s\n"
    );
    let found = store.get(kind("svc"), None, Some("inventory")).unwrap();
    let shown = table(&found, SystemTime::UNIX_EPOCH, true);
    assert_eq!(
        shown
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>(),
        [
            "default",
            "inventory",
            "ClusterIP",
            "<none>",
            "9090/TCP",
            "<unknown>"
        ]
    );
}
