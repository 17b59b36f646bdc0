//! Running the tests and counting what they did.

use crate::args::{Need, Options};
use crate::process;
use crate::workspace::Workspace;
use crate::{cost, oracles};

/// All tests but those in documentation. Named one by one: `--all-targets`
/// would run the benches as tests too.
const TARGETS: &str = "--workspace --all-features --no-fail-fast --lib --bins --tests --examples";

/// What the tests did.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Names of the tests that failed.
    pub(crate) failures: Vec<String>,
    /// Tests that were not run, with the reason that they give.
    ignored: Vec<(String, String)>,
}

impl Tally {
    /// Reads one line that a test program printed. Returns whether a person
    /// wants to see it.
    fn line(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("test result: ") {
            let numbers: Vec<u64> = rest
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|word| word.parse().ok())
                .collect();
            if let [passed, failed, ignored, ..] = numbers[..] {
                self.passed += passed;
                self.failed += failed;
                self.skipped += ignored;
                return passed + failed + ignored > 0;
            }
        } else if let Some(rest) = line.strip_prefix("test ")
            && let Some((name, end)) = rest.rsplit_once(" ... ")
        {
            if end == "FAILED" {
                self.failures.push(name.to_owned());
            }
            if let Some(reason) = end.strip_prefix("ignored") {
                let reason = reason.trim_start_matches(", ");
                self.ignored.push((name.to_owned(), reason.to_owned()));
            }
            return end != "ok";
        }
        !line.is_empty() && !line.starts_with("running ")
    }

    fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

/// Builds the tests, and in release the binaries that they start.
pub(crate) fn build(workspace: &Workspace) -> Result<(), String> {
    process::run(&mut workspace.cargo(&format!("test --no-run {TARGETS}")))?;
    process::run(&mut workspace.cargo(&cost::release_build(workspace)))
}

/// Runs all tests that the options allow.
pub(crate) fn run(
    workspace: &Workspace,
    options: &Options,
    total: &mut Tally,
) -> Result<(), String> {
    let mut done = if options.without.is_empty() {
        tests(workspace, options, &["--include-ignored"], total)
    } else {
        run_but(workspace, options, total)
    };
    // Documentation apart: there, `ignore` marks what is no test at all.
    let mut documented = Tally::default();
    let mut command = workspace.cargo("test --workspace --all-features --no-fail-fast --doc");
    done = done.and(process::watch(&mut command, |line| documented.line(line)));
    documented.skipped = 0;
    total.add(documented);
    done
}

/// A first run tells which tests are ignored and why; a second one runs those
/// of them that have what they need.
fn run_but(workspace: &Workspace, options: &Options, total: &mut Tally) -> Result<(), String> {
    let mut first = Tally::default();
    let done = tests(workspace, options, &[], &mut first);
    let mut args = vec!["--ignored", "--exact"];
    let mut skipped = 0;
    for (name, reason) in &first.ignored {
        if left_out(reason, &options.without) {
            args.extend(["--skip", name]);
            skipped += 1;
        }
    }
    let mut second = Tally::default();
    let done = done.and(tests(workspace, options, &args, &mut second));
    first.skipped = skipped;
    total.add(first);
    total.add(second);
    done
}

fn left_out(reason: &str, without: &[Need]) -> bool {
    without.iter().any(|need| need.is_in(reason))
}

fn tests(
    workspace: &Workspace,
    options: &Options,
    args: &[&str],
    tally: &mut Tally,
) -> Result<(), String> {
    let mut command = workspace.cargo(&format!("test {TARGETS}"));
    command.arg("--").args(args);
    command.envs(oracles::environment(workspace, options));
    command.env("MESH_BIN_DIR", workspace.release());
    process::watch(&mut command, |line| tally.line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
running 3 tests
test ads::nack ... ok
test envoy::same ... ignored, needs Envoy: cargo verify
test pick::spread ... FAILED

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";

    #[test]
    fn lines_are_counted_and_the_good_ones_hidden() {
        let mut tally = Tally::default();
        let shown: Vec<_> = SAID.lines().filter(|line| tally.line(line)).collect();
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 1, 1));
        assert_eq!(tally.failures, ["pick::spread"]);
        let ignored = ("envoy::same".into(), "needs Envoy: cargo verify".into());
        assert_eq!(tally.ignored, [ignored]);
        assert_eq!(shown.len(), 3, "{shown:?}");
    }

    #[test]
    fn only_tests_of_what_is_left_out_are_skipped() {
        let without = [Need::Envoy];
        assert!(left_out("needs Envoy: cargo verify", &without));
        assert!(!left_out("needs istiod: cargo verify", &without));
        assert!(!left_out("", &without));
        let both = "needs istiod, needs Envoy: cargo verify";
        assert!(left_out(both, &without));
    }
}
