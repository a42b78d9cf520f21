//! What one invocation writes into.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    entry::{Level, Stream, Tags},
    queue::LogQueue,
    redact::Redactor,
    said::Said,
};

/// Takes what one invocation writes.
#[derive(Clone)]
pub struct LogSink(Arc<Sink>);

struct Sink {
    queue: Arc<LogQueue>,
    tags: Arc<Tags>,
    redactor: Arc<Redactor>,
    /// Bytes this invocation may still write.
    left: Mutex<usize>,
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogSink({})", self.0.tags.request_id)
    }
}

impl LogSink {
    pub(in crate::features::functions) fn new(queue: &Arc<LogQueue>, tags: Tags, redactor: Arc<Redactor>) -> Self {
        let left = Mutex::new(queue.limits().invocation);
        Self(Arc::new(Sink { queue: Arc::clone(queue), tags: Arc::new(tags), redactor, left }))
    }

    /// One entry. Secrets are hidden, long text is cut, and an invocation that writes too much is cut off.
    pub fn write(&self, stream: Stream, level: Level, text: &str) {
        let sink = &*self.0;
        // What the platform says of the invocation is always kept; it is little.
        let is_limited = stream != Stream::Platform;
        if is_limited && *sink.left.lock().unwrap_or_else(PoisonError::into_inner) == 0 {
            return;
        }
        let line = sink.queue.limits().line;
        // Looked at a little beyond the cut, so that the cut does not leave half a secret.
        let window = floor(text, line + sink.redactor.longest());
        let seen = &text[..window];
        let (mut message, redacted) = match sink.redactor.redact(seen) {
            Some(shown) => (shown, true),
            None => (seen.to_owned(), false),
        };
        if message.len() > line || window < text.len() {
            message.truncate(floor(&message, line));
            message.push_str(" …[truncated]");
        }
        if message.contains('\0') {
            // What reads logs may take it for their end.
            message = message.replace('\0', "\u{fffd}");
        }
        if is_limited {
            let mut left = sink.left.lock().unwrap_or_else(PoisonError::into_inner);
            if *left == 0 {
                return;
            }
            if message.len() > *left {
                message.truncate(floor(&message, *left));
                message.push_str(" …[the log of this invocation is full]");
                *left = 0;
            } else {
                // An empty line is an entry too.
                *left -= message.len().max(1);
            }
        }
        sink.queue.push(&sink.tags, stream, level, message, redacted);
    }

    /// What the platform says of the invocation.
    pub(in crate::features::functions) fn say(&self, level: Level, said: &Said<'_>) {
        let message = said.to_json();
        if said.is_foreign() {
            self.write(Stream::Platform, level, &message);
        } else {
            self.0.queue.push(&self.0.tags, Stream::Platform, level, message, false);
        }
    }
}

/// The largest boundary of a character at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        common::Clock,
        features::functions::logs::{LogLimits, Origin},
    };

    fn queue(line: usize, invocation: usize) -> Arc<LogQueue> {
        LogQueue::new(LogLimits { invocation, line, project: 1_000_000 }, Clock::system())
    }

    fn sink(queue: &Arc<LogQueue>, secret: &str) -> LogSink {
        let (project, release) = ("prj_a".parse().unwrap(), "rel_a".parse().unwrap());
        let origin = Arc::new(Origin { project, function: "f".into(), release });
        let tags = Tags { origin, request_id: "req_1234".into(), run_id: None, attempt_id: None };
        LogSink::new(queue, tags, Arc::new(Redactor::new([secret.to_owned()])))
    }

    fn messages(queue: &LogQueue) -> Vec<String> {
        queue.take().into_iter().map(|entry| entry.message).collect()
    }

    #[test]
    fn long_lines_are_cut_and_never_through_a_secret() {
        let queue = queue(10, 1000);
        let sink = sink(&queue, "topsecret");
        sink.write(Stream::Stdout, Level::Info, "0123456topsecret789");
        sink.write(Stream::Stdout, Level::Info, "ääääääääää");
        sink.write(Stream::Stdout, Level::Info, "0123456789");
        let seen = messages(&queue);
        assert_eq!(seen, ["0123456[re …[truncated]", "äääää …[truncated]", "0123456789"]);
    }

    #[test]
    fn an_invocation_that_writes_too_much_is_cut_off_except_for_the_platform() {
        let queue = queue(100, 10);
        let sink = sink(&queue, "topsecret");
        for text in ["12345678", "abcdef", "more"] {
            sink.write(Stream::Stderr, Level::Error, text);
        }
        sink.write(Stream::Platform, Level::Info, "done");
        assert_eq!(messages(&queue), ["12345678", "ab …[the log of this invocation is full]", "done"]);
    }

    #[test]
    fn empty_lines_and_nul_are_no_trouble() {
        let queue = queue(100, 2);
        let sink = sink(&queue, "topsecret");
        for text in ["", "\0", "", ""] {
            sink.write(Stream::Stdout, Level::Info, text);
        }
        // Two bytes of room: an empty line, then one that is cut.
        assert_eq!(messages(&queue), ["", " …[the log of this invocation is full]"]);
    }

    #[test]
    fn what_the_platform_says_is_kept_and_its_foreign_text_redacted() {
        let queue = queue(1000, 0);
        let sink = sink(&queue, "topsecret");
        sink.write(Stream::Stdout, Level::Info, "no room");
        sink.say(Level::Info, &Said::started("req_1234", "GET"));
        sink.say(Level::Error, &Said::failed("req_1234", 500, 1, "Error: topsecret"));
        let seen: Vec<_> = queue.take().into_iter().map(|entry| (entry.message, entry.redacted)).collect();
        assert_eq!(seen[0].0, Said::started("req_1234", "GET").to_json());
        assert_eq!(seen[1], (Said::failed("req_1234", 500, 1, "Error: [redacted]").to_json(), true));
        assert!(!seen[0].1 && seen.len() == 2);
    }
}
