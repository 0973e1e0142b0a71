//! A stored template, filled in: its variables checked against what is given, then rendered for one
//! channel. A send and a preview take this same way, so a preview never disagrees with a send.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use entity::{message::Channel, template};
use minijinja::Value;
use serde_json::{Map, Number, Value as Json};

use super::{
    Fault, Refusal,
    message_content::Content,
    template::{Body, Variable, bodies_of, variables_of},
    template_source::{Compiled, Unrendered},
};

/// Why a template gave nothing to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderRefusal {
    VariablesInvalid,
    VariableMissing,
    TemplateFailed,
}

/// A template, ready to be rendered many times.
pub struct Rendering {
    bodies: Vec<Body>,
    variables: Vec<Variable>,
    /// What was stored compiled once; another version of the program may see that differently.
    compiled: Result<Compiled, String>,
}

impl Rendering {
    pub fn of(row: &template::Model) -> Result<Self, Fault> {
        let (bodies, variables) = (bodies_of(row), variables_of(row)?);
        let compiled = Compiled::new(&bodies);
        Ok(Self { bodies, variables, compiled })
    }

    /// The channels that it has a body for.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        self.bodies.iter().map(|body| body.channel)
    }

    /// What it says on a channel with these variables, as a message of that channel; `None` where
    /// it has no body for the channel.
    pub fn render(
        &self,
        channel: Channel,
        given: &Map<String, Json>,
    ) -> Option<Result<Content, Refusal<RenderRefusal>>> {
        let body = self.bodies.iter().find(|body| body.channel == channel)?;
        Some(self.render_body(body, given))
    }

    fn render_body(
        &self,
        body: &Body,
        given: &Map<String, Json>,
    ) -> Result<Content, Refusal<RenderRefusal>> {
        let failed = |what: &str| {
            let message = format!("The template cannot be rendered: {what}.");
            refusal(RenderRefusal::TemplateFailed, message)
        };
        let values = self.values(given)?;
        let compiled = self.compiled.as_ref().map_err(|problem| failed(problem))?;
        // A template is a stranger's program, and minijinja 3.1 panics at some: at `loop.cycle()` with nothing
        // to cycle, or at slices by the lowest number there is.
        let rendered = catch_unwind(AssertUnwindSafe(|| compiled.render(body, &values)));
        let rendered = rendered.map_err(|_| failed("it does what it must not"))?;
        let content = rendered.map_err(|problem| match problem {
            Unrendered::Failed(what) => failed(&what),
            Unrendered::VariableMissing(what) => {
                let message = format!("The template uses what is not given: {what}.");
                refusal(RenderRefusal::VariableMissing, message)
            }
        })?;
        content.check(body.channel).map_err(|(_, rule)| {
            let message = format!("What the template gives is no message: {rule}");
            refusal(RenderRefusal::TemplateFailed, message)
        })?;
        Ok(content)
    }

    /// The declared variables as they are given, or their defaults. What else is given is not
    /// looked at.
    fn values(&self, given: &Map<String, Json>) -> Result<Value, Refusal<RenderRefusal>> {
        let mut values = BTreeMap::new();
        let mut missing = Vec::new();
        for Variable { name, default } in &self.variables {
            let value = match (given.get(name), default) {
                (Some(Json::Null) | None, None) => {
                    missing.push(name.as_str());
                    continue;
                }
                (Some(Json::Null) | None, Some(default)) => Value::from(default.as_str()),
                (Some(value), _) => from_json(value),
            };
            values.insert(name.clone(), value);
        }
        if missing.is_empty() {
            return Ok(Value::from(values));
        }
        let message = format!("The template needs these variables too: {}.", missing.join(", "));
        Err(refusal(RenderRefusal::VariableMissing, message))
    }
}

fn refusal(code: RenderRefusal, message: String) -> Refusal<RenderRefusal> {
    Refusal { code, message: message.into(), field: code.field() }
}

impl RenderRefusal {
    /// The argument at fault of a preview.
    pub fn field(self) -> &'static [&'static str] {
        match self {
            Self::VariablesInvalid | Self::VariableMissing => &["variables"],
            Self::TemplateFailed => &["id"],
        }
    }
}

/// JSON as the library's own value. Its serde route would turn exact numbers into objects, for
/// `serde_json` hands those over in a way of its own.
fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => from_number(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(values) => Value::from(values.iter().map(from_json).collect::<Vec<_>>()),
        Json::Object(object) => {
            let values = object.iter().map(|(name, value)| (name.clone(), from_json(value)));
            Value::from(values.collect::<BTreeMap<_, _>>())
        }
    }
}

/// A whole number, or the nearest double; what is neither is its text.
fn from_number(number: &Number) -> Value {
    let whole = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
    let any = whole.or_else(|| number.as_f64().map(Value::from));
    any.unwrap_or_else(|| Value::from(number.to_string()))
}
