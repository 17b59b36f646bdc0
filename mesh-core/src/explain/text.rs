//! An explanation as text: one fact a line.

use std::fmt;

use super::{Candidate, EndpointState, Endpoints, Explanation, Outcome, Place};
use crate::model::Provenance;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        if let Some(listener) = &self.listener {
            writeln!(f, "listener             {listener}")?;
        }
        if let Some(name) = &self.route_configuration {
            writeln!(f, "route configuration  {name}")?;
        }
        if let Some(host) = &self.virtual_host {
            writeln!(f, "virtual host         {host}")?;
        }
        for passed in &self.passed_over {
            let unmet = passed.unmet.join("; ");
            writeln!(f, "  not                {}: {unmet}", passed.route)?;
        }
        if let Some(matched) = &self.route {
            let conditions = &matched.conditions;
            writeln!(f, "route                {}: {conditions}", matched.route)?;
        }
        for policy in &self.policies {
            writeln!(f, "  {:<18} {}", policy.name, policy.value)?;
        }
        match &self.outcome {
            Outcome::Forward => {}
            Outcome::Reply {
                status,
                location,
                details,
                ..
            } => {
                write!(f, "answered             {} {details}", status.as_u16())?;
                if let Some(location) = location {
                    write!(f, ", location {location}")?;
                }
                writeln!(f)?;
            }
        }
        self.clusters.iter().try_for_each(|c| write!(f, "{c}"))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster              {}", self.name)?;
        let (weight, total) = self.weight;
        if weight != total {
            write!(f, ", weight {weight} of {total}")?;
        }
        write!(f, "{}", From(&self.provenance))?;
        writeln!(f)?;
        for policy in &self.policies {
            writeln!(f, "  {:<18} {}", policy.name, policy.value)?;
        }
        match &self.endpoints {
            Endpoints::NoCluster => writeln!(f, "  does not exist"),
            Endpoints::OriginalDestination => {
                writeln!(
                    f,
                    "  endpoint           the address that the call is made to"
                )
            }
            Endpoints::Known(endpoints) if endpoints.is_empty() => writeln!(f, "  no endpoints"),
            Endpoints::Known(endpoints) => endpoints.iter().try_for_each(|e| writeln!(f, "{e}")),
        }
    }
}

impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  endpoint           {} {}", self.address, self.health)?;
        if self.priority > 0 {
            write!(f, ", priority {}", self.priority)?;
        }
        if self.weight != 1 {
            write!(f, ", weight {}", self.weight)?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.is_empty() {
            true => f.write_str("(no name)"),
            false => f.write_str(&self.name),
        }?;
        write!(f, "{}", From(&self.provenance))
    }
}

/// ` (object, file:line)`, as far as it is known.
struct From<'a>(&'a Provenance);

impl fmt::Display for From<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.object, &self.0.place) {
            (Some(object), Some(place)) => write!(f, " ({object}, {place})"),
            (Some(one), None) | (None, Some(one)) => write!(f, " ({one})"),
            (None, None) => Ok(()),
        }
    }
}
