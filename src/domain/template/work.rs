//! Where templates are compiled and rendered: on threads that serve no requests, as many at once as there are
//! processors, and half of these for one team. The templates of one request may take 200 ms of a processor
//! together, and end with its deadline and its client. What was compiled is kept for the next request.

use std::{num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};

use entity::template;
use moka::sync::Cache;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};
use tracing::Span;
use uuid::Uuid;

use super::{
    body::Body,
    limits::{Stop, TimeLimit},
    render::{RenderRefusal, Rendering},
    source::Compiled,
};
use crate::domain::{Failure, Fault, Unavailable, deadline::Deadline};

/// Bytes of compiled templates that are kept at most, estimated.
const KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A team that used no template for so long waits for none.
const TEAM_IDLE_MAX: Duration = Duration::from_mins(10);
const TEAMS_REMEMBERED_MAX: u64 = 10_000;

/// The threads for templates, and what was compiled on them.
pub struct Templates {
    places: Arc<Semaphore>,
    places_of_team: usize,
    teams: Cache<Uuid, Arc<Semaphore>>,
    compiled: Cache<Uuid, Arc<Rendering>>,
}

impl Default for Templates {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, NonZero::get))
    }
}

impl Templates {
    fn new(processors: usize) -> Self {
        let teams = Cache::builder().max_capacity(TEAMS_REMEMBERED_MAX).time_to_idle(TEAM_IDLE_MAX);
        let weigh = |_: &Uuid, rendering: &Arc<Rendering>| {
            u32::try_from(rendering.weight()).unwrap_or(u32::MAX)
        };
        Self {
            places: Arc::new(Semaphore::new(processors)),
            places_of_team: (processors / 2).max(1),
            teams: teams.build(),
            compiled: Cache::builder().max_capacity(KEPT_BYTES_MAX).weigher(weigh).build(),
        }
    }

    /// Does work with templates on a thread for it, once there is a place.
    pub async fn work<T: Send + 'static>(
        &self,
        team_id: Uuid,
        deadline: &Deadline,
        work: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let places = tokio::select! {
            biased;
            places = self.take_places(team_id) => places,
            () = tokio::time::sleep_until(deadline.until) => None,
            () = deadline.gone.cancelled() => None,
        };
        let places = places.ok_or(Unavailable::TemplatesLate)?;
        let (compiled, deadline, span) = (self.compiled.clone(), deadline.clone(), Span::current());
        let done = spawn_blocking(move || {
            let (_places, _entered) = (places, span.entered());
            work(&mut Worker { compiled, time: TimeLimit::new(deadline) })
        });
        done.await.map_err(|_| Fault::Broken("work with templates ends by itself"))
    }

    /// The place of the team comes first: who waits for that holds nothing that others wait for.
    async fn take_places(&self, team_id: Uuid) -> Option<[OwnedSemaphorePermit; 2]> {
        let of_team = || Arc::new(Semaphore::new(self.places_of_team));
        let of_team = self.teams.get_with(team_id, of_team).acquire_owned().await.ok()?;
        Some([of_team, Arc::clone(&self.places).acquire_owned().await.ok()?])
    }
}

/// Works with templates for one request.
pub struct Worker {
    compiled: Cache<Uuid, Arc<Rendering>>,
    /// The time that the request has left.
    pub time: TimeLimit,
}

impl Worker {
    /// Compiles bodies, or says what is wrong with them.
    pub fn compile(&mut self, bodies: &[Body]) -> Result<Result<Compiled, String>, Stop> {
        Compiled::new(bodies, &mut self.time)
    }

    /// A stored template, compiled unless it is known as it is now.
    pub fn rendering(
        &mut self,
        row: &template::Model,
    ) -> Result<Arc<Rendering>, Failure<RenderRefusal>> {
        if let Some(known) = self.compiled.get(&row.id).filter(|known| known.is_of(row)) {
            return Ok(known);
        }
        let rendering = Arc::new(Rendering::new(row, &mut self.time)?);
        self.compiled.insert(row.id, Arc::clone(&rendering));
        Ok(rendering)
    }
}

