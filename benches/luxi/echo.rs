//! A server that sends back what it gets: one thread, one event loop, as the one it stands
//! beside.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::path::Path;

use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);

/// Serves until it is killed.
pub(crate) fn serve(path: &Path) -> Result<()> {
    super::daemon::raise_file_limit();
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let mut listener = UnixListener::bind(path)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut clients, mut scratch) = (HashMap::new(), vec![0; 64 << 10]);
    for next in 1.. {
        let mut next = next * 100_000;
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let token = Token(next);
                    next += 1;
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    clients.insert(token, stream);
                }
            } else if clients.get_mut(&event.token()).is_some_and(|it| !echo(it, &mut scratch)) {
                clients.remove(&event.token());
            }
        }
    }
    Ok(())
}

/// Sends back what there is. Whether the client is still there.
fn echo(stream: &mut UnixStream, scratch: &mut [u8]) -> bool {
    loop {
        match stream.read(scratch) {
            Ok(0) => return false,
            Ok(count) => match stream.write_all(&scratch[..count]) {
                Ok(()) => {}
                Err(_) => return false,
            },
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
