//! The rules that the schema follows.

use async_graphql::{
    Positioned,
    parser::types::{
        BaseType, ConstDirective, FieldDefinition, InputValueDefinition, ObjectType, Type,
        TypeDefinition, TypeKind, TypeSystemDefinition,
    },
};

/// Returns the violations of the rules, sorted. Each violation begins with the name of the type or field.
pub fn faults(sdl: &str) -> Vec<String> {
    let document = async_graphql::parser::parse_schema(sdl).expect("a schema");
    let mut faults = Faults(Vec::new());
    for definition in &document.definitions {
        if let TypeSystemDefinition::Type(found) = definition {
            faults.of_type(&found.node);
        }
    }
    faults.0.sort();
    faults.0
}

struct Faults(Vec<String>);

impl Faults {
    fn note(&mut self, name: &str, fault: impl AsRef<str>) {
        self.0.push(format!("{name}: {}", fault.as_ref()));
    }

    fn of_type(&mut self, found: &TypeDefinition) {
        let name = found.name.node.as_str();
        self.description(name, found.description.as_ref());
        match &found.kind {
            TypeKind::Object(object) => self.of_object(name, object),
            TypeKind::InputObject(input) => {
                for field in &input.fields {
                    self.of_input(&format!("{name}.{}", field.node.name.node), &field.node);
                }
            }
            TypeKind::Enum(values) => {
                for value in &values.values {
                    let value = &value.node;
                    let path = format!("{name}.{}", value.value.node);
                    self.description(&path, value.description.as_ref());
                    self.deprecation(&path, &value.directives);
                }
            }
            TypeKind::Scalar => {
                if !found.directives.iter().any(|found| found.node.name.node == "specifiedBy") {
                    self.note(name, "has no @specifiedBy");
                }
            }
            TypeKind::Interface(_) | TypeKind::Union(_) => {
                self.note(name, "the schema has no interfaces and no unions");
            }
        }
    }

    fn of_object(&mut self, name: &str, object: &ObjectType) {
        for field in &object.fields {
            let field = &field.node;
            let path = format!("{name}.{}", field.name.node);
            self.description(&path, field.description.as_ref());
            self.deprecation(&path, &field.directives);
            for argument in &field.arguments {
                let path = format!("{path}({})", argument.node.name.node);
                self.of_input(&path, &argument.node);
            }
            if name == "Mutation" {
                self.of_mutation(&path, field);
            } else {
                self.of_output(&path, &field.ty.node);
            }
            if named(&field.ty.node).ends_with("Connection") {
                self.of_connection_field(&path, field);
            }
        }
        if let Some(node) = name.strip_suffix("Connection") {
            let (edges, nodes) = (format!("[{node}Edge!]!"), format!("[{node}!]!"));
            self.has(name, object, "edges", &edges);
            self.has(name, object, "nodes", &nodes);
            self.has(name, object, "pageInfo", "PageInfo!");
            self.has(name, object, "totalCount", "Int");
        } else if let Some(node) = name.strip_suffix("Edge") {
            self.has(name, object, "cursor", "String!");
            self.has(name, object, "node", &format!("{node}!"));
        } else if let Some(mutation) = name.strip_suffix("Payload") {
            self.has(name, object, "errors", &format!("[{mutation}Error!]!"));
            for field in &object.fields {
                // `errors` and `replayed` are always present. A created object is null if the mutation is refused.
                let field = &field.node;
                let is_word = ["errors", "replayed"].contains(&field.name.node.as_str());
                if !is_word && !field.ty.node.nullable {
                    self.note(&format!("{name}.{}", field.name.node), "is never null");
                }
            }
        } else if let Some(mutation) = name.strip_suffix("Error") {
            self.has(name, object, "code", &format!("{mutation}ErrorCode!"));
            self.has(name, object, "message", "String!");
            self.has(name, object, "field", "[String!]!");
        }
    }

