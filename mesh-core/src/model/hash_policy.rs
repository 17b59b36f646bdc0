//! What of a request is hashed (`RouteAction.HashPolicy`), and how a hash chooses.

use http::HeaderValue;

use crate::{matcher::MatchedHeader, regex::Regex};

/// `RouteAction.HashPolicy`: one ingredient of the hash by which ring hash and maglev choose.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HashPolicy {
    /// The policy specifier.
    pub source: HashSource,
    /// `terminal`: once there is a hash, the policies that follow are not asked.
    pub terminal: bool,
}

impl HashPolicy {
    /// A policy that is not terminal.
    pub fn new(source: HashSource) -> Self {
        Self {
            source,
            terminal: false,
        }
    }
}

/// The policy specifier of a [`HashPolicy`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HashSource {
    /// `header`: all its lines, sorted.
    Header {
        /// `header_name`.
        name: MatchedHeader,
        /// `regex_rewrite`: pattern and substitution, applied to each line. Allocates.
        rewrite: Option<(Regex, Box<str>)>,
    },
    /// `cookie`: its value; one that is missing may be made up.
    Cookie(Box<HashCookie>),
    /// `connection_properties.source_ip`: the client's address without port, behind trusted proxies.
    SourceIp,
    /// `query_parameter.name`: the first one of the name, as written.
    QueryParameter(Box<str>),
    /// `filter_state.key`: an object of a filter. No filter here sets one that can be hashed, so that it adds nothing.
    FilterState(Box<str>),
}

impl PartialEq for HashSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Header { name, rewrite },
                Self::Header {
                    name: other_name,
                    rewrite: other_rewrite,
                },
            ) => {
                let text = |rewrite: &Option<(Regex, Box<str>)>| {
                    let rewrite = rewrite.as_ref();
                    rewrite.map(|(regex, by)| (regex.as_str().to_owned(), by.clone()))
                };
                name == other_name && text(rewrite) == text(other_rewrite)
            }
            (Self::Cookie(a), Self::Cookie(b)) => a == b,
            (Self::SourceIp, Self::SourceIp) => true,
            (Self::QueryParameter(a), Self::QueryParameter(b)) => a == b,
            (Self::FilterState(a), Self::FilterState(b)) => a == b,
            _ => false,
        }
    }
}

/// `HashPolicy.Cookie`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HashCookie {
    /// `name`.
    pub name: Box<str>,
    /// With `ttl`: how a cookie that a request lacks is made up; None: such a request has no hash.
    pub made_up: Option<MadeUpCookie>,
}

impl HashCookie {
    /// A cookie of this name.
    pub fn new(name: impl Into<Box<str>>, made_up: Option<MadeUpCookie>) -> Self {
        Self {
            name: name.into(),
            made_up,
        }
    }
}

/// What the answer's `set-cookie` says around the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeUpCookie {
    /// `; Max-Age=…` from `ttl` (whole seconds; 0: left out), `; Path=…`, attributes, `; HttpOnly`.
    pub attributes: HeaderValue,
}

/// `ring_hash_lb_config` or the typed `RingHash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingHash {
    /// `minimum_ring_size`; default 1,024.
    pub minimum_ring_size: u64,
    /// `maximum_ring_size`; default 8 Mi.
    pub maximum_ring_size: u64,
    /// `hash_function`; default xxHash.
    pub hash_function: HashFunction,
    /// What ring hash and maglev share.
    pub hashing: ConsistentHashing,
}

impl Default for RingHash {
    fn default() -> Self {
        Self {
            minimum_ring_size: 1024,
            maximum_ring_size: 8 * 1024 * 1024,
            hash_function: HashFunction::default(),
            hashing: ConsistentHashing::default(),
        }
    }
}

/// `RingHash.HashFunction`: of the ring's entries; requests are always hashed by xxHash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashFunction {
    /// `XX_HASH`: xxHash64, seed 0.
    #[default]
    XxHash,
    /// `MURMUR_HASH_2`: as libstdc++'s `std::hash<string>`.
    MurmurHash2,
}

/// `maglev_lb_config` or the typed `Maglev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maglev {
    /// `table_size`; a prime number; default 65,537.
    pub table_size: u64,
    /// What ring hash and maglev share.
    pub hashing: ConsistentHashing,
}

impl Default for Maglev {
    fn default() -> Self {
        Self {
            table_size: 65_537,
            hashing: ConsistentHashing::default(),
        }
    }
}

/// `consistent_hashing_lb_config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsistentHashing {
    /// `use_hostname_for_hashing`: endpoints are known by their hostname instead of their address.
    pub use_hostname: bool,
    /// `hash_balance_factor`, percent of the average load that an endpoint may have at most; 0: no limit.
    pub balance_factor: u32,
}
