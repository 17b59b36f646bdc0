//! The header mutation filter.

use mesh_core::{
    filter::{HeaderMutation, Mutations, QueryMutation},
    model::AppendAction,
    route::HeaderFormat,
};
use mesh_proto::envoy::{
    config::{
        common::mutation_rules::v3::{self as rules, header_mutation::Action},
        core::v3::{HeaderValueOption, KeyValueMutation, key_value_append::KeyValueAppendAction},
    },
    extensions::filters::http::header_mutation::v3 as proto,
};
use prost_types::value::Kind;

use crate::{
    decode::{
        header_operations::{append_action, modifiable},
        matcher,
        scalar::enumeration,
    },
    problems::Problems,
};

/// `Mutations`.
pub(super) fn mutations(p: &mut Problems, value: Option<&proto::Mutations>) -> Mutations {
    let mut mutations = Mutations::default();
    let Some(value) = value else {
        return mutations;
    };
    p.field("mutations", |p| {
        let mut headers =
            |name: &'static str, list: &[rules::HeaderMutation]| p.each(name, list, mutation);
        mutations.request = headers("request_mutations", &value.request_mutations);
        mutations.response = headers("response_mutations", &value.response_mutations);
        mutations.request_trailers = headers(
            "request_trailers_mutations",
            &value.request_trailers_mutations,
        );
        mutations.response_trailers = headers(
            "response_trailers_mutations",
            &value.response_trailers_mutations,
        );
        mutations.query = p.each(
            "query_parameter_mutations",
            &value.query_parameter_mutations,
            query_mutation,
        );
    });
    mutations
}

pub(in crate::decode) fn mutation(
    p: &mut Problems,
    value: &rules::HeaderMutation,
) -> Option<HeaderMutation> {
    match &value.action {
        Some(Action::Remove(name)) => p
            .field("remove", |p| modifiable(p, name))
            .map(HeaderMutation::Remove),
        Some(Action::RemoveOnMatch(matching)) => p.field("remove_on_match", |p| {
            let matcher = p.require("key_matcher", matching.key_matcher.as_ref())?;
            p.field("key_matcher", |p| matcher::string(p, matcher))
                .map(HeaderMutation::RemoveOnMatch)
        }),
        Some(Action::Append(option)) => p.field("append", |p| addition(p, option)),
        None => {
            p.error("must hold remove, append or remove_on_match");
            None
        }
    }
}

fn addition(p: &mut Problems, option: &HeaderValueOption) -> Option<HeaderMutation> {
    let header = p.require("header", option.header.as_ref())?;
    let (name, value) = p.field("header", |p| {
        let name = p.field("key", |p| modifiable(p, &header.key));
        let (field, bytes) = match header.raw_value.is_empty() {
            true => ("value", header.value.as_bytes()),
            false => ("raw_value", header.raw_value.as_slice()),
        };
        let value = p.field(field, |p| p.check(HeaderFormat::parse(bytes)));
        (name, value)
    });
    let action = append_action(p, option);
    Some(HeaderMutation::Append {
        name: name?,
        value: value?,
        action: action?,
        keep_empty_value: option.keep_empty_value,
    })
}

fn query_mutation(p: &mut Problems, value: &KeyValueMutation) -> Option<QueryMutation> {
    match (&value.append, value.remove.as_str()) {
        (Some(_), remove) if !remove.is_empty() => {
            p.error("must not hold both append and remove");
            None
        }
        (None, "") => {
            p.error("must hold append or remove");
            None
        }
        (None, remove) => Some(QueryMutation::Remove(remove.into())),
        (Some(append), _) => p.field("append", |p| {
            let record = p.require("record", append.record.as_ref())?;
            let (key, value) = p.field("record", |p| {
                let key = p.require_text("key", &record.key);
                let value = p.field("value", |p| match record.value.as_ref()?.kind.as_ref() {
                    Some(Kind::StringValue(text)) => p.check(HeaderFormat::parse(text.as_bytes())),
                    _ => {
                        p.error("must be a string");
                        None
                    }
                });
                if record.value.is_none() {
                    p.require("value", None::<()>);
                }
                (key, value)
            });
            let action = enumeration::<KeyValueAppendAction>(p, "action", append.action)?;
            Some(QueryMutation::Append {
                key: key?.into(),
                value: value?,
                action: match action {
                    KeyValueAppendAction::AppendIfExistsOrAdd => AppendAction::AppendIfExistsOrAdd,
                    KeyValueAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
                    KeyValueAppendAction::OverwriteIfExistsOrAdd => {
                        AppendAction::OverwriteIfExistsOrAdd
                    }
                    KeyValueAppendAction::OverwriteIfExists => AppendAction::OverwriteIfExists,
                },
            })
        }),
    }
}
