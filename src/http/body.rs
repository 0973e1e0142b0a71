//! Receives request bodies, with limits on their size, speed and number. While a body is in transit, its request
//! occupies only a permit of its key and team and a share of the byte quota. Slow clients therefore do not block other
//! clients.

use std::{ops::Deref, pin::pin, sync::Arc, time::Duration};

use async_graphql::ServerError;
use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::response::TOO_BUSY;
use crate::{
    graphql::errors::{Code, error, unavailable},
    limits::quota::{Permit, Quota},
};

/// Maximum number of a team's bodies in transit. A body that arrives together with the request's head is not counted.
pub const AWAITED_OF_TEAM_MAX: usize = 512;
/// Maximum number of bodies in transit for one key. The limit leaves permits for the other keys of the team.
pub const AWAITED_OF_KEY_MAX: usize = AWAITED_OF_TEAM_MAX / 2;
/// A body that has not arrived completely after this time is in transit.
pub const TRANSIT_AFTER: Duration = Duration::from_millis(100);
/// Length of the intervals in which the progress of a body is measured. From the second interval on, at least
/// [`PROGRESS_BYTES`] must arrive in each interval. The first interval is exempt, because a packet may be lost twice
/// and sent again.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
pub const PROGRESS_BYTES: usize = 2 * 1024;
/// A body with a declared length below this value must arrive within [`SHORT_TIMEOUT`].
pub const SHORT_BYTES: u64 = 4 * 1024;
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of chunks in which a body may arrive. The number is limited because even a small chunk costs as much
/// work as a packet.
pub const PARTS_MAX: usize = 4_096;
/// Maximum size of the bodies that have not been parsed yet, in bytes, in total and for one team.
pub const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;
pub const HELD_BYTES_OF_TEAM_MAX: usize = HELD_BYTES_MAX / 2;
/// Number of bytes at the beginning of each body that are not counted against the quota. Nearly all bodies are smaller
/// than this.
pub const BYTES_UNCOUNTED: usize = 4 * 1024;

/// The quotas for bodies that have not been parsed yet.
pub struct Bodies {
    awaited_of_key: Arc<Quota<Uuid>>,
    awaited_of_team: Arc<Quota<Uuid>>,
    bytes: Arc<Quota<Uuid>>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            // The number of connections already limits the total.
            awaited_of_key: Quota::new(usize::MAX, AWAITED_OF_KEY_MAX),
            awaited_of_team: Quota::new(usize::MAX, AWAITED_OF_TEAM_MAX),
            bytes: Quota::new(HELD_BYTES_MAX, HELD_BYTES_OF_TEAM_MAX),
        }
    }
}

/// A complete body. Its bytes count against the quota until this value is dropped.
pub struct Received {
    bytes: Vec<u8>,
    _permit: Option<Permit<Uuid>>,
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// Receives a body of up to `bytes_max` bytes from a caller with this key. `bytes_max` must be a multiple of 1 KiB.
    pub async fn receive(
        &self,
        key_id: Uuid,
        team_id: Option<Uuid>,
        mut body: Body,
        bytes_max: usize,
        until: Instant,
    ) -> Result<Received, ServerError> {
        // A body with a larger declared length is refused before it is read.
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        let started = Instant::now();
        let is_short = body.size_hint().exact().is_some_and(|bytes| bytes < SHORT_BYTES);
        let until = if is_short { until.min(started + SHORT_TIMEOUT) } else { until };
        let mut check = pin!(sleep_until(until.min(started + TRANSIT_AFTER)));
        let (mut transit_permit, mut expected_bytes, mut parts) = (None, 0, 0);
        let (mut bytes, mut bytes_permit) = (Vec::new(), None);
        loop {
            tokio::select! {
                biased;
                frame = body.frame() => {
                    let Some(frame) = frame else {
                        return Ok(Received { bytes, _permit: bytes_permit });
                    };
                    let frame = frame.map_err(|_| {
                        let message = "The connection was closed before the whole body arrived; nothing was done.";
                        error(Code::BadUserInput, message)
                    })?;
                    let Ok(part) = frame.into_data() else { continue };
                    let count = bytes.len() + part.len();
                    parts += 1;
                    if count > bytes_max {
                        return Err(too_large(bytes_max));
                    }
                    if parts > PARTS_MAX {
                        let message = format!("The body arrived in more than {PARTS_MAX} chunks. Send it in fewer, \
                                               larger chunks.");
                        return Err(error(Code::BadUserInput, message));
                    }
                    if !self.reserve(&mut bytes_permit, team_id, count) {
                        return Err(unavailable(TOO_BUSY));
                    }
                    if bytes.is_empty() {
                        let rest = usize::try_from(body.size_hint().lower()).unwrap_or_default();
                        bytes.reserve_exact(part.len() + rest);
                    }
                    // The part is copied because it would otherwise keep the connection's whole read buffer alive.
                    bytes.extend_from_slice(&part);
                }
                () = &mut check => {
                    let (is_first, now) = (transit_permit.is_none(), check.deadline());
                    if now >= until || bytes.len() < expected_bytes {
                        let message = "The body arrived too slowly (expected 1 KiB per second, or all of a body of \
                                       less than 4 KiB within 5 seconds); nothing was done.";
                        return Err(unavailable(message));
                    }
                    let next = if is_first {
                        let permit = self.transit_permit(key_id, team_id);
                        transit_permit = Some(permit.ok_or_else(|| unavailable(TOO_BUSY))?);
                        started + PROGRESS_INTERVAL
                    } else {
                        expected_bytes = if is_short { 0 } else { bytes.len() + PROGRESS_BYTES };
                        now + PROGRESS_INTERVAL
                    };
                    check.as_mut().reset(until.min(next));
                }
            }
        }
    }

    /// Takes the permits for a body in transit. Returns `None` if the key or the team has too many bodies in transit.
    fn transit_permit(
        &self,
        key_id: Uuid,
        team_id: Option<Uuid>,
    ) -> Option<(Permit<Uuid>, Permit<Uuid>)> {
        let of_key = self.awaited_of_key.take(Some(key_id))?;
        Some((of_key, self.awaited_of_team.take(team_id)?))
    }

    /// Grows the permit to this many bytes. Returns false if the quota is exhausted.
    fn reserve(
        &self,
        permit: &mut Option<Permit<Uuid>>,
        team_id: Option<Uuid>,
        count: usize,
    ) -> bool {
        if count <= BYTES_UNCOUNTED {
            return true;
        }
        if permit.is_none() {
            *permit = self.bytes.take(team_id);
        }
        permit.as_mut().is_some_and(|permit| permit.grow(count - permit.count()))
    }
}

fn too_large(bytes_max: usize) -> ServerError {
    let message = format!("The body is larger than {} KiB.", bytes_max / 1024);
    error(Code::PayloadTooLarge, message)
}

#[cfg(test)]
mod tests;
