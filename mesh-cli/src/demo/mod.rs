//! `meshctl demo`: a whole mesh on this machine, with load, and what happens in it.

mod edges;
mod example;
mod load;
mod processes;
mod prometheus;
mod record;
mod table;

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use mesh_control::Problem;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::args::{DemoArgs, DemoOutput};
use crate::{Error, request, serve};
use edges::{Edges, Scrapes};
use load::{Load, Seen};
use processes::{Processes, living};

/// What users ask for.
const PATH: &str = "/productpage";
const SECOND: Duration = Duration::from_secs(1);
/// A process that does not tell its metrics in this time is asked again a second later.
const SCRAPE_LIMIT: Duration = Duration::from_millis(700);
/// How long the way from the gateway to the last service may take to open once all pods are ready.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Runs until the time is over, or until a signal.
pub(crate) async fn run(args: DemoArgs) -> Result<ExitCode, Error> {
    // before anything is started, so that a signal during the start ends what was started
    let ended = serve::ended()?;
    let dir = match &args.dir {
        Some(dir) if dir.is_dir() => std::path::absolute(dir)?,
        Some(dir) => return Err(format!("--dir {}: no such folder", dir.display()).into()),
        None => example::fresh_copy(&std::path::absolute("target/demo")?)?,
    };
    if let Some(file) = &args.state {
        // of an earlier run; who waits for the file must not find that one
        let _ = std::fs::remove_file(file);
    }
    eprintln!("starting the mesh in {}", dir.display());
    let processes = Processes::start(&dir)?;
    let demo = Demo {
        args: &args,
        dir,
        processes: &processes,
    };
    let played = tokio::select! {
        played = demo.play() => played,
        () = ended => Ok(()),
    };
    processes.stop().await;
    played.map(|()| ExitCode::SUCCESS)
}

struct Demo<'a> {
    args: &'a DemoArgs,
    dir: PathBuf,
    processes: &'a Processes,
}

