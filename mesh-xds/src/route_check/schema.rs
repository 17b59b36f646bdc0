//! The messages of a file of cases. There is no generated code for them: the file is part of Envoy's tests, not of its
//! API, and only its text forms are read, so field numbers are our own.

use std::sync::LazyLock;

use mesh_proto::{
    descriptor_pool,
    envoy::config::{core::v3::HeaderValue, route::v3::HeaderMatcher},
};
use prost_reflect::DescriptorPool;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// The full name of [`Validation`].
pub(super) const VALIDATION: &str = "envoy.RouterCheckToolSchema.Validation";

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Validation {
    #[prost(message, repeated, tag = "1")]
    pub(super) tests: Vec<ValidationItem>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValidationItem {
    #[prost(string, tag = "1")]
    pub(super) test_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) input: Option<ValidationInput>,
    #[prost(message, optional, tag = "3")]
    pub(super) validate: Option<ValidationAssert>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValidationInput {
    #[prost(string, tag = "1")]
    pub(super) authority: String,
    #[prost(string, tag = "2")]
    pub(super) path: String,
    #[prost(string, tag = "4")]
    pub(super) method: String,
    #[prost(uint64, tag = "5")]
    pub(super) random_value: u64,
    #[prost(bool, tag = "6")]
    pub(super) ssl: bool,
    #[prost(bool, tag = "7")]
    pub(super) internal: bool,
    #[prost(string, tag = "9")]
    pub(super) runtime: String,
    #[prost(message, repeated, tag = "10")]
    pub(super) additional_request_headers: Vec<HeaderValue>,
    #[prost(message, repeated, tag = "11")]
    pub(super) additional_response_headers: Vec<HeaderValue>,
    #[prost(message, repeated, tag = "12")]
    pub(super) dynamic_metadata: Vec<Metadata>,
}

/// `envoy.extensions.filters.http.set_metadata.v3.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    #[prost(string, tag = "1")]
    pub(super) metadata_namespace: String,
    #[prost(bool, tag = "2")]
    pub(super) allow_overwrite: bool,
    #[prost(message, optional, tag = "3")]
    pub(super) value: Option<prost_types::Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValidationAssert {
    #[prost(message, optional, tag = "1")]
    pub(super) cluster_name: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(super) virtual_cluster_name: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(super) virtual_host_name: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub(super) host_rewrite: Option<String>,
    #[prost(message, optional, tag = "5")]
    pub(super) path_rewrite: Option<String>,
    #[prost(message, optional, tag = "6")]
    pub(super) path_redirect: Option<String>,
    #[prost(message, repeated, tag = "9")]
    pub(super) request_header_fields: Vec<HeaderValue>,
    #[prost(message, repeated, tag = "10")]
    pub(super) response_header_fields: Vec<HeaderValue>,
    #[prost(message, repeated, tag = "11")]
    pub(super) request_header_matches: Vec<HeaderMatcher>,
    #[prost(message, repeated, tag = "12")]
    pub(super) response_header_matches: Vec<HeaderMatcher>,
    #[prost(message, optional, tag = "13")]
    pub(super) code_redirect: Option<u32>,
}

const TEXT: &str = ".google.protobuf.StringValue";
const HEADER: &str = "*.envoy.config.core.v3.HeaderValue";
const MATCHER: &str = "*.envoy.config.route.v3.HeaderMatcher";

/// Name, number and type (`*`: repeated).
type Field = (&'static str, i32, &'static str);

/// What the structs above say, once more.
const MESSAGES: &[(&str, &[Field])] = &[
    (
        "Validation",
        &[("tests", 1, "*.envoy.RouterCheckToolSchema.ValidationItem")],
    ),
    (
        "ValidationItem",
        &[
            ("test_name", 1, "string"),
            ("input", 2, ".envoy.RouterCheckToolSchema.ValidationInput"),
            (
                "validate",
                3,
                ".envoy.RouterCheckToolSchema.ValidationAssert",
            ),
        ],
    ),
    (
        "ValidationInput",
        &[
            ("authority", 1, "string"),
            ("path", 2, "string"),
            ("method", 4, "string"),
            ("random_value", 5, "uint64"),
            ("ssl", 6, "bool"),
            ("internal", 7, "bool"),
            ("runtime", 9, "string"),
            ("additional_request_headers", 10, HEADER),
            ("additional_response_headers", 11, HEADER),
            (
                "dynamic_metadata",
                12,
                "*.envoy.RouterCheckToolSchema.Metadata",
            ),
        ],
    ),
    (
        "Metadata",
        &[
            ("metadata_namespace", 1, "string"),
            ("allow_overwrite", 2, "bool"),
            ("value", 3, ".google.protobuf.Struct"),
        ],
    ),
    (
        "ValidationAssert",
        &[
            ("cluster_name", 1, TEXT),
            ("virtual_cluster_name", 2, TEXT),
            ("virtual_host_name", 3, TEXT),
            ("host_rewrite", 4, TEXT),
            ("path_rewrite", 5, TEXT),
            ("path_redirect", 6, TEXT),
            ("request_header_fields", 9, HEADER),
            ("response_header_fields", 10, HEADER),
            ("request_header_matches", 11, MATCHER),
            ("response_header_matches", 12, MATCHER),
            ("code_redirect", 13, ".google.protobuf.UInt32Value"),
        ],
    ),
];

/// Envoy's messages and these; None: the table above is wrong (tested).
pub(super) fn pool() -> Option<&'static DescriptorPool> {
    static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| {
        let mut pool = descriptor_pool().clone();
        pool.add_file_descriptor_proto(file()).ok()?;
        Some(pool)
    });
    POOL.as_ref()
}

fn file() -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some("router_check/validation.proto".to_owned()),
        package: Some("envoy.RouterCheckToolSchema".to_owned()),
        syntax: Some("proto3".to_owned()),
        dependency: [
            "envoy/config/core/v3/base.proto",
            "envoy/config/route/v3/route_components.proto",
            "google/protobuf/struct.proto",
            "google/protobuf/wrappers.proto",
        ]
        .map(str::to_owned)
        .to_vec(),
        message_type: MESSAGES
            .iter()
            .map(|(name, fields)| DescriptorProto {
                name: Some((*name).to_owned()),
                field: fields.iter().map(field).collect(),
                ..DescriptorProto::default()
            })
            .collect(),
        ..FileDescriptorProto::default()
    }
}

fn field((name, number, kind): &Field) -> FieldDescriptorProto {
    let (label, kind) = match kind.strip_prefix('*') {
        Some(kind) => (Label::Repeated, kind),
        None => (Label::Optional, *kind),
    };
    let (of, type_name) = match kind {
        "string" => (Type::String, None),
        "uint64" => (Type::Uint64, None),
        "bool" => (Type::Bool, None),
        message => (Type::Message, Some(message.to_owned())),
    };
    FieldDescriptorProto {
        name: Some((*name).to_owned()),
        number: Some(*number),
        label: Some(label.into()),
        r#type: Some(of.into()),
        type_name,
        ..FieldDescriptorProto::default()
    }
}
