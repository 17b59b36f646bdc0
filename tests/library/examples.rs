//! Every example runs to its end.

macro_rules! run {
    ($name:ident, $file:literal) => {
        mod $name {
            include!($file);

            #[test]
            fn runs() {
                main().expect("the example succeeds");
            }
        }
    };
}

run!(client, "../../examples/client.rs");
run!(by_uri, "../../examples/by_uri.rs");
run!(axum_server, "../../examples/axum.rs");
run!(tonic_both, "../../examples/tonic.rs");
run!(static_config, "../../examples/static_config.rs");
