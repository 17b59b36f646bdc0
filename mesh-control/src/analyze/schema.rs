//! What the webhook would refuse or warn about.

use super::finding::Findings;
use super::objects::World;
use crate::problem::Severity;
use crate::validate;
use crate::yaml::Mark;

/// Fields that are deprecated in Istio's own words.
const DEPRECATED: [&str; 3] = ["mirrorPercent", "consecutiveErrors", "minimumRingSize"];

pub(super) fn analyze(world: &World<'_>, default_namespace: &str, findings: &mut Findings) {
    for object in &world.objects {
        let Some(judgement) = validate::judge(object.root.node(), object.file, default_namespace)
        else {
            continue;
        };
        for problem in judgement.problems {
            let last = problem.field.rsplit('.').next().unwrap_or_default();
            let at = Mark {
                line: problem.line,
                column: problem.column,
            };
            // kinds of old releases are none of the webhook's
            if problem.code == "unknown_kind" {
                continue;
            }
            let (code, kind) = match (problem.severity, problem.code) {
                (Severity::Refused, _) => ("IST0106", "error"),
                (_, "warning") => ("IST0133", "warning"),
                (_, "deprecated") if DEPRECATED.contains(&last) => ("IST0133", "warning"),
                _ => continue,
            };
            let field = match problem.field.as_str() {
                "" => String::new(),
                field => format!("{field}: "),
            };
            let message = format!("Schema validation {kind}: {field}{}", problem.message);
            findings.add(code, object, at, message);
        }
        // without a resolution, no address is allocated either
        let is_unresolved = matches!(object.spec.text("resolution"), "" | "NONE");
        if object.kind == "ServiceEntry"
            && is_unresolved
            && object.spec.list("addresses").is_empty()
        {
            for port in object.spec.list("ports") {
                if matches!(port.text("protocol"), "" | "TCP") {
                    findings.add(
                        "IST0133",
                        object,
                        port.mark(),
                        "Schema validation warning: addresses are required for ports serving TCP (or unset) protocol when IP \
                         Autoallocation is not enabled",
                    );
                }
            }
        }
        if object.kind == "EnvoyFilter" {
            findings.about(
                "IST0133",
                object,
                "Schema validation warning: EnvoyFilter exposes internal implementation details that may change at any \
                 time. Prefer other APIs if possible, and exercise extreme caution, especially around upgrades.",
            );
        }
    }
}
