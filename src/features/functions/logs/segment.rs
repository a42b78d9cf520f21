//! How entries are kept: a segment holds what the functions of one project wrote within a moment. Pure.
//!
//! Packed, it begins with a byte that says how its body follows: 1, as it is; 2, the body's length, then the body in
//! one zstd frame with a checksum. The body has two lists, each after its length:
//!
//! | list | an item |
//! |---|---|
//! | invocations | function, release, request; run and attempt, which may be missing |
//! | entries, in order of arrival | place of its invocation in the list above; milliseconds since the entry before it (the first: since 1970), zigzag; a byte: stream in bits 0-1, level in bits 2-3, redacted in bit 4; message |
//!
//! Numbers and lengths are LEB128. Text is its length in bytes and its UTF-8; where it may be missing, 0 says so and
//! the length is one more. After the last entry the body ends. What reads otherwise is [`Damaged`].

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use zstd::zstd_safe::CParameter;

use super::entry::{Entry, Level, Stream, Tags};
use crate::common::{ProjectId, Timestamp};

/// Bytes of entries in one segment, if one of them is not larger.
const SPLIT: usize = 256 * 1024;
const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
const ZSTD_LEVEL: i32 = 1;
/// Smaller bodies are not worth the work.
const COMPRESSED_FROM: usize = 1024;
/// Several times what may wait to be written, so more than any body.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A segment that can be kept.
#[derive(Debug)]
pub(in crate::features::functions) struct Segment {
    pub project: ProjectId,
    /// Of its newest entry.
    pub last_at: Timestamp,
    /// Whose entries are in it.
    pub functions: BTreeSet<String>,
    /// Bytes its entries count for.
    pub size: i64,
    pub packed: Vec<u8>,
}

impl Segment {
    /// Entries sorted by project and packed, each project's in order.
    pub fn of(entries: Vec<Entry>) -> Vec<Self> {
        let mut projects: Vec<Vec<Entry>> = Vec::new();
        let mut places: HashMap<ProjectId, usize> = HashMap::new();
        for entry in entries {
            let project = &entry.tags.origin.project;
            let place = places.get(project).copied().unwrap_or_else(|| {
                places.insert(project.clone(), projects.len());
                projects.push(Vec::new());
                projects.len() - 1
            });
            projects[place].push(entry);
        }
        projects.iter().flat_map(|entries| split(entries)).filter_map(Self::new).collect()
    }

    fn new(entries: &[Entry]) -> Option<Self> {
        let mut functions = BTreeSet::new();
        for entry in entries {
            let function = &entry.tags.origin.function;
            if !functions.contains(function) {
                functions.insert(function.clone());
            }
        }
        Some(Self {
            project: entries.first()?.tags.origin.project.clone(),
            last_at: entries.iter().map(|entry| entry.at).max()?,
            functions,
            size: i64::try_from(entries.iter().map(Entry::size).sum::<usize>()).unwrap_or(i64::MAX),
            packed: pack(entries),
        })
    }
}

/// Runs of entries of at most [`SPLIT`] bytes.
fn split(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut runs = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (place, entry) in entries.iter().enumerate() {
        if place > start && size + entry.size() > SPLIT {
            runs.push(&entries[start..place]);
            (start, size) = (place, 0);
        }
        size += entry.size();
    }
    runs.push(&entries[start..]);
    runs
}

fn pack(entries: &[Entry]) -> Vec<u8> {
    let mut plain = vec![PLAIN];
    write_body(entries, &mut plain);
    if plain.len() < COMPRESSED_FROM {
        return plain;
    }
    let body = &plain[1..];
    match compress(body) {
        Ok(frame) if frame.len() < body.len() => {
            let mut packed = Vec::with_capacity(frame.len() + 11);
            packed.push(ZSTD);
            put_length(&mut packed, body.len());
            packed.extend_from_slice(&frame);
            packed
        }
        _ => plain,
    }
}

fn compress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    compressor.compress(body)
}

