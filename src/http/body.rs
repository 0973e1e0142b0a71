//! How a request's body is received. Nothing that requests share is held for a body on its way but a permit of
//! its key and of its team, and its bytes count: a slow client costs others nothing.

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

/// Bodies on their way of one team at most. One that arrives with its head does not count.
pub const AWAITED_OF_TEAM_MAX: usize = 512;
/// Of these, bodies of one key at most, so that it leaves room for the other keys of its team.
pub const AWAITED_OF_KEY_MAX: usize = AWAITED_OF_TEAM_MAX / 2;
/// A body that takes longer than this is on its way.
pub const AT_ONCE: Duration = Duration::from_millis(100);
/// After the first such time a body brings at least so many bytes in each, until it ends. A packet that is lost twice
/// in the beginning comes within the first.
pub const PACE_INTERVAL: Duration = Duration::from_secs(2);
/// Minimum number of bytes of a body in each interval.
pub const PACE_BYTES: usize = 2 * 1024;
/// A body that says that it has fewer bytes than this has some time for all of it instead.
pub const SHORT_BYTES: u64 = 4 * 1024;
/// Maximum time for all of a short body.
pub const SHORT_WITHIN: Duration = Duration::from_secs(5);
/// Parts in which a body may arrive: each costs as much work as a packet.
pub const PARTS_MAX: usize = 4_096;
/// Bytes of bodies that are held at most, on their way and until there is a place to parse them, and of these
/// bytes of one team. The first of each body do not count: nearly no body has more.
pub const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The same for one team.
pub const HELD_BYTES_OF_TEAM_MAX: usize = HELD_BYTES_MAX / 2;
/// Bytes at the beginning of each body that do not count.
pub const BYTES_UNCOUNTED: usize = 4 * 1024;

/// The bodies that are received and not yet parsed.
pub struct Bodies {
    awaited_of_key: Arc<Quota<Uuid>>,
    awaited_of_team: Arc<Quota<Uuid>>,
    bytes: Arc<Quota<Uuid>>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            // All teams together have as many as there are connections.
            awaited_of_key: Quota::new(usize::MAX, AWAITED_OF_KEY_MAX),
            awaited_of_team: Quota::new(usize::MAX, AWAITED_OF_TEAM_MAX),
            bytes: Quota::new(HELD_BYTES_MAX, HELD_BYTES_OF_TEAM_MAX),
        }
    }
}

/// A body that has arrived. Its bytes count until it is dropped.
pub struct Received {
    bytes: Vec<u8>,
    _held: Option<Permit<Uuid>>,
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// Receives a body of at most `bytes_max`, which is a number of KiB, from a caller with this key.
    pub async fn receive(
        &self,
        key_id: Uuid,
        team_id: Option<Uuid>,
        mut body: Body,
        bytes_max: usize,
        until: Instant,
    ) -> Result<Received, ServerError> {
        // A body that says that it is too large is refused before it is read.
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        let begun = Instant::now();
        let is_short = body.size_hint().exact().is_some_and(|bytes| bytes < SHORT_BYTES);
        let until = if is_short { until.min(begun + SHORT_WITHIN) } else { until };
        let mut look = pin!(sleep_until(until.min(begun + AT_ONCE)));
        // Before the first look at its pace, nothing is expected.
        let (mut permit, mut expected, mut parts) = (None, 0, 0);
        let (mut bytes, mut held) = (Vec::new(), None);
        loop {
            tokio::select! {
                biased;
                frame = body.frame() => {
                    let Some(frame) = frame else {
                        return Ok(Received { bytes, _held: held });
                    };
                    let frame = frame.map_err(|_| {
                        let message = "The connection closed before the whole body arrived; nothing was done.";
                        error(Code::BadUserInput, message)
                    })?;
                    let Ok(part) = frame.into_data() else { continue };
                    let count = bytes.len() + part.len();
                    parts += 1;
                    if count > bytes_max {
                        return Err(too_large(bytes_max));
                    }
                    if parts > PARTS_MAX {
                        let message = format!("The body arrives in more than {PARTS_MAX} parts.");
                        return Err(error(Code::BadUserInput, message));
                    }
                    if !self.hold(&mut held, team_id, count) {
                        return Err(unavailable(TOO_BUSY));
                    }
                    if bytes.is_empty() {
                        let rest = usize::try_from(body.size_hint().lower()).unwrap_or_default();
                        bytes.reserve_exact(part.len() + rest);
                    }
                    // Copied, for a part keeps all that was read of the connection with it.
                    bytes.extend_from_slice(&part);
                }
                () = &mut look => {
                    let (is_first, now) = (permit.is_none(), look.deadline());
                    if now >= until || bytes.len() < expected {
                        let message = "The body arrives too slowly (expected 1 KiB a second, or all of a body of \
                                       less than 4 KiB within 5 seconds); nothing was done.";
                        return Err(unavailable(message));
                    }
                    let next = if is_first {
                        permit = Some(self.permit(key_id, team_id).ok_or_else(|| unavailable(TOO_BUSY))?);
                        begun + PACE_INTERVAL
                    } else {
                        expected = if is_short { 0 } else { bytes.len() + PACE_BYTES };
                        now + PACE_INTERVAL
                    };
                    look.as_mut().reset(until.min(next));
                }
            }
        }
    }

    /// Lets a caller wait for a body that is on its way; `None` if too many of its own are.
    fn permit(&self, key_id: Uuid, team_id: Option<Uuid>) -> Option<(Permit<Uuid>, Permit<Uuid>)> {
        let of_key = self.awaited_of_key.take(Some(key_id))?;
        Some((of_key, self.awaited_of_team.take(team_id)?))
    }

    /// Counts the bytes of a body; whether there is room for so many.
    fn hold(&self, held: &mut Option<Permit<Uuid>>, team_id: Option<Uuid>, count: usize) -> bool {
        if count <= BYTES_UNCOUNTED {
            return true;
        }
        if held.is_none() {
            *held = self.bytes.take(team_id);
        }
        held.as_mut().is_some_and(|held| held.grow(count - held.count()))
    }
}

fn too_large(bytes_max: usize) -> ServerError {
    let message = format!("The body has more than {} KiB.", bytes_max / 1024);
    error(Code::PayloadTooLarge, message)
}

#[cfg(test)]
mod tests;
