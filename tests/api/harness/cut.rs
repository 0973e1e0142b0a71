//! A proxy in front of PostgreSQL that loses one response. After a connection has sent certain SQL, the proxy drops the
//! server's response and closes the connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The proxy. It stops when this value is dropped.
pub struct Cut {
    pub port: u16,
    cuts: Arc<AtomicUsize>,
    _proxy: JoinSet<()>,
}

impl Cut {
    /// Starts a proxy for the server on the port `target`. The first time that a connection sends these SQL fragments
    /// in this order, the proxy drops the response to the last fragment.
    pub async fn after(texts: &'static [&'static str], target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let cuts = Arc::new(AtomicUsize::new(0));
        let mut proxy = JoinSet::new();
        proxy.spawn({
            let cuts = Arc::clone(&cuts);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((near, _)) = listener.accept().await {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
                    connections.spawn(pass_on(near, far, texts, Arc::clone(&cuts)));
                }
            }
        });
        Self { port, cuts, _proxy: proxy }
    }

    /// Returns the number of dropped responses.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn pass_on(
    near: TcpStream,
    far: TcpStream,
    texts: &[&str],
    cuts: Arc<AtomicUsize>,
) -> Option<()> {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
        (near.into_split(), far.into_split());
    let is_last_sent = AtomicBool::new(false);
    let forth = async {
        let (mut bytes, mut sent, mut left) = (vec![0; 64 * 1024], Vec::new(), texts);
        loop {
            let count = near_in.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
            sent.extend_from_slice(&bytes[..count]);
            while let Some((text, rest)) = left.split_first()
                && let Some(at) = sent.windows(text.len()).position(|part| part == text.as_bytes())
            {
                sent.drain(..at + text.len());
                left = rest;
            }
            is_last_sent.store(left.is_empty(), Ordering::SeqCst);
            far_out.write_all(&bytes[..count]).await.ok()?;
        }
    };
    let back = async {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let count = far_in.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
            if is_last_sent.load(Ordering::SeqCst)
                && cuts.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            {
                return None;
            }
            near_out.write_all(&bytes[..count]).await.ok()?;
        }
    };
    tokio::select! {
        end = forth => end,
        end = back => end,
    }
}
