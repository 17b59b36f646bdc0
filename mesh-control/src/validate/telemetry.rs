use super::part::Part;
use super::{cel, selector};

pub(super) fn check(spec: &Part<'_>) {
    selector::check_policy(spec);
    for metrics in spec.list("metrics") {
        check_providers(&metrics);
        for overridden in metrics.list("overrides") {
            check_override(&overridden);
        }
    }
    for tracing in spec.list("tracing") {
        check_providers(&tracing);
        let percentage = tracing.float("randomSamplingPercentage");
        if !(0.0..=100.0).contains(&percentage) && !percentage.is_nan() {
            tracing.refuse_at(
                "randomSamplingPercentage",
                "randomSamplingPercentage must be in range [0.0, 100.0]",
                "write a number from 0 to 100",
            );
        }
        for (name, tag) in tracing.map("customTags") {
            check_tag(name, &tag);
        }
    }
    for logging in spec.list("accessLogging") {
        if let Some(filter) = logging.get("filter")
            && let Err(wrong) = cel::check(filter.text("expression"))
        {
            filter.refuse_at(
                "expression",
                format_args!("must be a valid CEL expression, {wrong}"),
                "write one such as response.code >= 400",
            );
        }
        check_providers(&logging);
    }
}

fn check_providers(of: &Part<'_>) {
    for provider in of.list("providers") {
        if provider.text("name").is_empty() {
            return provider.refuse_at("name", "providers.name may not be empty", "add name");
        }
    }
}

fn check_override(overridden: &Part<'_>) {
    for (name, tag) in overridden.map("tagOverrides") {
        let value = tag.text("value");
        if name.is_empty() {
            tag.warn_at("", "tagOverrides.name may not be empty", "write its name");
        }
        match tag.word("operation", &["UPSERT", "REMOVE"]) {
            "UPSERT" if value.is_empty() => tag.refuse_at(
                "value",
                "tagOverrides.value must be set when operation is UPSERT",
                "add value",
            ),
            "REMOVE" if !value.is_empty() => tag.refuse_at(
                "value",
                "tagOverrides.value may only be set when operation is UPSERT",
                "remove it",
            ),
            _ => {}
        }
    }
    if let Some(matched) = overridden.get("match")
        && let Some(("customMetric", name)) = matched.one_of(&["metric", "customMetric"])
        && name.as_text().is_empty()
    {
        name.refuse("customMetric may not be empty", "write its name");
    }
}

fn check_tag(name: &str, tag: &Part<'_>) {
    if name.is_empty() {
        tag.refuse("tag name may not be empty", "write its name");
    }
    let Some((kind, of)) = tag.one_of(&["literal", "environment", "header", "formatter"]) else {
        return;
    };
    let (field, what) = match kind {
        "literal" => ("value", "literal tag value may not be empty"),
        "header" => ("name", "header tag name may not be empty"),
        "environment" => ("name", "environment tag name may not be empty"),
        _ => return,
    };
    if of.text(field).is_empty() {
        of.refuse_at(field, what, format_args!("add {field}"));
    }
}
