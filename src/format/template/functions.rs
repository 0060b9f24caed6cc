//! Go's built-in functions and Docker's additions.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;

/// Calls a function by name.
pub(super) fn call(name: &str, arguments: Vec<Value>) -> Result<Value, TemplateError> {
    match (name, &arguments[..]) {
        ("json", [value]) => Ok(value.to_string().into()),
        ("len", [value]) => length(value),
        ("not", [value]) => Ok((!truth(value)).into()),
        ("and", [_, ..]) => Ok(pick(arguments, |value| !truth(value))),
        ("or", [_, ..]) => Ok(pick(arguments, truth)),
        ("eq", [first, others @ ..]) if !others.is_empty() => Ok(others.contains(first).into()),
        ("ne", [left, right]) => Ok((left != right).into()),
        ("lt", [left, right]) => Ok(order(left, right).is_some_and(Ordering::is_lt).into()),
        ("le", [left, right]) => Ok(order(left, right).is_some_and(Ordering::is_le).into()),
        ("gt", [left, right]) => Ok(order(left, right).is_some_and(Ordering::is_gt).into()),
        ("ge", [left, right]) => Ok(order(left, right).is_some_and(Ordering::is_ge).into()),
        ("index", [collection, keys @ ..]) if !keys.is_empty() => index(collection, keys),
        ("index", _) => Err(problem("index", "wants a collection and a key")),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("print", values) => Ok(joined(values, "").into()),
        ("println", values) => Ok((joined(values, " ") + "\n").into()),
        ("printf", [Value::String(format), values @ ..]) => printf(format, values),
        ("join", [Value::Array(items), Value::String(separator)]) => Ok(joined(items, separator).into()),
        ("join", [Value::Null, Value::String(_)]) => Ok("".into()),
        ("split", [Value::String(text), Value::String(separator)]) => Ok(text.split(separator.as_str()).collect()),
        ("lower", [Value::String(text)]) => Ok(text.to_lowercase().into()),
        ("upper", [Value::String(text)]) => Ok(text.to_uppercase().into()),
        ("title", [Value::String(text)]) => Ok(title(text).into()),
        ("truncate", [Value::String(text), Value::Number(most)]) => {
            let most = most.as_u64().unwrap_or_default() as usize;
            Ok(text.chars().take(most).collect::<String>().into())
        }
        ("pad", [Value::String(text), Value::Number(before), Value::Number(after)]) => {
            let blanks =
                |number: &serde_json::Number| " ".repeat(number.as_u64().unwrap_or_default().min(1000) as usize);
            Ok(format!("{}{text}{}", blanks(before), blanks(after)).into())
        }
        (known, _) => match FUNCTIONS.iter().find(|function| **function == known) {
            Some(function) => Err(problem(function, "wrong number or kind of arguments")),
            None => Err(TemplateError::UnknownFunction(known.to_owned())),
        },
    }
}

const FUNCTIONS: &[&str] = &[
    "json", "len", "not", "and", "or", "eq", "ne", "lt", "le", "gt", "ge", "slice", "printf", "join", "split", "lower",
    "upper", "title", "truncate", "pad",
];

/// Go's idea of what is empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// How Go prints a value with `%v`.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", joined(items, " ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", show(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn pick(mut arguments: Vec<Value>, wanted: impl Fn(&Value) -> bool) -> Value {
    let last = arguments.len() - 1;
    let at = arguments.iter().position(wanted).unwrap_or(last);
    arguments.swap_remove(at)
}

fn joined(values: &[Value], separator: &str) -> String {
    values.iter().map(show).collect::<Vec<_>>().join(separator)
}

fn length(value: &Value) -> Result<Value, TemplateError> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        Value::Null => Ok(0.into()),
        _ => Err(problem("len", "the value has no length")),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn index(collection: &Value, keys: &[Value]) -> Result<Value, TemplateError> {
    let mut value = collection.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or_else(|| "".into()),
            (Value::Array(items), Value::Number(at)) => {
                let found = at.as_u64().and_then(|at| items.get(at as usize));
                found.cloned().ok_or_else(|| problem("index", &format!("index out of range: {at}")))?
            }
            _ => return Err(problem("index", "can't index the value with that key")),
        };
    }
    Ok(value)
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, TemplateError> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        _ => return Err(problem("slice", "can't slice the value")),
    };
    let bound = |at: usize, default: usize| bounds.get(at).map_or(Some(default), |b| b.as_u64().map(|b| b as usize));
    let range = bound(0, 0).zip(bound(1, length)).filter(|(from, to)| from <= to && *to <= length);
    let (from, to) = range.ok_or_else(|| problem("slice", "index out of range"))?;
    match value {
        Value::String(text) => {
            text.get(from..to).map(Value::from).ok_or_else(|| problem("slice", "index inside a character"))
        }
        Value::Array(items) => Ok(items[from..to].to_vec().into()),
        _ => unreachable!("only strings and lists have a length here"),
    }
}

fn printf(format: &str, values: &[Value]) -> Result<Value, TemplateError> {
    let mut output = String::new();
    let mut values = values.iter();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            output.push(character);
            continue;
        }
        let mut width = String::new();
        let verb = loop {
            match characters.next() {
                Some(digit @ ('0'..='9' | '-' | '.')) => width.push(digit),
                Some(verb) => break verb,
                None => return Err(problem("printf", "the format ends in %")),
            }
        };
        if verb == '%' {
            output.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| problem("printf", "too few values for the format"))?;
        let text = match verb {
            's' | 'v' | 'd' => show(value),
            'q' => Value::from(show(value)).to_string(),
            't' => truth(value).to_string(),
            'x' => value.as_u64().map_or_else(|| show(value), |number| format!("{number:x}")),
            'f' | 'g' => show(value),
            other => return Err(problem("printf", &format!("unknown verb %{other}"))),
        };
        output.push_str(&padded(&text, &width));
    }
    Ok(output.into())
}

fn padded(text: &str, width: &str) -> String {
    let (left, digits) = width.strip_prefix('-').map_or((false, width), |digits| (true, digits));
    let width = digits.parse::<usize>().unwrap_or_default().min(1000);
    if left { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

fn title(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn problem(function: &'static str, text: &str) -> TemplateError {
    TemplateError::Call { function, problem: text.to_owned() }
}
