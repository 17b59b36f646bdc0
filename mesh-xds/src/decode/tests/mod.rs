//! Decoding, from JSON as Envoy writes it.

#[test]
fn the_table_names_existing_fields() {
    assert_eq!(super::supported::unknown_names(), Vec::<String>::new());
}
