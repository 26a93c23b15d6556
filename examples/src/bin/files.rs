//! An HTTP server for the files of a disk: a tar archive, as `tar --format=ustar -cf site.tar -C FOLDER .` makes it.
//!
//! It reads the table of contents once, and each file when it is asked for. GET and HEAD, with ranges; `/` is `index.html`, or a list if
//! there is none. What a client can cost is bounded: the head of a request, the time of a connection, and how many there are at once.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{boxed::Box, collections::BTreeMap, format, string::String, sync::Arc, vec, vec::Vec};
use core::{error, ops::Range, sync::atomic, sync::atomic::AtomicUsize, time::Duration};
use domu_sdk::{
    block::{Disk, SECTOR},
    executor,
    net::{self, Stack, TcpListener, TcpStream},
    println, shutdown, time,
};
use examples::{http, ustar};

/// Files that are shown at most.
const FILES_MAX: usize = 4096;
/// Connections at once; more are closed.
const CLIENTS_MAX: usize = 16;
/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may last.
const LIFE: Duration = Duration::from_secs(600);
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// The disk, and where on it each file begins, in sectors, and how long it is.
struct Site {
    disk: Disk,
    files: BTreeMap<String, (u64, u64)>,
}

static CLIENTS: AtomicUsize = AtomicUsize::new(0);

#[domu_sdk::main]
async fn main() -> Result<(), Box<dyn error::Error>> {
    executor::spawn(shutdown::obey());
    let disk = Disk::first().await?;
    let site = Arc::new(Site { files: contents(&disk).await?, disk });
    println!("files: {} on the disk", site.files.len());
    let stack = Stack::start().await?;
    println!("files: {} on port 80", stack.wait_for_address().await);
    let mut listener = TcpListener::bind(&stack, 80, 8)?;
    loop {
        let stream = listener.accept().await?;
        if CLIENTS.fetch_add(1, atomic::Ordering::Relaxed) >= CLIENTS_MAX {
            CLIENTS.fetch_sub(1, atomic::Ordering::Relaxed);
            continue;
        }
        let site = site.clone();
        executor::spawn(async move {
            if time::timeout(LIFE, serve(&site, &stream)).await.is_none_or(|outcome| outcome.is_err()) {
                println!("files: a client went away, or was too slow");
            }
            drop(stream);
            CLIENTS.fetch_sub(1, atomic::Ordering::Relaxed);
        });
    }
}

/// Reads the headers of the archive.
async fn contents(disk: &Disk) -> Result<BTreeMap<String, (u64, u64)>, Box<dyn error::Error>> {
    let mut files = BTreeMap::new();
    let (mut sector, end) = (0, disk.info().sectors);
    while sector < end && files.len() < FILES_MAX {
        let mut block = [0; ustar::BLOCK];
        disk.read(sector, &mut block).await?;
        let header = ustar::header(&block);
        let header = header.map_err(|damage| format!("sector {sector} of the archive: {}", damage.0))?;
        let Some(header) = header else { break };
        let start = sector + 1;
        if header.blocks() > end - start {
            return Err(format!("{} is longer than the disk", header.path).into());
        }
        sector = start + header.blocks();
        if header.is_file {
            files.insert(header.path, (start, header.len));
        }
    }
    Ok(files)
}

/// Answers one request.
async fn serve(site: &Site, stream: &TcpStream) -> net::Result {
    let request = match time::timeout(PATIENCE, request(stream)).await {
        Some(request) => request?,
        None => return Err(net::Error::Closed),
    };
    match request {
        Ok(request) => answer(site, stream, &request).await?,
        Err(status) => {
            let more = if status == http::METHOD { "Allow: GET, HEAD\r\n" } else { "" };
            println!("files: {} {}", status.0, status.1);
            stream.write_all(&http::head(status, 0, more)).await?;
        }
    }
    stream.finish().await
}

/// Reads a request, or what is wrong with it.
async fn request(stream: &TcpStream) -> net::Result<Result<http::Request, http::Status>> {
    let mut head = vec![0; http::HEAD_MAX];
    let mut held = 0;
    loop {
        let count = stream.read(&mut head[held..]).await?;
        held += count;
        match http::request(&head[..held]) {
            Ok(None) if count == 0 => return Ok(Err(http::BAD)),
            Ok(None) => {}
            Ok(Some(request)) => return Ok(Ok(request)),
            Err(status) => return Ok(Err(status)),
        }
    }
}

async fn answer(site: &Site, stream: &TcpStream, request: &http::Request) -> net::Result {
    let path = if request.path.is_empty() { "index.html" } else { &request.path };
    let Some(&(start, len)) = site.files.get(path) else {
        println!("files: 404 {}", path.escape_debug());
        if request.path.is_empty() {
            let list: String = site.files.keys().flat_map(|path| [path.as_str(), "\n"]).collect();
            stream.write_all(&http::head(http::OK, list.len() as u64, "")).await?;
            return stream.write_all(list.as_bytes()).await;
        }
        return stream.write_all(&http::head(http::MISSING, 0, "")).await;
    };
    let (status, bytes) = match http::select(request.range, len) {
        Ok(found) => found,
        Err(status) => (status, 0..0),
    };
    let more = match status {
        http::OK => String::new(),
        http::PARTIAL => format!("Content-Range: bytes {}-{}/{len}\r\n", bytes.start, bytes.end - 1),
        _ => format!("Content-Range: bytes */{len}\r\n"),
    };
    println!("files: {} {}, {} bytes", status.0, path.escape_debug(), bytes.end - bytes.start);
    let head = http::head(status, bytes.end - bytes.start, &format!("Accept-Ranges: bytes\r\n{more}"));
    stream.write_all(&head).await?;
    if request.body { send(site, stream, start, bytes).await } else { Ok(()) }
}

/// Sends bytes of a file that begins at a sector.
async fn send(site: &Site, stream: &TcpStream, start: u64, bytes: Range<u64>) -> net::Result {
    let (sector_size, mut buffer) = (SECTOR as u64, Vec::new());
    let mut at = bytes.start;
    while at < bytes.end {
        let skipped = (at % sector_size) as usize;
        let wanted = (PIECE - skipped).min((bytes.end - at) as usize);
        buffer.resize((skipped + wanted).next_multiple_of(SECTOR), 0);
        if let Err(error) = site.disk.read(start + at / sector_size, &mut buffer).await {
            // The head has promised more: the connection ends early, so that the client notices.
            println!("files: {error}");
            return Err(net::Error::Closed);
        }
        stream.write_all(&buffer[skipped..skipped + wanted]).await?;
        at += wanted as u64;
    }
    Ok(())
}
