//! Compiles and renders templates on blocking threads. There is at most one such thread per processor, and one team may
//! use at most half of these threads. The templates of one request have 200 ms of processor time in total. They are
//! stopped at the deadline of the request, or when its client disconnects. Compiled templates are cached.

use std::{num::NonZero, sync::Arc, thread::available_parallelism};

use entity::template;
use moka::sync::Cache;
use tokio::task::spawn_blocking;
use tracing::Span;
use uuid::Uuid;

use super::{
    body::Body,
    compile::Compiled,
    render::{RenderRefusal, Rendering},
    time_limit::{Stop, TimeLimit},
};
use crate::{
    db::{FairScheduler, Scope},
    domain::{Failure, Fault, Unavailable, deadline::Deadline},
};

/// Maximum estimated size of the cache of compiled templates, in bytes.
const CACHE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The permits for template threads, and the cache of compiled templates.
pub struct Templates {
    permits: FairScheduler,
    compiled: Cache<Uuid, Arc<Rendering>>,
}

impl Default for Templates {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, NonZero::get))
    }
}

impl Templates {
    fn new(processors: usize) -> Self {
        let weigh = |_: &Uuid, rendering: &Arc<Rendering>| {
            u32::try_from(rendering.weight()).unwrap_or(u32::MAX)
        };
        Self {
            permits: FairScheduler::with_total(processors),
            compiled: Cache::builder().max_capacity(CACHE_BYTES_MAX).weigher(weigh).build(),
        }
    }

    /// Runs `work` on a blocking thread as soon as permits are available.
    pub async fn run<T: Send + 'static>(
        &self,
        scope: impl Into<Scope>,
        deadline: &Deadline,
        work: impl FnOnce(&mut TemplateEngine) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let permit = deadline.wait_for(self.permits.acquire(scope)).await;
        let permit = permit.ok_or(Unavailable::TemplatesLate)?;
        let (compiled, deadline, span) = (self.compiled.clone(), deadline.clone(), Span::current());
        let done = spawn_blocking(move || {
            let (_permit, _entered) = (permit, span.entered());
            work(&mut TemplateEngine { compiled, time: TimeLimit::new(deadline) })
        });
        done.await.map_err(|_| Fault::Broken("a template thread does not panic"))
    }
}

/// Compiles and renders templates for one request, within its time limit.
pub struct TemplateEngine {
    compiled: Cache<Uuid, Arc<Rendering>>,
    pub time: TimeLimit,
}

impl TemplateEngine {
    /// Compiles bodies. The inner error describes the problem in the template.
    pub fn compile(&mut self, bodies: &[Body]) -> Result<Result<Compiled, String>, Stop> {
        Compiled::new(bodies, &mut self.time)
    }

    /// Returns the compiled form of a stored template. The cache is used if the row has not changed.
    pub fn rendering(
        &mut self,
        row: &template::Model,
    ) -> Result<Arc<Rendering>, Failure<RenderRefusal>> {
        if let Some(cached) = self.compiled.get(&row.id).filter(|cached| cached.is_of(row)) {
            return Ok(cached);
        }
        let rendering = Arc::new(Rendering::new(row, &mut self.time)?);
        self.compiled.insert(row.id, Arc::clone(&rendering));
        Ok(rendering)
    }
}

