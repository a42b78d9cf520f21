//! A connection for short transactions that must cost one round trip: everything a request has to say goes out in
//! one write, and all of it is one transaction.
//!
//! The extended protocol makes that possible: the statements between two `Sync` messages are one implicit
//! transaction, which `Sync` commits, or which is rolled back when one of them fails (Postgres documentation,
//! "Pipelining"). A general client synchronises after each statement, and drives its connection from a task of its
//! own, which costs a change of tasks each way. Here whoever holds the connection reads and writes its socket.
//!
//! Statements are prepared on first use, in the same write, and known by their text from then on.
//!
//! Invariant: a connection is in step when every `Sync` it sent was answered. Whoever stops listening before that
//! leaves it out of step, and its pool then closes it.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::OwnedSemaphorePermit,
};

use super::Login;

/// Where the server listens inside its socket directory.
const SOCKET: &str = ".s.PGSQL.5432";
const PROTOCOL: i32 = 3 << 16;
const CANCEL: i32 = 80_877_102;
/// Statements one connection keeps prepared; the least recently used goes first.
const PREPARED_STATEMENTS: usize = 200;
/// Receive buffer to begin with; grows with the longest message and shrinks back.
const BUFFER: usize = 16 * 1024;

/// What the server says about a failed statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({sqlstate})")]
pub struct ServerReport {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A statement failed, and with it its transaction. The connection is usable once it is in step.
    #[error(transparent)]
    Server(Box<ServerReport>),
    /// The connection broke, or the server does not speak as expected. Nothing is known about the transaction.
    #[error("the connection to the database broke: {0}")]
    Broken(#[from] io::Error),
}

impl PipelineError {
    pub fn report(&self) -> Option<&ServerReport> {
        match self {
            Self::Server(report) => Some(report),
            Self::Broken(_) => None,
        }
    }
}

/// The rows of one statement.
#[derive(Debug, Default)]
pub struct Rows {
    /// Type of each column.
    pub types: Arc<[u32]>,
    pub rows: Vec<Row>,
}

/// One row, in the binary formats of its types.
#[derive(Debug)]
pub struct Row {
    message: Bytes,
    columns: Vec<Option<Range<usize>>>,
}

impl Row {
    /// The bytes of a column; None for NULL and for a column that is not there.
    pub fn get(&self, column: usize) -> Option<&[u8]> {
        self.columns.get(column)?.clone().and_then(|range| self.message.get(range))
    }

    /// The same without copying: shares the memory of the whole row.
    pub fn bytes(&self, column: usize) -> Option<Bytes> {
        self.columns.get(column)?.clone().map(|range| self.message.slice(range))
    }