impl Demo<'_> {
    async fn play(&self) -> Result<(), Error> {
        self.processes.ready().await?;
        let gateway = self.gateway();
        if let Some(gateway) = gateway {
            open(gateway).await;
        }
        let url = gateway.map(|gateway| format!("http://{gateway}{PATH}"));
        if let Some(file) = &self.args.state {
            self.write_state(file, url.as_deref())?;
        }
        let hints = self.hints(url.as_deref());
        if self.args.output.is_some() {
            eprint!("{hints}");
        }
        self.watch(gateway, &hints).await
    }

    /// Counts and shows, second by second.
    async fn watch(&self, gateway: Option<SocketAddr>, hints: &str) -> Result<(), Error> {
        let mut scrapes = Scrapes::default();
        // what was counted until now belongs to the start
        self.scrape(&mut scrapes).await;
        let mut load = gateway.map(|gateway| Load::start(gateway, PATH, self.args.rps));
        let start = Instant::now();
        let mut ticks = interval_at(start + SECOND, SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut total, mut total_seen) = (Edges::default(), Seen::default());
        let mut known_problems = Vec::new();
        let until = self.args.limit.map(|limit| start + limit);
        for second in 1_u64.. {
            let is_last = tokio::select! {
                _ = ticks.tick() => until.is_some_and(|until| Instant::now() >= until),
                () = sleep_until(until) => true,
            };
            if let (true, Some(load)) = (is_last, &mut load) {
                load.finish().await;
            }
            let edges = self.scrape(&mut scrapes).await;
            let seen = load.as_ref().map(Load::take).unwrap_or_default();
            total.merge(&edges);
            total_seen.merge(&seen);
            let problems = self.processes.state().problems;
            match self.args.output {
                Some(DemoOutput::Json) => {
                    say_new(&problems, &mut known_problems);
                    print(&format!(
                        "{}\n",
                        record::record(second, false, &edges, &seen, &scrapes)
                    ))?;
                }
                None => {
                    let table = table::table(&edges, &total, &seen, &scrapes);
                    print(&frame(hints, second, &table, &problems))?;
                }
            }
            if is_last {
                if self.args.output.is_some() {
                    print(&format!(
                        "{}\n",
                        record::record(second, true, &total, &total_seen, &scrapes)
                    ))?;
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks every process for its metrics; returns what happened since the last time.
    async fn scrape(&self, scrapes: &mut Scrapes) -> Edges {
        let state = self.processes.state();
        let asked: Vec<_> = living(&state)
            .map(|pod| {
                let admin = pod.admin();
                let text = tokio::spawn(async move {
                    let answer = timeout(
                        SCRAPE_LIMIT,
                        request::get_once(admin, "/stats/prometheus?usedonly"),
                    )
                    .await;
                    answer.ok()?.ok().map(|(_, text)| text)
                });
                (pod, text)
            })
            .collect();
        scrapes.retain(|name| living(&state).any(|pod| pod.name == name));
        let mut edges = Edges::default();
        for (pod, text) in asked {
            // a process that was just killed says nothing, and nothing is lost but its last second
            if let Ok(Some(text)) = text.await {
                scrapes.add(
                    &pod.name,
                    &pod.workload,
                    &String::from_utf8_lossy(&text),
                    &mut edges,
                );
            }
        }
        edges
    }

    fn gateway(&self) -> Option<SocketAddr> {
        let state = self.processes.state();
        let pod = state.pods.iter().find(|pod| pod.is_gateway)?;
        Some(SocketAddr::from((pod.address, state.gateway_port?)))
    }

    fn write_state(&self, file: &Path, url: Option<&str>) -> Result<(), Error> {
        let state = self.processes.state();
        let pod = |pod: &mesh_control::runner::PodState| json!({"name": pod.name, "workload": pod.workload, "pid": pod.pid, "address": pod.address});
        let text = json!({
            "url": url,
            "control_plane": {
                "pid": self.processes.control_plane_pid,
                "grpc_addr": self.processes.grpc_addr.to_string(),
            },
            "pods": living(&state).map(pod).collect::<Vec<_>>(),
            "dir": self.dir,
        });
        let mut temporary = file.as_os_str().to_owned();
        temporary.push(".tmp");
        std::fs::write(&temporary, format!("{text:#}\n"))
            .and_then(|()| std::fs::rename(&temporary, file))
            .map_err(|error| format!("--state {}: {error}", file.display()).into())
    }

    /// Where to look and what to try.
    fn hints(&self, url: Option<&str>) -> String {
        let meshctl =
            std::env::current_exe().map_or_else(|_| "meshctl".into(), |path| shown(&path));
        let mut scenarios = PathBuf::from("examples/bookinfo/scenarios");
        if !scenarios.is_dir() {
            scenarios = self.dir.join("scenarios");
        }
        let mut text = format!(
            "the mesh runs: {}\nfolder: {} (edit it while it runs)\n",
            url.unwrap_or("it has no gateway"),
            shown(&self.dir)
        );
        if scenarios.is_dir() {
            let scenarios = shown(&scenarios);
            text.push_str("try:\n");
            for (file, what) in [
                (
                    "reviews-50-50.yaml",
                    "reviews v1 and v3 half and half, instead of 90 and 10",
                ),
                (
                    "reviews-jason-v2.yaml",
                    "who logs in as jason sees black stars (v2)",
                ),
                (
                    "ratings-delay.yaml",
                    "ratings is slow (ratings-abort.yaml: it fails), and what users see of it",
                ),
            ] {
                text.push_str(&format!(
                    "  {meshctl} apply -f {scenarios}/{file}    # {what}\n"
                ));
            }
        }
        let control_plane = self.processes.control_plane_pid;
        text.push_str(&format!(
            "or kill -9 a replica of details, or the control plane (process {control_plane})\n"
        ));
        text
    }
}

/// Waits until pages come, and come whole: a pod that is ready is known to the others a moment later.
async fn open(gateway: SocketAddr) {
    let pages = async {
        let mut whole = 0;
        while whole < 5 {
            whole = match request::get_once(gateway, PATH).await {
                Ok((status, page)) if status.is_success() && !is_broken(&page) => whole + 1,
                _ => 0,
            };
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    // a folder without such a page is shown all the same
    let _ = timeout(OPEN_LIMIT, pages).await;
}

fn is_broken(page: &[u8]) -> bool {
    page.windows(13).any(|window| window == b"class=\"error\"")
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// A whole screen; on what is no terminal, the table alone.
fn frame(hints: &str, second: u64, table: &str, problems: &[Problem]) -> String {
    let mut text = String::new();
    let is_terminal = std::io::stdout().is_terminal();
    if is_terminal || second == 1 {
        text.push_str(hints);
        text.push('\n');
    }
    text.push_str(table);
    for problem in problems {
        text.push_str(&format!("{problem}\n"));
    }
    if is_terminal {
        // home, then each line to its end, then the rest of the screen: nothing flickers
        let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        let clear = if second == 1 { "\x1b[2J" } else { "" };
        return format!("{clear}\x1b[H{lines}\n{second} s, Ctrl-C ends everything\x1b[K\x1b[J\n");
    }
    format!("{text}\n")
}

fn say_new(problems: &[Problem], known: &mut Vec<Problem>) {
    for problem in problems.iter().filter(|problem| !known.contains(problem)) {
        eprintln!("{problem}");
    }
    *known = problems.to_vec();
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A path as one would type it here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    short.as_deref().unwrap_or(path).display().to_string()
}
