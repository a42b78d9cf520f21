//! What a browser sees on tenant hosts (contract 04).

mod blobs;
mod files;
mod hosts;
mod resolve;
mod routes;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::support::{Appliance, Project};

/// An answer as it came over the wire.
pub struct Raw {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Raw {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `code` of an error envelope; empty when the body is none.
    pub fn code(&self) -> String {
        serde_json::from_slice::<serde_json::Value>(&self.body)
            .ok()
            .and_then(|body| body["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// The host every project has from its creation.
pub async fn public_host(project: &Project) -> String {
    let api = Appliance::shared().api();
    let detail = api.get(&format!("/projects/v1/{}", project.id)).wallet(&project.owner).send().await.is(200);
    format!("pr-{}.localhost", detail["public_id"].as_str().expect("a public id"))
}

/// Sends these bytes and reads until the other side closes.
pub fn raw(appliance: &Appliance, request: &[u8]) -> Raw {
    let mut stream = TcpStream::connect(appliance.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
    // A refusal may arrive, and the connection end, before all of it is sent.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Raw { status, head, body: answer.get(end + 4..).unwrap_or_default().to_vec() }
}

/// A GET of a raw target on a host.
pub fn get(appliance: &Appliance, host: &str, target: &str) -> Raw {
    send(appliance, "GET", host, target, "")
}

/// `headers`: whole lines with their line ends.
pub fn send(appliance: &Appliance, method: &str, host: &str, target: &str, headers: &str) -> Raw {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    raw(appliance, request.as_bytes())
}