#[cfg(test)]
impl Worker {
    /// For a request of its own, which waits for a minute.
    pub fn alone() -> Self {
        let until = tokio::time::Instant::now() + Duration::from_mins(1);
        let (compiled, deadline) = (Templates::default().compiled, Deadline::until(until));
        Self { compiled, time: TimeLimit::new(deadline) }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use futures_util::FutureExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::domain::template::limits::TIME_MAX;

    fn deadline() -> Deadline {
        Deadline::until(Instant::now() + Duration::from_mins(1))
    }

    fn row(text: &str) -> template::Model {
        template::Model {
            id: Uuid::nil(),
            team_id: Uuid::nil(),
            account_id: Uuid::nil(),
            name: String::new(),
            sms_text: Some(text.to_owned()),
            email_subject: None,
            email_text: None,
            email_html: None,
            whatsapp_text: None,
            telegram_text: None,
            variables: "[]".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    /// A team has half of the places, and at least one; what waits for one holds up no other team.
    #[tokio::test]
    async fn a_team_has_half_of_the_places() {
        let (hot, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (processors, of_team) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
            let templates = Templates::new(processors);
            let take = |team_id| templates.take_places(team_id).now_or_never();
            let mut taken: Vec<_> = (0..of_team).map(|_| take(hot).expect("a place")).collect();

            assert!(take(hot).is_none(), "{processors}");
            assert_eq!(take(other).is_some(), processors > 1, "{processors}");
            taken.pop();
            assert!(take(hot).is_some(), "{processors}");
        }
        let templates = Templates::new(2);
        let _all = [hot, other].map(|team_id| templates.take_places(team_id).now_or_never());
        assert!(templates.take_places(Uuid::nil()).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for_until_the_deadline_or_until_the_client_is_gone() {
        let (templates, team_id) = (Templates::new(1), Uuid::nil());
        let taken = templates.take_places(team_id).await;
        let gone = deadline();
        gone.gone.cancel();
        for deadline in [deadline(), gone] {
            let late = templates.work(team_id, &deadline, |_| ()).await;
            assert!(matches!(late, Err(Fault::Unavailable(Unavailable::TemplatesLate))));
        }
        drop(taken);
        assert!(
            templates
                .work(team_id, &deadline(), |worker: &mut Worker| worker.time.check())
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn work_ends_with_its_request() {
        let (templates, team_id) = (Templates::new(1), Uuid::nil());
        let deadline = deadline();
        let gone = deadline.gone.clone();
        let work = move |worker: &mut Worker| {
            let before = worker.time.check();
            gone.cancel();
            (before, worker.time.check(), worker.rendering(&row("Hi")).is_ok())
        };

        let done = templates.work(team_id, &deadline, work).await;

        assert!(matches!(done, Ok((Ok(()), Err(Stop::Late), false))));
    }

    /// All work for one request shares its time, and no other request's.
    #[tokio::test]
    async fn the_time_of_a_request_is_used_up() {
        let (templates, team_id) = (Templates::new(2), Uuid::nil());
        let deadline = deadline();
        let burn = |worker: &mut Worker| loop {
            if let Err(stop) = worker.time.check() {
                return (stop, worker.rendering(&row("Hi")).is_ok());
            }
        };

        let burnt = templates.work(team_id, &deadline, burn).await.expect("a place");
        let again =
            templates.work(team_id, &deadline, |worker: &mut Worker| worker.time.check()).await;
        let other = templates
            .work(team_id, &self::deadline(), |worker: &mut Worker| worker.time.check())
            .await;

        assert_eq!(burnt, (Stop::TimeUsedUp, false));
        assert!(matches!((again, other), (Ok(Err(Stop::TimeUsedUp)), Ok(Ok(())))));
        assert!(deadline.template_time.add(Duration::ZERO) >= TIME_MAX);
    }

    /// What is kept is of the row as it is, whatever its time of change says.
    #[test]
    fn a_template_is_compiled_once_and_again_when_it_changed() {
        let mut worker = Worker::alone();
        let mut get =
            |text: &str| worker.rendering(&row(text)).map_err(|_| ()).expect("a template");
        let first = get("Hi");

        assert!(Arc::ptr_eq(&first, &get("Hi")));
        let changed = get("Ho");
        assert!(!Arc::ptr_eq(&first, &changed) && Arc::ptr_eq(&changed, &get("Ho")));
        // What cannot be compiled is known as well.
        assert!(Arc::ptr_eq(&get("{% set a = 1 %}"), &get("{% set a = 1 %}")));
    }

    #[test]
    fn compiled_templates_have_a_bounded_weight() {
        let mut worker = Worker::alone();
        let text = "{{ a }}".repeat(1_000);
        for number in 0..100 {
            // Each for a request of its own.
            worker.time = TimeLimit::new(deadline());
            let row = template::Model { id: Uuid::from_u128(number), ..row(&text) };
            assert!(worker.rendering(&row).is_ok_and(|rendering| rendering.weight() > 100_000));
        }
        worker.compiled.run_pending_tasks();
        let kept = worker.compiled.weighted_size();
        assert!(kept > KEPT_BYTES_MAX / 2 && kept <= KEPT_BYTES_MAX, "{kept}");
    }
}