    pub fn text(&self, column: usize) -> Option<&str> {
        self.get(column).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// A column of type `bigint`.
    pub fn bigint(&self, column: usize) -> Option<i64> {
        self.get(column).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes)
    }
}

#[derive(Debug)]
struct Prepared {
    name: u32,
    types: Arc<[u32]>,
    used: u64,
}

/// A statement on its way: what its answer completes.
#[derive(Debug)]
enum Expected {
    /// Already prepared.
    Known(Arc<[u32]>),
    /// Prepared in the same write.
    New { text: Box<str>, name: u32 },
    /// The end of what a failed statement takes with it.
    Sync,
}

/// Ends the running statement of a connection from outside.
#[derive(Clone, Debug)]
pub struct Canceller(Arc<Backend>);

#[derive(Debug)]
struct Backend {
    socket: PathBuf,
    pid: i32,
    secret: Bytes,
}

/// The connection.
#[derive(Debug)]
pub struct Pipeline {
    stream: UnixStream,
    incoming: BytesMut,
    outgoing: BytesMut,
    statements: HashMap<Box<str>, Prepared>,
    expected: VecDeque<Expected>,
    next_name: u32,
    uses: u64,
    /// Syncs without their answer.
    out_of_step: u32,
    broken: bool,
    in_transaction: bool,
    stance: Option<Box<dyn Any + Send + Sync>>,
    canceller: Canceller,
    _permit: OwnedSemaphorePermit,
}

impl Pipeline {
    /// Logs in.
    pub(super) async fn open(
        socket_dir: &Path,
        login: &Login,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, (PipelineError, OwnedSemaphorePermit)> {
        let socket = socket_dir.join(SOCKET);
        let stream = match UnixStream::connect(&socket).await {
            Ok(stream) => stream,
            Err(error) => return Err((error.into(), permit)),
        };
        let mut pipeline = Self {
            stream,
            incoming: BytesMut::with_capacity(BUFFER),
            outgoing: BytesMut::with_capacity(BUFFER),
            statements: HashMap::new(),
            expected: VecDeque::new(),
            next_name: 0,
            uses: 0,
            out_of_step: 1,
            broken: false,
            in_transaction: false,
            stance: None,
            canceller: Canceller(Arc::new(Backend { socket, pid: 0, secret: Bytes::new() })),
            _permit: permit,
        };
        match pipeline.start(login).await {
            Ok(()) => Ok(pipeline),
            Err(error) => Err((error, pipeline._permit)),
        }
    }

    async fn start(&mut self, login: &Login) -> Result<(), PipelineError> {
        let start = self.outgoing.len();
        self.outgoing.put_i32(0);
        self.outgoing.put_i32(PROTOCOL);
        for (name, value) in [
            ("user", login.role.as_str()),
            ("database", &login.database),
            ("application_name", "run402"),
            ("client_encoding", "UTF8"),
        ] {
            self.put_string(name);
            self.put_string(value);
        }
        self.outgoing.put_u8(0);
        self.put_length(start);
        self.send().await?;
        loop {
            let (tag, mut body) = self.message().await?;
            match tag {
                b'R' if body.len() >= 4 && body.get_i32() == 0 => {}
                b'R' => return Err(unexpected("the server wants a password")),
                b'K' if body.len() > 4 => {
                    let (socket, pid) = (self.canceller.0.socket.clone(), body.get_i32());
                    self.canceller = Canceller(Arc::new(Backend { socket, pid, secret: body }));
                }
                b'E' => return Err(PipelineError::Server(Box::new(report(&body)))),
                b'Z' => {
                    self.out_of_step = 0;
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Whether the next request can use it.
    pub fn is_usable(&self) -> bool {
        !self.broken && self.out_of_step == 0 && !self.in_transaction && self.expected.is_empty()
    }

    /// Keeps its pool from using it again.
    pub fn retire(&mut self) {
        self.broken = true;
    }

    /// Nothing will be answered any more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// How its last user left the session on purpose, in words of his own; None after login and when nobody knows.
    /// It lasts beyond transactions, so that the next request of the same kind has nothing to set.
    pub fn stance<S: Any>(&self) -> Option<&S> {
        self.stance.as_ref()?.downcast_ref()
    }

    pub fn set_stance<S: Any + Send + Sync>(&mut self, stance: S) {
        self.stance = Some(Box::new(stance));
    }

    pub fn forget_stance(&mut self) {
        self.stance = None;
    }

    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Adds a statement to the write. Operands are in text form; None is NULL.
    pub fn add<'a>(&mut self, text: &str, operands: impl ExactSizeIterator<Item = Option<&'a str>>) {
        self.uses += 1;
        let name = match self.statements.get_mut(text) {
            Some(prepared) => {
                prepared.used = self.uses;
                self.expected.push_back(Expected::Known(Arc::clone(&prepared.types)));
                prepared.name
            }
            None => self.prepare(text),
        };
        let start = self.begin(b'B');
        self.outgoing.put_u8(0);
        self.put_name(name);
        self.outgoing.put_i16(0);
        // A statement with more is refused by the server: it counts what it needs.
        self.outgoing.put_u16(u16::try_from(operands.len()).unwrap_or(u16::MAX));
        for operand in operands {
            match operand {
                Some(operand) => {
                    self.outgoing.put_i32(i32::try_from(operand.len()).unwrap_or(i32::MAX));
                    self.outgoing.put_slice(operand.as_bytes());
                }
                None => self.outgoing.put_i32(-1),
            }
        }
        self.outgoing.put_slice(&[0, 1, 0, 1]);
        self.put_length(start);
        let start = self.begin(b'E');
        self.outgoing.put_slice(&[0; 5]);
        self.put_length(start);
    }

    fn prepare(&mut self, text: &str) -> u32 {
        if self.statements.len() >= PREPARED_STATEMENTS {
            self.forget_one();
        }
        self.next_name = self.next_name.wrapping_add(1);
        let name = self.next_name;
        let start = self.begin(b'P');
        self.put_name(name);
        self.put_string(text);
        self.outgoing.put_i16(0);
        self.put_length(start);
        let start = self.begin(b'D');
        self.outgoing.put_u8(b'S');
        self.put_name(name);
        self.put_length(start);
        self.expected.push_back(Expected::New { text: text.into(), name });
        name
    }

    fn forget_one(&mut self) {
        let oldest = self.statements.iter().min_by_key(|(_, prepared)| prepared.used).map(|(text, _)| text.clone());
        if let Some(prepared) = oldest.and_then(|text| self.statements.remove(&text)) {
            self.close_statement(prepared.name);
        }
    }

    fn close_statement(&mut self, name: u32) {
        let start = self.begin(b'C');
        self.outgoing.put_u8(b'S');
        self.put_name(name);
        self.put_length(start);
    }

    /// Prepares everything anew from here on: a plan became invalid, or user code removed a statement.
    pub fn forget_statements(&mut self) {
        let names: Vec<u32> = self.statements.drain().map(|(_, prepared)| prepared.name).collect();
        for name in names {
            self.close_statement(name);
        }
    }

    /// Ends the implicit transaction: commit, unless something failed.
    pub fn sync(&mut self) {
        self.outgoing.put_slice(&[b'S', 0, 0, 0, 4]);
        self.expected.push_back(Expected::Sync);
        self.out_of_step += 1;
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// [`PipelineError::Broken`].
    pub async fn send(&mut self) -> Result<(), PipelineError> {
        let written = self.stream.write_all(&self.outgoing).await;
        self.outgoing.clear();
        if self.outgoing.capacity() > 4 * BUFFER {
            self.outgoing = BytesMut::with_capacity(BUFFER);
        }
        written.map_err(|error| self.broke(error))
    }

    /// The answer to the next statement.
    ///
    /// # Errors
    /// [`PipelineError::Server`] when it failed; what was added after it up to the next sync is skipped, and only
    /// [`Pipeline::ready`] follows.
    pub async fn rows(&mut self) -> Result<Rows, PipelineError> {
        let expected = match self.expected.pop_front() {
            None | Some(Expected::Sync) => return Err(self.broke(protocol("no statement is left"))),
            Some(expected) => expected,
        };
        let mut answer = Rows::default();
        if let Expected::Known(types) = &expected {
            answer.types = Arc::clone(types);
        }
        let mut is_prepared = false;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'D' => answer.rows.push(row(body)),
                b'T' => answer.types = column_types(&body),
                // ParseComplete comes before the description, which comes before BindComplete.
                b'1' => is_prepared = true,
                b'2' => {
                    if let Expected::New { text, name } = &expected {
                        self.remember(text, *name, &answer.types);
                    }
                }
                b'C' | b'I' | b's' => return Ok(answer),
                b'E' => {
                    if let (Expected::New { name, .. }, true) = (&expected, is_prepared) {
                        // Its text is not known here, so nobody would use it.
                        if !self.statements.values().any(|prepared| prepared.name == *name) {
                            self.close_statement(*name);
                        }
                    }
                    while self.expected.front().is_some_and(|next| !matches!(next, Expected::Sync)) {
                        self.expected.pop_front();
                    }
                    return Err(PipelineError::Server(Box::new(report(&body))));
                }
                b'Z' => return Err(self.broke(protocol("an answer is missing"))),
                _ => {}
            }
        }
    }

    fn remember(&mut self, text: &str, name: u32, types: &Arc<[u32]>) {
        let prepared = Prepared { name, types: Arc::clone(types), used: self.uses };
        // Twice in one write: the later stays, the earlier is of no use.
        if let Some(earlier) = self.statements.insert(text.into(), prepared) {
            self.close_statement(earlier.name);
        }
    }

    /// The answer to the next sync: the transaction has ended, unless one was begun explicitly.
    ///
    /// # Errors
    /// [`PipelineError::Server`] when the commit failed.
    pub async fn ready(&mut self) -> Result<(), PipelineError> {
        let mut failed = None;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'Z' => {
                    while !matches!(self.expected.pop_front(), None | Some(Expected::Sync)) {}
                    self.out_of_step = self.out_of_step.saturating_sub(1);
                    self.in_transaction = body.first() != Some(&b'I');
                    break;
                }
                b'E' => failed = Some(report(&body)),
                _ => {}
            }
        }
        match failed {
            Some(report) => Err(PipelineError::Server(Box::new(report))),
            None => Ok(()),
        }
    }

    /// Whether a transaction that was begun explicitly is still open, as of the last sync.
    pub fn is_in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// One message: its tag and its body.
    async fn message(&mut self) -> Result<(u8, Bytes), PipelineError> {
        loop {
            if let Some((&tag, rest)) = self.incoming.split_first()
                && let Some(length) = rest.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize)
            {
                if length < 4 {
                    return Err(self.broke(protocol("a message without length")));
                }
                if self.incoming.len() > length {
                    let mut message = self.incoming.split_to(length + 1).freeze();
                    message.advance(5);
                    return Ok((tag, message));
                }
                self.incoming.reserve(length + 1 - self.incoming.len());
            } else {
                self.incoming.reserve(BUFFER);
            }
            match self.stream.read_buf(&mut self.incoming).await {
                Ok(0) => return Err(self.broke(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(self.broke(error)),
            }
        }
    }

    fn broke(&mut self, error: io::Error) -> PipelineError {
        self.broken = true;
        PipelineError::Broken(error)
    }

    fn begin(&mut self, tag: u8) -> usize {
        self.outgoing.put_u8(tag);
        let start = self.outgoing.len();
        self.outgoing.put_i32(0);
        start
    }

    fn put_length(&mut self, start: usize) {
        let length = u32::try_from(self.outgoing.len() - start).unwrap_or(u32::MAX);
        self.outgoing[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Texts come without NUL: what follows one is cut.
    fn put_string(&mut self, text: &str) {
        let end = text.find('\0').unwrap_or(text.len());
        self.outgoing.put_slice(&text.as_bytes()[..end]);
        self.outgoing.put_u8(0);
    }

    fn put_name(&mut self, name: u32) {
        self.outgoing.put_u8(b'r');
        for shift in [28, 24, 20, 16, 12, 8, 4, 0] {
            self.outgoing.put_u8(b'a' + ((name >> shift) & 15) as u8);
        }
        self.outgoing.put_u8(0);
    }
}

impl Canceller {
    /// Asks the server to end what the connection runs now.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn cancel(&self) -> io::Result<()> {
        let mut stream = UnixStream::connect(&self.0.socket).await?;
        let mut message = BytesMut::with_capacity(16 + self.0.secret.len());
        message.put_u32(u32::try_from(12 + self.0.secret.len()).unwrap_or(u32::MAX));
        message.put_i32(CANCEL);
        message.put_i32(self.0.pid);
        message.put_slice(&self.0.secret);
        stream.write_all(&message).await?;
        // The server hangs up when it has passed the word on.
        let mut end = [0; 1];
        let _ = stream.read(&mut end).await;
        Ok(())
    }

    /// Process number of the server's side.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }
}

fn protocol(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn unexpected(what: &'static str) -> PipelineError {
    PipelineError::Broken(protocol(what))
}

fn row(message: Bytes) -> Row {
    let mut columns = Vec::new();
    let mut rest = &message[..];
    let count = if rest.len() >= 2 { rest.get_u16() } else { 0 };
    for _ in 0..count {
        if rest.len() < 4 {
            break;
        }
        let length = rest.get_i32();
        let Ok(length) = usize::try_from(length) else {
            columns.push(None);
            continue;
        };
        let start = message.len() - rest.len();
        columns.push(Some(start..start + length));
        rest = rest.get(length..).unwrap_or_default();
    }
    Row { message, columns }
}

fn column_types(body: &[u8]) -> Arc<[u32]> {
    let mut rest = body;
    let count = if rest.len() >= 2 { rest.get_u16() } else { 0 };
    let mut types = Vec::with_capacity(count.into());
    for _ in 0..count {
        let Some(end) = rest.iter().position(|byte| *byte == 0) else { break };
        // After the name: table, column, type, length, modifier, format.
        let Some(facts) = rest.get(end + 1..end + 19) else { break };
        types.push((&facts[6..]).get_u32());
        rest = &rest[end + 19..];
    }
    types.into()
}

fn report(body: &[u8]) -> ServerReport {
    let mut report = ServerReport::default();
    for field in body.split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
        let text = String::from_utf8_lossy(&field[1..]).into_owned();
        match field[0] {
            b'C' => report.sqlstate = text,
            b'M' => report.message = text,
            b'D' => report.detail = Some(text),
            b'H' => report.hint = Some(text),
            _ => {}
        }
    }
    report
}
