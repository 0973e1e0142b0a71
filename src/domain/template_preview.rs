//! What a template would say with given variables, on each of its channels. Nothing is stored or
//! charged.

use entity::message::Channel;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Fault, Refusal,
    caller::AccountCaller,
    message_content::Content,
    room::Room,
    segments::{self, SmsEncoding},
    template_list,
    template_render::{RenderRefusal, Rendering},
    validate::{self, VARIABLES_RULE},
};
use crate::App;

/// What a template says on one channel.
#[derive(Clone, Debug)]
pub struct Preview {
    pub channel: Channel,
    pub content: Result<Content, Refusal<RenderRefusal>>,
    /// How many segments an SMS would have; 1 for other channels. `None` without content.
    pub segments: Option<i32>,
    /// How an SMS would be written.
    pub encoding: Option<SmsEncoding>,
}

/// What the caller's template says on each of its channels; empty if there is no such template.
pub async fn preview(
    app: &App,
    caller: &AccountCaller,
    id: Option<Uuid>,
    variables: Map<String, Value>,
    room: &Room,
) -> Result<Vec<Preview>, Fault> {
    // A malformed id is looked for like one that nobody has.
    let id = id.unwrap_or_default();
    let mut found = template_list::find_many(app, caller, &[id], room).await?;
    let Some(row) = found.remove(&id) else { return Ok(Vec::new()) };
    let are_valid = validate::variables(variables.clone()).is_some();
    let rendering = Rendering::of(&row)?;
    let mut previews = Vec::new();
    for channel in rendering.channels() {
        let content = if are_valid {
            rendering.render(channel, &variables)
        } else {
            let code = RenderRefusal::VariablesInvalid;
            Some(Err(Refusal { code, message: VARIABLES_RULE.into(), field: code.field() }))
        };
        let Some(content) = content else { continue };
        let counted = content.as_ref().ok().map(|content| segments::of(channel, &content.text));
        previews.push(Preview {
            channel,
            content,
            segments: counted.map(|(_, segments)| segments),
            encoding: counted.and_then(|(encoding, _)| encoding),
        });
        tokio::task::yield_now().await;
    }
    Ok(previews)
}
