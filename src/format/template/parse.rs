//! Text to nodes.

use serde_json::Value;

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Copied as it is.
    Text(String),
    /// A pipeline whose value is printed.
    Print(Pipeline),
    /// `$name := pipeline`.
    Assign(String, Pipeline),
    /// Guarded blocks in order, then what holds if no guard does.
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    /// The body once an element, or the other block for none.
    Range { variables: Vec<String>, over: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
    /// The body with another dot, or the other block if that is empty.
    With { variable: Option<String>, value: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each taking the value of the one before as its last argument.
pub(super) type Pipeline = Vec<Command>;

/// A function or value with its arguments.
pub(super) type Command = Vec<Operand>;

/// One word of a command.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// A constant.
    Literal(Value),
    /// A chain of fields from dot.
    Field(Vec<String>),
    /// A variable and a chain of fields from it.
    Variable(String, Vec<String>),
    /// A function by name.
    Function(String),
    /// A pipeline in parentheses and a chain of fields from its value.
    Group(Pipeline, Vec<String>),
}

/// Reads a whole template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces: pieces(text)?, at: 0 };
    let nodes = parser.block()?;
    match parser.next() {
        None => Ok(nodes),
        Some(Piece::Action(tokens)) => Err(unexpected(tokens.first())),
        Some(Piece::Text(text)) => Err(TemplateError::Unexpected(text)),
    }
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Field(String),
    Variable(String),
    Literal(Value),
    Symbol(&'static str),
    /// A blank: `.A .B` is two operands, `.A.B` one.
    Blank,
}

/// Cuts the text at `{{` and `}}`; `{{-` and `-}}` trim the text beside them.
fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let mut before = &rest[..start];
        rest = &rest[start + 2..];
        if rest.starts_with("- ") {
            before = before.trim_end();
            rest = &rest[1..];
        }
        pieces.push(Piece::Text(before.to_owned()));
        if let Some(comment) = rest.trim_start().strip_prefix("/*") {
            let end = comment.find("*/").ok_or(TemplateError::Unclosed("a comment"))?;
            rest = comment[end + 2..].trim_start_matches([' ', '-']);
            rest = rest.strip_prefix("}}").ok_or(TemplateError::Unclosed("a comment"))?;
            continue;
        }
        let (tokens, after) = tokens(rest)?;
        let trim = tokens.last() == Some(&Token::Symbol("-"));
        rest = if trim { after.trim_start() } else { after };
        pieces.push(Piece::Action(tokens.into_iter().filter(|token| *token != Token::Symbol("-")).collect()));
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// The tokens of an action and the text behind its `}}`.
fn tokens(text: &str) -> Result<(Vec<Token>, &str), TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after));
        }
        let first = rest.chars().next().ok_or(TemplateError::Unclosed("an action"))?;
        let length = match first {
            ' ' | '\t' | '\n' => {
                tokens.push(Token::Blank);
                rest.len() - rest.trim_start().len()
            }
            '"' | '`' => {
                let (string, length) = string(rest)?;
                tokens.push(Token::Literal(string.into()));
                length
            }
            '.' => {
                let name = word(&rest[1..]);
                tokens.push(Token::Field(name.to_owned()));
                1 + name.len()
            }
            '$' => {
                let name = word(&rest[1..]);
                tokens.push(Token::Variable(format!("${name}")));
                1 + name.len()
            }
            '0'..='9' => number(rest, &mut tokens)?,
            '-' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(rest, &mut tokens)?,
            _ if first.is_alphabetic() || first == '_' => {
                let name = word(rest);
                tokens.push(keyword(name));
                name.len()
            }
            _ => {
                let symbol = [":=", "(", ")", "|", ",", "-", "="].into_iter().find(|symbol| rest.starts_with(symbol));
                let symbol = symbol.ok_or_else(|| TemplateError::Unexpected(first.to_string()))?;
                tokens.push(Token::Symbol(symbol));
                symbol.len()
            }
        };
        rest = &rest[length..];
    }
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

