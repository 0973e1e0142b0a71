//! A server on a port, for tests of connections and sockets.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tollgate::http;

use super::TestApp;

/// A server on a port. The server stops when this value is dropped.
pub struct Served {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestApp {
    /// Starts a server on a free port.
    pub async fn serve(&self) -> Served {
        self.serve_with(http::Settings::default()).await
    }

    /// Starts a server on a free port with these settings.
    pub async fn serve_with(&self, settings: http::Settings) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (stop, app) = (CancellationToken::new(), Arc::clone(&self.app));
        let served = http::serve(listener, app, settings, stop.clone());
        let task = tokio::spawn(served);
        Served { address, stop, task }
    }
}
