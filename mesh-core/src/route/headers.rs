//! Header operations of one level (Envoy `HeaderParser::evaluateHeaders`).

use http::{HeaderMap, HeaderValue};

use super::FormatContext;
use crate::{
    model::{AppendAction, HeaderAddition, HeaderMutations},
    one_line::{self, HeadKind},
};

/// So many additions of one level are computed without allocating.
const INLINE: usize = 8;

/// A map of headers and what the operators of values read beside it.
pub(super) trait Target {
    /// Whose headers they are.
    fn kind(&self) -> HeadKind;
    /// The headers to change.
    fn headers(&mut self) -> &mut HeaderMap;
    /// The context in which values are computed now.
    fn context(&self) -> FormatContext<'_>;
}

/// Applies one level: removals, then all values computed from the headers as they are, then overwrites, then appends.
/// Constant values cost a reference count.
pub(super) fn apply(mutations: &HeaderMutations, target: &mut impl Target) {
    if mutations.is_empty() {
        return;
    }
    for name in &mutations.remove {
        target.headers().remove(name);
    }

    let mut inline = [const { None }; INLINE];
    let mut spilled = Vec::new();
    let values = match inline.get_mut(..mutations.add.len()) {
        Some(values) => values,
        None => {
            spilled.resize(mutations.add.len(), None);
            &mut spilled[..]
        }
    };
    {
        let cx = target.context();
        for (value, addition) in values.iter_mut().zip(&mutations.add) {
            *value = compute(addition, &cx);
        }
    }
    let kind = target.kind();
    let headers = target.headers();
    // A value whose condition does not hold is dropped before anything is written.
    for (value, addition) in values.iter_mut().zip(&mutations.add) {
        let wanted = match addition.action {
            AppendAction::AppendIfExistsOrAdd | AppendAction::OverwriteIfExistsOrAdd => true,
            AppendAction::AddIfAbsent => !headers.contains_key(&addition.name),
            AppendAction::OverwriteIfExists => headers.contains_key(&addition.name),
        };
        if !wanted {
            *value = None;
        }
    }
    for (value, addition) in values.iter_mut().zip(&mutations.add) {
        if overwrites(addition)
            && let Some(value) = value.take()
        {
            headers.insert(addition.name.clone(), value);
        }
    }
    for (value, addition) in values.iter_mut().zip(&mutations.add) {
        if let Some(value) = value.take() {
            one_line::append(kind, headers, &addition.name, value);
        }
    }
}

fn overwrites(addition: &HeaderAddition) -> bool {
    matches!(
        addition.action,
        AppendAction::OverwriteIfExistsOrAdd | AppendAction::OverwriteIfExists
    )
}

fn compute(addition: &HeaderAddition, cx: &FormatContext<'_>) -> Option<HeaderValue> {
    let empty = addition
        .keep_empty_value
        .then_some(HeaderValue::from_static(""));
    addition.value.evaluate(cx).or(empty)
}
