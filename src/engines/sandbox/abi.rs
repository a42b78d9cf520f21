//! The imports of the guest: every way out of the sandbox is in this file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{FutureExt, StreamExt};
use rand::RngExt;
use tokio::time::{Instant, sleep_until};
use wasmtime::{Caller, Engine, Linker, Memory, Result, format_err};

use super::{
    codecs, crypto, egress,
    frame::unpack,
    ops::Op,
    services::{LogLevel, ServiceError},
    state::{Event, State},
    text, zone,
};

/// Most bytes of one request for randomness (Web Crypto, getRandomValues).
const MAX_RANDOM: i32 = 65536;
/// Work on less than this is done in place: moving it costs more.
const WORTH_A_THREAD: usize = 64 * 1024;
/// What `poll` answers when a timer is due, and when nothing will ever happen.
const TIMER_DUE: i32 = -2;
const NOTHING_PENDING: i32 = -1;
/// What a result may have around the body of a response: status, headers, the report of an error.
const MAX_RESULT_HEAD: usize = 1 << 20;
/// The status of a result that is longer than the limit.
pub(super) const TOO_LONG: i32 = 2;
/// WASI's "bad file descriptor".
const BADF: i32 = 8;

type Guest<'a> = Caller<'a, State>;

pub(super) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "call", |mut guest: Guest<'_>, op: i32, id: i32, at: u32, length: u32| {
        let payload = payload(&mut guest, at, length)?;
        let result = call(guest.data_mut(), op, id, payload);
        Ok::<i32, wasmtime::Error>(outbox(guest.data_mut(), result))
    })?;
    linker.func_wrap_async("host", "work", |mut guest: Guest<'_>, (op, _id, at, length): (i32, i32, u32, u32)| {
        Box::new(async move {
            let payload = payload(&mut guest, at, length)?;
            let result = work(guest.data_mut(), op, payload).await;
            Ok::<i32, wasmtime::Error>(outbox(guest.data_mut(), result))
        })
    })?;
    linker.func_wrap("host", "read", |mut guest: Guest<'_>, at: u32| {
        let (bytes, state) = memory(&guest)?.data_and_store_mut(&mut guest);
        let outbox = std::mem::take(&mut state.outbox);
        slice_mut(bytes, at, outbox.len())?.copy_from_slice(&outbox);
        Ok::<(), wasmtime::Error>(())
    })?;
    linker.func_wrap("host", "ret", |mut guest: Guest<'_>, status: i32, at: u32, length: u32| {
        let too_long = length as usize > guest.data().limits.response_bytes + MAX_RESULT_HEAD;
        // What nobody may have is not even copied.
        let bytes = payload(&mut guest, at, if too_long { 0 } else { length })?;
        guest.data_mut().result = Some((if too_long { TOO_LONG } else { status }, bytes));
        Ok::<(), wasmtime::Error>(())
    })?;
    linker.func_wrap_async("host", "poll", |mut guest: Guest<'_>, (deadline, id, status): (f64, u32, u32)| {
        Box::new(async move {
            let event = match next(guest.data_mut(), deadline).await {
                Next::Event(event) => event,
                Next::Timer => return Ok(TIMER_DUE),
                Next::Nothing => return Ok(NOTHING_PENDING),
            };
            let (failed, bytes) = match event.result {
                Ok(bytes) => (0_i32, bytes),
                Err(error) => (1, error.to_json()),
            };
            let (memory, state) = memory(&guest)?.data_and_store_mut(&mut guest);
            slice_mut(memory, id, 4)?.copy_from_slice(&event.id.to_le_bytes());
            slice_mut(memory, status, 4)?.copy_from_slice(&failed.to_le_bytes());
            state.completed(event.id);
            state.outbox = bytes;
            i32::try_from(state.outbox.len()).map_err(|_| format_err!("a result longer than 2 GiB"))
        })
    })?;
    wasi(&mut linker)?;
    Ok(linker)
}

/// The little of WASI that libc was linked with.
fn wasi(linker: &mut Linker<State>) -> Result<()> {
    const MODULE: &str = "wasi_snapshot_preview1";
    const MONOTONIC: i32 = 1;
    let start = std::time::Instant::now();
    linker.func_wrap(MODULE, "clock_time_get", move |mut guest: Guest<'_>, clock: i32, _precision: i64, at: u32| {
        let since = if clock == MONOTONIC {
            start.elapsed()
        } else {
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
        };
        let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let bytes = memory(&guest)?.data_mut(&mut guest);
        slice_mut(bytes, at, 8)?.copy_from_slice(&nanoseconds.to_le_bytes());
        Ok::<i32, wasmtime::Error>(0)
    })?;
    linker.func_wrap(MODULE, "fd_close", |_: i32| BADF)?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |_: i32, _: u32| BADF)?;
    linker.func_wrap(MODULE, "fd_seek", |_: i32, _: i64, _: i32, _: u32| BADF)?;
    linker.func_wrap(MODULE, "fd_write", |_: i32, _: u32, _: u32, _: u32| BADF)?;
    linker.func_wrap(MODULE, "proc_exit", |_: i32| -> Result<()> { Err(format_err!("the engine aborted")) })?;
    Ok(())
}

fn memory(guest: &Guest<'_>) -> Result<Memory> {
    guest.data().memory.ok_or_else(|| format_err!("the guest has no memory yet"))
}

fn payload(guest: &mut Guest<'_>, at: u32, length: u32) -> Result<Vec<u8>> {
    let bytes = memory(guest)?.data(&*guest);
    let range = at as usize..at as usize + length as usize;
    Ok(bytes.get(range).ok_or_else(|| format_err!("a pointer of the guest is out of bounds"))?.to_vec())
}

