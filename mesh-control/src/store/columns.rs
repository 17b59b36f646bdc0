use std::time::{Duration, SystemTime};

use super::Stored;
use crate::yaml::{Node, Value};

/// Objects as kubectl lists them: `NAME`, what is worth knowing of the kind, `AGE`; with `NAMESPACE` if asked for.
///
/// The age is that of the file.
pub fn table(objects: &[Stored], now: SystemTime, with_namespace: bool) -> String {
    let Some(first) = objects.first() else {
        return String::new();
    };
    let columns = columns_of(first.id.kind);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut head = Vec::new();
    head.extend(with_namespace.then(|| "NAMESPACE".to_owned()));
    head.push("NAME".to_owned());
    head.extend(columns.iter().map(|(name, _)| (*name).to_owned()));
    head.push("AGE".to_owned());
    rows.push(head);
    for object in objects {
        let mut row = Vec::new();
        row.extend(with_namespace.then(|| object.id.namespace.clone()));
        row.push(object.id.name.clone());
        row.extend(columns.iter().map(|(_, value)| value(&object.node)));
        row.push(
            object
                .modified
                .and_then(|then| now.duration_since(then).ok())
                .map_or("<unknown>".to_owned(), age),
        );
        rows.push(row);
    }
    aligned(&rows)
}

type Column = (&'static str, fn(&Node) -> String);

fn columns_of(kind: &str) -> &'static [Column] {
    match kind {
        "VirtualService" => &[
            ("GATEWAYS", |node| list(at(node, &["spec", "gateways"]))),
            ("HOSTS", |node| list(at(node, &["spec", "hosts"]))),
        ],
        "DestinationRule" => &[("HOST", |node| text(at(node, &["spec", "host"])))],
        "PeerAuthentication" => &[("MODE", |node| text(at(node, &["spec", "mtls", "mode"])))],
        "Deployment" => &[("REPLICAS", |node| match at(node, &["spec", "replicas"]) {
            None => "1".to_owned(),
            replicas => text(replicas),
        })],
        "Service" => &[
            ("TYPE", |node| {
                or(text(at(node, &["spec", "type"])), "ClusterIP")
            }),
            ("CLUSTER-IP", |node| {
                or(text(at(node, &["spec", "clusterIP"])), "<none>")
            }),
            ("PORT(S)", |node| ports(at(node, &["spec", "ports"]))),
        ],
        "Pod" => &[
            ("READY", |node| {
                if is_ready(node) { "1/1" } else { "0/1" }.to_owned()
            }),
            ("STATUS", |node| {
                or(text(at(node, &["status", "phase"])), "Pending")
            }),
            ("IP", |node| {
                or(text(at(node, &["status", "podIP"])), "<none>")
            }),
        ],
        _ => &[],
    }
}

fn at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, key| node.get(key))
}

fn text(node: Option<&Node>) -> String {
    match node.map(|node| &node.value) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Float(number)) => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        _ => String::new(),
    }
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() {
        default.to_owned()
    } else {
        text
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// A list as kubectl's JSON columns show it.
fn list(node: Option<&Node>) -> String {
    let quoted: Vec<_> = items(node)
        .iter()
        .map(|item| format!("{:?}", text(Some(item))))
        .collect();
    if quoted.is_empty() {
        String::new()
    } else {
        format!("[{}]", quoted.join(","))
    }
}

fn ports(node: Option<&Node>) -> String {
    let port = |port: &Node| {
        format!(
            "{}/{}",
            text(port.get("port")),
            or(text(port.get("protocol")), "TCP")
        )
    };
    items(node).iter().map(port).collect::<Vec<_>>().join(",")
}

fn is_ready(node: &Node) -> bool {
    items(at(node, &["status", "conditions"]))
        .iter()
        .any(|c| text(c.get("type")) == "Ready" && text(c.get("status")) == "True")
}

/// As kubectl shortens ages.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            rows.iter()
                .map(|row| row[i].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if i + 1 < columns {
                text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 3));
            }
        }
        text.push('\n');
    }
    text
}
