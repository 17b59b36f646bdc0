//! RBAC of connections (Envoy `source/extensions/filters/network/rbac/rbac_filter.cc`): asked once, when the client
//! sends its first bytes or its end.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, Method};

use super::{Request, Rules, stat_prefix};
use crate::{
    head::{ConnectionInfo, RequestHead},
    regex::Scratch,
    stats::{Counter, UnscopedStats},
};

/// `envoy.extensions.filters.network.rbac.v3.RBAC`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ConnectionRbac {
    /// `rules`; None: nothing is enforced.
    pub rules: Option<Rules>,
    /// `shadow_rules`: only counted.
    pub shadow_rules: Option<Rules>,
    /// `stat_prefix`.
    pub stat_prefix: Box<str>,
    /// `shadow_rules_stat_prefix`.
    pub shadow_rules_stat_prefix: Box<str>,
    /// `delay_deny`: how long a denied connection is held before it is closed; zero: not at all.
    pub delay_deny: Duration,
    counters: OnceLock<Counters>,
}

/// `PREFIX.rbac.…`
#[derive(Debug)]
struct Counters {
    allowed: Arc<Counter>,
    denied: Arc<Counter>,
    shadow_allowed: Arc<Counter>,
    shadow_denied: Arc<Counter>,
}

impl ConnectionRbac {
    /// Finds the counters; takes a lock, so only for when configuration arrives.
    pub(crate) fn resolve(&self, stats: &UnscopedStats) {
        self.counters.get_or_init(|| {
            let prefix = match self.stat_prefix.trim_end_matches('.') {
                "" => "rbac.".to_owned(),
                prefix => format!("{prefix}.rbac."),
            };
            let counter = |shadow: &str, name| stats.counter(&format!("{prefix}{shadow}{name}"));
            let shadow = &stat_prefix(&self.shadow_rules_stat_prefix);
            Counters {
                allowed: counter("", "allowed"),
                denied: counter("", "denied"),
                shadow_allowed: counter(shadow, "shadow_allowed"),
                shadow_denied: counter(shadow, "shadow_denied"),
            }
        });
    }

    /// Whether the connection may go on. It has no request: matchers of headers and paths see none.
    pub fn allows(&self, connection: &ConnectionInfo, scratch: &mut Scratch) -> bool {
        let headers = HeaderMap::new();
        let request = Request {
            head: RequestHead {
                method: &Method::GET,
                scheme: "",
                authority: "",
                path: "",
                headers: &headers,
            },
            connection,
            remote: connection.peer.map(|peer| peer.ip()),
            metadata: None,
            route: None,
            ignore_path_parameters: false,
        };
        let counters = self.counters.get();
        let count = |counter: fn(&Counters) -> &Counter| {
            if let Some(counters) = counters {
                counter(counters).inc();
            }
        };
        if let Some(rules) = &self.shadow_rules {
            match rules.check(&request, scratch).allowed {
                true => count(|c| &c.shadow_allowed),
                false => count(|c| &c.shadow_denied),
            }
        }
        let Some(rules) = &self.rules else {
            return true;
        };
        let allowed = rules.check(&request, scratch).allowed;
        match allowed {
            true => count(|c| &c.allowed),
            false => count(|c| &c.denied),
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rbac::{Action, Policy, Rule},
        stats::Stats,
    };

    #[test]
    fn a_connection_is_judged_by_its_addresses_and_counted() {
        let policy = Policy {
            permissions: vec![Rule::DestinationPort(9000)],
            principals: vec![Rule::DirectRemoteIp("10.0.0.0/8".parse().unwrap())],
        };
        let rules = Rules::new(Action::Allow, vec![("p".into(), policy.clone())]);
        let rbac = ConnectionRbac {
            rules: Some(rules),
            shadow_rules: Some(Rules::new(Action::Deny, vec![("p".into(), policy)])),
            stat_prefix: "tcp.".into(),
            shadow_rules_stat_prefix: "dry_".into(),
            ..ConnectionRbac::default()
        };
        let stats = Stats::default();
        rbac.resolve(stats.unscoped());
        let connection = |peer: &str, local: &str| ConnectionInfo {
            peer: Some(peer.parse().unwrap()),
            local: Some(local.parse().unwrap()),
            ..ConnectionInfo::default()
        };
        let mut scratch = Scratch::default();
        let inside = connection("10.1.2.3:5", "1.1.1.1:9000");
        assert!(rbac.allows(&inside, &mut scratch));
        for (peer, local) in [
            ("9.1.2.3:5", "1.1.1.1:9000"),
            ("10.1.2.3:5", "1.1.1.1:9001"),
        ] {
            assert!(!rbac.allows(&connection(peer, local), &mut scratch));
        }
        let value = |name| stats.unscoped().counter(name).value();
        assert_eq!(value("tcp.rbac.allowed"), 1);
        assert_eq!(value("tcp.rbac.denied"), 2);
        assert_eq!(value("tcp.rbac.dry_.shadow_denied"), 1);
        assert_eq!(value("tcp.rbac.dry_.shadow_allowed"), 2);
    }
}
