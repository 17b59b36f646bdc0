//! Header operations of a level: `request_headers_to_add` and its siblings.

use http::HeaderName;
use mesh_core::{
    model::{AppendAction, HeaderAddition, HeaderMutations, HeaderOperations},
    route::HeaderFormat,
};
use mesh_proto::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction,
};

use super::scalar::{enumeration, header_name};
use crate::problems::Problems;

/// The four lists of one level.
pub(super) fn header_operations(
    p: &mut Problems,
    request: (&[HeaderValueOption], &[String]),
    response: (&[HeaderValueOption], &[String]),
) -> HeaderOperations {
    let mut operations = HeaderOperations::default();
    operations.request = mutations(
        p,
        ("request_headers_to_add", "request_headers_to_remove"),
        request,
    );
    operations.response = mutations(
        p,
        ("response_headers_to_add", "response_headers_to_remove"),
        response,
    );
    operations
}

/// The lists of requests alone, under these names.
pub(super) fn request_mutations(
    p: &mut Problems,
    names: (&'static str, &'static str),
    lists: (&[HeaderValueOption], &[String]),
) -> HeaderMutations {
    mutations(p, names, lists)
}

/// A list of additions alone.
pub(super) fn additions(
    p: &mut Problems,
    name: &'static str,
    list: &[HeaderValueOption],
) -> HeaderMutations {
    let mut mutations = HeaderMutations::default();
    mutations.add = p.each(name, list, addition);
    mutations
}

fn mutations(
    p: &mut Problems,
    names: (&'static str, &'static str),
    (add, remove): (&[HeaderValueOption], &[String]),
) -> HeaderMutations {
    let mut mutations = HeaderMutations::default();
    mutations.add = p.each(names.0, add, addition);
    mutations.remove = p.each(names.1, remove, |p, name| modifiable(p, name));
    mutations
}

fn addition(p: &mut Problems, option: &HeaderValueOption) -> Option<HeaderAddition> {
    let header = p.require("header", option.header.as_ref())?;
    let (name, value) = p.field("header", |p| {
        let name = p.field("key", |p| modifiable(p, &header.key));
        let (field, bytes) = match header.raw_value.is_empty() {
            true => ("value", header.value.as_bytes()),
            false => ("raw_value", header.raw_value.as_slice()),
        };
        (
            name,
            p.field(field, |p| p.check(HeaderFormat::parse(bytes))),
        )
    });
    let action = append_action(p, option);
    let mut addition = HeaderAddition::new(name?, value?, action?);
    addition.keep_empty_value = option.keep_empty_value;
    Some(addition)
}

pub(super) fn append_action(p: &mut Problems, option: &HeaderValueOption) -> Option<AppendAction> {
    let action = enumeration::<HeaderAppendAction>(p, "append_action", option.append_action)?;
    match (option.append, action) {
        (Some(_), action) if action != HeaderAppendAction::AppendIfExistsOrAdd => {
            p.error_at("append", "must not be set together with append_action");
            None
        }
        (Some(false), _) => Some(AppendAction::OverwriteIfExistsOrAdd),
        (_, HeaderAppendAction::AppendIfExistsOrAdd) => Some(AppendAction::AppendIfExistsOrAdd),
        (_, HeaderAppendAction::AddIfAbsent) => Some(AppendAction::AddIfAbsent),
        (_, HeaderAppendAction::OverwriteIfExistsOrAdd) => {
            Some(AppendAction::OverwriteIfExistsOrAdd)
        }
        (_, HeaderAppendAction::OverwriteIfExists) => Some(AppendAction::OverwriteIfExists),
    }
}

pub(super) fn modifiable(p: &mut Problems, name: &str) -> Option<HeaderName> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        p.error(format!(
            "{name:?}: :-prefixed or host headers may not be modified"
        ));
        return None;
    }
    header_name(p, name)
}
