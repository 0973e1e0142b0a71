//! An attack: clients that go on until it is over, whatever they are answered.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use crate::{scale, tally::Tally, wire::Wire};

/// How long a client that was not answered rests: a server that is down would be asked without an end.
pub const REST_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// How long an attack goes on.
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

    /// Adds connections that send these requests by turns; each begins with another one.
    pub fn repeat(&mut self, connections: usize, requests: &[Arc<[u8]>]) {
        for connection in 0..connections {
            let mut requests = requests.to_vec();
            let first = connection % requests.len();
            requests.rotate_left(first);
            let (mut wire, tally) = (Wire::new(self.target), Arc::clone(&self.tally));
            self.client(async move {
                for request in requests.iter().cycle() {
                    let answer = wire.ask(request).await;
                    tally.answer(&answer);
                    if answer.is_err() {
                        sleep(REST_AFTER_FAILURE).await;
                    }
                }
            });
        }
    }

    /// Lets the clients go on for as long as an attack does.
    pub async fn lasts(&self) {
        sleep(duration()).await;
    }

    /// Hangs up.
    pub async fn stop(&mut self) {
        self.clients.shutdown().await;
    }
}
