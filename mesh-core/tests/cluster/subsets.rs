//! Subsets by endpoint metadata.

use std::sync::Arc;

use mesh_core::{
    cluster::{Cluster, PickContext},
    model::*,
};

use crate::support::*;

fn value(text: &str) -> MetadataValue {
    MetadataValue::new(text)
}

fn with(number: u16, metadata: &[(&str, &str)]) -> EndpointConfig {
    let mut endpoint = endpoint(number);
    let pairs = metadata.iter().map(|(key, text)| {
        let value = EndpointValue {
            whole: value(text),
            elements: text
                .contains(',')
                .then(|| text.split(',').map(value).collect()),
        };
        ((*key).into(), value)
    });
    endpoint.lb_metadata = pairs.collect();
    endpoint
}

fn selector(keys: &[&str], fallback: Option<SelectorFallback>) -> SubsetSelector {
    SubsetSelector::new(keys.iter().map(|key| (*key).into()).collect(), fallback)
}

fn cluster(change: impl FnOnce(&mut SubsetConfig)) -> Cluster {
    let mut subset = SubsetConfig::default();
    subset.selectors = vec![selector(&["v"], None), selector(&["stage", "v"], None)];
    change(&mut subset);
    let config = config(|config| config.subset = Some(Arc::new(subset)));
    build(
        &config,
        flat([
            with(1, &[("v", "1"), ("stage", "prod")]),
            with(2, &[("v", "2"), ("stage", "prod")]),
            with(3, &[("v", "2"), ("stage", "test")]),
            with(4, &[("v", "1,2")]),
            with(5, &[]),
        ]),
    )
}

/// Which endpoints a request with this metadata may get; none: no endpoint.
fn reachable(cluster: &Cluster, criteria: &[(&str, &str)]) -> Vec<u16> {
    let mut criteria: Criteria = criteria
        .iter()
        .map(|(key, text)| ((*key).into(), value(text)))
        .collect();
    criteria.sort();
    let mut cx = PickContext::first(None);
    cx.criteria = Some(&criteria);
    let picks = (0..40).map_while(|_| cluster.pick(&cx, &mut Rng(1)).ok());
    let mut numbers: Vec<_> = picks.map(|endpoint| number(&endpoint)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[test]
fn criteria_must_be_exactly_a_selectors_keys() {
    let plain = cluster(|_| {});
    assert_eq!(reachable(&plain, &[("v", "1")]), [1]);
    assert_eq!(reachable(&plain, &[("v", "2")]), [2, 3]);
    assert_eq!(reachable(&plain, &[("v", "2"), ("stage", "test")]), [3]);
    for none in [
        &[][..],
        &[("v", "3")],
        &[("stage", "prod")],
        &[("v", "1"), ("x", "1")],
    ] {
        assert_eq!(reachable(&plain, none), [0_u16; 0], "{none:?}");
    }
    assert_eq!(plain.stats().upstream_cx_none_healthy.value(), 4);
}

#[test]
fn fallbacks() {
    let any = cluster(|subset| subset.fallback = SubsetFallback::Any);
    assert_eq!(reachable(&any, &[("v", "3")]), [1, 2, 3, 4, 5]);
    assert_eq!(reachable(&any, &[]), [1, 2, 3, 4, 5]);
    let default = cluster(|subset| {
        subset.fallback = SubsetFallback::Default;
        subset.default_subset = vec![("stage".into(), value("prod"))];
    });
    assert_eq!(reachable(&default, &[("v", "3")]), [1, 2]);
    let nobody = |panic_mode_any| {
        cluster(|subset| {
            subset.fallback = SubsetFallback::Default;
            subset.default_subset = vec![("stage".into(), value("none"))];
            subset.panic_mode_any = panic_mode_any;
        })
    };
    assert_eq!(reachable(&nobody(false), &[]), [0_u16; 0]);
    assert_eq!(reachable(&nobody(true), &[]), [1, 2, 3, 4, 5]);
}

#[test]
fn selectors_have_fallbacks_of_their_own() {
    let cluster = cluster(|subset| {
        subset.fallback = SubsetFallback::Any;
        let none = Some(SelectorFallback::Cluster(SubsetFallback::None));
        let keys = Some(SelectorFallback::Keys(vec!["v".into()]));
        subset.selectors = vec![selector(&["v"], none), selector(&["v", "stage"], keys)];
    });
    assert_eq!(reachable(&cluster, &[("v", "3")]), [0_u16; 0]);
    assert_eq!(reachable(&cluster, &[("v", "2"), ("stage", "x")]), [2, 3]);
    assert_eq!(
        reachable(&cluster, &[("v", "9"), ("stage", "x")]),
        [0_u16; 0]
    );
    assert_eq!(reachable(&cluster, &[("stage", "x")]), [1, 2, 3, 4, 5]);
}

#[test]
fn lists_are_values_or_alternatives() {
    let whole = cluster(|_| {});
    assert_eq!(reachable(&whole, &[("v", "1,2")]), [4]);
    let any = cluster(|subset| subset.list_as_any = true);
    assert_eq!(reachable(&any, &[("v", "1")]), [1, 4]);
    assert_eq!(reachable(&any, &[("v", "1,2")]), [0_u16; 0]);
}

#[test]
fn any_endpoint_has_localities_weights_only_if_subsets_do() {
    let share = |aware| {
        let mut subset = SubsetConfig::default();
        subset.selectors = vec![selector(&["v"], None)];
        subset.fallback = SubsetFallback::Any;
        subset.locality_weight_aware = aware;
        let config = config(|config| {
            config.subset = Some(Arc::new(subset));
            config.locality_weighted = true;
        });
        let groups = [
            locality("a", 0, Some(1), [endpoint(1)]),
            locality("b", 0, Some(9), [endpoint(2)]),
        ];
        picks(&build(&config, assignment(groups)), 100)[&2]
    };
    assert!((89..=91).contains(&share(true)) && (49..=51).contains(&share(false)));
}

#[test]
fn round_robin_goes_on_in_each_subset_where_it_was() {
    let mut subset = SubsetConfig::default();
    subset.selectors = vec![selector(&["v"], None)];
    subset.fallback = SubsetFallback::Default;
    subset.default_subset = vec![("v".into(), value("1"))];
    let config = config(|config| config.subset = Some(Arc::new(subset)));
    let hosts = |last: u16| flat([1, 2, 3, last].map(|n| with(n, &[("v", "1")])));
    let wanted: Criteria = vec![("v".into(), value("1"))];
    for criteria in [Some(&wanted), None] {
        let mut cx = PickContext::first(None);
        cx.criteria = criteria;
        let pick = |cluster: &Cluster| number(&cluster.pick(&cx, &mut Rng(1)).unwrap());
        let before = build(&config, hosts(4));
        let first: Vec<_> = (0..3).map(|_| pick(&before)).collect();
        let after = build_after(Some(&before), &config, hosts(5));
        let order = [1, 2, 3, 5];
        let at = order.iter().position(|n| *n == first[2]).unwrap_or(3);
        assert_eq!(pick(&after), order[(at + 1) % 4], "after {first:?}");
    }
}
