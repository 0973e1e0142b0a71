//! Renders a template with given variables on each of its channels. Nothing is stored or charged. A preview uses the
//! same rendering as a send.

use entity::{message::Channel, template as rows};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{engine::TemplateEngine, list, render::RenderRefusal};
use crate::{
    app::App,
    domain::{
        Fault, Refusal,
        caller::AccountCaller,
        channel::{
            content::Content,
            segments::{self, SmsEncoding},
        },
        deadline::Deadline,
        split, template,
        validate::{self, VARIABLES_RULE},
    },
    limits::memory_budget::Reservation,
};

/// The rendered content of a template on one channel.
#[derive(Clone, Debug)]
pub struct Preview {
    pub channel: Channel,
    pub content: Result<Content, Refusal<RenderRefusal>>,
    /// Number of segments of an SMS; 1 for other channels. `None` without content.
    pub segments: Option<i32>,
    /// The encoding of an SMS; `None` for other channels.
    pub encoding: Option<SmsEncoding>,
}

/// Renders the caller's template on each of its channels; empty if there is no such template.
pub async fn preview(
    app: &App,
    caller: &AccountCaller,
    id: Option<Uuid>,
    variables: Map<String, Value>,
    reservation: &Reservation,
    deadline: &Deadline,
) -> Result<Vec<Preview>, Fault> {
    // A malformed id is treated like an unknown one.
    let id = id.unwrap_or_default();
    let mut found = list::find_many(app, caller, &[id], reservation).await?;
    let Some(row) = found.remove(&id) else { return Ok(Vec::new()) };
    if !validate::are_variables(&variables) {
        let code = RenderRefusal::VariablesInvalid;
        let refusal = Refusal { code, message: VARIABLES_RULE.into(), field: code.field() };
        let channels = template::body::bodies_of(&row).into_iter().map(|body| body.channel);
        return Ok(channels.map(|channel| Preview::of(channel, Err(refusal.clone()))).collect());
    }
    let render = move |engine: &mut TemplateEngine| render_all(&row, &variables, engine);
    app.templates.run(caller, deadline, render).await?
}

fn render_all(
    row: &rows::Model,
    variables: &Map<String, Value>,
    engine: &mut TemplateEngine,
) -> Result<Vec<Preview>, Fault> {
    let rendering = split(engine.rendering(row))?;
    let mut previews = Vec::new();
    for body in template::body::bodies_of(row) {
        let content = match &rendering {
            Ok(rendering) => rendering
                .render(body.channel, variables, &mut engine.time)
                .map(split)
                .transpose()?,
            Err(refusal) => Some(Err(refusal.clone())),
        };
        previews.extend(content.map(|content| Preview::of(body.channel, content)));
    }
    Ok(previews)
}

impl Preview {
    fn of(channel: Channel, content: Result<Content, Refusal<RenderRefusal>>) -> Self {
        let counted = content.as_ref().ok().map(|content| segments::of(channel, &content.text));
        Self {
            channel,
            content,
            segments: counted.map(|(_, segments)| segments),
            encoding: counted.and_then(|(encoding, _)| encoding),
        }
    }
}