fn write_body(entries: &[Entry], out: &mut Vec<u8>) {
    let mut invocations: Vec<&Tags> = Vec::new();
    let mut known: HashMap<*const Tags, usize> = HashMap::new();
    let places: Vec<usize> = entries
        .iter()
        .map(|entry| {
            *known.entry(Arc::as_ptr(&entry.tags)).or_insert_with(|| {
                invocations.push(&entry.tags);
                invocations.len() - 1
            })
        })
        .collect();
    put_length(out, invocations.len());
    for tags in invocations {
        put_text(out, &tags.origin.function);
        put_text(out, tags.origin.release.as_str());
        put_text(out, &tags.request_id);
        put_optional(out, tags.run_id.as_deref());
        put_optional(out, tags.attempt_id.as_deref());
    }
    put_length(out, entries.len());
    let mut before = 0;
    for (entry, place) in entries.iter().zip(places) {
        let at = entry.at.as_millis();
        put_length(out, place);
        put_signed(out, at - before);
        before = at;
        out.push(stream_bits(entry.stream) | level_bits(entry.level) << 2 | u8::from(entry.redacted) << 4);
        put_text(out, &entry.message);
    }
}

fn stream_bits(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
        Stream::Platform => 2,
    }
}

fn level_bits(level: Level) -> u8 {
    match level {
        Level::Debug => 0,
        Level::Info => 1,
        Level::Warn => 2,
        Level::Error => 3,
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_number(out, u64::try_from(length).unwrap_or(u64::MAX));
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.push(0),
        Some(text) => {
            put_length(out, text.len() + 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// The bytes are no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(&'static str);

/// One invocation of a segment that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    pub function: &'a str,
    pub release: &'a str,
    pub request_id: &'a str,
    pub run_id: Option<&'a str>,
    pub attempt_id: Option<&'a str>,
}

/// One entry of a segment that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Place of its [`Source`].
    pub source: usize,
    pub at: Timestamp,
    pub stream: Stream,
    pub level: Level,
    pub redacted: bool,
    pub message: &'a str,
}

/// The body of a packed segment.
///
/// # Errors
/// [`Damaged`].
pub fn unpack(packed: &[u8]) -> Result<Cow<'_, [u8]>, Damaged> {
    match packed.split_first() {
        Some((&PLAIN, body)) => Ok(Cow::Borrowed(body)),
        Some((&ZSTD, rest)) => {
            let mut reader = Reader(rest);
            let length = usize::try_from(reader.number()?).ok().filter(|length| *length <= MAX_BODY);
            let length = length.ok_or(Damaged("its body is too long"))?;
            let body = zstd::bulk::decompress(reader.0, length).map_err(|_| Damaged("its zstd frame is broken"))?;
            if body.len() == length { Ok(Cow::Owned(body)) } else { Err(Damaged("its body has another length")) }
        }
        _ => Err(Damaged("it is packed in an unknown way")),
    }
}

/// The invocations of a body, and what [`Lines::read`] gets its entries from.
///
/// # Errors
/// [`Damaged`].
pub fn sources(body: &[u8]) -> Result<(Vec<Source<'_>>, Lines<'_>), Damaged> {
    let mut reader = Reader(body);
    let count = reader.count(5)?;
    let mut sources = Vec::with_capacity(count);
    for _ in 0..count {
        sources.push(Source {
            function: reader.text()?,
            release: reader.text()?,
            request_id: reader.text()?,
            run_id: reader.optional()?,
            attempt_id: reader.optional()?,
        });
    }
    Ok((sources, Lines { reader, sources: count }))
}

/// Entries that are not read yet.
pub struct Lines<'a> {
    reader: Reader<'a>,
    sources: usize,
}

impl<'a> Lines<'a> {
    /// # Errors
    /// [`Damaged`].
    pub fn read(self) -> Result<Vec<Line<'a>>, Damaged> {
        let mut reader = self.reader;
        let count = reader.count(4)?;
        let mut lines = Vec::with_capacity(count);
        let mut at = 0_i64;
        for _ in 0..count {
            let source = usize::try_from(reader.number()?).ok().filter(|place| *place < self.sources);
            let source = source.ok_or(Damaged("an entry is of no invocation"))?;
            let moment = at.checked_add(reader.signed()?);
            at = moment.ok_or(Damaged("an entry is of no time"))?;
            let bits = reader.byte()?;
            lines.push(Line {
                source,
                at: Timestamp::from_millis(at).ok_or(Damaged("an entry is of no time"))?,
                stream: stream_of(bits & 3)?,
                level: level_of(bits >> 2 & 3),
                redacted: match bits >> 4 {
                    0 => false,
                    1 => true,
                    _ => return Err(Damaged("an entry has unknown bits")),
                },
                message: reader.text()?,
            });
        }
        if reader.0.is_empty() { Ok(lines) } else { Err(Damaged("it does not end with its last entry")) }
    }
}

