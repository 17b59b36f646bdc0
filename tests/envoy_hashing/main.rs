//! Ring hash and maglev through the real Envoy and through mesh-proxy: the same key goes to the same endpoint, at the
//! first attempt and at every further one. [`distribution`] compares all other policies.
//!
//! Random clusters, hash policies and keys; the seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod config;
mod distribution;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mesh_testkit::{
    address::OwnAddress,
    exchange::{Answer, send, send_over},
    process::{Program, Proxy},
    random::Random,
    upstream::{CASE, SCRIPT, Upstream},
};
use xxhash_rust::xxh64::xxh64;

const CONFIGURATIONS: usize = 25;
const DEFAULT_CASES: usize = 1_500;

struct Side {
    _proxy: Proxy,
    address: OwnAddress,
}

impl Side {
    async fn start(program: Program, configuration: &config::Configuration) -> Self {
        let address = OwnAddress::claim();
        let bootstrap = configuration.bootstrap(address.ip());
        let admin = address.with_port(config::ADMIN);
        let proxy = Proxy::start(program, &bootstrap, admin).await;
        if program == Program::Envoy {
            all_resolved(&proxy).await;
        }
        Self {
            _proxy: proxy,
            address,
        }
    }

    fn listener(&self, n: usize) -> SocketAddr {
        self.address.with_port(config::LISTENER + n as u16)
    }
}

/// Envoy is ready when the first name of a `STRICT_DNS` cluster is resolved; the others follow.
async fn all_resolved(proxy: &Proxy) {
    let total = CONFIGURATIONS * usize::from(config::HOSTS);
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let page = proxy.admin("/stats?filter=membership_total").await;
        let text = page.map(|page| String::from_utf8_lossy(&page.body).into_owned());
        let text = text.unwrap_or_default();
        let counts = text
            .lines()
            .filter_map(|line| line.rsplit_once(": ")?.1.parse::<usize>().ok());
        if counts.sum::<usize>() == total {
            return;
        }
        assert!(tokio::time::Instant::now() < limit, "{text}");
        tokio::task::yield_now().await;
    }
}

/// Status and which upstreams, attempt by attempt.
#[derive(Debug, PartialEq)]
struct Transcript {
    status: Option<u16>,
    upstreams: Vec<String>,
}

struct World {
    upstreams: Vec<Upstream>,
    envoy: Side,
    ours: Side,
}

impl World {
    async fn run(&self, side: &Side, case: &Case, id: &str) -> Transcript {
        let answer = send(side.listener(case.listener), case.request(id)).await;
        Transcript {
            status: answer.ok().map(|answer| answer.status),
            upstreams: self.seen(id),
        }
    }

    fn seen(&self, id: &str) -> Vec<String> {
        let mut seen: Vec<_> = self.upstreams.iter().flat_map(|u| u.take(id)).collect();
        seen.sort_by_key(|one| {
            let attempt = one
                .headers
                .iter()
                .find(|(name, _)| name == "x-envoy-attempt-count");
            attempt.and_then(|(_, value)| value.parse::<u32>().ok())
        });
        seen.into_iter().map(|one| one.upstream).collect()
    }
}

#[derive(Clone, Debug)]
struct Case {
    listener: usize,
    target: String,
    headers: Vec<(&'static str, String)>,
}

impl Case {
    fn random(random: &mut Random) -> Self {
        let key = random.next_u64() % 100_000;
        let mut headers = vec![("x-key", format!("user-{key}-{}", random.below(100)))];
        for name in ["x-a", "x-b"] {
            for _ in 0..random.below(3) {
                headers.push((
                    name,
                    format!("{}-{}", random.below(1_000), random.below(10)),
                ));
            }
        }
        if random.chance(60) {
            let value = random.below(10_000);
            headers.push((
                "cookie",
                random
                    .one(&[
                        format!("session={value}"),
                        format!("a=b; session=\"{value}\"; s=1"),
                        format!("s={value};session="),
                        format!("session; s=x{value}"),
                    ])
                    .clone(),
            ));
        }
        if random.chance(60) {
            let addresses: Vec<_> = (0..1 + random.below(3))
                .map(|_| match random.chance(80) {
                    true => format!("10.{}.{}.7", random.below(256), random.below(256)),
                    false => format!("2001:db8::{:x}", random.below(60_000)),
                })
                .collect();
            headers.push(("x-forwarded-for", addresses.join(", ")));
        }
        if random.chance(40) {
            let script = *random.one(&["503,200", "503,503,200", "503", "500,503,503"]);
            headers.push((SCRIPT, script.into()));
        }
        let mut target = format!("/p{}?key={key}", random.below(1_000));
        if random.chance(50) {
            target += *random.one(&["&q=1", "&q=2&q=3", "&q", "&q=%41", "&qq=1"]);
        }
        Self {
            listener: config::COOKIES + 1 + random.below(CONFIGURATIONS - config::COOKIES - 1),
            target,
            headers,
        }
    }

