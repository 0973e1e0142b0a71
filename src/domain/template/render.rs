//! Renders a stored template for one channel, after checking the given variables against the declared ones. Sends and
//! previews both use this module, so their results are the same.

use std::borrow::Cow;

use entity::{message::Channel, template};
use serde_json::{Map, Value as Json};

use super::{
    body::{Body, Variable, bodies_of, variables_of},
    compile::{Compiled, RenderProblem},
    list::bytes_of,
    time_limit::{Stop, TIME_RULE, TimeLimit},
    values::Values,
};
use crate::domain::{Failure, Fault, channel::content::Content, refused};

entity::api_enum! {
    /// Reasons why a message from the template would be refused.
    pub enum RenderRefusal as "TemplatePreviewErrorCode" {
        /// The variables are larger than 16 KiB as JSON, or have more than 1,000 values or 32 levels of nesting.
        VariablesInvalid,
        /// A variable without a default is not set, or its value lacks a part that the template uses.
        VariableMissing,
        /// The template uses a variable in a way that its type does not allow, compares lists,
        /// exceeds the maximum number of steps, or results in content that is not allowed for the
        /// channel; or rendering the templates of the request took more than 200 ms in total.
        TemplateFailed,
    }
}

/// A compiled template with the row that it was compiled from.
pub struct Rendering {
    row: template::Model,
    bodies: Vec<Body>,
    variables: Vec<Variable>,
    /// An error if the template was stored by an older version of the program that accepted more templates.
    compiled: Result<Compiled, String>,
}

impl Rendering {
    pub fn new(
        row: &template::Model,
        time: &mut TimeLimit,
    ) -> Result<Self, Failure<RenderRefusal>> {
        let (bodies, variables) = (bodies_of(row), variables_of(row)?);
        let compiled = Compiled::new(&bodies, time)?;
        Ok(Self { row: row.clone(), bodies, variables, compiled })
    }

    /// Returns whether this template was compiled from exactly this row.
    pub fn is_of(&self, row: &template::Model) -> bool {
        self.row == *row
    }

    /// Returns the estimated memory of the template, in bytes.
    pub fn weight(&self) -> usize {
        2 * bytes_of(&self.row) + self.compiled.as_ref().map_or(0, |compiled| compiled.weight)
    }

    /// Returns the channels for which the template has a body.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        self.bodies.iter().map(|body| body.channel)
    }

    /// Returns the content for a channel with these variables; `None` if the template has no body for the channel.
    pub fn render(
        &self,
        channel: Channel,
        given: &Map<String, Json>,
        time: &mut TimeLimit,
    ) -> Option<Result<Content, Failure<RenderRefusal>>> {
        let body = self.bodies.iter().find(|body| body.channel == channel)?;
        Some(self.render_body(body, given, time))
    }

    fn render_body(
        &self,
        body: &Body,
        given: &Map<String, Json>,
        time: &mut TimeLimit,
    ) -> Result<Content, Failure<RenderRefusal>> {
        let failed = |problem: &str| {
            let message = format!("The template cannot be rendered: {problem}.");
            refusal(RenderRefusal::TemplateFailed, message)
        };
        time.check()?;
        let values = self.values(given)?;
        let compiled = self.compiled.as_ref().map_err(|problem| failed(problem))?;
        let content = compiled.render(body, &values).map_err(|problem| match problem {
            RenderProblem::Failed(problem) => failed(&problem),
            RenderProblem::VariableMissing(problem) => {
                let message = format!("The template uses an undefined value: {problem}.");
                refusal(RenderRefusal::VariableMissing, message)
            }
        })?;
        content.check(body.channel).map_err(|(_, rule)| {
            let message = format!("The rendered template cannot be sent: {rule}");
            refusal(RenderRefusal::TemplateFailed, message)
        })?;
        Ok(content)
    }

    /// Returns the given values of the declared variables, or their defaults. Undeclared variables are ignored.
    fn values(&self, given: &Map<String, Json>) -> Result<Values, Failure<RenderRefusal>> {
        let mut values = Values::default();
        let mut missing = Vec::new();
        for Variable { name, default } in &self.variables {
            match (given.get(name), default) {
                (Some(Json::Null) | None, None) => missing.push(name.as_str()),
                (Some(Json::Null) | None, Some(default)) => {
                    values.insert(name, &Json::String(default.clone()));
                }
                (Some(value), _) => values.insert(name, value),
            }
        }
        if missing.is_empty() {
            return Ok(values);
        }
        let message =
            format!("These variables of the template are missing: {}.", missing.join(", "));
        Err(refusal(RenderRefusal::VariableMissing, message))
    }
}

fn refusal(code: RenderRefusal, message: impl Into<Cow<'static, str>>) -> Failure<RenderRefusal> {
    refused(code, code.field(), message)
}

impl From<Stop> for Failure<RenderRefusal> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::TimeUsedUp => refusal(RenderRefusal::TemplateFailed, TIME_RULE),
            Stop::Late => Fault::from(stop).into(),
        }
    }
}

impl RenderRefusal {
    /// Returns the invalid argument of a preview.
    pub fn field(self) -> &'static [&'static str] {
        match self {
            Self::VariablesInvalid | Self::VariableMissing => &["variables"],
            Self::TemplateFailed => &["id"],
        }
    }
}
