//! Access logs: filters, formats and targets.

use super::*;

const FILE: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";

fn file(fields: &str) -> String {
    format!("typed_config: {{'@type': type.googleapis.com/{FILE}, path: /tmp/x{fields}}}")
}

fn with_log(log: &str) -> String {
    with_manager(&format!("access_log: [{{name: log, {log}}}]"), "")
}

const AT: &str = "filter_chains[0].filters[0].typed_config.access_log[0].";

#[test]
fn known_logs_need_no_warning() {
    let stream = |name: &str| {
        format!(
            "typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.{name}, \
             log_format: {{text_format: '%PROTOCOL%', content_type: text/html}}}}"
        )
    };
    for log in [
        file(""),
        file(", typed_json_format: {a: '%PROTOCOL%'}"),
        file(", json_format: {a: '%PROTOCOL%'}"),
        file(
            ", log_format: {text_format: '%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH):9%', formatters: [{name: x, \
             typed_config: {'@type': \
             type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery}}]}",
        ),
        file(
            ", log_format: {json_format: {a: '%PROTOCOL%'}, json_format_options: {sort_properties: true}}",
        ),
        stream("StdoutAccessLog"),
        stream("StderrAccessLog"),
    ] {
        assert_eq!(warnings(LISTENER, &with_log(&log)), [""; 0], "{log}");
    }
}

#[test]
fn what_is_not_known_is_said() {
    for (log, expected) in [
        (
            format!("{}, filter: {{extension_filter: {{name: cel}}}}", file("")),
            "filter.extension_filter: not supported yet; ignored".to_owned(),
        ),
        (
            file(", log_format: {text_format: a, formatters: [{name: x}]}"),
            "typed_config.log_format.formatters[0]: x is not supported yet; ignored: its operators are refused".to_owned(),
        ),
        (
            file(", log_format: {text_format: '%UPSTREAM_WIRE_BYTES_SENT%'}"),
            "typed_config.log_format.text_format: operator %UPSTREAM_WIRE_BYTES_SENT% is not supported yet; \
             the log is not written"
                .to_owned(),
        ),
        (
            "typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig}".to_owned(),
            "typed_config: access logger envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig is not \
             supported yet; ignored".to_owned(),
        ),
    ] {
        assert_eq!(warnings(LISTENER, &with_log(&log)), [format!("{AT}{expected}")]);
    }
}

#[test]
fn what_is_wrong_is_refused() {
    for (log, expected) in [
        (
            file(", log_format: {text_format: '%NOTHING%'}"),
            "typed_config.log_format.text_format: Not supported field in StreamInfo: NOTHING",
        ),
        (
            file(", log_format: {text_format: '%REQ_WITHOUT_QUERY(A)%'}"),
            "typed_config.log_format.text_format: Not supported field in StreamInfo: REQ_WITHOUT_QUERY",
        ),
        (
            format!(
                "{}, filter: {{response_flag_filter: {{flags: [XX, RLSE]}}}}",
                file("")
            ),
            "filter.response_flag_filter.flags[0]: \"XX\" is not a response flag",
        ),
        (
            format!("{}, filter: {{and_filter: {{filters: []}}}}", file("")),
            "filter.and_filter.filters: must hold at least 2 filters",
        ),
        (
            format!(
                "{}, filter: {{status_code_filter: {{comparison: {{value: {{default_value: 3}}}}}}}}",
                file("")
            ),
            "filter.status_code_filter.comparison.value.runtime_key: must not be empty",
        ),
    ] {
        assert_eq!(errors(LISTENER, &with_log(&log)), format!("{AT}{expected}"));
    }
}
