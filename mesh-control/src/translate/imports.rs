use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{EgressHost, VirtualService, names};
use crate::registry::{Origin, Service};

/// The hosts of an egress listener, by namespace; `*` is every one.
#[derive(Debug)]
pub(super) struct Imports(BTreeMap<String, Hosts>);

#[derive(Debug, Default)]
struct Hosts {
    imported: Vec<String>,
    excluded: Vec<String>,
}

impl Hosts {
    fn has_service(&self, host: &str) -> bool {
        self.imported.iter().any(|h| names::is_subset(host, h))
    }

    fn excludes(&self, host: &str) -> bool {
        self.excluded.iter().any(|h| names::is_subset(host, h))
    }

    /// Either may cover the other, but of the Gateway API only as for services.
    fn has_virtual_host(&self, host: &str, is_of_gateway_api: bool) -> bool {
        self.imported.iter().any(|h| match is_of_gateway_api {
            true => names::is_subset(host, h),
            false => names::overlaps(host, h),
        })
    }
}

impl Imports {
    pub(super) fn everything() -> Self {
        let all = Hosts {
            imported: vec!["*".to_owned()],
            excluded: Vec::new(),
        };
        Imports(BTreeMap::from([("*".to_owned(), all)]))
    }

    pub(super) fn new(hosts: &[EgressHost], own: &str) -> Self {
        let mut all: BTreeMap<String, Hosts> = BTreeMap::new();
        for host in hosts {
            let namespace = match host.namespace.as_str() {
                "." => own,
                namespace => namespace,
            };
            let of = all.entry(namespace.to_owned()).or_default();
            match host.is_excluded {
                true => of.excluded.push(host.host.clone()),
                false => of.imported.push(host.host.clone()),
            }
        }
        Imports(all)
    }

    /// The entries for a namespace: its own, then that for all.
    fn of(&self, namespace: &str) -> impl Iterator<Item = &Hosts> {
        [namespace, "*"]
            .into_iter()
            .filter_map(|namespace| self.0.get(namespace))
    }
}

/// The services of an egress listener; one for a port has only services with that port, and of them only it.
pub(super) fn imported_services(
    visible: &[Arc<Service>],
    imports: &Imports,
    port: Option<u32>,
    own: &str,
) -> Vec<Arc<Service>> {
    let import = |service: &Arc<Service>| {
        let (namespace, host) = (service.namespace.as_str(), service.host.as_str());
        if imports.of(namespace).any(|hosts| hosts.excludes(host)) {
            return None;
        }
        let hosts = imports
            .of(namespace)
            .find(|hosts| hosts.has_service(host))?;
        let service = match port {
            None => service.clone(),
            Some(port) => service
                .port(port)
                .and_then(|_| service.with_ports(|number| number == port))?,
        };
        let all = service.aliases.iter().all(|alias| hosts.has_service(alias));
        Some(if all {
            service
        } else {
            let mut narrowed = Service::clone(&service);
            narrowed.aliases.retain(|alias| hosts.has_service(alias));
            Arc::new(narrowed)
        })
    };
    let mut imported: Vec<_> = visible.iter().filter_map(import).collect();
    // of a host in several namespaces one counts: the own one's, else Kubernetes' own, else the first
    let mut chosen: BTreeMap<String, (String, Origin)> = BTreeMap::new();
    for service in &imported {
        let candidate = (service.namespace.clone(), service.origin);
        let wins = match chosen.get(&service.host) {
            None => true,
            Some((namespace, origin)) => {
                service.namespace == own || (*origin > service.origin && namespace != own)
            }
        };
        if wins {
            chosen.insert(service.host.clone(), candidate);
        }
    }
    imported.retain(|s| {
        chosen
            .get(&s.host)
            .is_some_and(|(ns, _)| *ns == s.namespace)
    });
    imported
}

/// The VirtualServices of an egress listener.
pub(super) fn imported_virtual_services(
    all: &[Arc<VirtualService>],
    imports: &Imports,
) -> Vec<Arc<VirtualService>> {
    let is_imported = |vs: &&Arc<VirtualService>| {
        let namespace = vs.metadata.namespace.as_str();
        let excluded = |host: &str| imports.of(namespace).any(|hosts| hosts.excludes(host));
        imports.of(namespace).any(|hosts| {
            vs.hosts
                .iter()
                .any(|host| hosts.has_virtual_host(host, vs.is_of_gateway_api) && !excluded(host))
        })
    };
    all.iter().filter(is_imported).cloned().collect()
}