fn slice_mut(memory: &mut [u8], at: u32, length: usize) -> Result<&mut [u8]> {
    memory
        .get_mut(at as usize..at as usize + length)
        .ok_or_else(|| format_err!("a pointer of the guest is out of bounds"))
}

/// Puts a result where the guest's `read` finds it; what the import returns tells its length and kind.
fn outbox(state: &mut State, result: Result<Vec<u8>, ServiceError>) -> i32 {
    let (bytes, failed) = match result {
        Ok(bytes) => (bytes, false),
        Err(error) => (error.to_json(), true),
    };
    let length = i32::try_from(bytes.len()).unwrap_or(0);
    state.outbox = bytes;
    if failed { -length - 1 } else { length }
}

fn call(state: &mut State, op: i32, id: i32, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let op = Op::of(op).ok_or_else(|| ServiceError::new("unknown operation"))?;
    if op == Op::Log {
        state.log(LogLevel::of(id), &payload);
        return Ok(Vec::new());
    }
    if !state.spend() {
        return Err(ServiceError::named("RangeError", "the limit of host operations in one call was met"));
    }
    match op {
        Op::Random => {
            let mut bytes = vec![0; usize::try_from(id.clamp(0, MAX_RANDOM)).unwrap_or(0)];
            rand::rng().fill(bytes.as_mut_slice());
            Ok(bytes)
        }
        Op::UrlParse => text::parse_url(payload),
        Op::UrlSet => text::set_url(id, payload),
        Op::TextDecode => text::decode(payload),
        Op::TextLabel => text::label(&payload),
        Op::Digest | Op::Crypto => crypto::run(payload),
        Op::ZlibOpen => codecs::open(state, payload),
        Op::ZlibWrite => {
            let (mut codec, handle, input) = codecs::take(state, payload)?;
            let output = codec.write(&input);
            codecs::put_back(state, codec, handle, &input);
            output
        }
        Op::ZlibClose => {
            state.codecs.remove(id);
            Ok(Vec::new())
        }
        Op::Fetch => egress::fetch(state, id, payload),
        Op::BodyRead => egress::read_body(state, id, payload),
        Op::BodyCancel => {
            state.bodies.remove(id);
            Ok(Vec::new())
        }
        Op::UploadWrite => egress::write_upload(state, id, payload),
        Op::UploadEnd => egress::end_upload(state, payload),
        Op::Cancel => {
            state.cancel(id);
            Ok(Vec::new())
        }
        Op::Dns => egress::resolve(state, id, payload),
        Op::Service => service(state, id, payload),
        Op::Zone if id == 1 => Ok(zone::names()),
        Op::Zone => zone::offset(&payload),
        Op::Log => Ok(Vec::new()),
    }
}

#[derive(serde::Deserialize)]
struct Service {
    call: String,
    head: serde_json::Value,
}

fn service(state: &mut State, id: i32, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let size = payload.len();
    let (Service { call, head }, parts) = unpack(payload)?;
    let services = state.services.clone().ok_or_else(|| ServiceError::new("no call is running"))?;
    state.begin_operation(id, size, async move { services.call(&call, head, parts).await })?;
    Ok(Vec::new())
}

/// Operations that may take long: off this thread, while the guest waits and others run.
async fn work(state: &mut State, op: i32, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let kind = Op::of(op).ok_or_else(|| ServiceError::new("unknown operation"))?;
    let heavy = payload.len() > WORTH_A_THREAD || (kind == Op::Crypto && crypto::is_heavy(&payload));
    if !heavy {
        return call(state, op, 0, payload);
    }
    if !state.spend() {
        return Err(ServiceError::named("RangeError", "the limit of host operations in one call was met"));
    }
    let broken = |_| ServiceError::new("the operation was lost");
    match kind {
        Op::Digest | Op::Crypto => tokio::task::spawn_blocking(move || crypto::run(payload)).await.map_err(broken)?,
        Op::ZlibWrite => {
            let (mut codec, handle, input) = codecs::take(state, payload)?;
            let (codec, input, output) = tokio::task::spawn_blocking(move || {
                let output = codec.write(&input);
                (codec, input, output)
            })
            .await
            .map_err(broken)?;
            codecs::put_back(state, codec, handle, &input);
            output
        }
        _ => call(state, op, 0, payload),
    }
}

enum Next {
    Event(Event),
    Timer,
    Nothing,
}

/// Waits for what comes first: a completion or the guest's earliest timer (milliseconds of the wall clock).
async fn next(state: &mut State, deadline: f64) -> Next {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0;
        let timer = deadline.is_finite().then_some(deadline - now);
        let completed = match timer {
            None if state.pending.is_empty() => return Next::Nothing,
            None => state.pending.next().await,
            // Due: what has completed goes first, or a timer that is always due would starve it.
            Some(wait) if wait <= 0.0 => {
                tokio::task::yield_now().await;
                match state.pending.next().now_or_never() {
                    Some(Some(completed)) => Some(completed),
                    _ => return Next::Timer,
                }
            }
            Some(wait) => {
                // Half a minute at a time: the arithmetic of instants cannot overflow, whatever the guest asks.
                let until = Instant::now() + Duration::from_secs_f64((wait / 1000.0).min(30.0));
                tokio::select! {
                    biased;
                    completed = state.pending.next(), if !state.pending.is_empty() => completed,
                    () = sleep_until(until) => continue,
                }
            }
        };
        // A cancelled operation completes with nothing.
        if let Some(Some(event)) = completed {
            return Next::Event(event);
        }
    }
}
