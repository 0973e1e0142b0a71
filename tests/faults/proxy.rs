//! A TCP proxy in front of the database. The proxy can cut the network silently, as if packets were lost, or by closing
//! all connections.

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
pub enum Link {
    Open,
    /// No bytes are forwarded. Bytes that were received are forwarded when the link opens again.
    Silent,
    /// All connections are closed, and new ones are closed immediately.
    Closed,
}

/// A running proxy. Dropping the value stops the proxy.
pub struct Proxy {
    pub port: u16,
    link: watch::Sender<Link>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (link, state) = watch::channel(Link::Open);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, state));
        Self { port, link, _tasks: tasks }
    }

    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn accept(listener: TcpListener, target: u16, mut link: watch::Receiver<Link>) {
    let mut forwards = JoinSet::new();
    loop {
        if link.wait_for(|link| *link != Link::Silent).await.is_err() {
            return;
        }
        let Ok((near, _)) = listener.accept().await else { return };
        if *link.borrow() == Link::Closed {
            continue;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        forwards.spawn(forward(near_in, far_out, link.clone()));
        forwards.spawn(forward(far_in, near_out, link.clone()));
    }
}

/// Forwards one direction until the end of its stream or until the link is closed.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            closed = link.wait_for(|link| *link == Link::Closed) => {
                drop(closed);
                return;
            }
        };
        let Ok(count @ 1..) = read else { return };
        // While the link is silent, the bytes that were read are not forwarded.
        match link.wait_for(|link| *link != Link::Silent).await.map(|link| *link) {
            Ok(Link::Open) => {}
            _ => return,
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
