//! Go templates, as far as `--format` needs them.
//!
//! Docker's scripts say `--format '{{.ID}} {{json .Config.Env}}'`; this is the language of these
//! strings: fields, variables, pipelines, `if`, `range`, `with`, and Docker's functions. Data is
//! JSON. A field that is not there is an error, as on Docker's structs.

mod evaluate;
mod functions;
mod parse;

use serde_json::Value;

/// What is wrong with a template, or with the data it met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("template: {0} is never closed")]
    Unclosed(&'static str),
    #[error("template: unexpected {0:?}")]
    Unexpected(String),
    #[error("template: function {0:?} is not defined")]
    UnknownFunction(String),
    #[error("template: undefined variable {0:?}")]
    UnknownVariable(String),
    #[error("template: can't evaluate field {field} in {within}")]
    NoField { field: String, within: &'static str },
    #[error("template: {function}: {problem}")]
    Call { function: &'static str, problem: String },
    #[error("template: range can't iterate over {0}")]
    NotIterable(&'static str),
}

/// A parsed template, ready to be applied to many rows.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(|nodes| Self { nodes })
    }

    /// Fills it in.
    pub(crate) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.nodes, data)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expected: &str) {
        let data = json!({
            "ID": "0123", "Names": ["web", "db"], "Size": 7, "Up": true, "Empty": "",
            "Config": {"Env": ["A=1", "B=2"], "Labels": {"x": "1", "a.b": "2"}}, "None": null,
        });
        assert_eq!(Template::parse(template).unwrap().render(&data).unwrap(), expected, "{template}");
    }

    fn check_error(template: &str, expected: &str) {
        let error = Template::parse(template).and_then(|t| t.render(&json!({"A": {"B": 1}}))).unwrap_err();
        assert_eq!(error.to_string(), expected, "{template}");
    }

    #[test]
    fn rows() {
        for (template, expected) in [
            ("plain", "plain"),
            ("{{.ID}}", "0123"),
            ("a {{- .ID -}} b", "a0123b"),
            ("{{ .Config.Env }}", "[A=1 B=2]"),
            ("{{.Config.Labels}}", "map[a.b:2 x:1]"),
            ("{{json .Names}}", r#"["web","db"]"#),
            ("{{.Names | json}}", r#"["web","db"]"#),
            ("{{join .Names \",\"}}", "web,db"),
            ("{{range .Names}}<{{.}}>{{end}}", "<web><db>"),
            ("{{range $i, $n := .Names}}{{$i}}={{$n}} {{end}}", "0=web 1=db "),
            ("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}};{{end}}", "a.b:2;x:1;"),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{if .Up}}yes{{else}}no{{end}}", "yes"),
            ("{{if .Empty}}yes{{else if eq .Size 7}}seven{{end}}", "seven"),
            ("{{with .Config}}{{len .Env}}{{end}}", "2"),
            ("{{with $x := .ID}}{{$x}}{{$.Size}}{{end}}", "01237"),
            ("{{index .Config.Labels \"a.b\"}}", "2"),
            ("{{index .Names 1}}", "db"),
            ("{{index .Config.Labels \"gone\"}}", ""),
            ("{{printf \"%s-%d %q %v\" .ID .Size .ID .Up}}", "0123-7 \"0123\" true"),
            ("{{if and .Up (gt .Size 3)}}big{{end}}", "big"),
            ("{{not .Up}} {{or .Empty .ID}} {{and .Up .Empty}}", "false 0123 "),
            ("{{upper .ID}}{{title \"web\"}}{{lower \"X\"}}", "0123Webx"),
            ("{{truncate \"abcdef\" 3}}{{pad .ID 1 2}}|", "abc 0123  |"),
            ("{{slice .ID 1 3}}", "12"),
            ("{{.None}}", "<no value>"),
            ("{{\"{{\"}}", "{{"),
            ("{{/* nothing */}}x", "x"),
            ("{{$a := .ID}}{{$a}}", "0123"),
            ("{{println .ID}}", "0123\n"),
            ("{{index (split .ID \"1\") 0}}", "0"),
            ("{{(index .Names 0)}}", "web"),
        ] {
            check(template, expected);
        }
    }

    #[test]
    fn errors() {
        check_error("{{.Gone}}", "template: can't evaluate field Gone in map");
        check_error("{{.A.B.C}}", "template: can't evaluate field C in number");
        check_error("{{.A", "template: an action is never closed");
        check_error("{{if .A}}", "template: a block is never closed");
        check_error("{{end}}", "template: unexpected \"end\"");
        check_error("{{nope .A}}", "template: function \"nope\" is not defined");
        check_error("{{$x}}", "template: undefined variable \"$x\"");
        check_error("{{index .A}}", "template: index: wants a collection and a key");
    }
}
