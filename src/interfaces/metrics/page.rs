//! The page: HTTP as far as a scraper needs it, on a loopback port, one client at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::vocabulary::Error;

/// How long a client may take to ask, and how long to listen.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest request that is read.
const REQUEST_BYTES: usize = 8 << 10;

/// A page of metrics on a loopback port.
#[derive(Debug)]
pub struct MetricsPage {
    listener: TcpListener,
}

impl MetricsPage {
    /// Listens at `address`, whose port may be 0 for any.
    ///
    /// # Errors
    ///
    /// `Invalid` where it is not a loopback address: everybody who can connect can read the page.
    /// `Io` where it cannot be listened at.
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::invalid(format!("{address} is not a loopback address"))
                .hint("metrics are for this machine: 127.0.0.1:9641, and a proxy for others"));
        }
        let failed = |error| Error::io(format!("cannot listen at {address} for metrics"), error);
        TcpListener::bind(address).map(|listener| Self { listener }).map_err(failed)
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|error| Error::io("the port is not known", error))
    }

    /// Shows what `text` says to whoever asks, for as long as the process lives.
    pub fn run(&self, text: impl Fn() -> String) {
        for client in self.listener.incoming().flatten() {
            // A client that does not listen has lost its page, and nobody else anything.
            let _ = answer(client, &text);
        }
    }
}

fn answer(mut client: TcpStream, text: &impl Fn() -> String) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let request = read_request(&mut client)?;
    let path = request.strip_prefix("GET ").and_then(|rest| rest.split([' ', '?']).next());
    let (status, body) = match path {
        Some("/metrics" | "/") => ("200 OK", text()),
        Some(_) => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
        None => ("405 Method Not Allowed", "only GET is understood\n".to_owned()),
    };
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The head of a request. One client must not keep the others waiting, however slowly it asks.
fn read_request(client: &mut TcpStream) -> io::Result<String> {
    let (deadline, mut head, mut chunk) = (Instant::now() + PATIENCE, Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < REQUEST_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of zero would be none.
        client.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match client.read(&mut chunk)? {
            0 => break,
            count => head.extend_from_slice(&chunk[..count]),
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn only_this_machine_can_ask() {
        let error = MetricsPage::bind(([0, 0, 0, 0], 0).into()).unwrap_err();
        assert!(error.to_string().contains("not a loopback address"), "{error}");
    }

    #[test]
    fn a_scraper_gets_the_page_and_others_a_sentence() {
        let page = MetricsPage::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = page.address().unwrap();
        std::thread::spawn(move || page.run(|| "up 1\n".to_owned()));
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("Content-Length: 5\r\nConnection: close\r\n\r\nup 1\n"));
        assert!(ask(address, "GET /secret HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "DELETE / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(4000));
        assert!(ask(address, &long).starts_with("HTTP/1.1 404 "));
    }
}