#[cfg(test)]
impl TemplateEngine {
    /// Creates an engine with an empty cache and a deadline in one minute.
    pub fn for_test() -> Self {
        let until = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
        let (compiled, deadline) = (Templates::default().compiled, Deadline::until(until));
        Self { compiled, time: TimeLimit::new(deadline) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use futures_util::FutureExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::domain::template::time_limit::TIME_MAX;

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

    fn team(number: u128) -> Scope {
        let id = Uuid::from_u128(number);
        Scope::Account { team_id: id, account_id: id }
    }

    /// A team may use half of the permits, but always at least one. Waiting calls of one team do not delay other teams.
    #[tokio::test]
    async fn a_team_has_half_of_the_permits() {
        let (busy, other) = (team(1), team(2));
        for (processors, of_team) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
            let templates = Templates::new(processors);
            let acquire = |scope: Scope| templates.permits.acquire(scope).now_or_never();
            let mut acquired: Vec<_> =
                (0..of_team).map(|_| acquire(busy).expect("a permit")).collect();

            assert!(acquire(busy).is_none(), "{processors}");
            assert_eq!(acquire(other).is_some(), processors > 1, "{processors}");
            acquired.pop();
            assert!(acquire(busy).is_some(), "{processors}");
        }
        let templates = Templates::new(2);
        let _all = [busy, other].map(|scope| templates.permits.acquire(scope).now_or_never());
        assert!(templates.permits.acquire(team(3)).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_permit_ends_at_the_deadline_or_when_the_client_disconnects() {
        let (templates, scope) = (Templates::new(1), team(1));
        let permits = templates.permits.acquire(scope).await;
        let gone = deadline();
        gone.gone.cancel();
        for deadline in [deadline(), gone] {
            let late = templates.run(scope, &deadline, |_| ()).await;
            assert!(matches!(late, Err(Fault::Unavailable(Unavailable::TemplatesLate))));
        }
        drop(permits);
        assert!(
            templates
                .run(scope, &deadline(), |engine: &mut TemplateEngine| engine.time.check())
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn work_stops_when_the_client_disconnects() {
        let (templates, scope) = (Templates::new(1), team(1));
        let deadline = deadline();
        let gone = deadline.gone.clone();
        let work = move |engine: &mut TemplateEngine| {
            let before = engine.time.check();
            gone.cancel();
            (before, engine.time.check(), engine.rendering(&row("Hi")).is_ok())
        };

        let done = templates.run(scope, &deadline, work).await;

        assert!(matches!(done, Ok((Ok(()), Err(Stop::Late), false))));
    }

    /// The time limit applies to all work of one request, and is separate for each request.
    #[tokio::test]
    async fn a_request_that_exceeds_its_time_is_stopped() {
        let (templates, scope) = (Templates::new(2), team(1));
        let deadline = deadline();
        let use_up = |engine: &mut TemplateEngine| loop {
            if let Err(stop) = engine.time.check() {
                return (stop, engine.rendering(&row("Hi")).is_ok());
            }
        };

        let used_up = templates.run(scope, &deadline, use_up).await.expect("a permit");
        let again = templates
            .run(scope, &deadline, |engine: &mut TemplateEngine| engine.time.check())
            .await;
        let other = templates
            .run(scope, &self::deadline(), |engine: &mut TemplateEngine| engine.time.check())
            .await;

        assert_eq!(used_up, (Stop::TimeUsedUp, false));
        assert!(matches!((again, other), (Ok(Err(Stop::TimeUsedUp)), Ok(Ok(())))));
        assert!(deadline.template_time.add(Duration::ZERO) >= TIME_MAX);
    }

    /// The cache compares the whole row, not only the time of its last change.
    #[test]
    fn a_template_is_compiled_once_and_again_after_a_change() {
        let mut engine = TemplateEngine::for_test();
        let mut get =
            |text: &str| engine.rendering(&row(text)).map_err(|_| ()).expect("a template");
        let first = get("Hi");

        assert!(Arc::ptr_eq(&first, &get("Hi")));
        let changed = get("Ho");
        assert!(!Arc::ptr_eq(&first, &changed) && Arc::ptr_eq(&changed, &get("Ho")));
        // A compilation error is cached as well.
        assert!(Arc::ptr_eq(&get("{% set a = 1 %}"), &get("{% set a = 1 %}")));
    }

    #[test]
    fn the_cache_of_compiled_templates_has_a_maximum_size() {
        let mut engine = TemplateEngine::for_test();
        let text = "{{ a }}".repeat(1_000);
        for number in 0..100 {
            // Each template is compiled as in a new request.
            engine.time = TimeLimit::new(deadline());
            let row = template::Model { id: Uuid::from_u128(number), ..row(&text) };
            assert!(engine.rendering(&row).is_ok_and(|rendering| rendering.weight() > 100_000));
        }
        engine.compiled.run_pending_tasks();
        let size = engine.compiled.weighted_size();
        assert!(size > CACHE_BYTES_MAX / 2 && size <= CACHE_BYTES_MAX, "{size}");
    }
}
