//! Asks a guest for a page, through the port that QEMU forwards to it.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A page with this text.
    Text(String),
    /// So many bytes, byte number *n* being the low byte of *n* times 7.
    Pattern(u64),
    /// Status 206, and the same bytes from the first number on, before the second.
    Part(u64, u64),
    /// This status.
    Status(u16),
}

/// A request for a page.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n")
}

/// A port of this host that nobody uses at the moment.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
    Ok(listener.local_addr()?.port())
}

/// QEMU's arguments for a network card behind which the host's `port` is the machine's port 80.
pub fn card(port: u16) -> Vec<String> {
    let network = format!("user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:80");
    ["-netdev", &network, "-device", "virtio-net-pci,netdev=n0"].map(String::from).into()
}

/// Sends a request until `until`. `Ok(None)` if the answer is as it must be, `Ok(Some(why))` if it is not.
///
/// # Errors
/// Never at present; other errors are answers that did not come.
pub fn fetch(port: u16, request: &str, body: &Body, until: Instant) -> Result<Option<String>> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match ask(port, request, left.max(Duration::from_millis(10))) {
            Ok((status, bytes)) => return Ok(judge(request, body, &status, &bytes)),
            Err(error) if left.is_zero() => return Ok(Some(format!("{}: {error:#}", first_line(request)))),
            Err(_) => std::thread::sleep(Duration::from_millis(200).min(left)),
        }
    }
}

/// Opens connections that send half a request and then nothing more, for as long as the value lives.
///
/// # Errors
/// If this host refuses one.
pub fn stall(port: u16, count: usize) -> Result<Vec<TcpStream>> {
    let one = |_| -> Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting")?;
        // One that is sent away at once has done its part.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ");
        Ok(stream)
    };
    (0..count).map(one).collect()
}

fn first_line(request: &str) -> &str {
    request.lines().next().unwrap_or("")
}

fn ask(port: u16, request: &str, limit: Duration) -> Result<(String, Vec<u8>)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, limit).context("connecting")?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(request.as_bytes()).context("asking")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("reading the answer")?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("an answer without a head")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.trim().parse().ok());
    let wanted =
        if request.starts_with("HEAD ") { 0 } else { length.context("an answer without a length")? };
    ensure!(wanted == body.len(), "{wanted} bytes were promised, {} came", body.len());
    Ok((first_line(&head).to_string(), body))
}

fn judge(request: &str, wanted: &Body, status: &str, body: &[u8]) -> Option<String> {
    let is = |code: u16| status.contains(&format!(" {code} "));
    let pattern = |first: u64, end: u64| {
        let right = |(n, byte): (u64, &u8)| *byte == (n * 7) as u8;
        body.len() as u64 == end - first && (first..).zip(body).all(right)
    };
    let right = match wanted {
        Body::Status(code) => is(*code),
        Body::Text(text) => is(200) && String::from_utf8_lossy(body).contains(text.as_str()),
        Body::Pattern(count) => is(200) && pattern(0, *count),
        Body::Part(first, end) => is(206) && pattern(*first, *end),
    };
    let request = first_line(request);
    (!right).then(|| format!("{request}: wanted {wanted:?}, got {status:?} and {} bytes", body.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let bytes: Vec<u8> = (0..100u64).map(|n| (n * 7) as u8).collect();
        assert_eq!(judge("/", &Body::Pattern(100), "HTTP/1.1 200 OK", &bytes), None);
        assert!(judge("/", &Body::Pattern(101), "HTTP/1.1 200 OK", &bytes).is_some());
        assert!(judge("/", &Body::Pattern(100), "HTTP/1.1 200 OK", &[0; 100]).is_some());
        assert_eq!(judge("/", &Body::Text("lo".into()), "HTTP/1.1 200 OK", b"hello"), None);
        assert!(judge("/", &Body::Text("lo".into()), "HTTP/1.1 500 No", b"hello").is_some());
        assert_eq!(judge("/", &Body::Status(404), "HTTP/1.1 404 Not Found", b""), None);
        assert_eq!(judge("/", &Body::Part(40, 50), "HTTP/1.1 206 Partial Content", &bytes[40..50]), None);
        assert!(judge("/", &Body::Part(40, 50), "HTTP/1.1 206 Partial Content", &bytes[41..51]).is_some());
    }

    #[test]
    fn a_page_is_fetched() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut some) = (Vec::new(), [0; 512]);
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut some).unwrap();
                request.extend_from_slice(&some[..count]);
            }
            assert!(request.starts_with(b"GET /x HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        });
        let until = Instant::now() + Duration::from_secs(20);
        assert_eq!(fetch(port, &get("/x"), &Body::Text("hell".into()), until).unwrap(), None);
        server.join().unwrap();
    }
}
