//! An access log: which requests are written, in which format, and where to (`envoy.config.accesslog.v3`).

use std::{
    fmt::Debug,
    path::Path,
    sync::{Arc, OnceLock},
};

use super::AccessLogFilter;
use crate::{
    regex::Scratch,
    route::{FormatContext, InvalidFormat, SubstitutionFormat},
};

/// Envoy's format where none is configured (`source/common/formatter/substitution_format_utility.cc`).
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogTarget {
    /// `FileAccessLog.path`: appended to.
    File(Arc<Path>),
    /// `StdoutAccessLog`.
    Stdout,
    /// `StderrAccessLog`.
    Stderr,
}

/// Takes lines off the request's hands.
pub trait LogSink: Debug + Send + Sync {
    /// Takes a line; never blocks.
    fn write(&self, line: Vec<u8>);
}

/// `AccessLog`.
#[derive(Debug)]
pub struct AccessLog {
    filter: Option<AccessLogFilter>,
    format: SubstitutionFormat,
    target: LogTarget,
    sink: OnceLock<Arc<dyn LogSink>>,
}

impl AccessLog {
    /// A log; without `filter` of every request.
    pub fn new(
        target: LogTarget,
        format: SubstitutionFormat,
        filter: Option<AccessLogFilter>,
    ) -> Self {
        Self {
            filter,
            format,
            target,
            sink: OnceLock::new(),
        }
    }

    /// Envoy's format where none is configured.
    ///
    /// # Errors
    /// Never: it is valid.
    pub fn default_format() -> Result<SubstitutionFormat, InvalidFormat> {
        SubstitutionFormat::text(DEFAULT, false, &[])
    }

    /// Writes a line of a stream that is over, if the filter lets it pass. `random`: the stream's; `open` is asked for
    /// the target's sink once.
    pub fn log(
        &self,
        cx: &FormatContext<'_>,
        open: impl FnOnce(&LogTarget) -> Arc<dyn LogSink>,
        random: u64,
        scratch: &mut Scratch,
    ) {
        if let Some(filter) = &self.filter
            && !filter.matches(cx, random, scratch)
        {
            return;
        }
        let mut line = Vec::with_capacity(256);
        self.format.write(cx, &mut line);
        self.sink.get_or_init(|| open(&self.target)).write(line);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Mutex,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        access_log::{Comparison, ComparisonOp},
        flags::{ResponseFlag, ResponseFlags},
        head::ConnectionInfo,
        model::Fraction,
    };

    #[derive(Debug, Default)]
    struct Lines(Mutex<Vec<String>>);

    impl LogSink for Lines {
        fn write(&self, line: Vec<u8>) {
            self.0
                .lock()
                .unwrap()
                .push(String::from_utf8(line).unwrap());
        }
    }

    fn passes(filter: AccessLogFilter, code: u16, flags: ResponseFlags) -> bool {
        let connection = ConnectionInfo::default();
        let mut cx = FormatContext::without_request(&connection);
        let started = Instant::now();
        cx.started = Some(started);
        cx.timing.now = Some(started + Duration::from_millis(7));
        cx.response_code = code;
        cx.response_flags = flags;
        let lines = Arc::new(Lines::default());
        let sink = Arc::clone(&lines);
        let text =
            SubstitutionFormat::text("%RESPONSE_CODE% %RESPONSE_FLAGS%\n", false, &[]).unwrap();
        let log = AccessLog::new(LogTarget::Stdout, text, Some(filter));
        log.log(&cx, |_| sink, 50, &mut Scratch::default());
        let lines = lines.0.lock().unwrap();
        if let Some(line) = lines.first() {
            assert_eq!(*line, format!("{code} {flags}\n"));
        }
        !lines.is_empty()
    }

    #[test]
    fn what_passes_the_filter_is_written() {
        use AccessLogFilter as F;
        let none = ResponseFlags::NONE;
        let no_route = none.with(ResponseFlag::NoRouteFound);
        let compare = |op, value| Comparison { op, value };
        let failures = F::StatusCode(compare(ComparisonOp::GreaterOrEqual, 400));
        assert!(passes(failures.clone(), 404, none));
        assert!(!passes(failures, 200, none));
        let seven = |op| F::Duration(compare(op, 7));
        assert!(passes(seven(ComparisonOp::Equal), 200, none));
        assert!(!passes(seven(ComparisonOp::NotEqual), 200, none));
        assert!(passes(F::ResponseFlags(vec![]), 404, no_route));
        assert!(!passes(F::ResponseFlags(vec![]), 404, none));
        let half = |numerator| {
            F::Runtime(Fraction {
                numerator,
                denominator: 100,
            })
        };
        assert!(passes(half(51), 200, none) && !passes(half(50), 200, none));
    }

    #[test]
    fn the_default_format_is_valid() {
        assert!(AccessLog::default_format().is_ok());
    }
}
