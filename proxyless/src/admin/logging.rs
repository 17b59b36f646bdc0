//! `/logging`: which levels the parts of the mesh log at, in Envoy's words.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;

/// Sets the levels that a program logs at, in the words of `tracing_subscriber`'s filters.
pub(crate) type SetLevels = Arc<dyn Fn(&str) + Send + Sync>;

/// The parts that log, one crate each.
const LOGGERS: [&str; 5] = [
    "mesh_control",
    "mesh_proxy",
    "mesh_tower",
    "mesh_xds",
    "proxyless",
];

/// Envoy's words, and ours.
const LEVELS: [(&str, &str); 7] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warning", "warn"),
    ("error", "error"),
    ("critical", "error"),
    ("off", "off"),
];

/// The levels in force.
pub(crate) struct Logging {
    levels: Mutex<BTreeMap<&'static str, &'static str>>,
    /// None: the program logs as it likes.
    set: Option<SetLevels>,
}

impl Logging {
    pub(crate) fn new(set: Option<SetLevels>) -> Self {
        let now = match LevelFilter::current() {
            LevelFilter::TRACE => "trace",
            LevelFilter::DEBUG => "debug",
            LevelFilter::INFO => "info",
            LevelFilter::WARN => "warning",
            LevelFilter::ERROR => "error",
            _ => "off",
        };
        Logging {
            levels: Mutex::new(LOGGERS.map(|name| (name, now)).into()),
            set,
        }
    }

    /// Changes what a query asks for, and lists all.
    ///
    /// # Errors
    /// What is wrong with the query, and how to write it.
    pub(crate) fn ask(&self, query: &str) -> Result<String, String> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = changed(&levels, query)?;
        if *levels != changed {
            let Some(set) = &self.set else {
                return Err("the levels are those of the program that uses the mesh\n".to_owned());
            };
            set(&directives(&changed));
            *levels = changed;
        }
        let mut out = "active loggers:\n".to_owned();
        for (name, level) in levels.iter() {
            let _ = writeln!(out, "  {name}: {level}");
        }
        Ok(out + "\n")
    }
}

fn usage(wrong: &str) -> String {
    let names: Vec<_> = LEVELS.iter().map(|(name, _)| *name).collect();
    format!(
        "error: {wrong}\nusage: /logging?<name>=<level> (change single level)\nusage: \
         /logging?paths=name1:level1,name2:level2,... (change multiple levels)\nusage: /logging?level=<level> (change all \
         levels)\nlevels: {}\n",
        names.join(" ")
    )
}

type Levels = BTreeMap<&'static str, &'static str>;

fn changed(levels: &Levels, query: &str) -> Result<Levels, String> {
    let mut levels = levels.clone();
    let level = |word: &str| {
        let known = LEVELS.iter().find(|(name, _)| *name == word);
        known
            .map(|(name, _)| *name)
            .ok_or_else(|| usage("unknown log level"))
    };
    let mut one = |name: &str, word: &str| {
        let level = level(word)?;
        match levels.iter_mut().find(|(known, _)| **known == name) {
            Some((_, held)) => *held = level,
            None => return Err(usage("unknown logger name")),
        }
        Ok(())
    };
    let pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    if pairs.len() > 1 {
        return Err(usage("invalid number of parameters"));
    }
    for pair in pairs {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("level", word) => {
                for name in LOGGERS {
                    one(name, word)?;
                }
            }
            ("paths", list) => {
                for entry in list.split(',') {
                    let (name, word) = entry.split_once(':').unwrap_or((entry, ""));
                    one(name, word)?;
                }
            }
            (name, word) => one(name, word)?,
        }
    }
    Ok(levels)
}

/// What the mesh does not own logs warnings.
fn directives(levels: &Levels) -> String {
    let mut out = "warn".to_owned();
    for (name, level) in levels {
        let word = LEVELS
            .iter()
            .find(|(known, _)| known == level)
            .map_or("warn", |(_, word)| *word);
        let _ = write!(out, ",{name}={word}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logging() -> (Logging, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let set: SetLevels = Arc::new(move |text: &str| kept.lock().unwrap().push(text.to_owned()));
        (Logging::new(Some(set)), asked)
    }

    #[test]
    fn levels_are_changed_one_by_one_or_together() {
        let (logging, asked) = logging();
        logging.ask("level=warning").unwrap();
        let text = logging.ask("paths=mesh_xds:debug,mesh_tower:off").unwrap();
        assert_eq!(
            text,
            "active loggers:\n  mesh_control: warning\n  mesh_proxy: warning\n  mesh_tower: off\n  mesh_xds: debug\n  \
             proxyless: warning\n\n"
        );
        let last =
            "warn,mesh_control=warn,mesh_proxy=warn,mesh_tower=off,mesh_xds=debug,proxyless=warn";
        assert_eq!(asked.lock().unwrap().last().unwrap(), last);
        assert_eq!(logging.ask("").unwrap(), text);
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let (logging, asked) = logging();
        let before = logging.ask("").unwrap();
        for query in [
            "level=loud",
            "nobody=info",
            "level=info&mesh_xds=debug",
            "paths=mesh_xds",
        ] {
            let error = logging.ask(query).unwrap_err();
            assert!(
                error.contains("levels: trace debug info warning error critical off"),
                "{query}: {error}"
            );
        }
        assert_eq!(logging.ask("").unwrap(), before);
        assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
        assert!(Logging::new(None).ask("level=trace").is_err());
    }
}