fn keyword(name: &str) -> Token {
    match name {
        "true" => Token::Literal(true.into()),
        "false" => Token::Literal(false.into()),
        "nil" => Token::Literal(Value::Null),
        _ => Token::Word(name.to_owned()),
    }
}

fn number(text: &str, tokens: &mut Vec<Token>) -> Result<usize, TemplateError> {
    let end = text[1..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(text.len(), |end| end + 1);
    let value: Value =
        serde_json::from_str(&text[..end]).map_err(|_| TemplateError::Unexpected(text[..end].to_owned()))?;
    tokens.push(Token::Literal(value));
    Ok(end)
}

/// A quoted or raw string and how many bytes it takes.
fn string(text: &str) -> Result<(String, usize), TemplateError> {
    let unclosed = TemplateError::Unclosed("a string");
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`').ok_or(unclosed)?;
        return Ok((raw[..end].to_owned(), end + 2));
    }
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, at + 1)),
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(other) => value.push(other),
                None => break,
            },
            _ => value.push(character),
        }
    }
    Err(unclosed)
}

struct Parser {
    pieces: Vec<Piece>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Piece> {
        self.at += 1;
        self.pieces.get(self.at - 1).cloned()
    }

    /// Nodes up to `else`, `end` or the end of the text, which stays to be read.
    fn block(&mut self) -> Result<Vec<Node>, TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.next() {
            match piece {
                Piece::Text(text) => nodes.push(Node::Text(text)),
                Piece::Action(tokens) => {
                    let words: Vec<Token> = trimmed(&tokens).to_vec();
                    match words.first() {
                        Some(Token::Word(word)) if word == "end" || word == "else" => {
                            self.at -= 1;
                            return Ok(nodes);
                        }
                        Some(Token::Word(word)) if word == "if" => nodes.push(self.branch(&words[1..])?),
                        Some(Token::Word(word)) if word == "range" => nodes.push(self.range(&words[1..])?),
                        Some(Token::Word(word)) if word == "with" => nodes.push(self.with(&words[1..])?),
                        _ => nodes.push(simple(&words)?),
                    }
                }
            }
        }
        Ok(nodes)
    }

    fn branch(&mut self, condition: &[Token]) -> Result<Node, TemplateError> {
        let mut arms = vec![(pipeline(condition)?, self.block()?)];
        loop {
            match &self.closing()?[..] {
                [] => return Ok(Node::If(arms, Vec::new())),
                [Token::Word(word), rest @ ..] if word == "if" => arms.push((pipeline(rest)?, self.block()?)),
                [Token::Word(word)] if word == "else" => {
                    let otherwise = self.block()?;
                    self.end()?;
                    return Ok(Node::If(arms, otherwise));
                }
                other => return Err(unexpected(other.first())),
            }
        }
    }

    fn range(&mut self, tokens: &[Token]) -> Result<Node, TemplateError> {
        let (variables, over) = assignment(tokens)?;
        let body = self.block()?;
        let otherwise = self.otherwise()?;
        Ok(Node::Range { variables, over, body, otherwise })
    }

    fn with(&mut self, tokens: &[Token]) -> Result<Node, TemplateError> {
        let (mut variables, value) = assignment(tokens)?;
        let body = self.block()?;
        let otherwise = self.otherwise()?;
        Ok(Node::With { variable: variables.pop(), value, body, otherwise })
    }

    fn otherwise(&mut self) -> Result<Vec<Node>, TemplateError> {
        match &self.closing()?[..] {
            [] => Ok(Vec::new()),
            [Token::Word(word)] if word == "else" => {
                let nodes = self.block()?;
                self.end()?;
                Ok(nodes)
            }
            other => Err(unexpected(other.first())),
        }
    }

    /// Reads `{{end}}` as nothing, `{{else}}` as `else`, `{{else if x}}` as `if x`.
    fn closing(&mut self) -> Result<Vec<Token>, TemplateError> {
        let Some(Piece::Action(tokens)) = self.next() else { return Err(TemplateError::Unclosed("a block")) };
        match trimmed(&tokens) {
            [Token::Word(word)] if word == "end" => Ok(Vec::new()),
            [Token::Word(word)] if word == "else" => Ok(vec![Token::Word("else".into())]),
            [Token::Word(word), Token::Blank, rest @ ..] if word == "else" => Ok(rest.to_vec()),
            other => Err(unexpected(other.first())),
        }
    }

    fn end(&mut self) -> Result<(), TemplateError> {
        match &self.closing()?[..] {
            [] => Ok(()),
            other => Err(unexpected(other.first())),
        }
    }
}

fn simple(tokens: &[Token]) -> Result<Node, TemplateError> {
    let (mut variables, value) = assignment(tokens)?;
    Ok(match variables.pop() {
        Some(name) => Node::Assign(name, value),
        None => Node::Print(value),
    })
}

/// `$a, $b := pipeline`, or a pipeline alone.
fn assignment(tokens: &[Token]) -> Result<(Vec<String>, Pipeline), TemplateError> {
    let Some(sign) = tokens.iter().position(|token| matches!(token, Token::Symbol(":=" | "="))) else {
        return Ok((Vec::new(), pipeline(tokens)?));
    };
    let mut variables = Vec::new();
    for token in &tokens[..sign] {
        match token {
            Token::Variable(name) => variables.push(name.clone()),
            Token::Blank | Token::Symbol(",") => {}
            other => return Err(unexpected(Some(other))),
        }
    }
    Ok((variables, pipeline(&tokens[sign + 1..])?))
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut rest = tokens;
    let pipeline = pipeline_until(&mut rest, false)?;
    Ok(pipeline)
}

fn pipeline_until(rest: &mut &[Token], in_group: bool) -> Result<Pipeline, TemplateError> {
    let mut commands: Pipeline = vec![Vec::new()];
    while let Some((token, after)) = rest.split_first() {
        *rest = after;
        let command = commands.last_mut().expect("there is always a command");
        match token {
            Token::Blank => {}
            Token::Symbol("|") => commands.push(Vec::new()),
            Token::Symbol(")") if in_group => return closed(commands),
            Token::Symbol("(") => {
                let inner = pipeline_until(rest, true)?;
                command.push(Operand::Group(inner, fields(rest)));
            }
            Token::Literal(value) => command.push(Operand::Literal(value.clone())),
            Token::Word(name) => command.push(Operand::Function(name.clone())),
            Token::Variable(name) => command.push(Operand::Variable(name.clone(), fields(rest))),
            Token::Field(name) => {
                let mut path = vec![name.clone()];
                path.extend(fields(rest));
                path.retain(|name| !name.is_empty());
                command.push(Operand::Field(path));
            }
            other => return Err(unexpected(Some(other))),
        }
    }
    if in_group { Err(TemplateError::Unclosed("a parenthesis")) } else { closed(commands) }
}

fn closed(commands: Pipeline) -> Result<Pipeline, TemplateError> {
    if commands.iter().any(Vec::is_empty) {
        Err(TemplateError::Unexpected("end of pipeline".into()))
    } else {
        Ok(commands)
    }
}

/// The fields that follow without a blank.
fn fields(rest: &mut &[Token]) -> Vec<String> {
    let mut path = Vec::new();
    while let Some((Token::Field(name), after)) = rest.split_first() {
        path.push(name.clone());
        *rest = after;
    }
    path
}

fn trimmed(tokens: &[Token]) -> &[Token] {
    let start = tokens.iter().position(|token| *token != Token::Blank).unwrap_or(tokens.len());
    let end = tokens.iter().rposition(|token| *token != Token::Blank).map_or(start, |end| end + 1);
    &tokens[start..end]
}

fn unexpected(token: Option<&Token>) -> TemplateError {
    TemplateError::Unexpected(match token {
        None => "end of action".to_owned(),
        Some(Token::Word(word) | Token::Field(word) | Token::Variable(word)) => word.clone(),
        Some(Token::Literal(value)) => value.to_string(),
        Some(Token::Symbol(symbol)) => (*symbol).to_owned(),
        Some(Token::Blank) => " ".to_owned(),
    })
}
