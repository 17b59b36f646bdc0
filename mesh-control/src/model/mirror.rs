use super::Destination;
use crate::yaml::Fields;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mirror {
    pub(crate) destination: Destination,
    pub(crate) amount: MirrorAmount,
}

/// How much is mirrored, in the three ways in which it can be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MirrorAmount {
    All,
    /// `mirrorPercent`.
    Whole(u32),
    /// `percentage.value`.
    Fraction(f64),
}

pub(super) fn mirror_amount(fields: &Fields<'_>) -> Option<MirrorAmount> {
    let mut amount = None;
    for name in ["mirrorPercent", "mirror_percent"] {
        if let Some(at) = fields.get(name) {
            at.warn("is deprecated", "write mirrorPercentage: {value: …}");
            amount = Some(MirrorAmount::Whole(at.number(100)));
        }
    }
    match fields.get("mirrorPercentage") {
        Some(at) => Some(MirrorAmount::Fraction(super::resilience::percent(at))),
        None => amount,
    }
}

pub(super) fn mirrors(fields: &Fields<'_>, namespace: &str) -> Vec<Mirror> {
    let listed = fields.list("mirrors", |at| {
        let fields = at.fields();
        let destination = fields
            .require("destination")
            .map(|at| Destination::read(at, namespace));
        let amount = fields.get("percentage").map_or(MirrorAmount::All, |at| {
            MirrorAmount::Fraction(super::resilience::percent(at))
        });
        fields.finish();
        destination.map(|destination| Mirror {
            destination,
            amount,
        })
    });
    listed.into_iter().flatten().collect()
}
