//! Nodes and data to text.

use serde_json::Value;

use super::TemplateError;
use super::functions::{call, show, truth};
use super::parse::{Command, Node, Operand, Pipeline};

/// Runs the nodes with the data as dot.
pub(super) fn render(nodes: &[Node], data: &Value) -> Result<String, TemplateError> {
    let mut scope = Scope { variables: vec![("$".to_owned(), data.clone())], output: String::new() };
    scope.run(nodes, data)?;
    Ok(scope.output)
}

struct Scope {
    variables: Vec<(String, Value)>,
    output: String,
}

impl Scope {
    /// Runs a block; variables that it sets end with it.
    fn run(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.output.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.output.push_str(&show(&value));
            }
            Node::Assign(name, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.variables.push((name.clone(), value));
            }
            Node::If(arms, otherwise) => {
                for (condition, body) in arms {
                    if truth(&self.pipeline(condition, dot)?) {
                        return self.run(body, dot);
                    }
                }
                self.run(otherwise, dot)?;
            }
            Node::With { variable, value, body, otherwise } => {
                let value = self.pipeline(value, dot)?;
                if !truth(&value) {
                    return self.run(otherwise, dot);
                }
                self.bound(variable.iter().map(|name| (name.clone(), value.clone())).collect(), body, &value)?;
            }
            Node::Range { variables, over, body, otherwise } => {
                let items = items(self.pipeline(over, dot)?)?;
                if items.is_empty() {
                    return self.run(otherwise, dot);
                }
                for (key, value) in items {
                    let bound = match &variables[..] {
                        [] => Vec::new(),
                        [only] => vec![(only.clone(), value.clone())],
                        [first, second, ..] => vec![(first.clone(), key), (second.clone(), value.clone())],
                    };
                    self.bound(bound, body, &value)?;
                }
            }
        }
        Ok(())
    }

    fn bound(&mut self, variables: Vec<(String, Value)>, body: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        self.variables.extend(variables);
        self.run(body, dot)?;
        self.variables.truncate(depth);
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut piped = None;
        for command in pipeline {
            piped = Some(self.command(command, dot, piped)?);
        }
        Ok(piped.unwrap_or(Value::Null))
    }

    fn command(&self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, TemplateError> {
        let (first, rest) = command.split_first().expect("a command has a word");
        let mut arguments = rest.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped);
        match first {
            Operand::Function(name) => call(name, arguments),
            _ if arguments.is_empty() => self.operand(first, dot),
            _ => Err(TemplateError::Unexpected("argument of something that is no function".into())),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(path) => descend(dot, path),
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(other, _)| other == name);
                let (_, value) = found.ok_or_else(|| TemplateError::UnknownVariable(name.clone()))?;
                descend(value, path)
            }
            Operand::Function(name) => call(name, Vec::new()),
            Operand::Group(pipeline, path) => descend(&self.pipeline(pipeline, dot)?, path),
        }
    }
}

fn descend(value: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut value = value;
    for field in path {
        value = match value {
            Value::Object(map) => map.get(field),
            _ => None,
        }
        .ok_or_else(|| TemplateError::NoField { field: field.clone(), within: kind(value) })?;
    }
    Ok(value.clone())
}

/// Keys and values in order; nothing for what is empty.
fn items(value: Value) -> Result<Vec<(Value, Value)>, TemplateError> {
    match value {
        Value::Array(items) => Ok(items.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect()),
        Value::Object(map) => Ok(map.into_iter().map(|(key, item)| (key.into(), item)).collect()),
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        other => Err(TemplateError::NotIterable(kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}
