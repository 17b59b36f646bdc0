//! Secrets that come another way than the aggregated stream: what is wanted, what came, what is still waited for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use mesh_core::model::{Secret, SecretName, SecretSource};

use crate::{
    Resource,
    decode::Decoded,
    store::{Entry, Good, Refused},
};

/// How long a configuration is held up for a secret where its source does not say. Also once there is a configuration
/// in force: one that waits for ever (`initial_fetch_timeout: 0s`) would hold up all that come after it.
const PATIENCE: Duration = Duration::from_secs(15);

/// By name.
#[derive(Debug, Default)]
pub(crate) struct Secrets(BTreeMap<SecretName, Wanted>);

#[derive(Debug)]
struct Wanted {
    entry: Entry,
    /// Configurations that name it wait for it.
    is_awaited: bool,
    /// Until then; None: for ever.
    until: Option<Instant>,
}

impl Secrets {
    /// Wants exactly these from now on; returns whether that is news. `first`: there is no configuration in force yet.
    pub(crate) fn want(&mut self, now: Instant, names: &BTreeSet<SecretName>, first: bool) -> bool {
        let before = self.0.len();
        self.0.retain(|name, _| names.contains(name));
        let mut changed = self.0.len() != before;
        for name in names {
            // Static ones have come with the bootstrap, or never will.
            if name.source == SecretSource::Static || self.0.contains_key(name) {
                continue;
            }
            changed = true;
            let timeout = match &name.source {
                SecretSource::Grpc {
                    initial_fetch_timeout: timeout,
                    ..
                } => match (timeout.is_zero(), first) {
                    (true, true) => None,
                    (true, false) => Some(PATIENCE),
                    (false, _) => Some(*timeout),
                },
                _ => Some(PATIENCE),
            };
            let wanted = Wanted {
                entry: Entry::default(),
                is_awaited: true,
                until: timeout.and_then(|timeout| now.checked_add(timeout)),
            };
            self.0.insert(name.clone(), wanted);
        }
        changed
    }

    /// All names that are wanted.
    pub(crate) fn names(&self) -> BTreeSet<SecretName> {
        self.0.keys().cloned().collect()
    }

    /// A version of a secret came; what is refused leaves the one before in force. Returns whether anything changed
    /// for configurations.
    pub(crate) fn receive(
        &mut self,
        name: &SecretName,
        version: &str,
        decoded: Decoded,
        at: SystemTime,
    ) -> bool {
        let Some(wanted) = self.0.get_mut(name) else {
            return false;
        };
        let was_awaited = std::mem::take(&mut wanted.is_awaited);
        let error = match decoded.resource {
            Ok(resource @ Resource::Secret { .. }) => {
                wanted.entry = Entry {
                    good: Some(Good {
                        resource,
                        raw: decoded.raw,
                        version: version.to_owned(),
                        updated: at,
                    }),
                    warnings: decoded.warnings,
                    ..Entry::default()
                };
                return true;
            }
            Ok(_) => "is not a secret".to_owned(),
            Err(problems) => problems.to_string(),
        };
        wanted.entry.refused = Some(Refused {
            error,
            raw: decoded.raw,
            version: version.to_owned(),
            at,
        });
        was_awaited
    }

    /// There is nothing to be had for now: nobody waits any longer. Returns whether somebody did.
    pub(crate) fn give_up(&mut self, name: &SecretName) -> bool {
        let wanted = self.0.get_mut(name);
        wanted.is_some_and(|wanted| std::mem::take(&mut wanted.is_awaited))
    }

    /// Time passed; returns what is waited for no longer.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut expired = Vec::new();
        for (name, wanted) in &mut self.0 {
            if wanted.is_awaited && wanted.until.is_some_and(|until| until <= now) {
                wanted.is_awaited = false;
                wanted.entry.absent = true;
                expired.push(Arc::clone(&name.name));
            }
        }
        expired
    }

    /// When [`Self::expire`] has to be called next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let awaited = self.0.values().filter(|wanted| wanted.is_awaited);
        awaited.filter_map(|wanted| wanted.until).min()
    }

    /// The first that configurations wait for.
    pub(crate) fn missing(&self) -> Option<&SecretName> {
        self.0
            .iter()
            .find_map(|(name, wanted)| wanted.is_awaited.then_some(name))
    }

    /// What is in force.
    pub(crate) fn good(&self) -> impl Iterator<Item = (&SecretName, &Secret)> {
        self.0.iter().filter_map(|(name, wanted)| {
            let Resource::Secret { secret, .. } = &wanted.entry.good.as_ref()?.resource else {
                return None;
            };
            Some((name, secret))
        })
    }

    /// All of them, as dumps show them.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&SecretName, &Entry)> {
        self.0.iter().map(|(name, wanted)| (name, &wanted.entry))
    }
}
