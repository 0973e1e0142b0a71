//! A TCP proxy before the database that can be cut: silently, as when packets vanish, or with every
//! connection closed.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Open,
    /// Nothing passes; what was said is passed on when it opens again.
    Silent,
    /// Connections are closed, and new ones at once.
    Closed,
}

/// Ends with the test.
pub struct Proxy {
    pub port: u16,
    line: watch::Sender<Line>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (line, state) = watch::channel(Line::Open);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, state));
        Self { port, line, _tasks: tasks }
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn accept(listener: TcpListener, target: u16, mut line: watch::Receiver<Line>) {
    let mut pumps = JoinSet::new();
    loop {
        if line.wait_for(|line| *line != Line::Silent).await.is_err() {
            return;
        }
        let Ok((near, _)) = listener.accept().await else { return };
        if *line.borrow() == Line::Closed {
            continue;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        pumps.spawn(pump(near_in, far_out, line.clone()));
        pumps.spawn(pump(far_in, near_out, line.clone()));
    }
}

/// Passes on one direction until an end or a cut.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            closed = line.wait_for(|line| *line == Line::Closed) => {
                drop(closed);
                return;
            }
        };
        let Ok(count @ 1..) = read else { return };
        // What was read when the line fell silent waits here.
        match line.wait_for(|line| *line != Line::Silent).await.map(|line| *line) {
            Ok(Line::Open) => {}
            _ => return,
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
