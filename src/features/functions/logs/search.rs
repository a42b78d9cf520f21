//! The newest entries a reader asks for, from segments that are read from the newest back.

use tokio::task::spawn_blocking;

use super::{
    query::{Filter, LogQuery},
    segment::{self, Damaged, Line, Source},
};
use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Database, DatabaseError},
    features::functions::{
        store::logs::{self as store, Bounds, Kept},
        types::LogEntry,
    },
};

/// What is fetched first: the newest segments mostly have the tail.
const FIRST: Bounds = Bounds { segments: 64, bytes: 64 * 1024 };
/// What is fetched, and held in memory, at a time after that.
const NEXT: Bounds = Bounds { segments: 1024, bytes: 1024 * 1024 };
/// More bytes of entries than this are not read on threads that serve requests.
const HEAVY: i64 = 256 * 1024;

/// The newest matching entries, oldest first. Without a function: those of a run, whatever its name is now.
pub(in crate::features::functions) async fn find(
    database: &Database,
    project: &ProjectId,
    function: Option<&str>,
    query: &LogQuery,
) -> Result<Vec<LogEntry>, DatabaseError> {
    let mut search = Search::new(function, query);
    let mut bounds = FIRST;
    let mut before = None;
    loop {
        let connection = database.get().await?;
        let segments = store::before(&connection, project, function, search.since, before, bounds).await?;
        drop(connection);
        let bytes: i64 = segments.iter().map(|segment| segment.size).sum();
        let was_all = segments.len() < bounds.segments && bytes < bounds.bytes;
        before = segments.last().map(|segment| (segment.last_at, segment.id));
        if bytes > HEAVY {
            let read = spawn_blocking(move || {
                search.read(&segments);
                search
            });
            search = read.await.map_err(|error| DatabaseError::Unavailable(error.to_string()))?;
        } else {
            search.read(&segments);
        }
        if was_all {
            return Ok(search.found.into_iter().map(|found| found.entry).collect());
        }
        bounds = NEXT;
    }
}

/// A question, and what was found so far.
struct Search {
    function: Option<String>,
    filter: Option<Filter>,
    tail: usize,
    /// Older entries are of no use: they were not asked for, or the tail is full of newer ones.
    since: Option<Timestamp>,
    /// In order, at most `tail`.
    found: Vec<Found>,
}

struct Found {
    at: Timestamp,
    /// Segment, and place in it.
    place: (i64, usize),
    entry: LogEntry,
}

impl Search {
    fn new(function: Option<&str>, query: &LogQuery) -> Self {
        Self {
            function: function.map(ToOwned::to_owned),
            filter: query.filter.clone(),
            tail: usize::try_from(query.tail).unwrap_or(0),
            since: query.since,
            found: Vec::new(),
        }
    }

    /// Reads segments, the newest first.
    fn read(&mut self, segments: &[Kept]) {
        for segment in segments {
            if self.since.is_some_and(|since| segment.last_at < since) {
                return;
            }
            if let Err(damage) = self.read_one(segment) {
                tracing::warn!(segment = segment.id, %damage, "a segment of function logs is damaged and skipped");
            }
        }
    }

    fn read_one(&mut self, kept: &Kept) -> Result<(), Damaged> {
        let body = segment::unpack(&kept.packed)?;
        let (sources, lines) = segment::sources(&body)?;
        let wanted: Vec<bool> = sources.iter().map(|source| self.wants(source)).collect();
        if !wanted.contains(&true) {
            return Ok(());
        }
        let lines = lines.read()?;
        let mut matching: Vec<(usize, &Line<'_>)> = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| wanted[line.source] && self.since.is_none_or(|since| line.at >= since))
            .collect();
        matching.sort_by_key(|(_, line)| line.at);
        let newest = &matching[matching.len().saturating_sub(self.tail)..];
        self.found.extend(newest.iter().map(|(place, line)| Found {
            at: line.at,
            place: (kept.id, *place),
            entry: shown(kept.id, *place, line, &sources[line.source]),
        }));
        self.found.sort_by_key(|found| (found.at, found.place));
        self.found.drain(..self.found.len().saturating_sub(self.tail));
        if self.found.len() >= self.tail {
            self.since = self.found.first().map(|oldest| oldest.at).or(self.since);
        }
        Ok(())
    }

    fn wants(&self, source: &Source<'_>) -> bool {
        let is_filtered = match &self.filter {
            None => true,
            Some(Filter::Request(id)) => source.request_id == id,
            Some(Filter::Run(id)) => source.run_id == Some(id),
            Some(Filter::Attempt(id)) => source.attempt_id == Some(id),
        };
        is_filtered && self.function.as_ref().is_none_or(|function| source.function == function)
    }
}

fn shown(segment: i64, place: usize, line: &Line<'_>, source: &Source<'_>) -> LogEntry {
    LogEntry {
        timestamp: line.at.to_string(),
        message: line.message.to_owned(),
        event_id: format!("log_{segment}_{place}"),
        request_id: source.request_id.to_owned(),
        stream: line.stream.as_str().to_owned(),
        level: line.level.as_str().to_owned(),
        redacted: line.redacted.then_some(true),
        function_name: source.function.to_owned(),
        release_id: source.release.to_owned(),
    }
}