    /// Checks that a mutation `doThis` returns a `DoThisPayload`, and that its input, if it has one, is a
    /// `DoThisInput`. If the input is a list, the result is a list of payloads. An import returns short verdicts
    /// instead.
    fn of_mutation(&mut self, path: &str, field: &FieldDefinition) {
        let name = field.name.node.as_str();
        if name.starts_with("import") {
            let answer = field.ty.node.to_string();
            if !answer.starts_with('[') || !answer.ends_with("Verdict!]") {
                self.note(path, "its result is not a list of verdicts");
            }
            return;
        }
        let is_list = matches!(field.ty.node.base, BaseType::List(_));
        let one = if is_list { name.trim_end_matches('s') } else { name };
        let one = format!("{}{}", one[..1].to_uppercase(), &one[1..]);
        if named(&field.ty.node) != format!("{one}Payload") {
            self.note(path, format!("its result is not {one}Payload"));
        }
        if !field.ty.node.nullable {
            self.note(path, "its answer is never null");
        }
        for argument in &field.arguments {
            let is_input = argument.node.name.node == "input";
            if is_input && named(&argument.node.ty.node) != format!("{one}Input") {
                self.note(path, format!("its input is not {one}Input"));
            }
        }
    }

    fn of_connection_field(&mut self, path: &str, field: &FieldDefinition) {
        if field.ty.node.nullable {
            self.note(path, "a connection is null");
        }
        for (name, of_type) in
            [("first", "Int"), ("after", "String"), ("last", "Int"), ("before", "String")]
        {
            let found = field.arguments.iter().find(|argument| argument.node.name.node == name);
            if found.is_none_or(|found| found.node.ty.node.to_string() != of_type) {
                self.note(path, format!("has no argument {name}: {of_type}"));
            }
        }
    }

    fn of_output(&mut self, path: &str, of_type: &Type) {
        self.entries(path, of_type);
        match &of_type.base {
            BaseType::List(_) if of_type.nullable => self.note(path, "a list is null"),
            BaseType::Named(name) if name == "Boolean" && of_type.nullable => {
                self.note(path, "a Boolean is null");
            }
            _ => {}
        }
    }

    fn of_input(&mut self, path: &str, input: &InputValueDefinition) {
        self.description(path, input.description.as_ref());
        self.deprecation(path, &input.directives);
        self.entries(path, &input.ty.node);
    }

    fn entries(&mut self, path: &str, of_type: &Type) {
        if let BaseType::List(entry) = &of_type.base {
            if entry.nullable {
                self.note(path, "an entry is null");
            }
            self.entries(path, entry);
        }
    }

    fn has(&mut self, name: &str, object: &ObjectType, field: &str, of_type: &str) {
        let found = object.fields.iter().find(|found| found.node.name.node == field);
        if found.is_none_or(|found| found.node.ty.node.to_string() != of_type) {
            self.note(name, format!("has no {field}: {of_type}"));
        }
    }

    fn description(&mut self, path: &str, text: Option<&Positioned<String>>) {
        match text.map(|text| text.node.trim()) {
            None => self.note(path, "has no description"),
            Some(text) if text.contains('`') || text.contains("::") => {
                self.note(path, "its description speaks of Rust");
            }
            Some(text) if !text.ends_with('.') => {
                self.note(path, "its description is not a sentence");
            }
            Some(_) => {}
        }
    }

    /// Checks that a deprecation contains the date of the removal, for example 2027-01-31.
    fn deprecation(&mut self, path: &str, directives: &[Positioned<ConstDirective>]) {
        let found = directives.iter().find(|found| found.node.name.node == "deprecated");
        let Some(found) = found else { return };
        let reason = found.node.get_argument("reason").map(|reason| reason.node.to_string());
        let is_date = |word: &str| chrono::NaiveDate::parse_from_str(word, "%Y-%m-%d").is_ok();
        let mut words = reason.as_deref().unwrap_or_default().split([' ', ':', ',', '.', ';', '"']);
        if !words.any(is_date) {
            self.note(path, "is deprecated without a date");
        }
    }
}

/// Returns the innermost type of a list.
fn named(of_type: &Type) -> &str {
    match &of_type.base {
        BaseType::Named(name) => name,
        BaseType::List(entry) => named(entry),
    }
}