    fn request(&self, id: &str) -> Request<Full<Bytes>> {
        let mut request = Request::get(&self.target)
            .header("host", "hash.test")
            .header(CASE, id);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(Full::default()).expect("a request")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn the_same_key_goes_to_the_same_endpoint() {
    let seed = Random::seed();
    let cases = Random::cases(DEFAULT_CASES);
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let mut random = Random::new(seed);
    let own = OwnAddress::claim();
    let mut upstreams = Vec::new();
    for n in 0..config::HOSTS {
        let address = own.with_port(config::UPSTREAM + n);
        upstreams.push(Upstream::start(&format!("u{n}"), address).await);
    }
    let configuration = config::Configuration::random(&mut random, CONFIGURATIONS, own.ip());
    let world = World {
        upstreams,
        envoy: Side::start(Program::Envoy, &configuration).await,
        ours: Side::start(Program::MeshProxy, &configuration).await,
    };

    let mut different = Vec::new();
    for n in 0..cases {
        let case = Case::random(&mut random);
        let theirs = world.run(&world.envoy, &case, &format!("e{n}")).await;
        let mine = world.run(&world.ours, &case, &format!("m{n}")).await;
        if theirs != mine {
            different.push(format!(
                "case {n}: {case:?}\nEnvoy: {theirs:?}\nmesh-proxy: {mine:?}\n{}",
                configuration.text(case.listener)
            ));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {cases} cases differ (MESH_SEED={seed}); the first two:\n{}",
        different.len(),
        different
            .iter()
            .take(2)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
    );
    made_up_cookies(&world).await;
    bounded_loads(&world).await;
}

/// A cookie is made up from the connection's addresses, and leads back to the same endpoint, on either side.
async fn made_up_cookies(world: &World) {
    for n in 0..50 {
        for (side, other) in [(&world.envoy, &world.ours), (&world.ours, &world.envoy)] {
            let to = side.listener(config::COOKIES);
            let mut case = Case {
                listener: config::COOKIES,
                target: "/".into(),
                headers: Vec::new(),
            };
            let id = format!("cookie{n}-{to}");
            let stream = tokio::net::TcpStream::connect(to).await.expect("connected");
            let from = stream.local_addr().expect("an address");
            let answer = send_over(stream, case.request(&id))
                .await
                .expect("answered");
            let value = format!("{:016x}", xxh64(format!("{from}{to}").as_bytes(), 0));
            let expected = format!(
                "session=\"{value}\"; Max-Age=3600; Path=/p; SameSite=Strict; Secure; HttpOnly"
            );
            assert_eq!(answer.header("set-cookie"), Some(&*expected));
            case.headers.push(("cookie", format!("session={value}")));
            let first = world.seen(&id);
            for (side, id) in [
                (side, format!("{id}-again")),
                (other, format!("{id}-other")),
            ] {
                let transcript = world.run(side, &case, &id).await;
                assert_eq!(
                    (transcript.status, &transcript.upstreams),
                    (Some(200), &first)
                );
            }
        }
    }
}

/// With `hash_balance_factor` an endpoint that has too many requests is passed over, in the same order.
async fn bounded_loads(world: &World) {
    const REQUESTS: usize = 24;
    for n in 0..10 {
        let mut sequences = Vec::new();
        for side in [&world.envoy, &world.ours] {
            let to = side.listener(config::BOUNDED);
            let mut chosen = Vec::new();
            let mut answers = Vec::new();
            for at in 0..REQUESTS {
                // Most go where the first goes.
                let key = format!("key{n}-{}", if at % 4 == 3 { at } else { 0 });
                let case = Case {
                    listener: config::BOUNDED,
                    target: "/".into(),
                    headers: vec![("x-key", key), (SCRIPT, "hold".into())],
                };
                let id = format!("bounded{n}-{at}-{to}");
                answers.push(tokio::spawn(send(to, case.request(&id))));
                chosen.extend(arrived(world, &id).await);
            }
            for upstream in &world.upstreams {
                upstream.release();
            }
            for answer in answers {
                let answer: Answer = answer.await.expect("no panic").expect("answered");
                assert_eq!(answer.status, 200);
            }
            sequences.push(chosen);
        }
        assert_eq!(sequences[0], sequences[1], "Envoy, then mesh-proxy");
    }
}

/// Waits until an upstream has seen the request.
async fn arrived(world: &World, id: &str) -> Vec<String> {
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let seen = world.seen(id);
        if !seen.is_empty() {
            return seen;
        }
        assert!(tokio::time::Instant::now() < limit, "{id} never arrived");
        tokio::task::yield_now().await;
    }
}
