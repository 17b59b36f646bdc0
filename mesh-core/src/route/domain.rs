//! Which virtual host an authority belongs to (Envoy `RouteMatcher::findVirtualHost`).

use rustc_hash::FxHashMap;

use crate::{model::RouteConfiguration, regex::Scratch};

/// Virtual hosts by domain. A look-up costs a hash, and one more per length of wildcard that is configured.
#[derive(Debug)]
pub(super) struct DomainIndex {
    exact: FxHashMap<Box<str>, u32>,
    /// `*.foo.com`, by what follows the `*`.
    suffixes: Wildcards,
    /// `foo.*`, by what precedes the `*`.
    prefixes: Wildcards,
    catch_all: Option<u32>,
    ignore_port: bool,
    catch_all_only: bool,
}

/// Domains of one kind by length, longest first.
type Wildcards = Vec<(usize, FxHashMap<Box<str>, u32>)>;

impl DomainIndex {
    /// Of two virtual hosts with the same domain the first has it (the decoder refuses such configurations).
    pub(super) fn new(config: &RouteConfiguration) -> Self {
        let mut index = Self {
            exact: FxHashMap::default(),
            suffixes: Vec::new(),
            prefixes: Vec::new(),
            catch_all: None,
            ignore_port: config.ignore_port_in_host_matching,
            catch_all_only: false,
        };
        for (at, host) in (0u32..).zip(&config.virtual_hosts) {
            for domain in &host.domains {
                let domain = domain.to_ascii_lowercase();
                if domain == "*" {
                    index.catch_all.get_or_insert(at);
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    insert(&mut index.suffixes, suffix, at);
                } else if let Some(prefix) = domain.strip_suffix('*') {
                    insert(&mut index.prefixes, prefix, at);
                } else {
                    index.exact.entry(domain.into()).or_insert(at);
                }
            }
        }
        index.catch_all_only =
            index.exact.is_empty() && index.suffixes.is_empty() && index.prefixes.is_empty();
        index
    }

    /// The place of the virtual host. Allocates only if the authority has capitals and the scratch has no room yet.
    pub(super) fn find(&self, authority: &str, scratch: &mut Scratch) -> Option<u32> {
        if self.catch_all_only {
            return self.catch_all;
        }
        if authority.is_empty() {
            return None;
        }
        let host = if self.ignore_port {
            without_port(authority)
        } else {
            authority
        };
        if let Some(at) = self.exact.get(host) {
            return Some(*at);
        }
        if host.bytes().any(|b| b.is_ascii_uppercase()) {
            let lower = scratch.lower_case(host);
            return self
                .exact
                .get(lower)
                .copied()
                .or_else(|| self.wildcard(lower));
        }
        self.wildcard(host)
    }

    /// `host`: lower case. The part that the `*` stands for is never empty.
    fn wildcard(&self, host: &str) -> Option<u32> {
        let suffix = |length| host.get(host.len() - length..);
        let prefix = |length| host.get(..length);
        find(&self.suffixes, host.len(), suffix)
            .or_else(|| find(&self.prefixes, host.len(), prefix))
            .or(self.catch_all)
    }
}

fn insert(wildcards: &mut Wildcards, domain: &str, at: u32) {
    let length = domain.len();
    let place = wildcards.partition_point(|(l, _)| *l > length);
    if wildcards.get(place).is_none_or(|(l, _)| *l != length) {
        wildcards.insert(place, (length, FxHashMap::default()));
    }
    wildcards[place].1.entry(domain.into()).or_insert(at);
}

fn find<'h>(
    wildcards: &Wildcards,
    host_length: usize,
    part: impl Fn(usize) -> Option<&'h str>,
) -> Option<u32> {
    wildcards
        .iter()
        .filter(|(length, _)| *length < host_length)
        .find_map(|(length, domains)| domains.get(part(*length)?).copied())
}

/// The host without `:port`; the colons of `[::1]` are its own (Envoy `HeaderUtility::getPortStart`).
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}
