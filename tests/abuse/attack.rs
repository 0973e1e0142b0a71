//! An attack: clients that send requests until it ends, whatever the responses are.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use crate::{raw_client::RawClient, scale, tally::Tally};

/// Pause of a client that got no response, so that it does not retry in a busy loop.
pub const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How long an attack lasts.
pub fn duration() -> Duration {
    scale(Duration::from_secs(2), Duration::from_secs(10))
}

pub struct Attack {
    pub target: SocketAddr,
    pub tally: Arc<Tally>,
    clients: JoinSet<()>,
}

impl Attack {
    pub fn new(target: SocketAddr) -> Self {
        Self { target, tally: Arc::default(), clients: JoinSet::new() }
    }

    /// Adds a client.
    pub fn client(&mut self, client: impl Future<Output = ()> + Send + 'static) {
        self.clients.spawn(client);
    }

    /// Adds connections that send these requests one after another. Each connection begins with a different request.
    pub fn repeat(&mut self, connections: usize, requests: &[Arc<[u8]>]) {
        for connection in 0..connections {
            let mut requests = requests.to_vec();
            let first = connection % requests.len();
            requests.rotate_left(first);
            let (mut client, tally) = (RawClient::new(self.target), Arc::clone(&self.tally));
            self.client(async move {
                for request in requests.iter().cycle() {
                    let answer = client.ask(request).await;
                    tally.answer(&answer);
                    if answer.is_err() {
                        sleep(RETRY_PAUSE).await;
                    }
                }
            });
        }
    }

    /// Lets the clients run for the duration of an attack.
    pub async fn run(&self) {
        sleep(duration()).await;
    }

    /// Stops the clients and closes their connections.
    pub async fn stop(&mut self) {
        self.clients.shutdown().await;
    }
}
