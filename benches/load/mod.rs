//! A small HTTP/1.1 load: a fixed number of keep-alive connections on one thread, each sending the next request
//! when the last answer is complete. It parses only what it must, so that it is not what is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Whole requests as bytes; connections take turns through them.
pub struct Load {
    pub address: String,
    pub requests: Vec<Vec<u8>>,
    pub expected_status: u16,
    pub connections: usize,
    pub duration: Duration,
}

pub struct Measured {
    pub per_second: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// Share of one core that the client used: the closer to 1, the less the figures say about the server.
    pub client_cpu: f64,
}

impl Load {
    /// Runs on a thread of its own, so that its processor time can be told from the rest.
    ///
    /// # Panics
    /// On another status, or a broken connection.
    pub fn run(self) -> Measured {
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(self.measure())
        })
        .join()
        .expect("the load ran")
    }

    async fn measure(self) -> Measured {
        let load = Arc::new(self);
        let turn = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let cpu_before = thread_cpu();
        let end = started + load.duration;
        let connections: Vec<_> =
            (0..load.connections).map(|_| tokio::spawn(Arc::clone(&load).connection(Arc::clone(&turn), end))).collect();
        let mut latencies: Vec<u64> = Vec::new();
        for connection in connections {
            latencies.extend(connection.await.expect("a connection that kept working"));
        }
        let elapsed = started.elapsed();
        let cpu = thread_cpu() - cpu_before;
        latencies.sort_unstable();
        let at = |share: usize| latencies[(latencies.len() - 1) * share / 100] as f64 / 1e3;
        Measured {
            per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            client_cpu: cpu.as_secs_f64() / elapsed.as_secs_f64(),
        }
    }

    /// Latencies in microseconds. One request is sent in any case, however short the time is.
    async fn connection(self: Arc<Self>, turn: Arc<AtomicUsize>, end: Instant) -> Vec<u64> {
        let mut stream = TcpStream::connect(&self.address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        let mut latencies = Vec::with_capacity(1 << 14);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let request = &self.requests[turn.fetch_add(1, Ordering::Relaxed) % self.requests.len()];
            let sent = Instant::now();
            stream.write_all(request).await.expect("the connection stays");
            self.answer(&mut stream, &mut buffer).await;
            latencies.push(sent.elapsed().as_micros() as u64);
            if Instant::now() >= end {
                return latencies;
            }
        }
    }

    async fn answer(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>) {
        let mut filled = 0;
        loop {
            if filled == buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            let read = stream.read(&mut buffer[filled..]).await.expect("the connection stays");
            assert_ne!(read, 0, "the server hung up");
            filled += read;
            if is_complete(&buffer[..filled]) {
                break;
            }
        }
        let status = &buffer[9..12];
        assert_eq!(
            status,
            self.expected_status.to_string().as_bytes(),
            "{}",
            String::from_utf8_lossy(&buffer[..filled])
        );
    }
}

/// Whether the bytes are one whole answer. Heads are short, so they are read again with each piece.
fn is_complete(bytes: &[u8]) -> bool {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let body = &bytes[head + 4..];
    let head = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match length {
        Some(length) => body.len() >= length,
        None if head.contains("transfer-encoding: chunked") => body.ends_with(b"0\r\n\r\n"),
        None => true,
    }
}

fn thread_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("the kernel counts");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64))
        .sum()
}
