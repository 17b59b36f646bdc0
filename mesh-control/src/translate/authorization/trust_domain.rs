//! Principals of policies under a mesh's other names, by istiod's `pilot/pkg/security/trustdomain`.

use crate::model::{DOMAIN, MeshConfig};

/// The principals, and the same in all trust domains of the mesh where they name one of these (or `cluster.local`, which
/// stands for them).
pub(super) fn principals(mesh: &MeshConfig, values: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for value in values {
        let parts: Vec<&str> = value.split('/').collect();
        let [domain, rest @ ..] = parts.as_slice() else {
            continue;
        };
        let is_named = rest.len() == 4 && *domain != "*";
        let is_ours = mesh.trust_domains().any(|own| overlap(domain, own)) || *domain == DOMAIN;
        if !is_named || !is_ours {
            all.push(value.clone());
            continue;
        }
        let mut renamed: Vec<String> = Vec::new();
        for own in mesh.trust_domains() {
            let is_covered = domain
                .strip_prefix('*')
                .is_some_and(|end| own.ends_with(end));
            let name = match is_covered {
                true => value.clone(),
                false => format!("{own}/{}", rest.join("/")),
            };
            if !renamed.contains(&name) {
                renamed.push(name);
            }
        }
        all.extend(renamed);
    }
    all
}

/// The trust domains; one of the mesh's stands for all of these.
pub(super) fn domains(mesh: &MeshConfig, values: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut add = |domain: &str| {
        if !all.iter().any(|known| known == domain) {
            all.push(domain.to_owned());
        }
    };
    for value in values {
        if mesh.trust_domains().any(|own| own == value) {
            mesh.trust_domains().for_each(&mut add);
        } else {
            add(value);
        }
    }
    all
}

/// Whether they are equal, or one is a pattern of the other.
fn overlap(a: &str, b: &str) -> bool {
    let covers = |pattern: &str, text: &str| {
        let by_prefix = pattern
            .strip_suffix('*')
            .is_some_and(|p| text.starts_with(p));
        let by_suffix = pattern.strip_prefix('*').is_some_and(|s| text.ends_with(s));
        by_prefix || by_suffix
    };
    a == b || b == "*" || covers(a, b) || covers(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(domains: &[&str]) -> MeshConfig {
        MeshConfig {
            trust_domain: domains[0].to_owned(),
            trust_domain_aliases: domains[1..].iter().map(|d| (*d).to_owned()).collect(),
            ..MeshConfig::default()
        }
    }

    fn renamed(domains: &[&str], values: &[&str]) -> Vec<String> {
        let values: Vec<_> = values.iter().map(|v| (*v).to_owned()).collect();
        principals(&mesh(domains), &values)
    }

    #[test]
    fn principals_of_the_mesh_have_all_its_names() {
        let both = ["td2/ns/a/sa/b", "td1/ns/a/sa/b"];
        assert_eq!(renamed(&["td2", "td1"], &["td1/ns/a/sa/b"]), both);
        assert_eq!(renamed(&["td2", "td1"], &["cluster.local/ns/a/sa/b"]), both);
        for kept in [
            "*",
            "*/ns/a/sa/b",
            "*sa/b",
            "other/ns/a/sa/b",
            "sa/b",
            "/ns/a/sa/b",
        ] {
            assert_eq!(renamed(&["td2", "td1"], &[kept]), [kept]);
        }
    }

    #[test]
    fn patterns_are_kept_for_the_names_that_they_cover() {
        assert_eq!(
            renamed(&["td2", "foo-td1", "cluster.local"], &["*-td1/ns/a/sa/b"]),
            [
                "td2/ns/a/sa/b",
                "*-td1/ns/a/sa/b",
                "cluster.local/ns/a/sa/b"
            ]
        );
        assert_eq!(
            renamed(&["new-td", "old-td"], &["*-td/ns/a/sa/b"]),
            ["*-td/ns/a/sa/b"]
        );
    }

    #[test]
    fn a_trust_domain_of_the_mesh_stands_for_all() {
        let values = ["td1".to_owned(), "x*".to_owned(), "td2".to_owned()];
        assert_eq!(
            domains(&mesh(&["td2", "td1"]), &values),
            ["td2", "td1", "x*"]
        );
    }
}