fn stream_of(bits: u8) -> Result<Stream, Damaged> {
    match bits {
        0 => Ok(Stream::Stdout),
        1 => Ok(Stream::Stderr),
        2 => Ok(Stream::Platform),
        _ => Err(Damaged("an entry has unknown bits")),
    }
}

fn level_of(bits: u8) -> Level {
    match bits {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        _ => Level::Error,
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self.0.split_first().ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged("a number is too large"))
    }

    fn signed(&mut self) -> Result<i64, Damaged> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// Length of a list of items of at least so many bytes each: no more than there can be.
    fn count(&mut self, least: usize) -> Result<usize, Damaged> {
        let most = self.0.len() / least;
        let count = usize::try_from(self.number()?).ok().filter(|count| *count <= most);
        count.ok_or(Damaged("a list is longer than it is"))
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.number()?;
        self.text_of(length)
    }

    fn optional(&mut self) -> Result<Option<&'a str>, Damaged> {
        match self.number()? {
            0 => Ok(None),
            more => self.text_of(more - 1).map(Some),
        }
    }

    fn text_of(&mut self, length: u64) -> Result<&'a str, Damaged> {
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (text, rest) = split.ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Damaged("a text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::features::functions::logs::entry::Origin;

    const STREAMS: [Stream; 3] = [Stream::Stdout, Stream::Stderr, Stream::Platform];
    const LEVELS: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];
    const NOW: i64 = 1_781_863_200_000;

    fn tags(project: &str, function: &str, request: &str, run: Option<&str>) -> Arc<Tags> {
        Arc::new(Tags {
            origin: Arc::new(Origin {
                project: project.parse().unwrap(),
                function: function.into(),
                release: "rel_a".parse().unwrap(),
            }),
            request_id: request.into(),
            run_id: run.map(Into::into),
            attempt_id: run.map(|run| format!("{run}-1")),
        })
    }

    fn entry(tags: &Arc<Tags>, at: i64, message: impl Into<String>) -> Entry {
        Entry {
            tags: Arc::clone(tags),
            at: Timestamp::from_millis(at).unwrap(),
            stream: Stream::Stdout,
            level: Level::Info,
            message: message.into(),
            redacted: false,
        }
    }

    /// What a reader sees of a packed segment.
    fn read(packed: &[u8]) -> Result<usize, Damaged> {
        let body = unpack(packed)?;
        let (sources, lines) = sources(&body)?;
        Ok(sources.len() + lines.read()?.len())
    }

    fn assert_holds(packed: &[u8], entries: &[Entry]) {
        let body = unpack(packed).unwrap();
        let (sources, lines) = sources(&body).unwrap();
        let lines = lines.read().unwrap();
        assert_eq!(lines.len(), entries.len());
        for (line, entry) in lines.iter().zip(entries) {
            let source = sources[line.source];
            assert_eq!(source.function, entry.tags.origin.function);
            assert_eq!(source.release, entry.tags.origin.release.as_str());
            assert_eq!(source.request_id, entry.tags.request_id);
            assert_eq!(source.run_id, entry.tags.run_id.as_deref());
            assert_eq!(source.attempt_id, entry.tags.attempt_id.as_deref());
            assert_eq!((line.at, line.stream, line.level), (entry.at, entry.stream, entry.level));
            assert_eq!((line.redacted, line.message), (entry.redacted, &*entry.message));
        }
    }

    #[test]
    fn projects_of_one_batch_are_kept_apart_and_in_order() {
        let (a, b) = (tags("prj_a", "f", "req_1", None), tags("prj_b", "f", "req_2", None));
        let other = tags("prj_a", "g", "req_3", None);
        let batch = [(&a, 5, "1"), (&b, 4, "2"), (&other, 6, "3"), (&a, 2, "4")];
        let segments = Segment::of(batch.map(|(tags, at, text)| entry(tags, NOW + at, text)).into());
        let seen: Vec<_> = segments
            .iter()
            .map(|segment| {
                let functions: Vec<&str> = segment.functions.iter().map(String::as_str).collect();
                (segment.project.as_str(), functions, segment.last_at.as_millis() - NOW, segment.size)
            })
            .collect();
        assert_eq!(seen, [("prj_a", vec!["f", "g"], 6, 303), ("prj_b", vec!["f"], 4, 101)]);
        assert_holds(
            &segments[0].packed,
            &[(&a, 5, "1"), (&other, 6, "3"), (&a, 2, "4")].map(|(t, at, m)| entry(t, NOW + at, m)),
        );
        assert!(Segment::of(Vec::new()).is_empty());
    }

    #[test]
    fn much_text_is_split_and_a_long_entry_stands_alone() {
        let tags = tags("prj_a", "f", "req_1", None);
        let lengths = [1_000_000, 200_000, 60_000, 60_000, 1];
        let entries = lengths.map(|length| entry(&tags, NOW, "x".repeat(length)));
        let sizes: Vec<i64> = Segment::of(entries.into()).iter().map(|segment| segment.size).collect();
        assert_eq!(sizes, [1_000_100, 260_200, 60_201]);
    }

    #[test]
    fn text_that_repeats_is_compressed_and_little_is_not() {
        let tags = tags("prj_a", "f", "req_1", Some("fnrun_1"));
        let repeated: Vec<Entry> = (0..1000).map(|line| entry(&tags, NOW + line, format!("line {line}"))).collect();
        let packed = pack(&repeated);
        assert!(packed[0] == ZSTD && packed.len() < 6_000, "{}", packed.len());
        assert_holds(&packed, &repeated);
        let little = pack(&repeated[..2]);
        assert_eq!(little[0], PLAIN);
        assert_holds(&little, &repeated[..2]);
    }

    #[test]
    fn damage_is_told() {
        let tags = tags("prj_a", "f", "req_1", Some("fnrun_1"));
        let small = pack(&[entry(&tags, NOW, "one"), entry(&tags, NOW + 1, "two")]);
        assert_eq!(read(&small), Ok(3));
        for end in 0..small.len() {
            assert!(read(&small[..end]).is_err(), "cut to {end}");
        }
        let longer = [&small[..], &[0]].concat();
        assert_eq!(read(&longer), Err(Damaged("it does not end with its last entry")));
        let large = pack(&vec![entry(&tags, NOW, "a line of some length"); 1000]);
        assert_eq!(large[0], ZSTD);
        for at in 1..large.len() {
            let mut damaged = large.clone();
            damaged[at] ^= 0x10;
            // One bit of a zstd frame means nothing.
            if let Ok(body) = unpack(&damaged) {
                assert_eq!(body, unpack(&large).unwrap(), "byte {at}");
            }
        }
        // An own kind, a body of terabytes, a list of terabytes, a number of 70 bits.
        for bytes in [&[3, 0][..], &[ZSTD, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], &[PLAIN, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(Reader(&[0xff; 12]).number(), Err(Damaged("a number is too large")));
    }

    #[test]
    fn numbers_of_every_length_return() {
        for number in [0, 1, -1, 63, -64, 64, 1 << 40, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_signed(&mut out, number);
            assert_eq!(Reader(&out).signed(), Ok(number));
        }
        for number in [0, 127, 128, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(Reader(&out).number(), Ok(number));
        }
    }

    fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
        let invocation = ("[a-z]{1,8}", "\\PC{0,12}", proptest::option::of("\\PC{0,12}"));
        let line = (
            any::<prop::sample::Index>(),
            0..4_000_000_000_000_i64,
            0..3_usize,
            0..4_usize,
            any::<bool>(),
            "(?s).{0,80}",
        );
        (prop::collection::vec(invocation, 1..5), prop::collection::vec(line, 1..40)).prop_map(
            |(invocations, lines)| {
                let invocations: Vec<Arc<Tags>> = invocations
                    .iter()
                    .map(|(function, request, run)| tags("prj_a", function, request, run.as_deref()))
                    .collect();
                lines
                    .into_iter()
                    .map(|(of, at, stream, level, redacted, message)| Entry {
                        stream: STREAMS[stream],
                        level: LEVELS[level],
                        redacted,
                        ..entry(of.get(&invocations), at, message)
                    })
                    .collect()
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_packed_is_read(entries in any_entries()) {
            assert_holds(&pack(&entries), &entries);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            for way in [PLAIN, ZSTD] {
                let _ = read(&[&[way][..], &bytes].concat());
            }
        }

        #[test]
        fn a_segment_with_other_bytes_in_it_is_read_or_refused(
            entries in any_entries(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut packed = vec![PLAIN];
            write_body(&entries, &mut packed);
            *at.get_mut(&mut packed) = byte;
            let _ = read(&packed);
        }
    }
}
