//! Which crate may know which.

use crate::process;
use crate::sources::Source;
use crate::workspace::Workspace;

/// A crate and what must not be below it, by name or by the prefix before `*`.
struct Ban {
    of: &'static str,
    features: &'static str,
    never: &'static [&'static str],
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        of: "mesh-core",
        features: "--all-features",
        never: &["tokio*", "hyper*", "tonic*", "prost*", "mio", "mesh-*"],
        why: "mesh-core decides and does no I/O",
    },
    Ban {
        of: "mesh-xds",
        features: "--all-features",
        never: &["mesh-tower", "mesh-control", "proxyless"],
        why: "mesh-xds and mesh-tower meet only in mesh-core",
    },
    Ban {
        of: "mesh-xds",
        features: "",
        never: &["tokio*", "hyper*", "mio", "tower*"],
        why: "without its transport, mesh-xds does no I/O",
    },
    Ban {
        of: "mesh-tower",
        features: "--all-features",
        never: &[
            "mesh-xds",
            "mesh-control",
            "mesh-proto",
            "proxyless",
            "prost*",
        ],
        why: "the data path knows no xDS",
    },
    Ban {
        of: "mesh-control",
        features: "--all-features",
        never: &["mesh-xds", "mesh-tower", "proxyless"],
        why: "the control plane is no part of the data path",
    },
    Ban {
        of: "proxyless",
        features: "--all-features",
        never: &[
            "mesh-proxy",
            "mesh-cli",
            "mesh-testkit",
            "native-tls",
            "openssl*",
        ],
        why: "the library knows no binaries and no test tools",
    },
];

/// Crates whose types are in our public interface, or that must be linked once.
const ONCE: [&str; 10] = [
    "axum",
    "bytes",
    "http",
    "http-body",
    "hyper",
    "prost",
    "tokio",
    "tonic",
    "tower-layer",
    "tower-service",
];

/// Every ban that is broken, and every crate that occurs twice.
pub(super) fn breaches(workspace: &Workspace, sources: &[Source]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for ban in BANS {
        let tree = format!(
            "tree -p {} {} -e normal --prefix none --format {{p}}",
            ban.of, ban.features
        );
        broken(
            ban,
            &process::read(&mut workspace.cargo(&tree))?,
            &mut found,
        );
    }
    let lock = sources.iter().find(|source| source.path == "Cargo.lock");
    if let Some(lock) = lock {
        twice(&lock.text, &mut found);
    }
    Ok(found)
}

/// `tree` has one `name vVERSION …` per line, the crate itself first.
fn broken(ban: &Ban, tree: &str, found: &mut Vec<String>) {
    let mut below: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != ban.of)
        .collect();
    below.sort_unstable();
    below.dedup();
    for name in below {
        let fits = |never: &&str| match never.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *never,
        };
        if ban.never.iter().any(fits) {
            found.push(format!("{}: depends on {name}: {}", ban.of, ban.why));
        }
    }
}

fn twice(lock: &str, found: &mut Vec<String>) {
    for name in ONCE {
        let entry = format!("name = \"{name}\"");
        let n = lock.lines().filter(|line| *line == entry).count();
        if n > 1 {
            found.push(format!("Cargo.lock: {name} occurs {n} times; once"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_fits_by_name_and_by_prefix() {
        let ban = Ban {
            of: "mesh-core",
            features: "",
            never: &["mio", "tokio*"],
            why: "it is pure",
        };
        let tree =
            "mesh-core v0.1.0 (x)\nmio v1.0.0\ntokio-util v0.7.0\nmiow v1.0.0\nmio v1.0.0 (*)\n";
        let mut found = Vec::new();
        broken(&ban, tree, &mut found);
        assert_eq!(
            found,
            [
                "mesh-core: depends on mio: it is pure",
                "mesh-core: depends on tokio-util: it is pure"
            ]
        );
    }

    #[test]
    fn a_public_crate_occurs_once() {
        let mut found = Vec::new();
        twice(
            "name = \"http\"\nname = \"http-body\"\nname = \"http\"",
            &mut found,
        );
        assert_eq!(found, ["Cargo.lock: http occurs 2 times; once"]);
    }
}
